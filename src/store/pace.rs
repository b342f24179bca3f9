//! The paces of senders and contacts, as all replicas share them.

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult, Statement};

use super::{Store, StoreError, rows};
use crate::domain::pace::Pace;
use crate::domain::{MessageStatus, Millis, SenderId};

/// A sender's pace, locked until the commit, and the clock that all replicas share: the database's, where it has one.
pub(super) async fn load(
    transaction: &DatabaseTransaction,
    sender: &SenderId,
    now: Millis,
) -> Result<(Pace, i64), StoreError> {
    let backend = transaction.get_database_backend();
    let (lock, clock) = match backend {
        DbBackend::Postgres => ("FOR UPDATE", "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"),
        _ => ("", "0"),
    };
    let fresh = Pace::default();
    let insert = "INSERT INTO paces (sender, slot_at_us, hold_until_ms, factor, factor_at_ms) VALUES ($1, 0, 0, 1, 0) \
         ON CONFLICT (sender) DO NOTHING";
    let select = format!(
        "SELECT slot_at_us, hold_until_ms, factor, factor_at_ms, {clock} AS now_us FROM paces WHERE sender = $1 {lock}"
    );
    let ask = || rows::statement(backend, &select, [sender.as_str().into()]);
    let mut row = transaction.query_one_raw(ask()).await?;
    if row.is_none() {
        transaction.execute_raw(rows::statement(backend, insert, [sender.as_str().into()])).await?;
        row = transaction.query_one_raw(ask()).await?;
    }
    let Some(row) = row else { return Ok((fresh, now * 1_000)) };
    let now_us: i64 = row.try_get("", "now_us")?;
    Ok((read(&row)?, if now_us == 0 { now * 1_000 } else { now_us }))
}

/// A pace as its row has it.
pub(super) fn read(row: &QueryResult) -> Result<Pace, StoreError> {
    Ok(Pace {
        slot_at_us: row.try_get("", "slot_at_us")?,
        hold_until_ms: row.try_get("", "hold_until_ms")?,
        factor: row.try_get("", "factor")?,
        factor_at_ms: row.try_get("", "factor_at_ms")?,
    })
}

pub(super) async fn save(transaction: &DatabaseTransaction, sender: &SenderId, pace: &Pace) -> Result<(), StoreError> {
    let text = "UPDATE paces SET slot_at_us = $2, hold_until_ms = $3, factor = $4, factor_at_ms = $5 WHERE sender = $1";
    let values: [Value; 5] = [
        sender.as_str().into(),
        pace.slot_at_us.into(),
        pace.hold_until_ms.into(),
        pace.factor.into(),
        pace.factor_at_ms.into(),
    ];
    transaction.execute_raw(rows::statement(transaction.get_database_backend(), text, values)).await?;
    Ok(())
}

/// The provider throttled the sender.
pub(super) async fn throttled(
    transaction: &DatabaseTransaction,
    sender: &SenderId,
    retry_after_ms: Option<Millis>,
    now: Millis,
) -> Result<(), StoreError> {
    let (mut pace, now_us) = load(transaction, sender, now).await?;
    pace.throttled(retry_after_ms, now_us / 1_000);
    save(transaction, sender, &pace).await
}

/// The provider says that so much of its limit is used.
pub(super) async fn strained(
    transaction: &DatabaseTransaction,
    sender: &SenderId,
    used: f64,
    now: Millis,
) -> Result<(), StoreError> {
    let (mut pace, now_us) = load(transaction, sender, now).await?;
    pace.strained(used, now_us / 1_000);
    save(transaction, sender, &pace).await
}

/// Takes one message off the allowance of each of these people, all different; `(interval, ahead)` as [`crate::domain::pace::Rate::contact`]
/// gives them.
pub(super) async fn take_contacts(
    transaction: &DatabaseTransaction,
    sender: &SenderId,
    peers: Vec<String>,
    (interval, ahead): (Millis, Millis),
    now: Millis,
) -> Result<(), StoreError> {
    if peers.is_empty() {
        return Ok(());
    }
    let backend = transaction.get_database_backend();
    // PostgreSQL takes the type of a bare parameter from its first use, and sums of two from nowhere. SQLite reads a conflict
    // clause behind a bare SELECT as a join.
    let (later, big, list) = match backend {
        DbBackend::Postgres => ("greatest", "::bigint", "jsonb_array_elements_text($2::jsonb) AS p(value)"),
        _ => ("max", "", "json_each($2) AS p WHERE true"),
    };
    let text = format!(
        "INSERT INTO contact_paces (sender, peer, whole_at_ms, hold_until_ms) \
         SELECT $1, p.value, $3{big} + $4{big}, $3{big} + $4{big} - $5{big} FROM {list} \
         ON CONFLICT (sender, peer) DO UPDATE SET \
           whole_at_ms = {later}(contact_paces.whole_at_ms, $3{big}) + $4{big}, \
           hold_until_ms = {later}(contact_paces.whole_at_ms, $3{big}) + $4{big} - $5{big}"
    );
    // In one order, so that two replicas never wait for each other.
    let mut peers = peers;
    peers.sort_unstable();
    let peers = serde_json::to_string(&peers).map_err(|e| StoreError::Fault(e.to_string()))?;
    let values: [Value; 5] = [sender.as_str().into(), peers.into(), now.into(), interval.into(), ahead.into()];
    transaction.execute_raw(rows::statement(backend, &text, values)).await?;
    Ok(())
}

impl Store {
    /// Begins the allowances of all people of a sender anew, for a limit that was changed; those who were put off are looked
    /// at again at once.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn forget_contact_limits(&self, sender: &SenderId) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let backend = transaction.get_database_backend();
        let forget = "DELETE FROM contact_paces WHERE sender = $1";
        // What waits behind another message has a lane; what waits for its retry is SENDING.
        let look = format!(
            "UPDATE messages SET due_at_ms = 0 WHERE sender = $1 AND holds IS NOT NULL AND lane IS NULL \
             AND claim IS NULL AND status = {}",
            MessageStatus::Accepted as i16
        );
        for text in [forget, &look] {
            transaction.execute_raw(rows::statement(backend, text, [sender.as_str().into()])).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets people whose allowance is whole again.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn forget_contact_paces(&self, now: Millis) -> Result<u64, StoreError> {
        let backend = self.read().get_database_backend();
        let text = "DELETE FROM contact_paces WHERE whole_at_ms < $1";
        let statement: Statement = rows::statement(backend, text, [now.into()]);
        Ok(self.inner.write.execute_raw(statement).await?.rows_affected())
    }
}
