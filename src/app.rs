//! Builds the parts, runs them, stops them. The binary and the tests use the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::access::Access;
use crate::callback::{self, CallbackSecrets};
use crate::catalogue::Catalogues;
use crate::config::{Config, KnownFailures, Tls};
use crate::domain::callback::Policy;
use crate::domain::known_failure::Lifetimes;
use crate::domain::sender::{Limits, SenderState};
use crate::domain::{PhoneNumber, Sender, SenderId, now_ms};
use crate::engine::{self, Backoff, Engine};
use crate::events::Log;
use crate::gauges;
use crate::grpc::{self, Services, upload};
use crate::guarded::{Caps, Guarded};
use crate::intake::{self, history::History};
use crate::media::{self, Shelf};
use crate::provider::{AnySettings, HttpClient, sandbox};
use crate::retention::Retention;
use crate::seal::SealKey;
use crate::senders::{Senders, Surroundings};
use crate::sink::Sink;
use crate::store::{Appended, Listener, Store, Writer, sqlite_path};
use crate::telemetry::Metrics;
use crate::webhook::{Web, router};

/// How often keys and senders are read again, for what other replicas changed.
const REFRESH: Duration = Duration::from_secs(2);
/// Characters of an admin key that nobody guesses.
const ADMIN_KEY_MIN: usize = 16;
/// How long streams and servers may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// Messages that the sandbox goes on with after a restart.
const SANDBOX_RESUMES: u64 = 10_000;
/// Longer than any script of the sandbox takes.
const SANDBOX_OTHERS_MS: i64 = 15_000;

/// A gateway whose sockets are open.
#[derive(Debug)]
pub struct App {
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
    parts: JoinSet<anyhow::Result<&'static str>>,
    /// Ends the servers, the streams and the intake.
    stop_serving: CancellationToken,
    /// The open streams.
    streams: TaskTracker,
    /// Ends the engine, which first waits for its calls.
    stop_engine: CancellationToken,
    /// Ends the writer, last of all.
    stop_writer: CancellationToken,
    drain: Duration,
    health: grpc::health::Health,
}

/// Passes what the writer committed to those who wait for it.
struct News {
    log: Log,
    catalogues: Arc<Catalogues>,
    engine: engine::Wake,
    intake: intake::Wake,
    media: media::Wake,
    callbacks: callback::Wake,
}

impl Listener for News {
    fn appended(&self, events: Appended) {
        // Who hears of a change finds the copy changed.
        self.catalogues.appended(&events);
        self.log.appended(&events);
    }

    fn ready(&self, sender: SenderId) {
        self.engine.ready(sender);
    }

    fn journalled(&self) {
        self.intake.journalled();
    }

    fn media_came(&self) {
        self.media.media_came();
    }

    fn callbacks_came(&self) {
        self.callbacks.callbacks_came();
    }
}

impl App {
    /// Opens the database and the sockets, and starts everything.
    ///
    /// # Errors
    /// When anything of it cannot be done; the text says what would be right.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        // The tables of numbers take a moment to read; the first caller should not wait for it.
        let warming = tokio::task::spawn_blocking(|| drop("+5511987654321".parse::<PhoneNumber>()));
        let store = Store::open(config.database_url.expose_secret()).await?;
        store.remember_failures(lifetimes(&config));
        if store.is_exclusive() {
            let count = store.end_predecessor(store.now_ms()).await?;
            tracing::debug!(count, "messages were in the hands of the process before this one");
        }
        let access = Arc::new(Access::load(store.clone(), config.admin_key.as_ref()).await?);
        let grpc_socket = bind(config.grpc_addr, "grpc_addr").await?;
        let http_socket = bind(config.http_addr, "http_addr").await?;
        let (grpc_addr, http_addr) = (grpc_socket.local_addr()?, http_socket.local_addr()?);
        if config.admin_key.as_ref().is_some_and(|key| key.expose_secret().len() < ADMIN_KEY_MIN) {
            tracing::warn!("admin_key is short enough to be guessed; `openssl rand -base64 32` makes a good one");
        }
        check_exposure(grpc_addr, &access, &config.tls)?;

        let (simulator, delivery) = sandbox::Simulator::new();
        let surroundings = Surroundings {
            public_url: public_url(&config, http_addr)?,
            http: HttpClient::new(config.engine.call_limit)?,
            sandbox: simulator.clone(),
        };
        let senders = Arc::new(Senders::load(store.clone(), seal_key(&config)?, surroundings).await?);
        make_sandbox_sender(&store, &senders).await?;
        let shelf = open_shelf(&config)?;

