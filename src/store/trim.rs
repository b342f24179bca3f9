//! Removing what is old, a few rows a transaction. What is to go is chosen on a reading connection; the transaction looks
//! again, so whatever moved meanwhile stays.

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use uuid::Uuid;

use super::upkeep::Kind;
use super::{Store, StoreError, rows};
use crate::domain::retention::{Limit, Size, may_go};
use crate::domain::{MessageStatus, Millis};

/// Rows of a sample from each end of a table.
const SAMPLE: u64 = 250;
/// What a row takes beside its document: its other columns, its indexes; of a message its attempts too.
const EVENT_BYTES: u64 = 250;
const MESSAGE_BYTES: u64 = 900;
const WEBHOOK_BYTES: u64 = 100;

/// What one step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Rows that are gone.
    pub removed: u64,
    /// Where the next step begins; `None`: there is nothing more to do.
    pub next: Option<i64>,
    /// The first place that was left, though what is before it went.
    pub left: Option<i64>,
}

/// A row that may go.
struct Row {
    place: i64,
    /// When it came: what comes after it came later, or nearly.
    came_at_ms: Millis,
    /// Since when it is old; `None` while it must stay.
    old_since_ms: Option<Millis>,
}

/// Parts what goes from what stays; whoever is asked next begins after the last.
fn choose(found: &[Row], limit: &mut Limit, step: u64) -> (Vec<i64>, Trimmed) {
    let (mut gone, mut trimmed) = (Vec::new(), Trimmed::default());
    let mut last = None;
    for row in found {
        if limit.is_reached(row.came_at_ms) {
            trimmed.left = trimmed.left.or(Some(row.place));
            return (gone, trimmed);
        }
        last = Some(row.place);
        match row.old_since_ms.is_some_and(|at| limit.takes(at)) {
            true => gone.push(row.place),
            false => trimmed.left = trimmed.left.or(Some(row.place)),
        }
    }
    trimmed.next = last.filter(|_| found.len() as u64 == step);
    if trimmed.next.is_none() {
        trimmed.left = trimmed.left.or(last.map(|last| last + 1));
    }
    (gone, trimmed)
}

impl Store {
    /// Removes the events after one place up to another, which is noted; tells how many.
    ///
    /// # Errors
    /// When the store is away; then they are there.
    pub async fn trim_events(&self, after: i64, up_to: i64) -> Result<u64, StoreError> {
        let transaction = self.begin().await?;
        let backend = transaction.get_database_backend();
        let text = "DELETE FROM events WHERE position > $1 AND position <= $2";
        let gone = transaction.execute_raw(rows::statement(backend, text, [after.into(), up_to.into()])).await?;
        // The place before the rows: a search for the oldest does not walk over what was removed a moment ago.
        let text = "UPDATE upkeep SET place = $2 WHERE kind = $1";
        let values: [Value; 2] = [Kind::Events.word().into(), up_to.into()];
        transaction.execute_raw(rows::statement(backend, text, values)).await?;
        transaction.commit().await?;
        Ok(gone.rows_affected())
    }

    /// Removes messages that are over, with their attempts: looks at `step` of them after a place.
    ///
    /// # Errors
    /// When the store is away; then they are there.
    pub async fn trim_messages(&self, after: i64, step: u64, limit: &mut Limit) -> Result<Trimmed, StoreError> {
        let text = format!(
            "SELECT seq AS place, accept_at_ms, status, status_at_ms, due_at_ms, claim FROM messages \
             WHERE seq > $1 ORDER BY seq LIMIT {step}"
        );
        let row = |row: QueryResult| -> Result<Row, DbErr> {
            let status = MessageStatus::from_number(row.try_get("", "status")?);
            let waits = row.try_get::<Option<i64>>("", "due_at_ms")?.is_some()
                || row.try_get::<Option<i64>>("", "claim")?.is_some();
            let over = status.is_some_and(may_go) && !waits;
            Ok(Row {
                place: row.try_get("", "place")?,
                came_at_ms: row.try_get("", "accept_at_ms")?,
                old_since_ms: if over { Some(row.try_get("", "status_at_ms")?) } else { None },
            })
        };
        let found = self.look(&text, after, row).await?;
        let (gone, mut trimmed) = choose(&found, limit, step);
        if gone.is_empty() {
            return Ok(trimmed);
        }
        let latest = found.iter().filter_map(|row| row.old_since_ms).max().unwrap_or_default();
        let transaction = self.begin().await?;
        let backend = transaction.get_database_backend();
        for list in rows::lists(gone.clone()) {
            let marks = marks(list.len());
            let values = || list.iter().map(|seq| Value::from(*seq));
            // One that moved since it was looked at has a later status.
            let text = format!("DELETE FROM messages WHERE seq IN ({marks}) AND status_at_ms <= ${}", list.len() + 1);
            let values_and_time = values().chain([Value::from(latest)]);
            let deleted = transaction.execute_raw(rows::statement(backend, &text, values_and_time)).await?;
            trimmed.removed += deleted.rows_affected();
            let text = format!(
                "DELETE FROM attempts WHERE message_seq IN ({marks}) \
                 AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.seq = attempts.message_seq)"
            );
            transaction.execute_raw(rows::statement(backend, &text, values())).await?;
        }
        transaction.commit().await?;
        if trimmed.removed < gone.len() as u64 {
            trimmed.left = trimmed.left.into_iter().chain(gone.first().copied()).min();
        }
        Ok(trimmed)
    }

