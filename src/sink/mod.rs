//! The event log, published to a JetStream stream of NATS: for consumers who outgrow [`crate::grpc`]'s streams.
//!
//! At least once, in order, without a gap (docs/decisions/0024). The stream itself says how far it has got: its newest
//! message has the cursor of its event, and the one that follows is published on condition that it comes right behind it. A
//! place of ours, moved once a second, is for a stream that holds nothing of ours. It is a subscription like those of callers:
//! whoever holds it publishes, so one replica does, and lag and holder are told where all others are.
//!
//! [`place`] decides where to begin, [`run`] keeps many publishes under way, [`remote`] speaks to NATS.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config;
use crate::domain::Millis;
use crate::events::Log;
use crate::store::{Hold, Store, StoreError};

mod place;
mod remote;
mod run;
mod wire;

use remote::Remote;

/// The owner of the sink's subscription. It is no key's id, which has twelve digits, so no stream of a caller can hold it.
pub const OWNER: &str = "nats";
/// The name of the sink's subscription.
pub const NAME: &str = "sink";

/// How long the subscription is held without a sign of life: after that another replica publishes.
const LEASE: Duration = Duration::from_secs(6);
/// How often the hold is renewed and the place stored, and asked for where another replica has it.
const BEAT: Duration = Duration::from_secs(1);
/// How long the store may take to note it. Nothing is published meanwhile.
const STORE: Duration = Duration::from_secs(2);
/// The first wait after something went wrong; it doubles.
const WAIT_FIRST: Duration = Duration::from_millis(100);
/// The longest one.
const WAIT_CAP: Duration = Duration::from_secs(5);
/// Different troubles that are told of until it works again.
const WORDS: usize = 20;

/// What the sink needs.
#[derive(Debug)]
pub struct Sink {
    /// Where its subscription is.
    pub store: Store,
    /// What is published.
    pub log: Log,
    /// Where to.
    pub config: config::Nats,
    /// How long a stream that the sink makes keeps messages: as long as the log does; `None`: for ever.
    pub keep: Option<Duration>,
}

/// Why publishing did not go on.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// Nothing can be said to NATS.
    #[error("NATS is away: {0}")]
    Away(String),
    /// NATS takes no message: it says why, or not even that.
    #[error("NATS does not take events: {0}")]
    Refused(String),
    /// A message came between ours: the place must be looked up again.
    #[error("somebody else writes to the stream")]
    Overtaken,
    /// The subscription was deleted, or another replica has it.
    #[error("the subscription is held no longer")]
    NotHeld,
    /// The store says nothing at all.
    #[error("the database does not answer")]
    Silence,
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The hold on the subscription, and how far the events are in the stream.
#[derive(Debug)]
struct Held {
    stream: Uuid,
    /// When it was last renewed.
    since: Instant,
    /// Up to where all is in the stream.
    position: i64,
    /// What of that the store knows.
    stored: i64,
    /// Where to begin whatever the stream says: NATS knew an event by its id that is not the newest. Until a message of ours is
    /// in the stream again.
    from: Option<i64>,
    /// Somebody else writes so often that no condition holds: one message at a time, without any. Until one is taken.
    alone: bool,
    /// How often in a row a condition did not hold.
    overtaken: u32,
}

/// What was said: several troubles may take turns.
#[derive(Debug, Clone, Default)]
struct Said(Arc<Mutex<HashSet<String>>>);

impl Said {
    /// Whether it is to be said: it is new, and there is an end to what is new.
    fn is_new(&self, text: &str) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.len() < WORDS && said.insert(text.to_owned())
    }

    /// Forgets it; tells whether there was anything.
    fn forget(&self) -> bool {
        !std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).is_empty()
    }
}

/// Says what is wrong once, however often it is found.
#[derive(Debug, Default)]
struct Complaints {
    /// What was said since it last worked.
    said: Said,
    /// What a server said of its own accord since then: which permission is missing, where our troubles know only that no
    /// answer came. The client hears it, in a task of its own.
    servers: Said,
    count: u32,
    /// Where the subscription stood when it was last taken, or seen in the hands of another replica.
    place: i64,
    /// Up to where it was said that retention removed events.
    skipped: i64,
    /// It was said that the stream holds another log's events; until it holds ours.
    other_log: bool,
}

impl Complaints {
    /// Says it, and how long to wait.
    fn about(&mut self, trouble: &Trouble) -> Duration {
        let text = trouble.to_string();
        if self.said.is_new(&text) {
            tracing::error!(error = %text, "events are not published; trying again");
        }
        self.count = self.count.saturating_add(1);
        WAIT_FIRST.saturating_mul(1 << (self.count - 1).min(10)).min(WAIT_CAP)
    }

    /// It works again.
    fn over(&mut self) {
        if self.quiet() {
            tracing::info!("events are published again");
        }
    }

    /// Another replica has the subscription, which stands there. What is wrong may be wrong for it as well, and they take
    /// turns: only when it gets on, there is nothing to complain of.
    fn stand_by(&mut self, position: i64) {
        if position > std::mem::replace(&mut self.place, position) {
            self.quiet();
        }
    }

    /// Another replica publishes, or this one does again; tells whether anything was said.
    fn quiet(&mut self) -> bool {
        self.count = 0;
        let said = self.said.forget();
        if said {
            self.servers.forget();
        }
        said
    }
}

