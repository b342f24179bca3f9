//! Entries of the event log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::opt_out::{OptOut, OptOutSource};
use super::sender::SenderHealth;
use super::template::{Quality, TemplateCategory, TemplateStatus};
use super::{Contact, DeliveryError, EventId, IncomingContent, MediaId, MessageId, MessageStatus, Millis, SenderId};

/// One entry of the log, with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its place: 1 is the first, without gaps, in the order of commits.
    pub position: i64,
    /// The same after any replay.
    pub id: EventId,
    /// The provider's clock; nothing for what the gateway did itself.
    pub occur_at_ms: Option<Millis>,
    /// When it reached us.
    pub receive_at_ms: Millis,
    /// When it entered the log; never smaller than that of the event before.
    pub record_at_ms: Millis,
    /// Whose event it is.
    pub sender: SenderId,
    /// What happened.
    pub payload: Payload,
    /// When what it said of a person was erased; nothing for all others.
    pub erase_at_ms: Option<Millis>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// A message got a status, or a report of one.
    StatusChanged(StatusChanged),
    /// A person wrote.
    IncomingMessage(IncomingMessage),
    /// The provider changed something about a template.
    TemplateChanged(TemplateChanged),
    /// A sender changed.
    SenderChanged(SenderChanged),
    /// A person wants no more messages, or wants them again.
    ContactChanged(ContactChanged),
}

/// A message got a status, or a report of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusChanged {
    /// Which message.
    pub message_id: MessageId,
    /// The status that was reported; nothing for a word that we do not know (S10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<MessageStatus>,
    /// Where the message stands after it.
    pub current_status: MessageStatus,
    /// It came after a later one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// The same status was reported before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// It says the opposite of what is final.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub contradicts_final: bool,
    /// Who was written to, as given.
    pub to: String,
    /// The digits of it, which filters compare.
    pub peer: String,
    /// The provider's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_message_id: Option<String>,
    /// Which attempt it is about; 0 when none was made.
    #[serde(default)]
    pub attempt: i32,
    /// Why it was not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DeliveryError>,
    /// What the caller gave.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub callback_data: String,
    /// What the caller gave.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it costs, when the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing: Option<Pricing>,
    /// Who opened a link, when the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_info: Option<ClientInfo>,
    /// The recipient as the provider names it, when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Contact>,
    /// The provider's word, as it came; empty for what the gateway did itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider_status: String,
    /// The sender that it happened at, when that is another than the one that was asked for, whose event it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via_sender: Option<SenderId>,
    /// The sender that takes the message over with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_sender: Option<SenderId>,
}

/// What a message costs, in the provider's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pricing {
    /// Whether it costs.
    pub billable: bool,
    /// By what model.
    pub pricing_model: String,
    /// In which category.
    pub category: String,
    /// Regular, or free for some reason.
    pub r#type: String,
}

/// Who opened a link, in the provider's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientInfo {
    /// Address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Browser.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub browser: String,
    /// Operating system.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os: String,
    /// The whole header.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
}

/// A person wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncomingMessage {
    /// Our id of it.
    pub message_id: MessageId,
    /// The provider's id; nothing where it gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_message_id: Option<String>,
    /// Our id of the file that is its content; nothing for any other content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_id: Option<MediaId>,
    /// Who wrote.
    pub contact: Contact,
    /// The digits or id of who wrote, which filters compare.
    pub peer: String,
    /// What the person calls itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub profile_name: String,
    /// What was said.
    pub content: IncomingContent,
    /// The message quoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<ReplyTo>,
    /// The ad or post that brought the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referral: Option<Referral>,
    /// Until when free text may be answered: 24 hours after the person wrote. A notice about the person opens no window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_expire_at_ms: Option<Millis>,
    /// It was forwarded from another chat.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwarded: bool,
    /// It was forwarded many times before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frequently_forwarded: bool,
    /// No webhook brought it: it was read from the provider's list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfilled: bool,
}

/// The message or product that an incoming message answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplyTo {
    /// The provider's id; empty when only a product is answered.
    pub provider_message_id: String,
    /// Our id, when we know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The provider's id of the catalog, when a product is answered.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub catalog_id: String,
    /// The seller's id of the product, when one is answered.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub product_id: String,
}

/// The ad or post that brought a person, in the provider's words; any of them may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Referral {
    /// Address of the ad or post.
    pub source_url: String,
    /// Its id.
    pub source_id: String,
    /// `ad` or `post`.
    pub source_type: String,
    /// Its headline.
    pub headline: String,
    /// Its text.
    pub body: String,
    /// `image` or `video`.
    pub media_type: String,
    /// Address of its image.
    pub image_url: String,
    /// Address of its video.
    pub video_url: String,
    /// Address of the video's thumbnail.
    pub thumbnail_url: String,
    /// Id of the click.
    pub click_id: String,
    /// The greeting that it showed.
    pub welcome_message: String,
}

/// The provider changed something about a template. What it did not say is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TemplateChanged {
    /// The provider's name of it.
    pub template: String,
    /// The provider's id of it.
    pub template_id: String,
    /// Its language, in the provider's form.
    pub language_code: String,
    /// The status now.
    pub status: Option<TemplateStatus>,
    /// The status before, when known.
    pub previous_status: Option<TemplateStatus>,
    /// The category now.
    pub category: Option<TemplateCategory>,
    /// The category before, when known.
    pub previous_category: Option<TemplateCategory>,
    /// The quality now.
    pub quality: Option<Quality>,
    /// The quality before, when known.
    pub previous_quality: Option<Quality>,
    /// Why, in the provider's words.
    pub reason: String,
}

