//! NATS: the connection, the stream, what is in it.

use std::future::IntoFuture as _;
use std::pin::Pin;
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{ConnectOptions, Event as Sign, ServerAddr};
use secrecy::ExposeSecret as _;
use tokio::sync::watch;

use super::place::Newest;
use super::wire::{CURSOR, LEFT_OUT, Outgoing};
use super::{Said, Trouble};
use crate::config;

/// How long NATS may take to answer.
const ANSWER: Duration = Duration::from_secs(3);
/// How often the client asks whether the connection lives; the third ping without an answer ends it.
const PING: Duration = Duration::from_secs(3);
/// Tries of the client to get its connection back by itself, at all servers that it has heard of; they take some seconds.
/// After that it is made anew, with what is then in the files of credentials and certificates.
const TRIES: usize = 12;
/// Within this time NATS knows a repeated event by its id.
const DUPLICATES: Duration = Duration::from_secs(120);
/// How far it is looked back for an event of ours behind messages of others.
const LOOK_BACK: u64 = 1_000;

/// A connection, and the stream at its other end.
#[derive(Debug)]
pub(super) struct Remote {
    jetstream: Context,
    up: watch::Receiver<bool>,
    name: String,
    pub prefix: String,
    keep: Option<Duration>,
}

/// What the stream holds.
#[derive(Debug)]
pub(super) struct Found {
    /// The number of its newest message; 0 when there never was one.
    pub sequence: u64,
    pub newest: Option<Newest>,
    /// The largest message that is taken, in bytes.
    pub bytes_max: usize,
}

/// What must come right before a message, or it is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Behind {
    /// The message of this number.
    Sequence(u64),
    /// The event of this id. What is behind one that was not taken is then not taken either, whatever else came meanwhile:
    /// of numbers, one would fit again.
    Event(String),
    /// Whatever there is.
    Anything,
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is the newest now; where its payload was left out, the bytes that it had.
    Newly { left_out: Option<usize> },
    /// It was there already.
    Before,
}

/// The place of an event that was published, and the answer, to come.
pub(super) type Answer = Pin<Box<dyn Future<Output = (i64, Result<Taken, Trouble>)> + Send>>;

impl Remote {
    /// Connects; tries each server once.
    pub async fn connect(config: &config::Nats, keep: Option<Duration>, said: Said) -> Result<Self, Trouble> {
        metrics::gauge!("recado_nats_connected").set(0.0);
        let away = |error: &dyn std::fmt::Display| Trouble::Away(error.to_string());
        let servers: Vec<ServerAddr> =
            config.servers.iter().cloned().map(ServerAddr::from_url).collect::<Result<_, _>>().map_err(|e| away(&e))?;
        let (sign, up) = watch::channel(true);
        // It lives as long as the client tries: when it is dropped, the connection is lost for good.
        let mut options = ConnectOptions::new()
            .name("recado")
            .connection_timeout(ANSWER)
            .request_timeout(Some(ANSWER))
            .ping_interval(PING)
            // Servers that others tell of come without a scheme: they must not be spoken to in the clear either.
            .require_tls(config.servers.iter().any(|server| server.scheme() == "tls"))
            .max_reconnects(servers.len() + TRIES)
            .event_callback(move |event| {
                heed(&sign, &said, &event);
                async {}
            });
        if !config.user.is_empty() {
            let password = config.password.as_ref().map(|p| p.expose_secret().to_owned()).unwrap_or_default();
            options = options.user_and_password(config.user.clone(), password);
        }
        if let Some(token) = &config.token {
            options = options.token(token.expose_secret().to_owned());
        }
        if let Some(file) = &config.credentials {
            let read = options.credentials_file(file).await;
            options = read.map_err(|error| Trouble::Away(format!("nats.credentials {}: {error}", file.display())))?;
        }
        if let Some(file) = &config.ca {
            options = options.add_root_certificates(file.clone());
        }
        let client = options.connect(servers).await.map_err(|error| away(&error))?;
        let server = client.server_info();
        tracing::info!(host = server.host, port = server.port, version = server.version, "connected to NATS");
        metrics::gauge!("recado_nats_connected").set(1.0);
        let jetstream = jetstream::context::ContextBuilder::new().timeout(ANSWER).build(client);
        let (name, prefix) = (config.stream.clone(), config.subject_prefix.clone());
        Ok(Self { jetstream, up, name, prefix, keep })
    }

    /// Waits until the connection is lost.
    pub async fn lost(&self) -> Trouble {
        let mut up = self.up.clone();
        // An error: the client has given up.
        let _ = up.wait_for(|up| !up).await;
        metrics::gauge!("recado_nats_connected").set(0.0);
        Trouble::Away("the connection was lost".into())
    }

    /// Waits until the connection is back; an error when the client has given up.
    pub async fn back(&self) -> Result<(), Trouble> {
        let mut up = self.up.clone();
        let gone = up.has_changed().is_err() || up.wait_for(|up| *up).await.is_err();
        if gone {
            return Err(Trouble::Away("the connection was lost".into()));
        }
        metrics::gauge!("recado_nats_connected").set(1.0);
        Ok(())
    }

    /// Looks what the stream holds; makes it when there is none.
    pub async fn look_up(&self) -> Result<Found, Trouble> {
        // The number first: of what comes in between, the condition of the first publish makes an error.
        let stream = self.stream().await?;
        let info = stream.cached_info();
        let (first, sequence) = (info.state.first_sequence, info.state.last_sequence);
        let mut bytes_max = self.jetstream.client().server_info().max_payload;
        if let Ok(limit @ 1..) = usize::try_from(info.config.max_message_size) {
            bytes_max = bytes_max.min(limit);
        }
        let newest = self.newest(&stream, first).await?;
        Ok(Found { sequence, newest, bytes_max })
    }

