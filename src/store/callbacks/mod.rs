//! Callbacks: written with their events, posted by whoever has their endpoint in hand.
//!
//! An endpoint is an address without its query, of one sender. It is in hand under a lease, as a whole: so its order, its pace
//! and its troubles are one process's to know, and one that is dead costs a row, however much waits for it. The row is there
//! while there is work or trouble.
//!
//! On PostgreSQL the row's lock keeps two from missing each other: whoever adds a callback takes it before the commit, and
//! whoever lets go of an endpoint takes it before looking for work a last time. Rows of several endpoints are locked in the
//! order of their ids, and always behind the log's.

use std::collections::BTreeMap;
use std::sync::Arc;

use sea_orm::sea_query::Value;
use sea_orm::{ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult};
use url::{Position, Url};

use super::entity::callbacks;
use super::log::{self, Appended, NewEvent};
use super::{Store, StoreError, rows};
use crate::domain::callback::{CallbackState, CallbackTo, EndpointState, Standing};
use crate::domain::event::{Event, SenderChange, SenderChanged};
use crate::domain::{Millis, Payload, SenderId};

mod admin;
mod posts;

pub use admin::CallbackFilter;
pub use posts::EndedPost;

/// Callbacks of a disabled endpoint that are given up in one transaction.
const BURIED: i64 = 500;
/// Endpoints with work among which a claim chooses.
const CANDIDATES: i64 = 1_024;

/// An endpoint in hand, under the claim's own number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointClaim {
    /// Its id.
    pub id: String,
    /// The number.
    pub token: i64,
    /// Whose callbacks go there.
    pub sender: SenderId,
    /// Scheme, host and port.
    pub host: String,
    /// How it stands.
    pub standing: Standing,
}

/// Which endpoints a process can post to.
#[derive(Debug, Clone)]
pub struct EndpointsWanted {
    /// How many, at most.
    pub limit: usize,
    /// Of these at one host.
    pub per_host: usize,
    /// None of these hosts.
    pub full_hosts: Vec<String>,
    /// The number of the claim, of the caller's choice.
    pub token: i64,
    /// The end of the lease.
    pub until_ms: Millis,
}

/// What the id of an address is made of: its sender, and all of it but the query and the fragment.
fn endpoint_of(sender: &SenderId, url: &str) -> (String, String) {
    let parsed = Url::parse(url).ok();
    let (address, host) = match &parsed {
        Some(url) => (&url[..Position::AfterPath], &url[..Position::BeforePath]),
        // Checked when it was given; should it not read back, it is an endpoint of its own.
        None => (url, url),
    };
    (digest(&format!("{sender}\n{address}")), host.to_owned())
}

fn digest(text: &str) -> String {
    hex::encode(&ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref()[..16])
}

/// What is kept in order: a message's statuses, a conversation's messages.
fn line_of(event: &Event) -> String {
    match &event.payload {
        Payload::StatusChanged(status) => status.message_id.0.simple().to_string(),
        Payload::IncomingMessage(incoming) => digest(&format!("{}\n{}", event.sender, incoming.peer)),
        Payload::TemplateChanged(_) | Payload::SenderChanged(_) | Payload::ContactChanged(_) => String::new(),
    }
}

/// Writes callbacks beside their events, and sees to it that somebody takes their endpoints in hand. The log's row is locked.
pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    new: Vec<(Arc<Event>, CallbackTo)>,
) -> Result<(), StoreError> {
    let Some(now) = new.first().map(|(event, _)| event.record_at_ms) else { return Ok(()) };
    let mut models = Vec::with_capacity(new.len());
    let mut endpoints = BTreeMap::new();
    for (event, CallbackTo { url, previous }) in new {
        let Some(message_id) = event.payload.message_id() else { continue };
        let (endpoint, host) = endpoint_of(&event.sender, &url);
        endpoints.insert(endpoint.clone(), (event.sender.clone(), host));
        models.push(callbacks::ActiveModel {
            position: Set(event.position),
            id: Set(event.id.0),
            sender: Set(event.sender.to_string()),
            message_id: Set(message_id.0),
            url: Set(url),
            endpoint: Set(endpoint),
            line: Set(line_of(&event)),
            previous_status: Set(previous.map(|status| status as i16)),
            state: Set(CallbackState::Pending as i16),
            create_at_ms: Set(event.record_at_ms),
            due_at_ms: Set(Some(event.record_at_ms)),
            tries: Set(0),
            attempts: Set(0),
            end_at_ms: Set(None),
        });
    }
    rows::insert(transaction, models).await?;
    call_for(transaction, endpoints, now).await
}

