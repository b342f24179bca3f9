//! Messages that move: loaded and locked, changed by `domain::progress`, written back, with their events and attempts.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use sea_orm::sea_query::{ExprTrait as _, LockType, Value};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::entity::{attempts, messages};
use super::heads::{Conversation, Touched};
use super::log::NewEvent;
use super::passing::{self, Passed};
use super::tallies::Tallies;
use super::{StoreError, rows};
use crate::domain::callback::CallbackTo;
use crate::domain::event::StatusChanged;
use crate::domain::message::{DeliveryError, Exchange, HoldReason};
use crate::domain::progress::{EndedAttempt, Note, Progress, Step, Terms};
use crate::domain::status::Seen;
use crate::domain::{MessageId, MessageStatus, Millis, NewMessage, Payload, SenderId};

/// A message in the hands of a transaction.
#[derive(Debug)]
pub(super) struct Loaded {
    pub seq: i64,
    pub id: MessageId,
    pub terms: Terms,
    pub progress: Progress,
    stood: Stood,
    changed: bool,
    /// Whose turn it was when it was loaded.
    loaded_turn: usize,
}

impl Loaded {
    /// Who has it now.
    pub fn sender(&self) -> &SenderId {
        self.terms.request.sender_at(self.progress.turn).unwrap_or(&self.terms.request.sender)
    }
}

/// Where a message stood when it was loaded.
#[derive(Debug)]
struct Stood {
    line: Conversation,
    holds: bool,
    ready: bool,
    head: Option<i16>,
    tallied: Option<i16>,
}

impl Loaded {
    fn line(&self) -> Conversation {
        (self.sender().to_string(), self.terms.request.to.peer())
    }

    /// A head stays one as long as nothing about it moves; whether another message is one, or becomes one, is for
    /// [`super::heads::settle`] to say.
    fn head(&self) -> Option<i16> {
        self.stood.head.filter(|_| self.progress.ready && self.stood.ready && self.line() == self.stood.line)
    }

    /// Notes where something moved: this message may be claimed, or could be, or it holds its conversation back no longer.
    fn touch(&self, touched: &mut Touched) {
        let (stood, holds, line) = (&self.stood, self.progress.holds_conversation(), self.line());
        let elsewhere = line != stood.line;
        if self.progress.ready && (stood.ready || !stood.holds || elsewhere) {
            touched.joined(line);
        } else if self.progress.ready || stood.ready || stood.holds && !holds {
            touched.moved(line);
        }
        if elsewhere {
            touched.moved(stood.line.clone());
        }
    }

    /// Counts it where it stands now. The claim of an attempt is not counted: it would take a statement of its own.
    fn tally(&self, tallies: &mut Tallies) {
        let (stood, status) = (&self.stood, self.progress.status as i16);
        let sender = self.sender().as_str();
        if stood.tallied == Some(status) && stood.line.0 == sender {
            return;
        }
        if let Some(before) = stood.tallied {
            tallies.add(&stood.line.0, self.terms.accept_at_ms, before, -1);
        }
        tallies.add(sender, self.terms.accept_at_ms, status, 1);
    }
}

/// The messages of a batch, and what becomes of them.
#[derive(Debug, Default)]
pub(super) struct Changes {
    by_seq: HashMap<i64, Loaded>,
    seq_of: HashMap<Uuid, i64>,
    attempts: Vec<attempts::ActiveModel>,
    passed: Vec<Passed>,
    /// What is counted beside the messages that move: those that are accepted, or come in.
    pub tallies: Tallies,
}

impl Changes {
    /// Loads and locks messages by place or id. PostgreSQL locks in the order of places, so that no two replicas wait for
    /// each other.
    pub async fn load(
        &mut self,
        transaction: &DatabaseTransaction,
        seqs: HashSet<i64>,
        ids: HashSet<Uuid>,
    ) -> Result<(), StoreError> {
        for list in rows::lists(seqs.into_iter().collect()) {
            self.select(transaction, messages::Column::Seq.is_in(list)).await?;
        }
        for list in rows::lists(ids.into_iter().collect()) {
            self.select(transaction, messages::Column::Id.is_in(list)).await?;
        }
        Ok(())
    }

