//! Outbound messages: what a caller asked for, and where it stands.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::content::Template;
use super::status::{MessageStatus, Seen};
use super::template::TemplateCategory;
use super::{Content, MessageId, Millis, PhoneNumber, SenderId};

/// How long a message may wait when the caller does not say: 24 hours.
pub const DEFAULT_VALIDITY_MS: Millis = 24 * 3_600_000;
/// How far ahead a message may be scheduled, and how long it may be valid: 30 days.
pub const MAX_AHEAD_MS: Millis = 30 * 24 * 3_600_000;

/// Which conversations go first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i16)]
pub enum Priority {
    /// One-time codes.
    Urgent = 1,
    /// Everything else.
    #[default]
    Normal = 2,
    /// Campaigns.
    Bulk = 3,
}

/// What to do when a provider's answer was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InDoubtPolicy {
    /// Wait for the provider's word; never send again.
    #[default]
    AtMostOnce,
    /// Send again after a wait: the person may get it twice.
    AtLeastOnce,
}

/// What to do while the person may only be sent templates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WindowPolicy {
    /// Not handed over where the window is known to be closed.
    #[default]
    Fail,
    /// Leave it to the provider.
    SendAnyway,
    /// Wait for the person to write.
    HoldUntilIncoming,
    /// Send this in its place.
    SendTemplate(Box<Template>),
}

impl WindowPolicy {
    /// Whether a closed window does not end the message.
    pub fn has_another_way(&self) -> bool {
        matches!(self, Self::HoldUntilIncoming | Self::SendTemplate(_))
    }

    fn is_default(&self) -> bool {
        *self == Self::Fail
    }
}

/// Why a message is HELD. The numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum HoldReason {
    /// The person has not written within the last 24 hours: until they do.
    WindowClosed = 1,
}

impl HoldReason {
    /// The reason of that number.
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::WindowClosed].into_iter().find(|reason| *reason as i16 == number)
    }
}

/// What a caller asked for, checked. Its JSON is what the store keeps and what a repeated idempotency key is compared by,
/// so its field names are the contract's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewMessage {
    /// Who sends.
    pub sender: SenderId,
    /// Who is written to.
    pub to: PhoneNumber,
    /// What is said.
    pub content: Content,
    /// The message or incoming message that this one quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to_message_id: Option<MessageId>,
    /// Hold until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_at_ms: Option<Millis>,
    /// Not handed over later than this after `send_at_ms` or acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity_ms: Option<Millis>,
    /// Where each status is POSTed; empty: nowhere. May hold a token: never logged.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub callback_url: String,
    /// Comes back in every event.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub callback_data: String,
    /// For filters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its lane.
    #[serde(default)]
    pub priority: Priority,
    /// What to do when the answer is lost.
    #[serde(default)]
    pub in_doubt_policy: InDoubtPolicy,
    /// Send a template that is no marketing to somebody who opted out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_opt_out: bool,
    /// Hand it over whatever became of earlier messages to this person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_known_failures: bool,
    /// What the template was for when the message was accepted, where the gateway had a copy of it. Found, not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_category: Option<TemplateCategory>,
    /// Who sends when the sender before cannot deliver any more, in this order; all different, and none is `sender`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback_senders: Vec<SenderId>,
    /// What to do while the 24-hour window is closed.
    #[serde(default, skip_serializing_if = "WindowPolicy::is_default")]
    pub on_window_closed: WindowPolicy,
}

impl NewMessage {
    /// The sender whose turn it is: 0 is the one that was asked for, then come its fallbacks.
    pub fn sender_at(&self, turn: usize) -> Option<&SenderId> {
        match turn.checked_sub(1) {
            None => Some(&self.sender),
            Some(index) => self.fallback_senders.get(index),
        }
    }

    /// Which turn is a sender's, if it has one.
    pub fn turn_of(&self, sender: &SenderId) -> Option<usize> {
        if *sender == self.sender {
            return Some(0);
        }
        self.fallback_senders.iter().position(|fallback| fallback == sender).map(|index| index + 1)
    }

    /// When it may be handed over, for a message accepted at `accept_at_ms`.
    pub fn send_at(&self, accept_at_ms: Millis) -> Millis {
        self.send_at_ms.unwrap_or(accept_at_ms).max(accept_at_ms)
    }

