//! Acceptance: the message, its key and its ACCEPTED event, in one transaction.

use std::collections::HashMap;

use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};

use super::entity::messages;
use super::heads::Conversation;
use super::log::NewEvent;
use super::tallies::Tallies;
use super::{StoreError, rows};
use crate::domain::callback::CallbackTo;
use crate::domain::event::StatusChanged;
use crate::domain::progress::{Progress, Terms};
use crate::domain::{MessageId, MessageStatus, Millis, NewMessage, Payload};
use crate::error::Error;

/// A message on its way into the store. All that costs time is done when it is made, in the caller's own task: the writer
/// is one, and only moves it.
#[derive(Debug, Clone)]
pub struct Accept {
    pub(super) id: MessageId,
    pub(super) caller: String,
    pub(super) key: Option<String>,
    pub(super) terms: Terms,
    progress: Progress,
    request_json: String,
    labels: String,
    event: StatusChanged,
    event_json: String,
}

/// The answer to an acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The message's id.
    pub message_id: MessageId,
    /// The status that it was accepted with.
    pub status: MessageStatus,
    /// When it was accepted.
    pub accept_at_ms: Millis,
    /// Whether an earlier request with the same key is answered.
    pub deduplicated: bool,
    /// The place of its ACCEPTED event.
    pub position: i64,
}

/// The key was used before.
#[derive(Debug, Clone)]
pub(super) enum KeyUsed {
    /// For the same content: the first answer again.
    Same(Accepted),
    /// For other content.
    Other { key: String, message_id: MessageId, fields: Vec<String> },
}

impl From<KeyUsed> for Result<Accepted, Error> {
    fn from(used: KeyUsed) -> Self {
        match used {
            KeyUsed::Same(accepted) => Ok(accepted),
            KeyUsed::Other { key, message_id, fields } => {
                Err(Error::KeyReused { key, message_id: message_id.to_string(), fields })
            }
        }
    }
}

impl Accept {
    /// Prepares a message that was checked.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which no value that was checked can cause.
    pub fn new(caller: &str, key: Option<String>, request: NewMessage, now: Millis) -> Result<Self, Error> {
        let id = MessageId::generate();
        let request_json = serde_json::to_string(&request).map_err(Error::internal)?;
        let terms = Terms { expire_at_ms: request.expire_at(now), accept_at_ms: now, request };
        let progress = Progress::accepted(&terms);
        let request = &terms.request;
        let event = StatusChanged {
            message_id: id,
            status: Some(MessageStatus::Accepted),
            current_status: progress.status,
            late: false,
            duplicate: false,
            contradicts_final: false,
            to: request.to.given.clone(),
            peer: request.to.peer(),
            provider_message_id: None,
            attempt: 0,
            error: None,
            callback_data: request.callback_data.clone(),
            labels: request.labels.clone(),
            pricing: None,
            client_info: None,
            contact: None,
            provider_status: String::new(),
            via_sender: None,
            next_sender: None,
        };
        let payload = Payload::StatusChanged(event);
        let event_json = serde_json::to_string(&payload).map_err(Error::internal)?;
        let Payload::StatusChanged(event) = payload else { unreachable!("made a line above") };
        let labels = labels_text(&request.labels);
        Ok(Self { id, caller: caller.to_owned(), key, terms, progress, request_json, labels, event, event_json })
    }

    /// Whether it can be handed over at once.
    pub(super) fn is_ready(&self) -> bool {
        self.progress.ready
    }

    /// The conversation whose line it joins at once.
    pub(super) fn line(&self) -> Option<Conversation> {
        let request = &self.terms.request;
        self.progress.holds_conversation().then(|| (request.sender.to_string(), request.to.peer()))
    }

    /// Counts it.
    pub(super) fn tally(&self, tallies: &mut Tallies) {
        tallies.add(self.terms.request.sender.as_str(), self.terms.accept_at_ms, self.progress.status as i16, 1);
    }