    /// Loads and locks messages whose time has come, oldest first; those that another replica holds are left to it.
    pub async fn load_due(
        &mut self,
        transaction: &DatabaseTransaction,
        now: Millis,
        limit: u64,
    ) -> Result<Vec<i64>, StoreError> {
        let mut query = messages::Entity::find()
            .filter(messages::Column::DueAtMs.is_not_null())
            .filter(messages::Column::DueAtMs.lte(now))
            .order_by_asc(messages::Column::DueAtMs)
            .limit(limit);
        if transaction.get_database_backend() == DbBackend::Postgres {
            query = query.lock_with_behavior(LockType::Update, sea_orm::sea_query::LockBehavior::SkipLocked);
        }
        self.keep(query.all(transaction).await?)
    }

    /// Loads and locks messages that are due at a sender and that another would take over.
    pub async fn load_with_next(
        &mut self,
        transaction: &DatabaseTransaction,
        sender: &SenderId,
        limit: u64,
    ) -> Result<Vec<i64>, StoreError> {
        self.keep(passing::due_with_next(transaction, sender, limit).await?)
    }

    /// Loads and locks the messages of a claim.
    pub async fn load_claim(&mut self, transaction: &DatabaseTransaction, token: i64) -> Result<Vec<i64>, StoreError> {
        // Every message in hand has a lease, so the index of due times leads to it.
        let mut query = messages::Entity::find()
            .filter(messages::Column::DueAtMs.is_not_null())
            .filter(messages::Column::Claim.eq(token))
            .order_by_asc(messages::Column::Seq);
        if transaction.get_database_backend() == DbBackend::Postgres {
            query = query.lock(LockType::Update);
        }
        self.keep(query.all(transaction).await?)
    }

    /// Loads and locks messages that are held in these conversations (sender and peer), in their order; with those that this
    /// very batch holds.
    pub async fn load_held(
        &mut self,
        transaction: &DatabaseTransaction,
        conversations: &BTreeSet<(String, String)>,
    ) -> Result<Vec<i64>, StoreError> {
        let peers: BTreeSet<&str> = conversations.iter().map(|(_, peer)| peer.as_str()).collect();
        for list in rows::lists(peers.into_iter().collect()) {
            let held = messages::Column::HoldReason.is_not_null().and(messages::Column::Peer.is_in(list));
            self.select(transaction, held).await?;
        }
        let is_held = |loaded: &&Loaded| {
            let conversation = (loaded.sender().to_string(), loaded.terms.request.to.peer());
            loaded.progress.hold.is_some() && conversations.contains(&conversation)
        };
        let mut seqs: Vec<i64> = self.by_seq.values().filter(is_held).map(|loaded| loaded.seq).collect();
        seqs.sort_unstable();
        Ok(seqs)
    }

    async fn select(
        &mut self,
        transaction: &DatabaseTransaction,
        condition: sea_orm::sea_query::Expr,
    ) -> Result<(), StoreError> {
        let mut query = messages::Entity::find().filter(condition).order_by_asc(messages::Column::Seq);
        if transaction.get_database_backend() == DbBackend::Postgres {
            query = query.lock(LockType::Update);
        }
        self.keep(query.all(transaction).await?)?;
        Ok(())
    }

    fn keep(&mut self, found: Vec<messages::Model>) -> Result<Vec<i64>, StoreError> {
        let mut seqs = Vec::with_capacity(found.len());
        for row in found {
            seqs.push(row.seq);
            if !self.by_seq.contains_key(&row.seq) {
                self.seq_of.insert(row.id, row.seq);
                self.by_seq.insert(row.seq, loaded(row)?);
            }
        }
        Ok(seqs)
    }

    /// A loaded message, by place.
    pub fn get(&self, seq: i64) -> Option<&Loaded> {
        self.by_seq.get(&seq)
    }

    /// Of these messages, the places of those that have gone on to another sender.
    pub fn moved(&self, ids: &HashSet<Uuid>) -> Vec<i64> {
        let loaded = ids.iter().filter_map(|id| self.get(self.seq_of(MessageId(*id))?));
        loaded.filter(|loaded| loaded.progress.turn > 0).map(|loaded| loaded.seq).collect()
    }

    /// A loaded message's place, by id.
    pub fn seq_of(&self, id: MessageId) -> Option<i64> {
        self.seq_of.get(&id.0).copied()
    }

