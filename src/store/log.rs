//! The event log: appended to inside the transaction that causes the events, read by position.

use std::sync::Arc;

use sea_orm::sea_query::Value;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Statement,
};

use super::entity::{events, log};
use super::tallies::Tallies;
use super::{Store, StoreError, callbacks, rows};
use crate::domain::callback::CallbackTo;
use crate::domain::{Event, EventId, MessageId, Millis, Payload, SenderId};

/// Events that were committed, with their places: what the live ring is fed with.
pub type Appended = Vec<Arc<Event>>;

/// An event that has no place yet.
#[derive(Debug, Clone)]
pub(super) struct NewEvent {
    pub sender: SenderId,
    pub payload: Payload,
    /// The payload's JSON, when the caller's task has made it already.
    pub json: Option<String>,
    pub occur_at_ms: Option<Millis>,
    pub receive_at_ms: Millis,
    pub report_key: Option<i64>,
    /// Where it is POSTed.
    pub callback: Option<CallbackTo>,
}

/// Where the next events go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub first: i64,
    pub record_at_ms: Millis,
}

/// Takes `count` places. From here to the commit nobody else appends: positions are in the order of commits and have no
/// gaps, and record times never run backwards, whatever the replicas' clocks say (T1).
pub(super) async fn take_places(
    transaction: &DatabaseTransaction,
    count: usize,
    now: Millis,
) -> Result<Places, StoreError> {
    take_places_and_count(transaction, count, now, Tallies::default()).await
}

/// The same, and counts what moved: on PostgreSQL on the same way there and back, which every accepted message waits for.
pub(super) async fn take_places_and_count(
    transaction: &DatabaseTransaction,
    count: usize,
    now: Millis,
    tallies: Tallies,
) -> Result<Places, StoreError> {
    let backend = transaction.get_database_backend();
    let (text, list) = match backend {
        DbBackend::Postgres => {
            let (counted, list) = match tallies.statement(backend, "$3")? {
                Some((text, list)) => (format!("WITH counted AS ({text}) "), Some(list)),
                None => (String::new(), None),
            };
            let text = format!(
                "{counted}UPDATE log SET head = head + $1, record_at_ms = GREATEST(record_at_ms, $2) WHERE id = 1 \
                 RETURNING head, record_at_ms"
            );
            (text, list)
        }
        _ => {
            tallies.write(transaction).await?;
            let text = "UPDATE log SET head = head + ?1, record_at_ms = MAX(record_at_ms, ?2) WHERE id = 1 \
                        RETURNING head, record_at_ms";
            (text.to_owned(), None)
        }
    };
    let count = count as i64;
    let values = [Value::from(count), Value::from(now)].into_iter().chain(list);
    let statement = Statement::from_sql_and_values(backend, text, values);
    let row = transaction.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| StoreError::Fault("the log has no row".into()))?;
    let head: i64 = row.try_get("", "head")?;
    Ok(Places { first: head - count + 1, record_at_ms: row.try_get("", "record_at_ms")? })
}

/// Writes events to places that were taken.
pub(super) async fn append(
    transaction: &DatabaseTransaction,
    places: Places,
    events: Vec<NewEvent>,
) -> Result<Appended, StoreError> {
    let mut appended = Vec::with_capacity(events.len());
    let mut models = Vec::with_capacity(events.len());
    let mut callbacks = Vec::new();
    for (position, new) in (places.first..).zip(events) {
        let event = Event {
            position,
            id: EventId::generate(),
            occur_at_ms: new.occur_at_ms,
            receive_at_ms: new.receive_at_ms,
            record_at_ms: places.record_at_ms,
            sender: new.sender,
            payload: new.payload,
            erase_at_ms: None,
        };
        let json = match new.json {
            Some(json) => json,
            None => serde_json::to_string(&event.payload).map_err(|e| StoreError::Fault(e.to_string()))?,
        };
        models.push(events::ActiveModel {
            position: Set(position),
            id: Set(event.id.0),
            sender: Set(event.sender.to_string()),
            message_id: Set(event.payload.message_id().map(|id| id.0)),
            report_key: Set(new.report_key),
            occur_at_ms: Set(event.occur_at_ms),
            receive_at_ms: Set(event.receive_at_ms),
            record_at_ms: Set(event.record_at_ms),
            payload: Set(json),
            ..Default::default()
        });
        let event = Arc::new(event);
        callbacks.extend(new.callback.map(|to| (event.clone(), to)));
        appended.push(event);
    }
    rows::insert(transaction, models).await?;
    callbacks::insert(transaction, callbacks).await?;
    Ok(appended)
}

