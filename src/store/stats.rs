//! Numbers for operators: what is counted by sender, what waits, and how fast it may go. All of it comes from tallies and
//! from indexes of what waits, so it costs the same however many messages there are: a probe for each sender, a row for each
//! minute of the window in which it accepted something, and the webhooks that wait to be read.

use std::collections::HashMap;

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement};

use super::tallies::{self, INCOMING, NOW};
use super::{Store, StoreError, rows};
use crate::domain::pace::Pace;
use crate::domain::{MessageStatus, Millis, NewMessage, SenderId};

/// How many messages have each status.
pub type Counts = HashMap<MessageStatus, i64>;

/// What is known of one sender.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SenderNumbers {
    /// Accepted within the window, by their status now.
    pub accepted: Counts,
    /// Incoming messages within the window.
    pub incoming: i64,
    /// All messages, by their status now.
    pub standing: Counts,
    /// In hand.
    pub in_flight: i64,
    /// Since when the first of the messages that may be claimed could have been.
    pub oldest_due_ms: Option<Millis>,
    /// How fast it goes; nothing as long as it never had a limit.
    pub pace: Option<Pace>,
    /// People who may get nothing now.
    pub held_contacts: i64,
}

impl SenderNumbers {
    /// Messages that wait.
    pub fn queue_depth(&self) -> i64 {
        let waiting = [MessageStatus::Accepted, MessageStatus::Scheduled, MessageStatus::Held];
        waiting.iter().filter_map(|status| self.standing.get(status)).sum()
    }

    /// Messages whose outcome nobody knows.
    pub fn in_doubt(&self) -> i64 {
        self.standing.get(&MessageStatus::InDoubt).copied().unwrap_or_default()
    }
}

/// How the journal of webhooks stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalNumbers {
    /// Kept and not read yet.
    pub pending: i64,
    /// When the oldest of these came.
    pub oldest_pending_ms: Option<Millis>,
    /// With something that no parser understood.
    pub unreadable: i64,
    /// With a report that matches no message yet.
    pub parked: i64,
}

/// Where the minute of a time begins: what is counted since then is counted in full.
pub fn window_start(at_ms: Millis) -> Millis {
    tallies::minute(at_ms) * 60_000
}

