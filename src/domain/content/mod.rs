//! What a message says, going out and coming in. Field names are the contract's.

use serde::{Deserialize, Serialize};

use super::MessageId;

mod card;
mod incoming;
mod interactive;
mod template;

pub use card::{CardAddress, CardEmail, CardName, CardOrganization, CardPhone, CardUrl, ContactCard};
pub use incoming::{IncomingContent, IncomingMedia, IncomingReaction, Order, OrderItem, SystemNotice};
pub use interactive::{Interactive, InteractiveAction, InteractiveHeader, List, ListRow, ListSection, ReplyButton};
pub use template::{Template, TemplateButton, TemplateButtonKind, TemplateHeader};

/// What a message carries out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Plain text.
    Text(Text),
    /// A file.
    Media(Media),
    /// A place.
    Location(Location),
    /// Address-book entries.
    ContactCards(Vec<ContactCard>),
    /// Buttons or a list.
    Interactive(Interactive),
    /// An emoji on an earlier message.
    Reaction(Reaction),
    /// A template that the provider approved.
    Template(Template),
}

impl Content {
    /// The contract's name of the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Content::Text(_) => "text",
            Content::Media(_) => "media",
            Content::Location(_) => "location",
            Content::ContactCards(_) => "contact_cards",
            Content::Interactive(_) => "interactive",
            Content::Reaction(_) => "reaction",
            Content::Template(_) => "template",
        }
    }

    /// Whether it holds a file by the id that one provider gave it: no other sender has that file.
    pub fn has_media_id(&self) -> bool {
        let media = match self {
            Content::Media(media) => Some(media),
            Content::Interactive(Interactive { header: Some(InteractiveHeader::Media(media)), .. }) => Some(media),
            Content::Template(Template { header: Some(TemplateHeader::Media(media)), .. }) => Some(media),
            _ => None,
        };
        media.is_some_and(|media| matches!(media.source, MediaSource::MediaId(_)))
    }
}

/// Plain text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// The text.
    pub body: String,
    /// Whether a link in it is shown with a preview.
    #[serde(default, skip_serializing_if = "is_false")]
    pub preview_url: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A sound file.
    Audio,
    /// A recording, shown as a voice note.
    Voice,
    /// A film.
    Video,
    /// Any other file.
    Document,
    /// A sticker.
    Sticker,
}

impl MediaKind {
    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            MediaKind::Image => "IMAGE",
            MediaKind::Audio => "AUDIO",
            MediaKind::Voice => "VOICE",
            MediaKind::Video => "VIDEO",
            MediaKind::Document => "DOCUMENT",
            MediaKind::Sticker => "STICKER",
        }
    }
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaSource {
    /// An address that the provider fetches.
    Url(String),
    /// An id of a file that the provider holds.
    MediaId(String),
}

/// A file to send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// What kind of file.
    pub kind: MediaKind,
    /// Where it is.
    pub source: MediaSource,
    /// MIME type; empty when not given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mime_type: String,
    /// Name to show; empty when not given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file_name: String,
    /// Text under it; empty when none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub caption: String,
}

/// A place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Location {
    /// Degrees, -90 to 90.
    pub latitude: f64,
    /// Degrees, -180 to 180.
    pub longitude: f64,
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// A page about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
}

/// An emoji on an earlier message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reaction {
    /// The message reacted to. Incoming reactions to what we do not know have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The emoji; empty takes it back.
    pub emoji: String,
}
