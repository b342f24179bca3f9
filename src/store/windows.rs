//! The 24-hour windows of conversations. Whoever changes one, or holds a message for it, locks its row first and messages
//! after: so a message that is held while the person writes is either seen as held, or sees that they wrote.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend};
use serde_json::json;

use super::{StoreError, rows};
use crate::domain::window::{Window, WindowState};
use crate::domain::{Contact, Millis, SenderId};

/// A message that was refused although its person has written meanwhile is tried again after this long.
pub(super) const OPENED_MEANWHILE: Duration = Duration::from_secs(5);

/// A sender, and a person in one form of the number or by a user id.
pub(super) type Conversation = (SenderId, String);

/// What a call has to do with the window of its conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfWindow {
    /// Whose window.
    pub sender: SenderId,
    /// With whom.
    pub peer: String,
    /// The provider said that it is closed, about a hand-over that began then.
    pub refused_at_ms: Option<Millis>,
}

/// The windows that a batch speaks of, locked until the commit.
#[derive(Debug, Default)]
pub(super) struct Windows {
    rows: BTreeMap<(String, String), Row>,
    /// People who wrote.
    heard: BTreeSet<(String, String)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Row {
    window: Window,
    number: Option<String>,
    changed: bool,
}

impl Windows {
    /// Locks the windows of these conversations, in one order.
    pub async fn lock(
        transaction: &DatabaseTransaction,
        people: &[(&SenderId, &Contact)],
        conversations: impl IntoIterator<Item = Conversation>,
    ) -> Result<Self, StoreError> {
        let mut keys: BTreeSet<(String, String)> =
            conversations.into_iter().map(|(sender, peer)| (sender.to_string(), peer)).collect();
        for (sender, contact) in people {
            keys.extend(contact.conversations().into_iter().map(|peer| (sender.to_string(), peer)));
        }
        keys.extend(numbers(transaction, people).await?);
        if keys.is_empty() {
            return Ok(Self::default());
        }
        let backend = transaction.get_database_backend();
        let list = match backend {
            DbBackend::Postgres => "jsonb_to_recordset($1::jsonb) AS v(sender text, peer text)",
            _ => "(SELECT value ->> 'sender' AS sender, value ->> 'peer' AS peer FROM json_each($1)) AS v",
        };
        // The conflict's update is what locks a row that is there, and brings it back.
        let text = format!(
            "INSERT INTO windows (sender, peer) SELECT v.sender, v.peer FROM {list} WHERE true ORDER BY v.sender, v.peer \
             ON CONFLICT (sender, peer) DO UPDATE SET peer = excluded.peer \
             RETURNING sender, peer, heard_at_ms, expire_at_ms, refused_at_ms, number"
        );
        let all: Vec<_> = keys.iter().map(|(sender, peer)| json!({ "sender": sender, "peer": peer })).collect();
        let all: Value = json!(all).to_string().into();
        let mut windows = Self::default();
        for row in transaction.query_all_raw(rows::statement(backend, &text, [all])).await? {
            let window = Window {
                heard_at_ms: row.try_get("", "heard_at_ms")?,
                expire_at_ms: row.try_get("", "expire_at_ms")?,
                refused_at_ms: row.try_get("", "refused_at_ms")?,
            };
            let key = (row.try_get("", "sender")?, row.try_get("", "peer")?);
            windows.rows.insert(key, Row { window, number: row.try_get("", "number")?, changed: false });
        }
        Ok(windows)
    }

    /// How a window stands that was locked.
    pub fn state(&self, sender: &SenderId, peer: &str, now: Millis) -> WindowState {
        let key = (sender.to_string(), peer.to_owned());
        self.rows.get(&key).map_or(WindowState::Unknown, |row| row.window.state(now))
    }

    /// A person wrote. Whoever hides the number is the person that was last seen with it.
    pub fn heard(&mut self, sender: &SenderId, contact: &Contact, wrote_at_ms: Option<Millis>, receive_at_ms: Millis) {
        let known = contact.conversations();
        let number = known.iter().find(|peer| Some(*peer) != contact.user_id.as_ref()).cloned();
        let mut all: BTreeSet<String> = known.into_iter().collect();
        if let Some(user_id) = &contact.user_id
            && let Some(row) = self.rows.get_mut(&(sender.to_string(), user_id.clone()))
        {
            row.changed |= number.is_some() && row.number != number;
            row.number = number.or(row.number.take());
            all.extend(row.number.clone());
        }
        for peer in all {
            let key = (sender.to_string(), peer);
            if let Some(row) = self.rows.get_mut(&key) {
                row.window.heard(wrote_at_ms, receive_at_ms);
                row.changed = true;
                self.heard.insert(key);
            }
        }
    }

    /// The provider refused a hand-over, since the window was closed.
    pub fn refused(&mut self, sender: &SenderId, peer: &str, start_at_ms: Millis) {
        if let Some(row) = self.rows.get_mut(&(sender.to_string(), peer.to_owned())) {
            row.window.refused(start_at_ms);
            row.changed = true;
        }
    }

