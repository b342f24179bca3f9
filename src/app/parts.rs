//! The parts: what each one gets, and the name that it is known by when it ends.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use super::{refresh, settings};
use crate::engine::look_up::LookUps;
use crate::engine::{self, Engine};
use crate::grpc::{self, Services, upload};
use crate::intake::{self, history::History};
use crate::provider::sandbox::Delivery;
use crate::retention::Retention;
use crate::sink::Sink;
use crate::webhook::{Web, router};
use crate::{callback, gauges, media};

/// Parts that run; each answers its name when it ends.
pub(super) type Running = JoinSet<anyhow::Result<&'static str>>;

/// The parts that were started so far.
pub(super) struct Parts<'a> {
    shared: &'a Shared,
    running: Running,
}

impl<'a> Parts<'a> {
    /// Begins without any.
    pub fn new(shared: &'a Shared) -> Self {
        Self { shared, running: JoinSet::new() }
    }

    /// Gives them all, to be waited for.
    pub fn running(self) -> Running {
        self.running
    }

    fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            part.await;
            Ok(name)
        });
    }

    /// What ends most of them.
    fn stop(&self) -> CancellationToken {
        self.shared.stop.serving.clone()
    }

    /// The contract's services.
    pub fn start_grpc(&mut self, socket: TcpListener) -> anyhow::Result<grpc::health::Health> {
        let shared = self.shared;
        let config = &shared.config;
        let services = Services {
            store: shared.store.clone(),
            writer: shared.writer.clone(),
            senders: shared.senders.clone(),
            catalogues: shared.catalogues.clone(),
            access: shared.access.clone(),
            log: shared.log.clone(),
            stop: self.stop(),
            streams: shared.streams.clone(),
            admit_limit: config.engine.admit_limit,
            retention: config.retention.events,
            slow_consumer: config.events.slow_consumer,
            wake: shared.wakes.engine.clone(),
            shelf: shared.shelf.clone(),
            guarded: shared.guarded.clone(),
            callbacks: shared.wakes.callbacks.clone(),
            upload_limits: upload::Limits { total: config.media.fetch_limit, idle: config.media.idle_limit },
        };
        let (health, serving) = grpc::server::serve(socket, services, &config.grpc, &config.tls)?;
        self.running.spawn(serving);
        Ok(health)
    }

    /// Webhooks, health and metrics.
    pub fn start_http(&mut self, socket: TcpListener) {
        let router = router(self.web(), self.shared.config.webhook.body_limit);
        self.running.spawn(serve_http(socket, router, self.stop()));
    }

    fn web(&self) -> Web {
        let shared = self.shared;
        Web {
            store: shared.store.clone(),
            writer: shared.writer.clone(),
            senders: shared.senders.clone(),
            metrics: shared.metrics.clone(),
        }
    }

    /// The engine, from messages to providers.
    pub fn start_engine(&mut self, ear: engine::WakeReceiver) {
        let shared = self.shared;
        let engine = Engine::new(
            shared.store.clone(),
            shared.writer.clone(),
            shared.senders.clone(),
            shared.catalogues.clone(),
            settings::engine(&shared.config),
            (shared.wakes.engine.clone(), ear),
        );
        let stop = shared.stop.engine.clone();
        self.spawn("engine", engine.run(stop));
    }

    /// The intake, from the journal to messages and events, with what providers kept while the gateway was away.
    pub async fn start_intake(&mut self) -> anyhow::Result<()> {
        let (store, writer, senders) =
            (self.shared.store.clone(), self.shared.writer.clone(), self.shared.senders.clone());
        let kept = self.shared.config.webhook.history;
        let history = History::open(&store, writer.clone(), senders.clone(), kept).await?;
        let taking_in = intake::run(store, writer, senders, self.shared.wakes.intake.clone(), self.stop());
        let stop = self.stop();
        let catching_up = async {
            if let Some(history) = history {
                history.run(stop).await;
            }
        };
        self.spawn("intake", async {
            tokio::join!(taking_in, catching_up);
        });
        Ok(())
    }

    /// Removes what was kept long enough.
    pub fn start_retention(&mut self) {
        let shared = self.shared;
        let retention = Retention {
            store: shared.store.clone(),
            log: shared.log.clone(),
            shelf: shared.shelf.clone(),
            kept: shared.config.retention.clone(),
        };
        self.spawn("retention", retention.run(self.stop()));
    }

    /// Fetches the files that people sent.
    pub fn start_media(&mut self) {
        let shared = self.shared;
        let fetching = media::Parts {
            store: shared.store.clone(),
            senders: shared.senders.clone(),
            shelf: shared.shelf.clone(),
            guarded: shared.guarded.clone(),
            config: settings::media(&shared.config),
        };
        self.spawn("media", media::run(fetching, shared.wakes.media.clone(), self.stop()));
    }

    /// POSTs events to the URLs that messages and senders name.
    pub fn start_callbacks(&mut self) {
        let shared = self.shared;
        let posting = callback::Parts {
            store: shared.store.clone(),
            senders: shared.senders.clone(),
            guarded: shared.guarded.clone(),
            log: shared.log.clone(),
            config: settings::callbacks(&shared.config),
            ordering: Default::default(),
        };
        self.spawn("callbacks", callback::run(posting, shared.wakes.callbacks.clone(), self.stop()));
    }

    /// Publishes the event log to NATS, where there is one.
    pub fn start_sink(&mut self) {
        let shared = self.shared;
        if shared.config.nats.servers.is_empty() {
            return;
        }
        let sink = Sink {
            store: shared.store.clone(),
            log: shared.log.clone(),
            config: shared.config.nats.clone(),
            keep: shared.config.retention.events,
        };
        self.spawn("sink", sink.run(self.stop()));
    }

    /// Asks providers about what they did not report.
    pub fn start_look_ups(&mut self) {
        let shared = self.shared;
        let looking_up = LookUps {
            store: shared.store.clone(),
            writer: shared.writer.clone(),
            senders: shared.senders.clone(),
            plan: shared.config.engine.look_up_after.clone().into(),
        };
        self.spawn("look-ups", looking_up.run(self.stop()));
    }

    /// Tells as metrics what waits.
    pub fn start_gauges(&mut self) {
        let (store, senders) = (self.shared.store.clone(), self.shared.senders.clone());
        self.spawn("gauges", gauges::run(store, senders, self.stop()));
    }

    /// Reads what providers have approved.
    pub fn start_templates(&mut self) {
        let (catalogues, stop) = (self.shared.catalogues.clone(), self.stop());
        self.spawn("templates", async move { catalogues.run(stop).await });
    }

    /// Reads events that other replicas appended. It ends with the writer, so that streams hear of the last ones.
    pub fn start_log(&mut self) {
        let log = self.shared.log.clone();
        self.spawn("log", log.run(self.shared.stop.writer.clone()));
    }

    /// The writer, by which the others write.
    pub fn start_writer(&mut self, writing: impl Future<Output = ()> + Send + 'static) {
        self.spawn("writer", writing);
    }

    /// The sandbox, whose webhooks come from within.
    pub fn start_sandbox(&mut self, delivery: Delivery) {
        let web = Arc::new(self.web());
        self.spawn("sandbox", delivery.run(web, self.stop()));
    }

    /// Reads again what other replicas may have changed.
    pub fn start_refresh(&mut self) {
        let shared = self.shared;
        let (store, access, senders) = (shared.store.clone(), shared.access.clone(), shared.senders.clone());
        self.spawn("refresh", refresh::run(store, access, senders, shared.metrics.clone(), self.stop()));
    }
}

async fn serve_http(
    socket: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
) -> anyhow::Result<&'static str> {
    axum::serve(socket, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok("HTTP server")
}
