//! A NATS server of a test's own, which may be killed and started again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::{self, stream};
use futures::{StreamExt as _, TryStreamExt as _};
use recado::domain::Cursor;
use recado::proto;
use tempfile::TempDir;

/// How long it may take to start, or a stream to be as it should.
const PATIENCE: Duration = Duration::from_secs(60);
/// The stream's name unless set.
pub const STREAM: &str = "RECADO";
/// What subjects begin with unless set.
pub const PREFIX: &str = "recado.events";

/// A server with a store of its own; dropped, it is killed.
pub struct NatsServer {
    folder: TempDir,
    pub addr: SocketAddr,
    /// Beside address and store, in the server's own words.
    config: String,
    child: Option<Child>,
}

impl NatsServer {
    /// One that nobody has started yet.
    pub fn prepare(config: &str) -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, addr: free_address(), config: config.to_owned(), child: None })
    }

    pub async fn start() -> Result<Self> {
        Self::start_with("").await
    }

    pub async fn start_with(config: &str) -> Result<Self> {
        let mut server = Self::prepare(config)?;
        server.start_again().await?;
        Ok(server)
    }

    /// Starts it on what its store holds.
    pub async fn start_again(&mut self) -> Result<()> {
        let file = self.folder.path().join("server.conf");
        let store = self.folder.path().join("store");
        let (addr, config) = (self.addr, &self.config);
        let text = format!("listen: \"{addr}\"\njetstream {{ store_dir: {store:?} }}\n{config}\n");
        std::fs::write(&file, text)?;
        let log = std::fs::File::options().create(true).append(true).open(self.log())?;
        let child = program()?.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.context(MISSING)?);
        let ready = async {
            while !self.has_said("Server is ready")? {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            anyhow::Ok(())
        };
        let ready = tokio::time::timeout(PATIENCE, ready).await;
        ready.context("nats-server does not get ready")?.with_context(|| self.said())
    }

    /// SIGKILL; its store stays.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        // So that what it says next is of the next start.
        std::fs::write(self.log(), "")?;
        Ok(())
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client beside the gateway's.
    pub async fn jetstream(&self) -> Result<jetstream::Context> {
        Ok(jetstream::new(async_nats::connect(self.url()).await?))
    }

    /// All that the gateway's stream holds; nothing where there is no stream.
    pub async fn messages(&self) -> Result<Vec<StreamMessage>> {
        messages(&self.jetstream().await?).await
    }

    /// Waits until the newest message is of this event or a later one, then gives all messages.
    pub async fn messages_up_to(&self, event: &proto::Event) -> Result<Vec<StreamMessage>> {
        let jetstream = self.jetstream().await?;
        let place = |cursor: &str| cursor.parse::<Cursor>().ok().map(|Cursor { epoch, position }| (epoch, position));
        let wanted = place(&event.cursor).context("an event without a cursor")?;
        let asking = async {
            loop {
                if let Ok(stream) = jetstream.get_stream(STREAM).await
                    && let Ok(last) = stream.get_last_raw_message_by_subject(&format!("{PREFIX}.>")).await
                    && let Some(cursor) = last.headers.get("Recado-Cursor")
                    && place(cursor.as_str()).is_some_and(|(epoch, at)| epoch == wanted.0 && at >= wanted.1)
                {
                    return messages(&jetstream).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.context("the newest event does not get into the stream")?
    }

    /// How often it let somebody not in.
    pub fn refusals(&self) -> usize {
        self.said().matches("authentication error").count()
    }

    /// How often somebody published what they may not.
    pub fn violations(&self) -> usize {
        self.said().matches("Publish Violation").count()
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("server.log")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn has_said(&mut self, words: &str) -> Result<bool> {
        let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
        ensure!(ended.is_none(), "nats-server ended: {}", self.said());
        Ok(self.said().contains(words))
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

async fn messages(jetstream: &jetstream::Context) -> Result<Vec<StreamMessage>> {
    let Ok(stream) = jetstream.get_stream(STREAM).await else { return Ok(Vec::new()) };
    let state = &stream.cached_info().state;
    let message = |sequence| {
        let message = stream.get_raw_message(sequence);
        async {
            match message.await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == stream::LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error),
            }
        }
    };
    let all = futures::stream::iter(state.first_sequence.max(1)..=state.last_sequence).map(message).buffered(64);
    Ok(all.try_filter_map(|message| async { Ok(message) }).try_collect().await?)
}

const MISSING: &str = "nats-server is not here; `./dev test` installs it (Debian: apt-get install nats-server, elsewhere: \
                       https://github.com/nats-io/nats-server/releases), or name one in NATS_SERVER";

fn program() -> Result<Command> {
    let places = [std::env::var("NATS_SERVER").ok(), Some("nats-server".into()), Some("/usr/sbin/nats-server".into())];
    let works = |place: &String| Command::new(place).arg("--version").output().is_ok();
    Ok(Command::new(places.into_iter().flatten().find(works).context(MISSING)?))
}

/// Servers of a cluster, all of them started.
pub async fn cluster<const N: usize>() -> Result<[NatsServer; N]> {
    let routes = [(); N].map(|()| free_address());
    let known = routes.map(|addr| format!("nats://{addr}")).join(", ");
    let mut servers = Vec::with_capacity(N);
    for (n, addr) in routes.iter().enumerate() {
        let config = format!("server_name: n{n}\ncluster {{ name: test, listen: \"{addr}\", routes: [{known}] }}");
        servers.push(NatsServer::start_with(&config).await?);
    }
    servers.try_into().map_err(|_| anyhow::anyhow!("as many as were asked for"))
}

/// Below the ports that the system gives to outgoing connections: those could take it while the server is dead.
fn free_address() -> SocketAddr {
    loop {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, rand::random_range(10_000..32_000)));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
}

/// The event that a message carries, after all that is beside it was compared with it.
pub fn event(message: &StreamMessage) -> Result<proto::Event> {
    use proto::event::Payload;
    let event: proto::Event = prost::Message::decode(&*message.payload)?;
    let header = |name: &str| message.headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default();
    ensure!(header("Nats-Msg-Id") == event.event_id, "{event:?} came as {:?}", message.headers);
    ensure!(header("Recado-Cursor") == event.cursor, "{event:?} came as {:?}", message.headers);
    let kind = match &event.payload {
        Some(Payload::StatusChanged(_)) => "status_changed",
        Some(Payload::IncomingMessage(_)) => "incoming_message",
        Some(Payload::TemplateChanged(_)) => "template_changed",
        Some(Payload::SenderChanged(_)) => "sender_changed",
        Some(Payload::ContactChanged(_)) => "contact_changed",
        None => anyhow::bail!("{event:?} has no payload"),
    };
    let subject = format!("{PREFIX}.{}.{kind}", event.sender);
    ensure!(message.subject.as_str() == subject, "{event:?} came as {}", message.subject);
    Ok(event)
}

/// The events that messages carry.
pub fn events(messages: &[StreamMessage]) -> Result<Vec<proto::Event>> {
    messages.iter().map(event).collect()
}

/// Fails unless the stream holds exactly these events, in their order.
pub fn same(messages: &[StreamMessage], expected: &[proto::Event]) -> Result<()> {
    let found = events(messages)?;
    let differ = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if let Some(place) = differ {
        anyhow::bail!("event {place} is {:?}, and the log has {:?}", found[place], expected[place]);
    }
    ensure!(found.len() == expected.len(), "{} events in the stream, {} in the log", found.len(), expected.len());
    Ok(())
}