    /// Whose windows were opened, as senders and peers; what was written too long ago opens none.
    pub fn opened(&self, now: Millis) -> BTreeSet<(String, String)> {
        let is_open = |key: &&(String, String)| {
            self.rows.get(key).is_some_and(|row| matches!(row.window.state(now), WindowState::Open(_)))
        };
        self.heard.iter().filter(is_open).cloned().collect()
    }

    /// Writes back what changed.
    pub async fn write(self, transaction: &DatabaseTransaction) -> Result<(), StoreError> {
        let row = |((sender, peer), row): ((String, String), Row)| {
            json!({
                "sender": sender, "peer": peer, "number": row.number, "heard_at_ms": row.window.heard_at_ms,
                "expire_at_ms": row.window.expire_at_ms, "refused_at_ms": row.window.refused_at_ms,
            })
        };
        let changed: Vec<_> = self.rows.into_iter().filter(|(_, row)| row.changed).map(row).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let backend = transaction.get_database_backend();
        let list = match backend {
            DbBackend::Postgres => {
                "jsonb_to_recordset($1::jsonb) AS v(sender text, peer text, heard_at_ms bigint, expire_at_ms bigint, \
                 refused_at_ms bigint, number text)"
            }
            _ => {
                "(SELECT value ->> 'sender' AS sender, value ->> 'peer' AS peer, \
                 value ->> 'heard_at_ms' AS heard_at_ms, value ->> 'expire_at_ms' AS expire_at_ms, \
                 value ->> 'refused_at_ms' AS refused_at_ms, value ->> 'number' AS number FROM json_each($1)) AS v"
            }
        };
        let text = format!(
            "UPDATE windows SET heard_at_ms = v.heard_at_ms, expire_at_ms = v.expire_at_ms, \
             refused_at_ms = v.refused_at_ms, number = v.number FROM {list} \
             WHERE windows.sender = v.sender AND windows.peer = v.peer"
        );
        let changed: Value = json!(changed).to_string().into();
        transaction.execute_raw(rows::statement(backend, &text, [changed])).await?;
        Ok(())
    }
}

/// The numbers last seen with these people, of those who hide them.
async fn numbers(
    transaction: &DatabaseTransaction,
    people: &[(&SenderId, &Contact)],
) -> Result<Vec<(String, String)>, StoreError> {
    let hidden = |(sender, contact): &(&SenderId, &Contact)| match contact.conversations().as_slice() {
        [only] if Some(only) == contact.user_id.as_ref() => Some((sender.to_string(), only.clone())),
        _ => None,
    };
    let hidden: HashMap<String, Vec<String>> =
        people.iter().filter_map(hidden).fold(HashMap::new(), |mut by_sender, (sender, user_id)| {
            by_sender.entry(sender).or_insert_with(Vec::new).push(user_id);
            by_sender
        });
    let mut found = Vec::new();
    let backend = transaction.get_database_backend();
    let list = match backend {
        DbBackend::Postgres => "SELECT jsonb_array_elements_text($2::jsonb)",
        _ => "SELECT value FROM json_each($2)",
    };
    for (sender, user_ids) in hidden {
        let text = format!("SELECT number FROM windows WHERE sender = $1 AND number IS NOT NULL AND peer IN ({list})");
        let values: [Value; 2] = [sender.clone().into(), json!(user_ids).to_string().into()];
        for row in transaction.query_all_raw(rows::statement(backend, &text, values)).await? {
            found.push((sender.clone(), row.try_get("", "number")?));
        }
    }
    Ok(found)
}

/// Notes that a provider said later, by a status, that a window was closed when a message of at least that age was handed
/// over. Messages are locked already, so a window that somebody else has in hand is left to them: they heard the person.
pub(super) async fn refused_later(
    transaction: &DatabaseTransaction,
    refusals: Vec<(Conversation, Millis)>,
) -> Result<(), StoreError> {
    let backend = transaction.get_database_backend();
    let (lock, later) = match backend {
        DbBackend::Postgres => ("FOR UPDATE SKIP LOCKED", "greatest"),
        _ => ("", "max"),
    };
    let update = format!(
        "UPDATE windows SET refused_at_ms = {later}(COALESCE(refused_at_ms, 0), $3) WHERE peer = $2 AND sender IN \
         (SELECT sender FROM windows WHERE sender = $1 AND peer = $2 {lock})"
    );
    let insert =
        "INSERT INTO windows (sender, peer, refused_at_ms) VALUES ($1, $2, $3) ON CONFLICT (sender, peer) DO NOTHING";
    for ((sender, peer), at_ms) in refusals {
        let values = || -> [Value; 3] { [sender.as_str().into(), peer.clone().into(), at_ms.into()] };
        let updated = transaction.execute_raw(rows::statement(backend, &update, values())).await?.rows_affected();
        if updated == 0 {
            transaction.execute_raw(rows::statement(backend, insert, values())).await?;
        }
    }
    Ok(())
}