/// Has endpoints taken in hand soon, unless they are in hand or held.
async fn call_for(
    transaction: &DatabaseTransaction,
    endpoints: BTreeMap<String, (SenderId, String)>,
    now: Millis,
) -> Result<(), StoreError> {
    if endpoints.is_empty() {
        return Ok(());
    }
    let backend = transaction.get_database_backend();
    // SQLite reads a conflict clause behind a bare SELECT as a join.
    let (later, fields, list) = match backend {
        DbBackend::Postgres => (
            "GREATEST",
            "p.value ->> 0, p.value ->> 1, p.value ->> 2",
            "jsonb_array_elements($1::jsonb) WITH ORDINALITY AS p(value, n) ORDER BY p.n",
        ),
        _ => ("MAX", "p.value ->> 0, p.value ->> 1, p.value ->> 2", "json_each($1) AS p WHERE true"),
    };
    let big = if backend == DbBackend::Postgres { "::bigint" } else { "" };
    let text = format!(
        "INSERT INTO callback_endpoints (id, sender, host, state, failures, hold_until_ms, change_at_ms, due_at_ms) \
         SELECT {fields}, 1, 0, 0, $2{big}, $2{big} FROM {list} \
         ON CONFLICT (id) DO UPDATE SET due_at_ms = {later}($2{big}, callback_endpoints.hold_until_ms) \
         WHERE callback_endpoints.claim IS NULL \
           AND (callback_endpoints.due_at_ms IS NULL OR callback_endpoints.due_at_ms > $2{big})"
    );
    let all: Vec<_> = endpoints.iter().map(|(id, (sender, host))| (id, sender, host)).collect();
    let all = serde_json::to_string(&all).map_err(|e| StoreError::Fault(e.to_string()))?;
    transaction.execute_raw(rows::statement(backend, &text, [Value::from(all), now.into()])).await?;
    Ok(())
}

/// An earlier callback of the same line is pending.
const BEHIND: &str = "EXISTS (SELECT 1 FROM callbacks b WHERE b.endpoint = c.endpoint AND b.line = c.line \
     AND b.position < c.position AND b.due_at_ms IS NOT NULL)";

