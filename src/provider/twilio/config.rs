//! Settings of a Twilio sender.

use serde::{Deserialize, Serialize};

use super::wire;
use crate::domain::PhoneNumber;
use crate::error::{Reason, Violations};
use crate::proto::TwilioConfig;
use crate::provider::{Secret, Secrets, Settings, address};

/// What the operator gave. Serialised only to be sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Where the API is; below it, the paths of the documentation.
    pub base_url: String,
    /// Where the Content API is.
    pub content_base_url: String,
    /// The account, `AC…`.
    pub account_sid: String,
    /// The account's token: it makes requests, and checks the signature of webhooks.
    pub auth_token: Secret,
    /// The secondary token, which signs too while tokens are rotated.
    #[serde(default)]
    pub secondary_auth_token: Secret,
    /// An API key, `SK…`, that makes requests instead of the token.
    #[serde(default)]
    pub api_key_sid: String,
    /// Its secret.
    #[serde(default)]
    pub api_key_secret: Secret,
    /// The sender's number.
    pub from: String,
    /// The messaging service, `MG…`.
    pub messaging_service_sid: String,
}

impl Config {
    /// The number as Twilio takes it, `whatsapp:+14155550100`; nothing when only a service is given.
    pub fn from_address(&self) -> Option<String> {
        let number = wire::without_channel(self.from.trim()).trim_start_matches('+');
        (!number.is_empty()).then(|| format!("{}+{number}", wire::CHANNEL))
    }

    /// Who makes requests, and with which password.
    pub fn credentials(&self) -> (&str, &Secret) {
        match self.api_key_sid.is_empty() {
            true => (&self.account_sid, &self.auth_token),
            false => (&self.api_key_sid, &self.api_key_secret),
        }
    }

    fn secrets(&self) -> [(&'static str, &Secret); 3] {
        [
            ("auth_token", &self.auth_token),
            ("api_key_secret", &self.api_key_secret),
            ("secondary_auth_token", &self.secondary_auth_token),
        ]
    }

    fn check_sid(field: &str, prefix: &str, sid: &str, violations: &mut Violations) {
        if !sid.is_empty() && !wire::is_sid(prefix, sid) {
            violations.add(field, Reason::Invalid, format!("{prefix} and 32 hexadecimal digits"));
        }
    }
}

impl Settings for Config {
    type Proto = TwilioConfig;

    fn from_proto(proto: TwilioConfig) -> Self {
        let or = |given: &str, default: &str| match given.trim() {
            "" => default.to_owned(),
            given => given.to_owned(),
        };
        Self {
            base_url: or(&proto.base_url, wire::BASE_URL),
            content_base_url: or(&proto.content_base_url, wire::CONTENT_BASE_URL),
            account_sid: proto.account_sid.trim().to_owned(),
            auth_token: proto.auth_token.into(),
            secondary_auth_token: proto.secondary_auth_token.into(),
            api_key_sid: proto.api_key_sid.trim().to_owned(),
            api_key_secret: proto.api_key_secret.into(),
            from: proto.from,
            messaging_service_sid: proto.messaging_service_sid.trim().to_owned(),
        }
    }

    fn to_proto(&self, secrets: Secrets) -> TwilioConfig {
        TwilioConfig {
            base_url: self.base_url.clone(),
            content_base_url: self.content_base_url.clone(),
            account_sid: self.account_sid.clone(),
            auth_token: self.auth_token.told(secrets),
            secondary_auth_token: self.secondary_auth_token.told(secrets),
            api_key_sid: self.api_key_sid.clone(),
            api_key_secret: self.api_key_secret.told(secrets),
            from: self.from.clone(),
            messaging_service_sid: self.messaging_service_sid.clone(),
        }
    }

    fn stored_secrets(&self) -> Vec<&'static str> {
        self.secrets().into_iter().filter(|(_, secret)| !secret.is_empty()).map(|(field, _)| field).collect()
    }

