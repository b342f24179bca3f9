//! Claims: taking due messages in hand, under a lease.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult, Statement};

use super::{OfWindow, Store, StoreError, look_ups, pace, rows};
use crate::domain::message::Exchange;
use crate::domain::pace::Rate;
use crate::domain::progress::Next;
use crate::domain::{MessageId, MessageStatus, Millis, NewMessage, SenderId};

/// A message in hand. Its attempt is on disk as started: from here on, a crash leaves it in doubt.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Place of its ACCEPTED event.
    pub seq: i64,
    /// The claim's own number: an outcome is written only under it.
    pub token: i64,
    /// Its id.
    pub message_id: MessageId,
    /// The attempt that begins.
    pub attempt: i32,
    /// How often it was not taken.
    pub retries: i32,
    /// What was asked for.
    pub request: NewMessage,
    /// Whose turn it is, of [`NewMessage::sender_at`].
    pub turn: usize,
    /// When it may no longer be handed over.
    pub expire_at_ms: Millis,
    /// How long its slot is ahead: it must not be handed over before.
    pub wait: Duration,
    /// Something is noted about the person that may stand against it.
    pub noted: bool,
    /// Other content is handed over in the place of what was asked for.
    pub instead: bool,
}

/// Three probes of keys for each message that is claimed, in the claim's own statement: what another replica noted a moment
/// ago counts. SQLite forgets behind RETURNING what type a column has, and then walks through the whole key; the casts tell
/// it again.
const NOTED: &str = "CASE \
     WHEN EXISTS (SELECT 1 FROM opt_outs o WHERE o.sender = CAST(messages.sender AS text) \
       AND o.peer = CAST(messages.peer AS text)) THEN 1 \
     WHEN EXISTS (SELECT 1 FROM known_failures k WHERE k.sender = CAST(messages.sender AS text) \
       AND k.peer = CAST(messages.peer AS text)) THEN 1 \
     WHEN EXISTS (SELECT 1 FROM windows w WHERE w.sender = CAST(messages.sender AS text) \
       AND w.peer = CAST(messages.peer AS text)) THEN 1 \
     ELSE 0 END";

/// What a claim brought.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// Messages in hand, in the order in which they are to go.
    pub claims: Vec<Claim>,
    /// The sender's rate let through less than was asked for; how long until it lets through more.
    pub room_in: Option<Duration>,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct EndedCall {
    /// Which message.
    pub seq: i64,
    /// The claim's number.
    pub token: i64,
    /// Which attempt.
    pub attempt: i32,
    /// What follows.
    pub next: Next,
    /// What was said.
    pub exchange: Option<Arc<Exchange>>,
    /// Other content was handed over in the place of what was asked for.
    pub instead: bool,
    /// What it has to do with the window of its conversation; mostly nothing.
    pub of_window: Option<OfWindow>,
}

/// What a claim asks for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub sender: SenderId,
    pub limit: u64,
    pub token: i64,
    pub lease_ms: Millis,
    pub rate: Rate,
    /// So long after now the provider is asked what became of them, where it must be asked.
    pub look_up_ms: Option<Millis>,
}

/// Takes messages of a sender in hand, as many as are asked for and as its rate lets through.
pub(super) async fn claim(
    transaction: &DatabaseTransaction,
    wanted: &Wanted,
    now: Millis,
) -> Result<Claimed, StoreError> {
    let Some(per_second) = wanted.rate.per_second else {
        let claims = take(transaction, wanted, wanted.limit, now).await?;
        return Ok(Claimed { claims, room_in: None });
    };
    let (mut pace, now_us) = pace::load(transaction, &wanted.sender, now).await?;
    let room = pace.room(per_second, now_us);
    let mut claims = match room.min(wanted.limit) {
        0 => Vec::new(),
        limit => take(transaction, wanted, limit, now).await?,
    };
    if !claims.is_empty() {
        let waits = pace.take(claims.len(), per_second, now_us);
        for (claim, wait) in claims.iter_mut().zip(waits) {
            claim.wait = micros(wait);
        }
        pace::save(transaction, &wanted.sender, &pace).await?;
    }
    let full = room <= wanted.limit && claims.len() as u64 == room;
    Ok(Claimed { claims, room_in: full.then(|| micros(pace.room_in_us(now_us))) })
}

fn micros(us: i64) -> Duration {
    Duration::from_micros(us.max(0) as u64)
}

