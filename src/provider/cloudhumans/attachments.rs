//! Files, places and contacts that people send: all of them are attachments to Chatwoot.

use serde_json::{Map, Value};

use crate::domain::IncomingContent;
use crate::domain::content::{CardName, CardPhone, ContactCard, IncomingMedia, Location, MediaKind, MediaSource};
use crate::provider::lenient::{decimal, object, text};

/// Reads one; nothing for a kind that has no form here.
pub(super) fn content(attachment: &Value, caption: String) -> Option<IncomingContent> {
    let attachment = attachment.as_object()?;
    let kind = match text(attachment, "file_type")?.as_str() {
        // Stickers come as images too; only the file itself tells.
        "image" => MediaKind::Image,
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        "file" => MediaKind::Document,
        "location" => return location(attachment).map(IncomingContent::Location),
        "contact" => return card(attachment).map(|card| IncomingContent::ContactCards(vec![card])),
        _ => return None,
    };
    let url = text(attachment, "data_url")?;
    let file_name = file_name(&url);
    // The type is the storage's to tell when the file is fetched.
    let media = IncomingMedia { kind, source: MediaSource::Url(url), mime_type: String::new(), file_name, caption };
    Some(IncomingContent::Media(media))
}

/// [assumed] Rails ends a file's address with its name.
fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let pairs: Vec<_> = url::form_urlencoded::parse(last.replace('+', "%2B").as_bytes()).into_owned().collect();
    match &pairs[..] {
        [(name, value)] if value.is_empty() && name.contains('.') => name.clone(),
        _ => String::new(),
    }
}

/// A place without both degrees is none.
fn location(attachment: &Map<String, Value>) -> Option<Location> {
    Some(Location {
        latitude: decimal(attachment, "coordinates_lat")?,
        longitude: decimal(attachment, "coordinates_long")?,
        name: text(attachment, "fallback_title").unwrap_or_default(),
        address: String::new(),
        url: text(attachment, "data_url").unwrap_or_default(),
    })
}

/// The title is the number; newer versions have the names beside it.
fn card(attachment: &Map<String, Value>) -> Option<ContactCard> {
    let phone = text(attachment, "fallback_title")?;
    let meta = object(attachment, "meta");
    let name = |member: &str| meta.and_then(|meta| text(meta, member)).unwrap_or_default();
    let (first_name, last_name) = (name("firstName"), name("lastName"));
    let formatted_name = [first_name.as_str(), last_name.as_str()].join(" ").trim().to_owned();
    Some(ContactCard {
        name: CardName { formatted_name, first_name, last_name, ..CardName::default() },
        phones: vec![CardPhone { phone, ..CardPhone::default() }],
        ..ContactCard::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_end_of_addresses() {
        for (url, name) in [
            ("https://chat.example.test/rails/active_storage/blobs/redirect/eyJf--s/foto.jpg", "foto.jpg"),
            (
                "https://chat.example.test/rails/x/boleto%20n%C2%BA%201+2.pdf?disposition=attachment",
                "boleto nº 1+2.pdf",
            ),
            ("https://chat.example.test/rails/eyJf--sample", ""),
            ("https://chat.example.test/a=b.pdf", ""),
            ("https://chat.example.test/", ""),
            ("", ""),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }
}
