//! Reports that match nothing yet, kept until they do.

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use crate::domain::{Millis, SenderId};
use crate::provider::StatusReport;
use crate::store::entity::parked_reports;
use crate::store::{Store, StoreError, rows, set};

/// A report that matches nothing is tried again for this long.
const PARKED_MS: Millis = 30 * 24 * 3_600_000;

/// Keeps reports for later: those that match nothing, and those of an attempt that is under way.
pub(in crate::store) async fn park(transaction: &DatabaseTransaction, reports: Vec<Parked>) -> Result<(), StoreError> {
    let mut models = Vec::with_capacity(reports.len());
    for Parked { sender, receive_at_ms, report, journal_id } in reports {
        models.push(parked_reports::ActiveModel {
            sender: Set(sender.to_string()),
            provider_message_id: Set(report.provider_message_id.clone()),
            message_id: Set(report.message_id.map(|id| id.0)),
            report: Set(serde_json::to_string(&report).map_err(|e| StoreError::Fault(e.to_string()))?),
            receive_at_ms: Set(receive_at_ms),
            journal_id: Set(journal_id),
            orphan: Set(false),
            ..Default::default()
        });
    }
    rows::insert(transaction, models).await?;
    Ok(())
}

/// A report that was parked.
#[derive(Debug, Clone)]
pub(in crate::store) struct Parked {
    pub sender: SenderId,
    pub receive_at_ms: Millis,
    pub report: StatusReport,
    /// The webhook that it is of.
    pub journal_id: Option<i64>,
}

/// Takes parked reports out that speak of these providers' ids.
pub(in crate::store) async fn unpark(
    transaction: &DatabaseTransaction,
    ids: Vec<String>,
) -> Result<Vec<Parked>, StoreError> {
    let mut found = Vec::new();
    for list in rows::lists(ids) {
        let condition = parked_reports::Column::ProviderMessageId.is_in(list);
        found.extend(
            take_out(transaction, condition.and(parked_reports::Column::ProviderMessageId.is_not_null())).await?,
        );
    }
    Ok(found)
}

/// Takes parked reports out that speak of these messages by our ids.
pub(in crate::store) async fn unpark_messages(
    transaction: &DatabaseTransaction,
    ids: Vec<Uuid>,
) -> Result<Vec<Parked>, StoreError> {
    let mut found = Vec::new();
    for list in rows::lists(ids) {
        let condition = parked_reports::Column::MessageId.is_in(list);
        found.extend(take_out(transaction, condition.and(parked_reports::Column::MessageId.is_not_null())).await?);
    }
    Ok(found)
}

async fn take_out(transaction: &DatabaseTransaction, condition: Expr) -> Result<Vec<Parked>, StoreError> {
    let rows = parked_reports::Entity::find()
        .filter(condition)
        .order_by_asc(parked_reports::Column::Id)
        .all(transaction)
        .await?;
    if !rows.is_empty() {
        parked_reports::Entity::delete_many()
            .filter(parked_reports::Column::Id.is_in(rows.iter().map(|row| row.id)))
            .exec(transaction)
            .await?;
    }
    rows.into_iter().map(parked).collect()
}

fn parked(row: parked_reports::Model) -> Result<Parked, StoreError> {
    use parked_reports::Model;
    let report = serde_json::from_str(&row.report)
        .map_err(|e| StoreError::Fault(format!("parked report {} cannot be read: {e}", row.id)))?;
    let Model { sender, receive_at_ms, journal_id, .. } = row;
    Ok(Parked { sender: SenderId::trusted(sender), receive_at_ms, report, journal_id })
}

impl Store {
    /// Providers' ids of parked reports that an ended attempt matches by now: two replicas that write at the same time can
    /// miss each other, and this finds what they missed.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn parked_that_match(&self, limit: u64) -> Result<Vec<String>, StoreError> {
        use sea_orm::{ConnectionTrait, Statement};
        let backend = self.read().get_database_backend();
        let text = format!(
            "SELECT DISTINCT p.provider_message_id FROM parked_reports p JOIN attempts a \
             ON a.provider_message_id = p.provider_message_id AND a.sender = p.sender \
             WHERE p.provider_message_id IS NOT NULL LIMIT {limit}"
        );
        let rows = self.read().query_all_raw(Statement::from_string(backend, text)).await?;
        rows.into_iter().map(|row| Ok(row.try_get("", "provider_message_id")?)).collect()
    }

    /// Gives up on parked reports that matched nothing for 30 days; tells how many.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn orphan_parked(&self, now: Millis) -> Result<u64, StoreError> {
        let result = parked_reports::Entity::update_many()
            .col_expr(parked_reports::Column::Orphan, set(true))
            .filter(parked_reports::Column::Orphan.eq(false))
            .filter(parked_reports::Column::ReceiveAtMs.lt(now - PARKED_MS))
            .exec(&self.inner.write)
            .await?;
        metrics::counter!("recado_reports_orphaned_total").increment(result.rows_affected);
        Ok(result.rows_affected)
    }
}
