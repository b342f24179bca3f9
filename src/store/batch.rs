//! One transaction for all that waits: what queued up during the last commit is written together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseTransaction;
use uuid::Uuid;

use super::accept::{self, Accept, Accepted, KeyUsed};
use super::changes::Changes;
use super::claims::{self, Claimed, EndedCall, Wanted};
use super::intake::{self, Incoming, Intake, KnownReports, Match, Parked, ProviderId};
use super::journal::{self, NewJournalEntry, Told};
use super::log::{self, Appended, NewEvent};
use super::look_ups::{self, LookUp, LookedUp};
use super::{Store, StoreError, health, notices, pace, rows};
use crate::domain::progress::{Next, Step};
use crate::domain::sender::SenderHealth;
use crate::domain::{MessageId, MessageStatus, Millis, SenderId};
use crate::provider::{Report, StatusReport};

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
        until_ms: Millis,
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
    Timers {
        limit: u64,
        in_doubt_wait: Duration,
    },
    Cancel(MessageId),
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

/// What came of it.
#[derive(Debug, Clone)]
pub(super) enum Done {
    Accepted(Result<Accepted, Reused>),
    Claimed(Claimed),
    LookUps(Vec<LookUp>),
    /// How many timers had run out.
    Timers(usize),
    /// Where the message stands; `Err`: it is too late to cancel it. `None`: there is no such message.
    Cancelled(Option<Result<MessageStatus, MessageStatus>>),
    Written,
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
    /// Messages that were accepted, repeats not counted (T12).
    pub accepted: u64,
}

/// Writes a batch; `done[i]` answers `ops[i]`. Nothing is committed yet, and on an error nothing will be.
pub(super) async fn write(
    transaction: &DatabaseTransaction,
    ops: &[Op],
    now: Millis,
) -> Result<(Vec<Done>, Effects), StoreError> {
    let mut batch = Batch {
        transaction,
        now,
        changes: Changes::default(),
        known: KnownReports::default(),
        learnt: Vec::new(),
        events: Vec::new(),
        told: Told::default(),
        effects: Effects::default(),
    };
    let mut done: Vec<Option<Done>> = vec![None; ops.len()];
    batch.messages(ops, &mut done).await?;
    batch.journal(ops).await?;
    batch.health(ops).await?;
    batch.accepts_and_events(ops, &mut done).await?;
    let Batch { changes, mut effects, learnt, told, .. } = batch;
    changes.write(transaction).await?;
    told.write(transaction).await?;
    intake::learn_ids(transaction, learnt).await?;
    for (op, done) in ops.iter().zip(&mut done) {
        match op {
            Op::Claim(wanted) => *done = Some(Done::Claimed(claims::claim(transaction, wanted, now).await?)),
            Op::TakeLookUps { plan, limit } => {
                *done = Some(Done::LookUps(look_ups::take(transaction, plan, *limit, now).await?));
            }
            Op::Throttled { sender, retry_after_ms } => {
                pace::throttled(transaction, sender, *retry_after_ms, now).await?;
            }
            Op::Renew { held, until_ms } => claims::renew(transaction, held, *until_ms).await?,
            Op::Journal(_) => effects.journalled = true,
            _ => {}
        }
    }
    Ok((done.into_iter().map(|done| done.unwrap_or(Done::Written)).collect(), effects))
}

