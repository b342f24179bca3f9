//! Whose people there is something noted about, as far as this process knows: where nothing is, nothing is asked.
//!
//! Another replica's note is seen within seconds. Nothing that must be exact goes by this: the claim looks for itself.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use sea_orm::{ConnectionTrait, Statement};

use super::{Store, StoreError};
use crate::domain::SenderId;

/// Kinds of notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Note {
    /// Somebody does not want to be written to.
    OptOut,
    /// A provider will refuse somebody again.
    Failure,
}

/// The senders that have notes of a kind.
#[derive(Debug, Default)]
pub(super) struct Noted(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    senders: HashSet<(Note, SenderId)>,
    /// Grows with each note: a reading that began before one must not take it back.
    revision: u64,
}

impl Noted {
    /// Whether a sender has notes of a kind.
    pub fn has(&self, note: Note, sender: &SenderId) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        !known.senders.is_empty() && known.senders.contains(&(note, sender.clone()))
    }

    /// Notes were committed.
    pub fn add(&self, notes: impl IntoIterator<Item = (Note, SenderId)>) {
        let mut notes = notes.into_iter().peekable();
        if notes.peek().is_some() {
            let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
            known.revision += 1;
            known.senders.extend(notes);
        }
    }

    fn revision(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).revision
    }

    fn replace(&self, senders: HashSet<(Note, SenderId)>, revision: u64) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.revision == revision {
            known.senders = senders;
        }
    }
}

impl Store {
    /// Reads which senders have notes about people, which other replicas may have made or dropped.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn refresh_noted(&self) -> Result<(), StoreError> {
        let revision = self.inner.noted.revision();
        let mut senders = HashSet::new();
        for (note, table) in [(Note::OptOut, "opt_outs"), (Note::Failure, "known_failures")] {
            senders.extend(self.senders_in(table).await?.into_iter().map(|sender| (note, sender)));
        }
        self.inner.noted.replace(senders, revision);
        Ok(())
    }

    /// One probe of the key for each sender, not a walk over its people.
    async fn senders_in(&self, table: &str) -> Result<Vec<SenderId>, StoreError> {
        let text = format!(
            "WITH RECURSIVE s(sender) AS ( \
               SELECT (SELECT sender FROM {table} ORDER BY sender LIMIT 1) \
               UNION ALL \
               SELECT (SELECT t.sender FROM {table} t WHERE t.sender > s.sender ORDER BY t.sender LIMIT 1) \
                 FROM s WHERE s.sender IS NOT NULL) \
             SELECT sender FROM s WHERE sender IS NOT NULL"
        );
        let statement = Statement::from_string(self.read().get_database_backend(), text);
        let rows = self.read().query_all_raw(statement).await?;
        rows.into_iter().map(|row| Ok(SenderId::trusted(row.try_get("", "sender")?))).collect()
    }
}
