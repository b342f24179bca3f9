//! Tallies: how many messages of each sender stand where, by the minute of their acceptance and in all. Kept up to date by
//! what moves messages, in the same transaction, so that a count of a million is a sum of a few rows.

use std::collections::BTreeMap;

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend};

use super::{StoreError, rows};
use crate::domain::Millis;

/// Stands for all minutes: how many there are now.
pub(super) const NOW: i64 = 0;
/// In place of a status: incoming messages, which have none.
pub(super) const INCOMING: i16 = 0;

/// The minute of a time.
pub(super) fn minute(at_ms: Millis) -> i64 {
    at_ms.div_euclid(60_000)
}

/// What a transaction changes.
#[derive(Debug, Default)]
pub(super) struct Tallies(BTreeMap<(String, i64, i16), i64>);

impl Tallies {
    /// So many more, or fewer, stand there; `at_ms`: when they were accepted.
    pub fn add(&mut self, sender: &str, at_ms: Millis, status: i16, count: i64) {
        for minute in [minute(at_ms), NOW] {
            *self.0.entry((sender.to_owned(), minute, status)).or_default() += count;
        }
    }

    /// So many came in; nobody counts all that ever did.
    pub fn incoming(&mut self, sender: &str, at_ms: Millis) {
        *self.0.entry((sender.to_owned(), minute(at_ms), INCOMING)).or_default() += 1;
    }

    /// Writes it down, where no event goes with it ([`super::log::take_places_and_count`]).
    pub async fn write(self, transaction: &DatabaseTransaction) -> Result<(), StoreError> {
        let backend = transaction.get_database_backend();
        if let Some((text, list)) = self.statement(backend, "$1")? {
            transaction.execute_raw(rows::statement(backend, &text, [list])).await?;
        }
        Ok(())
    }

    /// The statement that writes it down, and its list, which is that parameter; `None` when nothing changes. Rows come in one
    /// order, so that no two replicas wait for each other.
    pub fn statement(self, backend: DbBackend, parameter: &str) -> Result<Option<(String, Value)>, StoreError> {
        let changed = self.0.into_iter().filter(|(_, count)| *count != 0);
        let list: Vec<_> = changed.map(|((sender, minute, status), count)| (sender, minute, status, count)).collect();
        if list.is_empty() {
            return Ok(None);
        }
        let list = serde_json::to_string(&list).map_err(|e| StoreError::Fault(e.to_string()))?;
        // SQLite reads a conflict clause behind a bare SELECT as a join.
        let from = match backend {
            DbBackend::Postgres => format!("jsonb_array_elements(CAST({parameter} AS jsonb)) AS c(value)"),
            _ => format!("json_each({parameter}) AS c WHERE true"),
        };
        let text = format!(
            "INSERT INTO tallies (sender, minute, status, count) SELECT c.value ->> 0, CAST(c.value ->> 1 AS bigint), \
               CAST(c.value ->> 2 AS smallint), CAST(c.value ->> 3 AS bigint) FROM {from} \
             ON CONFLICT (sender, minute, status) DO UPDATE SET count = tallies.count + excluded.count"
        );
        Ok(Some((text, list.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_taken_from_where_it_stood() {
        let mut tallies = Tallies::default();
        tallies.add("acme", 120_001, 1, 1);
        tallies.add("acme", 179_999, 1, 1);
        tallies.add("acme", 120_001, 1, -1);
        tallies.add("acme", 120_001, 6, 1);
        tallies.incoming("acme", 60_000);
        let key = |minute, status| ("acme".to_owned(), minute, status);
        let expected = [(key(0, 1), 1), (key(0, 6), 1), (key(1, INCOMING), 1), (key(2, 1), 1), (key(2, 6), 1)];
        assert_eq!(tallies.0.into_iter().collect::<Vec<_>>(), expected);
    }
}
