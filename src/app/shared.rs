//! What the parts share: opened before the first of them runs.

use std::net::SocketAddr;
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{sandbox, settings};
use crate::access::Access;
use crate::callback;
use crate::catalogue::Catalogues;
use crate::config::Config;
use crate::domain::SenderId;
use crate::engine::{self, Engine};
use crate::events::Log;
use crate::guarded::Guarded;
use crate::intake;
use crate::media::{self, Shelf};
use crate::provider::HttpClient;
use crate::provider::sandbox::Simulator;
use crate::senders::{Senders, Surroundings};
use crate::store::{Appended, Listener, Store, Writer};
use crate::telemetry::Metrics;

/// What the parts share.
pub(super) struct Shared {
    pub config: Config,
    pub store: Store,
    pub access: Arc<Access>,
    pub senders: Arc<Senders>,
    pub shelf: Shelf,
    pub log: Log,
    pub catalogues: Arc<Catalogues>,
    pub guarded: Guarded,
    pub wakes: Wakes,
    pub writer: Writer,
    pub metrics: Metrics,
    pub stop: Stop,
    /// The open streams.
    pub streams: TaskTracker,
}

/// What ends the parts, in the order in which they are cancelled.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// Ends the engine, which first waits for its calls.
    pub engine: CancellationToken,
    /// Ends the servers, the streams and the intake.
    pub serving: CancellationToken,
    /// Ends the writer, last of all.
    pub writer: CancellationToken,
}

/// What tells parts that there is work for them.
#[derive(Clone)]
pub(super) struct Wakes {
    pub engine: engine::Wake,
    pub intake: intake::Wake,
    pub media: media::Wake,
    pub callbacks: callback::Wake,
}

/// Passes what the writer committed to those who wait for it.
struct News {
    log: Log,
    catalogues: Arc<Catalogues>,
    wakes: Wakes,
}

impl Listener for News {
    fn appended(&self, events: Appended) {
        // Who hears of a change finds the copy changed.
        self.catalogues.appended(&events);
        self.log.appended(&events);
    }

    fn ready(&self, sender: SenderId) {
        self.wakes.engine.ready(sender);
    }

    fn journalled(&self) {
        self.wakes.intake.journalled();
    }

    fn media_came(&self) {
        self.wakes.media.media_came();
    }

    fn callbacks_came(&self) {
        self.wakes.callbacks.callbacks_came();
    }
}

/// Opens the database. What a process before this one had in its hands is in nobody's now.
pub(super) async fn open_store(config: &Config) -> anyhow::Result<Store> {
    let store = Store::open(config.database_url.expose_secret()).await?;
    store.remember_failures(settings::lifetimes(config));
    if store.is_exclusive() {
        let count = store.end_predecessor(store.now_ms()).await?;
        tracing::debug!(count, "messages were in the hands of the process before this one");
    }
    Ok(store)
}

/// Reads the senders, and makes the first one where there is none yet.
pub(super) async fn load_senders(
    store: &Store,
    config: &Config,
    http_addr: SocketAddr,
    simulator: &Simulator,
) -> anyhow::Result<Arc<Senders>> {
    let surroundings = Surroundings {
        public_url: settings::public_url(config, http_addr)?,
        http: HttpClient::new(config.engine.call_limit)?,
        sandbox: simulator.clone(),
    };
    let key = settings::seal_key(config, !store.has_senders().await?)?;
    let senders = Arc::new(Senders::load(store.clone(), key, surroundings).await?);
    sandbox::make_sender(store, &senders).await?;
    Ok(senders)
}

impl Shared {
    /// Opens the rest of it; gives as well what the engine hears by, and the writer, to be run.
    pub async fn open(
        config: Config,
        store: Store,
        access: Arc<Access>,
        senders: Arc<Senders>,
    ) -> anyhow::Result<(Self, engine::WakeReceiver, impl Future<Output = ()> + Send + 'static)> {
        let shelf = open_shelf(&config)?;
        let log = Log::open(store.clone(), config.events.ring).await?;
        let interval = config.templates.refresh_interval;
        let catalogues = Arc::new(Catalogues::new(store.clone(), senders.clone(), log.clone(), interval));
        let (engine, engine_ear) = Engine::wake();
        let wakes =
            Wakes { engine, intake: Default::default(), media: Default::default(), callbacks: Default::default() };
        let guarded = Guarded::new(config.guard.allow.clone())?;
        let news = News { log: log.clone(), catalogues: catalogues.clone(), wakes: wakes.clone() };
        let stop = Stop::default();
        let (writer, writing) = Writer::start(store.clone(), Arc::new(news), stop.writer.clone());
        let metrics = Metrics::install();
        let streams = TaskTracker::new();
        let shared = Self {
            config,
            store,
            access,
            senders,
            shelf,
            log,
            catalogues,
            guarded,
            wakes,
            writer,
            metrics,
            stop,
            streams,
        };
        Ok((shared, engine_ear, writing))
    }
}

fn open_shelf(config: &Config) -> anyhow::Result<Shelf> {
    let place = config.media_store();
    if config.is_postgres() && !place.starts_with("s3://") {
        tracing::warn!(
            media_store = place,
            "files of people are kept in a folder, which every gateway on the database must share"
        );
    }
    Shelf::open(&place)
}
