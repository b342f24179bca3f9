//! The body of a send: what `POST …/messages` takes. Lengths were judged at the door, and Meta judges them again; what has
//! no form at all is refused here, rather than sent in part.

use serde_json::{Map, Value, json};

use super::send::refused;
use super::{cards, template, wire};
use crate::domain::ErrorReason;
use crate::domain::content::{
    Content, Interactive, InteractiveAction, InteractiveHeader, List, Location, Media, MediaKind, MediaSource,
};
use crate::provider::{Outgoing, SendError};

/// The whole body.
pub(super) fn body(provider: &'static str, message: &Outgoing) -> Result<Value, SendError> {
    let (kind, content) = content(provider, message)?;
    let mut body = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": message.to.digits,
        "type": kind,
        // Comes back in every status.
        "biz_opaque_callback_data": message.message_id.to_string(),
    });
    body[kind] = content;
    if let Some(quoted) = &message.reply_to {
        if matches!(message.content, Content::Reaction(_)) {
            return Err(SendError::not_supported(provider, "quotes in reactions"));
        }
        body["context"] = json!({ "message_id": quoted });
    }
    Ok(body)
}

/// Meta's word for the content, and what stands under it.
fn content(provider: &'static str, message: &Outgoing) -> Result<(&'static str, Value), SendError> {
    Ok(match &message.content {
        Content::Text(text) => ("text", json!({ "body": text.body, "preview_url": text.preview_url })),
        Content::Media(media) => (media_word(media.kind), self::media(provider, media)?),
        Content::Location(location) => ("location", self::location(provider, location)?),
        Content::ContactCards(list) => ("contacts", list.iter().map(cards::write).collect()),
        Content::Interactive(interactive) => ("interactive", self::interactive(provider, interactive)?),
        Content::Reaction(reaction) => {
            let Some(id) = &message.reaction_to else {
                let why = "the message reacted to has no id at the provider";
                return Err(refused(ErrorReason::InvalidRequest, why));
            };
            ("reaction", json!({ "message_id": id, "emoji": reaction.emoji }))
        }
        Content::Template(template) => ("template", template::filled(provider, template)?),
    })
}

fn media_word(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "image",
        MediaKind::Audio | MediaKind::Voice => "audio",
        MediaKind::Video => "video",
        MediaKind::Document => "document",
        MediaKind::Sticker => "sticker",
    }
}

/// A file by its address or its id. Its type is told by the file itself.
fn media(provider: &'static str, media: &Media) -> Result<Value, SendError> {
    let mut file = Map::new();
    match &media.source {
        MediaSource::Url(url) => file.insert("link".into(), url.as_str().into()),
        MediaSource::MediaId(id) => file.insert("id".into(), id.as_str().into()),
    };
    if !media.caption.is_empty() {
        if matches!(media.kind, MediaKind::Audio | MediaKind::Voice | MediaKind::Sticker) {
            return Err(SendError::not_supported(provider, "captions of sound and stickers"));
        }
        file.insert("caption".into(), media.caption.as_str().into());
    }
    if !media.file_name.is_empty() {
        if media.kind != MediaKind::Document {
            return Err(SendError::not_supported(provider, "file names but of documents"));
        }
        file.insert("filename".into(), media.file_name.as_str().into());
    }
    if media.kind == MediaKind::Voice {
        file.insert("voice".into(), true.into());
    }
    Ok(file.into())
}

/// A file in a header, where there is neither caption nor sound: `{"type":"image","image":{…}}`.
pub(super) fn header_media(provider: &'static str, media: &Media) -> Result<Value, SendError> {
    if !matches!(media.kind, MediaKind::Image | MediaKind::Video | MediaKind::Document) {
        return Err(SendError::not_supported(provider, "headers of sound and stickers"));
    }
    if !media.caption.is_empty() {
        return Err(SendError::not_supported(provider, "captions in headers"));
    }
    let word = media_word(media.kind);
    Ok(json!({ "type": word, word: self::media(provider, media)? }))
}

/// A place.
pub(super) fn location(provider: &'static str, location: &Location) -> Result<Value, SendError> {
    if !location.url.is_empty() {
        return Err(SendError::not_supported(provider, "addresses of pages about a place"));
    }
    let mut place = json!({ "latitude": location.latitude, "longitude": location.longitude });
    for (member, text) in [("name", &location.name), ("address", &location.address)] {
        if !text.is_empty() {
            place[member] = text.as_str().into();
        }
    }
    Ok(place)
}

fn interactive(provider: &'static str, interactive: &Interactive) -> Result<Value, SendError> {
    let (kind, action) = match &interactive.action {
        InteractiveAction::ReplyButtons(buttons) => {
            let button = |button: &crate::domain::content::ReplyButton| json!({ "type": "reply", "reply": { "id": button.id, "title": button.title } });
            ("button", json!({ "buttons": buttons.iter().map(button).collect::<Vec<_>>() }))
        }
        InteractiveAction::List(list) => ("list", self::list(list)?),
        InteractiveAction::UrlButton { text, url } => {
            ("cta_url", json!({ "name": "cta_url", "parameters": { "display_text": text, "url": url } }))
        }
    };
    let mut whole = json!({ "type": kind, "body": { "text": interactive.body }, "action": action });
    match &interactive.header {
        None => {}
        Some(InteractiveHeader::Text(text)) => whole["header"] = json!({ "type": "text", "text": text }),
        Some(InteractiveHeader::Media(_)) if kind == "list" => {
            return Err(SendError::not_supported(provider, "files above lists"));
        }
        Some(InteractiveHeader::Media(media)) => whole["header"] = header_media(provider, media)?,
    }
    if !interactive.footer.is_empty() {
        whole["footer"] = json!({ "text": interactive.footer });
    }
    Ok(whole)
}

fn list(list: &List) -> Result<Value, SendError> {
    if list.sections.len() > wire::SECTIONS_MAX {
        let why = format!("a list has {} sections at most", wire::SECTIONS_MAX);
        return Err(refused(ErrorReason::InvalidContent, why));
    }
    let too_long = |title: &str| title.chars().count() > wire::SECTION_TITLE_MAX;
    if list.sections.iter().any(|section| too_long(&section.title)) {
        let why = format!("a section's title has {} characters at most", wire::SECTION_TITLE_MAX);
        return Err(refused(ErrorReason::ContentTooLong, why));
    }
    let row = |row: &crate::domain::content::ListRow| {
        let mut shown = json!({ "id": row.id, "title": row.title });
        if !row.description.is_empty() {
            shown["description"] = row.description.as_str().into();
        }
        shown
    };
    let section = |section: &crate::domain::content::ListSection| {
        let mut shown = json!({ "rows": section.rows.iter().map(row).collect::<Vec<_>>() });
        if !section.title.is_empty() {
            shown["title"] = section.title.as_str().into();
        }
        shown
    };
    Ok(json!({ "button": list.button, "sections": list.sections.iter().map(section).collect::<Vec<_>>() }))
}