    fn check(&self, violations: &mut Violations) {
        violations.check("base_url", address::base(&self.base_url, wire::BASE_URL));
        violations.check("content_base_url", address::base(&self.content_base_url, wire::CONTENT_BASE_URL));
        if self.account_sid.is_empty() {
            violations.add("account_sid", Reason::Required, "the account's SID, AC…");
        }
        Self::check_sid("account_sid", "AC", &self.account_sid, violations);
        self.auth_token.check_for_header("auth_token", "the account's token: it checks signatures, too", violations);
        Self::check_sid("api_key_sid", "SK", &self.api_key_sid, violations);
        if !self.api_key_sid.is_empty() {
            self.api_key_secret.check_for_header("api_key_secret", "the secret of api_key_sid", violations);
        }
        Self::check_sid("messaging_service_sid", "MG", &self.messaging_service_sid, violations);
        match wire::without_channel(self.from.trim()) {
            "" if self.messaging_service_sid.is_empty() => {
                violations.add("from", Reason::Required, "the sender's number in E.164, or messaging_service_sid");
            }
            "" => {}
            number => {
                violations.check("from", number.parse::<PhoneNumber>());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto() -> TwilioConfig {
        TwilioConfig {
            account_sid: "AC0123456789abcdef0123456789abcdef".into(),
            auth_token: "token-0f0e0d0c".into(),
            from: "+14155550100".into(),
            ..Default::default()
        }
    }

    fn violations(proto: TwilioConfig) -> Vec<(String, Reason)> {
        let mut violations = Violations::default();
        Config::from_proto(proto).check(&mut violations);
        violations.into_vec().into_iter().map(|v| (v.field, v.reason)).collect()
    }

    #[test]
    fn good_settings_pass_and_have_defaults() {
        let service = "MG0123456789abcdef0123456789abcdef";
        for good in [
            proto(),
            TwilioConfig { from: "whatsapp:+14155550100".into(), ..proto() },
            TwilioConfig { from: String::new(), messaging_service_sid: service.into(), ..proto() },
            TwilioConfig {
                api_key_sid: "SK0123456789abcdef0123456789abcdef".into(),
                api_key_secret: "s3cr3t".into(),
                ..proto()
            },
        ] {
            assert_eq!(violations(good), []);
        }
        let answered = Config::from_proto(proto()).to_proto(Secrets::Hidden);
        let urls = (answered.base_url.as_str(), answered.content_base_url.as_str());
        assert_eq!(urls, ("https://api.twilio.com", "https://content.twilio.com"));
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let wrong = TwilioConfig {
            base_url: "ftp://x".into(),
            content_base_url: "x".into(),
            account_sid: "1".into(),
            api_key_sid: "SK".into(),
            messaging_service_sid: "AC0123456789abcdef0123456789abcdef".into(),
            from: "AcmeCare".into(),
            ..Default::default()
        };
        let named = [
            ("base_url", Reason::Invalid),
            ("content_base_url", Reason::Invalid),
            ("account_sid", Reason::Invalid),
            ("auth_token", Reason::Required),
            ("api_key_sid", Reason::Invalid),
            ("api_key_secret", Reason::Required),
            ("messaging_service_sid", Reason::Invalid),
            ("from", Reason::Invalid),
        ];
        assert_eq!(violations(wrong), named.map(|(field, reason)| (field.to_owned(), reason)));
        let nobody = TwilioConfig { from: String::new(), account_sid: String::new(), ..proto() };
        let named = [("account_sid", Reason::Required), ("from", Reason::Required)];
        assert_eq!(violations(nobody), named.map(|(field, reason)| (field.to_owned(), reason)));
    }

    #[test]
    fn numbers_take_twilios_form() {
        for from in ["14155550100", "+14155550100", "whatsapp:+14155550100"] {
            let config = Config::from_proto(TwilioConfig { from: from.into(), ..proto() });
            assert_eq!(config.from_address().as_deref(), Some("whatsapp:+14155550100"));
        }
        assert_eq!(Config::from_proto(TwilioConfig { from: String::new(), ..proto() }).from_address(), None);
    }

    #[test]
    fn secrets_are_neither_shown_nor_answered() {
        let secrets = ["token-0f0e0d0c", "key-9f2c", "other-7b1e"];
        let proto =
            TwilioConfig { api_key_secret: secrets[1].into(), secondary_auth_token: secrets[2].into(), ..proto() };
        let stored = Config::from_proto(proto);
        assert_eq!(stored.stored_secrets(), ["auth_token", "api_key_secret", "secondary_auth_token"]);
        let shown = format!("{stored:?}{:?}", stored.to_proto(Secrets::Hidden));
        assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
    }
}
