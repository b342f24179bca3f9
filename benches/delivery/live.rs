//! From the commit to a live subscriber.
//!
//! The moment of the commit is known to nobody outside. What is measured lies on both sides of it: from the scheduled
//! moment of the call to the event's arrival, which includes the request's way, the queue and the commit; and from the
//! answer's arrival, which the same commit let go, to the event's: how much later, if at all, the subscriber hears of it.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::stream_events_response::Item;
use tokio::task::JoinSet;
use tonic::Streaming;

use super::load::{Latency, Load};
use super::server::Server;

/// What a subscriber saw.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    /// From the call's scheduled moment to the event's arrival.
    pub from_call: Latency,
    /// From the answer's arrival to the event's; zero where the event came first.
    pub after_answer: Latency,
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from the call {}; after the answer {}", self.from_call, self.after_answer)
    }
}

/// A stream of what comes from now on.
pub async fn subscribe(server: &Server) -> anyhow::Result<Streaming<proto::StreamEventsResponse>> {
    let mut events = EventServiceClient::new(server.connect().await?);
    let mut stream = events.stream_events(proto::StreamEventsRequest::default()).await?.into_inner();
    let first = stream.message().await?.and_then(|answer| answer.item);
    anyhow::ensure!(matches!(first, Some(Item::Attached(_))), "the stream began with {first:?}");
    Ok(stream)
}

/// The next status that comes.
pub async fn next_status(
    stream: &mut Streaming<proto::StreamEventsResponse>,
) -> anyhow::Result<proto::MessageStatusChanged> {
    loop {
        let answer = tokio::time::timeout(Duration::from_secs(30), stream.message()).await;
        let answer = answer.context("no event in 30 s")??.context("the stream ended")?;
        match answer.item {
            Some(Item::Event(proto::Event { payload: Some(Payload::StatusChanged(status)), .. })) => return Ok(status),
            Some(Item::GoingAway(_)) | None => anyhow::bail!("the stream ends: {answer:?}"),
            Some(_) => {}
        }
    }
}

pub async fn measure(server: &Server, load: &mut Load, rate: u32, time: Duration) -> anyhow::Result<Live> {
    measure_many(server, load, rate, time, 1).await
}

/// The same with many subscribers, each on a connection of its own; all arrivals count.
pub async fn measure_many(
    server: &Server,
    load: &mut Load,
    rate: u32,
    time: Duration,
    subscribers: usize,
) -> anyhow::Result<Live> {
    let expected = (f64::from(rate) * time.as_secs_f64()) as usize;
    let mut watching = JoinSet::new();
    for _ in 0..subscribers {
        let mut stream = subscribe(server).await?;
        watching.spawn(async move {
            let mut arrived = HashMap::with_capacity(expected);
            while arrived.len() < expected {
                let status = next_status(&mut stream).await?;
                arrived.insert(status.callback_data.parse::<u64>()?, Instant::now());
            }
            anyhow::Ok(arrived)
        });
    }
    let calls = load.paced(rate, time).await?;
    let count = expected * subscribers;
    let (mut from_call, mut after_answer) = (Vec::with_capacity(count), Vec::with_capacity(count));
    while let Some(arrived) = watching.join_next().await {
        let arrived = arrived??;
        for call in &calls {
            let arrived = *arrived.get(&call.number).context("an event of another run")?;
            from_call.push(arrived - call.scheduled);
            after_answer.push(arrived.saturating_duration_since(call.answered));
        }
    }
    Ok(Live { from_call: Latency::of(from_call)?, after_answer: Latency::of(after_answer)? })
}