pub(super) fn event(row: events::Model) -> Result<Event, StoreError> {
    let payload = serde_json::from_str(&row.payload)
        .map_err(|e| StoreError::Fault(format!("event {} cannot be read: {e}", row.position)))?;
    Ok(Event {
        position: row.position,
        id: EventId(row.id),
        occur_at_ms: row.occur_at_ms,
        receive_at_ms: row.receive_at_ms,
        record_at_ms: row.record_at_ms,
        sender: SenderId::trusted(row.sender),
        payload,
        erase_at_ms: row.erase_at_ms,
    })
}

impl Store {
    /// The place of the newest event; 0 when there is none.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn log_head(&self) -> Result<i64, StoreError> {
        let row = log::Entity::find_by_id(1).one(self.read()).await?;
        Ok(row.map_or(0, |row| row.head))
    }

    /// When the newest event was recorded, by the writer's clock; the beginning of time when there is none.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn log_record_at(&self) -> Result<Millis, StoreError> {
        let row = log::Entity::find_by_id(1).one(self.read()).await?;
        Ok(row.map_or(0, |row| row.record_at_ms))
    }

    /// The place of the oldest event that is kept; one past the head when there is none.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn log_oldest(&self) -> Result<i64, StoreError> {
        if let Some(oldest) = self.first_event().await? {
            return Ok(oldest);
        }
        // The head comes first: an event that is recorded in between is found, and is not taken for one that was removed.
        let head = self.log_head().await?;
        Ok(self.first_event().await?.unwrap_or(head + 1))
    }

    /// The place of the oldest event that is kept; `None` when there is none.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn first_event(&self) -> Result<Option<i64>, StoreError> {
        // From where retention stopped: what it removed may still stand in the index, and is not walked over.
        let text = "SELECT position FROM events WHERE position > \
                    COALESCE((SELECT place FROM upkeep WHERE kind = 'events'), 0) ORDER BY position LIMIT 1";
        let statement = Statement::from_string(self.read().get_database_backend(), text);
        let row = self.read().query_one_raw(statement).await?;
        Ok(row.map(|row| row.try_get("", "position")).transpose()?)
    }

    /// Up to `limit` events after a place, in order.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn events_after(&self, position: i64, limit: u64) -> Result<Vec<Event>, StoreError> {
        let rows = events::Entity::find()
            .filter(events::Column::Position.gt(position))
            .order_by_asc(events::Column::Position)
            .limit(limit)
            .all(self.read())
            .await?;
        rows.into_iter().map(event).collect()
    }

    /// Up to `limit` events about these messages after a place, in order: by their index, so that the history of one
    /// message is not a walk through the log.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn events_of_messages_after(
        &self,
        messages: &[MessageId],
        position: i64,
        limit: u64,
    ) -> Result<Vec<Event>, StoreError> {
        let rows = events::Entity::find()
            .filter(events::Column::MessageId.is_in(messages.iter().map(|id| id.0)))
            .filter(events::Column::Position.gt(position))
            .order_by_asc(events::Column::Position)
            .limit(limit)
            .all(self.read())
            .await?;
        rows.into_iter().map(event).collect()
    }

    /// The place before the first event recorded at or after `time`: record times never run backwards, so halving finds it.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn place_before_time(&self, time: Millis) -> Result<i64, StoreError> {
        let (mut low, mut high) = (self.log_oldest().await?, self.log_head().await? + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let row = events::Entity::find()
                .select_only()
                .column(events::Column::RecordAtMs)
                .filter(events::Column::Position.eq(middle))
                .into_tuple::<i64>()
                .one(self.read())
                .await?;
            match row {
                Some(record_at_ms) if record_at_ms >= time => high = middle,
                // Trimmed meanwhile: it was older than what is kept.
                _ => low = middle + 1,
            }
        }
        Ok(low - 1)
    }

    /// When the event at a place was recorded; `None` when it is not kept.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn record_time(&self, position: i64) -> Result<Option<Millis>, StoreError> {
        let found = events::Entity::find()
            .select_only()
            .column(events::Column::RecordAtMs)
            .filter(events::Column::Position.eq(position))
            .into_tuple::<i64>()
            .one(self.read())
            .await?;
        Ok(found)
    }
}
