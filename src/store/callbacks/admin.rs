//! Callbacks as an operator sees them: listed, tried again, forgotten.

use std::collections::{BTreeMap, HashMap, HashSet};

use sea_orm::sea_query::Value;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::{call_for, changed_event, endpoint_of};
use crate::domain::callback::{Callback, CallbackAttempt, CallbackState};
use crate::domain::event::SenderChange;
use crate::domain::{EventId, MessageId, Millis, SenderId};
use crate::store::entity::callback_attempts;
use crate::store::entity::callbacks::{Column, Entity, Model};
use crate::store::log::{self, Appended};
use crate::store::{Store, StoreError, rows};

/// Callbacks that are changed in one transaction.
const STEP: u64 = 500;

/// Which callbacks: AND across, OR within; an empty list lets everything through.
#[derive(Debug, Clone, Default)]
pub struct CallbackFilter {
    /// These.
    pub ids: Vec<EventId>,
    /// Of these senders.
    pub senders: Vec<SenderId>,
    /// That stand there.
    pub states: Vec<CallbackState>,
    /// About these messages.
    pub message_ids: Vec<MessageId>,
    /// Made then or later.
    pub create_from_ms: Option<Millis>,
    /// Made earlier than then.
    pub create_before_ms: Option<Millis>,
}

impl CallbackFilter {
    fn condition(&self) -> Condition {
        let mut all = Condition::all();
        if !self.ids.is_empty() {
            all = all.add(Column::Id.is_in(self.ids.iter().map(|id| id.0)));
        }
        if !self.senders.is_empty() {
            all = all.add(Column::Sender.is_in(self.senders.iter().map(SenderId::as_str)));
        }
        if !self.states.is_empty() {
            all = all.add(Column::State.is_in(self.states.iter().map(|state| *state as i16)));
        }
        if !self.message_ids.is_empty() {
            all = all.add(Column::MessageId.is_in(self.message_ids.iter().map(|id| id.0)));
        }
        if let Some(from) = self.create_from_ms {
            all = all.add(Column::CreateAtMs.gte(from));
        }
        if let Some(before) = self.create_before_ms {
            all = all.add(Column::CreateAtMs.lt(before));
        }
        all
    }
}

impl Store {
    /// Callbacks that pass, newest first, with their attempts. `before`: where a page goes on.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn callbacks(
        &self,
        filter: &CallbackFilter,
        before: Option<i64>,
        limit: u64,
    ) -> Result<Vec<Callback>, StoreError> {
        let mut query = Entity::find().filter(filter.condition()).order_by_desc(Column::Position).limit(limit);
        if let Some(before) = before {
            query = query.filter(Column::Position.lt(before));
        }
        let found = query.all(self.read()).await?;
        let mut attempts = self.callback_attempts(found.iter().map(|row| row.position).collect()).await?;
        found.into_iter().map(|row| callback(&mut attempts, row)).collect()
    }

    async fn callback_attempts(&self, positions: Vec<i64>) -> Result<HashMap<i64, Vec<CallbackAttempt>>, StoreError> {
        let mut found: HashMap<i64, Vec<CallbackAttempt>> = HashMap::new();
        for list in rows::lists(positions) {
            let rows = callback_attempts::Entity::find()
                .filter(callback_attempts::Column::Position.is_in(list))
                .order_by_asc(callback_attempts::Column::Number)
                .all(self.read())
                .await?;
            for row in rows {
                found.entry(row.position).or_default().push(CallbackAttempt {
                    number: row.number,
                    start_at_ms: row.start_at_ms,
                    elapsed_ms: row.elapsed_ms,
                    http_status: row.http_status.and_then(|status| u16::try_from(status).ok()),
                    answer: row.answer,
                });
            }
        }
        Ok(found)
    }

    /// Which of these callbacks are there, of these senders (all, when the list is empty).
    ///
    /// # Errors
    /// When the store is away.
    pub async fn known_callbacks(&self, ids: &[EventId], senders: &[SenderId]) -> Result<HashSet<EventId>, StoreError> {
        let mut known = HashSet::with_capacity(ids.len());
        for list in rows::lists(ids.iter().map(|id| id.0).collect()) {
            let ids = list.into_iter().map(EventId).collect();
            let filter = CallbackFilter { ids, senders: senders.to_vec(), ..CallbackFilter::default() };
            let found = Entity::find().select_only().column(Column::Id).filter(filter.condition());
            let found: Vec<uuid::Uuid> = found.into_tuple().all(self.read()).await?;
            known.extend(found.into_iter().map(EventId));
        }
        Ok(known)
    }

    /// Has some callbacks that pass, from a place on, tried again from the beginning of their waits; their endpoints are in
    /// use again, with an event where one was not. Gives how many, the place to go on from, and the events; nothing when none
    /// is left.
    ///
    /// # Errors
    /// When the store is away; then nothing of this step was written.
    pub async fn retry_callbacks(
        &self,
        filter: &CallbackFilter,
        after: i64,
        now: Millis,
    ) -> Result<Option<(u64, i64, Appended)>, StoreError> {
        let transaction = self.begin().await?;
        let found = Entity::find()
            .filter(filter.condition())
            .filter(Column::Position.gt(after))
            .order_by_asc(Column::Position)
            .limit(STEP)
            .all(&transaction)
            .await?;
        let Some(last) = found.last().map(|row| row.position) else {
            transaction.rollback().await?;
            return Ok(None);
        };
        let mut endpoints = BTreeMap::new();
        for row in &found {
            let sender = SenderId::trusted(row.sender.clone());
            let (id, host) = endpoint_of(&sender, &row.url);
            endpoints.insert(id, (sender, host));
        }
        let appended = enable(&transaction, endpoints.keys().cloned().collect(), now).await?;
        call_for(&transaction, endpoints, now).await?;
        for list in rows::lists(found.iter().map(|row| row.position).collect()) {
            Entity::update_many()
                .col_expr(Column::State, crate::store::set(CallbackState::Pending as i16))
                .col_expr(Column::DueAtMs, crate::store::set(now))
                .col_expr(Column::Tries, crate::store::set(0))
                .col_expr(Column::EndAtMs, crate::store::set(Option::<i64>::None))
                .filter(Column::Position.is_in(list))
                .exec(&transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(Some((found.len() as u64, last, appended)))
    }

    /// Takes the endpoints of a sender in use again; gives the event, when one was not.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn enable_endpoints(&self, sender: &SenderId, now: Millis) -> Result<Appended, StoreError> {
        let transaction = self.begin().await?;
        let backend = transaction.get_database_backend();
        let text = "SELECT id FROM callback_endpoints WHERE sender = $1 AND state <> 1";
        let found = transaction.query_all_raw(rows::statement(backend, text, [sender.as_str().into()])).await?;
        let ids: Vec<String> = found.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?;
        let appended = enable(&transaction, ids, now).await?;
        transaction.commit().await?;
        Ok(appended)
    }

    /// Forgets some callbacks that ended before a time, and endpoints that stood badly since before it; tells how many
    /// callbacks.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn forget_callbacks(&self, before: Millis) -> Result<u64, StoreError> {
        let transaction = self.begin().await?;
        let backend = transaction.get_database_backend();
        let old = Entity::find()
            .select_only()
            .column(Column::Position)
            .filter(Column::EndAtMs.is_not_null())
            .filter(Column::EndAtMs.lt(before))
            .limit(STEP)
            .into_tuple::<i64>()
            .all(&transaction)
            .await?;
        for list in rows::lists(old.clone()) {
            let attempts = callback_attempts::Entity::delete_many();
            attempts.filter(callback_attempts::Column::Position.is_in(list.clone())).exec(&transaction).await?;
            Entity::delete_many()
                .filter(Column::Position.is_in(list))
                .filter(Column::EndAtMs.is_not_null())
                .exec(&transaction)
                .await?;
        }
        if (old.len() as u64) < STEP {
            let skip_locked = if backend == DbBackend::Postgres { "FOR UPDATE SKIP LOCKED" } else { "" };
            let text = format!(
                "DELETE FROM callback_endpoints WHERE id IN (SELECT id FROM callback_endpoints \
                 WHERE due_at_ms IS NULL AND change_at_ms < $1 {skip_locked})"
            );
            transaction.execute_raw(rows::statement(backend, &text, [before.into()])).await?;
        }
        transaction.commit().await?;
        Ok(old.len() as u64)
    }
}

