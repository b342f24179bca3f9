//! What people write, coming in.

use serde_json::{Map, Value};

use super::CARDS;
use crate::domain::IncomingContent;
use crate::domain::content::{
    IncomingMedia, IncomingReaction, Location, MediaKind, MediaSource, Order, OrderItem, SystemNotice, Text,
};
use crate::provider::capabilities::mime_essence;
use crate::provider::cards;
use crate::provider::lenient::{decimal, flag, integer, list, object, text};

/// The types that are files.
pub const MEDIA_TYPES: &[&str] = &["image", "audio", "voice", "video", "document", "sticker"];

/// Types whose member tells them where `type` itself is missing.
const TYPES: &[&str] =
    &["text", "location", "contacts", "interactive", "button", "reaction", "order", "system", "unsupported"];

/// How the files of people are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// By their address. What has an id alone can be opened by Meta's own API only, and is `unsupported`.
    ByAddress,
    /// By their id, which can be looked up for a week; by an address, which lives for minutes, only without one.
    ById,
}

/// What a message says. What has no word, or is not as its type promises, is `unsupported`; `raw` is the message as it came.
pub fn content(message: &Map<String, Value>, raw: &str, files: Files) -> IncomingContent {
    let given = text(message, "type").unwrap_or_default();
    let word = match given.as_str() {
        "" => TYPES.iter().chain(MEDIA_TYPES).find(|word| message.contains_key(**word)).copied().unwrap_or_default(),
        given => given,
    };
    let part = object(message, word);
    let read = match word {
        "text" => body(message).map(|body| IncomingContent::Text(Text { body, preview_url: false })),
        "location" => part.and_then(location).map(IncomingContent::Location),
        "contacts" => {
            let cards = message.get("contacts").map(|cards| cards::read(cards, &CARDS)).unwrap_or_default();
            (!cards.is_empty()).then_some(IncomingContent::ContactCards(cards))
        }
        "interactive" => part.and_then(tapped),
        "button" => part.and_then(button),
        "reaction" => part.and_then(reaction),
        // Without items it says nothing that its raw form would not say better.
        "order" => part.map(order).filter(|order| !order.items.is_empty()).map(IncomingContent::Order),
        "system" => part.map(notice).map(IncomingContent::System),
        word if MEDIA_TYPES.contains(&word) => {
            part.and_then(|file| media(word, file, files)).map(IncomingContent::Media)
        }
        _ => None,
    };
    // nfm_reply, call_permission_reply, poll_creation: the inner word says more.
    let inner = match word {
        "interactive" | "unsupported" => part.and_then(|part| text(part, "type")),
        _ => None,
    };
    let unread =
        || IncomingContent::Unsupported { r#type: inner.unwrap_or_else(|| word.to_owned()), raw: raw.to_owned() };
    read.unwrap_or_else(unread)
}

/// The id of the message quoted.
pub fn reply_to(message: &Map<String, Value>) -> Option<String> {
    text(object(message, "context")?, "id")
}

/// `{"body": …}`, or the text itself, as some hand it through.
fn body(message: &Map<String, Value>) -> Option<String> {
    match object(message, "text") {
        Some(inner) => text(inner, "body"),
        None => text(message, "text"),
    }
}

fn media(word: &str, file: &Map<String, Value>, files: Files) -> Option<IncomingMedia> {
    let mime_type = text(file, "mime_type").unwrap_or_default();
    let id = text(file, "id").filter(|_| files == Files::ById).map(MediaSource::MediaId);
    let address = || text(file, "url").or_else(|| text(file, "link")).map(MediaSource::Url);
    Some(IncomingMedia {
        kind: media_kind(word, &mime_type, flag(file, "voice")),
        source: id.or_else(address)?,
        mime_type,
        file_name: text(file, "filename").unwrap_or_default(),
        caption: text(file, "caption").unwrap_or_default(),
    })
}

/// The kind by the type's word. Sound is a recording when it says so; where it says nothing, when it is of the type that
/// WhatsApp records in: Ogg with Opus.
pub fn media_kind(word: &str, mime_type: &str, voice: Option<bool>) -> MediaKind {
    let recorded = || mime_essence(mime_type) == "audio/ogg" && mime_type.to_ascii_lowercase().contains("codecs=opus");
    match word {
        "image" => MediaKind::Image,
        "video" => MediaKind::Video,
        "sticker" => MediaKind::Sticker,
        "voice" => MediaKind::Voice,
        "audio" if voice.unwrap_or_else(recorded) => MediaKind::Voice,
        "audio" => MediaKind::Audio,
        _ => MediaKind::Document,
    }
}

/// A place without both degrees is none.
fn location(place: &Map<String, Value>) -> Option<Location> {
    Some(Location {
        latitude: decimal(place, "latitude")?,
        longitude: decimal(place, "longitude")?,
        name: text(place, "name").unwrap_or_default(),
        address: text(place, "address").unwrap_or_default(),
        url: text(place, "url").unwrap_or_default(),
    })
}

fn tapped(interactive: &Map<String, Value>) -> Option<IncomingContent> {
    if let Some(reply) = object(interactive, "button_reply") {
        return Some(IncomingContent::ButtonReply {
            id: text(reply, "id").unwrap_or_default(),
            title: text(reply, "title").unwrap_or_default(),
        });
    }
    let reply = object(interactive, "list_reply")?;
    Some(IncomingContent::ListReply {
        id: text(reply, "id").unwrap_or_default(),
        title: text(reply, "title").unwrap_or_default(),
        description: text(reply, "description").unwrap_or_default(),
    })
}

/// A quick reply under a template.
fn button(button: &Map<String, Value>) -> Option<IncomingContent> {
    let (id, title) = (text(button, "payload"), text(button, "text"));
    (id.is_some() || title.is_some())
        .then(|| IncomingContent::ButtonReply { id: id.unwrap_or_default(), title: title.unwrap_or_default() })
}

/// Without an emoji it takes the earlier one back.
fn reaction(reaction: &Map<String, Value>) -> Option<IncomingContent> {
    Some(IncomingContent::Reaction(IncomingReaction {
        provider_message_id: text(reaction, "message_id")?,
        message_id: None,
        emoji: text(reaction, "emoji").unwrap_or_default(),
    }))
}

fn order(part: &Map<String, Value>) -> Order {
    let line = |line: &Map<String, Value>| OrderItem {
        product_id: text(line, "product_retailer_id").unwrap_or_default(),
        quantity: integer(line, "quantity").and_then(|quantity| i32::try_from(quantity).ok()).unwrap_or_default(),
        price: text(line, "item_price").unwrap_or_default(),
        currency_code: text(line, "currency").unwrap_or_default(),
    };
    Order {
        catalog_id: text(part, "catalog_id").unwrap_or_default(),
        text: text(part, "text").unwrap_or_default(),
        items: list(part, "product_items").iter().filter_map(Value::as_object).map(line).collect(),
    }
}

/// [assumed] `user_id` is the new id when it is the id that changed.
fn notice(part: &Map<String, Value>) -> SystemNotice {
    let said = |member: &str| text(part, member).unwrap_or_default();
    SystemNotice {
        r#type: said("type"),
        body: said("body"),
        new_wa_id: text(part, "wa_id").or_else(|| text(part, "new_wa_id")).unwrap_or_default(),
        new_user_id: said("user_id"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(message: Value) -> IncomingContent {
        content(message.as_object().unwrap(), &message.to_string(), Files::ByAddress)
    }

    fn said(message: Value) -> String {
        match read(message) {
            IncomingContent::Text(text) => format!("text {}", text.body),
            IncomingContent::Media(media) => format!("{} {:?} {}", media.kind.as_str(), media.source, media.caption),
            IncomingContent::Location(place) => format!("place {} {}", place.latitude, place.name),
            IncomingContent::ContactCards(cards) => format!("cards {}", cards[0].name.formatted_name),
            IncomingContent::ButtonReply { id, title } => format!("button {id} {title}"),
            IncomingContent::ListReply { id, title, description } => format!("row {id} {title} {description}"),
            IncomingContent::Reaction(reaction) => format!("{} on {}", reaction.emoji, reaction.provider_message_id),
            IncomingContent::Order(order) => format!("order of {}", order.items.len()),
            IncomingContent::System(notice) => format!("{} {}", notice.r#type, notice.new_wa_id),
            IncomingContent::Unsupported { r#type, raw } if !raw.is_empty() => format!("unsupported {type}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_type_has_its_content_and_the_rest_is_kept_raw() {
        for (message, expected) in [
            (json!({ "type": "text", "text": { "body": "Oi" } }), "text Oi"),
            (json!({ "type": "text", "text": "Oi" }), "text Oi"),
            (json!({ "text": { "body": "Oi" } }), "text Oi"),
            (json!({ "type": "text", "text": {} }), "unsupported text"),
            (
                json!({ "type": "image", "image": { "link": "https://m.test/1", "caption": "foto" } }),
                "IMAGE Url(\"https://m.test/1\") foto",
            ),
            (
                json!({ "type": "audio", "audio": { "url": "https://m.test/1", "voice": true } }),
                "VOICE Url(\"https://m.test/1\") ",
            ),
            (
                json!({ "type": "audio", "audio": { "url": "https://m.test/1", "mime_type": "audio/ogg; codecs=opus" } }),
                "VOICE Url(\"https://m.test/1\") ",
            ),
            (
                json!({ "type": "audio", "audio": { "url": "https://m.test/1", "mime_type": "audio/mpeg" } }),
                "AUDIO Url(\"https://m.test/1\") ",
            ),
            (
                json!({ "type": "sticker", "sticker": { "url": "https://m.test/1" } }),
                "STICKER Url(\"https://m.test/1\") ",
            ),
            (json!({ "type": "image", "image": { "id": "7001" } }), "unsupported image"),
            (
                json!({ "type": "location", "location": { "latitude": "-7.1", "longitude": -34.8, "name": "Loja" } }),
                "place -7.1 Loja",
            ),
            (json!({ "type": "location", "location": { "latitude": 1 } }), "unsupported location"),
            (json!({ "type": "contacts", "contacts": [{ "name": { "formatted_name": "Rui" } }] }), "cards Rui"),
            (json!({ "type": "contacts", "contacts": [] }), "unsupported contacts"),
            (
                json!({ "type": "interactive", "interactive": { "type": "button_reply", "button_reply": { "id": "c1", "title": "Sim" } } }),
                "button c1 Sim",
            ),
            (
                json!({ "type": "interactive", "interactive": { "list_reply": { "id": "r1", "title": "Dez", "description": "h" } } }),
                "row r1 Dez h",
            ),
            (json!({ "type": "interactive", "interactive": { "type": "nfm_reply" } }), "unsupported nfm_reply"),
            (json!({ "type": "button", "button": { "payload": "stop", "text": "Parar" } }), "button stop Parar"),
            (json!({ "type": "reaction", "reaction": { "message_id": "wamid.1", "emoji": "👍" } }), "👍 on wamid.1"),
            (json!({ "type": "reaction", "reaction": { "message_id": "wamid.1" } }), " on wamid.1"),
            (
                json!({ "type": "order", "order": { "product_items": [{ "product_retailer_id": "SKU-1" }] } }),
                "order of 1",
            ),
            (json!({ "system": { "type": "user_changed_number", "wa_id": "5511" } }), "user_changed_number 5511"),
            (json!({ "type": "hologram", "hologram": {} }), "unsupported hologram"),
            (json!({ "type": "order", "order": { "catalog_id": "1" } }), "unsupported order"),
            (json!({}), "unsupported "),
        ] {
            assert_eq!(said(message.clone()), expected, "{message}");
        }
    }

    #[test]
    fn files_are_opened_by_what_opens_them() {
        let file = |files| {
            let message = json!({ "type": "image", "image": { "id": "7001", "url": "https://m.test/1" } });
            content(message.as_object().unwrap(), "", files)
        };
        let IncomingContent::Media(by_id) = file(Files::ById) else { panic!("no file") };
        let IncomingContent::Media(by_address) = file(Files::ByAddress) else { panic!("no file") };
        assert_eq!(by_id.source, MediaSource::MediaId("7001".into()));
        assert_eq!(by_address.source, MediaSource::Url("https://m.test/1".into()));
    }
}