impl Store {
    /// Whether an endpoint has work that is due, or one in hand has lost its lease.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn endpoints_due(&self, now: Millis) -> Result<bool, StoreError> {
        let text = "SELECT due_at_ms FROM callback_endpoints WHERE due_at_ms IS NOT NULL AND due_at_ms <= $1 LIMIT 1";
        let statement = rows::statement(self.read().get_database_backend(), text, [now.into()]);
        Ok(self.read().query_one_raw(statement).await?.is_some())
    }

    /// Takes endpoints that have work in hand, until the lease ends. The longest waiting first.
    ///
    /// # Errors
    /// When the store is away. Some may be in hand all the same, until their lease ends.
    pub async fn claim_endpoints(
        &self,
        wanted: &EndpointsWanted,
        now: Millis,
    ) -> Result<Vec<EndpointClaim>, StoreError> {
        let backend = self.inner.write.get_database_backend();
        let (skip_locked, hosts) = match backend {
            DbBackend::Postgres => ("FOR UPDATE SKIP LOCKED", "SELECT jsonb_array_elements_text($5::jsonb)"),
            _ => ("", "SELECT value FROM json_each($5)"),
        };
        let text = format!(
            "UPDATE callback_endpoints SET claim = $1, due_at_ms = $2 WHERE id IN ( \
               SELECT id FROM callback_endpoints WHERE due_at_ms IS NOT NULL AND due_at_ms <= $3 AND id IN ( \
                 SELECT id FROM ( \
                   SELECT id, due_at_ms, row_number() OVER (PARTITION BY host ORDER BY due_at_ms) AS n FROM ( \
                     SELECT id, host, due_at_ms FROM callback_endpoints \
                     WHERE due_at_ms IS NOT NULL AND due_at_ms <= $3 AND host NOT IN ({hosts}) \
                     ORDER BY due_at_ms LIMIT {CANDIDATES}) AS first) AS placed \
                 WHERE n <= $6 ORDER BY due_at_ms LIMIT $4) {skip_locked}) \
             RETURNING *"
        );
        let EndpointsWanted { limit, per_host, ref full_hosts, token, until_ms } = *wanted;
        let hosts = serde_json::to_string(full_hosts).map_err(|e| StoreError::Fault(e.to_string()))?;
        let values: [Value; 6] =
            [token.into(), until_ms.into(), now.into(), (limit as i64).into(), hosts.into(), (per_host as i64).into()];
        let found = self.inner.write.query_all_raw(rows::statement(backend, &text, values)).await?;
        let claim = |row: &QueryResult| -> Result<EndpointClaim, StoreError> {
            Ok(EndpointClaim {
                id: row.try_get("", "id")?,
                token,
                sender: SenderId::trusted(row.try_get("", "sender")?),
                host: row.try_get("", "host")?,
                standing: standing(row)?,
            })
        };
        found.iter().map(claim).collect()
    }

    /// Takes an endpoint in hand out of use, with an event; nothing when it is no longer in hand. What waits for it is given
    /// up when it is next taken in hand, at once.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn disable_endpoint(
        &self,
        claim: &EndpointClaim,
        state: EndpointState,
        now: Millis,
    ) -> Result<Option<Appended>, StoreError> {
        let transaction = self.begin().await?;
        // The log's row first, as everybody does.
        let places = log::take_places(&transaction, 1, now).await?;
        let text = "UPDATE callback_endpoints SET state = $3, change_at_ms = $4, claim = NULL, due_at_ms = $4 \
             WHERE id = $1 AND claim = $2 AND state = 1";
        let values: [Value; 4] = [claim.id.as_str().into(), claim.token.into(), (state as i16).into(), now.into()];
        let statement = rows::statement(transaction.get_database_backend(), text, values);
        if transaction.execute_raw(statement).await?.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(None);
        }
        let why = match state {
            EndpointState::Gone => "an endpoint answered 410 Gone",
            EndpointState::Disabled | EndpointState::Active => "an endpoint has failed for too long",
        };
        let detail = format!("{why}: callbacks to {} are given up until RetryCallbacks or UpdateSender", claim.host);
        let event = changed_event(&claim.sender, SenderChange::CallbacksDisabled, detail, now);
        let appended = log::append(&transaction, places, vec![event]).await?;
        transaction.commit().await?;
        Ok(Some(appended))
    }

    /// Gives up some of what waits for an endpoint that is out of use; tells how many: 0 when none is left.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn bury_callbacks(&self, endpoint: &str, now: Millis) -> Result<u64, StoreError> {
        let text = "UPDATE callbacks SET state = 3, due_at_ms = NULL, end_at_ms = $2 WHERE position IN ( \
               SELECT position FROM callbacks WHERE endpoint = $1 AND due_at_ms IS NOT NULL LIMIT $3)";
        let values: [Value; 3] = [endpoint.into(), now.into(), BURIED.into()];
        let statement = rows::statement(self.inner.write.get_database_backend(), text, values);
        let buried = self.inner.write.execute_raw(statement).await?.rows_affected();
        metrics::counter!("recado_callbacks_total", "outcome" => "dead").increment(buried);
        Ok(buried)
    }

    /// Lets go of an endpoint: it is taken in hand again when its next callback is due. One without work and trouble is
    /// forgotten.
    ///
    /// # Errors
    /// When the store is away; then its lease ends by itself.
    pub async fn release_endpoint(&self, id: &str, token: i64) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let backend = transaction.get_database_backend();
        let lock = if backend == DbBackend::Postgres { "FOR UPDATE" } else { "" };
        let text = format!("SELECT * FROM callback_endpoints WHERE id = $1 AND claim = $2 {lock}");
        let found = transaction.query_one_raw(rows::statement(backend, &text, [id.into(), token.into()])).await?;
        let Some(found) = found else {
            transaction.rollback().await?;
            return Ok(());
        };
        let standing = standing(&found)?;
        let text = format!(
            "SELECT c.due_at_ms FROM callbacks c WHERE c.endpoint = $1 AND c.due_at_ms IS NOT NULL AND NOT {BEHIND} \
             ORDER BY c.due_at_ms LIMIT 1"
        );
        let next = transaction.query_one_raw(rows::statement(backend, &text, [id.into()])).await?;
        let next: Option<Millis> = next.map(|row| row.try_get("", "due_at_ms")).transpose()?;
        let idle = next.is_none() && Standing { hold_until_ms: 0, ..standing } == Standing::GOOD;
        let (text, values): (_, Vec<Value>) = match idle {
            true => ("DELETE FROM callback_endpoints WHERE id = $1", vec![id.into()]),
            false => {
                let due = next.map(|next| next.max(standing.hold_until_ms));
                (
                    "UPDATE callback_endpoints SET claim = NULL, due_at_ms = $2 WHERE id = $1",
                    vec![id.into(), due.into()],
                )
            }
        };
        transaction.execute_raw(rows::statement(backend, text, values)).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Makes the leases of endpoints in hand longer. One that is locked just now is left to the next time.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn renew_endpoints(&self, held: &[(String, i64)], until_ms: Millis) -> Result<(), StoreError> {
        let backend = self.inner.write.get_database_backend();
        let (skip_locked, list) = match backend {
            DbBackend::Postgres => (
                "FOR UPDATE SKIP LOCKED",
                "SELECT p.value ->> 0, (p.value ->> 1)::bigint FROM jsonb_array_elements($2::jsonb) AS p(value)",
            ),
            _ => ("", "SELECT p.value ->> 0, p.value ->> 1 FROM json_each($2) AS p"),
        };
        let text = format!(
            "UPDATE callback_endpoints SET due_at_ms = $1 WHERE id IN ( \
               SELECT id FROM callback_endpoints WHERE (id, claim) IN ({list}) {skip_locked})"
        );
        let held = serde_json::to_string(held).map_err(|e| StoreError::Fault(e.to_string()))?;
        self.inner.write.execute_raw(rows::statement(backend, &text, [until_ms.into(), held.into()])).await?;
        Ok(())
    }

    /// Ends every lease at once: for a process that has the database alone, all of them are its dead predecessor's.
    pub(super) async fn end_endpoint_leases(&self, now: Millis) -> Result<(), StoreError> {
        let text = "UPDATE callback_endpoints SET claim = NULL, due_at_ms = $1 WHERE claim IS NOT NULL";
        let statement = rows::statement(self.inner.write.get_database_backend(), text, [now.into()]);
        self.inner.write.execute_raw(statement).await?;
        Ok(())
    }
}