/// Takes endpoints in use again; an event for each sender that had one out of use.
async fn enable(transaction: &DatabaseTransaction, ids: Vec<String>, now: Millis) -> Result<Appended, StoreError> {
    let backend = transaction.get_database_backend();
    let list = match backend {
        DbBackend::Postgres => "SELECT jsonb_array_elements_text($1::jsonb)",
        _ => "SELECT value FROM json_each($1)",
    };
    let ids = serde_json::to_string(&ids).map_err(|e| StoreError::Fault(e.to_string()))?;
    let text = format!(
        "SELECT DISTINCT sender, host FROM callback_endpoints WHERE state <> 1 AND id IN ({list}) ORDER BY sender, host"
    );
    let found = transaction.query_all_raw(rows::statement(backend, &text, [ids.as_str().into()])).await?;
    if found.is_empty() {
        return Ok(Appended::default());
    }
    let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in found {
        hosts.entry(row.try_get("", "sender")?).or_default().push(row.try_get("", "host")?);
    }
    // The log's row first, as everybody does.
    let places = log::take_places(transaction, hosts.len(), now).await?;
    let lock = if backend == DbBackend::Postgres { "FOR UPDATE" } else { "" };
    let text = format!(
        "UPDATE callback_endpoints SET state = 1, failures = 0, failing_since_ms = NULL, hold_until_ms = 0, \
         change_at_ms = $2 WHERE id IN (SELECT id FROM callback_endpoints WHERE state <> 1 AND id IN ({list}) \
         ORDER BY id {lock})"
    );
    transaction.execute_raw(rows::statement(backend, &text, [Value::from(ids), now.into()])).await?;
    let events = hosts.into_iter().map(|(sender, hosts)| {
        let detail = format!("callbacks to {} are posted again", hosts.join(", "));
        changed_event(&SenderId::trusted(sender), SenderChange::CallbacksEnabled, detail, now)
    });
    log::append(transaction, places, events.collect()).await
}

fn callback(attempts: &mut HashMap<i64, Vec<CallbackAttempt>>, row: Model) -> Result<Callback, StoreError> {
    let state = CallbackState::from_number(row.state.into());
    Ok(Callback {
        position: row.position,
        id: EventId(row.id),
        message_id: MessageId(row.message_id),
        sender: SenderId::trusted(row.sender),
        url: row.url,
        state: state.ok_or_else(|| StoreError::Fault(format!("callback {} has state {}", row.id, row.state)))?,
        create_at_ms: row.create_at_ms,
        next_at_ms: row.due_at_ms,
        attempts: attempts.remove(&row.position).unwrap_or_default(),
    })
}
