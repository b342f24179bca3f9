//! What waits for a sender, and how fast it goes: read for a plan, and nothing changed.

use sea_orm::ConnectionTrait;
use sea_orm::sea_query::Value;

use super::{Store, StoreError, rows};
use crate::domain::message::Priority;
use crate::domain::pace::{ContactPace, Pace};
use crate::domain::plan::Outlook;
use crate::domain::{Millis, SenderId};

/// What waits is counted up to here: a plan must not cost more the more waits.
const COUNTED: i64 = 10_000;

impl Store {
    /// What stands before a message of this priority to this person.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn outlook(&self, sender: &SenderId, peer: &str, priority: Priority) -> Result<Outlook, StoreError> {
        let count = |which: &str| {
            format!(
                "(SELECT COUNT(*) FROM (SELECT 1 FROM messages WHERE sender = $1 AND {which} LIMIT {COUNTED}) AS c)"
            )
        };
        let text = format!(
            "SELECT {queue} AS queue, {ahead} AS ahead, {conversation} AS conversation, \
               (SELECT whole_at_ms FROM contact_paces WHERE sender = $1 AND peer = $2) AS whole_at_ms, \
               p.slot_at_us, p.hold_until_ms, p.factor, p.factor_at_ms \
             FROM (SELECT 1 AS one) AS o LEFT JOIN paces p ON p.sender = $1",
            queue = count("holds IS NOT NULL AND lane IS NOT NULL"),
            ahead = count("holds IS NOT NULL AND lane IS NOT NULL AND lane <= $3"),
            conversation = count("holds IS NOT NULL AND holds = $2"),
        );
        let values: [Value; 3] = [sender.as_str().into(), peer.into(), (priority as i16).into()];
        let statement = rows::statement(self.read().get_database_backend(), &text, values);
        let Some(row) = self.read().query_one_raw(statement).await? else { return Ok(Outlook::default()) };
        let number = |column: &str| -> Result<u64, StoreError> { Ok(row.try_get::<i64>("", column)?.unsigned_abs()) };
        let pace = match row.try_get::<Option<i64>>("", "slot_at_us")? {
            Some(slot_at_us) => Pace {
                slot_at_us,
                hold_until_ms: row.try_get("", "hold_until_ms")?,
                factor: row.try_get("", "factor")?,
                factor_at_ms: row.try_get("", "factor_at_ms")?,
            },
            None => Pace::default(),
        };
        let whole_at_ms: Option<Millis> = row.try_get("", "whole_at_ms")?;
        Ok(Outlook {
            pace,
            contact: ContactPace { whole_at_ms: whole_at_ms.unwrap_or_default() },
            queue: number("queue")?,
            ahead: number("ahead")?,
            conversation: number("conversation")?,
        })
    }
}
