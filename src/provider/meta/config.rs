//! Settings of a sender at Meta's Cloud API.

use serde::{Deserialize, Serialize};

use super::wire;
use crate::error::{Reason, Violations};
use crate::proto::MetaConfig;
use crate::provider::{Secret, Secrets, Settings, address};

/// What the operator gave. Serialised only to be sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Where the API is, with its version; below it, the paths of the documentation.
    pub base_url: String,
    /// A system user's token.
    pub access_token: Secret,
    /// Meta's id of the number.
    pub phone_number_id: String,
    /// Meta's id of the business account; empty: its templates cannot be read.
    pub waba_id: String,
    /// The app's secret, which signs webhooks; empty: all are refused.
    pub app_secret: Secret,
    /// What Meta repeats when the webhook is set up; empty: it cannot be.
    pub verify_token: Secret,
}

impl Settings for Config {
    type Proto = MetaConfig;

    fn from_proto(proto: MetaConfig) -> Self {
        let base_url = match proto.base_url.trim() {
            "" => wire::BASE_URL.to_owned(),
            given => given.to_owned(),
        };
        Self {
            base_url,
            access_token: proto.access_token.into(),
            phone_number_id: proto.phone_number_id,
            waba_id: proto.waba_id,
            app_secret: proto.app_secret.into(),
            verify_token: proto.verify_token.into(),
        }
    }

    fn to_proto(&self, secrets: Secrets) -> MetaConfig {
        MetaConfig {
            base_url: self.base_url.clone(),
            access_token: self.access_token.told(secrets),
            phone_number_id: self.phone_number_id.clone(),
            waba_id: self.waba_id.clone(),
            app_secret: self.app_secret.told(secrets),
            verify_token: self.verify_token.told(secrets),
        }
    }

    fn stored_secrets(&self) -> Vec<&'static str> {
        let secrets = [
            ("access_token", &self.access_token),
            ("app_secret", &self.app_secret),
            ("verify_token", &self.verify_token),
        ];
        secrets.into_iter().filter(|(_, secret)| !secret.is_empty()).map(|(field, _)| field).collect()
    }

    fn check(&self, violations: &mut Violations) {
        violations.check("base_url", address::base(&self.base_url, wire::BASE_URL));
        self.access_token.check_for_header("access_token", "a system user's access token", violations);
        let digits = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
        match self.phone_number_id.as_str() {
            "" => violations.add("phone_number_id", Reason::Required, "Meta's id of the number, not the number itself"),
            id if !digits(id) => violations.add("phone_number_id", Reason::Invalid, "digits, and nothing else"),
            _ => {}
        }
        if !self.waba_id.is_empty() && !digits(&self.waba_id) {
            violations.add("waba_id", Reason::Invalid, "digits, and nothing else");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto() -> MetaConfig {
        MetaConfig {
            base_url: String::new(),
            access_token: "EAAsample-token".into(),
            phone_number_id: "106540352242922".into(),
            waba_id: "102290129340398".into(),
            app_secret: "sample-app-secret-0001".into(),
            verify_token: "vt-sample".into(),
        }
    }

    fn violations(proto: MetaConfig) -> Vec<(String, Reason)> {
        let mut violations = Violations::default();
        Config::from_proto(proto).check(&mut violations);
        violations.into_vec().into_iter().map(|v| (v.field, v.reason)).collect()
    }

    #[test]
    fn good_settings_pass_and_have_defaults() {
        assert_eq!(violations(proto()), []);
        let few = MetaConfig { access_token: "t".into(), phone_number_id: "1".into(), ..Default::default() };
        assert_eq!(violations(few.clone()), []);
        assert_eq!(Config::from_proto(few.clone()).to_proto(Secrets::Hidden).base_url, wire::BASE_URL);
        assert_eq!(Config::from_proto(few).stored_secrets(), ["access_token"]);
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let wrong = MetaConfig { base_url: "ftp://x".into(), waba_id: "../me".into(), ..Default::default() };
        let named = [
            ("base_url", Reason::Invalid),
            ("access_token", Reason::Required),
            ("phone_number_id", Reason::Required),
            ("waba_id", Reason::Invalid),
        ];
        assert_eq!(violations(wrong), named.map(|(field, reason)| (field.to_owned(), reason)));
        let number = MetaConfig { phone_number_id: "+55 11".into(), ..proto() };
        assert_eq!(violations(number), [("phone_number_id".to_owned(), Reason::Invalid)]);
    }

    #[test]
    fn secrets_are_neither_shown_nor_answered() {
        let stored = Config::from_proto(proto());
        let shown = format!("{stored:?} {:?}", stored.to_proto(Secrets::Hidden));
        for secret in ["EAAsample-token", "sample-app-secret-0001", "vt-sample"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert_eq!(stored.to_proto(Secrets::Shown), MetaConfig { base_url: wire::BASE_URL.into(), ..proto() });
    }
}
