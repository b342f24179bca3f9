//! What is due at an endpoint in hand, and what became of it.

use std::collections::{BTreeMap, HashMap};

use sea_orm::sea_query::Value;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, FromQueryResult,
    QueryFilter, QueryResult, QuerySelect,
};

use super::{BEHIND, standing};
use crate::domain::callback::{
    self, CallbackAttempt, CallbackState, CallbackTo, DueCallback, EndpointState, Next, Policy, Standing, Verdict,
};
use crate::domain::{MessageStatus, Millis};
use crate::store::entity::{callback_attempts, callbacks, events};
use crate::store::{Store, StoreError, log, rows, set};

/// Callbacks behind others that one look puts off.
const LOOKED_PAST: usize = 256;
/// How long they are put off. Called back they are sooner; this is for what a lost lease leaves.
const PUT_OFF_MS: Millis = 300_000;

/// A POST that ended.
#[derive(Debug, Clone)]
pub struct EndedPost {
    /// The endpoint that it went to.
    pub endpoint: String,
    /// The number under which the endpoint is in hand.
    pub token: i64,
    /// The event's place in the log.
    pub position: i64,
    /// What is kept of it; its number is given here.
    pub attempt: CallbackAttempt,
    /// What it showed.
    pub verdict: Verdict,
    /// Drawn evenly from 0 to 1.
    pub jitter: f64,
}

impl Store {
    /// Up to `limit` callbacks of an endpoint in hand whose turn has come: of each line the first that is pending. Those behind
    /// it are put off, so that nobody looks past them again until it has ended; `true`: there were too many of them, and the
    /// next call finds more. Not to be called while [`Store::posts_ended`] runs, which calls them back.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn due_callbacks(
        &self,
        endpoint: &str,
        now: Millis,
        limit: usize,
    ) -> Result<(Vec<DueCallback>, bool), StoreError> {
        let backend = self.read().get_database_backend();
        let text = format!(
            "SELECT c.position, CASE WHEN {BEHIND} THEN 1 ELSE 0 END AS behind FROM callbacks c \
             WHERE c.endpoint = $1 AND c.due_at_ms IS NOT NULL AND c.due_at_ms <= $2 \
             ORDER BY c.due_at_ms, c.position LIMIT $3"
        );
        let most = limit + LOOKED_PAST;
        let values: [Value; 3] = [endpoint.into(), now.into(), (most as i64).into()];
        let found = self.read().query_all_raw(rows::statement(backend, &text, values)).await?;
        let (mut first, mut behind) = (Vec::new(), Vec::new());
        for row in &found {
            let list = if row.try_get::<i32>("", "behind")? == 0 { &mut first } else { &mut behind };
            list.push(row.try_get::<i64>("", "position")?);
        }
        let more = found.len() == most && first.len() < limit;
        self.put_off(behind, now + PUT_OFF_MS).await?;
        first.truncate(limit);
        let list = match backend {
            DbBackend::Postgres => "SELECT p.value::bigint FROM jsonb_array_elements_text($1::jsonb) AS p(value)",
            _ => "SELECT value FROM json_each($1)",
        };
        let text = format!(
            "SELECT c.position AS place, c.url, c.previous_status, c.attempts, e.* \
             FROM callbacks c LEFT JOIN events e ON e.position = c.position \
             WHERE c.position IN ({list}) ORDER BY c.due_at_ms, c.position"
        );
        let first = serde_json::to_string(&first).map_err(|e| StoreError::Fault(e.to_string()))?;
        let found = self.read().query_all_raw(rows::statement(backend, &text, [first.into()])).await?;
        Ok((found.iter().map(due).collect::<Result<_, _>>()?, more))
    }

    async fn put_off(&self, positions: Vec<i64>, until_ms: Millis) -> Result<(), StoreError> {
        use callbacks::Column;
        for list in rows::lists(positions) {
            callbacks::Entity::update_many()
                .col_expr(Column::DueAtMs, set(until_ms))
                .filter(Column::Position.is_in(list))
                .filter(Column::DueAtMs.is_not_null())
                .exec(&self.inner.write)
                .await?;
        }
        Ok(())
    }

    /// Writes down how POSTs ended; gives how each one's endpoint stands now, or nothing where it is no longer in hand and
    /// nothing was written. One that should be out of use is given so and not yet written so: that is
    /// [`Store::disable_endpoint`]'s to do.
    ///
    /// # Errors
    /// When the store is away; then nothing was written.
    pub async fn posts_ended(
        &self,
        ended: &[EndedPost],
        policy: &Policy,
        now: Millis,
    ) -> Result<Vec<Option<Standing>>, StoreError> {
        let transaction = self.begin().await?;
        let mut standings = in_hand(&transaction, ended).await?;
        let pending = pending_of(&transaction, ended).await?;
        let (mut rows, mut attempts, mut done) = (Vec::new(), Vec::new(), Vec::new());
        let mut answers = Vec::with_capacity(ended.len());
        let mut changed = BTreeMap::new();
        for post in ended {
            let Some(standing) = standings.get_mut(&(post.endpoint.clone(), post.token)) else {
                answers.push(None);
                continue;
            };
            let after = standing.after(post.verdict, now, policy, post.jitter);
            if after != *standing {
                // Out of use is written with its event.
                changed.insert(post.endpoint.clone(), Standing { state: EndpointState::Active, ..after });
                *standing = after;
            }
            answers.push(Some(after));
            // Ended meanwhile by an operator or with its endpoint.
            let Some(&(tries, number)) = pending.get(&post.position) else { continue };
            let next = callback::next(post.verdict, tries + 1, now, policy, post.jitter);
            if !matches!(next, Next::RetryAt(_)) {
                done.push(post.position);
            }
            rows.push(row(post.position, next, tries + 1, number + 1, now));
            attempts.push(attempt(post, number + 1));
            count(post.verdict, next);
        }
        // Endpoints before callbacks, as everybody locks them.
        for (id, standing) in changed {
            write_standing(&transaction, &id, standing, now).await?;
        }
        rows::update(&transaction, "callbacks", ("position", "bigint"), COLUMNS, rows).await?;
        rows::insert(&transaction, attempts).await?;
        call_back(&transaction, done, now).await?;
        #[cfg(feature = "faults")]
        crate::faults::reach("posts", "written");
        transaction.commit().await?;
        #[cfg(feature = "faults")]
        crate::faults::reach("posts", "committed");
        Ok(answers)
    }
}

