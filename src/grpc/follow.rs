//! One open stream: reads the log at its own pace, and ends in words.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::MissedTickBehavior;
use tonic::Status;
use uuid::Uuid;

use super::{SOON, Services, answer, seen, status};
use crate::access::Caller;
use crate::domain::{Cursor, EventFilter, Millis, now_ms};
use crate::error::Error;
use crate::events::{Entry, Read, ReadError};
use crate::proto;
use crate::proto::stream_events_response::Item;

/// How often a stream looks whether it may go on: its key, and its hold on a subscription.
const WATCH: Duration = Duration::from_secs(1);

/// A hold on a named subscription.
#[derive(Debug)]
pub(super) struct Named {
    pub owner: String,
    pub name: String,
    pub stream: Uuid,
    pub hold_for: Duration,
}

impl Named {
    /// Until when the hold lasts if it is renewed now.
    pub fn until(&self, now: Millis) -> Millis {
        now + self.hold_for.as_millis() as Millis
    }
}

/// A stream and where it stands.
#[derive(Debug)]
pub(super) struct Follow {
    pub services: Services,
    pub caller: Arc<Caller>,
    pub filter: EventFilter,
    pub position: i64,
    /// The last cursor that the client was sent: what it resumes from.
    pub told: i64,
    pub beat: Duration,
    pub named: Option<Named>,
    pub answers: mpsc::Sender<Bytes>,
    pub end: Arc<OnceLock<Status>>,
}

/// What a client reads: the answers, encoded, and then why there are no more, however late it comes for them. The word needs
/// no place in the channel, so nobody waits for a client that reads nothing.
#[derive(Debug)]
pub struct Answers {
    answers: mpsc::Receiver<Bytes>,
    end: Arc<OnceLock<Status>>,
    ended: bool,
}

impl Answers {
    /// Both ends of a stream that holds so many answers, and the place for its last word.
    pub(super) fn channel(buffer: usize) -> (mpsc::Sender<Bytes>, Arc<OnceLock<Status>>, Self) {
        let (sender, answers) = mpsc::channel(buffer);
        let end = Arc::new(OnceLock::new());
        (sender, end.clone(), Self { answers, end, ended: false })
    }
}

impl futures::Stream for Answers {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match std::task::ready!(self.answers.poll_recv(context)) {
            Some(answer) => Poll::Ready(Some(Ok(answer))),
            None if self.ended => Poll::Ready(None),
            None => {
                self.ended = true;
                Poll::Ready(self.end.get().cloned().map(Err))
            }
        }
    }
}

/// Why a stream ends.
enum End {
    /// The client is gone.
    Gone,
    /// It was said goodbye.
    Stopped,
    /// It is told why.
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Failed(error)
    }
}

impl Follow {
    /// Sends until the client goes, the gateway stops or something ends it.
    pub async fn run(mut self, attached: proto::Attached) {
        metrics::gauge!("recado_streams").increment(1.0);
        let end = self.follow(attached).await;
        metrics::gauge!("recado_streams").decrement(1.0);
        if let Some(named) = &self.named {
            // When the store is away, the hold runs out by itself.
            let _ = Box::pin(self.services.store.release_subscription(&named.owner, &named.name, named.stream)).await;
        }
        let (reason, why) = match end {
            End::Gone => ("CLIENT_GONE".to_owned(), "the client went".to_owned()),
            End::Stopped => ("GOING_AWAY".to_owned(), "the gateway stops".to_owned()),
            End::Failed(error) => {
                let (why, told) = (error.to_string(), Status::from(error));
                let reason = status::reason(&told);
                // Set before the sender is dropped with `self`, which is what the client reads up to.
                let _ = self.end.set(told);
                (reason, why)
            }
        };
        metrics::counter!("recado_streams_ended_total", "reason" => reason).increment(1);
        tracing::info!(key = %self.caller.id, position = self.position, why, "a stream ended");
    }

    async fn follow(&mut self, attached: proto::Attached) -> End {
        match self.steps(attached).await {
            Ok(()) => End::Stopped,
            Err(end) => end,
        }
    }

