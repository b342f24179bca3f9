//! What is said about a message, by its provider or by the gateway itself, folded into it.

use super::{Note, Progress, Step, Terms};
use crate::domain::Millis;
use crate::domain::message::DeliveryError;
use crate::domain::status::{self, About, Fold, MessageStatus};

impl Note {
    /// Whether the message has another status by it.
    pub(super) fn moved(&self) -> bool {
        self.fold.is_some_and(|fold| fold.changed)
    }
}

impl Progress {
    /// A report of the provider about attempt `number`; `note.turn` says of which sender's.
    pub fn reported(&mut self, number: i32, mut note: Note, terms: &Terms, now: Millis) -> Step {
        if let Some(error) = self.passes_with_report(number, &note, terms, now) {
            let passed = self.pass_on(number, error, terms, now);
            let Note { status, fold, error, .. } = passed;
            return Step {
                note: Some(Note { status, fold, error, attempt: number, passed: true, ..note }),
                ended: None,
            };
        }
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
        let is_ours = number > self.passed_attempt && self.provider_message_id.is_none();
        if note.provider_message_id.is_some() && is_ours {
            self.provider_message_id.clone_from(&note.provider_message_id);
        }
        note.fold = fold;
        note.attempt = number;
        Step { note: Some(note), ended: None }
    }

    /// What the provider says about attempt `number`.
    pub(super) fn report(
        &mut self,
        status: MessageStatus,
        number: i32,
        error: Option<DeliveryError>,
        now: Millis,
    ) -> Note {
        let about = match number {
            _ if number <= self.passed_attempt => About::EarlierSender,
            _ if number < self.attempt => About::Earlier,
            _ => About::Last,
        };
        let note = self.fold(status, about, error, now);
        Note { attempt: number, turn: self.turn_of_attempt(number), ..note }
    }

    /// What the gateway itself found about the message.
    pub(super) fn conclude(&mut self, status: MessageStatus, error: DeliveryError, now: Millis) -> Note {
        self.fold(status, About::Last, Some(error), now)
    }

    /// Folds a status in, and stops all waiting when it moved the message.
    fn fold(&mut self, status: MessageStatus, about: About, error: Option<DeliveryError>, now: Millis) -> Note {
        let fold = status::fold(self.status, self.seen, status, about);
        self.seen = self.seen.with(status);
        if fold.changed {
            self.status = fold.current;
            self.status_at_ms = now;
            self.ready = false;
            self.hold = None;
            // The error belongs to the report; the message keeps it only while it stands as failed (S3).
            self.error = error.clone().filter(|_| fold.current.is_failure());
            if self.claim.is_none() {
                self.due_at_ms = None;
            }
        }
        let (attempt, turn) = (self.attempt, self.turn);
        Note { status: Some(status), fold: Some(fold), attempt, turn, error, ..Note::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Next;
    use super::super::scene::{HOUR, WAIT, claimed, error};
    use super::*;
    use crate::domain::message::InDoubtPolicy;

    #[test]
    fn a_status_settles_what_was_in_doubt() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtLeastOnce);
        progress.ended(7, 1, Next::InDoubt(error()), &terms, 5);
        let note = Note { status: Some(MessageStatus::Delivered), ..Note::default() };
        progress.reported(1, note, &terms, 8);
        progress.timer(&terms, HOUR, WAIT);
        assert_eq!((progress.status, progress.ready), (MessageStatus::Delivered, false));
    }

    #[test]
    fn s10_an_unknown_word_is_noted_and_changes_nothing() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        let step = progress.reported(1, Note { provider_status: "PONDERED".into(), ..Note::default() }, &terms, 3);
        assert_eq!(progress.status, MessageStatus::Sending);
        assert_eq!(step.note.unwrap().provider_status, "PONDERED");
    }
}