fn due(row: &QueryResult) -> Result<DueCallback, StoreError> {
    let kept: Option<i64> = row.try_get("", "position")?;
    let event = kept.map(|_| log::event(events::Model::from_query_result(row, "")?)).transpose()?;
    let previous: Option<i16> = row.try_get("", "previous_status")?;
    Ok(DueCallback {
        position: row.try_get("", "place")?,
        to: CallbackTo { url: row.try_get("", "url")?, previous: previous.and_then(MessageStatus::from_number) },
        attempts: row.try_get("", "attempts")?,
        event,
    })
}

/// The endpoints that these POSTs went to, as far as they are still in hand under the same numbers. Locked, unless nothing of
/// them will change.
async fn in_hand(
    transaction: &DatabaseTransaction,
    ended: &[EndedPost],
) -> Result<HashMap<(String, i64), Standing>, StoreError> {
    let mut ids: Vec<String> = ended.iter().map(|post| post.endpoint.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    let changes = ended.iter().any(|post| post.verdict != Verdict::Delivered);
    let backend = transaction.get_database_backend();
    let lock = if changes && backend == DbBackend::Postgres { "FOR UPDATE" } else { "" };
    let list = match backend {
        DbBackend::Postgres => "SELECT jsonb_array_elements_text($1::jsonb)",
        _ => "SELECT value FROM json_each($1)",
    };
    let text =
        format!("SELECT * FROM callback_endpoints WHERE claim IS NOT NULL AND id IN ({list}) ORDER BY id {lock}");
    let ids = serde_json::to_string(&ids).map_err(|e| StoreError::Fault(e.to_string()))?;
    let found = transaction.query_all_raw(rows::statement(backend, &text, [ids.into()])).await?;
    found.iter().map(|row| Ok(((row.try_get("", "id")?, row.try_get("", "claim")?), standing(row)?))).collect()
}

/// Tries and attempts so far of the callbacks that are still pending.
async fn pending_of(
    transaction: &DatabaseTransaction,
    ended: &[EndedPost],
) -> Result<HashMap<i64, (i32, i32)>, StoreError> {
    use callbacks::Column;
    let mut found = HashMap::with_capacity(ended.len());
    for list in rows::lists(ended.iter().map(|post| post.position).collect()) {
        let rows = callbacks::Entity::find()
            .select_only()
            .columns([Column::Position, Column::Tries, Column::Attempts])
            .filter(Column::Position.is_in(list))
            .filter(Column::DueAtMs.is_not_null())
            .into_tuple::<(i64, i32, i32)>()
            .all(transaction)
            .await?;
        found.extend(rows.into_iter().map(|(position, tries, attempts)| (position, (tries, attempts))));
    }
    Ok(found)
}

/// Has the next of each line posted, behind callbacks that ended.
async fn call_back(transaction: &DatabaseTransaction, done: Vec<i64>, now: Millis) -> Result<(), StoreError> {
    if done.is_empty() {
        return Ok(());
    }
    let backend = transaction.get_database_backend();
    let list = match backend {
        DbBackend::Postgres => "SELECT p.value::bigint FROM jsonb_array_elements_text($1::jsonb) AS p(value)",
        _ => "SELECT value FROM json_each($1)",
    };
    // One that was tried itself keeps its time.
    let text = format!(
        "UPDATE callbacks SET due_at_ms = $2 WHERE tries = 0 AND due_at_ms > $2 AND position IN ( \
           SELECT (SELECT b.position FROM callbacks b WHERE b.endpoint = c.endpoint AND b.line = c.line \
             AND b.due_at_ms IS NOT NULL ORDER BY b.position LIMIT 1) \
           FROM callbacks c WHERE c.position IN ({list}))"
    );
    let done = serde_json::to_string(&done).map_err(|e| StoreError::Fault(e.to_string()))?;
    transaction.execute_raw(rows::statement(backend, &text, [Value::from(done), now.into()])).await?;
    Ok(())
}

/// What the end of a POST may change, in the order of [`row`].
const COLUMNS: &[(&str, &str)] = &[
    ("state", "smallint"),
    ("due_at_ms", "bigint"),
    ("tries", "integer"),
    ("attempts", "integer"),
    ("end_at_ms", "bigint"),
];

fn row(position: i64, next: Next, tries: i32, attempts: i32, now: Millis) -> Vec<Value> {
    let (state, due, end) = match next {
        Next::Done => (CallbackState::Delivered, None, Some(now)),
        Next::RetryAt(at) => (CallbackState::Pending, Some(at), None),
        Next::GiveUp => (CallbackState::Dead, None, Some(now)),
    };
    vec![position.into(), (state as i16).into(), due.into(), tries.into(), attempts.into(), end.into()]
}

fn attempt(post: &EndedPost, number: i32) -> callback_attempts::ActiveModel {
    let CallbackAttempt { start_at_ms, elapsed_ms, http_status, answer, .. } = &post.attempt;
    callback_attempts::ActiveModel {
        position: Set(post.position),
        number: Set(number),
        start_at_ms: Set(*start_at_ms),
        elapsed_ms: Set(*elapsed_ms),
        http_status: Set(http_status.map(i32::from)),
        // PostgreSQL holds no NUL.
        answer: Set(answer.replace('\0', " ")),
    }
}

fn count(verdict: Verdict, next: Next) {
    let outcome = match (verdict, next) {
        (_, Next::Done) => "delivered",
        (_, Next::RetryAt(_)) => "retried",
        (_, Next::GiveUp) => "dead",
    };
    metrics::counter!("recado_callbacks_total", "outcome" => outcome).increment(1);
}

async fn write_standing(
    transaction: &DatabaseTransaction,
    id: &str,
    standing: Standing,
    now: Millis,
) -> Result<(), StoreError> {
    let text = "UPDATE callback_endpoints SET state = $2, failures = $3, failing_since_ms = $4, hold_until_ms = $5, \
         change_at_ms = $6 WHERE id = $1";
    let values: [Value; 6] = [
        id.into(),
        (standing.state as i16).into(),
        standing.failures.into(),
        standing.failing_since_ms.into(),
        standing.hold_until_ms.into(),
        now.into(),
    ];
    transaction.execute_raw(rows::statement(transaction.get_database_backend(), text, values)).await?;
    Ok(())
}