    /// Removes webhooks that were parsed: looks at `step` of them after a place.
    ///
    /// # Errors
    /// When the store is away; then they are there.
    pub async fn trim_journal(&self, after: i64, step: u64, limit: &mut Limit) -> Result<Trimmed, StoreError> {
        let text =
            format!("SELECT id AS place, receive_at_ms, pending FROM journal WHERE id > $1 ORDER BY id LIMIT {step}");
        let row = |row: QueryResult| -> Result<Row, DbErr> {
            let came_at_ms = row.try_get("", "receive_at_ms")?;
            let pending: Option<bool> = row.try_get("", "pending")?;
            let old_since_ms = if pending.is_none() { Some(came_at_ms) } else { None };
            Ok(Row { place: row.try_get("", "place")?, came_at_ms, old_since_ms })
        };
        let found = self.look(&text, after, row).await?;
        let (gone, mut trimmed) = choose(&found, limit, step);
        let backend = self.inner.write.get_database_backend();
        for list in rows::lists(gone.clone()) {
            let text = format!("DELETE FROM journal WHERE id IN ({}) AND pending IS NULL", marks(list.len()));
            let values = list.into_iter().map(Value::from);
            let deleted = self.inner.write.execute_raw(rows::statement(backend, &text, values)).await?;
            trimmed.removed += deleted.rows_affected();
        }
        if trimmed.removed < gone.len() as u64 {
            trimmed.left = trimmed.left.into_iter().chain(gone.first().copied()).min();
        }
        Ok(trimmed)
    }

    /// Removes what incoming messages from before a time are known by, `step` of them; tells how many.
    ///
    /// # Errors
    /// When the store is away; then they are there.
    pub async fn trim_incoming(&self, before: Millis, step: u64) -> Result<u64, StoreError> {
        let text = format!(
            "DELETE FROM incoming_messages WHERE id IN \
             (SELECT id FROM incoming_messages WHERE id < $1 ORDER BY id LIMIT {step})"
        );
        self.remove(&text, [first_id_of(before).into()]).await
    }

    /// Removes reports that matched nothing for 30 days and came before a time, `step` of them; tells how many.
    ///
    /// # Errors
    /// When the store is away; then they are there.
    pub async fn trim_orphans(&self, before: Millis, step: u64) -> Result<u64, StoreError> {
        let text = format!(
            "DELETE FROM parked_reports WHERE id IN (SELECT id FROM parked_reports \
             WHERE orphan = $2 AND receive_at_ms < $1 ORDER BY id LIMIT {step})"
        );
        self.remove(&text, [before.into(), true.into()]).await
    }