fn standing(row: &QueryResult) -> Result<Standing, StoreError> {
    let number: i16 = row.try_get("", "state")?;
    let state = EndpointState::from_number(number);
    Ok(Standing {
        state: state.ok_or_else(|| StoreError::Fault(format!("{number} is no state of an endpoint")))?,
        failures: row.try_get("", "failures")?,
        failing_since_ms: row.try_get("", "failing_since_ms")?,
        hold_until_ms: row.try_get("", "hold_until_ms")?,
    })
}

fn changed_event(sender: &SenderId, change: SenderChange, detail: String, now: Millis) -> NewEvent {
    NewEvent {
        sender: sender.clone(),
        payload: Payload::SenderChanged(SenderChanged::ours(change, detail)),
        json: None,
        occur_at_ms: None,
        receive_at_ms: now,
        report_key: None,
        callback: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_without_its_query_of_one_sender() {
        let id = |sender: &str, url: &str| endpoint_of(&SenderId::trusted(sender.into()), url).0;
        let one = id("acme", "https://example.test/cb?order=1");
        for same in ["https://example.test/cb?order=2", "https://example.test/cb", "HTTPS://EXAMPLE.test:443/cb?x#y"] {
            assert_eq!(id("acme", same), one, "{same}");
        }
        for other in ["https://example.test/cb/", "http://example.test/cb", "https://example.test:8443/cb"] {
            assert_ne!(id("acme", other), one, "{other}");
        }
        assert_ne!(id("other", "https://example.test/cb"), one);
        let host = |url: &str| endpoint_of(&SenderId::trusted("acme".into()), url).1;
        assert_eq!(host("https://example.test/cb?x"), "https://example.test");
        assert_eq!(host("http://[2001:db8::1]:8080/cb"), "http://[2001:db8::1]:8080");
    }
}
