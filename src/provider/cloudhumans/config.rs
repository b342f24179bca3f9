//! Settings of a Cloud Humans sender.

use serde::{Deserialize, Serialize};

use super::wire;
use crate::error::{Reason, Violations};
use crate::proto::{CloudHumansConfig, WebhookSignature};
use crate::provider::{Secret, Secrets, Settings, address};

/// What the operator gave. Serialised only to be sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Where the installation is.
    pub base_url: String,
    /// The token of a user or of an agent bot.
    pub api_access_token: Secret,
    /// The account's number.
    pub account_id: String,
    /// The number of the WhatsApp inbox.
    pub inbox_id: String,
    /// Signs webhooks, or stands in their address.
    pub webhook_secret: Secret,
    /// Which of both.
    #[serde(default)]
    pub webhook_signature: Signature,
    /// Whether a template's language is ignored rather than refused.
    #[serde(default)]
    pub ignore_language_code: bool,
}

/// What proves a webhook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Signature {
    /// The token in the address.
    Off,
    /// The signature where there is one, else the token.
    #[default]
    IfPresent,
    /// The signature.
    Required,
    /// A number that this version has no word for.
    Unknown,
}

impl Settings for Config {
    type Proto = CloudHumansConfig;

    fn from_proto(proto: CloudHumansConfig) -> Self {
        let webhook_signature = match WebhookSignature::try_from(proto.webhook_signature) {
            Ok(WebhookSignature::Off) => Signature::Off,
            Ok(WebhookSignature::Unspecified | WebhookSignature::IfPresent) => Signature::IfPresent,
            Ok(WebhookSignature::Required) => Signature::Required,
            Err(_) => Signature::Unknown,
        };
        Self {
            base_url: proto.base_url.trim().to_owned(),
            api_access_token: proto.api_access_token.into(),
            account_id: proto.account_id.trim().to_owned(),
            inbox_id: proto.inbox_id.trim().to_owned(),
            webhook_secret: proto.webhook_secret.into(),
            webhook_signature,
            ignore_language_code: proto.ignore_language_code,
        }
    }

    fn to_proto(&self, secrets: Secrets) -> CloudHumansConfig {
        let webhook_signature = match self.webhook_signature {
            Signature::Off => WebhookSignature::Off,
            Signature::IfPresent => WebhookSignature::IfPresent,
            Signature::Required => WebhookSignature::Required,
            Signature::Unknown => WebhookSignature::Unspecified,
        };
        CloudHumansConfig {
            base_url: self.base_url.clone(),
            api_access_token: self.api_access_token.told(secrets),
            account_id: self.account_id.clone(),
            inbox_id: self.inbox_id.clone(),
            webhook_secret: self.webhook_secret.told(secrets),
            webhook_signature: webhook_signature.into(),
            ignore_language_code: self.ignore_language_code,
        }
    }

    fn stored_secrets(&self) -> Vec<&'static str> {
        let secrets = [("api_access_token", &self.api_access_token), ("webhook_secret", &self.webhook_secret)];
        secrets.into_iter().filter(|(_, secret)| !secret.is_empty()).map(|(field, _)| field).collect()
    }

    fn check(&self, violations: &mut Violations) {
        match self.base_url.as_str() {
            "" => violations.add("base_url", Reason::Required, format!("such as {}", wire::BASE_URL)),
            given => drop(violations.check("base_url", address::base(given, wire::BASE_URL))),
        }
        let token = "the access token of a user or an agent bot, from its profile";
        self.api_access_token.check_for_header("api_access_token", token, violations);
        number(
            "account_id",
            &self.account_id,
            "the number behind /app/accounts/ in the dashboard's address",
            violations,
        );
        number("inbox_id", &self.inbox_id, "the number of the WhatsApp inbox, from its settings' address", violations);
        if self.webhook_signature == Signature::Unknown {
            violations.add("webhook_signature", Reason::Invalid, "OFF, IF_PRESENT, REQUIRED, or nothing");
        }
    }
}

fn number(field: &str, given: &str, what: &str, violations: &mut Violations) {
    if given.is_empty() {
        violations.add(field, Reason::Required, what);
    } else if given.len() > 18 || given.starts_with('0') || !given.bytes().all(|b| b.is_ascii_digit()) {
        violations.add(field, Reason::Invalid, format!("digits only: {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto() -> CloudHumansConfig {
        CloudHumansConfig {
            base_url: "https://cloudchat.example.test".into(),
            api_access_token: "token-0f0e0d0c".into(),
            account_id: "42".into(),
            inbox_id: " 58 ".into(),
            webhook_secret: "secret-9f2c".into(),
            ..Default::default()
        }
    }

    fn violations(proto: CloudHumansConfig) -> Vec<(String, Reason)> {
        let mut violations = Violations::default();
        Config::from_proto(proto).check(&mut violations);
        violations.into_vec().into_iter().map(|v| (v.field, v.reason)).collect()
    }

    #[test]
    fn good_settings_pass_and_have_defaults() {
        assert_eq!(violations(proto()), []);
        let answered = Config::from_proto(proto()).to_proto(Secrets::Hidden);
        assert_eq!((answered.webhook_signature(), answered.inbox_id.as_str()), (WebhookSignature::IfPresent, "58"));
        assert_eq!(
            violations(CloudHumansConfig { webhook_secret: String::new(), ..proto() }),
            [],
            "then all are refused"
        );
    }

    #[test]
    fn what_is_set_comes_back() {
        for signature in [WebhookSignature::Off, WebhookSignature::IfPresent, WebhookSignature::Required] {
            let given =
                CloudHumansConfig { webhook_signature: signature.into(), ignore_language_code: true, ..proto() };
            let stored = serde_json::to_string(&Config::from_proto(given)).unwrap();
            let read: Config = serde_json::from_str(&stored).unwrap();
            let answered = read.to_proto(Secrets::Shown);
            assert_eq!((answered.webhook_signature(), answered.ignore_language_code), (signature, true));
            assert_eq!(answered.webhook_secret, "secret-9f2c");
        }
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let named = [
            ("base_url", Reason::Required),
            ("api_access_token", Reason::Required),
            ("account_id", Reason::Required),
            ("inbox_id", Reason::Required),
            ("webhook_signature", Reason::Invalid),
        ];
        let wrong = CloudHumansConfig { webhook_signature: 77, ..Default::default() };
        assert_eq!(violations(wrong), named.map(|(field, reason)| (field.to_owned(), reason)));
        for id in ["4/2", "../7", "042", "x", "-1", "1234567890123456789"] {
            let wrong = CloudHumansConfig { account_id: id.into(), inbox_id: id.into(), ..proto() };
            let named = ["account_id", "inbox_id"].map(|field| (field.to_owned(), Reason::Invalid));
            assert_eq!(violations(wrong), named, "{id}");
        }
        let wrong = CloudHumansConfig { base_url: "ftp://x".into(), ..proto() };
        assert_eq!(violations(wrong), [("base_url".to_owned(), Reason::Invalid)]);
    }

    #[test]
    fn secrets_are_neither_shown_nor_answered() {
        let stored = Config::from_proto(proto());
        let shown = format!("{stored:?}");
        assert!(!shown.contains("token-0f0e0d0c") && !shown.contains("secret-9f2c"), "{shown}");
        let answered = stored.to_proto(Secrets::Hidden);
        assert_eq!((answered.api_access_token.as_str(), answered.webhook_secret.as_str()), ("", ""));
        assert_eq!(stored.stored_secrets(), ["api_access_token", "webhook_secret"]);
    }
}
