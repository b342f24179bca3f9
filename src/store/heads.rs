//! Heads: of each conversation only the first message that is not done may be claimed, and only heads are in the index that
//! claims read. So a claim costs the same whether one message waits for a person or a hundred thousand.
//!
//! Whoever appends to the log does so alone, and nobody makes or unmakes a head but under that lock, so two replicas never
//! judge one conversation at the same time. Rows that others hold are passed over: they hold them until they have the lock
//! themselves, and judge the conversation then.

use std::collections::{BTreeMap, HashSet};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend};

use super::{StoreError, rows};
use crate::domain::SenderId;

/// A sender's id and a person's digits.
pub(super) type Conversation = (String, String);

/// Conversations in which something moved, each with how many of its messages joined the line.
#[derive(Debug, Default)]
pub(super) struct Touched(BTreeMap<Conversation, u32>);

impl Touched {
    /// Something moved.
    pub fn moved(&mut self, conversation: Conversation) {
        self.0.entry(conversation).or_default();
    }

    /// A message joined the line, perhaps before others.
    pub fn joined(&mut self, conversation: Conversation) {
        *self.0.entry(conversation).or_default() += 1;
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The head of a new message `v`, computed by its insert: none where somebody stands in its line already. The lock of the log
/// must be held before the statement begins. A number is asked for, not NOT EXISTS, which PostgreSQL may answer by reading all
/// that wait into a hash.
pub(super) const OF_NEW: (&str, &str) = (
    "head",
    "CASE WHEN v.head IS NOT NULL AND (SELECT MIN(m.seq) FROM messages m \
       WHERE m.sender = v.sender AND m.holds IS NOT NULL AND m.holds = v.holds) IS NULL THEN v.head END",
);

/// What stands in line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: HashSet<Conversation>,
    /// Senders that have a new head.
    pub ready: HashSet<SenderId>,
}

impl Lines {
    /// A new message joins the end of its line; whether it is its head.
    pub fn join(&mut self, conversation: Conversation) -> bool {
        self.held.insert(conversation)
    }
}

/// The first message of a line.
struct First {
    seq: i64,
    conversation: Conversation,
    waits: bool,
}

/// Makes the first of each line its head, where it may be claimed, and no other; tells in which lines somebody stands, also of
/// the conversations that new messages are about to join, where their insert does not see to it ([`OF_NEW`]). The lock of the log must be held.
pub(super) async fn settle(
    transaction: &DatabaseTransaction,
    touched: Touched,
    joining: impl Iterator<Item = Conversation>,
) -> Result<Lines, StoreError> {
    let joined: Vec<(Conversation, u32)> =
        touched.0.iter().filter(|(_, joined)| **joined > 0).map(|(line, joined)| (line.clone(), *joined)).collect();
    let asked: HashSet<&Conversation> = touched.0.keys().collect();
    let joining: HashSet<Conversation> = joining.filter(|line| !asked.contains(line)).collect();
    let mut lines = Lines::default();
    if asked.is_empty() && joining.is_empty() {
        return Ok(lines);
    }
    let mut waiting = Vec::new();
    for First { seq, conversation, waits } in firsts(transaction, asked.into_iter().chain(&joining)).await? {
        if waits {
            lines.ready.insert(SenderId::trusted(conversation.0.clone()));
            waiting.push(seq);
        }
        lines.held.insert(conversation);
    }
    promote(transaction, waiting).await?;
    unmake_others(transaction, joined).await?;
    Ok(lines)
}

/// The first message of each conversation, where there is one, and whether it may be claimed and is no head yet.
async fn firsts(
    transaction: &DatabaseTransaction,
    conversations: impl Iterator<Item = &Conversation>,
) -> Result<Vec<First>, StoreError> {
    let backend = transaction.get_database_backend();
    let list = json(&conversations.collect::<Vec<_>>())?;
    let text = format!(
        "SELECT m.seq, m.sender, m.holds, CASE WHEN m.lane IS NOT NULL AND m.head IS NULL THEN 1 ELSE 0 END AS waits \
         FROM {} JOIN messages m ON m.seq = (SELECT MIN(f.seq) FROM messages f \
           WHERE f.sender = c.value ->> 0 AND f.holds IS NOT NULL AND f.holds = c.value ->> 1)",
        elements(backend)
    );
    let found = transaction.query_all_raw(rows::statement(backend, &text, [list.into()])).await?;
    let first = |row: sea_orm::QueryResult| {
        let waits: i32 = row.try_get("", "waits")?;
        let conversation = (row.try_get("", "sender")?, row.try_get("", "holds")?);
        Ok(First { seq: row.try_get("", "seq")?, conversation, waits: waits == 1 })
    };
    found.into_iter().map(first).collect()
}

async fn promote(transaction: &DatabaseTransaction, seqs: Vec<i64>) -> Result<(), StoreError> {
    if seqs.is_empty() {
        return Ok(());
    }
    let backend = transaction.get_database_backend();
    let text = format!(
        "UPDATE messages SET head = lane WHERE seq IN (SELECT m.seq FROM messages m \
           WHERE m.seq IN (SELECT CAST(c.value ->> 0 AS bigint) FROM {}) AND m.lane IS NOT NULL {})",
        elements(backend),
        skip_locked(backend)
    );
    let list = json(&seqs.into_iter().map(|seq| [seq]).collect::<Vec<_>>())?;
    transaction.execute_raw(rows::statement(backend, &text, [list.into()])).await?;
    Ok(())
}

/// A message whose time came may stand before one that is a head. That one was the first until then, so it is behind those
/// that joined, and not further.
async fn unmake_others(transaction: &DatabaseTransaction, joined: Vec<(Conversation, u32)>) -> Result<(), StoreError> {
    if joined.is_empty() {
        return Ok(());
    }
    let backend = transaction.get_database_backend();
    // SQLite's offset is no expression; a few texts serve every number.
    let furthest = joined.iter().map(|(_, joined)| *joined).max().unwrap_or(1).next_power_of_two();
    let of_line = "sender = c.value ->> 0 AND holds IS NOT NULL AND holds = c.value ->> 1";
    let text = format!(
        "UPDATE messages SET head = NULL WHERE seq IN (SELECT m.seq FROM {} JOIN messages m \
           ON m.sender = c.value ->> 0 AND m.holds IS NOT NULL AND m.holds = c.value ->> 1 \
         WHERE m.seq > (SELECT MIN(seq) FROM messages WHERE {of_line}) \
           AND m.seq <= COALESCE((SELECT seq FROM messages WHERE {of_line} ORDER BY seq LIMIT 1 \
             OFFSET {furthest}), m.seq) \
           AND m.head IS NOT NULL {})",
        elements(backend),
        skip_locked(backend)
    );
    let list = json(&joined.into_iter().map(|(line, _)| line).collect::<Vec<_>>())?;
    transaction.execute_raw(rows::statement(backend, &text, [list.into()])).await?;
    Ok(())
}

/// The elements of the list that is the first parameter, as `c.value`.
fn elements(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "jsonb_array_elements(CAST($1 AS jsonb)) AS c(value)",
        _ => "json_each($1) AS c",
    }
}

fn skip_locked(backend: DbBackend) -> &'static str {
    if backend == DbBackend::Postgres { "FOR UPDATE OF m SKIP LOCKED" } else { "" }
}

fn json(list: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(list).map_err(|e| StoreError::Fault(e.to_string()))
}
