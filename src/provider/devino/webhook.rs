//! What Devino tells us: statuses of our messages, and what people wrote. Pure functions of bytes.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::errors::{self, FailingWord};
use super::wire;
use crate::domain::content::{IncomingMedia, Location, MediaKind, MediaSource, Text};
use crate::domain::event::ClientInfo;
use crate::domain::{Contact, IncomingContent, MessageStatus, Millis};
use crate::provider::capabilities::mime_essence;
use crate::provider::lenient::{decimal, integer, items, text};
use crate::provider::whatsapp::{self, Files};
use crate::provider::{IncomingReport, Report, StatusReport, Unreadable, Webhook, cards, plausible_time};

/// Reads a webhook: an array or a single object, statuses and incoming messages alike, each item on its own.
pub(super) fn parse(webhook: &Webhook) -> Vec<Result<Report, Unreadable>> {
    let items = match items(&webhook.body) {
        Ok(items) => items,
        Err(why) => return vec![Err(Unreadable { index: 0, why })],
    };
    let read =
        |(index, raw): (usize, &RawValue)| item(raw, webhook.receive_at_ms).map_err(|why| Unreadable { index, why });
    items.into_iter().flat_map(unwrapped).enumerate().map(read).collect()
}

/// [assumed] The direct API may put messages of people under `messages`, as WhatsApp does: then each is an item.
fn unwrapped(raw: &RawValue) -> Vec<&RawValue> {
    #[derive(serde::Deserialize)]
    struct Wrapped<'a> {
        #[serde(borrow)]
        messages: Vec<&'a RawValue>,
    }
    // Statuses, of which there are many, are spared the second look.
    let wrapped = raw.get().contains("\"messages\"").then(|| serde_json::from_str::<Wrapped<'_>>(raw.get()).ok());
    wrapped.flatten().map_or_else(|| vec![raw], |wrapped| wrapped.messages)
}

fn item(raw: &RawValue, receive_at_ms: Millis) -> Result<Report, String> {
    // The item is JSON, but may nest too deep or hold half a character.
    let item: Value = serde_json::from_str(raw.get()).map_err(|error| format!("cannot be read: {error}"))?;
    let Value::Object(item) = item else { return Err("not an object".into()) };
    let has = |member: &str| item.get(member).is_some_and(|value| !value.is_null());
    if !has("incomingMessageId") && has("type") && !has("status") {
        Ok(Report::Incoming(direct(&item, raw, receive_at_ms)))
    } else if has("incomingMessageId") || (has("from") && has("to") && !has("status")) {
        Ok(Report::Incoming(incoming(&item, raw, receive_at_ms)))
    } else if has("status") || has("messageId") {
        status(&item, receive_at_ms).map(Report::Status)
    } else {
        Err("neither a status nor an incoming message".into())
    }
}

/// What a status word means.
enum Word {
    Is(MessageStatus),
    Fails(FailingWord),
}

/// [docs] DELIVERED; the others are words of sibling and older APIs of Devino. Case does not matter.
fn word(given: &str) -> Option<Word> {
    Some(match given.trim().to_ascii_uppercase().as_str() {
        "ENQUEUED" | "SENT" => Word::Is(MessageStatus::Sent),
        "DELIVERED" => Word::Is(MessageStatus::Delivered),
        "READ" | "VIEWED" | "OPENED" | "SEEN" => Word::Is(MessageStatus::Read),
        // Whoever opened a link has read it.
        "VISITED" | "CLICKED" => Word::Is(MessageStatus::Read),
        "UNDELIVERED" | "UNDELIVED" | "FAILED" | "REJECTED" => Word::Fails(FailingWord::Failed),
        "VP_EXPIRED" | "EXPIRED" => Word::Fails(FailingWord::Expired),
        "CANCELLED" | "CANCELED" => Word::Fails(FailingWord::Cancelled),
        _ => return None,
    })
}

