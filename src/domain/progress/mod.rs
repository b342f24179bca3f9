//! How a message moves: what an answer, a report, a timer or a caller does to it. Pure: the store loads a message, asks
//! here, and writes back what came of it, together with the events, in one transaction.

use super::event::{ClientInfo, Pricing};
use super::message::{AttemptOutcome, DeliveryError, ErrorReason, HoldReason};
use super::status::{Fold, MessageStatus, Seen};
use super::{Contact, Millis, NewMessage};

mod ended;
mod held;
mod passing;
mod report;
#[cfg(test)]
mod scene;
mod timer;

pub use ended::Next;

/// What never changes about a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// What was asked for.
    pub request: NewMessage,
    /// When it was accepted.
    pub accept_at_ms: Millis,
    /// When it may no longer be handed over.
    pub expire_at_ms: Millis,
}

/// Where a message stands, with all that the engine needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Its status.
    pub status: MessageStatus,
    /// When that was reached.
    pub status_at_ms: Millis,
    /// Which statuses were reported.
    pub seen: Seen,
    /// How often it was handed over; the number of the attempt under way.
    pub attempt: i32,
    /// When that attempt was on disk.
    pub attempt_start_at_ms: Option<Millis>,
    /// Who has it in hand; nothing while nobody has.
    pub claim: Option<i64>,
    /// Whether it may be claimed now.
    pub ready: bool,
    /// When [`Progress::timer`] has something to do: a send time, a retry, the end of a lease, a wait or a validity.
    pub due_at_ms: Option<Millis>,
    /// How often it was not taken.
    pub retries: i32,
    /// The provider's id, of the last attempt that has one.
    pub provider_message_id: Option<String>,
    /// Why it was not delivered, or not yet.
    pub error: Option<DeliveryError>,
    /// Whether reports wait for the end of the attempt under way.
    pub withheld: bool,
    /// What it waits for, beside the end of its validity; nothing once that has come.
    pub hold: Option<HoldReason>,
    /// Whose turn it is, of [`NewMessage::sender_at`].
    pub turn: usize,
    /// Attempts up to this one were made by the senders before.
    pub passed_attempt: i32,
}

/// What goes into the event log about a message. The store adds what every event of the message carries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Note {
    /// The status reported; nothing for a word that we do not know.
    pub status: Option<MessageStatus>,
    /// What it did.
    pub fold: Option<Fold>,
    /// Which attempt it is about.
    pub attempt: i32,
    /// The provider's id.
    pub provider_message_id: Option<String>,
    /// Why it was not delivered.
    pub error: Option<DeliveryError>,
    /// The provider's clock.
    pub occur_at_ms: Option<Millis>,
    /// When it reached us; nothing for what happened here.
    pub receive_at_ms: Option<Millis>,
    /// The provider's word.
    pub provider_status: String,
    /// The recipient, as the provider names it.
    pub contact: Option<Contact>,
    /// What it costs.
    pub pricing: Option<Pricing>,
    /// Who opened a link.
    pub client_info: Option<ClientInfo>,
    /// What exact repeats of a report are known by.
    pub report_key: Option<i64>,
    /// At which sender it happened, of [`NewMessage::sender_at`].
    pub turn: usize,
    /// The next sender takes the message over, since `attempt` ended in `error`.
    pub passed: bool,
}

/// What is written of an attempt when it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedAttempt {
    /// Its number.
    pub number: i32,
    /// Whose it was, of [`NewMessage::sender_at`].
    pub turn: usize,
    /// When it was on disk, before the call.
    pub start_at_ms: Millis,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The provider's id.
    pub provider_message_id: Option<String>,
    /// Why it did not pass.
    pub error: Option<DeliveryError>,
    /// Other content went in the place of what was asked for; said by whoever hands over.
    pub instead: bool,
}

/// What came of a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// What to log.
    pub note: Option<Note>,
    /// The attempt that ended with it.
    pub ended: Option<EndedAttempt>,
}

impl Progress {
    /// A message in the moment of its acceptance.
    pub fn accepted(terms: &Terms) -> Self {
        let status = terms.request.first_status(terms.accept_at_ms);
        let scheduled = status == MessageStatus::Scheduled;
        Self {
            status,
            status_at_ms: terms.accept_at_ms,
            seen: Seen::default().with(MessageStatus::Accepted),
            attempt: 0,
            attempt_start_at_ms: None,
            claim: None,
            ready: !scheduled,
            due_at_ms: Some(if scheduled { terms.request.send_at(terms.accept_at_ms) } else { terms.expire_at_ms }),
            retries: 0,
            provider_message_id: None,
            error: None,
            withheld: false,
            hold: None,
            turn: 0,
            passed_attempt: 0,
        }
    }

    /// Whether attempt `number` is under way. What the provider reports of it meanwhile is withheld until it ends: the
    /// answer is on its way to us, or to the disk, and SENT comes before DELIVERED in the log as it does in the world.
    pub fn is_under_way(&self, number: i32) -> bool {
        self.claim.is_some() && self.status == MessageStatus::Sending && number == self.attempt
    }

    /// Which attempt a report is about that names the message, and the provider's id `provider_id`, which is no known
    /// attempt's: the last, unless that has another id; then the one before it, whose answer was lost (O8).
    pub fn attempt_of(&self, provider_id: Option<&str>) -> i32 {
        match (provider_id, &self.provider_message_id) {
            (Some(given), Some(known)) if given != known && self.attempt > self.passed_attempt + 1 => self.attempt - 1,
            _ => self.attempt,
        }
    }

    /// Whether later messages of the conversation must wait for this one: it is due, under way or between two tries. One
    /// that waits for its send time has not joined the queue, and one in doubt was handed over, perhaps.
    pub fn holds_conversation(&self) -> bool {
        match self.status {
            MessageStatus::Accepted | MessageStatus::Sending => true,
            _ => self.ready,
        }
    }

    /// The caller wants it back. `None` when it is too late: it is in hand, or was.
    pub fn cancel(&mut self, now: Millis) -> Option<Step> {
        if self.claim.is_some() || !self.status.is_waiting() {
            return None;
        }
        let error = DeliveryError::ours(ErrorReason::Cancelled, "cancelled by the caller", false);
        let note = self.conclude(MessageStatus::Cancelled, error, now);
        Some(Step { note: Some(note), ended: None })
    }

    /// It can never be handed over by its sender, which is gone: the next one takes it, or it ends.
    pub fn give_up(&mut self, error: DeliveryError, terms: &Terms, now: Millis) -> Option<Step> {
        // One in doubt is ready when it would be sent again.
        if self.claim.is_some() || !(self.status.is_waiting() || self.ready) {
            return None;
        }
        if let Some(step) = self.pass_by(&error, terms, now) {
            return Some(step);
        }
        let note = self.conclude(MessageStatus::Failed, error, now);
        Some(Step { note: Some(note), ended: None })
    }
}

#[cfg(test)]
mod tests {
    use super::scene::{WAIT, claim, terms};
    use super::*;
    use crate::domain::message::InDoubtPolicy;

    #[test]
    fn cancelling_wins_before_the_hand_over_and_loses_after() {
        let terms = terms(InDoubtPolicy::AtMostOnce, Some(5_000));
        let mut progress = Progress::accepted(&terms);
        assert_eq!(progress.status, MessageStatus::Scheduled);
        assert!(!progress.holds_conversation());
        assert!(progress.clone().cancel(1).is_some());
        progress.timer(&terms, 5_000, WAIT);
        assert!(progress.holds_conversation());
        claim(&mut progress, 1, 5_000);
        assert!(progress.cancel(5_001).is_none());
    }
}
