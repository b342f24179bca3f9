//! Erases what is kept of a person, when an operator asks for it.
//!
//! In an order in which a run that was cut off can be made again: what others are found by goes last. First it is learnt what
//! the person is called and what was said, from the log; then go webhooks, parked reports, files and events, and at the end
//! what the messages themselves hold. The log is read again from where it was, for what came meanwhile.

use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::erasure::{Mentions, Person};
use crate::domain::event::EventType;
use crate::domain::{Event, MessageId, Payload, SenderId, now_ms};
use crate::events::Log;
use crate::media::Shelf;
use crate::senders::Senders;
use crate::store::{Store, StoreError, Writer};

/// Events that are looked at together.
const PAGE: u64 = 500;
/// Webhooks that are looked through together: each may have some megabytes.
const WEBHOOKS: u64 = 16;

/// Who is to be erased, and where.
#[derive(Debug, Clone)]
pub struct Erasure {
    /// What is erased from.
    pub store: Store,
    /// What cancels messages.
    pub writer: Writer,
    /// Whose memory is cleared.
    pub log: Log,
    /// Where files are.
    pub shelf: Shelf,
    /// Under whose key webhooks are sealed.
    pub accounts: Arc<Senders>,
    /// The person, as far as the operator knows.
    pub person: Person,
    /// At these senders; empty: at all.
    pub senders: Vec<SenderId>,
}

/// How much was erased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// What the person is called.
    pub names: Vec<String>,
    /// Messages to them.
    pub messages: u64,
    /// Those among them that waited.
    pub cancelled: u64,
    /// Those that are not over, and were left.
    pub left: u64,
    /// Messages of them.
    pub incoming: u64,
    /// Entries of the log.
    pub events: u64,
    /// Files.
    pub media: u64,
    /// Webhooks.
    pub webhooks: u64,
    /// Webhooks that are not parsed yet.
    pub left_webhooks: u64,
    /// Reports that matched nothing.
    pub parked: u64,
}