fn status(item: &Map<String, Value>, receive_at_ms: Millis) -> Result<StatusReport, String> {
    let provider_status = text(item, "status").ok_or("a status item without a status")?;
    // The echo of `callbackData`: ours, when it reads as an id of ours.
    let message_id = text(item, "options").and_then(|options| options.trim().parse().ok());
    let provider_message_id = wire::id_of(item.get("messageId"));
    if message_id.is_none() && provider_message_id.is_none() {
        return Err("a status that names no message".into());
    }
    let code =
        text(item, "errorCode").map(|code| code.trim().to_owned()).filter(|code| code != "0").unwrap_or_default();
    let (status, error) = match word(&provider_status) {
        // A code beside a positive word is no failure.
        Some(Word::Is(status)) => (Some(status), None),
        Some(Word::Fails(word)) => {
            let (status, error) = errors::failure(word, &provider_status, &code);
            (Some(status), Some(error))
        }
        None => (None, None),
    };
    let client = |member: &str| text(item, member).unwrap_or_default();
    let client_info =
        ClientInfo { ip: client("ip"), browser: client("browser"), os: client("os"), user_agent: client("userAgent") };
    Ok(StatusReport {
        message_id,
        provider_message_id,
        status,
        provider_status,
        occur_at_ms: time(item, receive_at_ms),
        error,
        client_info: (client_info != ClientInfo::default()).then_some(client_info),
        ..StatusReport::default()
    })
}

fn incoming(item: &Map<String, Value>, raw: &RawValue, receive_at_ms: Millis) -> IncomingReport {
    // A message of nobody cannot be answered, but is no reason to lose it.
    let contact = text(item, "from").map(Contact::of_phone).unwrap_or_default();
    IncomingReport {
        provider_message_id: wire::id_of(item.get("incomingMessageId")),
        occur_at_ms: time(item, receive_at_ms),
        profile_name: text(item, "profileName").unwrap_or_default(),
        ..IncomingReport::new(contact, content(item, raw))
    }
}

/// [assumed] A message in WhatsApp's own form, as the direct API may post it: nothing is published of what it posts.
fn direct(item: &Map<String, Value>, raw: &RawValue, receive_at_ms: Millis) -> IncomingReport {
    let contact = text(item, "from").map(Contact::of_phone).unwrap_or_default();
    let time = integer(item, "timestamp").or_else(|| integer(item, "ts"));
    IncomingReport {
        provider_message_id: wire::id_of(item.get("id")),
        occur_at_ms: time.and_then(|time| plausible_time(time, receive_at_ms)),
        profile_name: text(item, "profileName").unwrap_or_default(),
        reply_to: whatsapp::reply_to(item).as_deref().and_then(wire::canonical_id),
        ..IncomingReport::new(contact, whatsapp::content(item, raw.get(), Files::ByAddress))
    }
}

/// There is no type: what is there tells. [assumed] contacts before places before files before text.
fn content(item: &Map<String, Value>, raw: &RawValue) -> IncomingContent {
    let cards = item.get("whatsAppContacts").map(|cards| cards::read(cards, &wire::CARDS)).unwrap_or_default();
    if !cards.is_empty() {
        return IncomingContent::ContactCards(cards);
    }
    if let Some(location) = item.get("whatsAppGeoLocation").and_then(location) {
        return IncomingContent::Location(location);
    }
    let body = text(item, "text");
    if let Some(url) = text(item, "contentUrl") {
        let mime_type = text(item, "contentType").unwrap_or_default();
        return IncomingContent::Media(IncomingMedia {
            kind: media_kind(&mime_type),
            source: MediaSource::Url(url),
            mime_type,
            file_name: text(item, "contentName").unwrap_or_default(),
            caption: body.unwrap_or_default(),
        });
    }
    match body {
        Some(body) => IncomingContent::Text(Text { body, preview_url: false }),
        None => IncomingContent::Unsupported { r#type: String::new(), raw: raw.get().to_owned() },
    }
}

/// [assumed] By the MIME type alone; a recording is what WhatsApp records: Ogg with Opus.
fn media_kind(mime_type: &str) -> MediaKind {
    let essence = mime_essence(mime_type);
    let essence = wire::spelled_right(&essence);
    let opus = mime_type.to_ascii_lowercase().contains("opus");
    match essence.split('/').next().unwrap_or_default() {
        "audio" if essence == "audio/ogg" && opus => MediaKind::Voice,
        "audio" => MediaKind::Audio,
        "image" => MediaKind::Image,
        "video" => MediaKind::Video,
        _ => MediaKind::Document,
    }
}

/// A place without both degrees is none.
fn location(value: &Value) -> Option<Location> {
    let place = value.as_object()?;
    Some(Location {
        latitude: decimal(place, "latitude")?,
        longitude: decimal(place, "longitude")?,
        name: text(place, "addressName").unwrap_or_default(),
        address: text(place, "address").unwrap_or_default(),
        // Printed in lower case throughout, most likely by mistake.
        url: text(place, "addressurl").or_else(|| text(place, "addressUrl")).unwrap_or_default(),
    })
}

fn time(item: &Map<String, Value>, receive_at_ms: Millis) -> Option<Millis> {
    plausible_time(integer(item, "ts")?, receive_at_ms)
}
