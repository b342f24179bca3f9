//! Meta's envelope, which Digivox may hand through: `entry[].changes[].value` with `messages` and `statuses`. Only what is
//! needed to get at them is read here; they are taken apart as those of Digivox's own envelope are.
//! <https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/>

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::webhook::{Reader, find, value};
use super::wire;
use crate::domain::Contact;
use crate::provider::Report;

/// One item of an envelope, and what stood around it.
#[derive(Debug)]
pub(super) enum Part<'a> {
    Message {
        raw: &'a RawValue,
        number: Option<String>,
        contacts: Option<&'a RawValue>,
    },
    Status {
        raw: &'a RawValue,
        number: Option<String>,
    },
    /// A change of something else.
    Nothing,
    /// Not of the form.
    Unreadable(&'static str),
}

type Members<'a> = HashMap<String, &'a RawValue>;

fn members(raw: &RawValue) -> Members<'_> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// The elements of a member that is an array.
fn elements<'a>(members: &Members<'a>, name: &str) -> Vec<&'a RawValue> {
    members.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// Opens an envelope; nothing when it is none of Meta's.
pub(super) fn open(raw: &RawValue) -> Option<Vec<Part<'_>>> {
    let envelope = members(raw);
    let is_metas = envelope.get("object").is_some_and(|object| object.get() == r#""whatsapp_business_account""#);
    let entries = elements(&envelope, "entry");
    if !is_metas && entries.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    for entry in entries {
        let changes = elements(&members(entry), "changes");
        if changes.is_empty() {
            parts.push(Part::Unreadable("an entry without changes"));
        }
        for change in changes {
            change_of(&members(change), &mut parts);
        }
    }
    if parts.is_empty() {
        parts.push(Part::Unreadable("an envelope without entries"));
    }
    Some(parts)
}

fn change_of<'a>(change: &Members<'a>, parts: &mut Vec<Part<'a>>) {
    // Templates, quality and the like come under other names, and say nothing of a message.
    let field = change.get("field").map_or("", |field| field.get());
    if !matches!(field, r#""messages""# | "null" | "") {
        return parts.push(Part::Nothing);
    }
    let value = change.get("value").map(|value| members(value)).unwrap_or_default();
    let metadata = value.get("metadata").and_then(|metadata| super::webhook::value(metadata).ok());
    let number = metadata.and_then(|metadata| find(&metadata, "", &["/display_phone_number"]));
    let contacts = value.get("contacts").copied();
    let before = parts.len();
    let messages = elements(&value, "messages").into_iter();
    parts.extend(messages.map(|raw| Part::Message { raw, number: number.clone(), contacts }));
    let statuses = elements(&value, "statuses").into_iter();
    parts.extend(statuses.map(|raw| Part::Status { raw, number: number.clone() }));
    if parts.len() == before {
        parts.push(Part::Nothing);
    }
}

impl Part<'_> {
    pub fn read(&self, reader: Reader<'_>) -> Result<Report, String> {
        match self {
            Part::Message { raw, number, contacts } => {
                let message = value(raw)?;
                let contact = contacts.and_then(|contacts| writer(contacts, &message));
                let name = contact.as_ref().and_then(|contact| find(contact, "", &["/profile/name"]));
                let mut report = reader.incoming(&message, raw.get(), account(reader, number), name);
                if let Report::Incoming(incoming) = &mut report {
                    let wa_id = contact.and_then(|contact| find(&contact, "", &["/wa_id"]));
                    incoming.contact = Contact { wa_id, ..std::mem::take(&mut incoming.contact) };
                }
                Ok(report)
            }
            Part::Status { raw, number } => reader.status(&value(raw)?, account(reader, number)).map(Report::Status),
            Part::Nothing => Ok(Report::Nothing),
            Part::Unreadable(why) => Err((*why).to_owned()),
        }
    }
}

/// Meta names a number, Digivox a channel: our own number is our own channel, another's is nobody's.
fn account(reader: Reader<'_>, number: &Option<String>) -> Option<String> {
    let number = number.as_deref()?;
    match wire::same_line(number, &reader.config.whatsapp_from) {
        true => wire::canonical_id(&reader.config.whatsapp_id),
        false => Some(number.to_owned()),
    }
}

/// The contact of whoever wrote: the one with that id, or the only one.
fn writer(contacts: &RawValue, message: &Value) -> Option<Value> {
    let contacts: Vec<Value> = serde_json::from_str(contacts.get()).ok()?;
    let from = message.get("from");
    let place = contacts.iter().position(|contact| from.is_some() && contact.get("wa_id") == from);
    let place = place.or_else(|| (contacts.len() == 1).then_some(0))?;
    contacts.into_iter().nth(place)
}
