//! People who do not want to be written to. Each change and its event are one transaction.

use std::collections::{BTreeSet, HashMap};

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult};

use super::log::{self, Appended, NewEvent};
use super::noted::Note;
use super::{Store, StoreError, rows};
use crate::domain::event::{ContactChange, ContactChanged};
use crate::domain::opt_out::{OptOut, OptOutCategory, OptOutSource, Wish};
use crate::domain::{Contact, MessageId, Millis, NewMessage, Payload, SenderId, now_ms};

/// Which opt-outs a list holds: AND across, OR within; an empty list lets everything through.
#[derive(Debug, Clone, Default)]
pub struct OptOutFilter {
    /// Of these people.
    pub peers: Vec<String>,
    /// Of these categories.
    pub categories: Vec<OptOutCategory>,
    /// After this one: where a page goes on.
    pub after: Option<(String, OptOutCategory)>,
}

/// What a person said about being written to, with where it was said.
#[derive(Debug, Clone)]
pub(super) struct Said<'a> {
    pub sender: &'a SenderId,
    pub contact: &'a Contact,
    pub wish: Wish,
    /// The incoming message that said so.
    pub message_id: MessageId,
    /// By the provider's clock.
    pub at_ms: Millis,
    pub receive_at_ms: Millis,
}

impl<'a> Said<'a> {
    /// What an incoming message said; nothing of somebody who has no name at all.
    pub fn of(event: &'a NewEvent, wish: Wish) -> Option<Self> {
        let Payload::IncomingMessage(message) = &event.payload else { return None };
        (!message.peer.is_empty()).then_some(Self {
            sender: &event.sender,
            contact: &message.contact,
            wish,
            message_id: message.message_id,
            at_ms: event.occur_at_ms.unwrap_or(event.receive_at_ms),
            receive_at_ms: event.receive_at_ms,
        })
    }
}

