//! Settings of a sender at 360dialog.

use serde::{Deserialize, Serialize};

use super::wire;
use crate::error::Violations;
use crate::proto::Dialog360Config;
use crate::provider::{Secret, Secrets, Settings, address};

/// What the operator gave. Serialised only to be sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Where the API is; below it, the paths of the documentation.
    pub base_url: String,
    /// The key of the number.
    pub api_key: Secret,
    /// What a webhook must carry, since 360dialog signs nothing; empty: all are refused.
    pub webhook_token: Secret,
}

impl Settings for Config {
    type Proto = Dialog360Config;

    fn from_proto(proto: Dialog360Config) -> Self {
        let base_url = match proto.base_url.trim() {
            "" => wire::BASE_URL.to_owned(),
            given => given.to_owned(),
        };
        Self { base_url, api_key: proto.api_key.into(), webhook_token: proto.webhook_token.into() }
    }

    fn to_proto(&self, secrets: Secrets) -> Dialog360Config {
        Dialog360Config {
            base_url: self.base_url.clone(),
            api_key: self.api_key.told(secrets),
            webhook_token: self.webhook_token.told(secrets),
        }
    }

    fn stored_secrets(&self) -> Vec<&'static str> {
        let secrets = [("api_key", &self.api_key), ("webhook_token", &self.webhook_token)];
        secrets.into_iter().filter(|(_, secret)| !secret.is_empty()).map(|(field, _)| field).collect()
    }

    fn check(&self, violations: &mut Violations) {
        violations.check("base_url", address::base(&self.base_url, wire::BASE_URL));
        self.api_key.check_for_header("api_key", "the API key of the number", violations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    #[test]
    fn settings_have_defaults_and_all_that_is_wrong_is_named() {
        let violations = |proto| {
            let mut violations = Violations::default();
            Config::from_proto(proto).check(&mut violations);
            violations.into_vec().into_iter().map(|v| (v.field, v.reason)).collect::<Vec<_>>()
        };
        let good = Dialog360Config { api_key: "key-0f0e".into(), ..Default::default() };
        assert_eq!(violations(good.clone()), []);
        let answered = Config::from_proto(good).to_proto(Secrets::Hidden);
        assert_eq!((answered.base_url.as_str(), answered.api_key.as_str()), (wire::BASE_URL, ""));
        let wrong = Dialog360Config { base_url: "x".into(), ..Default::default() };
        let named = [("base_url", Reason::Invalid), ("api_key", Reason::Required)];
        assert_eq!(violations(wrong), named.map(|(field, reason)| (field.to_owned(), reason)));
    }
}
