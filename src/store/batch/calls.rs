//! What moves messages that are in hand or wait: calls that ended, timers, cancelling, passing by.

use std::collections::HashMap;
use std::time::Duration;

use super::Batch;
use crate::domain::message::{DeliveryError, HoldReason};
use crate::domain::progress::{Next, Step};
use crate::domain::window::WindowState;
use crate::domain::{MessageId, MessageStatus, SenderId};
use crate::store::StoreError;
use crate::store::claims::EndedCall;
use crate::store::intake::{self, Parked};
use crate::store::windows::{self, OfWindow};

impl Batch<'_> {
    /// Takes out what was reported of messages while they were under way; by place.
    pub(super) async fn take_withheld(&mut self, seqs: Vec<i64>) -> Result<HashMap<i64, Vec<Parked>>, StoreError> {
        let loaded = seqs.iter().filter_map(|seq| self.changes.get(*seq));
        let ids: Vec<MessageId> = loaded.filter(|loaded| loaded.progress.withheld).map(|loaded| loaded.id).collect();
        let mut withheld: HashMap<i64, Vec<Parked>> = HashMap::new();
        if ids.is_empty() {
            return Ok(withheld);
        }
        self.known.learn(self.transaction, ids.iter().copied()).await?;
        let mut others = Vec::new();
        for parked in intake::unpark_messages(self.transaction, ids.iter().map(|id| id.0).collect()).await? {
            let seq = parked.report.message_id.and_then(|id| self.changes.seq_of(id));
            match seq.filter(|seq| self.is_of(*seq, &parked.sender)) {
                Some(seq) => withheld.entry(seq).or_default().push(parked),
                // It came by another sender's webhook, and is as unmatched as before.
                None => others.push(parked),
            }
        }
        intake::park(self.transaction, others).await?;
        Ok(withheld)
    }

    /// Folds what was reported of a message while its attempt was under way.
    pub(super) fn fold_withheld(&mut self, seq: i64, withheld: &[Parked]) {
        let Some(attempt) = self.changes.get(seq).map(|loaded| loaded.progress.attempt) else { return };
        for Parked { sender, receive_at_ms, report, journal_id } in withheld {
            self.fold((seq, attempt), sender, report, *receive_at_ms, *journal_id);
        }
        self.changes.step(seq, self.now, None, |progress, _| {
            progress.withheld = false;
            Step::default()
        });
    }

    /// A receipt comes before what was reported meanwhile; of any other end the reports know more.
    pub(super) fn ended(&mut self, call: &EndedCall, withheld: Vec<Parked>) {
        let now = self.now;
        let receipt = matches!(call.next, Next::Sent(_));
        if let (Next::Sent(Some(id)), false) = (&call.next, self.in_hand(call)) {
            // The attempt was written down without it when the lease ran out.
            self.learnt.push(((call.seq, call.attempt), id.clone()));
        }
        if !withheld.is_empty() && !receipt {
            self.fold_withheld(call.seq, &withheld);
        }
        let next = self.by_window(call);
        let event = self.changes.step(call.seq, now, call.exchange.as_ref(), |progress, terms| {
            let mut step = progress.ended(call.token, call.attempt, next, terms, now);
            if let Some(ended) = &mut step.ended {
                ended.instead = call.instead;
            }
            step
        });
        if matches!(call.next, Next::Failed(_)) {
            self.learn(event.as_slice());
        }
        self.events.extend(event);
        if !withheld.is_empty() && receipt {
            self.fold_withheld(call.seq, &withheld);
        }
        self.wake(call.seq);
    }

    pub(super) async fn pass_by(
        &mut self,
        sender: &SenderId,
        error: &DeliveryError,
        limit: u64,
    ) -> Result<usize, StoreError> {
        let now = self.now;
        let due = self.changes.load_with_next(self.transaction, sender, limit).await?;
        for &seq in &due {
            let event = self
                .changes
                .step(seq, now, None, |progress, terms| progress.pass_by(error, terms, now).unwrap_or_default());
            self.events.extend(event);
            self.wake(seq);
        }
        Ok(due.len())
    }

    /// What follows a call whose message is to wait for its window: the person may have written meanwhile. And what the
    /// provider said of the window is noted.
    fn by_window(&mut self, call: &EndedCall) -> Next {
        let Some(OfWindow { sender, peer, refused_at_ms }) = &call.of_window else { return call.next.clone() };
        if let Some(at_ms) = refused_at_ms {
            self.windows.refused(sender, peer, *at_ms);
        }
        let open = matches!(self.windows.state(sender, peer, self.now), WindowState::Open(_));
        match &call.next {
            Next::Held { reason: HoldReason::WindowClosed, refused: None } if open => {
                self.effects.ready.insert(sender.clone());
                Next::PutBack
            }
            Next::Held { reason: HoldReason::WindowClosed, refused: Some(error) } if open => {
                Next::RetryIn(windows::OPENED_MEANWHILE, error.clone())
            }
            next => next.clone(),
        }
    }

    pub(super) async fn timers(&mut self, limit: u64, in_doubt_wait: Duration) -> Result<usize, StoreError> {
        let now = self.now;
        let due = self.changes.load_due(self.transaction, now, limit).await?;
        let in_hand = |seq: &i64| self.changes.get(*seq).is_some_and(|loaded| loaded.progress.claim.is_some());
        let leases = due.iter().copied().filter(in_hand).collect();
        let mut withheld = self.take_withheld(leases).await?;
        for &seq in &due {
            if let Some(withheld) = withheld.remove(&seq) {
                self.fold_withheld(seq, &withheld);
            }
            let event = self.changes.step(seq, now, None, |progress, terms| progress.timer(terms, now, in_doubt_wait));
            self.events.extend(event);
            self.wake(seq);
        }
        Ok(due.len())
    }

    pub(super) async fn release(&mut self, token: i64) -> Result<(), StoreError> {
        for seq in self.changes.load_claim(self.transaction, token).await? {
            self.changes.step(seq, self.now, None, |progress, terms| {
                progress.released(token, terms);
                Step::default()
            });
            self.wake(seq);
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self, id: MessageId) -> Option<Result<MessageStatus, MessageStatus>> {
        let now = self.now;
        let seq = self.changes.seq_of(id)?;
        let status = self.changes.get(seq)?.progress.status;
        if status == MessageStatus::Cancelled {
            return Some(Ok(status));
        }
        let mut cancelled = false;
        let event = self.changes.step(seq, now, None, |progress, _| {
            let step = progress.cancel(now);
            cancelled = step.is_some();
            step.unwrap_or_else(Step::default)
        });
        self.events.extend(event);
        Some(if cancelled { Ok(MessageStatus::Cancelled) } else { Err(status) })
    }
}
