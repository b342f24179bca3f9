//! Hand-over: takes due messages in hand, lets a provider have them, and writes down what came of it.
//!
//! One dispatcher knows how much is under way; claims and calls run beside it and tell it when they end. The store
//! decides what may be claimed, `domain::progress` what an outcome means, [`next`] what follows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::catalogue::Catalogues;
use crate::domain::SenderId;
use crate::senders::Senders;
use crate::store::{Store, StoreError, Writer};

mod breaker;
mod call;
mod dispatcher;
mod fallback;
mod gate;
mod judge;
mod leases;
pub mod look_up;
pub mod next;
mod room;
mod rounds;

pub use next::Backoff;

use breaker::Heard;
use dispatcher::Dispatcher;
use gate::Gate;
use judge::Judged;
use leases::Leases;

/// How often the store is asked whether a timer ran out; also the exactness of send times and retries.
const TICK: Duration = Duration::from_millis(200);

/// What the engine is set to.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long a call to a provider may take.
    pub call_limit: Duration,
    /// How long a message is in hand without a sign of life; longer than `call_limit`.
    pub lease: Duration,
    /// Messages under way in this process.
    pub in_flight: usize,
    /// How long AT_LEAST_ONCE waits for word before it sends again.
    pub in_doubt_wait: Duration,
    /// How retries are spread.
    pub backoff: Backoff,
    /// How long after the hand-over a provider is first asked what became of a message, where it must be asked.
    pub look_up_first: Option<Duration>,
}

/// Wakes the engine.
#[derive(Debug, Clone)]
pub struct Wake(mpsc::UnboundedSender<News>);

impl Wake {
    /// A sender has messages to hand over.
    pub fn ready(&self, sender: SenderId) {
        // When the engine is gone, the gateway is stopping; the messages are on disk.
        let _ = self.0.send(News::Ready(sender));
    }
}

/// What the dispatcher hears.
#[derive(Debug)]
enum News {
    /// A sender has messages to hand over.
    Ready(SenderId),
    /// A claim came back and was judged; `asked` is how many it might have brought, and the time how long until the
    /// sender's rate lets through more.
    Claimed { sender: SenderId, asked: usize, claimed: Result<(Judged, Option<Duration>), StoreError> },
    /// Some of what waited for a sender that cannot send has gone to its fallbacks; there may be `more`.
    PassedBy { sender: SenderId, more: bool },
    /// The provider throttled a sender, and wants it to wait so long.
    Held { sender: SenderId, wait: Duration },
    /// Calls ended and are written down.
    Ended { sender: SenderId, count: usize, said: Said },
}

/// What a call showed about the sender as a whole.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    /// How the provider took it; nothing when it was not asked.
    heard: Option<Heard>,
    /// How much of its limit is used, as it says; 1 is all.
    used: Option<f64>,
}

/// The engine, not yet running.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    writer: Writer,
    senders: Arc<Senders>,
    catalogues: Arc<Catalogues>,
    config: Config,
    wake: Wake,
    news: mpsc::UnboundedReceiver<News>,
}

impl Engine {
    /// A way to wake the engine, which is needed before there is one.
    pub fn wake() -> (Wake, WakeReceiver) {
        let (wake, news) = mpsc::unbounded_channel();
        (Wake(wake), WakeReceiver(news))
    }

    /// An engine over its parts.
    pub fn new(
        store: Store,
        writer: Writer,
        senders: Arc<Senders>,
        catalogues: Arc<Catalogues>,
        config: Config,
        (wake, WakeReceiver(news)): (Wake, WakeReceiver),
    ) -> Self {
        Self { store, writer, senders, catalogues, config, wake, news }
    }

    /// Hands over until `stop`; then waits for the calls under way. Dropping the future before it ends leaves those calls in
    /// doubt once their leases run out.
    pub async fn run(self, stop: CancellationToken) {
        let Self { store, writer, senders, catalogues, config, wake, mut news } = self;
        let leases = Leases::default();
        let mut helpers = JoinSet::new();
        helpers.spawn(rounds::run_timers(store.clone(), writer.clone(), config.in_doubt_wait));
        helpers.spawn(rounds::look_for_senders(store.clone(), wake.clone()));
        helpers.spawn(rounds::forget(store.clone()));
        helpers.spawn(leases.clone().renew(writer.clone(), config.lease));
        let parts = Parts { store, writer, senders, catalogues, config, wake, leases, gate: Gate::default() };
        let mut dispatcher = Dispatcher::new(Arc::new(parts));
        loop {
            tokio::select! {
                heard = news.recv() => match heard {
                    Some(heard) => dispatcher.hear(heard),
                    None => break,
                },
                () = stop.cancelled(), if !dispatcher.stopping => dispatcher.stopping = true,
            }
            if dispatcher.stopping && dispatcher.is_idle() {
                break;
            }
        }
        // Waited for, so that nothing of the engine holds the database any more.
        helpers.shutdown().await;
    }
}

/// The other end of a [`Wake`].
#[derive(Debug)]
pub struct WakeReceiver(mpsc::UnboundedReceiver<News>);

/// What claims and calls share.
#[derive(Debug)]
struct Parts {
    store: Store,
    writer: Writer,
    senders: Arc<Senders>,
    catalogues: Arc<Catalogues>,
    config: Config,
    wake: Wake,
    leases: Leases,
    gate: Gate,
}
