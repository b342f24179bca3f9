//! Builds the parts, runs them, stops them. The binary and the tests use the same.
//!
//! [`App::start`] is the order in which they start, [`App::run`] the one in which they stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use self::parts::{Parts, Running};
use self::shared::{Shared, Stop};
use self::sockets::Sockets;
use crate::access::Access;
use crate::config::Config;
use crate::domain::PhoneNumber;
use crate::grpc;
use crate::provider::sandbox::Simulator;
use crate::store::Store;

mod parts;
mod refresh;
mod sandbox;
mod settings;
mod shared;
mod sockets;

/// How long streams and servers may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// A gateway whose sockets are open.
#[derive(Debug)]
pub struct App {
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
    parts: Running,
    stop: Stop,
    /// The open streams.
    streams: TaskTracker,
    drain: Duration,
    health: grpc::health::Health,
    store: Store,
}

impl App {
    /// Opens the database and the sockets, and starts everything.
    ///
    /// # Errors
    /// When anything of it cannot be done; the text says what would be right.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        // The tables of numbers take a moment to read; the first caller should not wait for it.
        let warming = tokio::task::spawn_blocking(|| drop("+5511987654321".parse::<PhoneNumber>()));
        let store = shared::open_store(&config).await?;
        let access = Arc::new(Access::load(store.clone(), config.admin_key.as_ref()).await?);
        let sockets = Sockets::open(&config).await?;
        sockets.check(&access, &config)?;
        let (grpc_addr, http_addr) = (sockets.grpc_addr, sockets.http_addr);
        let (simulator, delivery) = Simulator::new();
        let senders = shared::load_senders(&store, &config, http_addr, &simulator).await?;
        let (shared, engine_ear, writing) = Shared::open(config, store, access, senders).await?;
        sandbox::resume(&shared.store, &shared.senders, &simulator).await?;

        let mut parts = Parts::new(&shared);
        let health = parts.start_grpc(sockets.grpc)?;
        parts.start_http(sockets.http);
        parts.start_engine(engine_ear);
        parts.start_intake().await?;
        parts.start_retention();
        parts.start_media();
        parts.start_callbacks();
        parts.start_sink();
        parts.start_look_ups();
        parts.start_gauges();
        parts.start_templates();
        parts.start_log();
        parts.start_writer(writing);
        parts.start_sandbox(delivery);
        parts.start_refresh();
        let parts = parts.running();

        warming.await?;
        let database = if shared.store.is_exclusive() { "SQLite" } else { "PostgreSQL" };
        tracing::info!(%grpc_addr, %http_addr, database, version = env!("CARGO_PKG_VERSION"), "serving");
        health.set_serving().await;
        let Shared { config, stop, streams, store, .. } = shared;
        Ok(Self { grpc_addr, http_addr, parts, stop, streams, drain: config.engine.drain, health, store })
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
        self.stop.engine.cancel();
        // Webhooks are taken in until the calls under way are over: a status may settle one of them.
        let stopped = self.wait_for("engine", self.drain).await;
        if !stopped {
            tracing::warn!("calls were cut off; leases will bring their messages back as in doubt");
        }
        self.stop.serving.cancel();
        self.wait_for("", GOODBYE).await;
        // They let go of their subscriptions, and of the database: the next process may be waiting for its file.
        self.streams.close();
        let _ = tokio::time::timeout(GOODBYE, self.streams.wait()).await;
        self.stop.writer.cancel();
        if tokio::time::timeout(GOODBYE, async { while self.parts.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("some parts did not end in time");
        }
        if tokio::time::timeout(GOODBYE, self.store.close()).await.is_err() {
            tracing::warn!("the database is still in use, and is closed by the end of the process");
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
