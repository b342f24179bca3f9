//! Messages of the direct API, and what is found wrong with them: what is inside them is judged as WhatsApp would.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::judge::{Notes, Reason, web};

/// [assumed] WhatsApp's own limit.
const TEXT_MAX: usize = 4_096;
const TYPES: &[&str] =
    &["text", "image", "audio", "video", "document", "contact", "contacts", "location", "template", "interactive"];

/// A list of messages, or one by itself: neither is documented.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Request {
    Listed { messages: Vec<Message> },
    Alone(Message),
}

pub(super) type Message = Map<String, Value>;

impl Request {
    pub fn messages(self) -> Vec<Message> {
        match self {
            Self::Listed { messages } => messages,
            Self::Alone(message) => vec![message],
        }
    }
}

/// A text member; nothing when it is absent or of another type.
pub(super) fn text<'m>(message: &'m Message, member: &str) -> Option<&'m str> {
    message.get(member).and_then(Value::as_str)
}

/// What stands under the name of the type; both spellings of cards pass.
fn part<'m>(message: &'m Message, kind: &str) -> Option<&'m Value> {
    message.get(if kind == "contact" { "contacts" } else { kind })
}

/// What a message says, in one line for the ledger.
pub(super) fn said(message: &Message) -> String {
    let kind = text(message, "type").unwrap_or("text");
    let places = ["/body", "/caption", "/name", "/link", "/body/text", "/0/name/formatted_name"];
    let part = part(message, kind);
    let said = places.iter().find_map(|place| part?.pointer(place)?.as_str());
    said.unwrap_or(kind).to_owned()
}

/// All that is wrong with a message.
pub(super) fn reasons(i: usize, message: &Message, senders: &[String]) -> Vec<Reason> {
    let mut notes = Notes::of(i);
    notes.people(text(message, "to"), text(message, "from"), senders);
    let kind = text(message, "type").unwrap_or("text");
    match part(message, kind) {
        _ if !TYPES.contains(&kind) => notes.note("invalid", "type"),
        None => notes.note("must.be.not.null", ""),
        Some(part) => inside(&mut notes, kind, part),
    }
    if text(message, "recipient_type").is_some_and(|kind| kind != "individual") {
        notes.note("invalid", "recipient_type");
    }
    if text(message, "callbackUrl").is_some_and(|url| !web(url)) {
        notes.note("invalid", "callbackUrl");
    }
    notes.reasons
}

fn inside(notes: &mut Notes, kind: &str, part: &Value) {
    let has = |place: &str| part.pointer(place).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    match kind {
        "text" => match part.get("body").and_then(Value::as_str).map(|body| body.chars().count()) {
            None | Some(0) => notes.note("must.be.not.null", "text.body"),
            Some(length) if length > TEXT_MAX => notes.note("length.too.long", "text.body"),
            Some(_) => {}
        },
        "image" | "audio" | "video" | "document" if !part.get("link").and_then(Value::as_str).is_some_and(web) => {
            notes.note("invalid", &format!("{kind}.link"));
        }
        "location" if !part["latitude"].is_number() || !part["longitude"].is_number() => {
            notes.note("invalid", "location")
        }
        "contact" | "contacts" if !has("/0/name/formatted_name") => notes.note("invalid", "contacts"),
        "template" if !has("/name") || !has("/language/code") => notes.note("invalid", "template"),
        "interactive" if !has("/body/text") || !part["action"].is_object() => notes.note("invalid", "interactive"),
        _ => {}
    }
}
