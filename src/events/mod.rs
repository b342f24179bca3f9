//! The event log as its readers see it: one reader of the database per process, a ring of what was written last, and
//! everyone reading at their own pace. Writers never wait for readers.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::{Event, EventFilter};
use crate::store::{Announced, Appended, Store, StoreError};

/// Events that one read of the database brings, at most.
const PAGE: u64 = 500;
/// The same for one stream, which holds them until they are sent.
const SHARE: u64 = 128;
/// Events that one read of the ring brings, at most.
const SLICE: usize = 256;
/// How often the database is asked for what other replicas wrote.
const POLL_SHARED: Duration = Duration::from_millis(25);
/// The same where nobody else writes: only a safeguard.
const POLL_ALONE: Duration = Duration::from_secs(1);

/// The log of this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    ring: RwLock<Ring>,
    head: watch::Sender<i64>,
    gap: Notify,
    /// What all replicas hear of: what will be removed, what was erased.
    announced: watch::Sender<Announced>,
}

/// An event as readers share it.
#[derive(Debug)]
pub struct Entry {
    event: Arc<Event>,
    answer: OnceLock<Bytes>,
}

impl Entry {
    fn new(event: Arc<Event>) -> Arc<Self> {
        Arc::new(Self { event, answer: OnceLock::new() })
    }

    /// What all streams that see everything send of it: encoded by the first of them.
    pub fn answer(&self, encode: impl FnOnce(&Event) -> Bytes) -> Bytes {
        self.answer.get_or_init(|| encode(&self.event)).clone()
    }
}

impl Deref for Entry {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}

/// The newest events, without gaps.
#[derive(Debug)]
struct Ring {
    events: VecDeque<Arc<Entry>>,
    capacity: usize,
    /// The place of the newest event that is known.
    head: i64,
}

impl Ring {
    /// Takes in what follows on the head; `false` when something is missing in between. What is known already is skipped.
    fn push(&mut self, appended: &[Arc<Event>]) -> bool {
        for event in appended {
            if event.position <= self.head {
                continue;
            }
            if event.position != self.head + 1 {
                return false;
            }
            self.head = event.position;
            self.events.push_back(Entry::new(event.clone()));
        }
        let over = self.events.len().saturating_sub(self.capacity);
        self.events.drain(..over);
        true
    }

    /// What follows on a place, if the ring reaches back that far.
    fn after(&self, position: i64) -> Option<Vec<Arc<Entry>>> {
        let first = self.events.front()?.position;
        let skip = usize::try_from(position + 1 - first).ok()?;
        Some(self.events.iter().skip(skip).take(SLICE).cloned().collect())
    }
}

/// What a read brought.
#[derive(Debug)]
pub struct Read {
    /// What passed the filter, in order.
    pub events: Vec<Arc<Entry>>,
    /// Up to where nothing is missing.
    pub position: i64,
    /// Whether that is the head.
    pub caught_up: bool,
}

