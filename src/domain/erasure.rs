//! Erasing a person: who is meant, what mentions them, and what is left of a thing that is erased.
//!
//! What stays is listed, not what goes: a field that is added later is dropped until somebody decides otherwise.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, BuildError};
use serde_json::{Map, Value};

use super::phone::{peer_of, variants_of};
use super::{Contact, IncomingContent, Payload, PhoneNumber};

/// A person, by all that is known: numbers in their one form ([`super::phone::peer_of`]), and user ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    names: BTreeSet<String>,
}

impl Person {
    /// Whoever has these numbers and ids.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().filter(|name| !name.is_empty()).collect() }
    }

    /// The numbers and ids.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether an event is about this person.
    pub fn is_meant(&self, payload: &Payload) -> bool {
        self.names.iter().any(|name| payload.is_about(name))
    }

    /// Whether a provider means this person.
    pub fn is(&self, contact: &Contact) -> bool {
        contact.peers().any(|peer| self.names.contains(&peer))
    }

    /// What else an event about this person calls them: a number beside a user id, or the other way round.
    pub fn other_names(&self, payload: &Payload) -> BTreeSet<String> {
        let (own, contact) = match payload {
            Payload::StatusChanged(status) => (&status.peer, status.contact.as_ref()),
            Payload::IncomingMessage(incoming) => (&incoming.peer, Some(&incoming.contact)),
            Payload::ContactChanged(changed) => (&changed.opt_out.peer, Some(&changed.opt_out.contact)),
            Payload::TemplateChanged(_) | Payload::SenderChanged(_) => return BTreeSet::new(),
        };
        if !self.is_meant(payload) {
            return BTreeSet::new();
        }
        let all = contact.into_iter().flat_map(Contact::peers).chain([own.clone()]);
        let one_form = |name: String| PhoneNumber::digits_of(&name).map_or(name, |digits| peer_of(&digits));
        all.map(one_form).filter(|name| !name.is_empty() && !self.names.contains(name)).collect()
    }

    /// The same person with more names.
    pub fn with(&self, names: impl IntoIterator<Item = String>) -> Self {
        Self::new(self.names.iter().cloned().chain(names))
    }
}

/// Ids shorter than this are not looked for: they would be found everywhere.
const ID_MIN: usize = 6;

/// Finds a person in webhooks: by their names, and by what providers call the messages that were said to them and by them.
/// One of which it cannot be told for sure counts as one that names them.
#[derive(Debug)]
pub struct Mentions {
    /// What must stand by itself.
    whole: AhoCorasick,
    /// Numbers, which people write with blanks, dashes and brackets.
    numbers: AhoCorasick,
}

impl Mentions {
    /// # Errors
    /// When there are more names and ids than a machine can look for at once.
    pub fn new<'a>(person: &'a Person, ids: impl Iterator<Item = &'a str>) -> Result<Self, BuildError> {
        let is_number = |name: &&String| name.len() >= 7 && name.bytes().all(|byte| byte.is_ascii_digit());
        let of_numbers = person.names.iter().filter(is_number);
        let numbers: Vec<String> =
            of_numbers.flat_map(|name| variants_of(name).into_iter().chain([name.clone()])).collect();
        let given = person.names.iter().map(String::as_str).chain(ids.filter(|id| id.len() >= ID_MIN));
        // Some write JSON with `\/`.
        let given: Vec<String> = given.flat_map(|text| [text.to_owned(), text.replace('/', "\\/")]).collect();
        Ok(Self { whole: AhoCorasick::new(numbers.iter().chain(&given))?, numbers: AhoCorasick::new(&numbers)? })
    }

    /// Whether a body names the person or one of the messages.
    pub fn are_in(&self, body: &[u8]) -> bool {
        if self.whole.find_overlapping_iter(body).any(|found| stands_alone(body, found.start(), found.end())) {
            return true;
        }
        let joined: Vec<u8> = body.iter().copied().filter(|byte| !b" -().".contains(byte)).collect();
        self.numbers.is_match(&joined)
    }
}

/// Whether what was found is no part of a longer name. `00` before a number is no part of it, nor is an escaped plus.
fn stands_alone(text: &[u8], start: usize, end: usize) -> bool {
    let before = text[..start].strip_suffix(b"00").unwrap_or(&text[..start]);
    let escaped = [&b"%2B"[..], b"%2b", b"u002b", b"u002B"].iter().any(|plus| before.ends_with(plus));
    let ends = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
    (escaped || ends(before.last())) && ends(text.get(end))
}