    /// Changes one message; gives the event that it causes.
    pub fn step(
        &mut self,
        seq: i64,
        now: Millis,
        exchange: Option<&Arc<Exchange>>,
        change: impl FnOnce(&mut Progress, &Terms) -> Step,
    ) -> Option<NewEvent> {
        let loaded = self.by_seq.get_mut(&seq)?;
        let before = loaded.progress.clone();
        let step = change(&mut loaded.progress, &loaded.terms);
        loaded.changed |= loaded.progress != before;
        if let Some(ended) = step.ended {
            let row = attempt_row(loaded, ended, exchange, now);
            self.attempts.push(row);
        }
        if let Some(note) = step.note.as_ref().filter(|note| note.passed) {
            self.passed.push(Passed::of(loaded, note));
        }
        step.note.map(|note| event_of(loaded, before.status, note, now))
    }

    /// The conversations in which something moved.
    pub fn touched(&self) -> Touched {
        let mut touched = Touched::default();
        self.by_seq.values().for_each(|loaded| loaded.touch(&mut touched));
        touched
    }

    /// Writes back what changed; gives what is to be counted.
    pub async fn write(mut self, transaction: &DatabaseTransaction) -> Result<Tallies, StoreError> {
        let changed: Vec<Loaded> = self.by_seq.into_values().filter(|loaded| loaded.changed).collect();
        changed.iter().for_each(|loaded| loaded.tally(&mut self.tallies));
        let moved = changed.iter().filter(|loaded| loaded.progress.turn != loaded.loaded_turn);
        let moved = moved.map(passing::values).collect();
        let rows: Vec<Vec<Value>> = changed.into_iter().map(values).collect::<Result<_, _>>()?;
        rows::update(transaction, "messages", ("seq", "bigint"), COLUMNS, rows).await?;
        rows::insert(transaction, self.attempts).await?;
        passing::write(transaction, moved, self.passed).await?;
        Ok(self.tallies)
    }
}

/// Set in the column `seen` while reports are withheld. The bits of statuses begin above it.
const WITHHELD: i32 = 1;

/// What a change may touch, in the order of [`values`].
const COLUMNS: &[(&str, &str)] = &[
    ("status", "smallint"),
    ("status_at_ms", "bigint"),
    ("seen", "integer"),
    ("attempt", "integer"),
    ("attempt_start_at_ms", "bigint"),
    ("claim", "bigint"),
    ("lane", "smallint"),
    ("due_at_ms", "bigint"),
    ("holds", "text"),
    ("retries", "integer"),
    ("provider_message_id", "text"),
    ("error", "text"),
    ("hold_reason", "smallint"),
    ("head", "smallint"),
    ("tallied", "smallint"),
];

fn values(loaded: Loaded) -> Result<Vec<Value>, StoreError> {
    let head = loaded.head();
    let Loaded { seq, progress, terms, .. } = loaded;
    let holds = progress.holds_conversation().then(|| terms.request.to.peer());
    let error = progress.error.as_ref().map(json).transpose()?;
    Ok(vec![
        seq.into(),
        (progress.status as i16).into(),
        progress.status_at_ms.into(),
        (progress.seen.0 | if progress.withheld { WITHHELD } else { 0 }).into(),
        progress.attempt.into(),
        progress.attempt_start_at_ms.into(),
        progress.claim.into(),
        progress.ready.then_some(terms.request.priority as i16).into(),
        progress.due_at_ms.into(),
        holds.into(),
        progress.retries.into(),
        progress.provider_message_id.into(),
        error.into(),
        progress.hold.map(|reason| reason as i16).into(),
        head.into(),
        (progress.status as i16).into(),
    ])
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Fault(e.to_string()))
}

