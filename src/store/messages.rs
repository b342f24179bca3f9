//! Messages and attempts, read.

use sea_orm::sea_query::{Expr, Func};
use sea_orm::{ColumnTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::entity::{attempts, incoming_messages, messages};
use super::{Store, StoreError, accept};
use crate::domain::message::{Attempt, AttemptOutcome, DeliveryError, HoldReason, Message};
use crate::domain::status::Seen;
use crate::domain::{MessageId, MessageStatus, Millis, SenderId};

/// Which messages a list holds: AND across, OR within; an empty list lets everything through.
#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    /// That these senders were asked to send, or have now.
    pub senders: Vec<SenderId>,
    /// That stand there.
    pub statuses: Vec<MessageStatus>,
    /// To these people: digits.
    pub peers: Vec<String>,
    /// With one of these labels.
    pub labels: Vec<(String, String)>,
    /// Accepted then or later.
    pub accept_from_ms: Option<Millis>,
    /// Accepted earlier than then.
    pub accept_before_ms: Option<Millis>,
    /// Accepted before the message at this place: where a page goes on.
    pub before: Option<i64>,
}

/// What a quoted message's id stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whose it is.
    pub sender: SenderId,
    /// The provider's id of it, as far as there is one.
    pub provider_message_id: Option<String>,
}

impl Store {
    /// One message.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn message(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        let row = messages::Entity::find().filter(messages::Column::Id.eq(id.0)).one(self.read()).await?;
        row.map(message).transpose()
    }

    /// The message that a caller made with an idempotency key.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn message_of_key(&self, caller: &str, key: &str) -> Result<Option<Message>, StoreError> {
        let row = messages::Entity::find()
            .filter(messages::Column::IdempotencyKey.eq(key))
            .filter(messages::Column::Caller.eq(caller))
            .one(self.read())
            .await?;
        row.map(message).transpose()
    }

    /// The attempts of a message, first to last; the one under way has no end.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn attempts(&self, message: &Message) -> Result<Vec<Attempt>, StoreError> {
        let rows = attempts::Entity::find()
            .filter(attempts::Column::MessageSeq.eq(message.seq))
            .order_by_asc(attempts::Column::Number)
            .all(self.read())
            .await?;
        let mut attempts = rows.into_iter().map(attempt).collect::<Result<Vec<_>, _>>()?;
        let running = messages::Entity::find_by_id(message.seq).one(self.read()).await?;
        if let Some(row) = running
            && let (Some(start_at_ms), Some(_)) = (row.attempt_start_at_ms, row.claim)
        {
            attempts.push(Attempt {
                number: row.attempt,
                sender: message.sender.clone(),
                start_at_ms,
                end_at_ms: None,
                outcome: None,
                provider_message_id: None,
                error: None,
                exchange: None,
                passed: None,
                instead: false,
            });
        }
        Ok(attempts)
    }

    /// Messages that pass, newest first.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn messages(&self, filter: &MessageFilter, limit: u64) -> Result<Vec<Message>, StoreError> {
        use messages::Column;
        let mut query = messages::Entity::find().order_by_desc(Column::Seq).limit(limit);
        if !filter.senders.is_empty() {
            let ids = || filter.senders.iter().map(SenderId::as_str);
            let asked_or_now =
                sea_orm::Condition::any().add(Column::Sender.is_in(ids())).add(Column::AskedSender.is_in(ids()));
            query = query.filter(asked_or_now);
        }
        if !filter.statuses.is_empty() {
            query = query.filter(Column::Status.is_in(filter.statuses.iter().map(|status| *status as i16)));
        }
        if !filter.peers.is_empty() {
            query = query.filter(Column::Peer.is_in(filter.peers.iter().map(String::as_str)));
        }
        if !filter.labels.is_empty() {
            let backend = self.read().get_database_backend();
            let any = filter.labels.iter().fold(sea_orm::Condition::any(), |any, (key, value)| {
                any.add(holds_label(backend, &format!("\n{}\n", accept::label_text(key, value))))
            });
            query = query.filter(any);
        }
        if let Some(from) = filter.accept_from_ms {
            query = query.filter(Column::AcceptAtMs.gte(from));
        }
        if let Some(before) = filter.accept_before_ms {
            query = query.filter(Column::AcceptAtMs.lt(before));
        }
        if let Some(before) = filter.before {
            query = query.filter(Column::Seq.lt(before));
        }
        query.all(self.read()).await?.into_iter().map(message).collect()
    }

    /// What a message's or an incoming message's id stands for; `None` when there is no such message.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn find_message(&self, id: MessageId) -> Result<Option<Found>, StoreError> {
        let outbound = messages::Entity::find().filter(messages::Column::Id.eq(id.0)).one(self.read()).await?;
        if let Some(row) = outbound {
            return Ok(Some(Found {
                sender: SenderId::trusted(row.sender),
                provider_message_id: row.provider_message_id,
            }));
        }
        let incoming = incoming_messages::Entity::find_by_id(id.0).one(self.read()).await?;
        Ok(incoming.map(|row| Found {
            sender: SenderId::trusted(row.sender),
            provider_message_id: row.dedupe_key.strip_prefix("id:").map(str::to_owned),
        }))
    }

    /// Messages of these senders that were handed over, or are just now, and have not moved since `before`: what the
    /// built-in provider, which keeps nothing itself, goes on with after a restart.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn unfinished(
        &self,
        senders: &[SenderId],
        before: Millis,
        limit: u64,
    ) -> Result<Vec<Message>, StoreError> {
        use messages::Column;
        let handed_over = [MessageStatus::Sent, MessageStatus::InDoubt, MessageStatus::Delivered];
        let in_hand = sea_orm::Condition::all()
            .add(Column::Status.eq(MessageStatus::Sending as i16))
            .add(Column::Claim.is_not_null());
        let stands =
            sea_orm::Condition::any().add(Column::Status.is_in(handed_over.map(|status| status as i16))).add(in_hand);
        let rows = messages::Entity::find()
            .filter(Column::Sender.is_in(senders.iter().map(SenderId::as_str)))
            .filter(stands)
            .filter(Column::StatusAtMs.lte(before))
            .order_by_desc(Column::Seq)
            .limit(limit)
            .all(self.read())
            .await?;
        rows.into_iter().map(message).collect()
    }
}

