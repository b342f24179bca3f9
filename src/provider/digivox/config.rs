//! Settings of a Digivox sender.

use std::str::FromStr as _;

use reqwest::header::HeaderName;
use serde::{Deserialize, Serialize};

use super::wire::{self, Word};
use crate::domain::{MessageStatus, PhoneNumber};
use crate::error::{Reason, Violations};
use crate::proto::DigivoxConfig;
use crate::provider::{Secret, Secrets, Settings, address};

/// What the operator gave. Serialised only to be sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Where the API is.
    pub base_url: String,
    /// The client's token.
    pub client_token: Secret,
    /// Digivox's id of the channel.
    pub whatsapp_id: String,
    /// The sender's number as Digivox writes it: digits.
    pub whatsapp_from: String,
    /// What a webhook must carry, since Digivox signs nothing.
    pub webhook_token: Secret,
    /// Where this deployment differs from what was assumed.
    #[serde(default)]
    pub differs: Box<Differences>,
}

/// Makes a struct of texts that are named and filled as in the contract's message, in which empty means: the usual.
macro_rules! texts_of_the_contract {
    ($(#[$doc:meta])* $name:ident { $($field:ident)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        #[allow(missing_docs, reason = "the contract's message says what each is")]
        pub struct $name { $(pub $field: String,)+ }

        impl $name {
            fn from_proto(proto: &DigivoxConfig) -> Self {
                Self { $($field: proto.$field.trim().to_owned(),)+ }
            }

            fn fill(&self, proto: &mut DigivoxConfig) {
                $(proto.$field = self.$field.clone();)+
            }

            /// Names and values.
            fn all(&self) -> Vec<(&'static str, &str)> {
                vec![$((stringify!($field), self.$field.as_str()),)+]
            }
        }
    };
}

texts_of_the_contract! {
    /// JSON pointers, looked at before the usual places.
    Pointers {
        response_id_pointer response_error_pointer response_code_pointer event_pointer channel_pointer account_pointer
        message_pointer message_id_pointer message_from_pointer message_time_pointer message_type_pointer
        message_text_pointer media_url_pointer media_type_pointer media_name_pointer media_caption_pointer
        profile_name_pointer status_word_pointer status_id_pointer status_time_pointer status_code_pointer
        status_error_pointer
    }
}

texts_of_the_contract! {
    /// How requests are made.
    Forms { auth_header auth_scheme send_path whatsapp_id_field status_words }
}

/// Where a deployment differs from what was assumed. Empty: it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Differences {
    /// Between the base and the paths; nothing: the usual; empty: none.
    pub api_prefix: Option<String>,
    /// Member that carries our id; nothing: the usual; empty: none.
    pub message_id_field: Option<String>,
    /// Whether contents are sent that Digivox does not speak of.
    pub rich_contents: bool,
    /// How requests are made.
    #[serde(flatten)]
    pub forms: Forms,
    /// Where things stand.
    #[serde(flatten)]
    pub pointers: Pointers,
}

fn or<'a>(given: &'a str, usual: &'a str) -> &'a str {
    if given.is_empty() { usual } else { given }
}

impl Config {
    /// Where messages are posted. Nothing when settings were stored that would not pass the check of today.
    pub fn send_url(&self) -> Option<url::Url> {
        let mut url = address::base(&self.base_url, wire::BASE_URL_EXAMPLE).ok()?;
        let prefix = self.differs.api_prefix.as_deref().unwrap_or(wire::API_PREFIX).trim_matches('/');
        if !url.path().trim_end_matches('/').ends_with(&format!("/{prefix}")) {
            url = address::below(&url, prefix);
        }
        let path = or(&self.differs.forms.send_path, wire::SEND_PATH);
        Some(address::below(&url, &path.replace(wire::CHANNEL_PLACE, &self.whatsapp_id)))
    }

    /// The header that proves who asks.
    pub fn authorization(&self) -> (&str, String) {
        let forms = &self.differs.forms;
        let token = self.client_token.expose();
        let value = match forms.auth_scheme.as_str() {
            "" => token.to_owned(),
            scheme => format!("{scheme} {token}"),
        };
        (or(&forms.auth_header, wire::AUTH_HEADER), value)
    }

    /// The member that carries our id out and back.
    pub fn message_id_field(&self) -> Option<&str> {
        let field = self.differs.message_id_field.as_deref().unwrap_or(wire::MESSAGE_ID_FIELD);
        (!field.is_empty()).then_some(field)
    }

    /// What a status word means; nothing for one that nobody knows.
    pub fn status_word(&self, given: &str) -> Option<Word> {
        let given = given.trim().to_lowercase();
        let own = pairs(&self.differs.forms.status_words);
        let own = own.into_iter().find(|(word, _)| word.to_lowercase() == given).and_then(|(_, meaning)| meaning);
        let usual = || wire::STATUS_WORDS.iter().find(|(_, words)| words.contains(&given.as_str()));
        own.or_else(|| usual().map(|(meaning, _)| *meaning))
    }
}

