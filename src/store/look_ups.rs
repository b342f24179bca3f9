//! Messages that a provider is to be asked after: when, and what it answered.

use std::time::Duration;

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement};

use super::{Store, StoreError, rows};
use crate::domain::{MessageId, MessageStatus, Millis, NewMessage, SenderId};
use crate::provider::{HandedOver, StatusReport};

/// A message whose turn has come.
#[derive(Debug, Clone)]
pub struct LookUp {
    /// Whose provider to ask.
    pub sender: SenderId,
    /// What to ask after.
    pub message: HandedOver,
}

/// What a provider answered about messages of a sender.
#[derive(Debug, Clone)]
pub struct LookedUp {
    /// Whose provider it was.
    pub sender: SenderId,
    /// When it answered.
    pub receive_at_ms: Millis,
    /// What it said.
    pub reports: Vec<StatusReport>,
}

/// When to ask: so long after the hand-over began, rising.
pub(super) fn next_after(plan: &[Duration], start_at_ms: Millis, now: Millis) -> Option<Millis> {
    let at = |after: &Duration| start_at_ms.saturating_add(Millis::try_from(after.as_millis()).unwrap_or(Millis::MAX));
    plan.iter().map(at).find(|at| *at > now)
}

/// Notes when to ask first after messages that are taken in hand now. It is on disk before the provider hears of them, so a
/// crash during the call changes nothing.
pub(super) async fn schedule(
    transaction: &DatabaseTransaction,
    seqs: impl Iterator<Item = i64>,
    at_ms: Millis,
) -> Result<(), StoreError> {
    let row = |seq: i64| -> Vec<Value> { vec![seq.into(), at_ms.into()] };
    write(transaction, seqs.map(row).collect()).await
}

async fn write(transaction: &DatabaseTransaction, changed: Vec<Vec<Value>>) -> Result<(), StoreError> {
    rows::update(transaction, "messages", ("seq", "bigint"), &[("look_up_at_ms", "bigint")], changed).await?;
    Ok(())
}

/// Takes up to `limit` messages whose turn has come, and notes when it comes again. Whoever takes one asks after it; another
/// replica finds the next time there. Should the one that took it end before it has asked, the next time makes up for it.
pub(super) async fn take(
    transaction: &DatabaseTransaction,
    plan: &[Duration],
    limit: u64,
    now: Millis,
) -> Result<Vec<LookUp>, StoreError> {
    let backend = transaction.get_database_backend();
    let postgres = backend == DbBackend::Postgres;
    let skip_locked = if postgres { "FOR UPDATE OF m SKIP LOCKED" } else { "" };
    let text = format!(
        "SELECT m.seq, m.id, m.sender, m.request, m.status, m.provider_message_id, \
           COALESCE(a.start_at_ms, m.attempt_start_at_ms) AS start_at_ms \
         FROM messages m LEFT JOIN attempts a ON a.message_seq = m.seq AND a.number = m.attempt \
         WHERE m.look_up_at_ms IS NOT NULL AND m.look_up_at_ms <= $1 ORDER BY m.look_up_at_ms LIMIT $2 {skip_locked}"
    );
    let values: [Value; 2] = [now.into(), (limit as i64).into()];
    let found = transaction.query_all_raw(rows::statement(backend, &text, values)).await?;
    let (mut due, mut changed) = (Vec::new(), Vec::with_capacity(found.len()));
    for row in found {
        let status = MessageStatus::from_number(row.try_get("", "status")?);
        let start_at_ms: Option<Millis> = row.try_get("", "start_at_ms")?;
        let (ask, again) = turn(status);
        let next = start_at_ms.filter(|_| again).and_then(|start| next_after(plan, start, now));
        changed.push(vec![row.try_get::<i64>("", "seq")?.into(), next.into()]);
        let Some(attempt_start_at_ms) = start_at_ms.filter(|_| ask) else { continue };
        let message_id = MessageId(row.try_get("", "id")?);
        let request: NewMessage = serde_json::from_str(&row.try_get::<String>("", "request")?)
            .map_err(|e| StoreError::Fault(format!("message {message_id} cannot be read: {e}")))?;
        let message = HandedOver {
            message_id,
            provider_message_id: row.try_get("", "provider_message_id")?,
            to: request.to,
            content: request.content,
            attempt_start_at_ms,
        };
        due.push(LookUp { sender: SenderId::trusted(row.try_get("", "sender")?), message });
    }
    write(transaction, changed).await?;
    Ok(due)
}

/// Whether to ask after a message that stands there, and whether its turn comes again. One that is under way or between two
/// tries may be there next time; of one that was delivered it may be known that it was read.
fn turn(status: Option<MessageStatus>) -> (bool, bool) {
    match status {
        Some(MessageStatus::Sent | MessageStatus::InDoubt | MessageStatus::Delivered) => (true, true),
        Some(status) if status.is_waiting() => (false, true),
        _ => (false, false),
    }
}

impl Store {
    /// When a provider is to be asked next; `None` when nothing is to be asked.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn next_look_up(&self) -> Result<Option<Millis>, StoreError> {
        let text = "SELECT look_up_at_ms FROM messages WHERE look_up_at_ms IS NOT NULL ORDER BY look_up_at_ms LIMIT 1";
        let statement = Statement::from_string(self.read().get_database_backend(), text);
        let row = self.read().query_one_raw(statement).await?;
        row.map(|row| Ok(row.try_get("", "look_up_at_ms")?)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_counts_from_the_hand_over_and_has_an_end() {
        let plan = [60, 300, 1_800].map(Duration::from_secs);
        for (now, next) in [
            (0, Some(60_000)),
            (59_999, Some(60_000)),
            (60_000, Some(300_000)),
            // A gateway that was away asks once for all the times that it missed.
            (400_000, Some(1_800_000)),
            (1_800_000, None),
        ] {
            assert_eq!(next_after(&plan, 0, now), next, "{now}");
        }
        assert_eq!(next_after(&plan, Millis::MAX - 1, 0), Some(Millis::MAX));
        assert_eq!(next_after(&[], 0, 0), None);
    }

    #[test]
    fn what_is_final_is_not_asked_after() {
        use MessageStatus::*;
        for status in MessageStatus::ALL {
            let expected = match status {
                Sent | InDoubt | Delivered => (true, true),
                Accepted | Scheduled | Held | Sending => (false, true),
                Read | Played | Failed | Expired | Cancelled => (false, false),
            };
            assert_eq!(turn(Some(status)), expected, "{status:?}");
        }
        assert_eq!(turn(None), (false, false));
    }
}
