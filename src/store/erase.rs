//! Erasing what is kept of a person, some rows a transaction. Each step can be done twice.

use std::collections::HashSet;

use sea_orm::sea_query::{LockType, Value};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;

use super::entity::{attempts, events, incoming_messages, journal, media, messages, parked_reports};
use super::{Store, StoreError, rows, set};
use crate::domain::content::MediaSource;
use crate::domain::erasure::{bare_error, bare_payload, bare_request};
use crate::domain::media::{MediaState, Trouble};
use crate::domain::{MediaId, MessageId, MessageStatus, Millis, Payload, SenderId};
use crate::provider::StatusReport;

/// Messages and events in one transaction.
const STEP: u64 = 200;
/// Ids in one statement.
const IDS: usize = 100;

/// A message to a person.
#[derive(Debug, Clone)]
pub struct OfPerson {
    /// Its place.
    pub seq: i64,
    /// Its id.
    pub id: MessageId,
    /// Where it stands.
    pub status: MessageStatus,
    /// What providers call it, of all attempts.
    pub provider_ids: Vec<String>,
}

/// A webhook, to be looked through.
#[derive(Debug, Clone)]
pub struct KeptWebhook {
    /// Its place in the journal.
    pub id: i64,
    /// For which sender it came.
    pub sender: SenderId,
    /// Whether it was not parsed yet.
    pub pending: bool,
    /// As it is kept, sealed.
    pub body: Vec<u8>,
}

