//! Whether senders can send, as the replicas find it. A change and its event are one transaction, and of two replicas that
//! find the same, one tells.

use std::collections::HashMap;

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement};

use super::log::NewEvent;
use super::{Store, StoreError, rows};
use crate::domain::event::{SenderChange, SenderChanged};
use crate::domain::sender::SenderHealth;
use crate::domain::{Millis, Payload, SenderId};

/// Notes how a sender stands; its event, when that is news. That it works is no news of one that was never otherwise.
pub(super) async fn note(
    transaction: &DatabaseTransaction,
    sender: &SenderId,
    health: SenderHealth,
    now: Millis,
) -> Result<Option<NewEvent>, StoreError> {
    let backend = transaction.get_database_backend();
    let number = health as i16;
    let values = || -> [Value; 3] { [sender.as_str().into(), number.into(), now.into()] };
    let update = "UPDATE sender_health SET health = $2, change_at_ms = $3 WHERE sender = $1 AND health <> $2";
    let updated = transaction.execute_raw(rows::statement(backend, update, values())).await?.rows_affected();
    let insert = "INSERT INTO sender_health (sender, health, change_at_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let is_new = updated == 0
        && transaction.execute_raw(rows::statement(backend, insert, values())).await?.rows_affected() == 1
        && health != SenderHealth::Ok;
    if updated == 0 && !is_new {
        return Ok(None);
    }
    Ok(Some(NewEvent {
        sender: sender.clone(),
        payload: Payload::SenderChanged(changed(health)),
        json: None,
        occur_at_ms: None,
        receive_at_ms: now,
        report_key: None,
        callback: None,
    }))
}

fn changed(health: SenderHealth) -> SenderChanged {
    let (change, detail) = match health {
        SenderHealth::Ok => (SenderChange::Recovered, "it works again"),
        SenderHealth::CredentialsRefused => (
            SenderChange::CredentialsRefused,
            "the provider refuses the credentials; messages wait until UpdateSender sets new ones",
        ),
        SenderHealth::Unreachable => {
            (SenderChange::Unreachable, "the provider cannot be reached or fails; messages wait until one gets through")
        }
        SenderHealth::Blocked => {
            (SenderChange::Blocked, "the provider blocks the sender; messages wait until one gets through")
        }
    };
    SenderChanged { health: Some(health), ..SenderChanged::ours(change, detail) }
}

/// A sender that is deleted leaves nothing but what people asked for: who makes it again under the same id, such as at
/// another provider, must not write to those who opted out.
pub(super) async fn forget(transaction: &DatabaseTransaction, sender: &SenderId) -> Result<(), StoreError> {
    let backend = transaction.get_database_backend();
    for table in ["sender_health", "paces", "contact_paces", "known_failures", "windows"] {
        let text = format!("DELETE FROM {table} WHERE sender = $1");
        transaction.execute_raw(rows::statement(backend, &text, [sender.as_str().into()])).await?;
    }
    Ok(())
}

impl Store {
    /// How senders stand; those that never sent are not there.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn sender_health(&self) -> Result<HashMap<SenderId, SenderHealth>, StoreError> {
        let backend = self.read().get_database_backend();
        let text = "SELECT sender, health FROM sender_health";
        let rows = self.read().query_all_raw(Statement::from_string(backend, text)).await?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in rows {
            let number: i16 = row.try_get("", "health")?;
            let health = SenderHealth::from_number(number);
            let health = health.ok_or_else(|| StoreError::Fault(format!("{number} is no health of a sender")))?;
            found.insert(SenderId::trusted(row.try_get("", "sender")?), health);
        }
        Ok(found)
    }
}
