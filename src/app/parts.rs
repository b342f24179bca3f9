//! The parts: what each one gets, and the name that it is known by when it ends.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ground::Ground;
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

/// The parts that were started on a ground.
pub(super) struct Parts<'a> {
    ground: &'a Ground,
    running: Running,
}

impl<'a> Parts<'a> {
    /// None yet.
    pub fn on(ground: &'a Ground) -> Self {
        Self { ground, running: JoinSet::new() }
    }

    /// All that were started.
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
        self.ground.stop.serving.clone()
    }

    /// The contract's services.
    pub fn start_grpc(&mut self, socket: TcpListener) -> anyhow::Result<grpc::health::Health> {
        let ground = self.ground;
        let config = &ground.config;
        let services = Services {
            store: ground.store.clone(),
            writer: ground.writer.clone(),
            senders: ground.senders.clone(),
            catalogues: ground.catalogues.clone(),
            access: ground.access.clone(),
            log: ground.log.clone(),
            stop: self.stop(),
            streams: ground.streams.clone(),
            admit_limit: config.engine.admit_limit,
            retention: config.retention.events,
            slow_consumer: config.events.slow_consumer,
            wake: ground.wakes.engine.clone(),
            shelf: ground.shelf.clone(),
            guarded: ground.guarded.clone(),
            callbacks: ground.wakes.callbacks.clone(),
            upload_limits: upload::Limits { total: config.media.fetch_limit, idle: config.media.idle_limit },
        };
        let (health, serving) = grpc::server::serve(socket, services, &config.grpc, &config.tls)?;
        self.running.spawn(serving);
        Ok(health)
    }

    /// Webhooks, health and metrics.
    pub fn start_http(&mut self, socket: TcpListener) {
        let router = router(self.web(), self.ground.config.webhook.body_limit);
        self.running.spawn(serve_http(socket, router, self.stop()));
    }

    fn web(&self) -> Web {
        let ground = self.ground;
        Web {
            store: ground.store.clone(),
            writer: ground.writer.clone(),
            senders: ground.senders.clone(),
            metrics: ground.metrics.clone(),
        }
    }

    /// The engine, from messages to providers.
    pub fn start_engine(&mut self, ear: engine::WakeReceiver) {
        let ground = self.ground;
        let engine = Engine::new(
            ground.store.clone(),
            ground.writer.clone(),
            ground.senders.clone(),
            ground.catalogues.clone(),
            settings::engine(&ground.config),
            (ground.wakes.engine.clone(), ear),
        );
        let stop = ground.stop.engine.clone();
        self.spawn("engine", engine.run(stop));
    }

    /// The intake, from the journal to messages and events, with what providers kept while the gateway was away.
    pub async fn start_intake(&mut self) -> anyhow::Result<()> {
        let (store, writer, senders) =
            (self.ground.store.clone(), self.ground.writer.clone(), self.ground.senders.clone());
        let kept = self.ground.config.webhook.history;
        let history = History::open(&store, writer.clone(), senders.clone(), kept).await?;
        let taking_in = intake::run(store, writer, senders, self.ground.wakes.intake.clone(), self.stop());
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
        let ground = self.ground;
        let retention = Retention {
            store: ground.store.clone(),
            log: ground.log.clone(),
            shelf: ground.shelf.clone(),
            kept: ground.config.retention.clone(),
        };
        self.spawn("retention", retention.run(self.stop()));
    }

    /// Fetches the files that people sent.
    pub fn start_media(&mut self) {
        let ground = self.ground;
        let fetching = media::Parts {
            store: ground.store.clone(),
            senders: ground.senders.clone(),
            shelf: ground.shelf.clone(),
            guarded: ground.guarded.clone(),
            config: settings::media(&ground.config),
        };
        self.spawn("media", media::run(fetching, ground.wakes.media.clone(), self.stop()));
    }

    /// POSTs events to the URLs that messages and senders name.
    pub fn start_callbacks(&mut self) {
        let ground = self.ground;
        let posting = callback::Parts {
            store: ground.store.clone(),
            senders: ground.senders.clone(),
            guarded: ground.guarded.clone(),
            log: ground.log.clone(),
            config: settings::callbacks(&ground.config),
            ordering: Default::default(),
        };
        self.spawn("callbacks", callback::run(posting, ground.wakes.callbacks.clone(), self.stop()));
    }

    /// Publishes the event log to NATS, where there is one.
    pub fn start_sink(&mut self) {
        let ground = self.ground;
        if ground.config.nats.servers.is_empty() {
            return;
        }
        let sink = Sink {
            store: ground.store.clone(),
            log: ground.log.clone(),
            config: ground.config.nats.clone(),
            keep: ground.config.retention.events,
        };
        self.spawn("sink", sink.run(self.stop()));
    }

    /// Asks providers about what they did not report.
    pub fn start_look_ups(&mut self) {
        let ground = self.ground;
        let looking_up = LookUps {
            store: ground.store.clone(),
            writer: ground.writer.clone(),
            senders: ground.senders.clone(),
            plan: ground.config.engine.look_up_after.clone().into(),
        };
        self.spawn("look-ups", looking_up.run(self.stop()));
    }

    /// Tells as metrics what waits.
    pub fn start_gauges(&mut self) {
        let (store, senders) = (self.ground.store.clone(), self.ground.senders.clone());
        self.spawn("gauges", gauges::run(store, senders, self.stop()));
    }

    /// Reads what providers have approved.
    pub fn start_templates(&mut self) {
        let (catalogues, stop) = (self.ground.catalogues.clone(), self.stop());
        self.spawn("templates", async move { catalogues.run(stop).await });
    }

    /// Reads events that other replicas appended. It ends with the writer, so that streams hear of the last ones.
    pub fn start_log(&mut self) {
        let log = self.ground.log.clone();
        self.spawn("log", log.run(self.ground.stop.writer.clone()));
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
        let ground = self.ground;
        let (store, access, senders) = (ground.store.clone(), ground.access.clone(), ground.senders.clone());
        self.spawn("refresh", refresh::run(store, access, senders, ground.metrics.clone(), self.stop()));
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