/// Writes down what people said; gives the events of what is news. What is out of order errs on the side of silence: an
/// older word never ends an opt-out.
pub(super) async fn hear(transaction: &DatabaseTransaction, said: &[Said<'_>]) -> Result<Vec<NewEvent>, StoreError> {
    let mut events = Vec::new();
    for said in said {
        let Said { sender, contact, wish: Wish { out, category, source }, message_id, at_ms, .. } = *said;
        let change = |kind, opt_out| ContactChanged { kind, opt_out, source, message_id: Some(message_id) };
        match out {
            true => {
                let new = OptOut {
                    sender: sender.clone(),
                    peer: contact.peer(),
                    category,
                    source,
                    create_at_ms: at_ms,
                    message_id: Some(message_id),
                    contact: contact.clone(),
                    note: String::new(),
                };
                if insert(transaction, &new, at_ms).await? {
                    events.push(event(change(ContactChange::OptedOut, new), Some(at_ms), said.receive_at_ms));
                } else {
                    repeat(transaction, &new, at_ms).await?;
                }
            }
            false => {
                // Providers tell seconds, and two words of one second are taken in the order in which they came.
                let until_ms = at_ms - at_ms.rem_euclid(1_000) + 999;
                for peer in contact.peers().collect::<BTreeSet<_>>() {
                    if let Some(gone) = delete(transaction, sender, &peer, category, until_ms).await? {
                        events.push(event(change(ContactChange::OptedIn, gone), Some(at_ms), said.receive_at_ms));
                    }
                }
            }
        }
    }
    Ok(events)
}

fn event(changed: ContactChanged, occur_at_ms: Option<Millis>, receive_at_ms: Millis) -> NewEvent {
    metrics::counter!("recado_contact_changes_total", "source" => changed.source.as_str()).increment(1);
    NewEvent {
        sender: changed.opt_out.sender.clone(),
        payload: Payload::ContactChanged(changed),
        json: None,
        occur_at_ms,
        receive_at_ms,
        report_key: None,
        callback: None,
    }
}

async fn insert(connection: &impl ConnectionTrait, new: &OptOut, last_at_ms: Millis) -> Result<bool, StoreError> {
    let text = "INSERT INTO opt_outs (sender, peer, category, last_at_ms, document) VALUES ($1, $2, $3, $4, $5) \
                ON CONFLICT (sender, peer, category) DO NOTHING";
    let document = serde_json::to_string(new).map_err(|e| StoreError::Fault(e.to_string()))?;
    let [sender, peer, category] = key(&new.sender, &new.peer, new.category);
    let values = [sender, peer, category, last_at_ms.into(), document.into()];
    let statement = rows::statement(connection.get_database_backend(), text, values);
    Ok(connection.execute_raw(statement).await?.rows_affected() == 1)
}

/// Somebody says once more what is known.
async fn repeat(transaction: &DatabaseTransaction, said: &OptOut, at_ms: Millis) -> Result<(), StoreError> {
    let text =
        "UPDATE opt_outs SET last_at_ms = $4 WHERE sender = $1 AND peer = $2 AND category = $3 AND last_at_ms < $4";
    let [sender, peer, category] = key(&said.sender, &said.peer, said.category);
    let values = [sender, peer, category, at_ms.into()];
    transaction.execute_raw(rows::statement(transaction.get_database_backend(), text, values)).await?;
    Ok(())
}

/// Ends an opt-out that was not said again after `until_ms`.
async fn delete(
    connection: &impl ConnectionTrait,
    sender: &SenderId,
    peer: &str,
    category: OptOutCategory,
    until_ms: Millis,
) -> Result<Option<OptOut>, StoreError> {
    let text = "DELETE FROM opt_outs WHERE sender = $1 AND peer = $2 AND category = $3 AND last_at_ms <= $4 \
                RETURNING document";
    let [sender, peer, category] = key(sender, peer, category);
    let values = [sender, peer, category, until_ms.into()];
    let row = connection.query_one_raw(rows::statement(connection.get_database_backend(), text, values)).await?;
    row.as_ref().map(read).transpose()
}

fn key(sender: &SenderId, peer: &str, category: OptOutCategory) -> [Value; 3] {
    [sender.as_str().into(), peer.into(), (category as i16).into()]
}

fn read(row: &QueryResult) -> Result<OptOut, StoreError> {
    let document: String = row.try_get("", "document")?;
    serde_json::from_str(&document).map_err(|e| StoreError::Fault(format!("an opt-out cannot be read: {e}")))
}

/// Of messages on their way into the store, those that an opt-out stands against, by place in the list: one statement a
/// sender that has any.
pub(super) async fn against<'a>(
    transaction: &DatabaseTransaction,
    messages: impl Iterator<Item = (usize, &'a NewMessage)>,
) -> Result<HashMap<usize, OptOut>, StoreError> {
    let mut by_sender: HashMap<&SenderId, Vec<(usize, &NewMessage)>> = HashMap::new();
    for (index, request) in messages {
        by_sender.entry(&request.sender).or_default().push((index, request));
    }
    let backend = transaction.get_database_backend();
    let list = match backend {
        DbBackend::Postgres => "SELECT jsonb_array_elements_text($2::jsonb)",
        _ => "SELECT value FROM json_each($2)",
    };
    let text = format!("SELECT peer, document FROM opt_outs WHERE sender = $1 AND peer IN ({list})");
    let mut found = HashMap::new();
    for (sender, requests) in by_sender {
        let peers: BTreeSet<String> = requests.iter().map(|(_, request)| request.to.peer()).collect();
        let peers = serde_json::to_string(&peers).map_err(|e| StoreError::Fault(e.to_string()))?;
        let values: [Value; 2] = [sender.as_str().into(), peers.into()];
        let rows = transaction.query_all_raw(rows::statement(backend, &text, values)).await?;
        let opt_outs = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        for (index, request) in requests {
            let peer = request.to.peer();
            let mut stand = opt_outs.iter().filter(|out| out.peer == peer && out.stands_against(request));
            found.extend(stand.next().map(|out| (index, out.clone())));
        }
    }
    Ok(found)
}

impl Store {
    /// Whether anybody opted out of a sender, as far as this process knows: another replica's word is heard within seconds.
    pub fn has_opt_outs(&self, sender: &SenderId) -> bool {
        self.inner.noted.has(Note::OptOut, sender)
    }

    /// Notes that somebody does not want to be written to; the event, and the opt-out as it stands: an earlier one stays.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn create_opt_out(&self, new: OptOut) -> Result<(OptOut, Appended), StoreError> {
        let transaction = self.begin().await?;
        if !insert(&transaction, &new, new.create_at_ms).await? {
            transaction.rollback().await?;
            let filter = OptOutFilter { peers: vec![new.peer.clone()], categories: vec![new.category], after: None };
            let there = self.opt_outs(&new.sender, &filter, 1).await?.pop();
            // Gone again in this very moment: what was asked for was so for a while.
            return Ok((there.unwrap_or(new), Appended::new()));
        }
        let change = ContactChanged {
            kind: ContactChange::OptedOut,
            opt_out: new.clone(),
            source: OptOutSource::Api,
            message_id: None,
        };
        let appended = append(&transaction, change).await?;
        transaction.commit().await?;
        self.inner.noted.add([(Note::OptOut, new.sender.clone())]);
        Ok((new, appended))
    }

    /// Notes that somebody wants to be written to again; `None` when they did not opt out.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn delete_opt_out(
        &self,
        sender: &SenderId,
        peer: &str,
        category: OptOutCategory,
    ) -> Result<Option<Appended>, StoreError> {
        let transaction = self.begin().await?;
        let Some(opt_out) = delete(&transaction, sender, peer, category, Millis::MAX).await? else {
            transaction.rollback().await?;
            return Ok(None);
        };
        let change =
            ContactChanged { kind: ContactChange::OptedIn, opt_out, source: OptOutSource::Api, message_id: None };
        let appended = append(&transaction, change).await?;
        transaction.commit().await?;
        Ok(Some(appended))
    }

    /// Opt-outs of a sender that pass, by peer and category.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn opt_outs(
        &self,
        sender: &SenderId,
        filter: &OptOutFilter,
        limit: u64,
    ) -> Result<Vec<OptOut>, StoreError> {
        let backend = self.read().get_database_backend();
        let mut text = "SELECT document FROM opt_outs WHERE sender = $1".to_owned();
        let mut values: Vec<Value> = vec![sender.as_str().into()];
        let mut mark = |value: Value| {
            values.push(value);
            format!("${}", values.len())
        };
        if !filter.peers.is_empty() {
            let marks: Vec<String> = filter.peers.iter().map(|peer| mark(peer.as_str().into())).collect();
            text.push_str(&format!(" AND peer IN ({})", marks.join(", ")));
        }
        if !filter.categories.is_empty() {
            let marks: Vec<String> = filter.categories.iter().map(|category| mark((*category as i16).into())).collect();
            text.push_str(&format!(" AND category IN ({})", marks.join(", ")));
        }
        if let Some((peer, category)) = &filter.after {
            let (peer, category) = (mark(peer.as_str().into()), mark((*category as i16).into()));
            text.push_str(&format!(" AND (peer, category) > ({peer}, {category})"));
        }
        text.push_str(&format!(" ORDER BY peer, category LIMIT {limit}"));
        let found = self.read().query_all_raw(rows::statement(backend, &text, values)).await?;
        found.iter().map(read).collect()
    }

    /// What stands against a message by what people said, without storing anything.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn opt_out_against(&self, request: &NewMessage) -> Result<Option<OptOut>, StoreError> {
        let filter = OptOutFilter { peers: vec![request.to.peer()], ..OptOutFilter::default() };
        let found = self.opt_outs(&request.sender, &filter, 10).await?;
        Ok(found.into_iter().find(|opt_out| opt_out.stands_against(request)))
    }
}

async fn append(transaction: &DatabaseTransaction, change: ContactChanged) -> Result<Appended, StoreError> {
    let now = now_ms();
    let places = log::take_places(transaction, 1, now).await?;
    log::append(transaction, places, vec![event(change, None, now)]).await
}