/// Whether the column holds the text. `LIKE` would fold cases in SQLite and not in PostgreSQL.
fn holds_label(backend: DbBackend, text: &str) -> Expr {
    let function = match backend {
        DbBackend::Postgres => "strpos",
        _ => "instr",
    };
    let column = Expr::col((messages::Entity, messages::Column::Labels));
    sea_orm::sea_query::ExprTrait::gt(Expr::expr(Func::cust(function).arg(column).arg(Expr::value(text))), 0)
}

fn message(row: messages::Model) -> Result<Message, StoreError> {
    let unreadable = |what: String| StoreError::Fault(format!("message {} cannot be read: {what}", row.id));
    Ok(Message {
        id: MessageId(row.id),
        seq: row.seq,
        sender: SenderId::trusted(row.sender),
        request: serde_json::from_str(&row.request).map_err(|e| unreadable(e.to_string()))?,
        idempotency_key: row.idempotency_key,
        accept_at_ms: row.accept_at_ms,
        expire_at_ms: row.expire_at_ms,
        status: MessageStatus::from_number(row.status).ok_or_else(|| unreadable(format!("status {}", row.status)))?,
        seen: Seen(row.seen),
        attempt: row.attempt,
        status_at_ms: row.status_at_ms,
        due_at_ms: row.due_at_ms,
        provider_message_id: row.provider_message_id,
        error: row.error.as_deref().map(serde_json::from_str).transpose().map_err(|e| unreadable(e.to_string()))?,
        hold: row.hold_reason.and_then(HoldReason::from_number),
        erase_at_ms: row.erase_at_ms,
    })
}

fn attempt(row: attempts::Model) -> Result<Attempt, StoreError> {
    let unreadable =
        |e: serde_json::Error| StoreError::Fault(format!("attempt {} of {}: {e}", row.number, row.message_seq));
    let error = row.next_error.as_deref().map(serde_json::from_str::<Option<DeliveryError>>);
    let passed = row.next_sender.map(SenderId::trusted).zip(error.transpose().map_err(unreadable)?.flatten());
    Ok(Attempt {
        number: row.number,
        sender: SenderId::trusted(row.sender),
        start_at_ms: row.start_at_ms,
        end_at_ms: Some(row.end_at_ms),
        outcome: AttemptOutcome::from_number(row.outcome),
        provider_message_id: row.provider_message_id,
        error: row.error.as_deref().map(serde_json::from_str).transpose().map_err(unreadable)?,
        exchange: row.exchange.as_deref().map(serde_json::from_str).transpose().map_err(unreadable)?,
        passed,
        instead: row.instead.unwrap_or_default(),
    })
}
