//! How a message moves: what an answer, a report, a timer or a caller does to it. Pure: the store loads a message, asks
//! here, and writes back what came of it, together with the events, in one transaction.

use std::time::Duration;

use super::event::{ClientInfo, Pricing};
use super::message::{AttemptOutcome, DeliveryError, ErrorReason, InDoubtPolicy};
use super::status::{self, Fold, MessageStatus, Seen};
use super::{Contact, Millis, NewMessage};

/// An in-doubt message waits for the provider's word at least this long, however short its validity: 1 hour.
pub const IN_DOUBT_AT_LEAST_MS: Millis = 3_600_000;

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
}

/// What is written of an attempt when it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedAttempt {
    /// Its number.
    pub number: i32,
    /// When it was on disk, before the call.
    pub start_at_ms: Millis,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The provider's id.
    pub provider_message_id: Option<String>,
    /// Why it did not pass.
    pub error: Option<DeliveryError>,
}

/// What came of a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// What to log.
    pub note: Option<Note>,
    /// The attempt that ended with it.
    pub ended: Option<EndedAttempt>,
}

impl Step {
    fn moved(&self) -> bool {
        self.note.as_ref().and_then(|note| note.fold).is_some_and(|fold| fold.changed)
    }
}

/// What follows an attempt: decided by `engine::next`.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The provider took it, and perhaps gave it an id.
    Sent(Option<String>),
    /// It will not pass.
    Failed(DeliveryError),
    /// It was not taken; once more after a while.
    RetryIn(Duration, DeliveryError),
    /// Nobody knows; the policy decides later.
    InDoubt(DeliveryError),
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
            (Some(given), Some(known)) if given != known && self.attempt > 1 => self.attempt - 1,
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

    /// An attempt ended. Nothing happens when the claim is no longer ours, except that a receipt is believed: it is the
    /// provider's word.
    pub fn ended(&mut self, claim: i64, number: i32, next: Next, terms: &Terms, now: Millis) -> Step {
        if self.claim != Some(claim) {
            return match next {
                // Told a second time, because the first time could not be confirmed, it is no news.
                Next::Sent(id) => Some(self.taken(number, id, now)).filter(Step::moved).unwrap_or_default(),
                _ => Step::default(),
            };
        }
        let start_at_ms = self.attempt_start_at_ms.take().unwrap_or(now);
        self.claim = None;
        let attempt = |outcome, provider_message_id, error| {
            Some(EndedAttempt { number, start_at_ms, outcome, provider_message_id, error })
        };
        // A status that came before the answer (S4) has moved the message on: then the answer is only recorded.
        let settled = self.status != MessageStatus::Sending;
        if settled {
            self.ready = false;
            self.due_at_ms = None;
        }
        match next {
            Next::Sent(id) => {
                let ended = attempt(AttemptOutcome::Taken, id.clone(), None);
                Step { ended, ..self.taken(number, id, now) }
            }
            Next::Failed(error) => {
                let ended = attempt(AttemptOutcome::Refused, None, Some(error.clone()));
                let note = self.report(MessageStatus::Failed, number, Some(error), now);
                Step { note: Some(note), ended }
            }
            Next::RetryIn(delay, error) => {
                self.retries += 1;
                if !settled {
                    let delay = Millis::try_from(delay.as_millis()).unwrap_or(Millis::MAX / 2);
                    self.due_at_ms = Some((now + delay).min(terms.expire_at_ms));
                    self.error = Some(error.clone());
                }
                Step { note: None, ended: attempt(AttemptOutcome::NotTaken, None, Some(error)) }
            }
            Next::InDoubt(error) => {
                let ended = attempt(AttemptOutcome::InDoubt, None, Some(error));
                let note = (!settled).then(|| self.fall_in_doubt(number, terms, now));
                Step { note, ended }
            }
        }
    }

    fn taken(&mut self, number: i32, id: Option<String>, now: Millis) -> Step {
        if id.is_some() {
            self.provider_message_id.clone_from(&id);
        }
        let mut note = self.report(MessageStatus::Sent, number, None, now);
        note.provider_message_id = id;
        Step { note: Some(note), ended: None }
    }

    /// A report of the provider about attempt `number`.
    pub fn reported(&mut self, number: i32, mut note: Note, now: Millis) -> Step {
        let status = note.status;
        let fold = match status {
            Some(status) => self.report(status, number, note.error.clone(), now).fold,
            // An unknown word changes nothing (S10).
            None => Some(Fold {
                current: self.status,
                changed: false,
                late: false,
                duplicate: false,
                contradicts_final: false,
            }),
        };
        if note.provider_message_id.is_some() && self.provider_message_id.is_none() {
            self.provider_message_id.clone_from(&note.provider_message_id);
        }
        note.fold = fold;
        note.attempt = number;
        Step { note: Some(note), ended: None }
    }

    /// Folds a status in, and stops all waiting when it moved the message.
    fn report(&mut self, status: MessageStatus, number: i32, error: Option<DeliveryError>, now: Millis) -> Note {
        let fold = status::fold(self.status, self.seen, status, number < self.attempt);
        self.seen = self.seen.with(status);
        if fold.changed {
            self.status = fold.current;
            self.status_at_ms = now;
            self.ready = false;
            // The error belongs to the report; the message keeps it only while it stands as failed (S3).
            self.error = error.clone().filter(|_| fold.current.is_failure());
            if self.claim.is_none() {
                self.due_at_ms = None;
            }
        }
        Note { status: Some(status), fold: Some(fold), attempt: number, error, ..Note::default() }
    }

    fn fall_in_doubt(&mut self, number: i32, terms: &Terms, now: Millis) -> Note {
        let note = self.report(MessageStatus::InDoubt, number, None, now);
        self.due_at_ms = Some(match terms.request.in_doubt_policy {
            InDoubtPolicy::AtMostOnce => terms.expire_at_ms.max(now + IN_DOUBT_AT_LEAST_MS),
            // The timer looks at once, and knows how long the engine is set to wait.
            InDoubtPolicy::AtLeastOnce => now,
        });
        note
    }

    /// The time that `due_at_ms` named has come. `in_doubt_wait`: how long AT_LEAST_ONCE waits for word before it sends
    /// again.
    pub fn timer(&mut self, terms: &Terms, now: Millis, in_doubt_wait: Duration) -> Step {
        if self.due_at_ms.is_none_or(|due| due > now) {
            return Step::default();
        }
        if self.claim.take().is_some() {
            return self.lease_ended(terms, now);
        }
        if self.status == MessageStatus::InDoubt {
            return self.doubt_ended(terms, now, in_doubt_wait);
        }
        if !self.status.is_waiting() {
            self.due_at_ms = None;
            return Step::default();
        }
        if now >= terms.expire_at_ms {
            let error = self.expiry();
            let note = self.report(MessageStatus::Expired, self.attempt, Some(error), now);
            return Step { note: Some(note), ended: None };
        }
        self.ready = true;
        self.due_at_ms = Some(terms.expire_at_ms);
        Step::default()
    }

    /// Whoever had the message in hand is gone, in the middle of a call.
    fn lease_ended(&mut self, terms: &Terms, now: Millis) -> Step {
        let number = self.attempt;
        let error = DeliveryError::ours(ErrorReason::OutcomeUnknown, "the gateway stopped during the call", false);
        let outcome = match self.status {
            MessageStatus::Sending => AttemptOutcome::InDoubt,
            _ => AttemptOutcome::Taken, // a status proved it
        };
        let ended = EndedAttempt {
            number,
            start_at_ms: self.attempt_start_at_ms.take().unwrap_or(now),
            outcome,
            provider_message_id: None,
            error: (outcome == AttemptOutcome::InDoubt).then_some(error),
        };
        self.due_at_ms = None;
        let note = (self.status == MessageStatus::Sending).then(|| self.fall_in_doubt(number, terms, now));
        Step { note, ended: Some(ended) }
    }

    /// No word came about a message in doubt.
    fn doubt_ended(&mut self, terms: &Terms, now: Millis, wait: Duration) -> Step {
        let wait = Millis::try_from(wait.as_millis()).unwrap_or(Millis::MAX / 2);
        let resend_at = self.status_at_ms + wait;
        match terms.request.in_doubt_policy {
            InDoubtPolicy::AtLeastOnce if now < terms.expire_at_ms && now < resend_at => {
                self.due_at_ms = Some(resend_at.min(terms.expire_at_ms));
                Step::default()
            }
            InDoubtPolicy::AtLeastOnce if now < terms.expire_at_ms => {
                self.ready = true;
                self.due_at_ms = Some(terms.expire_at_ms);
                Step::default()
            }
            _ => {
                self.ready = false;
                let message = "the provider's answer was lost and no status came";
                let error = DeliveryError::ours(ErrorReason::OutcomeUnknown, message, false);
                let note = self.report(MessageStatus::Failed, self.attempt, Some(error), now);
                Step { note: Some(note), ended: None }
            }
        }
    }

    fn expiry(&self) -> DeliveryError {
        let last = self.error.as_ref().map(|error| {
            let code = [error.reason.as_str(), &error.provider_code, &error.provider_message].join(" ");
            format!("; the last try: {}", code.trim_end())
        });
        let message = format!("not handed over within its validity{}", last.unwrap_or_default());
        DeliveryError::ours(ErrorReason::Expired, message, false)
    }

    /// The caller wants it back. `None` when it is too late: it is in hand, or was.
    pub fn cancel(&mut self, now: Millis) -> Option<Step> {
        if self.claim.is_some() || !self.status.is_waiting() {
            return None;
        }
        let error = DeliveryError::ours(ErrorReason::Cancelled, "cancelled by the caller", false);
        let note = self.report(MessageStatus::Cancelled, self.attempt, Some(error), now);
        Some(Step { note: Some(note), ended: None })
    }

    /// A claim whose answer was lost on its way to the engine: nothing was written to anybody, so it never was.
    pub fn released(&mut self, claim: i64, terms: &Terms) {
        if self.claim == Some(claim) && self.status == MessageStatus::Sending {
            self.claim = None;
            self.attempt -= 1;
            self.attempt_start_at_ms = None;
            self.ready = true;
            self.due_at_ms = Some(terms.expire_at_ms);
        }
    }

    /// It can never be handed over, whatever is tried: its sender is gone.
    pub fn give_up(&mut self, error: DeliveryError, now: Millis) -> Option<Step> {
        // One in doubt is ready when it would be sent again.
        if self.claim.is_some() || !(self.status.is_waiting() || self.ready) {
            return None;
        }
        let note = self.report(MessageStatus::Failed, self.attempt, Some(error), now);
        Some(Step { note: Some(note), ended: None })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::content::{Content, Text};
    use crate::domain::message::Priority;
    use crate::domain::{PhoneNumber, SenderId};

    const HOUR: Millis = 3_600_000;
    const WAIT: Duration = Duration::from_secs(60);

    fn terms(policy: InDoubtPolicy, send_at_ms: Option<Millis>) -> Terms {
        let request = NewMessage {
            sender: SenderId::trusted("acme".into()),
            to: PhoneNumber { given: "+351910000001".into(), digits: "351910000001".into() },
            content: Content::Text(Text { body: "x".into(), preview_url: false }),
            reply_to_message_id: None,
            send_at_ms,
            validity_ms: Some(10_000),
            callback_data: String::new(),
            labels: BTreeMap::new(),
            priority: Priority::Normal,
            in_doubt_policy: policy,
        };
        Terms { expire_at_ms: request.expire_at(0), request, accept_at_ms: 0 }
    }

    /// As the store's claim does it.
    fn claim(progress: &mut Progress, claim: i64, now: Millis) {
        assert!(progress.ready);
        progress.status = MessageStatus::Sending;
        progress.attempt += 1;
        progress.attempt_start_at_ms = Some(now);
        progress.claim = Some(claim);
        progress.ready = false;
        progress.due_at_ms = Some(now + 1_000);
    }

    fn claimed(policy: InDoubtPolicy) -> (Terms, Progress) {
        let terms = terms(policy, None);
        let mut progress = Progress::accepted(&terms);
        claim(&mut progress, 7, 0);
        (terms, progress)
    }

    fn error() -> DeliveryError {
        DeliveryError::ours(ErrorReason::Unknown, "e", true)
    }

    #[test]
    fn a_taken_message_is_sent_and_waits_for_nothing() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        let step = progress.ended(7, 1, Next::Sent(Some("p1".into())), &terms, 5);
        assert_eq!(progress.status, MessageStatus::Sent);
        assert_eq!((progress.due_at_ms, progress.ready, progress.claim), (None, false, None));
        assert_eq!(step.ended.unwrap().outcome, AttemptOutcome::Taken);
        assert!(!progress.holds_conversation());
    }

    #[test]
    fn a_retry_holds_the_conversation_and_comes_back_ready() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        let step = progress.ended(7, 1, Next::RetryIn(Duration::from_secs(2), error()), &terms, 5);
        assert!(step.note.is_none() && progress.holds_conversation() && !progress.ready);
        assert_eq!(progress.due_at_ms, Some(2_005));
        progress.timer(&terms, 2_004, WAIT);
        assert!(!progress.ready);
        progress.timer(&terms, 2_005, WAIT);
        assert!(progress.ready);
    }

    #[test]
    fn o15_validity_ends_a_message_without_a_call() {
        let terms = terms(InDoubtPolicy::AtMostOnce, None);
        let mut progress = Progress::accepted(&terms);
        let step = progress.timer(&terms, 10_000, WAIT);
        assert_eq!(progress.status, MessageStatus::Expired);
        assert_eq!(step.note.unwrap().error.unwrap().reason, ErrorReason::Expired);
        assert_eq!(progress.attempt, 0);
    }

    #[test]
    fn o1_in_doubt_waits_for_word_at_least_an_hour_and_is_never_sent_again() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        progress.ended(7, 1, Next::InDoubt(error()), &terms, 5);
        assert_eq!((progress.status, progress.due_at_ms), (MessageStatus::InDoubt, Some(HOUR + 5)));
        progress.timer(&terms, HOUR, WAIT);
        assert!(!progress.ready);
        let step = progress.timer(&terms, HOUR + 5, WAIT);
        assert_eq!(progress.status, MessageStatus::Failed);
        assert_eq!(step.note.unwrap().error.unwrap().reason, ErrorReason::OutcomeUnknown);
    }

    #[test]
    fn in_doubt_at_least_once_is_sent_again_after_the_wait() {
        let (mut terms, mut progress) = claimed(InDoubtPolicy::AtLeastOnce);
        terms.expire_at_ms = HOUR;
        progress.ended(7, 1, Next::InDoubt(error()), &terms, 5);
        progress.timer(&terms, 5, WAIT);
        assert_eq!((progress.ready, progress.due_at_ms), (false, Some(60_005)));
        progress.timer(&terms, 60_005, WAIT);
        assert!(progress.ready);
    }

    #[test]
    fn o4_a_lease_that_ends_leaves_an_attempt_in_doubt() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        let step = progress.timer(&terms, 1_000, WAIT);
        assert_eq!(progress.status, MessageStatus::InDoubt);
        assert_eq!(step.ended.unwrap().outcome, AttemptOutcome::InDoubt);
        assert!(!progress.ready);
    }

    #[test]
    fn o5_a_worker_that_lost_its_lease_changes_nothing_but_its_receipt_is_believed() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        progress.timer(&terms, 1_000, WAIT);
        let before = progress.clone();
        assert_eq!(progress.ended(7, 1, Next::Failed(error()), &terms, 1_001), Step::default());
        assert_eq!(progress, before);
        progress.ended(7, 1, Next::Sent(Some("p".into())), &terms, 1_002);
        assert_eq!(progress.status, MessageStatus::Sent);
    }

    #[test]
    fn an_outcome_that_is_told_twice_is_one_event() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        let sent = Next::Sent(Some("p".into()));
        assert!(progress.ended(7, 1, sent.clone(), &terms, 5).note.is_some());
        assert_eq!(progress.ended(7, 1, sent, &terms, 6), Step::default());
    }

    #[test]
    fn a_claim_that_nobody_heard_of_is_undone() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        progress.released(8, &terms);
        assert_eq!(progress.claim, Some(7), "another claim's number");
        progress.released(7, &terms);
        assert_eq!((progress.claim, progress.attempt, progress.ready), (None, 0, true));
        assert!(progress.holds_conversation());
    }

    #[test]
    fn s4_a_status_before_the_answer_is_kept_and_the_answer_is_late() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        let note = Note { status: Some(MessageStatus::Delivered), ..Note::default() };
        progress.reported(1, note, 3);
        assert_eq!(progress.status, MessageStatus::Delivered);
        let step = progress.ended(7, 1, Next::Sent(Some("p".into())), &terms, 5);
        assert!(step.note.unwrap().fold.unwrap().late);
        assert_eq!(progress.status, MessageStatus::Delivered);
        assert_eq!((progress.due_at_ms, progress.claim), (None, None));
    }

    #[test]
    fn a_status_settles_what_was_in_doubt() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtLeastOnce);
        progress.ended(7, 1, Next::InDoubt(error()), &terms, 5);
        let note = Note { status: Some(MessageStatus::Delivered), ..Note::default() };
        progress.reported(1, note, 8);
        progress.timer(&terms, HOUR, WAIT);
        assert_eq!((progress.status, progress.ready), (MessageStatus::Delivered, false));
    }

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

    #[test]
    fn s10_an_unknown_word_is_noted_and_changes_nothing() {
        let (_, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        let step = progress.reported(1, Note { provider_status: "PONDERED".into(), ..Note::default() }, 3);
        assert_eq!(progress.status, MessageStatus::Sending);
        assert_eq!(step.note.unwrap().provider_status, "PONDERED");
    }
}
