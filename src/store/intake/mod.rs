//! What webhooks said: matched with messages, folded into them, parked when nothing matches.

use std::collections::{HashMap, HashSet};

use sea_orm::sea_query::Value;
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::entity::{attempts, journal};
use super::{StoreError, rows};
use crate::domain::{Millis, SenderId};
use crate::provider::Report;

mod incoming;
mod known;
mod parked;

pub(super) use incoming::{Incoming, record_incoming};
pub(super) use known::KnownReports;
pub(super) use parked::{Parked, park, unpark, unpark_messages};

/// What one webhook of the journal said.
#[derive(Debug, Clone)]
pub struct Intake {
    /// Its place in the journal.
    pub journal_id: i64,
    /// When it reached us.
    pub receive_at_ms: Millis,
    /// What could be read.
    pub parsed: Parsed,
}

/// One item of a webhook that could be read.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its place in the webhook, from 0.
    pub index: usize,
    /// The sender that it is about: mostly the one whose address it came to.
    pub sender: SenderId,
    /// Where it is POSTed when it is a person's message; empty: nowhere.
    pub callback_url: String,
    /// What it says.
    pub report: Report,
}

/// The outcome of parsing one webhook.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// The items that could be read.
    pub reports: Vec<Item>,
    /// How many could not.
    pub unreadable: usize,
    /// Why the first of them could not.
    pub problem: Option<String>,
}

/// Where a report belongs: a message, and which of its attempts.
pub(super) type Match = (i64, i32);
/// A provider's id under a sender.
pub(super) type ProviderId = (SenderId, String);

/// Of these webhooks, those that nobody has taken in yet; locked until the commit.
pub(super) async fn still_pending(
    transaction: &DatabaseTransaction,
    ids: Vec<i64>,
) -> Result<HashSet<i64>, StoreError> {
    use sea_orm::{ConnectionTrait, DbBackend};
    let mut pending = HashSet::new();
    for list in rows::lists(ids) {
        let mut query = journal::Entity::find()
            .select_only()
            .column(journal::Column::Id)
            .filter(journal::Column::Id.is_in(list))
            .filter(journal::Column::Pending.is_not_null())
            .order_by_asc(journal::Column::Id);
        if transaction.get_database_backend() == DbBackend::Postgres {
            query = query.lock(sea_orm::sea_query::LockType::Update);
        }
        pending.extend(query.into_tuple::<i64>().all(transaction).await?);
    }
    Ok(pending)
}

/// Notes in the journal that webhooks were taken in.
pub(super) async fn mark_parsed(
    transaction: &DatabaseTransaction,
    taken: &[&Intake],
    now: Millis,
) -> Result<(), StoreError> {
    const COLUMNS: &[(&str, &str)] = &[
        ("pending", "boolean"),
        ("items", "integer"),
        ("unreadable", "integer"),
        ("problem", "text"),
        ("parse_at_ms", "bigint"),
    ];
    let row = |intake: &&Intake| -> Vec<Value> {
        let Parsed { reports, unreadable, problem } = &intake.parsed;
        vec![
            intake.journal_id.into(),
            Option::<bool>::None.into(),
            ((reports.len() + unreadable) as i32).into(),
            (*unreadable as i32).into(),
            problem.clone().into(),
            now.into(),
        ]
    };
    rows::update(transaction, "journal", ("id", "bigint"), COLUMNS, taken.iter().map(row).collect()).await?;
    Ok(())
}

/// Finds messages by providers' ids, in the attempts that ended.
pub(super) async fn find_attempts(
    transaction: &DatabaseTransaction,
    ids: impl Iterator<Item = &str>,
) -> Result<HashMap<ProviderId, Match>, StoreError> {
    let ids: HashSet<String> = ids.map(str::to_owned).collect();
    let mut found = HashMap::new();
    for list in rows::lists(ids.into_iter().collect()) {
        let rows = attempts::Entity::find()
            .select_only()
            .columns([
                attempts::Column::Sender,
                attempts::Column::ProviderMessageId,
                attempts::Column::MessageSeq,
                attempts::Column::Number,
            ])
            .filter(attempts::Column::ProviderMessageId.is_in(list))
            .into_tuple::<(String, Option<String>, i64, i32)>()
            .all(transaction)
            .await?;
        for (sender, id, seq, number) in rows {
            found.insert((SenderId::trusted(sender), id.unwrap_or_default()), (seq, number));
        }
    }
    Ok(found)
}

/// Notes providers' ids of attempts whose answer brought none, so that [`find_attempts`] finds them.
pub(super) async fn learn_ids(
    transaction: &DatabaseTransaction,
    learnt: Vec<(Match, String)>,
) -> Result<(), StoreError> {
    for ((seq, number), id) in learnt {
        attempts::Entity::update_many()
            .col_expr(attempts::Column::ProviderMessageId, super::set(id))
            .filter(attempts::Column::MessageSeq.eq(seq))
            .filter(attempts::Column::Number.eq(number))
            .filter(attempts::Column::ProviderMessageId.is_null())
            .exec(transaction)
            .await?;
    }
    Ok(())
}

/// A number that stands for a text.
pub(super) fn digest(text: &str) -> i64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut eight = [0; 8];
    eight.copy_from_slice(&digest.as_ref()[..8]);
    i64::from_be_bytes(eight)
}
