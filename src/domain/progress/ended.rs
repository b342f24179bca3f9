//! The end of an attempt: what the answer of a provider, or the want of one, does to a message.

use std::time::Duration;

use super::{EndedAttempt, Note, Progress, Step, Terms};
use crate::domain::Millis;
use crate::domain::message::{AttemptOutcome, DeliveryError, HoldReason};
use crate::domain::status::MessageStatus;

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
    /// It was not handed over: what is known says that it would not pass. The attempt is undone.
    Spared(DeliveryError),
    /// It was not handed over, and may be claimed again at once. The attempt is undone.
    PutBack,
    /// It waits for what the reason names.
    Held {
        /// What for.
        reason: HoldReason,
        /// The provider's no, when it was asked; without one the attempt is undone.
        refused: Option<DeliveryError>,
    },
}

impl Next {
    /// What is written of the attempt: how it ended, the provider's id, and why it did not pass.
    fn told(&self) -> (AttemptOutcome, Option<String>, Option<DeliveryError>) {
        match self {
            Next::Sent(id) => (AttemptOutcome::Taken, id.clone(), None),
            Next::Failed(error) => (AttemptOutcome::Refused, None, Some(error.clone())),
            Next::RetryIn(_, error) => (AttemptOutcome::NotTaken, None, Some(error.clone())),
            Next::InDoubt(error) => (AttemptOutcome::InDoubt, None, Some(error.clone())),
            Next::Spared(error) => (AttemptOutcome::Skipped, None, Some(error.clone())),
            Next::Held { refused: Some(error), .. } => (AttemptOutcome::Refused, None, Some(error.clone())),
            Next::PutBack | Next::Held { refused: None, .. } => (AttemptOutcome::Skipped, None, None),
        }
    }
}

impl Progress {
    /// An attempt ended. Nothing happens when the claim is no longer ours, except that a receipt is believed: it is the
    /// provider's word.
    pub fn ended(&mut self, claim: i64, number: i32, next: Next, terms: &Terms, now: Millis) -> Step {
        if self.claim != Some(claim) {
            return self.ended_for_others(number, next, now);
        }
        self.claim = None;
        let (outcome, provider_message_id, error) = next.told();
        let attempt = EndedAttempt {
            number,
            turn: self.turn_of_attempt(number),
            start_at_ms: self.attempt_start_at_ms.take().unwrap_or(now),
            outcome,
            provider_message_id,
            error,
            instead: false,
        };
        if number <= self.passed_attempt {
            self.go_on(terms);
            let note = match next {
                Next::Sent(id) => Some(self.taken(number, id, now)),
                _ => None,
            };
            return Step { note, ended: Some(attempt) };
        }
        if let Some(error) = self.passes_with(&next, terms, now) {
            return Step { note: Some(self.pass_on(number, error, terms, now)), ended: Some(attempt) };
        }
        if let (Next::Spared(error), true) = (&next, self.turn > 0 && self.status == MessageStatus::Sending) {
            // The history says why none of the fallbacks sent it.
            let note = self.conclude(MessageStatus::Failed, error.clone(), now);
            return Step { note: Some(note), ended: Some(attempt) };
        }
        // What was not tried is no attempt.
        let ended = Some(attempt).filter(|attempt| attempt.outcome != AttemptOutcome::Skipped);
        if ended.is_none() {
            self.attempt -= 1;
        }
        Step { note: self.follow(number, next, terms, now), ended }
    }

    /// Somebody else has the message in hand, or nobody: the lease was lost.
    fn ended_for_others(&mut self, number: i32, next: Next, now: Millis) -> Step {
        let note = match next {
            // Told a second time, because the first time could not be confirmed, it is no news.
            Next::Sent(id) => Some(self.taken(number, id, now)).filter(Note::moved),
            _ => None,
        };
        Step { note, ended: None }
    }

    /// What the end of an attempt does, at the sender whose turn it is and stays.
    fn follow(&mut self, number: i32, next: Next, terms: &Terms, now: Millis) -> Option<Note> {
        // A status that came before the answer (S4) has moved the message on: then the answer is only recorded.
        let settled = self.status != MessageStatus::Sending;
        if settled {
            self.ready = false;
            self.due_at_ms = None;
        }
        match next {
            Next::Sent(id) => Some(self.taken(number, id, now)),
            Next::Failed(error) => Some(self.report(MessageStatus::Failed, number, Some(error), now)),
            Next::RetryIn(delay, error) => {
                self.retries += 1;
                if !settled {
                    let delay = Millis::try_from(delay.as_millis()).unwrap_or(Millis::MAX / 2);
                    self.due_at_ms = Some((now + delay).min(terms.expire_at_ms));
                    self.error = Some(error);
                }
                None
            }
            Next::InDoubt(_) => (!settled).then(|| self.fall_in_doubt(number, terms, now)),
            Next::Spared(error) => (!settled).then(|| self.conclude(MessageStatus::Failed, error, now)),
            Next::PutBack => {
                if !settled {
                    self.ready = true;
                    self.due_at_ms = Some(terms.expire_at_ms);
                }
                None
            }
            Next::Held { reason, refused } => (!settled).then(|| self.be_held(reason, refused, terms, now)),
        }
    }

    fn taken(&mut self, number: i32, id: Option<String>, now: Millis) -> Note {
        if id.is_some() && number > self.passed_attempt {
            self.provider_message_id.clone_from(&id);
        }
        let note = self.report(MessageStatus::Sent, number, None, now);
        Note { provider_message_id: id, ..note }
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
}

#[cfg(test)]
mod tests {
    use super::super::scene::{WAIT, claimed, error};
    use super::*;
    use crate::domain::message::InDoubtPolicy;

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
    fn what_is_judged_not_to_go_ends_without_an_attempt() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        let step = progress.ended(7, 1, Next::Spared(error()), &terms, 5);
        assert_eq!((progress.status, progress.attempt, progress.claim), (MessageStatus::Failed, 0, None));
        assert_eq!((progress.due_at_ms, progress.holds_conversation(), step.ended), (None, false, None));
        assert_eq!(step.note.unwrap().error, Some(error()));
    }

    #[test]
    fn s4_a_status_before_the_answer_is_kept_and_the_answer_is_late() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        let note = Note { status: Some(MessageStatus::Delivered), ..Note::default() };
        progress.reported(1, note, &terms, 3);
        assert_eq!(progress.status, MessageStatus::Delivered);
        let step = progress.ended(7, 1, Next::Sent(Some("p".into())), &terms, 5);
        assert!(step.note.unwrap().fold.unwrap().late);
        assert_eq!(progress.status, MessageStatus::Delivered);
        assert_eq!((progress.due_at_ms, progress.claim), (None, None));
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
}