/// Why the log could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The place was removed.
    #[error("the place was removed; the oldest that is kept follows {oldest}")]
    Compacted {
        /// The place before the oldest event.
        oldest: i64,
    },
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Log {
    /// The log, from its present head on.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn open(store: Store, capacity: usize) -> Result<Self, StoreError> {
        let head = store.log_head().await?;
        let ring = Ring { events: VecDeque::with_capacity(capacity), capacity, head };
        let announced = watch::Sender::new(store.announced().await?);
        let head = watch::Sender::new(head);
        let inner = Inner { store, ring: RwLock::new(ring), head, gap: Notify::new(), announced };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes in what was just committed. What another commit of this moment comes before is left to [`Log::run`].
    pub fn appended(&self, events: &Appended) {
        if !self.push(events) {
            self.inner.gap.notify_one();
        }
    }

    fn push(&self, events: &[Arc<Event>]) -> bool {
        // No code panics while it holds the lock.
        let mut ring = self.inner.ring.write().unwrap_or_else(|e| e.into_inner());
        let whole = ring.push(events);
        let head = ring.head;
        drop(ring);
        self.inner.head.send_if_modified(|known| std::mem::replace(known, head) != head);
        whole
    }

    /// Reads what others wrote, and what came out of turn, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let poll = if self.inner.store.is_exclusive() { POLL_ALONE } else { POLL_SHARED };
        loop {
            tokio::select! {
                () = self.inner.gap.notified() => {}
                () = tokio::time::sleep(poll) => {}
                () = stop.cancelled() => return,
            }
            loop {
                match self.inner.store.events_after(self.head(), PAGE).await {
                    Ok(events) if events.is_empty() => break,
                    Ok(events) => {
                        let events: Vec<_> = events.into_iter().map(Arc::new).collect();
                        if !self.push(&events) {
                            // Trimmed under our feet: the ring starts anew at what is kept.
                            self.restart(&events);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the log could not be read");
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        break;
                    }
                }
            }
        }
    }

    fn restart(&self, events: &[Arc<Event>]) {
        let mut ring = self.inner.ring.write().unwrap_or_else(|e| e.into_inner());
        if let Some(first) = events.first()
            && first.position > ring.head
        {
            ring.events.clear();
            ring.head = first.position - 1;
            ring.push(events);
        }
        let head = ring.head;
        drop(ring);
        self.inner.head.send_replace(head);
    }

    /// Takes in what was announced, here or by another replica. After an erasure the ring begins anew: what it held may be
    /// what was erased.
    pub fn hear(&self, announced: Announced) {
        // The ring first: whoever hears of the erasure and reads again must not find there what was erased.
        if self.inner.announced.borrow().erasures != announced.erasures {
            self.inner.ring.write().unwrap_or_else(|e| e.into_inner()).events.clear();
        }
        self.inner.announced.send_if_modified(|known| std::mem::replace(known, announced) != announced);
    }

    /// Up to which place events will be removed, as it is announced.
    pub fn announcements(&self) -> watch::Receiver<Announced> {
        self.inner.announced.subscribe()
    }

    /// The place of the newest event that is known here.
    pub fn head(&self) -> i64 {
        *self.inner.head.borrow()
    }

    /// Waits until the head lies after a place.
    pub async fn wait_beyond(&self, position: i64) {
        let mut head = self.inner.head.subscribe();
        // The sender lives in `self`.
        let _ = head.wait_for(|head| *head > position).await;
    }

    /// Reads on from a place: from the ring, or from the database where the ring does not reach back that far.
    ///
    /// The way to the database is boxed: streams that wait for what is new do not go it, and need no room for it.
    ///
    /// # Errors
    /// [`ReadError::Compacted`] when what follows was removed; the store's.
    pub async fn read(&self, position: i64, filter: &EventFilter) -> Result<Read, ReadError> {
        let head = self.head();
        if position >= head {
            return Ok(Read { events: Vec::new(), position, caught_up: true });
        }
        let in_ring = self.inner.ring.read().unwrap_or_else(|e| e.into_inner()).after(position);
        let events = match in_ring {
            Some(events) => events,
            None if !filter.message_ids.is_empty() => {
                return Box::pin(self.read_by_message(position, head, filter)).await;
            }
            None => Box::pin(self.page(position)).await?,
        };
        let position = events.last().map_or(position, |event| event.position);
        let events = events.into_iter().filter(|event| filter.lets_through(event)).collect();
        Ok(Read { events, position, caught_up: position >= head })
    }

    async fn page(&self, position: i64) -> Result<Vec<Arc<Entry>>, ReadError> {
        let events = self.inner.store.events_after(position, SHARE).await?;
        match events.first() {
            // Places have no gaps, so one that is missing was removed.
            Some(first) if first.position != position + 1 => Err(ReadError::Compacted { oldest: first.position - 1 }),
            None => Err(ReadError::Compacted { oldest: self.inner.store.log_head().await? }),
            _ => Ok(events.into_iter().map(|event| Entry::new(Arc::new(event))).collect()),
        }
    }

    /// The history of a few messages, by their index, up to a head; then the walk goes on from there.
    async fn read_by_message(&self, position: i64, head: i64, filter: &EventFilter) -> Result<Read, ReadError> {
        let found = self.inner.store.events_of_messages_after(&filter.message_ids, position, SHARE).await?;
        // Asked after the read: what is there now was there then.
        if self.inner.store.record_time(position + 1).await?.is_none() {
            return Err(ReadError::Compacted { oldest: self.inner.store.log_oldest().await? - 1 });
        }
        let full = found.len() as u64 == SHARE;
        let known = found.into_iter().filter(|event| event.position <= head);
        let events: Vec<_> = known.map(|event| Entry::new(Arc::new(event))).collect();
        let position = match events.last() {
            Some(last) if full => last.position,
            _ => head,
        };
        let events = events.into_iter().filter(|event| filter.lets_through(event)).collect();
        Ok(Read { events, position, caught_up: position >= head })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{SenderChange, SenderChanged};
    use crate::domain::{EventId, Payload, SenderId};

    fn events(positions: std::ops::RangeInclusive<i64>) -> Vec<Arc<Event>> {
        let event = |position| Event {
            position,
            id: EventId::generate(),
            occur_at_ms: None,
            receive_at_ms: 0,
            record_at_ms: 0,
            sender: SenderId::trusted("s".into()),
            payload: Payload::SenderChanged(SenderChanged::ours(SenderChange::Updated, "")),
            erase_at_ms: None,
        };
        positions.map(|position| Arc::new(event(position))).collect()
    }

    fn places(events: Option<Vec<Arc<Entry>>>) -> Option<Vec<i64>> {
        events.map(|events| events.iter().map(|event| event.position).collect())
    }

    #[test]
    fn the_ring_has_no_gaps_and_no_repeats() {
        let mut ring = Ring { events: VecDeque::new(), capacity: 4, head: 10 };
        assert!(ring.push(&events(11..=12)));
        assert!(!ring.push(&events(14..=14)), "13 is missing");
        assert!(ring.push(&events(12..=15)));
        assert_eq!(places(ring.after(12)), Some(vec![13, 14, 15]));
        assert_eq!(places(ring.after(15)), Some(vec![]));
        assert_eq!(places(ring.after(10)), None, "11 fell out");
    }
}