/// A sender changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SenderChanged {
    /// What about it.
    pub change: SenderChange,
    /// For people.
    pub detail: String,
    /// Whether it can send, when that is what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<SenderHealth>,
    /// The quality now, when that is what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// The provider's word for how many people it may write to in 24 hours.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub messaging_limit: String,
    /// The provider's own code.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider_code: String,
}

impl SenderChanged {
    /// What the gateway did or found itself.
    pub fn ours(change: SenderChange, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            change,
            detail,
            health: None,
            quality: None,
            messaging_limit: String::new(),
            provider_code: String::new(),
        }
    }
}

/// What about a sender changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SenderChange {
    /// Made.
    Created,
    /// Settings, limits or names.
    Updated,
    /// No longer hands over.
    Paused,
    /// Hands over again.
    Resumed,
    /// Gone.
    Deleted,
    /// WhatsApp rates it otherwise.
    Quality,
    /// It may send more, or less.
    Limits,
    /// The provider refuses its credentials.
    CredentialsRefused,
    /// The provider cannot be reached.
    Unreachable,
    /// It works again.
    Recovered,
    /// WhatsApp or the provider restricted or banned it.
    Blocked,
    /// Callbacks to one of its endpoints are given up.
    CallbacksDisabled,
    /// They are posted again.
    CallbacksEnabled,
}

/// Something about a person changed, for one sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContactChanged {
    /// What.
    pub kind: ContactChange,
    /// The opt-out that is, or is no more.
    pub opt_out: OptOut,
    /// How we know of the change.
    pub source: OptOutSource,
    /// The incoming message that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
}

/// What about a person changed. The numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i16)]
pub enum ContactChange {
    /// No more messages.
    OptedOut = 1,
    /// Again.
    OptedIn = 2,
}

/// What kind of event; the numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i16)]
pub enum EventType {
    /// [`Payload::StatusChanged`]
    StatusChanged = 1,
    /// [`Payload::IncomingMessage`]
    IncomingMessage = 2,
    /// [`Payload::TemplateChanged`]
    TemplateChanged = 3,
    /// [`Payload::SenderChanged`]
    SenderChanged = 4,
    /// [`Payload::ContactChanged`]
    ContactChanged = 5,
}

impl Payload {
    /// What kind of event.
    pub fn event_type(&self) -> EventType {
        match self {
            Payload::StatusChanged(_) => EventType::StatusChanged,
            Payload::IncomingMessage(_) => EventType::IncomingMessage,
            Payload::TemplateChanged(_) => EventType::TemplateChanged,
            Payload::SenderChanged(_) => EventType::SenderChanged,
            Payload::ContactChanged(_) => EventType::ContactChanged,
        }
    }

    /// The message that it is about.
    pub fn message_id(&self) -> Option<MessageId> {
        match self {
            Payload::StatusChanged(status) => Some(status.message_id),
            Payload::IncomingMessage(incoming) => Some(incoming.message_id),
            // The message that said so has an event of its own.
            Payload::TemplateChanged(_) | Payload::SenderChanged(_) | Payload::ContactChanged(_) => None,
        }
    }

    /// Whether it is about this person: a number in its one form, or a user id.
    pub fn is_about(&self, peer: &str) -> bool {
        let (own, contact) = match self {
            Payload::StatusChanged(status) => (&status.peer, status.contact.as_ref()),
            Payload::IncomingMessage(incoming) => (&incoming.peer, Some(&incoming.contact)),
            Payload::ContactChanged(changed) => (&changed.opt_out.peer, Some(&changed.opt_out.contact)),
            Payload::TemplateChanged(_) | Payload::SenderChanged(_) => return false,
        };
        own == peer || contact.is_some_and(|contact| contact.peers().any(|one| one == peer))
    }
}

/// Which events a reader wants: AND across the lists, OR within one; an empty list lets everything through.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventFilter {
    /// Of these senders; of messages, also what happened at them to one that another was asked to send.
    pub senders: Vec<SenderId>,
    /// Of these kinds.
    pub types: Vec<EventType>,
    /// About these people: numbers in their one form, or user ids.
    pub peers: Vec<String>,
    /// About these messages.
    pub message_ids: Vec<MessageId>,
    /// With one of these labels.
    pub labels: Vec<(String, String)>,
}

impl EventFilter {
    /// Whether the event passes.
    pub fn lets_through(&self, event: &Event) -> bool {
        fn any<T>(list: &[T], test: impl FnMut(&T) -> bool) -> bool {
            list.is_empty() || list.iter().any(test)
        }
        let payload = &event.payload;
        let labels = match payload {
            Payload::StatusChanged(status) => Some(&status.labels),
            _ => None,
        };
        let via = match payload {
            Payload::StatusChanged(status) => status.via_sender.as_ref(),
            _ => None,
        };
        any(&self.senders, |sender| *sender == event.sender || Some(sender) == via)
            && any(&self.types, |kind| *kind == payload.event_type())
            && any(&self.peers, |peer| payload.is_about(peer))
            && any(&self.message_ids, |id| payload.message_id() == Some(*id))
            && any(&self.labels, |(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
    }
}