/// Takes up to `limit` heads of a sender: urgent lanes first, then in the order of acceptance (O10).
async fn take(
    transaction: &DatabaseTransaction,
    wanted: &Wanted,
    limit: u64,
    now: Millis,
) -> Result<Vec<Claim>, StoreError> {
    let contact = wanted.rate.contact();
    // A person whose allowance is used up holds back nobody else (O18).
    let allowed = match contact {
        Some(_) => {
            postpone(transaction, &wanted.sender, limit, now).await?;
            "AND NOT EXISTS (SELECT 1 FROM contact_paces p WHERE p.sender = m.sender AND p.peer = m.peer \
               AND p.hold_until_ms > $2)"
        }
        None => "",
    };
    let backend = transaction.get_database_backend();
    let text = format!(
        "UPDATE messages SET status = $1, status_at_ms = $2, attempt = attempt + 1, attempt_start_at_ms = $2, \
         claim = $3, lane = NULL, head = NULL, due_at_ms = $4 WHERE seq IN ( \
           SELECT m.seq FROM messages m WHERE m.sender = $5 AND m.head IS NOT NULL AND m.expire_at_ms > $2 {allowed} \
           ORDER BY m.head, m.seq LIMIT $6 {}) \
         RETURNING seq, id, attempt, retries, request, expire_at_ms, {NOTED} AS noted",
        skip_locked(backend)
    );
    let values: [Value; 6] = [
        (MessageStatus::Sending as i16).into(),
        now.into(),
        wanted.token.into(),
        (now + wanted.lease_ms).into(),
        wanted.sender.as_str().into(),
        (limit as i64).into(),
    ];
    let rows = transaction.query_all_raw(rows::statement(backend, &text, values)).await?;
    let mut claims = Vec::with_capacity(rows.len());
    for row in rows {
        claims.push(taken(&row, wanted)?);
    }
    if let Some(after) = wanted.look_up_ms {
        look_ups::schedule(transaction, claims.iter().map(|claim| claim.seq), now + after).await?;
    }
    // RETURNING gives no order.
    claims.sort_by_key(|claim| (claim.request.priority, claim.seq));
    if let Some(contact) = contact {
        let peers = claims.iter().map(|claim| claim.request.to.peer()).collect();
        pace::take_contacts(transaction, &wanted.sender, peers, contact, now).await?;
    }
    Ok(claims)
}

/// The claim of a row that was taken.
fn taken(row: &QueryResult, wanted: &Wanted) -> Result<Claim, StoreError> {
    let request: String = row.try_get("", "request")?;
    let message_id = MessageId(row.try_get("", "id")?);
    let request: NewMessage = serde_json::from_str(&request)
        .map_err(|e| StoreError::Fault(format!("message {message_id} cannot be read: {e}")))?;
    Ok(Claim {
        seq: row.try_get("", "seq")?,
        token: wanted.token,
        message_id,
        attempt: row.try_get("", "attempt")?,
        retries: row.try_get("", "retries")?,
        turn: request.turn_of(&wanted.sender).unwrap_or_default(),
        request,
        expire_at_ms: row.try_get("", "expire_at_ms")?,
        wait: Duration::ZERO,
        noted: row.try_get::<i32>("", "noted")? != 0,
        instead: false,
    })
}

/// Puts off the first `limit` heads as far as they are to people who may get nothing now: until they may, a timer has them,
/// and no claim walks past them again. A message that is to be sent again stays: were it put off, it would leave its line.
async fn postpone(
    transaction: &DatabaseTransaction,
    sender: &SenderId,
    limit: u64,
    now: Millis,
) -> Result<(), StoreError> {
    let backend = transaction.get_database_backend();
    let text = format!(
        "UPDATE messages SET lane = NULL, head = NULL, \
           due_at_ms = CASE WHEN h.hold_until_ms < expire_at_ms THEN h.hold_until_ms ELSE expire_at_ms END \
         FROM (SELECT f.seq, p.hold_until_ms FROM ( \
             SELECT m.seq, m.sender, m.peer FROM messages m \
             WHERE m.sender = $1 AND m.head IS NOT NULL AND m.status IN ({}, {}) \
             ORDER BY m.head, m.seq LIMIT $3 {}) f \
           JOIN contact_paces p ON p.sender = f.sender AND p.peer = f.peer WHERE p.hold_until_ms > $2) h \
         WHERE messages.seq = h.seq",
        MessageStatus::Accepted as i16,
        MessageStatus::Sending as i16,
        skip_locked(backend)
    );
    let values: [Value; 3] = [sender.as_str().into(), now.into(), (limit as i64).into()];
    transaction.execute_raw(rows::statement(backend, &text, values)).await?;
    Ok(())
}

