//! What people send.

use serde::{Deserialize, Serialize};

use super::{ContactCard, Location, MediaKind, MediaSource, Text};
use crate::domain::MessageId;

/// What a person sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncomingContent {
    /// Plain text.
    Text(Text),
    /// A file.
    Media(IncomingMedia),
    /// A place.
    Location(Location),
    /// Address-book entries.
    ContactCards(Vec<ContactCard>),
    /// An emoji on an earlier message.
    Reaction(IncomingReaction),
    /// A tapped button.
    ButtonReply {
        /// The button's id or payload.
        id: String,
        /// What it said.
        title: String,
    },
    /// A chosen row.
    ListReply {
        /// The row's id.
        id: String,
        /// What it said.
        title: String,
        /// Its small print.
        description: String,
    },
    /// An order from a catalog.
    Order(Order),
    /// What WhatsApp itself says about the person.
    System(SystemNotice),
    /// Something that this version has no word for.
    Unsupported {
        /// The provider's word for it; may be empty.
        r#type: String,
        /// As it came, JSON where the provider speaks JSON.
        raw: String,
    },
}

impl IncomingContent {
    /// Whether the person said something, and so opened the 24-hour window. A notice of WhatsApp about the person is nothing
    /// that they said, also where it could not be read.
    pub fn opens_window(&self) -> bool {
        match self {
            IncomingContent::System(_) => false,
            IncomingContent::Unsupported { r#type, .. } => !matches!(r#type.as_str(), "system" | "user_preferences"),
            _ => true,
        }
    }
}

/// An order from a catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Order {
    /// The provider's id of the catalog.
    pub catalog_id: String,
    /// What the person wrote with it.
    pub text: String,
    /// What is ordered.
    pub items: Vec<OrderItem>,
}

/// One line of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrderItem {
    /// The seller's id of the product.
    pub product_id: String,
    /// How many.
    pub quantity: i32,
    /// Price of one, a decimal number as text.
    pub price: String,
    /// ISO 4217 code.
    pub currency_code: String,
}

/// What WhatsApp itself says about a person, such as a new number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemNotice {
    /// The provider's word for it: `user_changed_number`.
    pub r#type: String,
    /// The text of the notice.
    pub body: String,
    /// The person's new wa_id, when that is what changed.
    pub new_wa_id: String,
    /// The person's new business-scoped user id, when that is what changed.
    pub new_user_id: String,
}

/// A file that a person sent. It is not fetched yet when the event goes out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncomingMedia {
    /// What kind of file.
    pub kind: MediaKind,
    /// Where the provider keeps it; only the gateway fetches from there.
    pub source: MediaSource,
    /// MIME type, parameters included; empty when not given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mime_type: String,
    /// Name as given: untrusted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file_name: String,
    /// Text under it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub caption: String,
}

/// An emoji that a person put on, or took from, a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncomingReaction {
    /// The provider's id of the message reacted to.
    pub provider_message_id: String,
    /// Our id of it, when we know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The emoji; empty takes it back.
    pub emoji: String,
}
