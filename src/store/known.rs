//! What is known of people before messages are handed over to them: one statement for all messages of a claim.

use std::collections::HashMap;

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult};
use serde::de::DeserializeOwned;

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
        let together = match backend {
            DbBackend::Postgres => "string_agg",
            _ => "group_concat",
        };
        let documents = |table: &str| {
            format!("(SELECT {together}(document, ',') FROM {table} t WHERE t.sender = $1 AND t.peer = p.value)")
        };
        let (opt_outs, failures) = (documents("opt_outs"), documents("known_failures"));
        let text = format!(
            "SELECT p.value AS peer, w.heard_at_ms, w.expire_at_ms, w.refused_at_ms, {opt_outs} AS opt_outs, \
             {failures} AS failures FROM {list} AS p(value) LEFT JOIN windows w ON w.sender = $1 AND w.peer = p.value"
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
            let (opt_outs, failures) = (all(&row, "opt_outs")?, all(&row, "failures")?);
            known.insert(row.try_get("", "peer")?, Known { window, opt_outs, failures });
        }
        Ok(known)
    }
}

/// The documents of a column that holds them one after the other, with commas between.
fn all<T: DeserializeOwned>(row: &QueryResult, column: &str) -> Result<Vec<T>, StoreError> {
    let Some(documents) = row.try_get::<Option<String>>("", column)? else { return Ok(Vec::new()) };
    serde_json::from_str(&format!("[{documents}]"))
        .map_err(|e| StoreError::Fault(format!("{column} of a person cannot be read: {e}")))
}
