//! A subscriber that goes on after its last cursor, whatever happens to its stream.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use recado::proto;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::stream_events_request::Start;
use recado::proto::stream_events_response::Item;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::judge::incoming_text;
use crate::process::channel;

/// What a subscriber has seen.
#[derive(Debug, Default)]
struct Seen {
    /// All events, as they came, over all streams.
    events: Vec<proto::Event>,
    /// The last cursor, of an event or a checkpoint.
    cursor: String,
    attached: u64,
    going_away: u64,
}

/// A subscriber; dropped, it ends.
#[derive(Debug)]
pub struct Subscriber {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<Result<()>>,
}

impl Subscriber {
    pub fn start(grpc: SocketAddr) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let task = tokio::spawn(follow(EventServiceClient::new(channel(grpc)), seen.clone()));
        Self { seen, task }
    }

    /// How many streams were opened.
    pub fn attached(&self) -> u64 {
        self.seen.lock().unwrap().attached
    }

    /// How many of them said goodbye.
    pub fn going_away(&self) -> u64 {
        self.seen.lock().unwrap().going_away
    }

    /// How far it got.
    pub fn cursor(&self) -> String {
        self.seen.lock().unwrap().cursor.clone()
    }

    /// How many incoming messages it saw.
    pub fn incoming(&self) -> usize {
        self.seen.lock().unwrap().events.iter().filter(|event| incoming_text(event).is_some()).count()
    }

    /// Ends it; gives all that it saw.
    pub async fn finish(mut self) -> Result<Vec<proto::Event>> {
        self.task.abort();
        match (&mut self.task).await {
            Ok(ended) => ended?,
            Err(cancelled) if cancelled.is_cancelled() => {}
            Err(panicked) => bail!(panicked),
        }
        Ok(std::mem::take(&mut self.seen.lock().unwrap().events))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(mut client: EventServiceClient<Channel>, seen: Arc<Mutex<Seen>>) -> Result<()> {
    loop {
        let cursor = seen.lock().unwrap().cursor.clone();
        let start = if cursor.is_empty() { Start::FromBeginning(true) } else { Start::AfterCursor(cursor) };
        let heartbeat_interval = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let request = proto::StreamEventsRequest { start: Some(start), heartbeat_interval, ..Default::default() };
        match client.stream_events(request).await {
            Ok(answer) => read(answer.into_inner(), &seen).await?,
            Err(status) if is_about_the_cursor(&status) => bail!("the cursor is not taken: {status:?}"),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn is_about_the_cursor(status: &tonic::Status) -> bool {
    use tonic::Code::{FailedPrecondition, InvalidArgument, OutOfRange};
    matches!(status.code(), FailedPrecondition | InvalidArgument | OutOfRange)
}

/// Reads a stream to its end, which may be sudden.
async fn read(mut stream: tonic::Streaming<proto::StreamEventsResponse>, seen: &Mutex<Seen>) -> Result<()> {
    while let Ok(Some(answer)) = stream.message().await {
        let mut seen = seen.lock().unwrap();
        match answer.item {
            Some(Item::Attached(_)) => seen.attached += 1,
            Some(Item::Event(event)) => {
                seen.cursor.clone_from(&event.cursor);
                seen.events.push(event);
            }
            // Up to here nothing is missing: as good a place to go on from as an event's.
            Some(Item::Checkpoint(checkpoint)) => seen.cursor = checkpoint.cursor,
            Some(Item::GoingAway(going)) => {
                seen.cursor = going.cursor;
                seen.going_away += 1;
            }
            Some(Item::CaughtUp(_)) => {}
            None => bail!("an answer without an item"),
        }
    }
    Ok(())
}