/// What is left of an event about a person: which message, which status, when, what it cost and why it failed.
///
/// # Errors
/// When it cannot be written as JSON, which no payload causes.
pub fn bare_payload(payload: &Payload) -> serde_json::Result<String> {
    let Value::Object(outer) = serde_json::to_value(payload)? else { return serde_json::to_string(payload) };
    let mut bare = Map::new();
    for (kind, inner) in outer {
        let inner = match (payload, inner) {
            (Payload::StatusChanged(_), Value::Object(all)) => bare_status(all),
            (Payload::IncomingMessage(_), Value::Object(all)) => bare_incoming(all)?,
            (Payload::ContactChanged(_), Value::Object(all)) => bare_contact_change(all),
            (_, inner) => inner,
        };
        bare.insert(kind, inner);
    }
    serde_json::to_string(&bare)
}

fn bare_status(all: Map<String, Value>) -> Value {
    const KEPT: [&str; 10] = [
        "message_id",
        "status",
        "current_status",
        "late",
        "duplicate",
        "contradicts_final",
        "attempt",
        "pricing",
        "via_sender",
        "next_sender",
    ];
    let error = all.get("error").cloned().map(bare_error);
    let mut bare = kept(all, &KEPT);
    bare.extend(error.map(|error| ("error".to_owned(), error)));
    bare.insert("to".into(), "".into());
    bare.insert("peer".into(), "".into());
    Value::Object(bare)
}

/// That somebody opted out or in; the opt-out itself stays in its list, or the person would be written to again.
fn bare_contact_change(mut all: Map<String, Value>) -> Value {
    if let Some(Value::Object(opt_out)) = all.remove("opt_out") {
        let mut bare = kept(opt_out, &["sender", "category", "source", "create_at_ms", "message_id"]);
        bare.insert("peer".into(), "".into());
        bare.insert("contact".into(), Value::Object(Map::new()));
        all.insert("opt_out".into(), bare.into());
    }
    Value::Object(all)
}