impl Store {
    /// The numbers of these senders, with those of a window that began at `from_ms`, rounded down to a whole minute.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn stats(
        &self,
        senders: &[SenderId],
        from_ms: Millis,
        now: Millis,
    ) -> Result<HashMap<SenderId, SenderNumbers>, StoreError> {
        let mut all: HashMap<SenderId, SenderNumbers> =
            senders.iter().map(|sender| (sender.clone(), SenderNumbers::default())).collect();
        let from = tallies::minute(from_ms);
        let window = "SELECT t.sender, t.status, CAST(SUM(t.count) AS bigint) AS n FROM {list} \
             JOIN tallies t ON t.sender = c.value AND t.minute >= $2 GROUP BY t.sender, t.status";
        for row in self.of_senders(senders, window, [from.max(1).into()]).await? {
            let (status, count): (i16, i64) = (row.try_get("", "status")?, row.try_get("", "n")?);
            if let Some(numbers) = of(&mut all, &row)? {
                match MessageStatus::from_number(status) {
                    Some(status) => drop(numbers.accepted.insert(status, count)),
                    None if status == INCOMING => numbers.incoming = count,
                    None => {}
                }
            }
        }
        let standing = "SELECT t.sender, t.status, t.count AS n FROM {list} \
             JOIN tallies t ON t.sender = c.value AND t.minute = $2";
        for row in self.of_senders(senders, standing, [NOW.into()]).await? {
            let status: i16 = row.try_get("", "status")?;
            let (Some(numbers), Some(status)) = (of(&mut all, &row)?, MessageStatus::from_number(status)) else {
                continue;
            };
            numbers.standing.insert(status, row.try_get("", "n")?);
        }
        self.add_in_hand(from, &mut all).await?;
        self.add_oldest_due(senders, &mut all).await?;
        self.add_paces(senders, now, &mut all).await?;
        for numbers in all.values_mut() {
            numbers.accepted.retain(|_, count| *count > 0);
            numbers.standing.retain(|_, count| *count > 0);
        }
        Ok(all)
    }

    /// A message in hand is counted where it stood before, until its attempt has ended. There are never many.
    async fn add_in_hand(&self, from: i64, all: &mut HashMap<SenderId, SenderNumbers>) -> Result<(), StoreError> {
        let text = "SELECT sender, status, tallied, \
               CASE WHEN accept_at_ms / 60000 >= $1 THEN 1 ELSE 0 END AS within, COUNT(*) AS n \
             FROM messages WHERE claim IS NOT NULL GROUP BY 1, 2, 3, 4";
        let statement = rows::statement(self.read().get_database_backend(), text, [from.into()]);
        for row in self.read().query_all_raw(statement).await? {
            let (count, within): (i64, i32) = (row.try_get("", "n")?, row.try_get("", "within")?);
            let (status, tallied): (i16, Option<i16>) = (row.try_get("", "status")?, row.try_get("", "tallied")?);
            let Some(numbers) = of(all, &row)? else { continue };
            numbers.in_flight += count;
            let moves =
                [(tallied.and_then(MessageStatus::from_number), -count), (MessageStatus::from_number(status), count)];
            for (status, count) in moves {
                let Some(status) = status else { continue };
                *numbers.standing.entry(status).or_default() += count;
                if within == 1 {
                    *numbers.accepted.entry(status).or_default() += count;
                }
            }
        }
        Ok(())
    }

    /// The first of each lane; of two that wait, the one accepted first counts.
    async fn add_oldest_due(
        &self,
        senders: &[SenderId],
        all: &mut HashMap<SenderId, SenderNumbers>,
    ) -> Result<(), StoreError> {
        let text = "SELECT m.sender, m.accept_at_ms, m.request FROM {list} \
             CROSS JOIN (SELECT 1 AS lane UNION ALL SELECT 2 UNION ALL SELECT 3) l \
             JOIN messages m ON m.seq = (SELECT MIN(f.seq) FROM messages f \
               WHERE f.sender = c.value AND f.head IS NOT NULL AND f.head = l.lane)";
        for row in self.of_senders(senders, text, []).await? {
            let request: NewMessage = serde_json::from_str(&row.try_get::<String>("", "request")?)
                .map_err(|e| StoreError::Fault(format!("a message that waits cannot be read: {e}")))?;
            let due = request.send_at(row.try_get("", "accept_at_ms")?);
            if let Some(numbers) = of(all, &row)? {
                numbers.oldest_due_ms = Some(numbers.oldest_due_ms.map_or(due, |oldest| oldest.min(due)));
            }
        }
        Ok(())
    }

    async fn add_paces(
        &self,
        senders: &[SenderId],
        now: Millis,
        all: &mut HashMap<SenderId, SenderNumbers>,
    ) -> Result<(), StoreError> {
        let paces = "SELECT p.sender, p.slot_at_us, p.hold_until_ms, p.factor, p.factor_at_ms FROM {list} \
             JOIN paces p ON p.sender = c.value";
        for row in self.of_senders(senders, paces, []).await? {
            if let Some(numbers) = of(all, &row)? {
                numbers.pace = Some(super::pace::read(&row)?);
            }
        }
        let contacts = "SELECT k.sender, COUNT(*) AS n FROM {list} \
             JOIN contact_paces k ON k.sender = c.value AND k.hold_until_ms > $2 GROUP BY k.sender";
        for row in self.of_senders(senders, contacts, [now.into()]).await? {
            if let Some(numbers) = of(all, &row)? {
                numbers.held_contacts = row.try_get("", "n")?;
            }
        }
        Ok(())
    }

    /// Runs a query whose first parameter is the list of senders, each as `c.value`.
    async fn of_senders<const N: usize>(
        &self,
        senders: &[SenderId],
        text: &str,
        values: [Value; N],
    ) -> Result<Vec<QueryResult>, StoreError> {
        let backend = self.read().get_database_backend();
        let list = match backend {
            DbBackend::Postgres => "jsonb_array_elements_text(CAST($1 AS jsonb)) AS c(value)",
            _ => "json_each($1) AS c",
        };
        let ids: Vec<&str> = senders.iter().map(SenderId::as_str).collect();
        let ids = serde_json::to_string(&ids).map_err(|e| StoreError::Fault(e.to_string()))?;
        let text = text.replace("{list}", list);
        let values = std::iter::once(Value::from(ids)).chain(values);
        Ok(self.read().query_all_raw(rows::statement(backend, &text, values)).await?)
    }

    /// How the journal stands.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn journal_numbers(&self) -> Result<JournalNumbers, StoreError> {
        let text = "SELECT (SELECT COUNT(*) FROM journal WHERE pending IS NOT NULL) AS pending, \
             (SELECT receive_at_ms FROM journal WHERE pending IS NOT NULL ORDER BY id LIMIT 1) AS oldest, \
             (SELECT COUNT(*) FROM journal WHERE unreadable > 0) AS unreadable, \
             (SELECT COUNT(DISTINCT journal_id) FROM parked_reports WHERE journal_id IS NOT NULL AND NOT orphan) \
               AS parked";
        let statement = Statement::from_string(self.read().get_database_backend(), text);
        let Some(row) = self.read().query_one_raw(statement).await? else { return Ok(JournalNumbers::default()) };
        Ok(JournalNumbers {
            pending: row.try_get("", "pending")?,
            oldest_pending_ms: row.try_get("", "oldest")?,
            unreadable: row.try_get("", "unreadable")?,
            parked: row.try_get("", "parked")?,
        })
    }

    /// How many callbacks are to be tried, and how many of those that are kept were given up.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn callback_numbers(&self) -> Result<(i64, i64), StoreError> {
        let text = "SELECT (SELECT COUNT(*) FROM callbacks WHERE due_at_ms IS NOT NULL) AS pending, \
             (SELECT COUNT(*) FROM callbacks WHERE state = 3) AS dead";
        let statement = Statement::from_string(self.read().get_database_backend(), text);
        let Some(row) = self.read().query_one_raw(statement).await? else { return Ok((0, 0)) };
        Ok((row.try_get("", "pending")?, row.try_get("", "dead")?))
    }

    /// Forgets what was counted of minutes before a time, and rows of minutes in which nothing is left.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn forget_tallies(&self, before_ms: Millis) -> Result<u64, StoreError> {
        let text = "DELETE FROM tallies WHERE minute > 0 AND minute < $1";
        let statement = rows::statement(self.read().get_database_backend(), text, [tallies::minute(before_ms).into()]);
        Ok(self.inner.write.execute_raw(statement).await?.rows_affected())
    }
}

/// The numbers of the sender that a row is about.
fn of<'a>(
    all: &'a mut HashMap<SenderId, SenderNumbers>,
    row: &QueryResult,
) -> Result<Option<&'a mut SenderNumbers>, StoreError> {
    Ok(all.get_mut(&SenderId::trusted(row.try_get("", "sender")?)))
}
