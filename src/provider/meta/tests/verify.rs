//! Who may post, who may set the address up, and whom it speaks for.

use crate::provider::{Provider as _, Webhook};

use super::{NUMBER, SECRET, VERIFY, adapter, adapter_with, settings};

const BASE: &str = "http://127.0.0.1:1";

fn posted(body: &str, header: Option<&str>) -> Webhook {
    let header = header.map(|value| ("x-hub-signature-256".to_owned(), value.to_owned()));
    Webhook {
        headers: header.into_iter().collect(),
        query: vec![],
        path_token: None,
        body: body.to_owned().into(),
        receive_at_ms: 0,
    }
}

fn sign(body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("sha256={}", hex::encode(ring::hmac::sign(&key, body.as_bytes())))
}

#[test]
fn i9_the_signature_is_over_the_raw_bytes() {
    // A vector of our own, made with another program.
    let body = r#"{"object":"whatsapp_business_account","entry":[]}"#;
    let signature = "sha256=405b6ccee3f976d37043d9501bbeb5a8bd497636a111907c17ce8da9932c4c05";
    let adapter = adapter(BASE);
    assert_eq!(adapter.verify(&posted(body, Some(signature))), Ok(()));
    assert_eq!(signature, sign(body));
    // The same JSON in other bytes is another body.
    let escaped = r#"{"entry":[],"text":"\u00e1 a\/b"}"#;
    assert_eq!(adapter.verify(&posted(escaped, Some(&sign(escaped)))), Ok(()));
    assert!(adapter.verify(&posted(r#"{"entry":[],"text":"á a/b"}"#, Some(&sign(escaped)))).is_err());
    assert_eq!(adapter.verify(&posted(body, Some(&sign(body).to_uppercase().replace("SHA256", "sha256")))), Ok(()));
    for wrong in ["", "sha256=", &signature[..70], &signature[7..], &format!("{signature}00"), "sha1=40", "sha256=zz"] {
        assert!(adapter.verify(&posted(body, Some(wrong))).is_err(), "{wrong}");
    }
    assert!(adapter.verify(&posted(body, None)).is_err());
}

#[test]
fn i9_without_an_app_secret_all_webhooks_are_refused() {
    let adapter = adapter_with(crate::proto::MetaConfig { app_secret: String::new(), ..settings(BASE) });
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"");
    let signature = format!("sha256={}", hex::encode(ring::hmac::sign(&key, b"{}")));
    assert!(adapter.verify(&posted("{}", Some(&signature))).is_err());
}

#[test]
fn the_challenge_is_answered_to_whoever_knows_the_word() {
    let adapter = adapter(BASE);
    let asked = |query: &[(&str, &str)]| {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        adapter.challenge(&Webhook { query, ..posted("", None) }).expect("Meta asks").ok()
    };
    let (mode, token, challenge) =
        (("hub.mode", "subscribe"), ("hub.verify_token", VERIFY), ("hub.challenge", "1158201444"));
    assert_eq!(asked(&[mode, token, challenge]).as_deref(), Some("1158201444"));
    assert_eq!(asked(&[mode, ("hub.verify_token", "vt-sample"), challenge]), None);
    assert_eq!(asked(&[mode, challenge]), None);
    assert_eq!(asked(&[token, challenge]), None);
    assert_eq!(asked(&[("hub.mode", "unsubscribe"), token, challenge]), None);
    assert_eq!(asked(&[mode, token]), None);
    let without = adapter_with(crate::proto::MetaConfig { verify_token: String::new(), ..settings(BASE) });
    let query = [mode, ("hub.verify_token", ""), challenge];
    let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    assert!(without.challenge(&Webhook { query, ..posted("", None) }).expect("Meta asks").is_err());
}

#[test]
fn numbers_of_one_app_believe_each_others_webhooks_and_no_others() {
    let account = |number: &str, secret: &str| {
        let config =
            crate::proto::MetaConfig { phone_number_id: number.into(), app_secret: secret.into(), ..settings(BASE) };
        adapter_with(config).account().unwrap()
    };
    let (one, other) = (account(NUMBER, SECRET), account("106540352242999", SECRET));
    assert_eq!((one.id.as_str(), other.id.as_str()), (NUMBER, "106540352242999"));
    assert_eq!(one.proof, other.proof);
    assert_ne!(one.proof, account(NUMBER, "another app's").proof);
}
