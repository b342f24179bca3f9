//! The raw journal of webhooks: what a provider sent is on disk before it is answered.

use bytes::Bytes;
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::entity::journal;
use super::{Store, StoreError, rows};
use crate::domain::{Millis, SenderId};

/// A webhook that was verified.
#[derive(Debug, Clone)]
pub struct NewJournalEntry {
    /// For which sender.
    pub sender: SenderId,
    /// From which provider.
    pub provider: String,
    /// When it reached us.
    pub receive_at_ms: Millis,
    /// The raw bytes.
    pub body: Bytes,
}

/// A webhook in the journal.
#[derive(Debug, Clone)]
pub struct JournalEntry {
    /// Its place in the journal.
    pub id: i64,
    /// For which sender.
    pub sender: SenderId,
    /// From which provider.
    pub provider: String,
    /// When it reached us.
    pub receive_at_ms: Millis,
    /// The raw bytes.
    pub body: Bytes,
}

/// Appends webhooks.
pub(super) async fn append(transaction: &DatabaseTransaction, entries: Vec<NewJournalEntry>) -> Result<(), StoreError> {
    let models = entries.into_iter().map(|entry| journal::ActiveModel {
        sender: Set(entry.sender.to_string()),
        provider: Set(entry.provider),
        receive_at_ms: Set(entry.receive_at_ms),
        body: Set(entry.body.into()),
        pending: Set(Some(true)),
        items: Set(0),
        unreadable: Set(0),
        ..Default::default()
    });
    rows::insert(transaction, models.collect()).await?;
    Ok(())
}

impl Store {
    /// Webhooks that are not parsed yet, oldest first, after a place.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn pending_webhooks(&self, after: i64, limit: u64) -> Result<Vec<JournalEntry>, StoreError> {
        let rows = journal::Entity::find()
            .filter(journal::Column::Pending.is_not_null())
            .filter(journal::Column::Id.gt(after))
            .order_by_asc(journal::Column::Id)
            .limit(limit)
            .all(self.read())
            .await?;
        let entry = |row: journal::Model| JournalEntry {
            id: row.id,
            sender: SenderId::trusted(row.sender),
            provider: row.provider,
            receive_at_ms: row.receive_at_ms,
            body: row.body.into(),
        };
        Ok(rows.into_iter().map(entry).collect())
    }
}