fn loaded(row: messages::Model) -> Result<Loaded, StoreError> {
    let unreadable = |e: serde_json::Error| StoreError::Fault(format!("message {} cannot be read: {e}", row.id));
    let request: NewMessage = serde_json::from_str(&row.request).map_err(unreadable)?;
    let error: Option<DeliveryError> =
        row.error.as_deref().map(serde_json::from_str).transpose().map_err(unreadable)?;
    let status = MessageStatus::from_number(row.status)
        .ok_or_else(|| StoreError::Fault(format!("message {} has status {}", row.id, row.status)))?;
    let stood = Stood {
        line: (row.sender.clone(), row.peer),
        holds: row.holds.is_some(),
        ready: row.lane.is_some(),
        head: row.head,
        tallied: row.tallied,
    };
    let turn = request
        .turn_of(&SenderId::trusted(row.sender))
        .ok_or_else(|| StoreError::Fault(format!("message {} is with a sender that it does not name", row.id)))?;
    Ok(Loaded {
        seq: row.seq,
        id: MessageId(row.id),
        terms: Terms { request, accept_at_ms: row.accept_at_ms, expire_at_ms: row.expire_at_ms },
        progress: Progress {
            status,
            status_at_ms: row.status_at_ms,
            seen: Seen(row.seen & !WITHHELD),
            attempt: row.attempt,
            attempt_start_at_ms: row.attempt_start_at_ms,
            claim: row.claim,
            ready: row.lane.is_some(),
            due_at_ms: row.due_at_ms,
            retries: row.retries,
            provider_message_id: row.provider_message_id,
            error,
            withheld: row.seen & WITHHELD != 0,
            hold: row.hold_reason.and_then(HoldReason::from_number),
            turn,
            passed_attempt: row.passed_attempt.unwrap_or_default(),
        },
        stood,
        changed: false,
        loaded_turn: turn,
    })
}

fn attempt_row(
    loaded: &Loaded,
    ended: EndedAttempt,
    exchange: Option<&Arc<Exchange>>,
    now: Millis,
) -> attempts::ActiveModel {
    // An error or a trace that cannot be written as JSON does not exist: both are made of plain text.
    let error = ended.error.as_ref().and_then(|error| serde_json::to_string(error).ok());
    let exchange = exchange.and_then(|exchange| serde_json::to_string(exchange.as_ref()).ok());
    attempts::ActiveModel {
        message_seq: Set(loaded.seq),
        number: Set(ended.number),
        sender: Set(loaded.terms.request.sender_at(ended.turn).unwrap_or(loaded.sender()).to_string()),
        start_at_ms: Set(ended.start_at_ms),
        end_at_ms: Set(now),
        outcome: Set(ended.outcome as i16),
        provider_message_id: Set(ended.provider_message_id),
        error: Set(error),
        exchange: Set(exchange),
        next_sender: NotSet,
        next_error: NotSet,
        instead: Set(ended.instead.then_some(true)),
    }
}

fn event_of(loaded: &Loaded, before: MessageStatus, note: Note, now: Millis) -> NewEvent {
    let request = &loaded.terms.request;
    let fold = note.fold;
    let same = note.turn == loaded.progress.turn;
    // What still comes about an erased message brings the person back in no event.
    let erased = request.to.given.is_empty();
    let status = StatusChanged {
        message_id: loaded.id,
        status: note.status,
        current_status: fold.map_or(loaded.progress.status, |fold| fold.current),
        late: fold.is_some_and(|fold| fold.late),
        duplicate: fold.is_some_and(|fold| fold.duplicate),
        contradicts_final: fold.is_some_and(|fold| fold.contradicts_final),
        to: request.to.given.clone(),
        peer: request.to.peer(),
        provider_message_id: note
            .provider_message_id
            .or_else(|| loaded.progress.provider_message_id.clone().filter(|_| same))
            .filter(|_| !erased),
        attempt: note.attempt,
        error: note.error.map(|error| if erased { error.bare() } else { error }),
        callback_data: request.callback_data.clone(),
        labels: request.labels.clone(),
        pricing: note.pricing,
        client_info: note.client_info.filter(|_| !erased),
        contact: note.contact.filter(|_| !erased),
        provider_status: note.provider_status,
        via_sender: (note.turn > 0).then(|| request.sender_at(note.turn).cloned()).flatten(),
        next_sender: note.passed.then(|| loaded.sender().clone()),
    };
    NewEvent {
        sender: request.sender.clone(),
        payload: Payload::StatusChanged(status),
        json: None,
        occur_at_ms: note.occur_at_ms,
        receive_at_ms: note.receive_at_ms.unwrap_or(now),
        report_key: note.report_key,
        callback: CallbackTo::given(&request.callback_url, Some(before)),
    }
}