/// Why it stopped in the middle; calling again goes on.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// So many messages that nothing can look for all of them at once.
    #[error("the person cannot be looked for: {0}")]
    TooMany(#[from] aho_corasick::BuildError),
    /// The media store's.
    #[error("the media store does not remove a file: {0}")]
    Shelf(#[from] object_store::Error),
}

/// What the log and the tables tell of a person.
#[derive(Debug, Default)]
struct Traces {
    positions: Vec<i64>,
    incoming: HashSet<MessageId>,
    messages: HashSet<MessageId>,
    provider_ids: HashSet<String>,
    names: HashSet<String>,
    head: i64,
}

/// The senders that an event happened at: of a message also those of its fallbacks.
fn senders_of(event: &Event) -> impl Iterator<Item = &SenderId> {
    let others = match &event.payload {
        Payload::StatusChanged(status) => [status.via_sender.as_ref(), status.next_sender.as_ref()],
        _ => [None, None],
    };
    std::iter::once(&event.sender).chain(others.into_iter().flatten())
}

impl Erasure {
    /// Erases; what is left waits for something to end.
    ///
    /// # Errors
    /// When a store is away; then a part is erased.
    pub async fn run(mut self) -> Result<Erased, EraseError> {
        let mut traces = self.look(0).await?;
        if !traces.names.is_empty() {
            // Also what says only the name that stood beside one of the given.
            self.person = self.person.with(traces.names.drain());
            traces = self.look(0).await?;
        }
        let mut erased = Erased { names: self.person.names().map(str::to_owned).collect(), ..Erased::default() };
        self.messages_to(&mut traces, &mut erased).await?;
        for (id, provider_id) in self.store.incoming_of(&erased.names, &self.senders).await? {
            traces.incoming.insert(id);
            traces.provider_ids.extend(provider_id);
        }
        self.webhooks(&traces, &mut erased).await?;
        self.parked(&traces, &mut erased).await?;
        self.files(&traces, &mut erased).await?;
        // The bodies of callbacks are events, and go with them.
        erased.events += self.store.erase_events(&traces.positions, now_ms()).await?;
        let incoming: Vec<MessageId> = traces.incoming.iter().copied().collect();
        erased.incoming = self.store.erase_incoming(&incoming).await?;
        loop {
            match self.store.erase_messages(&erased.names, &self.senders, now_ms()).await? {
                0 => break,
                count => erased.messages += count,
            }
            tokio::task::yield_now().await;
        }
        self.store.forget_person(&erased.names, &self.senders).await?;
        let meanwhile = self.look(traces.head).await?;
        erased.events += self.store.erase_events(&meanwhile.positions, now_ms()).await?;
        if erased.events > 0 {
            self.store.announce_erasure().await?;
            self.log.hear(self.store.announced().await?);
        }
        self.store.empty_wal().await?;
        Ok(erased)
    }

    /// Reads the log from a place to its end.
    async fn look(&self, after: i64) -> Result<Traces, StoreError> {
        let mut traces = Traces { head: after, ..Traces::default() };
        loop {
            let page = self.store.events_after(traces.head, PAGE).await?;
            let Some(last) = page.last() else { return Ok(traces) };
            traces.head = last.position;
            for event in &page {
                let reached = senders_of(event).any(|sender| self.is_in_reach(sender));
                if reached && self.person.is_meant(&event.payload) {
                    traces.learn(&self.person, event);
                }
            }
        }
    }

    fn is_in_reach(&self, sender: &SenderId) -> bool {
        self.senders.is_empty() || self.senders.contains(sender)
    }

    /// Cancels what waits, and counts what must be left.
    async fn messages_to(&self, traces: &mut Traces, erased: &mut Erased) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let page = self.store.messages_to(&erased.names, &self.senders, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.seq;
            for message in page {
                let mut status = message.status;
                if status.is_waiting()
                    && let Some(outcome) = self.writer.cancel(message.id).await?
                {
                    erased.cancelled += u64::from(outcome.is_ok());
                    status = outcome.unwrap_or_else(|status| status);
                }
                erased.left += u64::from(!crate::domain::retention::may_go(status));
                traces.messages.insert(message.id);
                traces.provider_ids.extend(message.provider_ids);
            }
        }
    }

    async fn webhooks(&self, traces: &Traces, erased: &mut Erased) -> Result<(), EraseError> {
        let mentions = Mentions::new(&self.person, traces.provider_ids.iter().map(String::as_str))?;
        let mut after = 0;
        loop {
            let page = self.store.kept_webhooks(after, WEBHOOKS).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            let mut ids = Vec::new();
            for webhook in &page {
                // One that was sealed under another key nobody can read, nor say of that it does not name the person.
                let body = self.accounts.unseal_webhook(&webhook.sender, &webhook.body);
                let meant = || body.map_or(true, |body| mentions.are_in(&body));
                if !self.is_in_reach(&webhook.sender) || !meant() {
                    continue;
                }
                match webhook.pending {
                    true => erased.left_webhooks += 1,
                    false => ids.push(webhook.id),
                }
            }
            erased.webhooks += self.store.erase_webhooks(&ids, now_ms()).await?;
            tokio::task::yield_now().await;
        }
    }

    async fn parked(&self, traces: &Traces, erased: &mut Erased) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let page = self.store.parked_after(after).await?;
            let Some((last, ..)) = page.last() else { return Ok(()) };
            after = *last;
            let is_meant = |sender: &SenderId, report: &crate::provider::StatusReport| {
                self.is_in_reach(sender)
                    && (report.contact.as_ref().is_some_and(|contact| self.person.is(contact))
                        || report.message_id.is_some_and(|id| traces.messages.contains(&id))
                        || report.provider_message_id.as_ref().is_some_and(|id| traces.provider_ids.contains(id)))
            };
            let meant = page.iter().filter(|(_, sender, report)| is_meant(sender, report)).map(|(id, ..)| *id);
            erased.parked += self.store.forget_parked(&meant.collect()).await?;
        }
    }

    /// A file goes after its row says so, and its name after it is gone: whoever is cut off in between finds it again.
    async fn files(&self, traces: &Traces, erased: &mut Erased) -> Result<(), EraseError> {
        let incoming: Vec<MessageId> = traces.incoming.iter().copied().collect();
        let ids = self.store.media_of(&incoming).await?;
        for list in ids.chunks(WEBHOOKS as usize) {
            self.store.erase_media(list, now_ms()).await?;
            for id in list {
                self.shelf.remove(*id).await?;
            }
            erased.media += self.store.erase_media_names(list).await?;
        }
        Ok(())
    }
}

impl Traces {
    fn learn(&mut self, person: &Person, event: &Event) {
        self.positions.push(event.position);
        self.names.extend(person.other_names(&event.payload));
        let (kind, id) = (event.payload.event_type(), event.payload.message_id());
        match kind {
            EventType::IncomingMessage => self.incoming.extend(id),
            _ => self.messages.extend(id),
        }
        self.provider_ids.extend(match &event.payload {
            Payload::StatusChanged(status) => status.provider_message_id.clone(),
            Payload::IncomingMessage(incoming) => incoming.provider_message_id.clone(),
            Payload::TemplateChanged(_) | Payload::SenderChanged(_) | Payload::ContactChanged(_) => None,
        });
    }
}