    /// When it may no longer be handed over.
    pub fn expire_at(&self, accept_at_ms: Millis) -> Millis {
        self.send_at(accept_at_ms) + self.validity_ms.unwrap_or(DEFAULT_VALIDITY_MS)
    }

    /// The status that it is accepted with.
    pub fn first_status(&self, accept_at_ms: Millis) -> MessageStatus {
        match self.send_at(accept_at_ms) > accept_at_ms {
            true => MessageStatus::Scheduled,
            false => MessageStatus::Accepted,
        }
    }

    /// The contract's paths of the fields in which two requests differ.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut fields = Vec::new();
        let mut note = |differs: bool, field: &str| {
            if differs {
                fields.push(field.to_owned());
            }
        };
        note(self.sender != other.sender, "sender");
        note(self.to.given != other.to.given, "to");
        note(self.reply_to_message_id != other.reply_to_message_id, "reply_to_message_id");
        note(self.send_at_ms != other.send_at_ms, "options.send_time");
        note(self.validity_ms != other.validity_ms, "options.validity");
        note(self.callback_url != other.callback_url, "options.callback_url");
        note(self.callback_data != other.callback_data, "options.callback_data");
        note(self.labels != other.labels, "options.labels");
        note(self.priority != other.priority, "options.priority");
        note(self.in_doubt_policy != other.in_doubt_policy, "options.in_doubt_policy");
        note(self.ignore_opt_out != other.ignore_opt_out, "options.ignore_opt_out");
        note(self.ignore_known_failures != other.ignore_known_failures, "options.ignore_known_failures");
        note(self.fallback_senders != other.fallback_senders, "options.fallback_senders");
        note(self.on_window_closed != other.on_window_closed, "options.on_window_closed");
        if self.content != other.content {
            fields.extend(content_differences(&self.content, &other.content));
        }
        fields
    }
}

/// The paths below the content in which two contents differ: `text.body`, or the kinds themselves.
fn content_differences(one: &Content, other: &Content) -> Vec<String> {
    if one.kind() != other.kind() {
        return vec![one.kind().to_owned(), other.kind().to_owned()];
    }
    // Templates are a request of their own: their fields stand at its root.
    let prefix = match one {
        Content::Template(_) => String::new(),
        content => format!("{}.", content.kind()),
    };
    let json = |content: &Content| match serde_json::to_value(content) {
        Ok(serde_json::Value::Object(outer)) => outer.into_iter().next().map(|(_, inner)| inner),
        _ => None,
    };
    match (json(one), json(other)) {
        (Some(serde_json::Value::Object(one)), Some(serde_json::Value::Object(other))) => {
            let keys: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
            keys.into_iter()
                .filter(|key| *key != "header_parameter" && one.get(*key) != other.get(*key))
                .map(|key| format!("{prefix}{key}"))
                .collect()
        }
        _ => vec![one.kind().to_owned()],
    }
}

/// Why a message was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryError {
    /// Our word.
    pub reason: ErrorReason,
    /// The provider's code, as it came.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider_code: String,
    /// The provider's words, as they came.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider_message: String,
    /// Whether the same message may pass later.
    pub retryable: bool,
}

impl DeliveryError {
    /// Without the provider's words, which may name a person.
    pub fn bare(self) -> Self {
        Self { provider_message: String::new(), ..self }
    }

    /// An error of our own finding.
    pub fn ours(reason: ErrorReason, message: impl Into<String>, retryable: bool) -> Self {
        Self { reason, provider_code: String::new(), provider_message: message.into(), retryable }
    }
}

