//! What providers said about people and will say again: learnt from the events of a batch, dropped when a person is heard.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend};

use super::log::NewEvent;
use super::noted::{Note, Noted};
use super::{Store, StoreError, rows};
use crate::domain::event::StatusChanged;
use crate::domain::known_failure::{KnownFailure, Lifetimes};
use crate::domain::{ErrorReason, IncomingContent, MessageStatus, Millis, Payload, SenderId};

/// Rows that are deleted in one statement, when they have expired.
const STEP: u64 = 500;

/// What a batch teaches about people.
#[derive(Debug, Default)]
pub(super) struct Lessons {
    learnt: BTreeMap<(SenderId, String), HashMap<ErrorReason, KnownFailure>>,
    forgotten: BTreeMap<SenderId, BTreeSet<String>>,
}

/// Whose provider it was that said so: another's than the sender's that was asked for, after a fallback.
fn told_by<'e>(event: &'e NewEvent, status: &'e StatusChanged) -> &'e SenderId {
    status.via_sender.as_ref().unwrap_or(&event.sender)
}

impl Lessons {
    /// Learns from an event that a provider or a person caused; never from what was known before and kept from a provider,
    /// or it would be known for ever.
    pub fn hear(&mut self, event: &NewEvent, lifetimes: &Lifetimes, noted: &Noted, now: Millis) {
        match &event.payload {
            Payload::StatusChanged(status) => match status.status {
                Some(MessageStatus::Failed) => self.failed(told_by(event, status), status, lifetimes, now),
                Some(MessageStatus::Delivered | MessageStatus::Read | MessageStatus::Played) => {
                    self.forget(told_by(event, status), [status.peer.clone()], noted);
                }
                _ => {}
            },
            // A notice of WhatsApp's about the person is no word of theirs.
            Payload::IncomingMessage(message) if !matches!(message.content, IncomingContent::System(_)) => {
                self.forget(&event.sender, message.contact.peers(), noted);
            }
            _ => {}
        }
    }

    fn failed(&mut self, sender: &SenderId, status: &StatusChanged, lifetimes: &Lifetimes, now: Millis) {
        let Some(error) =
            status.error.as_ref().filter(|_| !(status.late || status.duplicate || status.contradicts_final))
        else {
            return;
        };
        let Some(lifetime) = lifetimes.of(error) else { return };
        let known = KnownFailure {
            reason: error.reason,
            provider_code: error.provider_code.clone(),
            message_id: status.message_id,
            known_at_ms: now,
            expire_at_ms: now + lifetime,
        };
        let of_person = self.learnt.entry((sender.clone(), status.peer.clone())).or_default();
        of_person.insert(error.reason, known);
    }

    fn forget(&mut self, sender: &SenderId, peers: impl IntoIterator<Item = String>, noted: &Noted) {
        let noted = noted.has(Note::Failure, sender);
        if !noted && self.learnt.is_empty() {
            return;
        }
        for peer in peers {
            self.learnt.remove(&(sender.clone(), peer.clone()));
            if noted {
                self.forgotten.entry(sender.clone()).or_default().insert(peer);
            }
        }
    }

    /// Whose notes there are more of.
    pub fn senders(&self) -> BTreeSet<SenderId> {
        self.learnt.keys().map(|(sender, _)| sender.clone()).collect()
    }

    /// Writes it down. Called while the log is locked, so no two replicas wait for each other.
    pub async fn write(self, transaction: &DatabaseTransaction) -> Result<(), StoreError> {
        let backend = transaction.get_database_backend();
        let list = match backend {
            DbBackend::Postgres => "SELECT jsonb_array_elements_text($2::jsonb)",
            _ => "SELECT value FROM json_each($2)",
        };
        let delete = format!("DELETE FROM known_failures WHERE sender = $1 AND peer IN ({list})");
        for (sender, peers) in self.forgotten {
            let peers = serde_json::to_string(&peers).map_err(|e| StoreError::Fault(e.to_string()))?;
            let values: [Value; 2] = [sender.as_str().into(), peers.into()];
            transaction.execute_raw(rows::statement(backend, &delete, values)).await?;
        }
        let insert = "INSERT INTO known_failures (sender, peer, reason, expire_at_ms, document) \
                      VALUES ($1, $2, $3, $4, $5) ON CONFLICT (sender, peer, reason) DO UPDATE SET \
                      expire_at_ms = excluded.expire_at_ms, document = excluded.document";
        for ((sender, peer), failures) in self.learnt {
            for (reason, known) in failures {
                let document = serde_json::to_string(&known).map_err(|e| StoreError::Fault(e.to_string()))?;
                let values: [Value; 5] = [
                    sender.as_str().into(),
                    peer.as_str().into(),
                    (reason as i32).into(),
                    known.expire_at_ms.into(),
                    document.into(),
                ];
                transaction.execute_raw(rows::statement(backend, insert, values)).await?;
            }
        }
        Ok(())
    }
}

impl Store {
    /// Sets how long what providers said about people is remembered. Before that, nothing is.
    pub fn remember_failures(&self, lifetimes: Lifetimes) {
        // Set once, when the gateway starts; a second value would be another gateway's.
        let _ = self.inner.lifetimes.set(lifetimes);
    }

    /// Deletes what has expired, in small steps between which others write; tells how much.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn forget_known_failures(&self, now: Millis) -> Result<u64, StoreError> {
        let backend = self.read().get_database_backend();
        let text = format!(
            "DELETE FROM known_failures WHERE (sender, peer, reason) IN \
             (SELECT sender, peer, reason FROM known_failures WHERE expire_at_ms <= $1 ORDER BY expire_at_ms LIMIT {STEP}) \
             AND expire_at_ms <= $1"
        );
        let mut all = 0;
        loop {
            let statement = rows::statement(backend, &text, [now.into()]);
            let deleted = self.inner.write.execute_raw(statement).await?.rows_affected();
            all += deleted;
            if deleted < STEP {
                return Ok(all);
            }
        }
    }
}
