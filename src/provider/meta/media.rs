//! Files that people send: looked up by id, since their addresses live for five minutes.

use base64::Engine as _;
use serde_json::{Map, Value};
use url::Url;

use super::wire;
use crate::provider::lenient::text;
use crate::provider::{AskError, MediaAddress, Secret};

/// The address in the answer to a look-up, open to all.
pub(in crate::provider) fn address(looked_up: &Map<String, Value>) -> Result<MediaAddress, AskError> {
    let url = text(looked_up, "url").unwrap_or_default();
    Ok(MediaAddress {
        sha256: text(looked_up, "sha256").and_then(|given| sha256(&given)),
        mime_type: text(looked_up, "mime_type").unwrap_or_default(),
        ..MediaAddress::plain(&url)?
    })
}

/// Whether the token may be sent there: to Meta's hosts by https, or to where the API is.
pub(super) fn is_trusted(url: &Url, base: Option<&Url>) -> bool {
    let below =
        |host: &str, domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let metas = url.scheme() == "https"
        && url.host_str().is_some_and(|host| wire::MEDIA_HOSTS.iter().any(|domain| below(host, domain)));
    metas || base.is_some_and(|base| is_beside(url, base))
}

/// Whether both are the same scheme, host and port.
pub(in crate::provider) fn is_beside(url: &Url, base: &Url) -> bool {
    url.origin().is_tuple() && url.origin() == base.origin()
}

/// With what opens it.
pub(in crate::provider) fn opened(address: MediaAddress, header: &'static str, key: &Secret) -> MediaAddress {
    MediaAddress { headers: vec![(header, key.clone())], ..address }
}

/// 32 bytes in hex or in base64: the webhook has the one, the look-up mostly the other.
fn sha256(given: &str) -> Option<[u8; 32]> {
    let given = given.trim();
    let bytes = match given.len() {
        64 => hex::decode(given).ok()?,
        _ => base64::engine::general_purpose::STANDARD.decode(given).ok()?,
    };
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i14_the_token_goes_to_metas_hosts_and_to_the_api_only() {
        let base: Url = "http://127.0.0.1:9000/meta".parse().unwrap();
        for (url, trusted) in [
            ("https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1", true),
            ("https://fbsbx.com/a", true),
            ("https://scontent.facebook.com/a", true),
            ("http://lookaside.fbsbx.com/a", false),
            ("https://evilfbsbx.com/a", false),
            ("https://fbsbx.com.example.test/a", false),
            ("https://example.test/fbsbx.com", false),
            ("https://user@example.test#.fbsbx.com", false),
            ("http://127.0.0.1:9000/elsewhere", true),
            ("http://127.0.0.1:9001/meta", false),
            ("https://127.0.0.1:9000/meta", false),
        ] {
            assert_eq!(is_trusted(&url.parse().unwrap(), Some(&base)), trusted, "{url}");
        }
    }

    #[test]
    fn sums_are_read_in_hex_and_in_base64() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let base64 = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=";
        assert_eq!(sha256(hex), sha256(base64));
        assert!(sha256(hex).is_some());
        assert_eq!((sha256("n4bQ"), sha256(""), sha256(&"z".repeat(64))), (None, None, None));
    }
}
