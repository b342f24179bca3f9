//! One run: from where the stream stands, with many publishes under way, until something is in the way.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::place::{Known, Newest, Start, start};
use super::remote::{Answer, Behind, Found, Remote, Taken};
use super::wire::outgoing;
use super::{BEAT, Complaints, Held, Sink, Trouble};
use crate::domain::{Event, EventFilter};
use crate::events::{Entry, ReadError};
use crate::store::StoreError;

/// Publishes under way, at most.
const WINDOW: usize = 256;
/// Conditions that fail one after the other until none is made any more.
const PATIENCE: u32 = 3;
/// How long answers are awaited when the gateway stops.
const GOODBYE: Duration = Duration::from_secs(2);

/// A run.
struct Run<'s> {
    sink: &'s Sink,
    remote: &'s Remote,
    held: &'s mut Held,
    complaints: &'s mut Complaints,
    bytes_max: usize,
    /// Up to where the log was read.
    read: i64,
    /// Up to where events were published, answered or not.
    sent: i64,
    /// What was read and is not published yet.
    waiting: VecDeque<Arc<Entry>>,
    /// What the next one must be behind.
    behind: Behind,
}

impl Sink {
    /// Looks where the stream stands, and publishes what follows; `Ok` when the gateway stops.
    pub(super) async fn run_on(
        &self,
        remote: &Remote,
        held: &mut Held,
        complaints: &mut Complaints,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        self.keep(held).await?;
        let found = self.look_up(remote, held).await?;
        let start = self.start(found.newest.as_ref(), held).await?;
        tell(start, held.stored, complaints);
        held.position = start.position();
        let (sent, behind) = (held.position, Behind::Sequence(found.sequence));
        let (bytes_max, waiting) = (found.bytes_max, VecDeque::new());
        Run { sink: self, remote, held, complaints, bytes_max, read: sent, sent, waiting, behind }.go(stop).await
    }

    /// Behind many messages of others it may take longer than a lease.
    async fn look_up(&self, remote: &Remote, held: &mut Held) -> Result<Found, Trouble> {
        let mut looking = pin!(remote.look_up());
        loop {
            tokio::select! {
                found = &mut looking => return found,
                trouble = remote.lost() => return Err(trouble),
                () = tokio::time::sleep(BEAT) => self.keep(held).await?,
            }
        }
    }

    async fn start(&self, newest: Option<&Newest>, held: &Held) -> Result<Start, StoreError> {
        let mut at_newest = None;
        if let Some(newest) = newest.filter(|newest| newest.cursor.epoch == self.store.epoch()) {
            let position = newest.cursor.position;
            let event = self.store.events_after(position - 1, 1).await?.pop();
            at_newest = event.filter(|event| event.position == position).map(|event| event.id);
        }
        let head = self.store.log_head().await?;
        let oldest = self.store.log_oldest().await? - 1;
        let known = Known { epoch: self.store.epoch(), head, oldest, at_newest, own: held.position, from: held.from };
        Ok(start(newest, &known))
    }
}

/// What an operator must know of where it begins.
fn tell(start: Start, stored: i64, complaints: &mut Complaints) {
    let told = std::mem::replace(&mut complaints.other_log, matches!(start, Start::OtherLog(_)));
    match start {
        Start::Lost(position, count) => {
            tracing::error!(position, count, "the stream lost the end of what it had taken; publishing it again");
        }
        Start::OtherLog(_) if told => {}
        Start::OtherLog(position) => {
            metrics::counter!("recado_nats_other_log_total").increment(1);
            tracing::error!(
                position,
                "the stream holds events of another database, or of this one before it was put back to an older state; \
                 going on behind them from the sink's own place"
            );
        }
        Start::Stream(position) | Start::Own(position) | Start::Asked(position) => {
            tracing::debug!(position, stored, ?start, "publishing");
        }
    }
}

