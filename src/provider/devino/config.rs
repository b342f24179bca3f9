//! Settings of a Devino sender.

use serde::{Deserialize, Serialize};

use super::wire;
use crate::error::{Reason, Violations};
use crate::proto::{DevinoApi, DevinoConfig};
use crate::provider::{Secret, Secrets, Settings, address};

/// What the operator gave. Serialised only to be sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Where the API is; below it, the paths of the documentation.
    pub base_url: String,
    /// The key, as issued.
    pub api_key: Secret,
    /// The sender's name at Devino.
    pub from: String,
    /// Which API.
    #[serde(default)]
    pub api: Api,
    /// What a webhook must carry, since Devino signs nothing.
    pub webhook_token: Secret,
    /// Direct: characters of a text; 0: the default.
    #[serde(default)]
    pub direct_text_max: i32,
    /// Direct: a request is one message by itself.
    #[serde(default)]
    pub direct_unwrapped: bool,
}

/// Devino's APIs for WhatsApp.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Api {
    /// `POST /whatsapp/messages`.
    #[default]
    Classic,
    /// `POST /whatsapp/v2/messages`.
    Direct,
    /// A number that this version has no word for.
    Unknown,
}

impl Config {
    /// Characters of a text.
    pub fn text_max(&self) -> usize {
        match (self.api, usize::try_from(self.direct_text_max)) {
            (Api::Direct, Ok(most @ 1..)) => most,
            _ => wire::TEXT_MAX,
        }
    }
}

impl Settings for Config {
    type Proto = DevinoConfig;

    fn from_proto(proto: DevinoConfig) -> Self {
        let api = match DevinoApi::try_from(proto.api) {
            Ok(DevinoApi::Unspecified | DevinoApi::Classic) => Api::Classic,
            Ok(DevinoApi::Direct) => Api::Direct,
            Err(_) => Api::Unknown,
        };
        let base_url = match proto.base_url.trim() {
            "" => wire::BASE_URL.to_owned(),
            given => given.to_owned(),
        };
        Self {
            base_url,
            api_key: proto.api_key.into(),
            from: proto.from,
            api,
            webhook_token: proto.webhook_token.into(),
            direct_text_max: proto.direct_text_max,
            direct_unwrapped: proto.direct_unwrapped,
        }
    }

    fn to_proto(&self, secrets: Secrets) -> DevinoConfig {
        let api = match self.api {
            Api::Classic => DevinoApi::Classic,
            Api::Direct => DevinoApi::Direct,
            Api::Unknown => DevinoApi::Unspecified,
        };
        DevinoConfig {
            base_url: self.base_url.clone(),
            api_key: self.api_key.told(secrets),
            from: self.from.clone(),
            api: api.into(),
            webhook_token: self.webhook_token.told(secrets),
            direct_text_max: self.direct_text_max,
            direct_unwrapped: self.direct_unwrapped,
        }
    }

    fn stored_secrets(&self) -> Vec<&'static str> {
        let secrets = [("api_key", &self.api_key), ("webhook_token", &self.webhook_token)];
        secrets.into_iter().filter(|(_, secret)| !secret.is_empty()).map(|(field, _)| field).collect()
    }

    fn check(&self, violations: &mut Violations) {
        violations.check("base_url", address::base(&self.base_url, wire::BASE_URL));
        self.api_key.check_for_header("api_key", "the API key, as Devino issued it", violations);
        if self.from.trim().is_empty() {
            violations.add("from", Reason::Required, "the sender's name at Devino");
        }
        if self.api == Api::Unknown {
            violations.add("api", Reason::Invalid, "CLASSIC, DIRECT, or nothing");
        }
        let most = wire::DIRECT_TEXT_MOST;
        if !(0..=most as i32).contains(&self.direct_text_max) {
            violations.add("direct_text_max", Reason::Invalid, format!("1 to {most} characters, or nothing"));
        }
        if self.webhook_token.is_empty() {
            let description =
                "a random token: Devino signs nothing, so webhooks are known by the token in their address";
            violations.add("webhook_token", Reason::Required, description);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto() -> DevinoConfig {
        DevinoConfig {
            base_url: String::new(),
            api_key: "key-0f0e0d0c".into(),
            from: "AcmeCare".into(),
            api: 0,
            webhook_token: "token-9f2c".into(),
            ..Default::default()
        }
    }

    fn violations(proto: DevinoConfig) -> Vec<(String, Reason)> {
        let mut violations = Violations::default();
        Config::from_proto(proto).check(&mut violations);
        violations.into_vec().into_iter().map(|v| (v.field, v.reason)).collect()
    }

    #[test]
    fn good_settings_pass_and_have_defaults() {
        assert_eq!(violations(proto()), []);
        let answered = Config::from_proto(proto()).to_proto(Secrets::Hidden);
        assert_eq!(answered.base_url, "https://api.devino.online");
        assert_eq!(answered.api, i32::from(DevinoApi::Classic));
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let wrong = DevinoConfig { base_url: "ftp://x".into(), direct_text_max: 4_097, ..Default::default() };
        let named = [
            ("base_url", Reason::Invalid),
            ("api_key", Reason::Required),
            ("from", Reason::Required),
            ("direct_text_max", Reason::Invalid),
            ("webhook_token", Reason::Required),
        ];
        assert_eq!(violations(wrong), named.map(|(field, reason)| (field.to_owned(), reason)));
    }

    #[test]
    fn addresses_and_keys_that_could_not_work_are_refused() {
        for base_url in
            ["x", "https://", "https://user@h", "https://:pw@h", "https://h/?a=b", "https://h/#a", "data:,x"]
        {
            let wrong = DevinoConfig { base_url: base_url.into(), ..proto() };
            assert_eq!(violations(wrong), [("base_url".to_owned(), Reason::Invalid)], "{base_url}");
        }
        for api_key in ["key\n", " key", "schlüssel"] {
            let wrong = DevinoConfig { api_key: api_key.into(), ..proto() };
            assert_eq!(violations(wrong), [("api_key".to_owned(), Reason::Invalid)], "{api_key:?}");
        }
        assert_eq!(violations(DevinoConfig { api: 77, ..proto() }), [("api".to_owned(), Reason::Invalid)]);
    }

    #[test]
    fn a_longer_text_is_for_the_direct_api_only() {
        let (classic, direct) = (i32::from(DevinoApi::Classic), i32::from(DevinoApi::Direct));
        for (api, direct_text_max, most) in
            [(classic, 0, 1_000), (classic, 4_096, 1_000), (direct, 0, 1_000), (direct, 4_096, 4_096)]
        {
            let config = Config::from_proto(DevinoConfig { api, direct_text_max, ..proto() });
            assert_eq!(config.text_max(), most);
            assert_eq!(config.to_proto(Secrets::Hidden).direct_text_max, direct_text_max);
        }
        assert_eq!(
            violations(DevinoConfig { direct_text_max: -1, ..proto() }),
            [("direct_text_max".to_owned(), Reason::Invalid)]
        );
    }

    #[test]
    fn secrets_are_neither_shown_nor_answered() {
        let stored = Config::from_proto(proto());
        let shown = format!("{stored:?}");
        assert!(!shown.contains("key-0f0e0d0c") && !shown.contains("token-9f2c"), "{shown}");
        let answered = stored.to_proto(Secrets::Hidden);
        assert_eq!((answered.api_key.as_str(), answered.webhook_token.as_str()), ("", ""));
    }
}
