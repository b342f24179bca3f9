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
use recado::proto::opt_out_service_client::OptOutServiceClient;
use recado::proto::stream_events_response::Item;
use recado::proto::template_service_client::TemplateServiceClient;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub use crate::database::{Engine, TestDatabase};

/// How a test's gateway differs from the default one.
#[derive(Debug, Default)]
pub struct Setup {
    /// Settings beside those that every test has: `("engine.lease", "3s")`.
    pub settings: Vec<(&'static str, String)>,
}

impl Setup {
    pub fn with(mut self, key: &'static str, value: &str) -> Self {
        self.settings.push((key, value.to_owned()));
        self
    }

    /// The whole configuration; its own settings come last and win.
    pub fn config(self, database: &TestDatabase) -> Result<Config> {
        let flags = Flags::default()
            .with("grpc_addr", "127.0.0.1:0")
            .with("http_addr", "127.0.0.1:0")
            .with("database_url", database.url.clone())
            .with("media.store", database.folder().join("media").display().to_string())
            .with("guard.allow", "127.0.0.1")
            .with("media.retry_first", "20ms")
            .with("master_key", "7f".repeat(32));
        let flags = self.settings.into_iter().fold(flags, |flags, (key, value)| flags.with(key, value));
        Ok(Config::load(&flags)?)
    }
}

/// A running gateway.
pub struct TestGateway {
    pub messaging: MessagingServiceClient<Channel>,
    pub events: EventServiceClient<Channel>,
    pub templates: TemplateServiceClient<Channel>,
    pub opt_outs: OptOutServiceClient<Channel>,
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
        let app = App::start(setup.config(&database)?).await?;
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
            templates: TemplateServiceClient::new(channel.clone()),
            opt_outs: OptOutServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel.clone()),
            channel,
            grpc,
            http,
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
                ..Default::default()
            })),
            ..Default::default()
        };
        let request = proto::CreateSenderRequest { sender: Some(sender) };
        let answer = self.admin.create_sender(request).await?.into_inner();
        answer.sender.context("CreateSender answered no sender")
    }

    /// A stream; its first answer, `attached`, was read.
    pub async fn stream(&mut self, request: proto::StreamEventsRequest) -> Result<EventStream> {
        EventStream::attach(self.events.stream_events(request).await?).await
    }

    /// A client that takes 64 KiB in advance, as little as HTTP/2 knows, on a connection of its own.
    pub async fn narrow_client(&self) -> Result<EventServiceClient<Channel>> {
        let endpoint = Channel::from_shared(self.grpc.clone())?.initial_stream_window_size(65_535);
        Ok(EventServiceClient::new(endpoint.connect().await?))
    }

    /// Makes another sandbox sender.
    pub async fn sandbox_sender(&mut self, id: &str) -> Result<()> {
        let config = Some(proto::sender::Config::Sandbox(proto::SandboxConfig {}));
        let sender = Some(proto::Sender { sender: id.into(), config, ..Default::default() });
        self.admin.create_sender(proto::CreateSenderRequest { sender }).await?;
        Ok(())
    }

    /// Accepts messages that wait for an hour: one event each. Answers their ids, in order.
    pub async fn fill(&mut self, count: usize, callback_data: &str) -> Result<Vec<String>> {
        let mut ids = Vec::with_capacity(count);
        for first in (0..count).step_by(500) {
            let entries = (first..count.min(first + 500)).map(|i| {
                let mut request = held("sandbox", "+351910000001", &format!("number {i}"));
                request.options.get_or_insert_default().callback_data = callback_data.to_owned();
                let entry = Some(proto::batch_send_entry::Entry::Message(request));
                proto::BatchSendEntry { entry }
            });
            let request = proto::BatchSendRequest { entries: entries.collect() };
            for answer in self.messaging.batch_send(request).await?.into_inner().results {
                match answer.result {
                    Some(proto::batch_send_result::Result::Accepted(accepted)) => ids.push(accepted.message_id),
                    other => anyhow::bail!("{other:?} instead of an acceptance"),
                }
            }
        }
        Ok(ids)
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
    /// A stream of which nothing was read; reads `attached`.
    pub async fn attach(answer: tonic::Response<tonic::Streaming<proto::StreamEventsResponse>>) -> Result<Self> {
        let mut stream = answer.into_inner();
        let first = stream.message().await?.and_then(|answer| answer.item);
        let Some(Item::Attached(attached)) = first else { anyhow::bail!("the first answer is {first:?}") };
        Ok(Self { stream, attached, caught_up: false })
    }

    /// The next answer of any kind; an error when none comes in 30 s.
    pub async fn next_item(&mut self) -> Result<Item> {
        let answer = tokio::time::timeout(Duration::from_secs(30), self.stream.message()).await;
        let answer = answer.context("nothing came for 30 s")??.context("the stream ended")?;
        answer.item.context("an answer without an item")
    }

    /// Reads on until the stream ends with an error.
    pub async fn end(&mut self) -> Result<Status> {
        loop {
            if let Err(error) = self.next_item().await {
                return error.downcast::<Status>();
            }
        }
    }

    /// The next checkpoint, past all else.
    pub async fn next_checkpoint(&mut self) -> Result<proto::Checkpoint> {
        loop {
            if let Item::Checkpoint(checkpoint) = self.next_item().await? {
                return Ok(checkpoint);
            }
        }
    }

    /// The next events, past checkpoints.
    pub async fn events(&mut self, count: usize) -> Result<Vec<proto::Event>> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.next_event().await?);
        }
        Ok(events)
    }

    /// The next event, past checkpoints; an error when none comes in 30 s, however many of those do.
    pub async fn next_event(&mut self) -> Result<proto::Event> {
        let event = tokio::time::timeout(Duration::from_secs(30), self.event()).await;
        event.context("no event came for 30 s")?
    }

    async fn event(&mut self) -> Result<proto::Event> {
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

/// A text that waits for an hour: it causes one event, and no more.
pub fn held(sender: &str, to: &str, body: &str) -> proto::SendMessageRequest {
    let later = std::time::SystemTime::now() + Duration::from_secs(3_600);
    let options = proto::SendOptions { send_time: Some(later.into()), ..Default::default() };
    proto::SendMessageRequest { options: Some(options), ..text(sender, to, body) }
}

/// The request under a key.
pub fn keyed<T>(request: T, key: &str) -> Request<T> {
    let mut request = Request::new(request);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().expect("a key is plain ASCII"));
    request
}

/// Asks until it holds; an error after 30 s.
pub async fn until<F: Future<Output = Result<bool>>>(what: &str, mut holds: impl FnMut() -> F) -> Result<()> {
    let asking = async {
        while !holds().await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.with_context(|| format!("30 s, and not: {what}"))?
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