impl Store {
    /// Up to a page of messages to a person that were not erased, after a place; with an empty list of senders all.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn messages_to(
        &self,
        names: &[String],
        senders: &[SenderId],
        after: i64,
    ) -> Result<Vec<OfPerson>, StoreError> {
        let found = of_person(names, senders).filter(messages::Column::Seq.gt(after)).all(self.read()).await?;
        let mut all = Vec::with_capacity(found.len());
        for row in found {
            let ids = attempts::Entity::find()
                .select_only()
                .column(attempts::Column::ProviderMessageId)
                .filter(attempts::Column::MessageSeq.eq(row.seq))
                .into_tuple::<Option<String>>()
                .all(self.read())
                .await?;
            all.push(OfPerson {
                seq: row.seq,
                id: MessageId(row.id),
                status: MessageStatus::from_number(row.status).unwrap_or(MessageStatus::Failed),
                provider_ids: ids.into_iter().chain([row.provider_message_id]).flatten().collect(),
            });
        }
        Ok(all)
    }

    /// Ids of people's messages by whom they are from, and what providers call them.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn incoming_of(
        &self,
        names: &[String],
        senders: &[SenderId],
    ) -> Result<Vec<(MessageId, Option<String>)>, StoreError> {
        use incoming_messages::Column;
        let mut query = incoming_messages::Entity::find().filter(Column::Peer.is_in(names));
        if !senders.is_empty() {
            query = query.filter(Column::Sender.is_in(senders.iter().map(SenderId::as_str)));
        }
        let found = query.all(self.read()).await?;
        let provider_id = |key: String| key.strip_prefix("id:").map(str::to_owned);
        Ok(found.into_iter().map(|row| (MessageId(row.id), provider_id(row.dedupe_key))).collect())
    }

    /// Takes recipient and content out of the messages to a person that are over, with the words of their attempts; tells
    /// how many it took, and `0` when there are no more.
    ///
    /// # Errors
    /// When the store is away; then they are as they were.
    pub async fn erase_messages(&self, names: &[String], senders: &[SenderId], now: Millis) -> Result<u64, StoreError> {
        use messages::Column;
        let transaction = self.begin().await?;
        let mut query = of_person(names, senders).filter(Column::DueAtMs.is_null()).filter(Column::Claim.is_null());
        if transaction.get_database_backend() == DbBackend::Postgres {
            query = query.lock(LockType::Update);
        }
        let found = query.all(&transaction).await?;
        let unreadable = |e: serde_json::Error| StoreError::Fault(format!("a message cannot be read: {e}"));
        let mut bare = Vec::with_capacity(found.len());
        for row in &found {
            let request = bare_request(&row.request).map_err(unreadable)?;
            let error = row.error.as_deref().map(bare_text).transpose()?;
            let none = Option::<i64>::None;
            bare.push(vec![
                row.seq.into(),
                request.into(),
                "".into(),
                "".into(),
                error.into(),
                none.into(),
                now.into(),
            ]);
        }
        let columns: &[(&str, &str)] = &[
            ("request", "text"),
            ("peer", "text"),
            ("labels", "text"),
            ("error", "text"),
            ("look_up_at_ms", "bigint"),
            ("erase_at_ms", "bigint"),
        ];
        rows::update(&transaction, "messages", ("seq", "bigint"), columns, bare).await?;
        let seqs = found.iter().map(|row| row.seq);
        let tried = attempts::Entity::find().filter(attempts::Column::MessageSeq.is_in(seqs)).all(&transaction).await?;
        for row in tried {
            let error = row.error.as_deref().map(bare_text).transpose()?;
            let next_error = row.next_error.as_deref().map(bare_text).transpose()?;
            attempts::Entity::update_many()
                .col_expr(attempts::Column::Error, set(error))
                .col_expr(attempts::Column::NextError, set(next_error))
                .col_expr(attempts::Column::Exchange, set(Option::<String>::None))
                .filter(attempts::Column::MessageSeq.eq(row.message_seq))
                .filter(attempts::Column::Number.eq(row.number))
                .exec(&transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(found.len() as u64)
    }

    /// Takes whom they are about and what was said out of these events; each keeps its place. Tells how many were not
    /// erased before.
    ///
    /// # Errors
    /// When the store is away; then some may be erased.
    pub async fn erase_events(&self, positions: &[i64], now: Millis) -> Result<u64, StoreError> {
        let mut erased = 0;
        for list in positions.chunks(STEP as usize) {
            let transaction = self.begin().await?;
            let found = events::Entity::find()
                .filter(events::Column::Position.is_in(list.iter().copied()))
                .filter(events::Column::EraseAtMs.is_null())
                .all(&transaction)
                .await?;
            let mut bare = Vec::with_capacity(found.len());
            for row in found {
                let unreadable =
                    |e: serde_json::Error| StoreError::Fault(format!("event {} cannot be read: {e}", row.position));
                let payload: Payload = serde_json::from_str(&row.payload).map_err(unreadable)?;
                bare.push(vec![row.position.into(), bare_payload(&payload).map_err(unreadable)?.into(), now.into()]);
            }
            erased += bare.len() as u64;
            let columns: &[(&str, &str)] = &[("payload", "text"), ("erase_at_ms", "bigint")];
            rows::update(&transaction, "events", ("position", "bigint"), columns, bare).await?;
            transaction.commit().await?;
        }
        Ok(erased)
    }

    /// Lets all replicas know that events were erased: what they keep in memory is read anew.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn announce_erasure(&self) -> Result<(), StoreError> {
        let backend = self.inner.write.get_database_backend();
        let text = "INSERT INTO upkeep (kind, place, announced, announce_at_ms, hold_until_ms) \
                    VALUES ('erasures', 1, 0, 0, 0) ON CONFLICT (kind) DO UPDATE SET place = upkeep.place + 1";
        self.inner.write.execute_raw(rows::statement(backend, text, [])).await?;
        Ok(())
    }

    /// Forgets whom messages of people are from; that they came stays known, so that a repeat does not bring them back.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn erase_incoming(&self, ids: &[MessageId]) -> Result<u64, StoreError> {
        let mut erased = 0;
        for list in ids.chunks(IDS) {
            let update = incoming_messages::Entity::update_many()
                .col_expr(incoming_messages::Column::Peer, set(""))
                .filter(incoming_messages::Column::Id.is_in(list.iter().map(|id| id.0)))
                .filter(incoming_messages::Column::Peer.ne(""));
            erased += update.exec(&self.inner.write).await?.rows_affected;
        }
        Ok(erased)
    }

    /// Forgets when a person last wrote and what providers said about them. That they opted out stays known: who is forgotten
    /// must not be written to again.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn forget_person(&self, names: &[String], senders: &[SenderId]) -> Result<(), StoreError> {
        let backend = self.inner.write.get_database_backend();
        for (table, name) in names.iter().flat_map(|name| ["windows", "known_failures"].map(|table| (table, name))) {
            let mut values: Vec<Value> = vec![name.as_str().into()];
            // A window stands also under the user id of somebody whose number was seen beside it.
            let named = if table == "windows" { "(peer = $1 OR number = $1)" } else { "peer = $1" };
            let mut text = format!("DELETE FROM {table} WHERE {named}");
            if !senders.is_empty() {
                let marks: Vec<String> = (2..senders.len() + 2).map(|n| format!("${n}")).collect();
                text.push_str(&format!(" AND sender IN ({})", marks.join(", ")));
                values.extend(senders.iter().map(|sender| Value::from(sender.as_str())));
            }
            self.inner.write.execute_raw(rows::statement(backend, &text, values)).await?;
        }
        Ok(())
    }

    /// The files that came with these messages and were not erased.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn media_of(&self, messages: &[MessageId]) -> Result<Vec<MediaId>, StoreError> {
        let mut ids = Vec::new();
        for list in messages.chunks(IDS) {
            let found = media::Entity::find()
                .select_only()
                .column(media::Column::Id)
                .filter(media::Column::MessageId.is_in(list.iter().map(|id| id.0)))
                .filter(media::Column::Source.ne(no_source()?))
                .into_tuple::<Uuid>()
                .all(self.read())
                .await?;
            ids.extend(found.into_iter().map(MediaId));
        }
        Ok(ids)
    }

    /// Notes that files are erased: nobody fetches them, and whoever asks for one hears that it is gone.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn erase_media(&self, ids: &[MediaId], now: Millis) -> Result<(), StoreError> {
        self.give_up_media(ids, Trouble::Erased, now).await
    }

    /// Forgets where files came from and what they were called, once they are in the media store no longer.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn erase_media_names(&self, ids: &[MediaId]) -> Result<u64, StoreError> {
        let mut erased = 0;
        for list in ids.chunks(IDS) {
            let update = media::Entity::update_many()
                .col_expr(media::Column::Source, set(no_source()?))
                .col_expr(media::Column::FileName, set(""))
                .col_expr(media::Column::Sha256, set(Option::<Vec<u8>>::None))
                .col_expr(media::Column::SizeBytes, set(Option::<i64>::None))
                .filter(media::Column::Id.is_in(list.iter().map(|id| id.0)))
                .filter(media::Column::State.eq(MediaState::FAILED));
            erased += update.exec(&self.inner.write).await?.rows_affected;
        }
        Ok(erased)
    }

    /// Up to `limit` webhooks that have their body still, after a place.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn kept_webhooks(&self, after: i64, limit: u64) -> Result<Vec<KeptWebhook>, StoreError> {
        let found = journal::Entity::find()
            .filter(journal::Column::Id.gt(after))
            .filter(journal::Column::EraseAtMs.is_null())
            .order_by_asc(journal::Column::Id)
            .limit(limit)
            .all(self.read())
            .await?;
        let kept = |row: journal::Model| KeptWebhook {
            id: row.id,
            sender: SenderId::trusted(row.sender),
            pending: row.pending.is_some(),
            body: row.body,
        };
        Ok(found.into_iter().map(kept).collect())
    }

    /// Drops the bodies of webhooks that were parsed; tells how many.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn erase_webhooks(&self, ids: &[i64], now: Millis) -> Result<u64, StoreError> {
        let mut erased = 0;
        for list in ids.chunks(IDS) {
            let update = journal::Entity::update_many()
                .col_expr(journal::Column::Body, set(Vec::<u8>::new()))
                .col_expr(journal::Column::EraseAtMs, set(now))
                .filter(journal::Column::Id.is_in(list.iter().copied()))
                .filter(journal::Column::Pending.is_null());
            erased += update.exec(&self.inner.write).await?.rows_affected;
        }
        Ok(erased)
    }

    /// Up to a page of parked reports after a place: each with its place and its sender.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn parked_after(&self, after: i64) -> Result<Vec<(i64, SenderId, StatusReport)>, StoreError> {
        let found = parked_reports::Entity::find()
            .filter(parked_reports::Column::Id.gt(after))
            .order_by_asc(parked_reports::Column::Id)
            .limit(STEP)
            .all(self.read())
            .await?;
        let report = |row: parked_reports::Model| {
            let report = serde_json::from_str(&row.report)
                .map_err(|e| StoreError::Fault(format!("parked report {} cannot be read: {e}", row.id)))?;
            Ok((row.id, SenderId::trusted(row.sender), report))
        };
        found.into_iter().map(report).collect()
    }

    /// Forgets parked reports; tells how many.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn forget_parked(&self, ids: &HashSet<i64>) -> Result<u64, StoreError> {
        let ids: Vec<i64> = ids.iter().copied().collect();
        let mut forgotten = 0;
        for list in ids.chunks(IDS) {
            let delete =
                parked_reports::Entity::delete_many().filter(parked_reports::Column::Id.is_in(list.iter().copied()));
            forgotten += delete.exec(&self.inner.write).await?.rows_affected;
        }
        Ok(forgotten)
    }
}

/// Messages to a person that were not erased, in the order of their places.
fn of_person(names: &[String], senders: &[SenderId]) -> Select<messages::Entity> {
    use messages::Column;
    let query = messages::Entity::find()
        .filter(Column::Peer.is_in(names))
        .filter(Column::EraseAtMs.is_null())
        .order_by_asc(Column::Seq)
        .limit(STEP);
    match senders {
        [] => query,
        // The sender that was asked for, and the one that has it.
        senders => {
            let ids = || senders.iter().map(SenderId::as_str);
            query.filter(Condition::any().add(Column::Sender.is_in(ids())).add(Column::AskedSender.is_in(ids())))
        }
    }
}

/// Where an erased file came from.
fn no_source() -> Result<String, StoreError> {
    serde_json::to_string(&MediaSource::MediaId(String::new())).map_err(|e| StoreError::Fault(e.to_string()))
}

/// An error's JSON without the words of the provider.
fn bare_text(error: &str) -> Result<String, StoreError> {
    let read: serde_json::Value = serde_json::from_str(error).map_err(|e| StoreError::Fault(e.to_string()))?;
    Ok(bare_error(read).to_string())
}
