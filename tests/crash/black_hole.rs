//! Clients that fall silent without a word, at the other end of a cable that swallows everything: pings find them.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use recado::proto;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::stream_events_request::Start;
use recado::proto::stream_events_response::Item;
use tonic::transport::Channel;

use crate::cable::{Cable, State};
use crate::gateway::{TestDatabase, held};
use crate::metrics::metric;
use crate::on_both_databases;
use crate::process::{Setup, channel, wait_for};

/// The subscription of the client that falls silent.
const NAME: &str = "black-hole";
/// More than the buffers of two sockets hold, so that the gateway has something left that it cannot write.
const FLOOD: usize = 3_000;
const PADDING: usize = 4_000;

/// Only pings can find anybody: beats and the patience with slow consumers are far longer than the test.
fn pinging(setup: Setup) -> Setup {
    setup.with("grpc-ping-interval", "1s").with("grpc-ping-limit", "3s").with("events-slow-consumer", "1h")
}

on_both_databases! {
    async fn t7_a_client_that_falls_silent_while_nothing_happens_is_gone(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = pinging(Setup::new(&database.url, folder.path()));
        let _process = setup.start().await?;
        let cable = Cable::start(vec![setup.addresses.grpc]).await?;
        let mut lively = open(channel(setup.addresses.grpc), None).await?;
        let mut silent = open(through(&cable)?, Some(NAME)).await?;
        wait_for("two streams", async || Ok((metric(&setup, "recado_streams").await? == Some(2.0)).then_some(()))).await?;
        ensure!(is_held(setup.addresses.grpc).await?, "it holds its subscription");

        cable.set(State::Silent);
        gone(&setup).await?;
        // Whoever answers pings stays, however little happens; the silent one is told nothing it could take for an end, and
        // goes on where it was.
        send(&setup, 3, 0).await?;
        positions(&mut lively, 3).await?;
        cable.set(State::Whole);
        ensure!(!matches!(ending(&mut silent).await, Ok(())), "it ended as if it were whole");
        let mut resumed = open(through(&cable)?, Some(NAME)).await?;
        let seen = positions(&mut resumed, 3).await?;
        ensure!(seen.windows(2).all(|two| two[0] + 1 == two[1]), "{seen:?}");
        Ok(())
    }

    async fn t7_a_client_that_falls_silent_while_events_flow_is_gone(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = pinging(Setup::new(&database.url, folder.path()));
        let process = setup.start().await?;
        let cable = Cable::start(vec![setup.addresses.grpc]).await?;
        drop(open(through(&cable)?, Some(NAME)).await?);
        let mut lively = open(channel(setup.addresses.grpc), None).await?;
        send(&setup, FLOOD, PADDING).await?;
        let all = positions(&mut lively, FLOOD).await?;

        // It asks for all of that, and falls silent as soon as it comes: far more than what two sockets hold is on its way.
        let _silent = open(through(&cable)?, Some(NAME)).await?;
        cable.set(State::Silent);
        // Nobody else waits for it, neither who writes nor who reads.
        send(&setup, 100, PADDING).await?;
        positions(&mut lively, 100).await?;
        gone(&setup).await?;
        // Nor does its connection stay, with what could not be written: the lively one's is left.
        #[cfg(target_os = "linux")]
        wait_for("its connection to end", async || {
            Ok((connections(&setup, process.pid())? == 1).then_some(()))
        }).await?;

        cable.set(State::Whole);
        let mut resumed = open(through(&cable)?, Some(NAME)).await?;
        let again = positions(&mut resumed, FLOOD + 100).await?;
        ensure!(again.starts_with(&all), "it comes back and finds all, as it acknowledged nothing");
        ensure!(again.windows(2).all(|two| two[0] + 1 == two[1]), "without a gap");
        drop((lively, process));
        Ok(())
    }
}

/// A connection through the cable that takes so much in advance that HTTP/2 does not hold back what is sent.
fn through(cable: &Cable) -> Result<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", cable.addr))?;
    Ok(endpoint.initial_stream_window_size(1 << 28).initial_connection_window_size(1 << 28).connect_lazy())
}

/// A stream that has begun.
async fn open(channel: Channel, subscription: Option<&str>) -> Result<tonic::Streaming<proto::StreamEventsResponse>> {
    let start = subscription.map(|name| Start::Subscription(name.to_owned()));
    let heartbeat_interval = Some(prost_types::Duration { seconds: 300, nanos: 0 });
    let request = proto::StreamEventsRequest { start, heartbeat_interval, ..Default::default() };
    let mut stream = EventServiceClient::new(channel).stream_events(request).await?.into_inner();
    let first = stream.message().await?.and_then(|answer| answer.item);
    ensure!(matches!(first, Some(Item::Attached(_))), "it began with {first:?}");
    Ok(stream)
}

/// The places of the next events.
async fn positions(stream: &mut tonic::Streaming<proto::StreamEventsResponse>, count: usize) -> Result<Vec<i64>> {
    let mut places = Vec::with_capacity(count);
    while places.len() < count {
        let answer = stream.message().await?.context("it ended")?;
        if let Some(Item::Event(event)) = answer.item {
            places.push(
                event.cursor.parse::<recado::domain::Cursor>().map_err(|(_, words)| anyhow::anyhow!(words))?.position,
            );
        }
    }
    Ok(places)
}

/// Reads to the end.
async fn ending(stream: &mut tonic::Streaming<proto::StreamEventsResponse>) -> Result<(), tonic::Status> {
    while stream.message().await?.is_some() {}
    Ok(())
}

/// Messages that wait for an hour: one event each.
async fn send(setup: &Setup, count: usize, padding: usize) -> Result<()> {
    let mut messaging = setup.messaging();
    for first in (0..count).step_by(200) {
        let entries = (first..count.min(first + 200)).map(|n| {
            let mut request = held("sandbox", &format!("351910{n:06}"), "olá");
            request.options.get_or_insert_default().callback_data = "x".repeat(padding);
            proto::BatchSendEntry { entry: Some(proto::batch_send_entry::Entry::Message(request)) }
        });
        let answer = messaging.batch_send(proto::BatchSendRequest { entries: entries.collect() }).await?.into_inner();
        for result in answer.results {
            ensure!(matches!(result.result, Some(proto::batch_send_result::Result::Accepted(_))), "{result:?}");
        }
    }
    Ok(())
}

/// Waits until one stream is left, and the subscription is free.
async fn gone(setup: &Setup) -> Result<()> {
    wait_for("the silent client to be gone", async || {
        let streams = metric(setup, "recado_streams").await?;
        Ok((streams == Some(1.0) && !is_held(setup.addresses.grpc).await?).then_some(()))
    })
    .await
}

async fn is_held(grpc: SocketAddr) -> Result<bool> {
    let request = proto::GetSubscriptionRequest { subscription: NAME.into(), ..Default::default() };
    let answer = EventServiceClient::new(channel(grpc)).get_subscription(request).await?.into_inner();
    Ok(answer.subscription.context("no subscription")?.holder.is_some())
}

/// Connections of gRPC that the process holds open.
#[cfg(target_os = "linux")]
fn connections(setup: &Setup, pid: u32) -> Result<usize> {
    /// `01` in the table of connections.
    const ESTABLISHED: &str = "01";
    let port = format!(":{:04X}", setup.addresses.grpc.port());
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    Ok(rows.filter(|row| row[1].ends_with(&port) && row[3] == ESTABLISHED).count())
}
