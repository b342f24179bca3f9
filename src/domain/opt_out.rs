//! People who do not want to be written to: how they say so, and what that stands against.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::judge::{Case, Verdict};
use super::template::TemplateCategory;
use super::{Contact, Content, DeliveryError, ErrorReason, IncomingContent, MessageId, Millis, NewMessage, SenderId};
use crate::error::{Error, Reason, Violations};

/// Words of each kind that a sender may have, at most.
const WORDS_MAX: usize = 20;
/// Characters of a word, at most.
const WORD_MAX: usize = 64;

/// What somebody does not want. The numbers are the contract's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum OptOutCategory {
    /// Anything.
    #[default]
    All = 1,
    /// Marketing templates.
    Marketing = 2,
}

impl OptOutCategory {
    /// By its number.
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::All, Self::Marketing].into_iter().find(|category| *category as i16 == number)
    }

    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Marketing => "MARKETING",
        }
    }
}

/// How the gateway learnt of it. The numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum OptOutSource {
    /// By an rpc.
    Api = 1,
    /// By a word that the person wrote.
    Word = 2,
    /// By the provider.
    Provider = 3,
}

impl OptOutSource {
    /// By its number.
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Api, Self::Word, Self::Provider].into_iter().find(|source| *source as i16 == number)
    }

    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "API",
            Self::Word => "WORD",
            Self::Provider => "PROVIDER",
        }
    }
}

/// Somebody who does not want to be written to by a sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OptOut {
    /// Whom they do not want to hear of.
    pub sender: SenderId,
    /// What people are matched by: a number in its one form, or a user id.
    pub peer: String,
    /// What they do not want.
    pub category: OptOutCategory,
    /// How we know.
    pub source: OptOutSource,
    /// When they said so.
    pub create_at_ms: Millis,
    /// The incoming message that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// Who they are, as the provider or the caller named them.
    pub contact: Contact,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl OptOut {
    /// Whether it stands against a message to this person.
    pub fn stands_against(&self, request: &NewMessage) -> bool {
        let is_template = matches!(request.content, Content::Template(_));
        match (self.category, is_template, request.template_category) {
            (OptOutCategory::All, true, Some(TemplateCategory::Marketing)) => true,
            // Where the category is not known, the caller's word counts.
            (OptOutCategory::All, true, _) => !request.ignore_opt_out,
            (OptOutCategory::All, false, _) => true,
            (OptOutCategory::Marketing, false, _) => false,
            (OptOutCategory::Marketing, true, Some(category)) => category == TemplateCategory::Marketing,
            (OptOutCategory::Marketing, true, None) => !request.ignore_opt_out,
        }
    }

    /// What somebody is told who wants to send a message that it stands against.
    pub fn refusal(&self) -> Error {
        let mut metadata = vec![
            ("sender", self.sender.to_string()),
            ("peer", self.peer.clone()),
            ("category", self.category.as_str().to_owned()),
            ("source", self.source.as_str().to_owned()),
            ("create_time", rfc3339(self.create_at_ms)),
        ];
        metadata.extend(self.message_id.map(|id| ("message_id", id.to_string())));
        Error::Precondition { reason: "OPTED_OUT", message: self.told(), metadata }
    }

    /// What becomes of a message that was accepted before.
    pub fn failure(&self) -> DeliveryError {
        DeliveryError::ours(ErrorReason::RecipientOptedOut, self.told(), false)
    }

    fn told(&self) -> String {
        let what = match self.category {
            OptOutCategory::All => "be written to",
            OptOutCategory::Marketing => "get marketing messages",
        };
        let how = match (self.source, self.message_id) {
            (OptOutSource::Api, _) => "as CreateOptOut was told".to_owned(),
            (OptOutSource::Word, Some(id)) => format!("by the words of incoming message {id}"),
            (OptOutSource::Word, None) => "by a word of theirs".to_owned(),
            (OptOutSource::Provider, _) => "as the provider told".to_owned(),
        };
        format!("the person does not want to {what}: since {}, {how}", rfc3339(self.create_at_ms))
    }
}

/// What a person asked for ends a message, before its hand-over.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let mut stand = case.known.opt_outs.iter().filter(|opt_out| opt_out.stands_against(case.request));
    stand.next().map_or(Verdict::Go, |opt_out| Verdict::End(opt_out.failure()))
}