/// `concluido=DELIVERED visto=READ`: words, and what they mean when that is known.
fn pairs(given: &str) -> Vec<(&str, Option<Word>)> {
    let meaning = |word: &str| {
        Some(match word {
            "SENT" => Word::Is(MessageStatus::Sent),
            "DELIVERED" => Word::Is(MessageStatus::Delivered),
            "READ" => Word::Is(MessageStatus::Read),
            "PLAYED" => Word::Is(MessageStatus::Played),
            "FAILED" => Word::Failed,
            "EXPIRED" => Word::Expired,
            _ => return None,
        })
    };
    let pair = |pair| match str::split_once(pair, '=') {
        Some((word, status)) if !word.is_empty() => (word, meaning(status)),
        _ => (pair, None),
    };
    given.split_whitespace().map(pair).collect()
}

impl Settings for Config {
    type Proto = DigivoxConfig;

    fn from_proto(proto: DigivoxConfig) -> Self {
        let differs = Differences {
            api_prefix: proto.api_prefix.as_deref().map(|prefix| prefix.trim().to_owned()),
            message_id_field: proto.message_id_field.as_deref().map(|field| field.trim().to_owned()),
            rich_contents: proto.rich_contents,
            forms: Forms::from_proto(&proto),
            pointers: Pointers::from_proto(&proto),
        };
        Self {
            base_url: proto.base_url.trim().to_owned(),
            client_token: proto.client_token.into(),
            whatsapp_id: proto.whatsapp_id.trim().to_owned(),
            whatsapp_from: proto.whatsapp_from.trim().to_owned(),
            webhook_token: proto.webhook_token.into(),
            differs: Box::new(differs),
        }
    }

    fn to_proto(&self, secrets: Secrets) -> DigivoxConfig {
        let mut proto = DigivoxConfig {
            base_url: self.base_url.clone(),
            client_token: self.client_token.told(secrets),
            whatsapp_id: self.whatsapp_id.clone(),
            whatsapp_from: self.whatsapp_from.clone(),
            webhook_token: self.webhook_token.told(secrets),
            api_prefix: self.differs.api_prefix.clone(),
            message_id_field: self.differs.message_id_field.clone(),
            rich_contents: self.differs.rich_contents,
            ..DigivoxConfig::default()
        };
        self.differs.forms.fill(&mut proto);
        self.differs.pointers.fill(&mut proto);
        proto
    }

    fn stored_secrets(&self) -> Vec<&'static str> {
        let secrets = [("client_token", &self.client_token), ("webhook_token", &self.webhook_token)];
        secrets.into_iter().filter(|(_, secret)| !secret.is_empty()).map(|(field, _)| field).collect()
    }

    fn check(&self, violations: &mut Violations) {
        violations.check("base_url", address::base(&self.base_url, wire::BASE_URL_EXAMPLE));
        self.client_token.check_for_header("client_token", "the client's token, as Digivox issued it", violations);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.whatsapp_id.is_empty() {
            violations.add("whatsapp_id", Reason::Required, "Digivox's id of the channel, a UUID");
        } else if !self.whatsapp_id.chars().all(plain) {
            violations.add("whatsapp_id", Reason::Invalid, "an id has letters, digits and dashes: a UUID");
        }
        if self.whatsapp_from.is_empty() {
            violations.add("whatsapp_from", Reason::Required, "the sender's number as Digivox writes it, digits only");
        } else if PhoneNumber::digits_of(&self.whatsapp_from).as_ref() != Some(&self.whatsapp_from) {
            violations.add("whatsapp_from", Reason::Invalid, "a number with its country code, digits only");
        }
        self.differs.check(violations);
    }
}

