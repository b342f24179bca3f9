//! What webhooks said: matched with messages, folded into them, parked when nothing matches.

use std::collections::{HashMap, HashSet};

use sea_orm::sea_query::{Expr, ExprTrait as _, Value};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::changes::Changes;
use super::entity::{attempts, events, incoming_messages, journal, messages, parked_reports};
use super::journal::Told;
use super::log::NewEvent;
use super::{Store, StoreError, media, rows};
use crate::domain::event::{IncomingMessage, ReplyTo};
use crate::domain::progress::Note;
use crate::domain::{IncomingContent, MediaId, MessageId, Millis, Payload, SenderId};
use crate::provider::{IncomingReport, Product, Report, StatusReport};

/// Free text may be answered this long after a person wrote.
const WINDOW_MS: Millis = 24 * 3_600_000;
/// A report that matches nothing is tried again for this long.
const PARKED_MS: Millis = 30 * 24 * 3_600_000;

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

/// What exact repeats of a report are known by, within one message: the provider's id, word and time.
fn report_key(report: &StatusReport) -> i64 {
    let mut text = report.provider_message_id.clone().unwrap_or_default();
    text.push('\n');
    text.push_str(&report.provider_status);
    text.push('\n');
    text.push_str(&report.occur_at_ms.map(|at| at.to_string()).unwrap_or_default());
    digest(&text)
}

/// A number that stands for a text.
pub(super) fn digest(text: &str) -> i64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut eight = [0; 8];
    eight.copy_from_slice(&digest.as_ref()[..8]);
    i64::from_be_bytes(eight)
}

/// The reports of a batch that were recorded before.
#[derive(Debug, Default)]
pub(super) struct KnownReports(HashSet<(Uuid, i64)>);

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
        report: &StatusReport,
        receive_at_ms: Millis,
        now: Millis,
    ) -> Option<NewEvent> {
        let id = changes.get(seq)?.id;
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
            ..Note::default()
        };
        changes.step(seq, now, None, |progress, _| progress.reported(attempt, note, now))
    }
}

