//! Messages that move: loaded and locked, changed by `domain::progress`, written back, with their events and attempts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sea_orm::sea_query::{LockType, Value};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::entity::{attempts, messages};
use super::log::NewEvent;
use super::{StoreError, rows};
use crate::domain::event::StatusChanged;
use crate::domain::message::{DeliveryError, Exchange};
use crate::domain::progress::{EndedAttempt, Note, Progress, Step, Terms};
use crate::domain::status::Seen;
use crate::domain::{MessageId, MessageStatus, Millis, NewMessage, Payload};

/// A message in the hands of a transaction.
#[derive(Debug)]
pub(super) struct Loaded {
    pub seq: i64,
    pub id: MessageId,
    pub terms: Terms,
    pub progress: Progress,
    changed: bool,
}

/// The messages of a batch, and what becomes of them.
#[derive(Debug, Default)]
pub(super) struct Changes {
    by_seq: HashMap<i64, Loaded>,
    seq_of: HashMap<Uuid, i64>,
    attempts: Vec<attempts::ActiveModel>,
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

    /// Loads and locks the messages of a claim.
    pub async fn load_claim(&mut self, transaction: &DatabaseTransaction, token: i64) -> Result<Vec<i64>, StoreError> {
        // Every message in hand has a lease, so the index of due times leads to it.
        let query = messages::Entity::find()
            .filter(messages::Column::DueAtMs.is_not_null())
            .filter(messages::Column::Claim.eq(token))
            .order_by_asc(messages::Column::Seq);
        self.keep(query.all(transaction).await?)
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
        step.note.map(|note| event_of(loaded, note, now))
    }

    /// Writes back what changed.
    pub async fn write(self, transaction: &DatabaseTransaction) -> Result<(), StoreError> {
        let changed = self.by_seq.into_values().filter(|loaded| loaded.changed);
        let rows: Vec<Vec<Value>> = changed.map(values).collect::<Result<_, _>>()?;
        rows::update(transaction, "messages", ("seq", "bigint"), COLUMNS, rows).await?;
        rows::insert(transaction, self.attempts).await?;
        Ok(())
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
];

fn values(loaded: Loaded) -> Result<Vec<Value>, StoreError> {
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
        },
        changed: false,
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
        sender: Set(loaded.terms.request.sender.to_string()),
        start_at_ms: Set(ended.start_at_ms),
        end_at_ms: Set(now),
        outcome: Set(ended.outcome as i16),
        provider_message_id: Set(ended.provider_message_id),
        error: Set(error),
        exchange: Set(exchange),
    }
}

fn event_of(loaded: &Loaded, note: Note, now: Millis) -> NewEvent {
    let request = &loaded.terms.request;
    let fold = note.fold;
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
            .or_else(|| loaded.progress.provider_message_id.clone())
            .filter(|_| !erased),
        attempt: note.attempt,
        error: note.error.map(|error| if erased { error.bare() } else { error }),
        callback_data: request.callback_data.clone(),
        labels: request.labels.clone(),
        pricing: note.pricing,
        client_info: note.client_info.filter(|_| !erased),
        contact: note.contact.filter(|_| !erased),
        provider_status: note.provider_status,
    };
    NewEvent {
        sender: request.sender.clone(),
        payload: Payload::StatusChanged(status),
        json: None,
        occur_at_ms: note.occur_at_ms,
        receive_at_ms: note.receive_at_ms.unwrap_or(now),
        report_key: note.report_key,
    }
}
