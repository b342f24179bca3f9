//! Requests and answers of Devino's API, and what it finds wrong with a message.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fake::after::Taken;

const TEXT_MAX: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct Request {
    pub messages: Option<Vec<Message>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    pub from: Option<String>,
    pub to: Option<String>,
    pub text: Option<String>,
    pub validity: Option<i64>,
    pub content_url: Option<String>,
    pub content_name: Option<String>,
    pub content_type: Option<String>,
    pub callback_url: Option<String>,
    pub callback_data: Option<String>,
    pub template_id: Option<String>,
    #[serde(rename = "templateParams")]
    _template_params: Option<Map<String, Value>>,
    pub language_code: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    pub code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(in crate::fake) struct Reason {
    pub key: String,
    #[serde(rename = "ref", skip_serializing_if = "String::is_empty")]
    pub reference: String,
}

impl Outcome {
    pub fn ok(taken: &Taken) -> Self {
        Self { code: "OK", message_id: Some(taken.provider_id.clone()), reasons: Vec::new(), description: None }
    }

    pub fn rejected(reasons: Vec<Reason>) -> Self {
        Self { code: "REJECTED", message_id: None, reasons, description: Some("The message was rejected") }
    }
}

/// What is found wrong with a message, in the order in which Devino is assumed to look.
pub(super) struct Notes {
    i: usize,
    pub reasons: Vec<Reason>,
}

impl Notes {
    /// Of the message in that place.
    pub fn of(i: usize) -> Self {
        Self { i, reasons: Vec::new() }
    }

    /// Something is wrong with a field; without one, with the message.
    pub fn note(&mut self, key: &str, field: &str) {
        let i = self.i;
        let reference = if field.is_empty() { format!("messages[{i}]") } else { format!("messages[{i}].{field}") };
        self.reasons.push(Reason { key: key.into(), reference });
    }

    /// Who writes, and to whom.
    pub fn people(&mut self, to: Option<&str>, from: Option<&str>, senders: &[String]) {
        match to {
            None | Some("") => self.note("must.be.not.null", "to"),
            Some(to) if !to.bytes().all(|b| b.is_ascii_digit()) => self.note("invalid", "to"),
            Some(to) if to.len() > 15 => self.note("length.too.long", "to"),
            Some(_) => {}
        }
        match from {
            None | Some("") => self.note("must.be.not.null", "from"),
            Some(from) if !senders.is_empty() && !senders.iter().any(|sender| sender == from) => {
                self.note("not.available", "from")
            }
            Some(_) => {}
        }
    }
}

/// Whether it is an address of the web.
pub(super) fn web(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

/// All that is wrong with a message of the classic API.
pub(super) fn reasons(i: usize, message: &Message, senders: &[String]) -> Vec<Reason> {
    let mut notes = Notes::of(i);
    notes.people(message.to.as_deref(), message.from.as_deref(), senders);
    let mut note = |key: &str, field: &str| notes.note(key, field);
    let given = |field: &Option<String>| field.as_deref().is_some_and(|text| !text.is_empty());
    if !given(&message.text) && !given(&message.content_url) && !given(&message.template_id) {
        note("must.be.not.null", "");
    }
    if message.text.as_deref().is_some_and(|text| text.chars().count() > TEXT_MAX) {
        note("length.too.long", "text");
    }
    if message.callback_url.as_deref().is_some_and(|url| !web(url)) {
        note("invalid", "callbackUrl");
    }
    if message.content_url.as_deref().is_some_and(|url| !web(url)) {
        note("invalid", "contentUrl");
    }
    if message.content_type.as_deref().is_some_and(|mime_type| !is_mime_type(mime_type)) {
        note("invalid", "contentType");
    }
    if message.content_name.as_deref() == Some("") {
        note("length.too.short", "contentName");
    }
    match message.language_code.as_deref().map(str::len) {
        Some(0..2) => note("length.too.short", "languageCode"),
        Some(6..) => note("length.too.long", "languageCode"),
        _ => {}
    }
    if message.validity.is_some_and(|seconds| seconds != 86_400 || message.template_id.is_none()) {
        note("invalid", "validity");
    }
    notes.reasons
}

/// Any type that exists, by its first half; the documentation's misprint passes too.
fn is_mime_type(given: &str) -> bool {
    let essence = given.split(';').next().unwrap_or_default().trim();
    let Some((top, sub)) = essence.split_once('/') else { return false };
    let known = ["application", "audio", "auidio", "font", "image", "message", "model", "multipart", "text", "video"];
    known.contains(&top)
        && !sub.is_empty()
        && sub.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._!#$&^".contains(&b))
}