/// Keeps reports for later: those that match nothing, and those of an attempt that is under way.
pub(super) async fn park(transaction: &DatabaseTransaction, reports: Vec<Parked>) -> Result<(), StoreError> {
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
pub(super) struct Parked {
    pub sender: SenderId,
    pub receive_at_ms: Millis,
    pub report: StatusReport,
    /// The webhook that it is of.
    pub journal_id: Option<i64>,
}

/// Takes parked reports out that speak of these providers' ids.
pub(super) async fn unpark(transaction: &DatabaseTransaction, ids: Vec<String>) -> Result<Vec<Parked>, StoreError> {
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
pub(super) async fn unpark_messages(
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

/// A person's message of a batch, with what it is known by.
pub(super) struct Incoming<'a> {
    pub intake: &'a Intake,
    pub sender: &'a SenderId,
    pub report: &'a IncomingReport,
    pub dedupe_key: String,
}

impl<'a> Incoming<'a> {
    /// By the provider's id; without one, by its place in the journal: the same words twice are two messages (I4).
    pub fn new(intake: &'a Intake, item: &'a Item, report: &'a IncomingReport) -> Self {
        let dedupe_key = match &report.provider_message_id {
            Some(id) => format!("id:{id}"),
            None => format!("journal:{}:{}", intake.journal_id, item.index),
        };
        Self { intake, sender: &item.sender, report, dedupe_key }
    }
}

/// Records people's messages that are new, and their files as still to be fetched; gives the events. A unique key stops copies, never a cache (I1).
pub(super) async fn record_incoming(
    transaction: &DatabaseTransaction,
    incoming: Vec<Incoming<'_>>,
    told: &mut Told,
    now: Millis,
) -> Result<Vec<NewEvent>, StoreError> {
    let mut known = known_incoming(transaction, incoming.iter().map(|one| one.dedupe_key.clone()).collect()).await?;
    let quoted = quoted_messages(transaction, &incoming).await?;
    let (mut models, mut files, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for Incoming { intake, sender, report, dedupe_key } in incoming {
        if !known.insert((sender.to_string(), dedupe_key.clone())) {
            metrics::counter!("recado_incoming_repeated_total").increment(1);
            continue;
        }
        told.add(intake.journal_id, 1);
        let id = MessageId::generate();
        let peer = report.contact.peer();
        models.push(incoming_messages::ActiveModel {
            id: Set(id.0),
            sender: Set(sender.to_string()),
            dedupe_key: Set(dedupe_key),
            peer: Set(peer.clone()),
            receive_at_ms: Set(intake.receive_at_ms),
        });
        let ours = |provider_id: &str| quoted.get(&(sender.clone(), provider_id.to_owned())).copied();
        let mut content = report.content.clone();
        if let IncomingContent::Reaction(reaction) = &mut content {
            reaction.message_id = ours(&reaction.provider_message_id);
        }
        let media_id = match &content {
            IncomingContent::Media(file) => {
                let media_id = MediaId::generate();
                files.push(media::new(media_id, sender, id, file, now)?);
                Some(media_id)
            }
            _ => None,
        };
        let message = IncomingMessage {
            message_id: id,
            media_id,
            provider_message_id: report.provider_message_id.clone(),
            contact: report.contact.clone(),
            peer,
            profile_name: report.profile_name.clone(),
            content,
            reply_to: reply_to(report, ours),
            referral: report.referral.clone(),
            window_expire_at_ms: report.occur_at_ms.unwrap_or(intake.receive_at_ms) + WINDOW_MS,
            forwarded: report.forwarded,
            frequently_forwarded: report.frequently_forwarded,
            backfilled: report.backfilled,
        };
        events.push(NewEvent {
            sender: sender.clone(),
            payload: Payload::IncomingMessage(message),
            json: None,
            occur_at_ms: report.occur_at_ms,
            receive_at_ms: intake.receive_at_ms,
            report_key: None,
        });
    }
    rows::insert(transaction, models).await?;
    rows::insert(transaction, files).await?;
    Ok(events)
}

fn reply_to(report: &IncomingReport, ours: impl Fn(&str) -> Option<MessageId>) -> Option<ReplyTo> {
    let product = report.product.clone();
    let message = report.reply_to.clone();
    (message.is_some() || product.is_some()).then(|| {
        let Product { catalog_id, product_id } = product.unwrap_or_default();
        let message_id = message.as_deref().and_then(ours);
        ReplyTo { provider_message_id: message.unwrap_or_default(), message_id, catalog_id, product_id }
    })
}

async fn known_incoming(
    transaction: &DatabaseTransaction,
    keys: HashSet<String>,
) -> Result<HashSet<(String, String)>, StoreError> {
    let mut known = HashSet::new();
    for list in rows::lists(keys.into_iter().collect()) {
        let rows = incoming_messages::Entity::find()
            .select_only()
            .columns([incoming_messages::Column::Sender, incoming_messages::Column::DedupeKey])
            .filter(incoming_messages::Column::DedupeKey.is_in(list))
            .into_tuple::<(String, String)>()
            .all(transaction)
            .await?;
        known.extend(rows);
    }
    Ok(known)
}

/// Our ids of the messages that these ones quote or react to.
async fn quoted_messages(
    transaction: &DatabaseTransaction,
    incoming: &[Incoming<'_>],
) -> Result<HashMap<ProviderId, MessageId>, StoreError> {
    let wanted = incoming.iter().filter_map(|one| match (&one.report.reply_to, &one.report.content) {
        (_, IncomingContent::Reaction(reaction)) => Some(reaction.provider_message_id.as_str()),
        (reply_to, _) => reply_to.as_deref(),
    });
    let wanted: HashSet<&str> = wanted.collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let attempts = find_attempts(transaction, wanted.iter().copied()).await?;
    let ids = messages::Entity::find()
        .select_only()
        .columns([messages::Column::Seq, messages::Column::Id])
        .filter(messages::Column::Seq.is_in(attempts.values().map(|(seq, _)| *seq)))
        .into_tuple::<(i64, Uuid)>()
        .all(transaction)
        .await?;
    let ids: HashMap<i64, Uuid> = ids.into_iter().collect();
    let of_ours = attempts.into_iter().filter_map(|(key, (seq, _))| Some((key, MessageId(*ids.get(&seq)?))));
    let mut quoted: HashMap<ProviderId, MessageId> = of_ours.collect();
    let theirs = incoming_messages::Entity::find()
        .select_only()
        .columns([
            incoming_messages::Column::Id,
            incoming_messages::Column::Sender,
            incoming_messages::Column::DedupeKey,
        ])
        .filter(incoming_messages::Column::DedupeKey.is_in(wanted.iter().map(|id| format!("id:{id}"))))
        .into_tuple::<(Uuid, String, String)>()
        .all(transaction)
        .await?;
    quoted.extend(theirs.into_iter().map(|(id, sender, key)| {
        ((SenderId::trusted(sender), key.trim_start_matches("id:").to_owned()), MessageId(id))
    }));
    Ok(quoted)
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
            .col_expr(parked_reports::Column::Orphan, super::set(true))
            .filter(parked_reports::Column::Orphan.eq(false))
            .filter(parked_reports::Column::ReceiveAtMs.lt(now - PARKED_MS))
            .exec(&self.inner.write)
            .await?;
        metrics::counter!("recado_reports_orphaned_total").increment(result.rows_affected);
        Ok(result.rows_affected)
    }
}
