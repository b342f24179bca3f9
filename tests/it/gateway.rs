//! A gateway for one test: the real parts, a real database, real sockets.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use recado::app::App;
use recado::config::{Config, Flags};
use recado::fake::FakeProvider;
use recado::proto;
use recado::proto::admin_service_client::AdminServiceClient;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::messaging_service_client::MessagingServiceClient;
use recado::proto::stream_events_response::Item;
use sea_orm::{ConnectionTrait as _, Database, DbBackend, Statement};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A file of its own.
    Sqlite,
    /// A database of its own, on the server of `TEST_POSTGRES_URL`.
    Postgres,
}

/// A database that is there for one test.
#[derive(Debug)]
pub struct TestDatabase {
    pub url: String,
    _folder: tempfile::TempDir,
}

impl TestDatabase {
    pub async fn create(engine: Engine) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = match engine {
            Engine::Sqlite => format!("sqlite://{}", folder.path().join("recado.db").display()),
            Engine::Postgres => {
                let server = std::env::var("TEST_POSTGRES_URL").context(
                    "TEST_POSTGRES_URL is not set: it names a PostgreSQL server, as postgres://user@host:port. \
                     `./dev test` finds or installs one, starts it and sets it",
                )?;
                let name = format!("recado_{}", uuid::Uuid::new_v4().simple());
                let admin = Database::connect(format!("{server}/postgres")).await?;
                let create = format!("CREATE DATABASE {name}");
                admin.execute_raw(Statement::from_string(DbBackend::Postgres, create)).await?;
                admin.close().await?;
                format!("{server}/{name}")
            }
        };
        Ok(Self { url, _folder: folder })
    }
}

/// How a test's gateway differs from the default one.
#[derive(Debug, Default)]
pub struct Setup {
    /// Settings beside those that every test has: `("engine.lease", "3s")`.
    pub settings: Vec<(&'static str, String)>,
}

/// A running gateway.
pub struct TestGateway {
    pub messaging: MessagingServiceClient<Channel>,
    pub events: EventServiceClient<Channel>,
    pub admin: AdminServiceClient<Channel>,
    pub channel: Channel,
    pub http: String,
    /// Address of gRPC, for connections of a test's own.
    pub grpc: String,
    pub database: TestDatabase,
    running: Option<(oneshot::Sender<()>, JoinHandle<Result<()>>)>,
}

impl TestGateway {
    pub async fn start(engine: Engine) -> Result<Self> {
        Self::start_with(engine, Setup::default()).await
    }

    pub async fn start_with(engine: Engine, setup: Setup) -> Result<Self> {
        Self::start_on(TestDatabase::create(engine).await?, setup).await
    }

    /// On a database that may hold something already: a restart.
    pub async fn start_on(database: TestDatabase, setup: Setup) -> Result<Self> {
        let mut flags = Flags::default()
            .with("grpc_addr", "127.0.0.1:0")
            .with("http_addr", "127.0.0.1:0")
            .with("database_url", database.url.clone())
            .with("master_key", "7f".repeat(32));
        for (key, value) in setup.settings {
            flags = flags.with(key, value);
        }
        let app = App::start(Config::load(&flags)?).await?;
        let http = format!("http://{}", app.http_addr());
        let grpc = format!("http://{}", app.grpc_addr());
        let channel = Channel::from_shared(grpc.clone())?.connect().await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(app.run(async move {
            let _ = stopped.await;
        }));
        Ok(Self {
            messaging: MessagingServiceClient::new(channel.clone()),
            events: EventServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel.clone()),
            channel,
            http,
            grpc,
            database,
            running: Some((stop, running)),
        })
    }

    /// Stops it as SIGTERM would, and gives its database back.
    pub async fn stop(mut self) -> Result<TestDatabase> {
        if let Some((stop, running)) = self.running.take() {
            let _ = stop.send(());
            tokio::time::timeout(Duration::from_secs(60), running).await.context("the gateway did not stop")???;
        }
        Ok(self.database)
    }

    /// Makes a Devino sender that speaks to a fake.
    pub async fn devino_sender(&mut self, id: &str, fake: &FakeProvider) -> Result<proto::Sender> {
        let sender = proto::Sender {
            sender: id.into(),
            config: Some(proto::sender::Config::Devino(proto::DevinoConfig {
                base_url: fake.base_url("devino"),
                api_key: "test-key-0123456789".into(),
                from: "AcmeCare".into(),
                api: proto::DevinoApi::Classic as i32,
                webhook_token: "test-token-0123456789".into(),
            })),
            ..Default::default()
        };
        let request = proto::CreateSenderRequest { sender: Some(sender) };
        let answer = self.admin.create_sender(request).await?.into_inner();
        answer.sender.context("CreateSender answered no sender")
    }

