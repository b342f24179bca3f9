//! What webhooks said about templates and senders: recorded once, and folded into the copies of templates.

use std::collections::{HashMap, HashSet};

use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect};

use super::entity::events;
use super::intake::{Intake, Item};
use super::journal::Told;
use super::log::NewEvent;
use super::templates::{self, CatalogueState};
use super::{StoreError, rows};
use crate::domain::catalogue::{AGAIN_MS, TemplateCopy};
use crate::domain::event::{SenderChanged, TemplateChanged};
use crate::domain::{Millis, Payload, SenderId};
use crate::provider::{Report, SenderReport, TemplateReport};

/// One report about a template or a sender, with what exact repeats of it are known by.
struct Notice<'a> {
    journal_id: i64,
    sender: &'a SenderId,
    report: &'a Report,
    occur_at_ms: Option<Millis>,
    receive_at_ms: Millis,
    key: i64,
}

impl<'a> Notice<'a> {
    fn of(intake: &'a Intake, item: &'a Item) -> Option<Self> {
        let (occur_at_ms, words) = match &item.report {
            Report::Template(report) => (report.occur_at_ms, template_words(report)),
            Report::Sender(report) => (report.occur_at_ms, sender_words(report)),
            Report::Status(_) | Report::Incoming(_) | Report::Nothing => return None,
        };
        // Providers give these reports no id, so they are known by all that they say, the provider's time included.
        // Without a time the same words may be news (I4): then each place in the journal is a report of its own.
        let known_by = match occur_at_ms {
            Some(at_ms) => format!("{at_ms}\n{words}"),
            None => format!("journal:{}:{}", intake.journal_id, item.index),
        };
        Some(Self {
            journal_id: intake.journal_id,
            sender: &item.sender,
            report: &item.report,
            occur_at_ms,
            receive_at_ms: intake.receive_at_ms,
            key: super::intake::digest(&known_by),
        })
    }

    fn event(&self, payload: Payload) -> NewEvent {
        NewEvent {
            sender: self.sender.clone(),
            payload,
            json: None,
            occur_at_ms: self.occur_at_ms,
            receive_at_ms: self.receive_at_ms,
            report_key: Some(self.key),
        }
    }
}

/// Records what webhooks said about templates and senders that was not recorded before; gives the events. A unique key
/// stops copies, as it does for messages (I1).
pub(super) async fn record(
    transaction: &DatabaseTransaction,
    intakes: &[&Intake],
    told: &mut Told,
    now: Millis,
) -> Result<Vec<NewEvent>, StoreError> {
    let items = intakes.iter().flat_map(|intake| intake.parsed.reports.iter().map(move |item| (*intake, item)));
    let notices: Vec<Notice<'_>> = items.filter_map(|(intake, item)| Notice::of(intake, item)).collect();
    if notices.is_empty() {
        return Ok(Vec::new());
    }
    let mut known = known_notices(transaction, &notices).await?;
    let mut copies = Copies::load(transaction, &notices).await?;
    let mut events = Vec::new();
    for notice in notices {
        if !known.insert((notice.sender.clone(), notice.key)) {
            metrics::counter!("recado_reports_repeated_total").increment(1);
            continue;
        }
        let before = events.len();
        match notice.report {
            Report::Template(report) => events.extend(copies.hear(&notice, report)),
            Report::Sender(report) => events.push(notice.event(Payload::SenderChanged(sender_changed(report)))),
            Report::Status(_) | Report::Incoming(_) | Report::Nothing => {}
        }
        told.add(notice.journal_id, events.len() - before);
    }
    copies.write(transaction, now).await?;
    Ok(events)
}

