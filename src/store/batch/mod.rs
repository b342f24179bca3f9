//! One transaction for all that waits: what queued up during the last commit is written together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseTransaction;
use uuid::Uuid;

use super::accept::{Accept, Accepted};
use super::changes::Changes;
use super::claims::{self, Claimed, EndedCall, Wanted};
use super::intake::{self, Intake, KnownReports, Match, ProviderId};
use super::journal::{self, NewJournalEntry, Told};
use super::known_failures::Lessons;
use super::log::{Appended, NewEvent};
use super::look_ups::{self, LookUp, LookedUp};
use super::noted::{Note, Noted};
use super::windows::{self, Conversation, OfWindow, Windows};
use super::{Store, StoreError, health, pace, passing};
use crate::domain::known_failure::Lifetimes;
use crate::domain::message::DeliveryError;
use crate::domain::opt_out::OptOut;
use crate::domain::progress::Next;
use crate::domain::sender::SenderHealth;
use crate::domain::{MessageId, MessageStatus, Millis, SenderId};
use crate::provider::Report;

mod accepts;
mod calls;
mod reports;

use reports::status_reports;

/// One piece of work for the writer.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Accept(Box<Accept>),
    Claim(Wanted),
    /// Undoes a claim whose answer was lost.
    Release {
        token: i64,
    },
    Renew {
        held: Vec<(i64, i64)>,
        lease_ms: Millis,
    },
    Ended(EndedCall),
    /// A sender can send, or cannot.
    Health {
        sender: SenderId,
        health: SenderHealth,
    },
    /// The provider throttled a sender.
    Throttled {
        sender: SenderId,
        retry_after_ms: Option<Millis>,
    },
    /// The provider says that so much of its limit for a sender is used.
    Strained {
        sender: SenderId,
        used: f64,
    },
    Timers {
        limit: u64,
        in_doubt_wait: Duration,
    },
    Cancel(MessageId),
    /// A sender cannot send for now: what has a fallback goes on to it.
    PassBy {
        sender: SenderId,
        error: DeliveryError,
        limit: u64,
    },
    Journal(NewJournalEntry),
    Intake(Intake),
    /// Parked reports that match by now, by providers' ids.
    Unpark(Vec<String>),
    /// Messages that a provider is to be asked after.
    TakeLookUps {
        plan: Arc<[Duration]>,
        limit: u64,
    },
    /// What it answered.
    LookedUp(LookedUp),
}

#[cfg(feature = "faults")]
impl Op {
    /// Tells where a message is on its way: a test may end the process there.
    fn reach(&self, how_far: &str) {
        let piece = match self {
            Op::Accept(_) => "accept",
            Op::Claim(_) => "claim",
            Op::Ended(_) => "outcome",
            Op::Journal(_) => "journal",
            Op::Intake(_) => "intake",
            Op::Timers { .. } => "timers",
            _ => return,
        };
        crate::faults::reach(piece, how_far);
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub(super) enum Done {
    Accepted(Result<Accepted, NotAccepted>),
    Claimed(Claimed),
    LookUps(Vec<LookUp>),
    /// How many timers had run out.
    Timers(usize),
    /// Where the message stands; `Err`: it is too late to cancel it. `None`: there is no such message.
    Cancelled(Option<Result<MessageStatus, MessageStatus>>),
    /// How many messages were looked at.
    PassedBy(usize),
    Written,
}

/// Why a message was not accepted.
#[derive(Debug, Clone)]
pub(super) enum NotAccepted {
    /// Its key was used for other content.
    Reused(Reused),
    /// The person does not want to be written to.
    OptedOut(Box<OptOut>),
}

/// A key that was used for other content.
#[derive(Debug, Clone)]
pub(super) struct Reused {
    pub key: String,
    pub message_id: MessageId,
    pub fields: Vec<String>,
}

/// What others must hear of after the commit.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub appended: Appended,
    pub ready: HashSet<SenderId>,
    pub journalled: bool,
    /// Events that are to be POSTed.
    pub callbacks: bool,
    /// Messages that were accepted, repeats not counted (T12).
    pub accepted: u64,
    /// Senders whose people there is something new noted about.
    pub noted: Vec<(Note, SenderId)>,
}

/// Writes a batch; `done[i]` answers `ops[i]`. Nothing is committed yet, and on an error nothing will be.
pub(super) async fn write(
    transaction: &DatabaseTransaction,
    ops: &[Op],
    now: Millis,
    memory: Memory<'_>,
) -> Result<(Vec<Done>, Effects), StoreError> {
    let mut batch = Batch {
        transaction,
        now,
        memory,
        lessons: Lessons::default(),
        changes: Changes::default(),
        known: KnownReports::default(),
        refusals: Vec::new(),
        learnt: Vec::new(),
        earlier: HashMap::new(),
        events: Vec::new(),
        told: Told::default(),
        effects: Effects::default(),
        windows: lock_windows(transaction, ops).await?,
    };
    let mut done: Vec<Option<Done>> = vec![None; ops.len()];
    batch.messages(ops, &mut done).await?;
    batch.journal(ops).await?;
    batch.health(ops).await?;
    batch.accepts_and_events(ops, &mut done).await?;
    let Batch { mut effects, learnt, told, windows, refusals, .. } = batch;
    told.write(transaction).await?;
    windows.write(transaction).await?;
    windows::refused_later(transaction, refusals).await?;
    intake::learn_ids(transaction, learnt).await?;
    for i in in_one_order(ops) {
        let done = &mut done[i];
        match &ops[i] {
            Op::Claim(wanted) => *done = Some(Done::Claimed(claims::claim(transaction, wanted, now).await?)),
            Op::TakeLookUps { plan, limit } => {
                *done = Some(Done::LookUps(look_ups::take(transaction, plan, *limit, now).await?));
            }
            Op::Throttled { sender, retry_after_ms } => {
                pace::throttled(transaction, sender, *retry_after_ms, now).await?;
            }
            Op::Strained { sender, used } => pace::strained(transaction, sender, *used, now).await?,
            Op::Renew { held, lease_ms } => claims::renew(transaction, held, now + lease_ms).await?,
            Op::Journal(_) => effects.journalled = true,
            _ => {}
        }
    }
    Ok((done.into_iter().map(|done| done.unwrap_or(Done::Written)).collect(), effects))
}

/// What a batch knows beforehand about people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory<'m> {
    pub noted: &'m Noted,
    pub lifetimes: Lifetimes,
}

