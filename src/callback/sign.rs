//! Signatures by Standard Webhooks (<https://www.standardwebhooks.com>, v1.0.0): HMAC-SHA256 over id, time and the very bytes
//! that are sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::domain::Millis;
use crate::error::Reason;
use crate::provider::Secret;

/// What secrets begin with.
const PREFIX: &str = "whsec_";
/// How long the secret before is signed with, too.
const ROTATION_MS: Millis = 24 * 3_600_000;

/// The secrets that a sender's callbacks are signed with. Written out only to be sealed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CallbackSecrets {
    /// The one in force; empty: callbacks are not signed.
    current: Secret,
    /// The one before.
    #[serde(default)]
    previous: Secret,
    /// Until when that one counts.
    #[serde(default)]
    previous_until_ms: Millis,
}

impl CallbackSecrets {
    /// With this secret from now on; the one before stays for a day. An empty one clears both.
    #[must_use]
    pub fn changed_to(self, secret: &str, now: Millis) -> Self {
        let secret = secret.trim();
        match secret {
            "" => Self::default(),
            same if self.current.matches(same) => self,
            _ => Self {
                current: secret.to_owned().into(),
                previous_until_ms: if self.current.is_empty() { 0 } else { now + ROTATION_MS },
                previous: self.current,
            },
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.current.is_empty()
    }

    /// The value of `webhook-signature`: the newest first; nothing when callbacks are not signed.
    pub fn signature(&self, id: &str, timestamp_s: i64, body: &[u8], now: Millis) -> Option<String> {
        let previous = Some(&self.previous).filter(|_| now < self.previous_until_ms);
        let keys = [Some(&self.current), previous].into_iter().flatten();
        let signed = keys.filter_map(|secret| Some(sign(&key(secret.expose()).ok()?, id, timestamp_s, body)));
        let signed: Vec<String> = signed.collect();
        (!signed.is_empty()).then(|| signed.join(" "))
    }
}

/// The bytes of a secret, with or without its prefix.
///
/// # Errors
/// What would be right.
pub fn key(secret: &str) -> Result<Vec<u8>, (Reason, String)> {
    let text = secret.trim();
    let bytes = STANDARD.decode(text.strip_prefix(PREFIX).unwrap_or(text)).ok();
    bytes
        .filter(|bytes| (24..=64).contains(&bytes.len()))
        .ok_or_else(|| (Reason::Invalid, format!("a callback secret is {PREFIX} and the base64 of 24 to 64 bytes")))
}

fn sign(key: &[u8], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let mut signing = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    signing.update(format!("{id}.{timestamp_s}.").as_bytes());
    signing.update(body);
    format!("v1,{}", STANDARD.encode(signing.sign()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "whsec_ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A=";
    const NEW: &str = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

    fn secrets(secret: &str) -> CallbackSecrets {
        CallbackSecrets::default().changed_to(secret, 0)
    }

    #[test]
    fn the_published_vector_is_signed_as_published() {
        // standard-webhooks, libraries/, v1.0.0.
        let signed = secrets("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").signature(
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            br#"{"email":"test@example.com","username":"test_user"}"#,
            0,
        );
        assert_eq!(signed.unwrap(), "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn during_a_rotation_both_secrets_sign_the_newest_first_for_a_day() {
        let body = br#"{"type":"message.status","timestamp":"2025-12-11T05:48:20Z","data":{"message_id":"m-1","status":"DELIVERED"}}"#;
        let id = "msg_0198c7a2e4d07b3f9a51";
        let rotated = secrets(OLD).changed_to(NEW, 1_000);
        let (new, old) =
            ("v1,glJ7OELq52P4ogSx/WnyBlUiVlFd1p34CycrmtYJY9g=", "v1,o4sTv8bkslIYjA0ZH62NA9inJtFbTw1vyZd80nN0rXM=");
        let signed = |secrets: &CallbackSecrets, now| secrets.signature(id, 1_765_432_100, body, now);
        let end = 1_000 + 24 * 3_600_000;
        assert_eq!(signed(&rotated, end - 1).unwrap(), format!("{new} {old}"));
        assert_eq!(signed(&rotated, end).unwrap(), new);
        // The same again is no change: the one before stays.
        let again = rotated.clone().changed_to(&format!(" {NEW}\n"), 5_000);
        assert_eq!(signed(&again, end - 1).unwrap(), format!("{new} {old}"));
        assert_eq!(signed(&rotated.changed_to("", 5_000), 5_000), None);
        assert_eq!(signed(&CallbackSecrets::default(), 0), None);
    }

    #[test]
    fn secrets_are_read_in_the_forms_that_there_are() {
        let of = |bytes: usize| STANDARD.encode(vec![7; bytes]);
        for good in [format!("whsec_{}", of(24)), of(24), of(64), format!(" {}\n", of(32))] {
            key(&good).unwrap();
        }
        for bad in ["", "whsec_", "whsec_x", "geheim", &of(23), &of(65), &format!("whsk_{}", of(32))] {
            assert_eq!(key(bad).unwrap_err().0, Reason::Invalid, "{bad}");
        }
    }

    #[test]
    fn secrets_stay_secret() {
        let shown = format!("{:?}", secrets(OLD).changed_to(NEW, 0));
        assert!(!shown.contains("AQID") && !shown.contains("ISIj"), "{shown}");
        let kept: CallbackSecrets = serde_json::from_str(&serde_json::to_string(&secrets(OLD)).unwrap()).unwrap();
        assert!(kept.current.matches(OLD));
    }
}
