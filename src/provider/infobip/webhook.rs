//! What Infobip tells us, all of it at one address: delivery and seen reports, what people wrote, news of templates. Pure
//! functions of bytes.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::errors::{self, Group};
use super::{templates, wire};
use crate::domain::content::{IncomingMedia, IncomingReaction, Location, MediaSource, Text};
use crate::domain::{Contact, IncomingContent, MessageStatus, Millis, PhoneNumber};
use crate::provider::lenient::{self, decimal, object, text};
use crate::provider::{IncomingReport, Report, StatusReport, TemplateReport, Unreadable, Webhook, cards};

/// `{"results": […]}`, as all but news of templates come.
#[derive(Deserialize)]
struct Envelope<'b> {
    #[serde(borrow, default)]
    results: Option<Vec<&'b RawValue>>,
}

/// Reads a webhook, each result on its own.
pub(super) fn parse(webhook: &Webhook) -> Vec<Result<Report, Unreadable>> {
    let items = match items(&webhook.body) {
        Ok(items) => items,
        Err(why) => return vec![Err(Unreadable { index: 0, why })],
    };
    let read =
        |(index, raw): (usize, &RawValue)| item(raw, webhook.receive_at_ms).map_err(|why| Unreadable { index, why });
    items.into_iter().enumerate().map(read).collect()
}

/// The results as they came, each of them valid JSON; what has no results is one itself.
fn items(body: &[u8]) -> Result<Vec<&RawValue>, String> {
    let mut items = Vec::new();
    for whole in lenient::items(body)? {
        match serde_json::from_str::<Envelope<'_>>(whole.get()) {
            Ok(Envelope { results: Some(results) }) => items.extend(results),
            _ => items.push(whole),
        }
    }
    Ok(items)
}

fn item(raw: &RawValue, now: Millis) -> Result<Report, String> {
    // The item is JSON, but may nest too deep or hold half a character.
    let item: Value = serde_json::from_str(raw.get()).map_err(|error| format!("cannot be read: {error}"))?;
    let Value::Object(item) = item else { return Err("not an object".into()) };
    let has = |member: &str| item.get(member).is_some_and(|value| !value.is_null());
    if let Some(message) = object(&item, "message") {
        Ok(Report::Incoming(incoming(&item, message, raw, now)))
    } else if let Some(status) = object(&item, "status") {
        delivery(&item, status, now).map(Report::Status)
    } else if has("seenAt") {
        seen(&item, now).map(Report::Status)
    } else if has("deletedAt") {
        // The person deleted it; it was delivered all the same.
        Ok(Report::Nothing)
    } else if has("messageTemplateId") || has("messageTemplateName") {
        Ok(Report::Template(template(&item)))
    } else {
        Err("neither a report nor an incoming message".into())
    }
}

/// A number in the form that a sender's is in.
fn digits(item: &Map<String, Value>, member: &str) -> Option<String> {
    text(item, member).and_then(|number| PhoneNumber::digits_of(&number))
}

/// A report's message, by both ids, and who it went to. Other people's ids are not ours to read.
fn about(item: &Map<String, Value>) -> Result<StatusReport, String> {
    let id = text(item, "messageId").and_then(|id| wire::canonical_id(&id));
    let told = text(item, "callbackData").and_then(|id| id.trim().parse().ok());
    let message_id = told.or_else(|| id.as_deref().and_then(wire::message_of));
    if message_id.is_none() && id.is_none() {
        return Err("a report that names no message".into());
    }
    Ok(StatusReport {
        account: digits(item, "from"),
        message_id,
        provider_message_id: id,
        contact: text(item, "to").map(person),
        ..StatusReport::default()
    })
}

fn delivery(item: &Map<String, Value>, status: &Map<String, Value>, now: Millis) -> Result<StatusReport, String> {
    let report = about(item)?;
    let word = ["groupName", "name", "groupId"].into_iter().find_map(|member| text(status, member));
    let provider_status = word.ok_or("a report without a status")?;
    let none = Map::new();
    let error = object(item, "error").unwrap_or(&none);
    let (status, error) = match Group::of(status) {
        Some(Group::Pending) => (Some(MessageStatus::Sent), None),
        Some(Group::Delivered) => (Some(MessageStatus::Delivered), None),
        Some(group) => {
            let (status, error) = errors::failure(group, status, error);
            (Some(status), Some(error))
        }
        None => (None, None),
    };
    let occur_at_ms = ["doneAt", "sentAt"].into_iter().find_map(|member| wire::time(&text(item, member)?, now));
    Ok(StatusReport { status, provider_status, occur_at_ms, error, ..report })
}

/// [docs] It has no word for itself, so this one is ours.
fn seen(item: &Map<String, Value>, now: Millis) -> Result<StatusReport, String> {
    let occur_at_ms = text(item, "seenAt").and_then(|at| wire::time(&at, now));
    let status = Some(MessageStatus::Read);
    Ok(StatusReport { status, provider_status: "SEEN".into(), occur_at_ms, ..about(item)? })
}

