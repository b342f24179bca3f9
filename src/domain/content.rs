//! What a message says, going out and coming in. Field names are the contract's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MessageId;

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

/// An address-book entry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContactCard {
    /// The name.
    pub name: CardName,
    /// Telephone numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phones: Vec<CardPhone>,
    /// E-mail addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<CardEmail>,
    /// Postal addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<CardAddress>,
    /// Where the person works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<CardOrganization>,
    /// Web addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<CardUrl>,
    /// `YYYY-MM-DD`; empty when not given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub birthday: String,
}

macro_rules! card_part {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$field_doc])* #[serde(skip_serializing_if = "String::is_empty")] pub $field: String,)+
        }
    };
}

card_part! {
    /// A name and its parts.
    CardName {
        /// The whole name, as shown.
        formatted_name,
        /// Given name.
        first_name,
        /// Family name.
        last_name,
        /// Names between.
        middle_name,
        /// `Dr.`
        prefix,
        /// `Jr.`
        suffix,
    }
}
card_part! {
    /// A telephone number of a card.
    CardPhone {
        /// The number, in any form.
        phone,
        /// `CELL`, `WORK`, …
        r#type,
        /// Its WhatsApp id, when known.
        wa_id,
    }
}
card_part! {
    /// An e-mail address of a card.
    CardEmail {
        /// The address.
        email,
        /// `WORK`, …
        r#type,
    }
}
card_part! {
    /// A postal address of a card.
    CardAddress {
        /// Street and number.
        street,
        /// City.
        city,
        /// State or region.
        state,
        /// Postal code.
        zip,
        /// Country.
        country,
        /// Two letters.
        country_code,
        /// `HOME`, `WORK`.
        r#type,
    }
}
card_part! {
    /// Where a person works.
    CardOrganization {
        /// Company.
        company,
        /// Department.
        department,
        /// What the person is there.
        title,
    }
}
card_part! {
    /// A web address of a card.
    CardUrl {
        /// The address.
        url,
        /// `WORK`, …
        r#type,
    }
}

/// Text with buttons or a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interactive {
    /// The text.
    pub body: String,
    /// What stands above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<InteractiveHeader>,
    /// What stands below it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub footer: String,
    /// What can be tapped.
    pub action: InteractiveAction,
}

/// What stands above an interactive message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InteractiveHeader {
    /// A line of text.
    Text(String),
    /// A file.
    Media(Media),
}

/// What can be tapped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InteractiveAction {
    /// Buttons that answer.
    ReplyButtons(Vec<ReplyButton>),
    /// A list to choose from.
    List(List),
    /// A button that opens a page.
    UrlButton {
        /// What the button says.
        text: String,
        /// What it opens.
        url: String,
    },
}

/// A button that answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplyButton {
    /// Comes back when tapped.
    pub id: String,
    /// What it says.
    pub title: String,
}

/// A list to choose from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// What the button that opens it says.
    pub button: String,
    /// Its sections.
    pub sections: Vec<ListSection>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListSection {
    /// Its heading.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Its rows.
    pub rows: Vec<ListRow>,
}

/// A row of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListRow {
    /// Comes back when chosen.
    pub id: String,
    /// What it says.
    pub title: String,
    /// Small print under it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
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

/// A template and what fills it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Template {
    /// The provider's name or id.
    pub template: String,
    /// BCP 47 or the provider's form. Filled in with the sender's default when the caller gave none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub language_code: String,
    /// By name or by position (`"1"`, `"2"`, …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// What fills the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<TemplateHeader>,
    /// What fills the buttons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buttons: Vec<TemplateButton>,
    /// What the header's variable is called, where the template's variables have names and the gateway has a copy of it; empty
    /// otherwise. Found, not asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub header_parameter: String,
}

/// Equal is what was asked for alike.
impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        // Every field is named: a new one has to be decided on here.
        let Self { template, language_code, parameters, header, buttons, header_parameter: _ } = self;
        (template, language_code, parameters) == (&other.template, &other.language_code, &other.parameters)
            && (header, buttons) == (&other.header, &other.buttons)
    }
}

impl Template {
    /// The parameters in order: positions as numbers (2 before 10), then names.
    pub fn ordered_parameters(&self) -> Vec<(&str, &str)> {
        let mut ordered: Vec<(&str, &str)> =
            self.parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        ordered.sort_by_key(|(key, _)| (key.parse::<u32>().unwrap_or(u32::MAX), *key));
        ordered
    }
}

/// What fills a template's header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateHeader {
    /// The header's variable.
    Text(String),
    /// The header's file.
    Media(Media),
    /// The header's place.
    Location(Location),
}

/// What fills one button of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateButton {
    /// Position in the template's list of buttons, from 0.
    pub index: u32,
    /// The button's variable.
    pub parameter: String,
    /// What the button does.
    #[serde(default, skip_serializing_if = "TemplateButtonKind::is_url")]
    pub kind: TemplateButtonKind,
}

/// What a button of a template does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TemplateButtonKind {
    /// It opens a page.
    #[default]
    Url,
    /// It answers.
    QuickReply,
    /// It copies a code.
    CopyCode,
}

impl TemplateButtonKind {
    fn is_url(&self) -> bool {
        *self == Self::Url
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o12_twelve_variables_sort_as_numbers() {
        let parameters = (1..=12).map(|n| (n.to_string(), format!("v{n}"))).collect();
        let template = Template {
            template: "t".into(),
            language_code: String::new(),
            parameters,
            header: None,
            buttons: vec![],
            header_parameter: String::new(),
        };
        let keys: Vec<_> = template.ordered_parameters().into_iter().map(|(key, _)| key.to_owned()).collect();
        assert_eq!(keys, (1..=12).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