impl Differences {
    fn check(&self, violations: &mut Violations) {
        let Forms { auth_header, auth_scheme, status_words, .. } = &self.forms;
        if !auth_header.is_empty() && HeaderName::from_str(auth_header).is_err() {
            violations.add("auth_header", Reason::Invalid, "the name of an HTTP header, such as access-token");
        }
        if !auth_scheme.bytes().all(|b| matches!(b, b'!'..=b'~') || b.is_ascii_control()) {
            violations.add("auth_scheme", Reason::Invalid, "one word, such as Bearer");
        }
        for (word, _) in pairs(status_words).into_iter().filter(|(_, meaning)| meaning.is_none()) {
            let description = format!(
                "{word:?} is no pair like concluido=DELIVERED; to the right SENT, DELIVERED, READ, PLAYED, FAILED or EXPIRED"
            );
            violations.add("status_words", Reason::Invalid, description);
        }
        for (field, text) in self.forms.all() {
            if text.chars().any(char::is_control) {
                violations.add(field, Reason::Invalid, "no control characters");
            }
        }
        for (field, pointer) in self.pointers.all() {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                violations.add(field, Reason::Invalid, "a JSON pointer begins with a slash: /message/id");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto() -> DigivoxConfig {
        DigivoxConfig {
            base_url: "https://dcs.example.test/dcs-gateway".into(),
            client_token: "1d2e3f40-aaaa-4bbb-8ccc-ddddeeeeffff".into(),
            whatsapp_id: "5b0c7e1a-2222-4333-8444-555566667777".into(),
            whatsapp_from: "558330000001".into(),
            webhook_token: "token-9f2c".into(),
            ..Default::default()
        }
    }

    fn violations(proto: DigivoxConfig) -> Vec<(String, Reason)> {
        let mut violations = Violations::default();
        Config::from_proto(proto).check(&mut violations);
        violations.into_vec().into_iter().map(|v| (v.field, v.reason)).collect()
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        assert_eq!(violations(proto()), []);
        let empty = [
            ("base_url", Reason::Invalid),
            ("client_token", Reason::Required),
            ("whatsapp_id", Reason::Required),
            ("whatsapp_from", Reason::Required),
        ];
        assert_eq!(violations(DigivoxConfig::default()), empty.map(|(field, reason)| (field.to_owned(), reason)));
        let wrong = DigivoxConfig {
            whatsapp_id: "a/b".into(),
            whatsapp_from: "+558330000001".into(),
            auth_header: "a b".into(),
            auth_scheme: "a b".into(),
            status_words: "ok=DELIVERED visto lido=GONE".into(),
            status_word_pointer: "status.status".into(),
            ..proto()
        };
        let fields: Vec<String> = violations(wrong).into_iter().map(|(field, _)| field).collect();
        let expected = [
            "whatsapp_id",
            "whatsapp_from",
            "auth_header",
            "auth_scheme",
            "status_words",
            "status_words",
            "status_word_pointer",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn the_address_is_put_together_once() {
        let channel = "5b0c7e1a-2222-4333-8444-555566667777";
        let usual = format!("https://dcs.example.test/dcs-gateway/api/v1/whatsapp/{channel}/messages");
        for base in [
            "https://dcs.example.test/dcs-gateway",
            "https://dcs.example.test/dcs-gateway/",
            "https://dcs.example.test/dcs-gateway/api/v1",
            "https://dcs.example.test/dcs-gateway/api/v1/",
        ] {
            let config = Config::from_proto(DigivoxConfig { base_url: base.into(), ..proto() });
            assert_eq!(config.send_url().unwrap().as_str(), usual, "{base}");
        }
        for (prefix, path, url) in [
            (Some(""), "", format!("https://dcs.example.test/dcs-gateway/whatsapp/{channel}/messages")),
            (Some("v2"), "send", "https://dcs.example.test/dcs-gateway/v2/send".to_owned()),
            (None, "/{whatsapp_id}/send", format!("https://dcs.example.test/dcs-gateway/api/v1/{channel}/send")),
        ] {
            let api_prefix = prefix.map(str::to_owned);
            let config = Config::from_proto(DigivoxConfig { api_prefix, send_path: path.into(), ..proto() });
            assert_eq!(config.send_url().unwrap().as_str(), url);
        }
    }

    #[test]
    fn the_token_goes_where_the_deployment_wants_it() {
        let token = proto().client_token;
        for (header, scheme, expected) in [
            ("", "", ("access-token", token.clone())),
            ("Authorization", "Bearer", ("Authorization", format!("Bearer {token}"))),
        ] {
            let config = DigivoxConfig { auth_header: header.into(), auth_scheme: scheme.into(), ..proto() };
            assert_eq!(Config::from_proto(config).authorization(), expected);
        }
    }

    #[test]
    fn words_of_the_settings_come_before_the_usual_ones() {
        let own = DigivoxConfig { status_words: "concluido=DELIVERED  sent=READ".into(), ..proto() };
        let config = Config::from_proto(own);
        for (word, meaning) in [
            ("CONCLUIDO", Some(Word::Is(MessageStatus::Delivered))),
            ("sent", Some(Word::Is(MessageStatus::Read))),
            (" Entregue ", Some(Word::Is(MessageStatus::Delivered))),
            ("Falha", Some(Word::Failed)),
            ("expirado", Some(Word::Expired)),
            ("teleported", None),
            ("", None),
        ] {
            assert_eq!(config.status_word(word), meaning, "{word}");
        }
    }

    #[test]
    fn settings_come_back_as_they_were_given_and_secrets_do_not() {
        let mut given = proto();
        given.api_prefix = Some(String::new());
        given.message_id_field = Some("ref".into());
        given.rich_contents = true;
        given.status_word_pointer = "/data/state".into();
        given.send_path = "/send".into();
        let config = Config::from_proto(given.clone());
        assert_eq!(config.to_proto(Secrets::Shown), given);
        let sealed = serde_json::to_string(&config).unwrap();
        let opened: Config = serde_json::from_str(&sealed).unwrap();
        assert_eq!(opened.to_proto(Secrets::Shown), given);
        let hidden = config.to_proto(Secrets::Hidden);
        assert_eq!((hidden.client_token.as_str(), hidden.webhook_token.as_str()), ("", ""));
        let shown = format!("{config:?}");
        assert!(!shown.contains("1d2e3f40") && !shown.contains("token-9f2c"), "{shown}");
    }
}