impl Sink {
    /// Publishes until `stop`, whatever happens to NATS and to the store.
    pub async fn run(self, stop: CancellationToken) {
        let mut complaints = Complaints::default();
        while !stop.is_cancelled() {
            // What it published last is awaited, and the hold given back: `stop` is heard in there.
            let Err(trouble) = self.connected(&mut complaints, &stop).await else { return };
            metrics::gauge!("recado_nats_connected").set(0.0);
            wait(complaints.about(&trouble), &stop).await;
        }
    }

    /// From a connection to its end; `Ok` when the gateway stops.
    async fn connected(&self, complaints: &mut Complaints, stop: &CancellationToken) -> Result<(), Trouble> {
        // Before anything else, so that the lag is told while NATS is away.
        self.ensure_place().await?;
        let remote = tokio::select! {
            remote = Remote::connect(&self.config, self.keep, complaints.servers.clone()) => remote?,
            () = stop.cancelled() => return Ok(()),
        };
        while !stop.is_cancelled() {
            // Not cut off, or a hold might be left behind.
            let ended = match self.take_hold().await? {
                Ok(mut held) => {
                    complaints.place = held.position;
                    let ended = self.publish(&remote, &mut held, complaints, stop).await;
                    self.let_go(&held).await;
                    ended
                }
                Err(position) => {
                    complaints.stand_by(position);
                    tokio::select! {
                        () = wait(BEAT, stop) => Ok(()),
                        trouble = remote.lost() => Err(trouble),
                    }
                }
            };
            match ended {
                Ok(()) => {}
                Err(Trouble::NotHeld) => tracing::info!("the hold on the sink's subscription was lost"),
                // The connection is kept: it knows the other servers of its cluster.
                Err(trouble @ Trouble::Refused(_)) => wait(complaints.about(&trouble), stop).await,
                Err(trouble @ Trouble::Away(_)) => self.wait_for(&remote, &trouble, complaints, stop).await?,
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(())
    }

    /// Waits until the connection is back. Another replica may have one, and the subscription meanwhile.
    async fn wait_for(
        &self,
        remote: &Remote,
        trouble: &Trouble,
        complaints: &mut Complaints,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        complaints.about(trouble);
        tokio::select! {
            back = remote.back() => back,
            () = stop.cancelled() => Ok(()),
        }
    }

    async fn ensure_place(&self) -> Result<(), StoreError> {
        let beginning = self.store.log_oldest().await? - 1;
        self.store.ensure_subscription(OWNER, NAME, beginning, self.store.now_ms()).await.map(drop)
    }

    /// Takes hold of the subscription; the other side: where it stands, while another replica has it.
    async fn take_hold(&self) -> Result<Result<Held, i64>, StoreError> {
        let found = self.store.subscription(OWNER, NAME).await?;
        if found.is_none() {
            self.ensure_place().await?;
        }
        let stands = found.map_or(0, |found| found.position);
        let (stream, since) = (Uuid::new_v4(), Instant::now());
        let since_ms = self.store.now_ms();
        let (key, address) = (String::new(), String::new());
        let hold = Hold { stream, since_ms, until_ms: since_ms + LEASE.as_millis() as Millis, key, address };
        let position = self.store.hold_subscription(OWNER, NAME, hold, false).await?;
        let held =
            |position| Held { stream, since, position, stored: position, from: None, alone: false, overtaken: 0 };
        Ok(position.map(held).ok_or(stands))
    }

    /// Publishes with one hold, until it is lost, something is in the way, or the gateway stops (`Ok`). Whoever cannot publish
    /// gives the hold back: another replica may be better placed.
    async fn publish(
        &self,
        remote: &Remote,
        held: &mut Held,
        complaints: &mut Complaints,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        while !stop.is_cancelled() {
            match self.run_on(remote, held, complaints, stop).await {
                Err(Trouble::Overtaken) => wait(WAIT_FIRST.saturating_mul(held.overtaken).min(WAIT_CAP), stop).await,
                ended => return ended,
            }
        }
        Ok(())
    }

    /// Renews the hold, and stores the place.
    async fn keep(&self, held: &mut Held) -> Result<(), Trouble> {
        let began = Instant::now();
        let place = (held.position != held.stored).then_some(held.position);
        let now = self.store.now_ms();
        let until_ms = now + LEASE.as_millis() as Millis;
        let keeping = self.store.keep_subscription(OWNER, NAME, held.stream, place, now, until_ms);
        match tokio::time::timeout(STORE, keeping).await {
            Ok(Ok(true)) => {
                (held.since, held.stored) = (began, held.position);
                Ok(())
            }
            Ok(Ok(false)) => Err(Trouble::NotHeld),
            // Nobody else has it yet.
            Ok(Err(_)) | Err(_) if held.since.elapsed() < LEASE => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Trouble::Silence),
        }
    }

    async fn let_go(&self, held: &Held) {
        let place = (held.position != held.stored).then_some(held.position);
        let now = self.store.now_ms();
        let letting_go = async {
            if self.store.keep_subscription(OWNER, NAME, held.stream, place, now, now).await? {
                self.store.release_subscription(OWNER, NAME, held.stream).await?;
            }
            Ok::<(), StoreError>(())
        };
        // When the store is away, the hold runs out by itself, and the stream knows its place.
        let _ = tokio::time::timeout(STORE, letting_go).await;
    }
}

async fn wait(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}