async fn known_notices(
    transaction: &DatabaseTransaction,
    notices: &[Notice<'_>],
) -> Result<HashSet<(SenderId, i64)>, StoreError> {
    let mut known = HashSet::new();
    for list in rows::lists(notices.iter().map(|notice| notice.key).collect()) {
        let rows = events::Entity::find()
            .select_only()
            .columns([events::Column::Sender, events::Column::ReportKey])
            .filter(events::Column::ReportKey.is_in(list))
            .filter(events::Column::ReportKey.is_not_null())
            .filter(events::Column::MessageId.is_null())
            .into_tuple::<(String, Option<i64>)>()
            .all(transaction)
            .await?;
        known.extend(rows.into_iter().filter_map(|(sender, key)| Some((SenderId::trusted(sender), key?))));
    }
    Ok(known)
}

/// The copies that the reports of a batch may be about.
#[derive(Default)]
struct Copies {
    states: HashMap<SenderId, CatalogueState>,
    copies: HashMap<SenderId, Vec<(i64, TemplateCopy)>>,
    changed: HashMap<SenderId, HashSet<i64>>,
    /// Whose catalogue has something that was never read.
    unread: HashSet<SenderId>,
}

impl Copies {
    async fn load(transaction: &DatabaseTransaction, notices: &[Notice<'_>]) -> Result<Self, StoreError> {
        let about_templates = notices.iter().filter(|notice| matches!(notice.report, Report::Template(_)));
        let senders: HashSet<String> = about_templates.map(|notice| notice.sender.to_string()).collect();
        if senders.is_empty() {
            return Ok(Self::default());
        }
        let senders: Vec<String> = senders.into_iter().collect();
        let states = templates::lock(transaction, senders.clone()).await?;
        let copies = templates::copies(transaction, senders).await?;
        Ok(Self { states, copies, ..Self::default() })
    }

    /// Folds a report into each copy that it is about. Where there is none, the event says what the provider said.
    fn hear(&mut self, notice: &Notice<'_>, report: &TemplateReport) -> Vec<NewEvent> {
        let word = template_changed(report);
        let at_ms = notice.occur_at_ms.unwrap_or(notice.receive_at_ms);
        let read_at_ms = self.states.get(notice.sender).and_then(|state| state.read_at_ms).unwrap_or_default();
        let copies = self.copies.get_mut(notice.sender).map(Vec::as_mut_slice).unwrap_or_default();
        let mut events = Vec::new();
        let mut meant = false;
        for (row, copy) in copies.iter_mut().filter(|(_, copy)| copy.is_meant(&word)) {
            meant = true;
            let before = copy.clone();
            let event = copy.hear(word.clone(), at_ms, read_at_ms);
            if *copy != before {
                self.changed.entry(notice.sender.clone()).or_default().insert(*row);
            }
            let event = event.map(|changed| notice.event(Payload::TemplateChanged(changed)));
            // The key stands for the report, which one event carries.
            let key = events.is_empty().then_some(notice.key);
            events.extend(event.map(|event| NewEvent { report_key: key, ..event }));
        }
        if !meant {
            self.unread.insert(notice.sender.clone());
            events.push(notice.event(Payload::TemplateChanged(word)));
        }
        events
    }

    /// Writes back what changed, and asks for a reading of what was never read.
    async fn write(self, transaction: &DatabaseTransaction, now: Millis) -> Result<(), StoreError> {
        let Self { states, copies, changed, unread } = self;
        let of_changed = |sender: &SenderId, row: i64| changed.get(sender).is_some_and(|rows| rows.contains(&row));
        let rows = copies.iter().flat_map(|(sender, copies)| {
            copies.iter().filter(|(row, _)| of_changed(sender, *row)).cloned().collect::<Vec<_>>()
        });
        templates::write(transaction, rows.collect()).await?;
        for (sender, state) in &states {
            let soon = state.read_at_ms.map_or(now, |read| now.max(read + AGAIN_MS)).min(state.due_at_ms);
            let due = (unread.contains(sender) && state.failures == 0).then_some(soon);
            if due.is_some() || changed.contains_key(sender) {
                templates::touch(transaction, sender, due).await?;
            }
        }
        Ok(())
    }
}

/// All that a report about a template says, but for its time.
fn template_words(report: &TemplateReport) -> String {
    let TemplateReport { template, template_id, language_code, status, category, quality, reason, .. } = report;
    let before = (report.previous_category, report.previous_quality);
    format!(
        "template\n{template}\n{template_id}\n{language_code}\n{status:?} {category:?} {quality:?} {before:?}\n{reason}"
    )
}

/// All that a report about a sender says, but for its time.
fn sender_words(report: &SenderReport) -> String {
    let SenderReport { change, quality, messaging_limit, detail, provider_code, .. } = report;
    format!("sender\n{change:?} {quality:?}\n{messaging_limit}\n{provider_code}\n{detail}")
}

fn template_changed(report: &TemplateReport) -> TemplateChanged {
    TemplateChanged {
        template: report.template.clone(),
        template_id: report.template_id.clone(),
        language_code: report.language_code.clone(),
        status: report.status,
        previous_status: None,
        category: report.category,
        previous_category: report.previous_category,
        quality: report.quality,
        previous_quality: report.previous_quality,
        reason: report.reason.clone(),
    }
}

fn sender_changed(report: &SenderReport) -> SenderChanged {
    SenderChanged {
        change: report.change,
        detail: report.detail.clone(),
        health: None,
        quality: report.quality,
        messaging_limit: report.messaging_limit.clone(),
        provider_code: report.provider_code.clone(),
    }
}