    /// The ACCEPTED event and, once its place is known, the row and the answer. `first`: whether nobody stands before it in
    /// its line.
    pub(super) fn into_row(self, position: i64, first: bool) -> (NewEvent, messages::ActiveModel, Accepted) {
        let accepted = Accepted {
            message_id: self.id,
            status: self.progress.status,
            accept_at_ms: self.terms.accept_at_ms,
            deduplicated: false,
            position,
        };
        let request = self.terms.request;
        let progress = self.progress;
        let holds = progress.holds_conversation().then(|| request.to.peer());
        let lane = progress.ready.then_some(request.priority as i16);
        let row = messages::ActiveModel {
            seq: Set(position),
            id: Set(self.id.0),
            sender: Set(request.sender.to_string()),
            peer: Set(request.to.peer()),
            caller: Set(self.caller),
            idempotency_key: Set(self.key),
            request: Set(self.request_json),
            labels: Set(self.labels),
            accept_at_ms: Set(self.terms.accept_at_ms),
            expire_at_ms: Set(self.terms.expire_at_ms),
            status: Set(progress.status as i16),
            status_at_ms: Set(progress.status_at_ms),
            seen: Set(progress.seen.0),
            attempt: Set(0),
            attempt_start_at_ms: Set(None),
            claim: Set(None),
            lane: Set(lane),
            due_at_ms: Set(progress.due_at_ms),
            holds: Set(holds),
            retries: Set(0),
            provider_message_id: Set(None),
            error: Set(None),
            head: Set(lane.filter(|_| first)),
            tallied: Set(Some(progress.status as i16)),
            ..Default::default()
        };
        let event = NewEvent {
            sender: request.sender,
            payload: Payload::StatusChanged(self.event),
            json: Some(self.event_json),
            occur_at_ms: None,
            receive_at_ms: self.terms.accept_at_ms,
            report_key: None,
            callback: CallbackTo::given(&request.callback_url, None),
        };
        (event, row, accepted)
    }
}

/// Labels in a form that one comparison finds in both databases: each between line feeds, which no label may hold.
pub(super) fn labels_text(labels: &std::collections::BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = labels.iter().map(|(key, value)| label_text(key, value)).collect();
    format!("\n{}\n", lines.join("\n"))
}

/// One label as [`labels_text`] writes it, without the line feeds around it.
pub(super) fn label_text(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

/// The messages that were made with these keys before, by caller and key.
pub(super) async fn earlier(
    transaction: &DatabaseTransaction,
    accepts: &[&Accept],
) -> Result<HashMap<(String, String), messages::Model>, StoreError> {
    let keys: Vec<&str> = accepts.iter().filter_map(|accept| accept.key.as_deref()).collect();
    let mut found = HashMap::new();
    for list in rows::lists(keys) {
        let rows =
            messages::Entity::find().filter(messages::Column::IdempotencyKey.is_in(list)).all(transaction).await?;
        for row in rows {
            if let Some(key) = row.idempotency_key.clone() {
                found.insert((row.caller.clone(), key), row);
            }
        }
    }
    Ok(found)
}

/// Compares a repeated key's request with the first one.
pub(super) fn compare(accept: &Accept, row: &messages::Model) -> Result<KeyUsed, StoreError> {
    let first: NewMessage = serde_json::from_str(&row.request)
        .map_err(|e| StoreError::Fault(format!("message {} cannot be read: {e}", row.id)))?;
    let first_terms = |accept_at_ms| first.first_status(accept_at_ms);
    let accepted = Accepted {
        message_id: MessageId(row.id),
        status: first_terms(row.accept_at_ms),
        accept_at_ms: row.accept_at_ms,
        deduplicated: true,
        position: row.seq,
    };
    Ok(same_or_other(accept, &first, accepted))
}

/// The same, against a request that came in the same breath.
pub(super) fn same_or_other(accept: &Accept, first: &NewMessage, accepted: Accepted) -> KeyUsed {
    let fields = accept.terms.request.differences(first);
    match fields.is_empty() {
        true => KeyUsed::Same(Accepted { deduplicated: true, ..accepted }),
        false => {
            KeyUsed::Other { key: accept.key.clone().unwrap_or_default(), message_id: accepted.message_id, fields }
        }
    }
}