macro_rules! error_reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $word:literal,)+) => {
        /// Why, in our words: one list for all providers. The numbers are the contract's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[repr(i32)]
        pub enum ErrorReason {
            $($(#[$doc])* #[serde(rename = $word)] $variant = $number,)+
        }

        impl ErrorReason {
            /// The contract's word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

error_reasons! {
    /// The provider gave a code that we have no row for.
    Unknown = 1 "UNKNOWN",
    /// No such number, or not one to write to.
    InvalidRecipient = 2 "INVALID_RECIPIENT",
    /// The person does not use WhatsApp.
    NotOnWhatsapp = 3 "NOT_ON_WHATSAPP",
    /// The person cannot be reached.
    RecipientUnreachable = 4 "RECIPIENT_UNREACHABLE",
    /// The 24-hour window is closed and it is not a template.
    OutsideWindow = 5 "OUTSIDE_WINDOW",
    /// The content is refused.
    InvalidContent = 6 "INVALID_CONTENT",
    /// The text is too long.
    ContentTooLong = 7 "CONTENT_TOO_LONG",
    /// The file is refused.
    InvalidMedia = 8 "INVALID_MEDIA",
    /// The file could not be fetched.
    MediaUnreachable = 9 "MEDIA_UNREACHABLE",
    /// No such template in that language.
    TemplateNotFound = 10 "TEMPLATE_NOT_FOUND",
    /// The parameters do not fit the template.
    TemplateParameters = 11 "TEMPLATE_PARAMETERS",
    /// The template is paused or disabled.
    TemplatePaused = 12 "TEMPLATE_PAUSED",
    /// The provider does not know the sender.
    InvalidSender = 13 "INVALID_SENDER",
    /// Credentials refused.
    SenderUnauthorized = 14 "SENDER_UNAUTHORIZED",
    /// The sender is blocked.
    SenderBlocked = 15 "SENDER_BLOCKED",
    /// The account cannot pay.
    Billing = 16 "BILLING",
    /// Too much in too short a time.
    RateLimited = 17 "RATE_LIMITED",
    /// Taken for spam.
    Spam = 18 "SPAM",
    /// Taken for a duplicate.
    Duplicate = 19 "DUPLICATE",
    /// The person got enough of this kind.
    RecipientCapped = 20 "RECIPIENT_CAPPED",
    /// The person does not want it.
    RecipientOptedOut = 21 "RECIPIENT_OPTED_OUT",
    /// The provider cannot carry it.
    NotSupported = 22 "NOT_SUPPORTED",
    /// The provider says that the request is wrong.
    InvalidRequest = 23 "INVALID_REQUEST",
    /// The provider cannot be reached, or is out of order.
    ProviderUnavailable = 24 "PROVIDER_UNAVAILABLE",
    /// In doubt, and no word came.
    OutcomeUnknown = 25 "OUTCOME_UNKNOWN",
    /// Its time ran out.
    Expired = 26 "EXPIRED",
    /// Called back.
    Cancelled = 27 "CANCELLED",
    /// Its sender was deleted.
    SenderDeleted = 28 "SENDER_DELETED",
    /// Too much to this person in too short a time.
    ContactRateLimited = 29 "CONTACT_RATE_LIMITED",
}

impl fmt::Display for ErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Position of its ACCEPTED event: the order of acceptance.
    pub seq: i64,
    /// Who has it now: the sender that was asked for, or one of its fallbacks.
    pub sender: SenderId,
    /// What was asked for.
    pub request: NewMessage,
    /// The idempotency key that it was sent with.
    pub idempotency_key: Option<String>,
    /// When it was accepted.
    pub accept_at_ms: Millis,
    /// When it may no longer be handed over.
    pub expire_at_ms: Millis,
    /// Where it stands.
    pub status: MessageStatus,
    /// Which statuses were reported.
    pub seen: Seen,
    /// How often it was handed over.
    pub attempt: i32,
    /// When its status last changed.
    pub status_at_ms: Millis,
    /// The next try, the end of a wait or of a lease; nothing when there is nothing to wait for.
    pub due_at_ms: Option<Millis>,
    /// The provider's id, of the last attempt that has one.
    pub provider_message_id: Option<String>,
    /// Why it was not delivered; only with a failure.
    pub error: Option<DeliveryError>,
    /// What it is held for.
    pub hold: Option<HoldReason>,
    /// When its recipient and what it said were erased.
    pub erase_at_ms: Option<Millis>,
}

/// One hand-over of a message to a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// 1 is the first.
    pub number: i32,
    /// Through which sender.
    pub sender: SenderId,
    /// When it was on disk, before the call.
    pub start_at_ms: Millis,
    /// When its outcome was.
    pub end_at_ms: Option<Millis>,
    /// How it ended; nothing while it is under way.
    pub outcome: Option<AttemptOutcome>,
    /// The provider's id.
    pub provider_message_id: Option<String>,
    /// Why it did not pass.
    pub error: Option<DeliveryError>,
    /// What was said, redacted.
    pub exchange: Option<Exchange>,
    /// Who took the message over after it, and why.
    pub passed: Option<(SenderId, DeliveryError)>,
    /// Whether the template of the message's window policy went in its place.
    pub instead: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i16)]
pub enum AttemptOutcome {
    /// The provider took it.
    Taken = 1,
    /// The provider said no.
    Refused = 2,
    /// It never got there, or was asked to wait.
    NotTaken = 3,
    /// Nobody knows.
    InDoubt = 4,
    /// Nobody was called: this sender cannot send it.
    Skipped = 5,
}

impl AttemptOutcome {
    /// The outcome of that number.
    pub fn from_number(number: i16) -> Option<Self> {
        let all = [Self::Taken, Self::Refused, Self::NotTaken, Self::InDoubt, Self::Skipped];
        all.into_iter().find(|outcome| *outcome as i16 == number)
    }
}

/// What was said between the gateway and a provider, without secrets, numbers of people or texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// HTTP method.
    pub method: String,
    /// Path, without query.
    pub path: String,
    /// HTTP status; nothing when no answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The answer's body, cut to 2 KiB, or what went wrong instead.
    pub answer: String,
    /// How long it took.
    pub elapsed_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::super::content::Text;
    use super::*;

    fn message(text: &str) -> NewMessage {
        NewMessage {
            sender: SenderId::trusted("acme".into()),
            to: PhoneNumber { given: "+351910000001".into(), digits: "351910000001".into() },
            content: Content::Text(Text { body: text.into(), preview_url: false }),
            reply_to_message_id: None,
            send_at_ms: None,
            validity_ms: None,
            callback_url: String::new(),
            callback_data: String::new(),
            labels: BTreeMap::new(),
            priority: Priority::Normal,
            in_doubt_policy: InDoubtPolicy::AtMostOnce,
            ignore_opt_out: false,
            ignore_known_failures: false,
            template_category: None,
            fallback_senders: Vec::new(),
            on_window_closed: WindowPolicy::Fail,
        }
    }

    #[test]
    fn senders_take_turns_in_the_order_given() {
        let ids = ["acme", "b", "c"].map(|id| SenderId::trusted(id.into()));
        let message = NewMessage { sender: ids[0].clone(), fallback_senders: ids[1..].to_vec(), ..message("x") };
        for (turn, id) in ids.iter().enumerate() {
            assert_eq!((message.sender_at(turn), message.turn_of(id)), (Some(id), Some(turn)));
        }
        assert_eq!((message.sender_at(3), message.turn_of(&SenderId::trusted("d".into()))), (None, None));
    }

    #[test]
    fn o7_differences_are_named_by_their_paths() {
        let first = message("one");
        assert!(first.differences(&first).is_empty());
        let mut second = message("two");
        second.labels.insert("campaign".into(), "x".into());
        assert_eq!(first.differences(&second), ["options.labels", "text.body"]);
        let other = NewMessage { fallback_senders: vec![SenderId::trusted("b".into())], ..first.clone() };
        assert_eq!(first.differences(&other), ["options.fallback_senders"]);
        second.content = Content::Location(Default::default());
        assert_eq!(first.differences(&second), ["options.labels", "text", "location"]);
    }

    #[test]
    fn validity_counts_from_the_send_time() {
        let mut scheduled = message("x");
        assert_eq!(scheduled.expire_at(1_000), 1_000 + DEFAULT_VALIDITY_MS);
        scheduled.send_at_ms = Some(5_000);
        scheduled.validity_ms = Some(10);
        assert_eq!(scheduled.expire_at(1_000), 5_010);
        assert_eq!(scheduled.first_status(1_000), MessageStatus::Scheduled);
        assert_eq!(scheduled.first_status(6_000), MessageStatus::Accepted);
    }

    #[test]
    fn the_stored_form_reads_back() {
        let message = message("olá");
        let json = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<NewMessage>(&json).unwrap(), message);
    }
}