impl Run<'_> {
    async fn go(mut self, stop: &CancellationToken) -> Result<(), Trouble> {
        let mut under_way = FuturesOrdered::new();
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + BEAT, BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let log = self.sink.log.clone();
        let mut announced = log.announcements();
        loop {
            if announced.has_changed().unwrap_or(false) {
                announced.mark_unchanged();
                // What was erased must not go out as it was read before.
                self.waiting.clear();
                self.read = self.sent;
            }
            while under_way.len() < self.window() {
                let Some(event) = self.next_event().await? else { break };
                under_way.push_back(self.publish(&event).await?);
            }
            let caught_up = self.waiting.is_empty() && under_way.len() < self.window();
            if caught_up && under_way.is_empty() {
                // Further than the last answer where the end of the log was removed unpublished.
                self.held.position = self.held.position.max(self.read);
            }
            tokio::select! {
                Some((position, taken)) = under_way.next() => {
                    self.hear(position, taken)?;
                    self.complaints.over();
                }
                () = log.wait_beyond(self.read), if caught_up => {}
                _ = beat.tick() => {
                    self.sink.keep(self.held).await?;
                    if under_way.is_empty() {
                        self.complaints.over();
                    }
                }
                trouble = self.remote.lost() => return Err(trouble),
                () = stop.cancelled() => break,
            }
        }
        let goodbye = async {
            while let Some((position, taken)) = under_way.next().await {
                self.hear(position, taken)?;
            }
            Ok(())
        };
        // What is not answered by then may be in the stream all the same: the next run looks.
        tokio::time::timeout(GOODBYE, goodbye).await.unwrap_or(Ok(()))
    }

    fn window(&self) -> usize {
        if self.held.alone { 1 } else { WINDOW }
    }

    /// The next event; `None` when there is none yet.
    async fn next_event(&mut self) -> Result<Option<Arc<Entry>>, Trouble> {
        if self.waiting.is_empty() {
            match self.sink.log.read(self.read, &EventFilter::default()).await {
                Ok(read) => {
                    self.read = read.position;
                    self.waiting.extend(read.events);
                }
                Err(ReadError::Compacted { oldest }) => {
                    // Not again when another run comes to the same gap.
                    let count = (oldest - self.read.max(self.complaints.skipped)).max(0);
                    if count > 0 {
                        self.complaints.skipped = oldest;
                        metrics::counter!("recado_nats_skipped_total").increment(count.unsigned_abs());
                        tracing::error!(
                            count,
                            "retention removed events before they were published; going on after them"
                        );
                    }
                    self.read = oldest;
                    self.sent = oldest;
                }
                Err(ReadError::Store(error)) => return Err(error.into()),
            }
        }
        Ok(self.waiting.pop_front())
    }

    async fn publish(&mut self, event: &Event) -> Result<Answer, Trouble> {
        let message = outgoing(&self.remote.prefix, event, self.sink.store.epoch(), self.bytes_max);
        self.sent = event.position;
        let next = Behind::Event(message.event_id.clone());
        let behind = std::mem::replace(&mut self.behind, next);
        let behind = if self.held.alone { Behind::Anything } else { behind };
        self.remote.publish(message, behind).await
    }

    /// Answers come in the order of publishing, and the first that is none ends the run: what is before is all there.
    fn hear(&mut self, position: i64, taken: Result<Taken, Trouble>) -> Result<(), Trouble> {
        let held = &mut *self.held;
        match taken {
            Ok(Taken::Newly { left_out }) => {
                metrics::counter!("recado_nats_published_total").increment(1);
                if let Some(bytes) = left_out {
                    metrics::counter!("recado_nats_left_out_total").increment(1);
                    tracing::error!(
                        position,
                        bytes,
                        "an event is larger than NATS takes; published without its payload"
                    );
                }
                held.position = position;
                (held.from, held.alone, held.overtaken) = (None, false, 0);
                Ok(())
            }
            // If others follow it in the stream, no condition holds behind it.
            Ok(Taken::Before) => {
                held.position = position;
                (held.from, held.alone) = (Some(position), true);
                Ok(())
            }
            Err(Trouble::Overtaken) => {
                metrics::counter!("recado_nats_overtaken_total").increment(1);
                held.overtaken += 1;
                held.alone |= held.overtaken >= PATIENCE;
                Err(Trouble::Overtaken)
            }
            Err(trouble) => Err(trouble),
        }
    }
}
