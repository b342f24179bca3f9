//! How a message goes on to its next sender: only when the one before cannot deliver it any more (O16).

use super::{EndedAttempt, Next, Note, Progress, Step, Terms};
use crate::domain::Millis;
use crate::domain::fallback::{TRIES, Told, passes_on};
use crate::domain::message::{AttemptOutcome, DeliveryError, ErrorReason};
use crate::domain::status::{Fold, MessageStatus};

impl Progress {
    /// Whether there is a sender that may take the message over.
    pub fn has_next(&self, terms: &Terms) -> bool {
        // What was erased is never handed over again.
        !terms.request.to.digits.is_empty() && terms.request.sender_at(self.turn + 1).is_some()
    }

    /// Whose attempt it was, of the last two turns.
    pub(super) fn turn_of_attempt(&self, number: i32) -> usize {
        if number <= self.passed_attempt { self.turn.saturating_sub(1) } else { self.turn }
    }

    /// Whether a failure at the sender whose turn it is sends the message on.
    fn may_pass(&self, reason: ErrorReason, told: Told, terms: &Terms, now: Millis) -> bool {
        self.has_next(terms) && now < terms.expire_at_ms && !self.seen.has_delivery() && passes_on(reason, told)
    }

    /// With what error the end of a call sends the message on, if it does. What a status has settled stays.
    pub(super) fn passes_with(&self, next: &Next, terms: &Terms, now: Millis) -> Option<DeliveryError> {
        let error = match next {
            Next::Failed(error) | Next::Spared(error) => error,
            // Not by impatience: only when this sender would try no more, or was tried often enough.
            Next::RetryIn(delay, error) => {
                let delay = Millis::try_from(delay.as_millis()).unwrap_or(Millis::MAX / 2);
                let too_late = now.saturating_add(delay) >= terms.expire_at_ms;
                let away = error.reason == ErrorReason::ProviderUnavailable && self.retries + 1 >= TRIES;
                (too_late || away).then_some(error)?
            }
            Next::Sent(_) | Next::InDoubt(_) | Next::PutBack | Next::Held { .. } => return None,
        };
        let open = self.status == MessageStatus::Sending;
        (open && self.may_pass(error.reason, Told::AtOnce, terms, now)).then(|| error.clone())
    }

    /// With what error a report about attempt `number` sends the message on, if it does.
    pub(super) fn passes_with_report(
        &self,
        number: i32,
        note: &Note,
        terms: &Terms,
        now: Millis,
    ) -> Option<DeliveryError> {
        let open = matches!(self.status, MessageStatus::Sending | MessageStatus::InDoubt | MessageStatus::Sent);
        if !open || number != self.attempt || number <= self.passed_attempt {
            return None;
        }
        let error = match (note.status?, note.error.clone()) {
            // Whatever is said beside: the provider's time ran out, and the message's did not.
            (MessageStatus::Expired, Some(error)) => DeliveryError { reason: ErrorReason::Expired, ..error },
            (MessageStatus::Expired, None) => {
                DeliveryError::ours(ErrorReason::Expired, "its time at the provider ran out", false)
            }
            (MessageStatus::Failed, Some(error)) => error,
            _ => return None,
        };
        self.may_pass(error.reason, Told::Later, terms, now).then_some(error)
    }

    /// Gives the message to its next sender: as one that is due, with what is left of its validity. An attempt that is still
    /// under way ends first ([`Progress::go_on`]).
    pub(super) fn pass_on(&mut self, number: i32, error: DeliveryError, terms: &Terms, now: Millis) -> Note {
        let turn = self.turn;
        if error.reason != ErrorReason::OutcomeUnknown {
            // A delivery that is reported later contradicts it.
            self.seen = self.seen.with(MessageStatus::Failed);
        }
        self.turn += 1;
        self.passed_attempt = self.attempt;
        self.retries = 0;
        self.provider_message_id = None;
        self.hold = None;
        self.error = Some(error.clone());
        // One that waits for its send time still does.
        if self.status != MessageStatus::Scheduled {
            self.status = MessageStatus::Sending;
            self.status_at_ms = now;
            self.ready = false;
            if self.claim.is_none() {
                self.go_on(terms);
            }
        }
        let current = self.status;
        let fold = Fold { current, changed: true, late: false, duplicate: false, contradicts_final: false };
        let (status, fold, error) = (Some(current), Some(fold), Some(error));
        Note { status, fold, attempt: number, turn, error, passed: true, ..Note::default() }
    }

    /// Nobody has the message in hand any more: the sender that took it over may claim it, unless it is settled.
    pub(super) fn go_on(&mut self, terms: &Terms) {
        self.ready = self.status == MessageStatus::Sending;
        self.due_at_ms = self.ready.then_some(terms.expire_at_ms);
    }

    /// Its sender cannot send it, and nobody was called: the next one takes it, if there is one.
    pub fn pass_by(&mut self, error: &DeliveryError, terms: &Terms, now: Millis) -> Option<Step> {
        let waits = self.claim.is_none() && (self.status.is_waiting() || self.ready);
        if !waits || !self.may_pass(error.reason, Told::AtOnce, terms, now) {
            return None;
        }
        self.attempt += 1;
        let ended = EndedAttempt {
            number: self.attempt,
            turn: self.turn,
            start_at_ms: now,
            outcome: AttemptOutcome::Skipped,
            provider_message_id: None,
            error: Some(error.clone()),
            instead: false,
        };
        let note = self.pass_on(self.attempt, error.clone(), terms, now);
        Some(Step { note: Some(note), ended: Some(ended) })
    }
}

#[cfg(test)]
mod tests;