fn skip_locked(backend: DbBackend) -> &'static str {
    if backend == DbBackend::Postgres { "FOR UPDATE OF m SKIP LOCKED" } else { "" }
}

/// Makes leases longer while calls go on: of messages by place and claim number, as far as they are still held. One that
/// another transaction has locked is passed over, since the log is locked here: a lease is renewed several times.
pub(super) async fn renew(
    transaction: &DatabaseTransaction,
    held: &[(i64, i64)],
    until_ms: Millis,
) -> Result<(), StoreError> {
    if held.is_empty() {
        return Ok(());
    }
    let backend = transaction.get_database_backend();
    let (one, list) = match backend {
        DbBackend::Postgres => ("CAST(c.value ->> 0 AS bigint)", "jsonb_array_elements(CAST($2 AS jsonb)) AS c(value)"),
        _ => ("c.value ->> 0", "json_each($2) AS c"),
    };
    let other = one.replace("->> 0", "->> 1");
    let text = format!(
        "UPDATE messages SET due_at_ms = $1 WHERE seq IN ( \
           SELECT m.seq FROM {list} JOIN messages m ON m.seq = {one} AND m.claim = {other} {})",
        skip_locked(backend)
    );
    let list = serde_json::to_string(held).map_err(|e| StoreError::Fault(e.to_string()))?;
    let values: [Value; 2] = [until_ms.into(), list.into()];
    transaction.execute_raw(rows::statement(backend, &text, values)).await?;
    Ok(())
}

impl Store {
    /// Senders that have messages ready to be claimed: one probe of the index for each, not a walk over the messages.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn ready_senders(&self) -> Result<Vec<SenderId>, StoreError> {
        let backend = self.read().get_database_backend();
        let text = "WITH RECURSIVE s(sender) AS ( \
             SELECT (SELECT sender FROM messages WHERE head IS NOT NULL ORDER BY sender LIMIT 1) \
             UNION ALL \
             SELECT (SELECT m.sender FROM messages m WHERE m.head IS NOT NULL AND m.sender > s.sender \
               ORDER BY m.sender LIMIT 1) FROM s WHERE s.sender IS NOT NULL) \
           SELECT sender FROM s WHERE sender IS NOT NULL";
        let rows = self.read().query_all_raw(Statement::from_string(backend, text)).await?;
        rows.into_iter().map(|row| Ok(SenderId::trusted(row.try_get("", "sender")?))).collect()
    }

    /// When the next timer runs out; `None` when none runs.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn next_due(&self) -> Result<Option<Millis>, StoreError> {
        use super::entity::messages::{Column, Entity};
        use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
        let next = Entity::find()
            .select_only()
            .column(Column::DueAtMs)
            .filter(Column::DueAtMs.is_not_null())
            .order_by_asc(Column::DueAtMs)
            .limit(1)
            .into_tuple::<i64>()
            .one(self.read())
            .await?;
        Ok(next)
    }

    /// Ends every lease, of messages and of files, and every stream's hold at once: for a process that has the database
    /// alone, all of them are its dead predecessor's. Tells how many messages were in hand.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn end_predecessor(&self, now: Millis) -> Result<u64, StoreError> {
        self.end_holds().await?;
        self.end_media_leases(now).await?;
        self.end_endpoint_leases(now).await?;
        use super::entity::messages::{Column, Entity};
        use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
        let result = Entity::update_many()
            .col_expr(Column::DueAtMs, super::set(now))
            .filter(Column::Claim.is_not_null())
            .filter(Column::DueAtMs.is_not_null())
            .exec(&self.inner.write)
            .await?;
        Ok(result.rows_affected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sqlite_looks_for_notes_by_the_key() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let text = format!("EXPLAIN QUERY PLAN UPDATE messages SET claim = 1 WHERE seq = 1 RETURNING {NOTED} AS noted");
        let rows = store.read().query_all_raw(Statement::from_string(DbBackend::Sqlite, text)).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
        for key in ["opt_outs", "known_failures", "windows"] {
            let by_key = plan.iter().any(|step| step.starts_with("SEARCH") && step.contains(key));
            assert!(by_key, "{key}: {plan:?}");
        }
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{plan:?}");
    }
}