struct Batch<'t> {
    transaction: &'t DatabaseTransaction,
    now: Millis,
    changes: Changes,
    known: KnownReports,
    /// Providers' ids of attempts whose answer brought none.
    learnt: Vec<(Match, String)>,
    events: Vec<NewEvent>,
    /// How many of them each webhook made.
    told: Told,
    effects: Effects,
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
        self.changes.load(self.transaction, seqs, ids).await?;
        // Answers of this very batch are not in the table yet.
        for op in ops {
            if let Op::Ended(EndedCall { seq, attempt, next: Next::Sent(Some(id)), .. }) = op
                && let Some(loaded) = self.changes.get(*seq)
            {
                matches.insert((loaded.terms.request.sender.clone(), id.clone()), (*seq, *attempt));
            }
        }
        Ok(matches)
    }

    /// Whether a call that ended still has its message in hand.
    fn in_hand(&self, call: &EndedCall) -> bool {
        self.changes.get(call.seq).is_some_and(|loaded| loaded.progress.claim == Some(call.token))
    }

    /// Takes out what was reported of messages while they were under way; by place.
    async fn take_withheld(&mut self, seqs: Vec<i64>) -> Result<HashMap<i64, Vec<Parked>>, StoreError> {
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
    fn fold_withheld(&mut self, seq: i64, withheld: &[Parked]) {
        let Some(attempt) = self.changes.get(seq).map(|loaded| loaded.progress.attempt) else { return };
        for Parked { receive_at_ms, report, journal_id, .. } in withheld {
            self.fold((seq, attempt), report, *receive_at_ms, *journal_id);
        }
        self.changes.step(seq, self.now, None, |progress, _| {
            progress.withheld = false;
            Step::default()
        });
    }

    /// A receipt comes before what was reported meanwhile; of any other end the reports know more.
    fn ended(&mut self, call: &EndedCall, withheld: Vec<Parked>) {
        let now = self.now;
        let receipt = matches!(call.next, Next::Sent(_));
        if !withheld.is_empty() && !receipt {
            self.fold_withheld(call.seq, &withheld);
        }
        let event = self.changes.step(call.seq, now, call.exchange.as_ref(), |progress, terms| {
            progress.ended(call.token, call.attempt, call.next.clone(), terms, now)
        });
        self.events.extend(event);
        if !withheld.is_empty() && receipt {
            self.fold_withheld(call.seq, &withheld);
        }
    }

    async fn timers(&mut self, limit: u64, in_doubt_wait: Duration) -> Result<usize, StoreError> {
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
            if let Some(loaded) = self.changes.get(seq)
                && loaded.progress.ready
            {
                self.effects.ready.insert(loaded.terms.request.sender.clone());
            }
        }
        Ok(due.len())
    }

    async fn release(&mut self, token: i64) -> Result<(), StoreError> {
        for seq in self.changes.load_claim(self.transaction, token).await? {
            self.changes.step(seq, self.now, None, |progress, terms| {
                progress.released(token, terms);
                Step::default()
            });
            if let Some(loaded) = self.changes.get(seq) {
                self.effects.ready.insert(loaded.terms.request.sender.clone());
            }
        }
        Ok(())
    }

    fn cancel(&mut self, id: MessageId) -> Option<Result<MessageStatus, MessageStatus>> {
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

    /// Webhooks that were parsed, and parked reports whose answer has come.
    async fn intake(&mut self, ops: &[Op], matches: HashMap<ProviderId, Match>) -> Result<(), StoreError> {
        let intakes: Vec<&Intake> =
            ops.iter().filter_map(|op| if let Op::Intake(i) = op { Some(i) } else { None }).collect();
        let ids: Vec<i64> = intakes.iter().map(|intake| intake.journal_id).collect();
        let pending =
            if ids.is_empty() { HashSet::new() } else { intake::still_pending(self.transaction, ids).await? };
        let intakes: Vec<&Intake> = intakes.into_iter().filter(|intake| pending.contains(&intake.journal_id)).collect();
        let parked = self.answered(ops).await?;

        let fresh = intakes.iter().flat_map(|intake| {
            let journal_id = Some(intake.journal_id);
            status_reports(intake)
                .map(move |(sender, report)| (sender.clone(), intake.receive_at_ms, report, journal_id))
        });
        let answers = ops.iter().filter_map(|op| if let Op::LookedUp(answer) = op { Some(answer) } else { None });
        let asked = answers.flat_map(|answer| {
            answer.reports.iter().map(|report| (answer.sender.clone(), answer.receive_at_ms, report, None))
        });
        let waiting = parked.iter();
        let waiting = waiting.map(|one| (one.sender.clone(), one.receive_at_ms, &one.report, one.journal_id));
        let (mut matched, mut kept) = (Vec::new(), Vec::new());
        for (sender, receive_at_ms, report, journal_id) in waiting.chain(fresh).chain(asked) {
            match self.find(&sender, report, &matches) {
                Some((seq, number)) if self.withhold(seq, number) => {
                    let mut report = report.clone();
                    report.message_id = self.changes.get(seq).map(|loaded| loaded.id);
                    kept.push(Parked { sender, receive_at_ms, report, journal_id });
                }
                Some(found) => matched.push((found, receive_at_ms, report, journal_id)),
                None => {
                    metrics::counter!("recado_reports_parked_total").increment(1);
                    kept.push(Parked { sender, receive_at_ms, report: report.clone(), journal_id });
                }
            }
        }
        let about = matched.iter().filter_map(|((seq, _), ..)| Some(self.changes.get(*seq)?.id));
        self.known.learn(self.transaction, about).await?;
        for (found, receive_at_ms, report, journal_id) in matched {
            self.fold(found, report, receive_at_ms, journal_id);
        }
        intake::park(self.transaction, kept).await?;
        let incoming = intakes.iter().flat_map(|intake| {
            intake.parsed.reports.iter().filter_map(|item| match &item.report {
                Report::Incoming(report) => Some(Incoming::new(intake, item, report)),
                _ => None,
            })
        });
        self.events
            .extend(intake::record_incoming(self.transaction, incoming.collect(), &mut self.told, self.now).await?);
        self.events.extend(notices::record(self.transaction, &intakes, &mut self.told, self.now).await?);
        intake::mark_parsed(self.transaction, &intakes, self.now).await
    }

    /// Folds a report into its message. The first one that names both our id and the provider's, where the answer was lost
    /// or had none, is what later reports find the message by, which name only the provider's.
    fn fold(&mut self, found: Match, report: &StatusReport, receive_at_ms: Millis, journal_id: Option<i64>) {
        let nameless = self.changes.get(found.0).is_some_and(|loaded| loaded.progress.provider_message_id.is_none());
        if let Some(id) = report.provider_message_id.clone().filter(|_| nameless) {
            self.learnt.push((found, id));
        }
        let event = self.known.fold(&mut self.changes, found, report, receive_at_ms, self.now);
        if let Some(journal_id) = journal_id.filter(|_| event.is_some()) {
            self.told.add(journal_id, 1);
        }
        self.events.extend(event);
    }

    /// Whether a report must wait until the attempt that it speaks of has ended; notes that one does.
    fn withhold(&mut self, seq: i64, number: i32) -> bool {
        let under_way = self.changes.get(seq).is_some_and(|loaded| loaded.progress.is_under_way(number));
        if under_way {
            self.changes.step(seq, self.now, None, |progress, _| {
                progress.withheld = true;
                Step::default()
            });
        }
        under_way
    }

    /// Parked reports that speak of ids which the answers of this batch bring.
    async fn answered(&self, ops: &[Op]) -> Result<Vec<Parked>, StoreError> {
        let mut ids: HashSet<String> = HashSet::new();
        for op in ops {
            match op {
                Op::Ended(EndedCall { next: Next::Sent(Some(id)), .. }) => drop(ids.insert(id.clone())),
                Op::Unpark(list) => ids.extend(list.iter().cloned()),
                _ => {}
            }
        }
        intake::unpark(self.transaction, ids.into_iter().collect()).await
    }

    /// The message and attempt that a report speaks of: by our id where the provider gave it back, else by its own. A
    /// message of another sender never matches, whatever id a webhook names.
    fn find(&self, sender: &SenderId, report: &StatusReport, matches: &HashMap<ProviderId, Match>) -> Option<Match> {
        let by_provider = report
            .provider_message_id
            .as_ref()
            .and_then(|id| matches.get(&(sender.clone(), id.clone())).copied())
            .filter(|(seq, _)| self.changes.get(*seq).is_some());
        let by_ours = || {
            let seq = self.changes.seq_of(report.message_id?)?;
            let attempt = self.changes.get(seq)?.progress.attempt_of(report.provider_message_id.as_deref());
            self.is_of(seq, sender).then_some((seq, attempt))
        };
        by_provider.or_else(by_ours)
    }

    fn is_of(&self, seq: i64, sender: &SenderId) -> bool {
        self.changes.get(seq).is_some_and(|loaded| loaded.terms.request.sender == *sender)
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

    /// Takes places for all events of the batch, and writes them with the messages that are accepted.
    async fn accepts_and_events(&mut self, ops: &[Op], done: &mut [Option<Done>]) -> Result<(), StoreError> {
        let (new, repeats) = self.sort_accepts(ops, done).await?;
        let events = std::mem::take(&mut self.events);
        if new.is_empty() && events.is_empty() {
            return Ok(());
        }
        let places = log::take_places(self.transaction, new.len() + events.len(), self.now).await?;
        self.effects.accepted = new.len() as u64;
        let mut messages = Vec::with_capacity(new.len());
        let mut all = Vec::with_capacity(new.len() + events.len());
        for (position, (index, accept)) in (places.first..).zip(new) {
            if accept.is_ready() {
                self.effects.ready.insert(accept.terms.request.sender.clone());
            }
            let (event, row, accepted) = accept.into_row(position);
            messages.push(row);
            all.push(event);
            done[index] = Some(Done::Accepted(Ok(accepted)));
        }
        for (index, first, accept) in repeats {
            let (Some(Done::Accepted(Ok(accepted))), Op::Accept(original)) = (done[first].clone(), &ops[first]) else {
                continue;
            };
            done[index] = Some(repeated(accept::same_or_other(&accept, &original.terms.request, accepted)));
        }
        all.extend(events);
        rows::insert(self.transaction, messages).await?;
        self.effects.appended = log::append(self.transaction, places, all).await?;
        Ok(())
    }

    /// Parts new messages from repeated keys: those of earlier transactions are answered here, those of this batch wait
    /// for the first one's place.
    #[allow(clippy::type_complexity, reason = "two lists, named where they are used")]
    async fn sort_accepts(
        &self,
        ops: &[Op],
        done: &mut [Option<Done>],
    ) -> Result<(Vec<(usize, Accept)>, Vec<(usize, usize, Accept)>), StoreError> {
        let accepts: Vec<&Accept> = ops
            .iter()
            .filter_map(|op| if let Op::Accept(accept) = op { Some(accept.as_ref()) } else { None })
            .collect();
        let earlier = accept::earlier(self.transaction, &accepts).await?;
        let mut in_batch: HashMap<(String, String), usize> = HashMap::new();
        let (mut new, mut repeats) = (Vec::new(), Vec::new());
        for (index, op) in ops.iter().enumerate() {
            let Op::Accept(accept) = op else { continue };
            let key = accept.key.clone().map(|key| (accept.caller.clone(), key));
            if let Some(row) = key.as_ref().and_then(|key| earlier.get(key)) {
                done[index] = Some(repeated(accept::compare(accept, row)?));
            } else if let Some(first) = key.as_ref().and_then(|key| in_batch.get(key)) {
                repeats.push((index, *first, accept.as_ref().clone()));
            } else {
                in_batch.extend(key.map(|key| (key, index)));
                new.push((index, accept.as_ref().clone()));
            }
        }
        Ok((new, repeats))
    }
}

fn repeated(used: KeyUsed) -> Done {
    Done::Accepted(match used {
        KeyUsed::Same(accepted) => Ok(accepted),
        KeyUsed::Other { key, message_id, fields } => Err(Reused { key, message_id, fields }),
    })
}

fn status_reports(intake: &Intake) -> impl Iterator<Item = (&SenderId, &StatusReport)> {
    intake.parsed.reports.iter().filter_map(|item| match &item.report {
        Report::Status(report) => Some((&item.sender, report)),
        _ => None,
    })
}

impl Store {
    /// Writes a batch in a transaction of its own.
    pub(super) async fn write_batch(&self, ops: &[Op], now: Millis) -> Result<(Vec<Done>, Effects), StoreError> {
        let transaction = self.begin().await?;
        let written = write(&transaction, ops, now).await;
        match written {
            Ok(written) => {
                transaction.commit().await?;
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