/// The order in which work is done that locks rows of senders: by sender, so that no two replicas wait for each other.
fn in_one_order(ops: &[Op]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ops.len()).collect();
    order.sort_by_key(|i| match &ops[*i] {
        Op::Claim(Wanted { sender, .. }) | Op::Throttled { sender, .. } | Op::Strained { sender, .. } => Some(sender),
        _ => None,
    });
    order
}

struct Batch<'t> {
    transaction: &'t DatabaseTransaction,
    now: Millis,
    memory: Memory<'t>,
    /// What the events teach about people.
    lessons: Lessons,
    changes: Changes,
    known: KnownReports,
    /// What statuses said of windows, of messages that were accepted then.
    refusals: Vec<(Conversation, Millis)>,
    /// Providers' ids of attempts whose answer brought none.
    learnt: Vec<(Match, String)>,
    /// The last attempts of senders that have passed a message on, by its place and their turn.
    earlier: HashMap<(i64, usize), i32>,
    events: Vec<NewEvent>,
    /// How many of them each webhook made.
    told: Told,
    effects: Effects,
    windows: Windows,
}

impl Batch<'_> {
    /// Everything that moves messages that are there already.
    async fn messages(&mut self, ops: &[Op], done: &mut [Option<Done>]) -> Result<(), StoreError> {
        let matches = self.load(ops).await?;
        let ending = ops.iter().filter_map(|op| if let Op::Ended(call) = op { Some(call) } else { None });
        let ending = ending.filter(|call| self.in_hand(call)).map(|call| call.seq).collect();
        let mut withheld = self.take_withheld(ending).await?;
        for (op, done) in ops.iter().zip(done.iter_mut()) {
            match op {
                Op::Ended(call) => self.ended(call, withheld.remove(&call.seq).unwrap_or_default()),
                Op::Timers { limit, in_doubt_wait } => {
                    *done = Some(Done::Timers(self.timers(*limit, *in_doubt_wait).await?));
                }
                Op::Release { token } => self.release(*token).await?,
                Op::Cancel(id) => *done = Some(Done::Cancelled(self.cancel(*id))),
                Op::PassBy { sender, error, limit } => {
                    *done = Some(Done::PassedBy(self.pass_by(sender, error, *limit).await?));
                }
                _ => {}
            }
        }
        self.intake(ops, matches).await
    }

    /// Loads every message that the batch speaks of; tells which attempts the providers' ids belong to.
    async fn load(&mut self, ops: &[Op]) -> Result<HashMap<ProviderId, Match>, StoreError> {
        let (mut seqs, mut ids, mut provider_ids) = (HashSet::new(), HashSet::<Uuid>::new(), HashSet::<&str>::new());
        for op in ops {
            match op {
                Op::Ended(call) => drop(seqs.insert(call.seq)),
                Op::Cancel(id) => drop(ids.insert(id.0)),
                Op::Unpark(list) => provider_ids.extend(list.iter().map(String::as_str)),
                Op::Intake(intake) => {
                    for (_, report) in status_reports(intake) {
                        ids.extend(report.message_id.map(|id| id.0));
                        provider_ids.extend(report.provider_message_id.as_deref());
                    }
                }
                Op::LookedUp(answer) => {
                    ids.extend(answer.reports.iter().filter_map(|report| report.message_id).map(|id| id.0));
                    provider_ids
                        .extend(answer.reports.iter().filter_map(|report| report.provider_message_id.as_deref()));
                }
                _ => {}
            }
        }
        let mut matches = intake::find_attempts(self.transaction, provider_ids.into_iter()).await?;
        seqs.extend(matches.values().map(|(seq, _)| *seq));
        self.changes.load(self.transaction, seqs, ids.clone()).await?;
        let moved = self.changes.moved(&ids);
        self.earlier = passing::earlier_attempts(self.transaction, &self.changes, moved).await?;
        // Answers of this very batch are not in the table yet.
        for op in ops {
            if let Op::Ended(EndedCall { seq, attempt, next: Next::Sent(Some(id)), .. }) = op
                && let Some(loaded) = self.changes.get(*seq)
                && *attempt > loaded.progress.passed_attempt
            {
                matches.insert((loaded.sender().clone(), id.clone()), (*seq, *attempt));
            }
        }
        Ok(matches)
    }

    /// Whether a call that ended still has its message in hand.
    fn in_hand(&self, call: &EndedCall) -> bool {
        self.changes.get(call.seq).is_some_and(|loaded| loaded.progress.claim == Some(call.token))
    }

    /// Has a message's sender look for it after the commit, when it may be claimed.
    fn wake(&mut self, seq: i64) {
        if let Some(loaded) = self.changes.get(seq).filter(|loaded| loaded.progress.ready) {
            self.effects.ready.insert(loaded.sender().clone());
        }
    }

    /// Keeps in mind what events say about people.
    fn learn(&mut self, events: &[NewEvent]) {
        let Memory { noted, lifetimes } = self.memory;
        events.iter().for_each(|event| self.lessons.hear(event, &lifetimes, noted, self.now));
    }

    async fn journal(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        let entries = ops.iter().filter_map(|op| if let Op::Journal(entry) = op { Some(entry.clone()) } else { None });
        journal::append(self.transaction, entries.collect()).await
    }

    async fn health(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        for op in ops {
            if let Op::Health { sender, health } = op {
                self.events.extend(health::note(self.transaction, sender, *health, self.now).await?);
            }
        }
        Ok(())
    }
}

