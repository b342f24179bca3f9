//! `X-Twilio-Signature`: the HMAC of the address that Twilio was given and of all fields of the form, whoever knows them.
//! www.twilio.com/docs/usage/webhooks/webhooks-security.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::{digest, hmac};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::wire;
use crate::provider::{Forged, Secret, Webhook};

/// Proves a webhook that came to `address`, with any of the tokens; several are in use while they are rotated.
pub(super) fn verify(webhook: &Webhook, address: &Url, tokens: &[&Secret]) -> Result<(), Forged> {
    let given = webhook.header(wire::SIGNATURE).ok_or(Forged("the webhook carries no signature"))?;
    let fields = match webhook.query(wire::BODY_SHA256) {
        // What is not a form is signed by way of its digest, which stands in the address.
        Some(sha256) if !is_digest(&webhook.body, sha256) => {
            return Err(Forged("the body is not the one that was signed"));
        }
        Some(_) => String::new(),
        None => fields(&webhook.body),
    };
    let addresses = addresses(webhook, address);
    let signed = |token: &&&Secret| addresses.iter().any(|address| equals(given, &sign(token, address, &fields)));
    match tokens.iter().filter(|token| !token.is_empty()).any(|token| signed(&token)) {
        true => Ok(()),
        false => Err(Forged("the webhook's signature is not of this sender's token")),
    }
}

fn sign(token: &Secret, address: &str, fields: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.expose().as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, format!("{address}{fields}").as_bytes()))
}

fn equals(given: &str, right: &str) -> bool {
    given.as_bytes().ct_eq(right.as_bytes()).into()
}

fn is_digest(body: &[u8], sha256: &str) -> bool {
    let digest = hex::encode(digest::digest(&digest::SHA256, body));
    equals(&sha256.to_ascii_lowercase(), &digest)
}

/// Names and values, decoded, one after the other with nothing between, sorted by name and then by value; of a repeated
/// name each value counts once.
fn fields(body: &[u8]) -> String {
    let mut fields: Vec<_> = url::form_urlencoded::parse(body).collect();
    fields.sort();
    fields.dedup();
    fields.into_iter().flat_map(|(name, value)| [name, value]).collect()
}

/// The forms in which Twilio may have been given the address: with and without the default port, and with the query's
/// blanks encoded in one way or the other, since the query reaches us decoded.
fn addresses(webhook: &Webhook, address: &Url) -> Vec<String> {
    let mut address = address.clone();
    if let Some(token) = &webhook.path_token
        && let Ok(mut segments) = address.path_segments_mut()
    {
        segments.push(token);
    }
    let mut addresses = vec![address.to_string()];
    let default_port = if address.scheme() == "https" { 443 } else { 80 };
    if address.port().is_none()
        && let Some(host) = address.host_str()
    {
        addresses.push(format!("{}://{host}:{default_port}{}", address.scheme(), address.path()));
    }
    if webhook.query.is_empty() {
        return addresses;
    }
    let plus = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&webhook.query).finish();
    let queries = [plus.replace('+', "%20"), plus];
    addresses.iter().flat_map(|address| queries.iter().map(move |query| format!("{address}?{query}"))).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const TOKEN: &str = "sample-auth-token-0002";
    const ADDRESS: &str = "https://gw.example.net/hooks/twilio/acme";
    const FORM: &str = "From=whatsapp%3A%2B5511999990000&NumMedia=0&MessageSid=SM00000000000000000000000000000001\
                        &Body=Ol%C3%A1+%26+bem-vindo&To=whatsapp%3A%2B14155550100";

    fn webhook(body: &'static str, query: &[(&str, &str)], signature: &str) -> Webhook {
        Webhook {
            headers: vec![(wire::SIGNATURE.into(), signature.into())],
            query: query.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            path_token: None,
            body: Bytes::from_static(body.as_bytes()),
            receive_at_ms: 0,
        }
    }

    fn proven(webhook: &Webhook, tokens: &[&str]) -> bool {
        let tokens: Vec<Secret> = tokens.iter().map(|token| Secret::from(token.to_string())).collect();
        verify(webhook, &ADDRESS.parse().unwrap(), &tokens.iter().collect::<Vec<_>>()).is_ok()
    }

    fn of_form(token: &Secret, address: &str, body: &[u8]) -> String {
        sign(token, address, &fields(body))
    }

    #[test]
    fn the_vectors_of_the_notes_are_proven() {
        let form = webhook(FORM, &[("tenant", "7")], "mx1JErmXtMDPMSrhE9KBUDH0woA=");
        assert!(proven(&form, &[TOKEN]));
        let sha256 = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862";
        let json = webhook(r#"{"a":1}"#, &[("bodySHA256", sha256)], "8Am7NVPVLQF2i9QHaqAwuYvxOm4=");
        assert!(proven(&json, &[TOKEN]));
        let other_body = Webhook { body: Bytes::from_static(br#"{"a":2}"#), ..json };
        assert!(!proven(&other_body, &[TOKEN]));
    }

    #[test]
    fn either_token_of_a_rotation_proves_and_no_token_does_not() {
        let form = webhook(FORM, &[("tenant", "7")], "mx1JErmXtMDPMSrhE9KBUDH0woA=");
        assert!(proven(&form, &["the-new-one", TOKEN]) && proven(&form, &[TOKEN, ""]));
        assert!(!proven(&form, &["the-new-one"]) && !proven(&form, &[]));
        let of_nothing = sign(&Secret::default(), &format!("{ADDRESS}?tenant=7"), &fields(FORM.as_bytes()));
        assert!(!proven(&webhook(FORM, &[("tenant", "7")], &of_nothing), &[""]));
    }

    #[test]
    fn the_address_is_the_one_that_twilio_was_given() {
        let token = Secret::from(TOKEN.to_owned());
        for (query, given) in [
            (&[][..], "https://gw.example.net/hooks/twilio/acme"),
            (&[], "https://gw.example.net:443/hooks/twilio/acme"),
            (&[("a", "b c")], "https://gw.example.net/hooks/twilio/acme?a=b+c"),
            (&[("a", "b c"), ("z", "é")], "https://gw.example.net:443/hooks/twilio/acme?a=b%20c&z=%C3%A9"),
        ] {
            let signature = of_form(&token, given, FORM.as_bytes());
            assert!(proven(&webhook(FORM, query, &signature), &[TOKEN]), "{given}");
            assert!(!proven(&webhook(FORM, &[("other", "1")], &signature), &[TOKEN]), "{given}");
        }
        let signature = of_form(&token, &format!("{ADDRESS}/part"), FORM.as_bytes());
        let below = Webhook { path_token: Some("part".into()), ..webhook(FORM, &[], &signature) };
        assert!(proven(&below, &[TOKEN]));
        assert!(!proven(&Webhook { path_token: None, ..below }, &[TOKEN]));
    }

    #[test]
    fn fields_are_sorted_and_repeated_values_count_once() {
        assert_eq!(fields(b"b=2&a=%2B1&B=0&b=1&b=2&empty=&a+b=c%26"), "B0a+1a bc&b1b2empty");
    }
}
