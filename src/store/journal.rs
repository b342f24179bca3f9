//! The raw journal of webhooks: what a provider sent is on disk before it is answered.

use std::collections::BTreeMap;

use bytes::Bytes;
use sea_orm::sea_query::{Expr, ExprTrait as _};
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
    /// Headers that tell where it came from and what it is, as a JSON object of texts; none of those that may hold secrets.
    pub headers: String,
    /// The raw bytes, sealed.
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
    /// The raw bytes, sealed.
    pub body: Bytes,
}

/// How many events came of webhooks, by their places.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<i64, i64>);

impl Told {
    /// Counts events.
    pub fn add(&mut self, journal_id: i64, events: usize) {
        if events > 0 {
            *self.0.entry(journal_id).or_default() += events as i64;
        }
    }

    /// Adds the counts to what was counted before. Webhooks that made as many share a statement.
    pub async fn write(self, transaction: &DatabaseTransaction) -> Result<(), StoreError> {
        let mut by_count: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (journal_id, count) in self.0 {
            by_count.entry(count).or_default().push(journal_id);
        }
        for (count, ids) in by_count {
            for list in rows::lists(ids) {
                journal::Entity::update_many()
                    .col_expr(journal::Column::EventCount, Expr::col(journal::Column::EventCount).add(count))
                    .filter(journal::Column::Id.is_in(list))
                    .exec(transaction)
                    .await?;
            }
        }
        Ok(())
    }
}

/// Appends webhooks.
pub(super) async fn append(transaction: &DatabaseTransaction, entries: Vec<NewJournalEntry>) -> Result<(), StoreError> {
    let models = entries.into_iter().map(|entry| journal::ActiveModel {
        sender: Set(entry.sender.to_string()),
        provider: Set(entry.provider),
        receive_at_ms: Set(entry.receive_at_ms),
        headers: Set(entry.headers),
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