        let [stop_serving, stop_engine, stop_writer] = [(); 3].map(|()| CancellationToken::new());
        let log = Log::open(store.clone(), config.events.ring).await?;
        let interval = config.templates.refresh_interval;
        let catalogues = Arc::new(Catalogues::new(store.clone(), senders.clone(), log.clone(), interval));
        let (engine_wake, engine_ear) = Engine::wake();
        let (intake_wake, media_wake) = (intake::Wake::default(), media::Wake::default());
        let callback_wake = callback::Wake::default();
        let guarded = Guarded::new(config.guard.allow.clone())?;
        let news = News {
            log: log.clone(),
            catalogues: catalogues.clone(),
            engine: engine_wake.clone(),
            intake: intake_wake.clone(),
            media: media_wake.clone(),
            callbacks: callback_wake.clone(),
        };
        let (writer, writing) = Writer::start(store.clone(), Arc::new(news), stop_writer.clone());
        let web =
            Web { store: store.clone(), writer: writer.clone(), senders: senders.clone(), metrics: Metrics::install() };
        resume_sandbox(&store, &senders, &simulator).await?;

        let streams = TaskTracker::new();
        let services = Services {
            store: store.clone(),
            writer: writer.clone(),
            senders: senders.clone(),
            catalogues: catalogues.clone(),
            access: access.clone(),
            log: log.clone(),
            stop: stop_serving.clone(),
            streams: streams.clone(),
            admit_limit: config.engine.admit_limit,
            retention: config.retention.events,
            slow_consumer: config.events.slow_consumer,
            wake: engine_wake.clone(),
            shelf: shelf.clone(),
            guarded: guarded.clone(),
            callbacks: callback_wake.clone(),
            upload_limits: upload::Limits { total: config.media.fetch_limit, idle: config.media.idle_limit },
        };
        let mut parts = JoinSet::new();
        let (health, serving) = grpc::server::serve(grpc_socket, services, &config.grpc, &config.tls)?;
        parts.spawn(serving);
        parts.spawn(serve_http(http_socket, router(web.clone(), config.webhook.body_limit), stop_serving.clone()));
        let engine = Engine::new(
            store.clone(),
            writer.clone(),
            senders.clone(),
            catalogues.clone(),
            engine_config(&config),
            (engine_wake, engine_ear),
        );
        let stop = stop_engine.clone();
        parts.spawn(async move {
            engine.run(stop).await;
            Ok("engine")
        });
        let look_up_writer = writer.clone();
        let history = History::open(&store, writer.clone(), senders.clone(), config.webhook.history).await?;
        let taking_in = intake::run(store.clone(), writer, senders.clone(), intake_wake, stop_serving.clone());
        let stop = stop_serving.clone();
        parts.spawn(async move {
            let catching_up = async {
                if let Some(history) = history {
                    history.run(stop).await;
                }
            };
            tokio::join!(taking_in, catching_up);
            Ok("intake")
        });
        let retention =
            Retention { store: store.clone(), log: log.clone(), shelf: shelf.clone(), kept: config.retention.clone() };
        let removing = retention.run(stop_serving.clone());
        parts.spawn(async move {
            removing.await;
            Ok("retention")
        });
        let fetching = media::Parts {
            store: store.clone(),
            senders: senders.clone(),
            shelf,
            guarded: guarded.clone(),
            config: media_config(&config),
        };
        let fetching = media::run(fetching, media_wake, stop_serving.clone());
        parts.spawn(async move {
            fetching.await;
            Ok("media")
        });
        let posting = callback::Parts {
            store: store.clone(),
            senders: senders.clone(),
            guarded,
            log: log.clone(),
            config: callback_config(&config),
            ordering: Default::default(),
        };
        let posting = callback::run(posting, callback_wake, stop_serving.clone());
        parts.spawn(async move {
            posting.await;
            Ok("callbacks")
        });
        if !config.nats.servers.is_empty() {
            let (nats, keep) = (config.nats.clone(), config.retention.events);
            let sink = Sink { store: store.clone(), log: log.clone(), config: nats, keep };
            let publishing = sink.run(stop_serving.clone());
            parts.spawn(async move {
                publishing.await;
                Ok("sink")
            });
        }
        let looking_up = engine::look_up::LookUps {
            store: store.clone(),
            writer: look_up_writer,
            senders: senders.clone(),
            plan: config.engine.look_up_after.clone().into(),
        };
        let looking_up = looking_up.run(stop_serving.clone());
        parts.spawn(async move {
            looking_up.await;
            Ok("look-ups")
        });
        let counting = gauges::run(store.clone(), senders.clone(), stop_serving.clone());
        parts.spawn(async move {
            counting.await;
            Ok("gauges")
        });
        let stop = stop_serving.clone();
        parts.spawn(async move {
            catalogues.run(stop).await;
            Ok("templates")
        });
        let reading = log.run(stop_writer.clone());
        parts.spawn(async move {
            reading.await;
            Ok("log")
        });
        parts.spawn(async move {
            writing.await;
            Ok("writer")
        });
        let posting = delivery.run(Arc::new(web), stop_serving.clone());
        parts.spawn(async move {
            posting.await;
            Ok("sandbox")
        });
        parts.spawn(refresh(store.clone(), access, senders, Metrics::install(), stop_serving.clone()));
        warming.await?;
        let database = if store.is_exclusive() { "SQLite" } else { "PostgreSQL" };
        tracing::info!(%grpc_addr, %http_addr, database, version = env!("CARGO_PKG_VERSION"), "serving");
        health.set_serving().await;
        Ok(Self {
            grpc_addr,
            http_addr,
            parts,
            streams,
            stop_serving,
            stop_engine,
            stop_writer,
            drain: config.engine.drain,
            health,
        })
    }

    /// Where gRPC is served.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Serves until `shutdown`, then stops in order: nothing new is claimed and calls under way are waited for; streams say
    /// goodbye; what is left is written.
    ///
    /// # Errors
    /// When a part ends by itself, which is a fault.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let outcome = tokio::select! {
            () = shutdown => Ok(()),
            Some(ended) = self.parts.join_next() => match ended {
                Ok(Ok(part)) => Err(anyhow::anyhow!("the {part} ended by itself")),
                Ok(Err(error)) => Err(error),
                Err(panicked) => Err(panicked.into()),
            },
        };
        tracing::info!("stopping");
        self.health.set_not_serving().await;
        self.stop_engine.cancel();
        // Webhooks are taken in until the calls under way are over: a status may settle one of them.
        let stopped = self.wait_for("engine", self.drain).await;
        if !stopped {
            tracing::warn!("calls were cut off; leases will bring their messages back as in doubt");
        }
        self.stop_serving.cancel();
        self.wait_for("", GOODBYE).await;
        // They let go of their subscriptions, and of the database: the next process may be waiting for its file.
        self.streams.close();
        let _ = tokio::time::timeout(GOODBYE, self.streams.wait()).await;
        self.stop_writer.cancel();
        if tokio::time::timeout(GOODBYE, async { while self.parts.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("some parts did not end in time");
        }
        outcome
    }

    /// Waits until a part has ended, or (with no name) all but those that the writer's token ends.
    async fn wait_for(&mut self, part: &str, limit: Duration) -> bool {
        let wait = async {
            while let Some(ended) = self.parts.join_next().await {
                match ended {
                    Ok(Ok(name)) if name == part => return,
                    _ if part.is_empty() && self.parts.len() <= 2 => return,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }
}

async fn bind(addr: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| {
        format!("cannot listen on {addr} ({setting}); is another gateway running? Port 0 lets the system choose one")
    })
}

/// Without a key, whoever reaches the port may send in the company's name.
fn check_exposure(grpc_addr: SocketAddr, access: &Access, tls: &Tls) -> anyhow::Result<()> {
    let mutual = tls.client_ca.is_some();
    if access.needs_key() || mutual {
        return Ok(());
    }
    if !grpc_addr.ip().is_loopback() {
        bail!(
            "refusing to listen on {grpc_addr} without keys: set RECADO_ADMIN_KEY (and make keys with it), or \
             [tls] client_ca for mutual TLS, or listen on a loopback address"
        );
    }
    tracing::warn!(%grpc_addr, "no keys: anybody on this machine may call; listening on loopback only");
    Ok(())
}

fn public_url(config: &Config, http_addr: SocketAddr) -> anyhow::Result<Url> {
    match &config.public_url {
        Some(given) => Ok(given.clone()),
        None => Ok(Url::parse(&format!("http://{http_addr}"))?),
    }
}

fn seal_key(config: &Config) -> anyhow::Result<SealKey> {
    let database_url = config.database_url.expose_secret();
    match &config.master_key {
        Some(given) => Ok(SealKey::parse(given.expose_secret())?),
        // `Config::check` refuses this first; it must not depend on being called.
        None if config.is_postgres() => bail!("RECADO_MASTER_KEY is required with PostgreSQL"),
        None if database_url.contains(":memory:") => Ok(SealKey::ephemeral()?),
        None => Ok(SealKey::beside(&sqlite_path(database_url))?),
    }
}

fn engine_config(config: &Config) -> engine::Config {
    let engine = &config.engine;
    engine::Config {
        call_limit: engine.call_limit,
        lease: engine.lease,
        in_flight: engine.in_flight,
        in_doubt_wait: engine.in_doubt_wait,
        backoff: Backoff { first: engine.retry_first, cap: engine.retry_cap },
        look_up_first: engine.look_up_after.first().copied(),
    }
}

fn lifetimes(config: &Config) -> Lifetimes {
    let KnownFailures { not_on_whatsapp, capped, unreachable } = config.known_failures;
    Lifetimes { not_on_whatsapp, capped, unreachable }
}

fn media_config(config: &Config) -> media::Config {
    let media = &config.media;
    media::Config {
        in_flight: media.in_flight,
        lease: config.engine.lease,
        caps: Caps { bytes: media.bytes_max, total: media.fetch_limit, idle: media.idle_limit },
        patience: media::Patience {
            backoff: Backoff { first: media.retry_first, cap: media.retry_cap },
            give_up_after: media.give_up_after,
        },
    }
}

fn callback_config(config: &Config) -> callback::Config {
    let callbacks = &config.callbacks;
    callback::Config {
        in_flight: callbacks.in_flight,
        in_flight_per_host: callbacks.in_flight_per_host,
        post_limit: callbacks.post_limit,
        lease: config.engine.lease,
        policy: Policy { waits: callbacks.retries.clone(), disable_after: callbacks.disable_after },
        keep: callbacks.keep,
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

/// An empty database gets a sender to try things with.
async fn make_sandbox_sender(store: &Store, senders: &Senders) -> anyhow::Result<()> {
    if !store.senders().await?.is_empty() || store.log_head().await? > 0 {
        return Ok(());
    }
    let now = now_ms();
    let sender = Sender {
        id: SenderId::trusted("sandbox".into()),
        provider: "sandbox",
        display_name: "Sandbox".into(),
        phone_number: String::new(),
        state: SenderState::Active,
        limits: Limits::default(),
        default_language_code: "en".into(),
        opt_out_words: Default::default(),
        incoming_callback_url: String::new(),
        create_at_ms: now,
        update_at_ms: now,
    };
    let settings = AnySettings::Sandbox(sandbox::config::Config::default());
    store.create_sender(&senders.seal(sender, &settings, &CallbackSecrets::default())?).await?;
    senders.refresh().await?;
    Ok(())
}

/// The sandbox keeps nothing; it is told which messages it had.
async fn resume_sandbox(store: &Store, senders: &Senders, simulator: &sandbox::Simulator) -> anyhow::Result<()> {
    let ids: Vec<SenderId> = senders
        .all()
        .iter()
        .filter(|account| account.sender.provider == "sandbox")
        .map(|account| account.sender.id.clone())
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    // Where others run beside this one, what moved a moment ago is theirs.
    let before = if store.is_exclusive() { now_ms() } else { now_ms() - SANDBOX_OTHERS_MS };
    for message in store.unfinished(&ids, before, SANDBOX_RESUMES).await? {
        let request = &message.request;
        simulator.resume(&message.sender, message.id, message.attempt, &request.to.digits, message.status);
    }
    Ok(())
}

async fn serve_http(
    socket: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
) -> anyhow::Result<&'static str> {
    axum::serve(socket, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok("HTTP server")
}

/// Reads keys, senders and whose people opted out again, which another replica may have changed, compares clocks, and keeps
/// the metrics small.
async fn refresh(
    store: Store,
    access: Arc<Access>,
    senders: Arc<Senders>,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<&'static str> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            () = stop.cancelled() => return Ok("refresh"),
        }
        metrics.upkeep();
        if let Err(error) = store.compare_clocks().await {
            tracing::warn!(%error, "the database could not be asked for the time");
        }
        if let Err(error) = access.refresh().await {
            tracing::warn!(%error, "the keys could not be read again");
        }
        if let Err(error) = senders.refresh().await {
            tracing::warn!(%error, "the senders could not be read again");
        }
        if let Err(error) = store.refresh_noted().await {
            tracing::warn!(%error, "whose people opted out could not be read again");
        }
    }
}