fn bare_incoming(all: Map<String, Value>) -> serde_json::Result<Value> {
    let mut bare = kept(all, &["message_id", "window_expire_at_ms"]);
    bare.insert("contact".into(), Value::Object(Map::new()));
    bare.insert("peer".into(), "".into());
    let content = IncomingContent::Unsupported { r#type: "erased".into(), raw: String::new() };
    bare.insert("content".into(), serde_json::to_value(content)?);
    Ok(Value::Object(bare))
}

/// What is left of a message that was sent: by whom, when, how urgent. The JSON is [`super::NewMessage`]'s.
///
/// # Errors
/// When it is no JSON.
pub fn bare_request(request: &str) -> serde_json::Result<String> {
    const KEPT: [&str; 6] = ["sender", "fallback_senders", "send_at_ms", "validity_ms", "priority", "in_doubt_policy"];
    let mut bare = kept(serde_json::from_str(request)?, &KEPT);
    bare.insert("to".into(), serde_json::json!({ "given": "", "digits": "" }));
    bare.insert("content".into(), serde_json::json!({ "text": { "body": "" } }));
    serde_json::to_string(&bare)
}

/// What is left of an error: our reason and the provider's code. Its words may name the person.
pub fn bare_error(error: Value) -> Value {
    match error {
        Value::Object(all) => Value::Object(kept(all, &["reason", "provider_code", "retryable"])),
        _ => Value::Null,
    }
}

fn kept(all: Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    all.into_iter().filter(|(name, _)| names.contains(&name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::event::{IncomingMessage, StatusChanged};
    use super::super::message::{DeliveryError, ErrorReason, NewMessage};
    use super::super::{MessageId, MessageStatus};
    use super::*;

    fn person(names: &[&str]) -> Person {
        Person::new(names.iter().map(|name| (*name).to_owned()))
    }

    fn status() -> StatusChanged {
        StatusChanged {
            message_id: MessageId::generate(),
            status: Some(MessageStatus::Failed),
            current_status: MessageStatus::Failed,
            late: false,
            duplicate: true,
            via_sender: None,
            next_sender: None,
            contradicts_final: false,
            to: "+55 31 98765-4321".into(),
            peer: "5531987654321".into(),
            provider_message_id: Some("wamid.HBgNNTUzMTk4NzY1NDMyMQ".into()),
            attempt: 2,
            error: Some(DeliveryError {
                reason: ErrorReason::NotOnWhatsapp,
                provider_code: "131026".into(),
                provider_message: "5531987654321 has none".into(),
                retryable: false,
            }),
            callback_data: "order of Rui".into(),
            labels: [("name".to_owned(), "Rui".to_owned())].into(),
            pricing: None,
            client_info: None,
            contact: Some(Contact {
                wa_id: Some("553187654321".into()),
                user_id: Some("BR.1349".into()),
                ..Contact::default()
            }),
            provider_status: "failed".into(),
        }
    }

    #[test]
    fn an_erased_status_says_which_and_why_and_nothing_of_the_person() {
        let before = status();
        let bare: Payload =
            serde_json::from_str(&bare_payload(&Payload::StatusChanged(before.clone())).unwrap()).unwrap();
        let Payload::StatusChanged(bare) = bare else { panic!("{bare:?}") };
        assert_eq!(
            (bare.message_id, bare.status, bare.attempt, bare.duplicate),
            (before.message_id, before.status, 2, true)
        );
        let error = bare.error.clone().unwrap();
        assert_eq!((error.reason, &*error.provider_code), (ErrorReason::NotOnWhatsapp, "131026"));
        let text = format!("{bare:?}");
        for gone in ["4321", "Rui", "1349", "HBgN", "name"] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
    }

    #[test]
    fn an_erased_incoming_message_is_that_there_was_one() {
        let incoming = IncomingMessage {
            message_id: MessageId::generate(),
            provider_message_id: Some("wamid.x".into()),
            media_id: None,
            contact: Contact::of_phone("351910000001"),
            peer: "351910000001".into(),
            profile_name: "Rui".into(),
            content: IncomingContent::Unsupported { r#type: "poll".into(), raw: "{\"secret\":1}".into() },
            reply_to: None,
            referral: None,
            window_expire_at_ms: Some(7),
            forwarded: true,
            frequently_forwarded: false,
            backfilled: false,
        };
        let bare = bare_payload(&Payload::IncomingMessage(incoming.clone())).unwrap();
        let Payload::IncomingMessage(read) = serde_json::from_str(&bare).unwrap() else { panic!("{bare}") };
        assert_eq!((read.message_id, read.window_expire_at_ms), (incoming.message_id, Some(7)));
        assert_eq!(read.content, IncomingContent::Unsupported { r#type: "erased".into(), raw: String::new() });
        for gone in ["0001", "Rui", "secret", "wamid", "poll"] {
            assert!(!bare.contains(gone), "{gone} in {bare}");
        }
    }

    #[test]
    fn an_erased_message_reads_back_as_one_without_a_recipient() {
        let request = r#"{"sender":"acme","to":{"given":"+351910000001","digits":"351910000001"},
            "content":{"text":{"body":"your code is 1"}},"validity_ms":5,"callback_data":"x","labels":{"a":"b"},
            "priority":"URGENT","in_doubt_policy":"AT_LEAST_ONCE","a_field_of_later":"secret"}"#;
        let bare = bare_request(request).unwrap();
        let read: NewMessage = serde_json::from_str(&bare).unwrap();
        assert_eq!((read.sender.as_str(), read.validity_ms, &*read.to.given), ("acme", Some(5), ""));
        for gone in ["0001", "code", "callback", "labels", "secret"] {
            assert!(!bare.contains(gone), "{gone} in {bare}");
        }
        assert!(bare_request("x").is_err());
    }

    #[test]
    fn a_person_is_known_by_what_stands_beside_their_names() {
        let by_number = person(&["5531987654321"]);
        let about = Payload::StatusChanged(status());
        assert!(by_number.is_meant(&about));
        assert_eq!(by_number.other_names(&about), BTreeSet::from(["BR.1349".to_owned()]));
        let both = by_number.with(by_number.other_names(&about));
        assert!(both.other_names(&about).is_empty());
        assert_eq!(person(&["BR.1349"]).other_names(&about), BTreeSet::from(["5531987654321".to_owned()]));
        let other = person(&["351910000001"]);
        assert!(!other.is_meant(&about));
        assert!(other.other_names(&about).is_empty());
    }

    #[test]
    fn a_webhook_that_names_the_person_in_any_way_is_found() {
        let person = person(&["5531987654321", "BR.1349"]);
        let mentions = Mentions::new(&person, ["wamid.x", "wamid.a/b="].into_iter()).unwrap();
        for (body, mentioned) in [
            (r#"{"wa_id":"553187654321"}"#, true),
            (r#"{"from":"+5531987654321"}"#, true),
            (r#"{"from":"005531987654321"}"#, true),
            ("From=whatsapp%3A%2B5531987654321&Body=x", true),
            ("From=%2B5531987654321", true),
            (r#"{"from":"\u002b5531987654321"}"#, true),
            (r#"{"from":"+55 (31) 98765-4321"}"#, true),
            (r#"{"user_id":"BR.1349"}"#, true),
            (r#"{"id":"wamid.x"}"#, true),
            (r#"{"id":"wamid.a\/b="}"#, true),
            (r#"{"id":"wamid.xy"}"#, false),
            (r#"{"user_id":"BR.13491"}"#, false),
            (r#"{"from":"5531987654322"}"#, false),
            ("", false),
        ] {
            assert_eq!(mentions.are_in(body.as_bytes()), mentioned, "{body}");
        }
        let nobody = Mentions::new(&Person::default(), ["", "7", "700001"].into_iter()).unwrap();
        assert!(!nobody.are_in(b"message 7, of 7000012") && nobody.are_in(b"message 700001"));
    }
}
