//! Settings of an Infobip sender.

use serde::{Deserialize, Serialize};

use super::wire;
use crate::domain::PhoneNumber;
use crate::error::{Reason, Violations};
use crate::proto::InfobipConfig;
use crate::provider::{Secret, Secrets, Settings, address};

/// What the operator gave. Serialised only to be sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// The account's address; below it, the paths of the documentation.
    pub base_url: String,
    /// The key.
    pub api_key: Secret,
    /// The sender's number.
    pub from: String,
    /// What a webhook must carry, since Infobip signs nothing.
    pub webhook_token: Secret,
}

impl Config {
    /// The number as Infobip takes it: digits.
    pub fn number(&self) -> &str {
        self.from.trim().trim_start_matches('+')
    }
}

impl Settings for Config {
    type Proto = InfobipConfig;

    fn from_proto(proto: InfobipConfig) -> Self {
        Self {
            base_url: proto.base_url.trim().to_owned(),
            api_key: proto.api_key.into(),
            from: proto.from,
            webhook_token: proto.webhook_token.into(),
        }
    }

    fn to_proto(&self, secrets: Secrets) -> InfobipConfig {
        InfobipConfig {
            base_url: self.base_url.clone(),
            api_key: self.api_key.told(secrets),
            from: self.from.clone(),
            webhook_token: self.webhook_token.told(secrets),
        }
    }

    fn stored_secrets(&self) -> Vec<&'static str> {
        let secrets = [("api_key", &self.api_key), ("webhook_token", &self.webhook_token)];
        secrets.into_iter().filter(|(_, secret)| !secret.is_empty()).map(|(field, _)| field).collect()
    }

    fn check(&self, violations: &mut Violations) {
        match self.base_url.is_empty() {
            true => {
                let description = format!("the account's address, such as {}", wire::BASE_URL_EXAMPLE);
                violations.add("base_url", Reason::Required, description);
            }
            false => drop(violations.check("base_url", address::base(&self.base_url, wire::BASE_URL_EXAMPLE))),
        }
        self.api_key.check_for_header("api_key", "the API key", violations);
        violations.check("from", self.from.trim().parse::<PhoneNumber>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto() -> InfobipConfig {
        InfobipConfig {
            base_url: wire::BASE_URL_EXAMPLE.into(),
            api_key: "key-0f0e0d0c".into(),
            from: "551140001000".into(),
            webhook_token: "token-9f2c".into(),
        }
    }

    fn violations(proto: InfobipConfig) -> Vec<(String, Reason)> {
        let mut violations = Violations::default();
        Config::from_proto(proto).check(&mut violations);
        violations.into_vec().into_iter().map(|v| (v.field, v.reason)).collect()
    }

    #[test]
    fn good_settings_pass() {
        assert_eq!(violations(proto()), []);
        let with_plus = InfobipConfig { from: "+551140001000".into(), ..proto() };
        assert_eq!(Config::from_proto(with_plus.clone()).number(), "551140001000");
        assert_eq!(violations(with_plus), []);
        // Without a token nothing comes in, but messages go out.
        assert_eq!(violations(InfobipConfig { webhook_token: String::new(), ..proto() }), []);
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let required = [("base_url", Reason::Required), ("api_key", Reason::Required), ("from", Reason::Required)];
        assert_eq!(violations(InfobipConfig::default()), required.map(|(field, reason)| (field.to_owned(), reason)));
        let wrong = InfobipConfig {
            base_url: "abc123.api.infobip.com".into(),
            api_key: "key\n".into(),
            from: "Acme".into(),
            ..proto()
        };
        let invalid = ["base_url", "api_key", "from"].map(|field| (field.to_owned(), Reason::Invalid));
        assert_eq!(violations(wrong), invalid);
    }

    #[test]
    fn secrets_are_neither_shown_nor_answered() {
        let stored = Config::from_proto(proto());
        assert_eq!(stored.stored_secrets(), ["api_key", "webhook_token"]);
        let shown = format!("{stored:?}{:?}", stored.to_proto(Secrets::Hidden));
        assert!(!shown.contains("key-0f0e0d0c") && !shown.contains("token-9f2c"), "{shown}");
    }
}
