//! What is known of people before messages are handed over to them: one statement for all messages of a claim.

use std::collections::HashMap;

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DbBackend};

use super::{Store, StoreError, rows};
use crate::domain::SenderId;
use crate::domain::judge::Known;
use crate::domain::window::Window;

impl Store {
    /// What a sender knows of these people, by [`crate::domain::PhoneNumber::peer`]. Each kind of knowledge is one more join
    /// of the same statement.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn known(&self, sender: &SenderId, peers: &[String]) -> Result<HashMap<String, Known>, StoreError> {
        let backend = self.read().get_database_backend();
        let list = match backend {
            DbBackend::Postgres => "jsonb_array_elements_text($2::jsonb)",
            _ => "json_each($2)",
        };
        let text = format!(
            "SELECT p.value AS peer, w.heard_at_ms, w.expire_at_ms, w.refused_at_ms FROM {list} AS p(value) \
             LEFT JOIN windows w ON w.sender = $1 AND w.peer = p.value"
        );
        // SQLite names the columns of its function itself.
        let text = if backend == DbBackend::Postgres { text } else { text.replace("p(value)", "p") };
        let peers = serde_json::to_string(peers).map_err(|e| StoreError::Fault(e.to_string()))?;
        let values: [Value; 2] = [sender.as_str().into(), peers.into()];
        let found = self.read().query_all_raw(rows::statement(backend, &text, values)).await?;
        let mut known = HashMap::with_capacity(found.len());
        for row in found {
            let window = Window {
                heard_at_ms: row.try_get("", "heard_at_ms")?,
                expire_at_ms: row.try_get("", "expire_at_ms")?,
                refused_at_ms: row.try_get("", "refused_at_ms")?,
            };
            known.insert(row.try_get("", "peer")?, Known { window });
        }
        Ok(known)
    }
}