/// A time for people and programs.
pub(super) fn rfc3339(at_ms: Millis) -> String {
    let since = Duration::from_millis(u64::try_from(at_ms).unwrap_or_default());
    // What no calendar holds is no time of ours.
    let time = SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_millis(time).to_string()
}

/// What a person said about being written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// No more of it; otherwise: again, please.
    pub out: bool,
    /// Of what.
    pub category: OptOutCategory,
    /// How it was said.
    pub source: OptOutSource,
}

/// The words by which people opt out of a sender and in again. None: nobody does by words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptOutWords {
    /// No more, as the operator wrote them.
    pub stop: Vec<String>,
    /// Again.
    pub start: Vec<String>,
    /// Of what.
    pub category: OptOutCategory,
}

impl OptOutWords {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.stop.is_empty() && self.start.is_empty()
    }

    /// Notes all that is wrong with them; `path` is that of the whole.
    pub fn check(&self, path: &str, violations: &mut Violations) {
        let mut seen: Vec<String> = Vec::new();
        for (name, words) in [("stop", &self.stop), ("start", &self.start)] {
            if words.len() > WORDS_MAX {
                let description = format!("{} words; there are at most {WORDS_MAX}", words.len());
                violations.add(format!("{path}.{name}"), Reason::TooLong, description);
            }
            for (i, word) in words.iter().enumerate() {
                let path = format!("{path}.{name}[{i}]");
                let plain = folded(word);
                if word.chars().count() > WORD_MAX {
                    violations.add(&path, Reason::TooLong, format!("a word has at most {WORD_MAX} characters"));
                }
                if word.chars().any(char::is_control) {
                    violations.add(&path, Reason::Invalid, "a word has no control characters");
                } else if plain.is_empty() {
                    violations.add(&path, Reason::Required, "a word has at least one letter or digit");
                } else if seen.contains(&plain) {
                    violations.add(&path, Reason::Invalid, "the same word stands before it");
                }
                seen.push(plain);
            }
        }
    }

    /// What a message says by one of the words.
    pub fn wish(&self, content: &IncomingContent) -> Option<Wish> {
        if self.is_empty() {
            return None;
        }
        let said = match content {
            IncomingContent::Text(text) => &text.body,
            IncomingContent::ButtonReply { title, .. } => title,
            _ => return None,
        };
        // Nobody reads a long text for a word.
        if said.len() > 8 * WORD_MAX {
            return None;
        }
        let said = folded(said);
        let among = |words: &[String]| words.iter().any(|word| folded(word) == said);
        let wish = |out| Wish { out, category: self.category, source: OptOutSource::Word };
        match (among(&self.stop), among(&self.start)) {
            (true, _) => Some(wish(true)),
            (false, true) => Some(wish(false)),
            (false, false) => None,
        }
    }
}

