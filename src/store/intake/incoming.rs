//! Messages of people.

use std::collections::{HashMap, HashSet};

use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use super::{Intake, Item, ProviderId, find_attempts};
use crate::domain::callback::CallbackTo;
use crate::domain::event::{IncomingMessage, ReplyTo};
use crate::domain::opt_out::Wish;
use crate::domain::{IncomingContent, MediaId, MessageId, Millis, Payload, SenderId, window};
use crate::provider::{IncomingReport, Product};
use crate::store::entity::{incoming_messages, messages};
use crate::store::journal::Told;
use crate::store::log::NewEvent;
use crate::store::windows::Windows;
use crate::store::{StoreError, media, rows};

/// A person's message of a batch, with what it is known by.
pub(in crate::store) struct Incoming<'a> {
    pub intake: &'a Intake,
    pub sender: &'a SenderId,
    pub report: &'a IncomingReport,
    pub callback_url: &'a str,
    pub dedupe_key: String,
}

impl<'a> Incoming<'a> {
    /// By the provider's id; without one, by its place in the journal: the same words twice are two messages (I4).
    pub fn new(intake: &'a Intake, item: &'a Item, report: &'a IncomingReport) -> Self {
        let dedupe_key = match &report.provider_message_id {
            Some(id) => format!("id:{id}"),
            None => format!("journal:{}:{}", intake.journal_id, item.index),
        };
        Self { intake, sender: &item.sender, report, callback_url: &item.callback_url, dedupe_key }
    }
}

/// Records people's messages that are new, their files as still to be fetched, and the windows that they open; gives the
/// events, each with what was said by it about being written to. A unique key stops copies, never a cache (I1).
pub(in crate::store) async fn record_incoming(
    transaction: &DatabaseTransaction,
    incoming: Vec<Incoming<'_>>,
    told: &mut Told,
    windows: &mut Windows,
    now: Millis,
) -> Result<Vec<(NewEvent, Option<Wish>)>, StoreError> {
    let mut known = known_incoming(transaction, incoming.iter().map(|one| one.dedupe_key.clone()).collect()).await?;
    let quoted = quoted_messages(transaction, &incoming).await?;
    let (mut models, mut files, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for one in incoming {
        if !known.insert((one.sender.to_string(), one.dedupe_key.clone())) {
            metrics::counter!("recado_incoming_repeated_total").increment(1);
            continue;
        }
        let Incoming { intake, sender, report, .. } = one;
        told.add(intake.journal_id, 1);
        if report.content.opens_window() {
            windows.heard(sender, &report.contact, report.occur_at_ms, intake.receive_at_ms);
        }
        let id = MessageId::generate();
        let media_id = match &report.content {
            IncomingContent::Media(file) => {
                let media_id = MediaId::generate();
                files.push(media::new(media_id, sender, id, file, now)?);
                Some(media_id)
            }
            _ => None,
        };
        events.push((event(&one, id, media_id, &quoted), report.wish));
        models.push(incoming_messages::ActiveModel {
            id: Set(id.0),
            sender: Set(sender.to_string()),
            dedupe_key: Set(one.dedupe_key),
            peer: Set(report.contact.peer()),
            receive_at_ms: Set(intake.receive_at_ms),
        });
    }
    rows::insert(transaction, models).await?;
    rows::insert(transaction, files).await?;
    Ok(events)
}

/// What the log tells of a person's message: with our ids of the messages that it quotes or reacts to.
fn event(
    one: &Incoming<'_>,
    id: MessageId,
    media_id: Option<MediaId>,
    quoted: &HashMap<ProviderId, MessageId>,
) -> NewEvent {
    let Incoming { intake, sender, report, callback_url, .. } = *one;
    let ours = |provider_id: &str| quoted.get(&(sender.clone(), provider_id.to_owned())).copied();
    let mut content = report.content.clone();
    if let IncomingContent::Reaction(reaction) = &mut content {
        reaction.message_id = ours(&reaction.provider_message_id);
    }
    let opens = report.content.opens_window();
    let message = IncomingMessage {
        message_id: id,
        media_id,
        provider_message_id: report.provider_message_id.clone(),
        contact: report.contact.clone(),
        peer: report.contact.peer(),
        profile_name: report.profile_name.clone(),
        content,
        reply_to: reply_to(report, ours),
        referral: report.referral.clone(),
        window_expire_at_ms: opens.then(|| window::expiry(report.occur_at_ms, intake.receive_at_ms)),
        forwarded: report.forwarded,
        frequently_forwarded: report.frequently_forwarded,
        backfilled: report.backfilled,
    };
    NewEvent {
        sender: sender.clone(),
        payload: Payload::IncomingMessage(message),
        json: None,
        occur_at_ms: report.occur_at_ms,
        receive_at_ms: intake.receive_at_ms,
        report_key: None,
        callback: CallbackTo::given(callback_url, None),
    }
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