/// Windows come before messages, so that no two replicas wait for each other.
async fn lock_windows(transaction: &DatabaseTransaction, ops: &[Op]) -> Result<Windows, StoreError> {
    let (mut people, mut conversations) = (Vec::new(), Vec::new());
    for op in ops {
        match op {
            Op::Ended(EndedCall { of_window: Some(OfWindow { sender, peer, .. }), .. }) => {
                conversations.push((sender.clone(), peer.clone()));
            }
            Op::Intake(intake) => people.extend(intake.parsed.reports.iter().filter_map(|item| match &item.report {
                Report::Incoming(report) if report.content.opens_window() => Some((&item.sender, &report.contact)),
                _ => None,
            })),
            _ => {}
        }
    }
    Windows::lock(transaction, &people, conversations).await
}

impl Store {
    /// Writes a batch in a transaction of its own.
    pub(super) async fn write_batch(&self, ops: &[Op], now: Millis) -> Result<(Vec<Done>, Effects), StoreError> {
        let transaction = self.begin().await?;
        let lifetimes = self.inner.lifetimes.get().copied().unwrap_or_default();
        let written = write(&transaction, ops, now, Memory { noted: &self.inner.noted, lifetimes }).await;
        match written {
            Ok(written) => {
                #[cfg(feature = "faults")]
                ops.iter().for_each(|op| op.reach("written"));
                transaction.commit().await?;
                self.inner.noted.add(written.1.noted.iter().cloned());
                #[cfg(feature = "faults")]
                ops.iter().for_each(|op| op.reach("committed"));
                Ok(written)
            }
            Err(error) => {
                // A rollback that fails means that the connection is gone, and the transaction with it.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    }
}