/// A text by which words are compared: without case and accents, one blank between words, no punctuation around it.
fn folded(text: &str) -> String {
    let plain: String = text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    words.join(" ").trim_matches(|c: char| !c.is_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::content::{Template, Text};
    use super::super::message::{InDoubtPolicy, Priority};
    use super::*;

    fn text(body: &str) -> IncomingContent {
        IncomingContent::Text(Text { body: body.into(), preview_url: false })
    }

    fn words(stop: &[&str], start: &[&str]) -> OptOutWords {
        let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        OptOutWords { stop: owned(stop), start: owned(start), category: OptOutCategory::All }
    }

    #[test]
    fn a_whole_message_is_a_word_whatever_its_case_and_accents() {
        let words = words(&["STOP", "Parar", "não quero", "退订"], &["voltar"]);
        for (said, out) in [
            ("stop", Some(true)),
            ("STOP", Some(true)),
            ("  Stop!\n", Some(true)),
            ("«parar».", Some(true)),
            ("PARÁR", Some(true)),
            ("NAO   QUERO", Some(true)),
            ("na\u{303}o quero", Some(true)),
            ("ｓｔｏｐ", Some(true)),
            ("退订", Some(true)),
            ("Voltar", Some(false)),
            ("quero parar", None),
            ("parar não", None),
            ("stopp", None),
            ("", None),
            ("!", None),
        ] {
            assert_eq!(words.wish(&text(said)).map(|wish| wish.out), out, "{said:?}");
        }
        let button = IncomingContent::ButtonReply { id: "1".into(), title: "Parar".into() };
        assert_eq!(words.wish(&button).map(|wish| wish.source), Some(OptOutSource::Word));
        let none = IncomingContent::Unsupported { r#type: "stop".into(), raw: "stop".into() };
        assert_eq!(words.wish(&none), None);
        assert_eq!(OptOutWords::default().wish(&text("stop")), None);
    }

    #[test]
    fn words_are_checked_all_at_once() {
        let mut violations = Violations::default();
        words(&["STOP", "stóp", "!", &"x".repeat(65)], &["Stop", "a\0"]).check("w", &mut violations);
        let found: Vec<_> = violations.iter().map(|v| format!("{} {}", v.field, v.reason.as_str())).collect();
        assert_eq!(
            found,
            [
                "w.stop[1] INVALID",
                "w.stop[2] REQUIRED",
                "w.stop[3] TOO_LONG",
                "w.start[0] INVALID",
                "w.start[1] INVALID"
            ]
        );
        let mut violations = Violations::default();
        OptOutWords { stop: (0..21).map(|n| n.to_string()).collect(), ..words(&[], &[]) }.check("w", &mut violations);
        assert_eq!(violations.iter().count(), 1);
    }

    fn template_content() -> Template {
        let (template, language_code) = ("t".into(), "pt_BR".into());
        Template { template, language_code, ..Default::default() }
    }

    #[test]
    fn an_opt_out_stands_against_what_it_names() {
        use OptOutCategory::{All, Marketing};
        use TemplateCategory::{Authentication, Utility};
        let template = |category, ignore_opt_out| (Content::Template(template_content()), category, ignore_opt_out);
        let text = |ignore| (Content::Text(Text { body: "x".into(), preview_url: false }), None, ignore);
        for (case, against_all, against_marketing) in [
            (text(false), true, false),
            (text(true), true, false),
            (template(Some(TemplateCategory::Marketing), false), true, true),
            (template(Some(TemplateCategory::Marketing), true), true, true),
            (template(Some(Utility), false), true, false),
            (template(Some(Utility), true), false, false),
            (template(Some(Authentication), true), false, false),
            (template(None, false), true, true),
            (template(None, true), false, false),
        ] {
            let said = format!("{case:?}");
            let (content, template_category, ignore_opt_out) = case;
            let request = NewMessage {
                fallback_senders: Vec::new(),
                on_window_closed: Default::default(),
                callback_url: String::new(),
                sender: SenderId::trusted("acme".into()),
                to: "351910000001".parse().unwrap(),
                content,
                reply_to_message_id: None,
                send_at_ms: None,
                validity_ms: None,
                callback_data: String::new(),
                labels: BTreeMap::new(),
                priority: Priority::Normal,
                in_doubt_policy: InDoubtPolicy::AtMostOnce,
                ignore_opt_out,
                ignore_known_failures: false,
                template_category,
            };
            let opt_out = |category| OptOut {
                sender: request.sender.clone(),
                peer: request.to.peer(),
                category,
                source: OptOutSource::Api,
                create_at_ms: 0,
                message_id: None,
                contact: Contact::default(),
                note: String::new(),
            };
            assert_eq!(opt_out(All).stands_against(&request), against_all, "{said}");
            assert_eq!(opt_out(Marketing).stands_against(&request), against_marketing, "{said}");
        }
    }

    #[test]
    fn a_refusal_names_when_and_how_it_came() {
        let id = MessageId::generate();
        let opt_out = OptOut {
            sender: SenderId::trusted("acme".into()),
            peer: "351910000001".into(),
            category: OptOutCategory::All,
            source: OptOutSource::Word,
            create_at_ms: 1_767_225_600_000,
            message_id: Some(id),
            contact: Contact::default(),
            note: String::new(),
        };
        let Error::Precondition { reason, message, metadata } = opt_out.refusal() else { panic!("another error") };
        assert_eq!(reason, "OPTED_OUT");
        assert!(message.contains("2026-01-01T00:00:00.000Z") && message.contains(&id.to_string()), "{message}");
        assert!(metadata.contains(&("create_time", "2026-01-01T00:00:00.000Z".to_owned())));
        assert_eq!(opt_out.failure().reason, ErrorReason::RecipientOptedOut);
    }
}
