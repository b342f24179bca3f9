//! Holding a message back until something happens that it waits for.

use super::{Note, Progress, Terms};
use crate::domain::Millis;
use crate::domain::message::{DeliveryError, HoldReason};
use crate::domain::status::{Fold, MessageStatus};

impl Progress {
    /// Until its hold is released; it may be so again and again, so it folds into nothing.
    pub(super) fn be_held(
        &mut self,
        reason: HoldReason,
        error: Option<DeliveryError>,
        terms: &Terms,
        now: Millis,
    ) -> Note {
        self.hold = Some(reason);
        self.status = MessageStatus::Held;
        self.status_at_ms = now;
        self.seen = self.seen.with(MessageStatus::Held);
        self.due_at_ms = Some(terms.expire_at_ms);
        self.error.clone_from(&error);
        let fold = Fold {
            current: MessageStatus::Held,
            changed: true,
            late: false,
            duplicate: false,
            contradicts_final: false,
        };
        let (attempt, turn) = (self.attempt, self.turn);
        Note { status: Some(MessageStatus::Held), fold: Some(fold), attempt, turn, error, ..Note::default() }
    }

    /// What it was held for has happened: it may be claimed again, in its old place.
    pub fn unheld(&mut self, reason: HoldReason) {
        if self.hold == Some(reason) && self.claim.is_none() {
            self.hold = None;
            self.ready = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Next;
    use super::super::scene::{WAIT, claim, claimed, error};
    use super::*;
    use crate::domain::message::{AttemptOutcome, InDoubtPolicy};

    #[test]
    fn a_held_message_holds_back_nobody_until_it_may_go_again() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        let held = Next::Held { reason: HoldReason::WindowClosed, refused: None };
        let step = progress.ended(7, 1, held.clone(), &terms, 5);
        let note = step.note.unwrap();
        assert_eq!((note.status, note.fold.unwrap().changed), (Some(MessageStatus::Held), true));
        assert_eq!((progress.status, progress.attempt, step.ended), (MessageStatus::Held, 0, None));
        assert!(!progress.ready && !progress.holds_conversation());
        assert_eq!(progress.clone().timer(&terms, 10_000, WAIT).note.unwrap().status, Some(MessageStatus::Expired));
        assert!(progress.clone().cancel(6).is_some());
        progress.unheld(HoldReason::WindowClosed);
        assert!(progress.ready && progress.holds_conversation() && progress.hold.is_none());
        claim(&mut progress, 8, 6);
        let step = progress.ended(8, 1, held, &terms, 7);
        assert!(step.note.unwrap().fold.unwrap().changed, "held once more");
    }

    #[test]
    fn a_refusal_that_holds_a_message_is_an_attempt() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtMostOnce);
        let held = Next::Held { reason: HoldReason::WindowClosed, refused: Some(error()) };
        let step = progress.ended(7, 1, held, &terms, 5);
        assert_eq!(step.ended.unwrap().outcome, AttemptOutcome::Refused);
        assert_eq!((progress.status, progress.attempt, progress.error), (MessageStatus::Held, 1, Some(error())));
    }

    #[test]
    fn a_delivery_of_an_earlier_attempt_ends_the_hold() {
        let (terms, mut progress) = claimed(InDoubtPolicy::AtLeastOnce);
        progress.ended(7, 1, Next::InDoubt(error()), &terms, 5);
        progress.ready = true;
        claim(&mut progress, 8, 6);
        progress.ended(8, 2, Next::Held { reason: HoldReason::WindowClosed, refused: None }, &terms, 7);
        progress.reported(1, Note { status: Some(MessageStatus::Delivered), ..Note::default() }, &terms, 8);
        assert_eq!((progress.status, progress.hold, progress.ready), (MessageStatus::Delivered, None, false));
    }
}
