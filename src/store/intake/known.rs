//! The reports that were recorded before: each counts once.

use std::collections::HashSet;

use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use super::{Match, digest};
use crate::domain::progress::Note;
use crate::domain::{MessageId, Millis, SenderId};
use crate::provider::StatusReport;
use crate::store::changes::Changes;
use crate::store::entity::events;
use crate::store::log::NewEvent;
use crate::store::{StoreError, rows};

/// What exact repeats of a report are known by, within one message: the provider's id, word and time.
fn report_key(report: &StatusReport) -> i64 {
    let mut text = report.provider_message_id.clone().unwrap_or_default();
    text.push('\n');
    text.push_str(&report.provider_status);
    text.push('\n');
    text.push_str(&report.occur_at_ms.map(|at| at.to_string()).unwrap_or_default());
    digest(&text)
}

/// The reports of a batch that were recorded before.
#[derive(Debug, Default)]
pub(in crate::store) struct KnownReports(HashSet<(Uuid, i64)>);

impl KnownReports {
    /// Asks the log about the reports of these messages.
    pub async fn learn(
        &mut self,
        transaction: &DatabaseTransaction,
        messages: impl Iterator<Item = MessageId>,
    ) -> Result<(), StoreError> {
        let messages: HashSet<Uuid> = messages.map(|id| id.0).collect();
        for list in rows::lists(messages.into_iter().collect()) {
            let rows = events::Entity::find()
                .select_only()
                .columns([events::Column::MessageId, events::Column::ReportKey])
                .filter(events::Column::MessageId.is_in(list))
                .filter(events::Column::MessageId.is_not_null())
                .filter(events::Column::ReportKey.is_not_null())
                .into_tuple::<(Option<Uuid>, Option<i64>)>()
                .all(transaction)
                .await?;
            self.0.extend(rows.into_iter().filter_map(|(id, key)| Some((id?, key?))));
        }
        Ok(())
    }

    /// Folds a report into its message; nothing for one that was recorded before.
    pub fn fold(
        &mut self,
        changes: &mut Changes,
        (seq, attempt): Match,
        sender: &SenderId,
        report: &StatusReport,
        receive_at_ms: Millis,
        now: Millis,
    ) -> Option<NewEvent> {
        let loaded = changes.get(seq)?;
        let (id, turn) = (loaded.id, loaded.terms.request.turn_of(sender).unwrap_or(loaded.progress.turn));
        let key = report_key(report);
        if !self.0.insert((id.0, key)) {
            metrics::counter!("recado_reports_repeated_total").increment(1);
            return None;
        }
        let note = Note {
            status: report.status,
            provider_message_id: report.provider_message_id.clone(),
            error: report.error.clone(),
            occur_at_ms: report.occur_at_ms,
            receive_at_ms: Some(receive_at_ms),
            provider_status: report.provider_status.clone(),
            pricing: report.pricing.clone(),
            client_info: report.client_info.clone(),
            contact: report.contact.clone(),
            report_key: Some(key),
            turn,
            ..Note::default()
        };
        changes.step(seq, now, None, |progress, terms| progress.reported(attempt, note, terms, now))
    }
}
