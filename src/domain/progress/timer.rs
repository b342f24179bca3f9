//! What time does to a message: send times, retries, leases, waits and validities.

use std::time::Duration;

use super::{EndedAttempt, Note, Progress, Step, Terms};
use crate::domain::Millis;
use crate::domain::message::{AttemptOutcome, DeliveryError, ErrorReason, InDoubtPolicy};
use crate::domain::status::MessageStatus;

/// An in-doubt message waits for the provider's word at least this long, however short its validity: 1 hour.
const IN_DOUBT_AT_LEAST_MS: Millis = 3_600_000;

impl Progress {
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
            let note = self.conclude(MessageStatus::Expired, error, now);
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
            turn: self.turn_of_attempt(number),
            start_at_ms: self.attempt_start_at_ms.take().unwrap_or(now),
            outcome,
            provider_message_id: None,
            error: (outcome == AttemptOutcome::InDoubt).then_some(error),
            instead: false,
        };
        if number <= self.passed_attempt {
            self.go_on(terms);
            return Step { note: None, ended: Some(ended) };
        }
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
            InDoubtPolicy::AtLeastOnce if now < terms.expire_at_ms && self.has_next(terms) => {
                let message = "the provider's answer was lost and no status came in time";
                let error = DeliveryError::ours(ErrorReason::OutcomeUnknown, message, false);
                Step { note: Some(self.pass_on(self.attempt, error, terms, now)), ended: None }
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
                let note = self.conclude(MessageStatus::Failed, error, now);
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

    /// Nobody knows what became of the attempt: until when its word is waited for.
    pub(super) fn fall_in_doubt(&mut self, number: i32, terms: &Terms, now: Millis) -> Note {
        let note = self.report(MessageStatus::InDoubt, number, None, now);
        self.due_at_ms = Some(match terms.request.in_doubt_policy {
            InDoubtPolicy::AtMostOnce => terms.expire_at_ms.max(now + IN_DOUBT_AT_LEAST_MS),
            // The timer looks at once, and knows how long the engine is set to wait.
            InDoubtPolicy::AtLeastOnce => now,
        });
        note
    }
}

#[cfg(test)]
mod tests {
    use super::super::Next;
    use super::super::scene::{HOUR, WAIT, claimed, error, terms};
    use super::*;

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
}