/// A person by a number, or by the id of somebody who hides it.
fn person(given: String) -> Contact {
    match PhoneNumber::digits_of(&given).is_some() {
        true => Contact::of_phone(given),
        false => Contact { user_id: Some(given), ..Contact::default() },
    }
}

fn incoming(item: &Map<String, Value>, message: &Map<String, Value>, raw: &RawValue, now: Millis) -> IncomingReport {
    let none = Map::new();
    let who = object(item, "contact").unwrap_or(&none);
    let number = text(item, "from").or_else(|| text(who, "phoneNumber"));
    let mut contact = number.map(person).unwrap_or_default();
    if let Some(user_id) = text(who, "userId") {
        contact.user_id = Some(user_id);
    }
    IncomingReport {
        account: digits(item, "to"),
        provider_message_id: text(item, "messageId").and_then(|id| wire::canonical_id(&id)),
        occur_at_ms: text(item, "receivedAt").and_then(|at| wire::time(&at, now)),
        profile_name: text(who, "name").unwrap_or_default(),
        reply_to: quoted(message),
        ..IncomingReport::new(contact, content(message, raw))
    }
}

/// [assumed] The message quoted or reacted to.
fn quoted(message: &Map<String, Value>) -> Option<String> {
    let id = object(message, "context").and_then(|context| text(context, "id"));
    id.and_then(|id| wire::canonical_id(&id))
}

/// By the type's word; what has none, or is not as it should be, is kept whole.
fn content(message: &Map<String, Value>, raw: &RawValue) -> IncomingContent {
    let r#type = text(message, "type").unwrap_or_default();
    let word = r#type.trim().to_ascii_uppercase();
    let unsupported = || IncomingContent::Unsupported { r#type, raw: raw.get().to_owned() };
    known(&word, message).unwrap_or_else(unsupported)
}

/// [assumed] Buttons, lists and reactions; the others are documented.
fn known(word: &str, message: &Map<String, Value>) -> Option<IncomingContent> {
    let said = |member: &str| text(message, member).unwrap_or_default();
    match word {
        "TEXT" => text(message, "text").map(|body| IncomingContent::Text(Text { body, preview_url: false })),
        "LOCATION" => Some(IncomingContent::Location(Location {
            latitude: decimal(message, "latitude")?,
            longitude: decimal(message, "longitude")?,
            name: said("name"),
            address: said("address"),
            url: said("url"),
        })),
        "CONTACT" | "CONTACTS" => {
            let cards = cards::read(message.get("contacts")?, &wire::CARDS);
            (!cards.is_empty()).then_some(IncomingContent::ContactCards(cards))
        }
        "BUTTON" => {
            let (id, title) = (said("payload"), said("text"));
            (!id.is_empty() || !title.is_empty()).then_some(IncomingContent::ButtonReply { id, title })
        }
        "INTERACTIVE_BUTTON_REPLY" => {
            Some(IncomingContent::ButtonReply { id: text(message, "id")?, title: said("title") })
        }
        "INTERACTIVE_LIST_REPLY" => Some(IncomingContent::ListReply {
            id: text(message, "id")?,
            title: said("title"),
            description: said("description"),
        }),
        "REACTION" => Some(IncomingContent::Reaction(IncomingReaction {
            provider_message_id: text(message, "messageId").or_else(|| quoted(message))?,
            message_id: None,
            emoji: said("emoji"),
        })),
        word => Some(IncomingContent::Media(IncomingMedia {
            kind: wire::media_kind(word)?,
            source: MediaSource::Url(text(message, "url")?),
            mime_type: ["contentType", "mimeType"]
                .into_iter()
                .find_map(|member| text(message, member))
                .unwrap_or_default(),
            file_name: ["filename", "fileName"]
                .into_iter()
                .find_map(|member| text(message, member))
                .unwrap_or_default(),
            caption: said("caption"),
        })),
    }
}

/// [assumed] but for `messageTemplateId` and `change{type, newStatus, reason}`.
fn template(item: &Map<String, Value>) -> TemplateReport {
    let none = Map::new();
    let change = object(item, "change").unwrap_or(&none);
    let said = |of: &Map<String, Value>, member: &str| text(of, member).unwrap_or_default();
    TemplateReport {
        template: said(item, "messageTemplateName"),
        template_id: said(item, "messageTemplateId"),
        language_code: said(item, "messageTemplateLanguage"),
        occur_at_ms: None,
        status: templates::status(&said(change, "newStatus")),
        category: templates::category(&said(change, "newCategory")),
        previous_category: templates::category(&said(change, "previousCategory")),
        quality: templates::quality(&said(change, "newQuality")),
        previous_quality: templates::quality(&said(change, "previousQuality")),
        reason: said(change, "reason"),
    }
}
