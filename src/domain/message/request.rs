//! What a caller asks for: a message, and how it is to be handed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::content::Template;
use crate::domain::status::MessageStatus;
use crate::domain::template::TemplateCategory;
use crate::domain::{Content, MessageId, Millis, PhoneNumber, SenderId};

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

#[cfg(test)]
mod tests {

    use super::*;
    use crate::domain::content::Text;

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