    async fn stream(&self) -> Result<Stream, Trouble> {
        let refused = |error: &dyn std::fmt::Display| Trouble::Refused(format!("the stream {}: {error}", self.name));
        match self.jetstream.get_stream(&self.name).await {
            Ok(stream) => {
                return match unfit(&stream.cached_info().config) {
                    Some(why) => Err(refused(&why)),
                    None => Ok(stream),
                };
            }
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(cause) if cause.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
                _ => return Err(refused(&error)),
            },
        }
        let config = jetstream::stream::Config {
            name: self.name.clone(),
            description: Some("Events of Recado, which alone writes here".into()),
            subjects: vec![self.subjects()],
            storage: StorageType::File,
            // NATS wants it to be no longer than messages are kept.
            duplicate_window: self.keep.map_or(DUPLICATES, |keep| keep.min(DUPLICATES)),
            max_age: self.keep.unwrap_or_default(),
            ..Default::default()
        };
        // Another replica that is faster makes the same one, and NATS takes that for done.
        let stream = self.jetstream.create_stream(config).await.map_err(|error| refused(&error))?;
        tracing::info!(stream = self.name, "there was no such stream; it was made");
        Ok(stream)
    }

    /// All subjects of events.
    fn subjects(&self) -> String {
        format!("{}.>", self.prefix)
    }

    /// The newest event of ours, past messages that others published to our subjects.
    async fn newest(&self, stream: &Stream, first: u64) -> Result<Option<Newest>, Trouble> {
        let refused = |error: &dyn std::fmt::Display| Trouble::Refused(error.to_string());
        let last = match stream.get_last_raw_message_by_subject(&self.subjects()).await {
            Ok(last) => last,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(refused(&error)),
        };
        let mut found = read(&last.headers);
        let furthest = first.max(last.sequence.saturating_sub(LOOK_BACK));
        let mut sequence = last.sequence;
        while found.is_none() && sequence > furthest {
            sequence -= 1;
            found = match stream.get_raw_message(sequence).await {
                Ok(message) => read(&message.headers),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => None,
                Err(error) => return Err(refused(&error)),
            };
        }
        Ok(found)
    }

    /// Publishes an event; its answer comes later.
    pub async fn publish(&self, event: Outgoing, behind: Behind) -> Result<Answer, Trouble> {
        let mut message = PublishMessage::build()
            .payload(event.payload.into())
            .message_id(&event.event_id)
            .expected_stream(&self.name)
            .header(CURSOR, event.cursor.as_str());
        message = match behind {
            Behind::Sequence(sequence) => message.expected_last_sequence(sequence),
            Behind::Event(id) => message.expected_last_message_id(id),
            Behind::Anything => message,
        };
        if let Some(bytes) = event.left_out {
            message = message.header(LEFT_OUT, bytes.to_string().as_str());
        }
        let sent = self.jetstream.send_publish(event.subject.clone(), message).await;
        let answer = sent.map_err(|error| trouble(&error, &event.subject))?;
        Ok(Box::pin(async move {
            let taken = match answer.into_future().await {
                Ok(ack) if ack.duplicate => Ok(Taken::Before),
                Ok(_) => Ok(Taken::Newly { left_out: event.left_out }),
                Err(error) => Err(trouble(&error, &event.subject)),
            };
            (event.position, taken)
        }))
    }
}

/// What a message of ours says about itself; `None` for somebody else's.
fn read(headers: &async_nats::HeaderMap) -> Option<Newest> {
    let cursor = headers.get(CURSOR)?.as_str().parse().ok()?;
    let event_id = headers.get(async_nats::header::NATS_MESSAGE_ID)?.as_str().to_owned();
    Some(Newest { cursor, event_id })
}

/// What the settings of a stream that somebody else made have against it.
fn unfit(config: &jetstream::stream::Config) -> Option<&'static str> {
    match config.retention {
        _ if config.no_ack => {
            Some("it acknowledges nothing (no_ack), so nobody would know what it took; set it to false")
        }
        RetentionPolicy::Limits => None,
        RetentionPolicy::Interest => Some(
            "its retention is by interest, so what no consumer waits for would be lost; it must be limits, and a stream \
             of yours may source from it",
        ),
        RetentionPolicy::WorkQueue => Some(
            "its retention is that of a work queue, so what one consumer took no other would see; it must be limits, and \
             a stream of yours may source from it",
        ),
    }
}

fn heed(up: &watch::Sender<bool>, said: &Said, event: &Sign) {
    match event {
        Sign::Connected => drop(up.send_replace(true)),
        Sign::Disconnected | Sign::Closed => drop(up.send_replace(false)),
        Sign::ServerError(error) => {
            if said.is_new(&error.to_string()) {
                tracing::warn!(%error, "NATS complains");
            }
        }
        Sign::LameDuckMode => tracing::info!("a NATS server is about to stop"),
        Sign::Draining | Sign::SlowConsumer(_) | Sign::ClientError(_) => {}
    }
}

fn trouble(error: &jetstream::context::PublishError, subject: &str) -> Trouble {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<jetstream::Error>());
    match error.kind() {
        PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId => Trouble::Overtaken,
        // What servers from 2.11 on say of the same.
        PublishErrorKind::Other
            if cause.is_some_and(|cause| cause.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) =>
        {
            Trouble::Overtaken
        }
        PublishErrorKind::StreamNotFound => Trouble::Refused(format!("no stream has the subject {subject}")),
        _ => Trouble::Refused(error.to_string()),
    }
}