    /// What is seldom awaited is boxed: thousands of streams do nothing but wait, and each would keep room for all of it.
    async fn steps(&mut self, attached: proto::Attached) -> Result<(), End> {
        self.send(Item::Attached(attached)).await?;
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + self.beat, self.beat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = tokio::time::interval(WATCH);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (services, answers) = (self.services.clone(), self.answers.clone());
        let mut announced = services.log.announcements();
        let mut live = false;
        loop {
            let read = services.log.read(self.position, &self.filter).await.map_err(|error| self.read_error(error))?;
            // Encoded at once: a reader that stops in the midst of them holds the bytes, and not the events.
            let events: Vec<_> = read.events.iter().map(|event| (event.position, self.answer(event))).collect();
            let Read { position, caught_up, .. } = read;
            for (position, answer) in events {
                self.send_encoded(answer).await?;
                self.position = position;
                self.told = position;
            }
            self.position = position;
            // A client whose filter lets little through would come back with a cursor that is gone (T6).
            let goes = announced.borrow_and_update().events;
            if self.told < goes && self.told < self.position {
                Box::pin(self.send_checkpoint()).await?;
            }
            if caught_up && !live {
                live = true;
                self.send(Item::CaughtUp(proto::CaughtUp { cursor: self.cursor() })).await?;
            }
            if services.stop.is_cancelled() {
                return Box::pin(self.say_goodbye()).await;
            }
            if watch.tick().now_or_never().is_some() {
                Box::pin(self.look()).await?;
            }
            if !caught_up {
                // In the midst of a long replay, too.
                if beat.tick().now_or_never().is_some() {
                    Box::pin(self.on_beat()).await?;
                }
                continue;
            }
            tokio::select! {
                () = services.log.wait_beyond(self.position) => {}
                _ = beat.tick() => Box::pin(self.on_beat()).await?,
                _ = watch.tick() => Box::pin(self.look()).await?,
                // The sender lives in the log.
                _ = announced.changed() => {}
                () = services.stop.cancelled() => {}
                () = answers.closed() => return Err(End::Gone),
            }
        }
    }

    /// Whether the stream may go on.
    async fn look(&mut self) -> Result<(), End> {
        if !self.services.access.still_works(&self.caller) {
            return Err(Error::KeyRevoked.into());
        }
        let Some(named) = &self.named else { return Ok(()) };
        let cause = match self.services.store.subscription(&named.owner, &named.name).await {
            Ok(Some(found)) => match found.holder {
                Some(hold) if hold.stream == named.stream => return Ok(()),
                Some(_) => "TAKEN_OVER",
                None => "MOVED",
            },
            Ok(None) => "DELETED",
            Err(error) => {
                tracing::warn!(%error, "a subscription's hold could not be looked at");
                return Ok(());
            }
        };
        Err(Error::SubscriptionTakenOver { cursor: self.cursor(), cause }.into())
    }

    async fn on_beat(&mut self) -> Result<(), End> {
        if let Some(named) = &self.named {
            let until = named.until(now_ms());
            let renewed = self.services.store.renew_hold(&named.owner, &named.name, named.stream, until).await;
            if let Err(error) = renewed {
                tracing::warn!(%error, "a subscription's hold could not be renewed");
            }
        }
        self.send_checkpoint().await
    }

    async fn send_checkpoint(&mut self) -> Result<(), End> {
        let lag_events = (self.services.log.head() - self.position).max(0);
        // The store may be away while the stream lives; then the lag in time is left out.
        let recorded = match lag_events {
            0 => None,
            _ => self.services.store.record_time(self.position + 1).await.ok().flatten(),
        };
        let lag = recorded.map_or(0, |recorded| (now_ms() - recorded).max(0));
        let lag = Some(answer::duration(lag));
        self.send(Item::Checkpoint(proto::Checkpoint { cursor: self.cursor(), lag_events, lag })).await?;
        self.told = self.position;
        Ok(())
    }

    async fn say_goodbye(&mut self) -> Result<(), End> {
        self.send_checkpoint().await?;
        let going = proto::GoingAway {
            cursor: self.cursor(),
            reason: proto::GoingAwayReason::Shutdown as i32,
            retry_after: Some(answer::duration(SOON.as_millis() as Millis)),
        };
        self.send(Item::GoingAway(going)).await
    }

    fn cursor(&self) -> String {
        Cursor { epoch: self.services.store.epoch(), position: self.position }.to_string()
    }

    fn read_error(&self, error: ReadError) -> End {
        End::Failed(match error {
            ReadError::Compacted { oldest } => {
                let oldest = Cursor { epoch: self.services.store.epoch(), position: oldest }.to_string();
                Error::CursorCompacted { oldest }
            }
            ReadError::Store(error) => error.into(),
        })
    }

    /// An event as this stream tells it: for callers who see all senders always the same, and then encoded already.
    fn answer(&self, event: &Entry) -> Bytes {
        let epoch = self.services.store.epoch();
        match self.caller.senders.is_empty() {
            true => event.answer(|event| encoded(Item::Event(answer::event(event, epoch)))),
            false => encoded(Item::Event(seen::event(&self.caller, answer::event(event, epoch)))),
        }
    }

    async fn send(&mut self, item: Item) -> Result<(), End> {
        self.send_encoded(encoded(item)).await
    }

    /// Gives one answer to HTTP/2; ends the stream when nothing is taken for too long.
    async fn send_encoded(&mut self, answer: Bytes) -> Result<(), End> {
        match self.answers.try_send(answer) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(End::Gone),
            Err(TrySendError::Full(answer)) => {
                let limit = self.services.slow_consumer;
                match tokio::time::timeout(limit, self.answers.send(answer)).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(End::Gone),
                    Err(_) => Err(Error::SlowConsumer { cursor: self.cursor(), retry_after: SOON }.into()),
                }
            }
        }
    }
}

fn encoded(item: Item) -> Bytes {
    proto::StreamEventsResponse { item: Some(item) }.encode_to_vec().into()
}