    /// How large the log is, about. Its places have no gaps, so nothing is counted.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn events_size(&self) -> Result<Size, StoreError> {
        let (oldest, head) = (self.log_oldest().await?, self.log_head().await?);
        let row_bytes = self.sample("events", "position", &["payload"], EVENT_BYTES).await?;
        Ok(Size { rows: (head - oldest + 1).max(0).unsigned_abs(), row_bytes })
    }

    /// How large the messages are, about.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn messages_size(&self) -> Result<Size, StoreError> {
        let rows = self.count("messages").await?;
        Ok(Size { rows, row_bytes: self.sample("messages", "seq", &["request", "labels"], MESSAGE_BYTES).await? })
    }

    /// How large the journal is, about.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn journal_size(&self) -> Result<Size, StoreError> {
        let rows = self.count("journal").await?;
        Ok(Size { rows, row_bytes: self.sample("journal", "id", &["body"], WEBHOOK_BYTES).await? })
    }

    async fn look(
        &self,
        text: &str,
        after: i64,
        row: impl Fn(QueryResult) -> Result<Row, DbErr>,
    ) -> Result<Vec<Row>, StoreError> {
        let backend = self.read().get_database_backend();
        let found = self.read().query_all_raw(rows::statement(backend, text, [after.into()])).await?;
        Ok(found.into_iter().map(row).collect::<Result<_, _>>()?)
    }

    async fn remove<const N: usize>(&self, text: &str, values: [Value; N]) -> Result<u64, StoreError> {
        let backend = self.inner.write.get_database_backend();
        Ok(self.inner.write.execute_raw(rows::statement(backend, text, values)).await?.rows_affected())
    }

    async fn count(&self, table: &str) -> Result<u64, StoreError> {
        self.number(&format!("SELECT COUNT(*) AS n FROM {table}")).await
    }

    /// Bytes of a row on the average, of the oldest and the newest.
    async fn sample(&self, table: &str, key: &str, columns: &[&str], beside: u64) -> Result<u64, StoreError> {
        // Bytes of texts too: characters would be fewer.
        let backend = self.read().get_database_backend();
        let size = |column: &&str| match backend {
            sea_orm::DbBackend::Postgres => format!("octet_length({column})"),
            _ => format!("length(CAST({column} AS BLOB))"),
        };
        let size = columns.iter().map(size).collect::<Vec<_>>().join(" + ");
        let end = |order: &str| {
            format!(
                "SELECT * FROM (SELECT {size} AS n FROM {table} ORDER BY {key} {order} LIMIT {SAMPLE}) AS {order}_end"
            )
        };
        let text = format!(
            "SELECT CAST(COALESCE(AVG(n), 0) AS bigint) AS n FROM ({} UNION ALL {}) AS both_ends",
            end("ASC"),
            end("DESC")
        );
        Ok(self.number(&text).await? + beside)
    }

    async fn number(&self, text: &str) -> Result<u64, StoreError> {
        let backend = self.read().get_database_backend();
        let row = self.read().query_one_raw(rows::statement(backend, text, [])).await?;
        let number: i64 = row.map(|row| row.try_get("", "n")).transpose()?.unwrap_or_default();
        Ok(number.unsigned_abs())
    }
}

/// `$1, $2, …`
fn marks(count: usize) -> String {
    (1..=count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}

/// An id before all that were made at a time or later: ids are UUIDv7, which begin with their milliseconds.
pub(super) fn first_id_of(at_ms: Millis) -> Uuid {
    Uuid::from_u128(u128::from(at_ms.max(0).unsigned_abs()) << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(place: i64, came_at_ms: Millis, old_since_ms: Option<Millis>) -> Row {
        Row { place, came_at_ms, old_since_ms }
    }

    #[test]
    fn what_is_old_goes_and_what_still_moves_stays_where_it_is() {
        let found = [row(1, 10, Some(20)), row(4, 11, None), row(5, 12, Some(90)), row(9, 13, Some(30))];
        let mut limit = Limit { before: 50, surplus: 0 };
        let (gone, trimmed) = choose(&found, &mut limit, 4);
        assert_eq!(gone, [1, 9]);
        assert_eq!(trimmed, Trimmed { removed: 0, next: Some(9), left: Some(4) });
        // Fewer than asked for: that was all.
        assert_eq!(choose(&found, &mut limit, 5).1, Trimmed { removed: 0, next: None, left: Some(4) });
    }

    #[test]
    fn the_walk_ends_at_what_came_too_late() {
        let found = [row(1, 10, Some(20)), row(2, 50, Some(50)), row(3, 51, Some(51))];
        let (gone, trimmed) = choose(&found, &mut Limit { before: 50, surplus: 0 }, 3);
        assert_eq!((gone, trimmed), (vec![1], Trimmed { removed: 0, next: None, left: Some(2) }));
        let (gone, trimmed) = choose(&found, &mut Limit { before: 0, surplus: 2 }, 3);
        assert_eq!((gone, trimmed), (vec![1, 2], Trimmed { removed: 0, next: None, left: Some(3) }));
        let (gone, trimmed) = choose(&found, &mut Limit { before: 99, surplus: 0 }, 9);
        assert_eq!((gone, trimmed), (vec![1, 2, 3], Trimmed { removed: 0, next: None, left: Some(4) }));
    }

    #[test]
    fn an_id_of_a_time_lies_before_all_that_are_made_then() {
        let before = crate::domain::now_ms();
        let id = Uuid::now_v7();
        assert!(first_id_of(before) <= id && first_id_of(before + 60_000) > id);
        assert_eq!(first_id_of(Millis::MIN), Uuid::nil());
    }
}
