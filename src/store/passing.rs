//! Messages that go on to their next sender. Nothing here is asked or written for messages that have none.

use std::collections::HashMap;

use sea_orm::sea_query::{LockBehavior, LockType, Value};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::accept::Accept;
use super::changes::{Changes, Loaded};
use super::entity::{attempts, messages};
use super::{StoreError, rows};
use crate::domain::message::DeliveryError;
use crate::domain::progress::Note;
use crate::domain::{Millis, SenderId};

/// An attempt that another sender's follows.
#[derive(Debug)]
pub(super) struct Passed {
    seq: i64,
    number: i32,
    next_sender: SenderId,
    error: Option<DeliveryError>,
}

impl Passed {
    /// What a note says of a message that has just gone on.
    pub fn of(loaded: &Loaded, note: &Note) -> Self {
        let next_sender = loaded.sender().clone();
        Self { seq: loaded.seq, number: note.attempt, next_sender, error: note.error.clone() }
    }
}

const MOVED: &[(&str, &str)] = &[
    ("sender", "text"),
    ("asked_sender", "text"),
    ("next_sender", "text"),
    ("passed_attempt", "integer"),
    ("look_up_at_ms", "bigint"),
];

/// Where a message is that has gone on, in the order of [`MOVED`]. What was to be asked of the provider before is not asked
/// of the next.
pub(super) fn values(loaded: &Loaded) -> Vec<Value> {
    let request = &loaded.terms.request;
    let next = request.sender_at(loaded.progress.turn + 1).map(SenderId::to_string);
    vec![
        loaded.seq.into(),
        loaded.sender().to_string().into(),
        Some(request.sender.to_string()).into(),
        next.into(),
        Some(loaded.progress.passed_attempt).into(),
        Option::<Millis>::None.into(),
    ]
}

/// Writes who has the messages now, and which attempts led there.
pub(super) async fn write(
    transaction: &DatabaseTransaction,
    moved: Vec<Vec<Value>>,
    passed: Vec<Passed>,
) -> Result<(), StoreError> {
    rows::update(transaction, "messages", ("seq", "bigint"), MOVED, moved).await?;
    for Passed { seq, number, next_sender, error } in passed {
        let error = serde_json::to_string(&error).map_err(|e| StoreError::Fault(e.to_string()))?;
        attempts::Entity::update_many()
            .col_expr(attempts::Column::NextSender, super::set(next_sender.to_string()))
            .col_expr(attempts::Column::NextError, super::set(error))
            .filter(attempts::Column::MessageSeq.eq(seq))
            .filter(attempts::Column::Number.eq(number))
            .exec(transaction)
            .await?;
    }
    Ok(())
}

/// Notes of messages that were just accepted who would take them over.
pub(super) async fn note_next(transaction: &DatabaseTransaction, next: Vec<(i64, SenderId)>) -> Result<(), StoreError> {
    let row = |(seq, sender): (i64, SenderId)| -> Vec<Value> { vec![seq.into(), sender.to_string().into()] };
    let changed = next.into_iter().map(row).collect();
    rows::update(transaction, "messages", ("seq", "bigint"), &[("next_sender", "text")], changed).await?;
    Ok(())
}

/// Who would take a message over, when somebody would.
pub(super) fn next_of(accept: &Accept) -> Option<SenderId> {
    accept.terms.request.sender_at(1).cloned()
}

/// The last attempts of senders that have passed a message on, by its place and their turn.
pub(super) async fn earlier_attempts(
    transaction: &DatabaseTransaction,
    changes: &Changes,
    seqs: Vec<i64>,
) -> Result<HashMap<(i64, usize), i32>, StoreError> {
    let mut found = HashMap::new();
    for list in rows::lists(seqs) {
        let rows = attempts::Entity::find()
            .select_only()
            .columns([attempts::Column::MessageSeq, attempts::Column::Number, attempts::Column::Sender])
            .filter(attempts::Column::MessageSeq.is_in(list))
            .order_by_asc(attempts::Column::Number)
            .into_tuple::<(i64, i32, String)>()
            .all(transaction)
            .await?;
        for (seq, number, sender) in rows {
            let turn = changes.get(seq).and_then(|loaded| loaded.terms.request.turn_of(&SenderId::trusted(sender)));
            found.extend(turn.map(|turn| ((seq, turn), number)));
        }
    }
    Ok(found)
}

/// Messages that are due at a sender and that another would take over, oldest first; those that another replica holds are
/// left to it.
pub(super) async fn due_with_next(
    transaction: &DatabaseTransaction,
    sender: &SenderId,
    limit: u64,
) -> Result<Vec<messages::Model>, StoreError> {
    let mut query = messages::Entity::find()
        .filter(messages::Column::Sender.eq(sender.as_str()))
        .filter(messages::Column::NextSender.is_not_null())
        .filter(messages::Column::Lane.is_not_null())
        .order_by_asc(messages::Column::Seq)
        .limit(limit);
    if transaction.get_database_backend() == DbBackend::Postgres {
        query = query.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    }
    Ok(query.all(transaction).await?)
}