    /// A stream; its first answer, `attached`, was read.
    pub async fn stream(&mut self, request: proto::StreamEventsRequest) -> Result<EventStream> {
        let mut stream = self.events.stream_events(request).await?.into_inner();
        let first = stream.message().await?.and_then(|answer| answer.item);
        let Some(Item::Attached(attached)) = first else { anyhow::bail!("the first answer is {first:?}") };
        Ok(EventStream { stream, attached, caught_up: false })
    }

    /// All events that are there, by pages.
    pub async fn all_events(&mut self) -> Result<Vec<proto::Event>> {
        use proto::list_events_request::Start;
        let (mut start, mut events) = (Start::FromBeginning(true), Vec::new());
        loop {
            let request = proto::ListEventsRequest { start: Some(start), page_size: 1_000, ..Default::default() };
            let answer = self.events.list_events(request).await?.into_inner();
            events.extend(answer.events);
            if answer.caught_up {
                return Ok(events);
            }
            start = Start::AfterCursor(answer.next_cursor);
        }
    }
}

/// An open stream.
pub struct EventStream {
    stream: tonic::Streaming<proto::StreamEventsResponse>,
    pub attached: proto::Attached,
    pub caught_up: bool,
}

impl EventStream {
    /// The next answer of any kind; an error when none comes in 30 s.
    pub async fn next_item(&mut self) -> Result<Item> {
        let answer = tokio::time::timeout(Duration::from_secs(30), self.stream.message()).await;
        let answer = answer.context("nothing came for 30 s")??.context("the stream ended")?;
        answer.item.context("an answer without an item")
    }

    /// The next event, past checkpoints.
    pub async fn next_event(&mut self) -> Result<proto::Event> {
        loop {
            match self.next_item().await? {
                Item::Event(event) => return Ok(event),
                Item::CaughtUp(_) => self.caught_up = true,
                Item::Checkpoint(_) => {}
                other => anyhow::bail!("{other:?} instead of an event"),
            }
        }
    }

    /// The next status of a message, past all other events.
    pub async fn next_status(&mut self, message_id: &str) -> Result<proto::MessageStatusChanged> {
        loop {
            if let Some(proto::event::Payload::StatusChanged(status)) = self.next_event().await?.payload
                && status.message_id == message_id
            {
                return Ok(status);
            }
        }
    }

    /// Reads on until a message stands there; answers the statuses on the way.
    pub async fn until(
        &mut self,
        message_id: &str,
        last: proto::MessageStatus,
    ) -> Result<Vec<proto::MessageStatusChanged>> {
        let mut statuses = Vec::new();
        loop {
            let status = self.next_status(message_id).await?;
            let done = status.status() == last;
            statuses.push(status);
            if done {
                return Ok(statuses);
            }
            ensure!(statuses.len() < 100, "100 statuses and none is {last:?}");
        }
    }
}

/// A text to somebody.
pub fn text(sender: &str, to: &str, body: &str) -> proto::SendMessageRequest {
    let text = proto::Text { body: body.into(), preview_url: false };
    proto::SendMessageRequest {
        sender: sender.into(),
        to: to.into(),
        content: Some(proto::send_message_request::Content::Text(text)),
        ..Default::default()
    }
}

/// Words of statuses, for comparing.
pub fn words(statuses: &[proto::MessageStatusChanged]) -> Vec<&'static str> {
    statuses.iter().map(|status| status.status().as_str_name().trim_start_matches("MESSAGE_STATUS_")).collect()
}

/// A stream that begins after a cursor.
pub fn after(cursor: &str) -> proto::StreamEventsRequest {
    let start = proto::stream_events_request::Start::AfterCursor(cursor.into());
    proto::StreamEventsRequest { start: Some(start), ..Default::default() }
}

/// Runs a test on both databases, each as a test of its own.
#[macro_export]
macro_rules! on_both_databases {
    ($($(#[$meta:meta])* async fn $name:ident($engine:ident) $body:block)+) => { $(
        mod $name {
            use super::*;
            async fn run($engine: $crate::gateway::Engine) -> anyhow::Result<()> $body

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() -> anyhow::Result<()> { run($crate::gateway::Engine::Sqlite).await }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() -> anyhow::Result<()> { run($crate::gateway::Engine::Postgres).await }
        }
    )+ };
}
