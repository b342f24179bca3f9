//! Thousands of streams of which nobody has anything to tell: what they cost, and that all of them still work.
//!
//! `IDLE_STREAMS` is how many (500 unless set), `IDLE_CONNECTIONS` over how many connections (one each), `IDLE_SECONDS` how long
//! their CPU is watched (2). What is claimed of 5,000 is held against what each one costs:
//! `IDLE_STREAMS=5000 IDLE_SECONDS=30 cargo test --release --test crash -- --nocapture idle`, after `ulimit -n 6000`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use recado::proto;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::stream_events_response::Item;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::footprint::{cpu, resident_kb};
use crate::gateway::{Engine, TestDatabase, held};
use crate::metrics::metric;
use crate::process::{PATIENCE, Setup, channel, wait_for};
use crate::scene::size;

/// Resident memory of a process with so many streams, at most.
const STREAMS: usize = 5_000;
const LIMIT_MB: f64 = 250.0;
/// What a few hundred streams say of that many is not exact: a megabyte more or less counts tenfold.
const ROOM: f64 = 1.2;
/// The same of an unoptimised build, which is larger by itself and keeps more in each task.
const LIMIT_UNOPTIMISED_MB: f64 = 400.0;
/// File handles that this test and those beside it need besides its connections.
const OTHER_HANDLES: usize = 500;
/// Streams that come and go first.
const WARM: usize = 50;
/// Streams that are opened at the same time.
const AT_ONCE: usize = 64;

type Stream = Streaming<proto::StreamEventsResponse>;

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_idle_streams_fit_into_memory() -> Result<()> {
    let database = TestDatabase::create(Engine::Sqlite).await?;
    let folder = tempfile::tempdir()?;
    let setup = Setup::new(&database.url, folder.path()).with("log-level", "warn");
    let process = setup.start().await?;
    let mut messaging = setup.messaging();
    messaging.send_message(held("sandbox", "+351910000001", "one, so that all is warm")).await?;
    // What the first streams of a process cost beside themselves is no part of what each one does.
    drop(open(&setup, WARM, 1).await?);
    let bare_mb = resident_mb(process.pid())?;

    let streams = size("IDLE_STREAMS", 500);
    let connections = size("IDLE_CONNECTIONS", streams);
    let possible = handles()?.saturating_sub(OTHER_HANDLES);
    ensure!(connections <= possible, "{connections} connections need a higher limit of open files: ulimit -n");
    let mut open = open(&setup, streams, connections).await?;
    wait_for("all streams", async || {
        Ok((metric(&setup, "recado_streams").await? == Some(streams as f64)).then_some(()))
    })
    .await?;
    let mb = resident_mb(process.pid())?;
    let each_kb = (mb - bare_mb) * 1e3 / streams as f64;
    let cpu = idle_cpu(process.pid()).await?;
    println!(
        "{streams} streams on {connections} connections: {bare_mb:.0} MB without, {mb:.0} MB with, {each_kb:.1} kB each; idle \
         with heartbeats every 15 s: {:.1} ms of CPU a second",
        cpu * 1e3
    );

    messaging.send_message(held("sandbox", "+351910000002", "news for everybody")).await?;
    let heard = futures::stream::iter(&mut open).map(next_event).buffer_unordered(streams);
    let places: Vec<Result<String>> =
        tokio::time::timeout(PATIENCE, heard.collect()).await.context("not all heard of it")?;
    let places = places.into_iter().collect::<Result<std::collections::HashSet<String>>>()?;
    ensure!(places.len() == 1, "all hear of the same event: {places:?}");
    let all_mb = bare_mb + each_kb * STREAMS as f64 / 1e3;
    println!("{:.0} MB after an event for each", resident_mb(process.pid())?);
    let limit_mb = if cfg!(debug_assertions) { LIMIT_UNOPTIMISED_MB } else { LIMIT_MB };
    let limit_mb = if streams < STREAMS { limit_mb * ROOM } else { limit_mb };
    ensure!(all_mb < limit_mb, "{STREAMS} streams would take {all_mb:.0} MB, {each_kb:.1} kB each");
    Ok(())
}

/// Opens streams, over so many connections.
async fn open(setup: &Setup, streams: usize, connections: usize) -> Result<Vec<Stream>> {
    let clients: Vec<EventServiceClient<Channel>> =
        (0..connections).map(|_| EventServiceClient::new(channel(setup.addresses.grpc))).collect();
    let opening = (0..streams).map(|n| {
        let mut client = clients[n % connections].clone();
        async move {
            let mut stream = client.stream_events(proto::StreamEventsRequest::default()).await?.into_inner();
            for _ in 0..2 {
                let item = stream.message().await?.and_then(|answer| answer.item);
                ensure!(matches!(item, Some(Item::Attached(_) | Item::CaughtUp(_))), "it began with {item:?}");
            }
            Ok(stream)
        }
    });
    let open: Vec<Result<Stream>> = futures::stream::iter(opening).buffer_unordered(AT_ONCE).collect().await;
    open.into_iter().collect()
}

async fn next_event(stream: &mut Stream) -> Result<String> {
    loop {
        let answer = stream.message().await?.context("it ended")?;
        if let Some(Item::Event(event)) = answer.item {
            return Ok(event.cursor);
        }
    }
}

/// CPU time of a process over some heartbeats, as a share of one core.
async fn idle_cpu(pid: u32) -> Result<f64> {
    let watch = Duration::from_secs(size("IDLE_SECONDS", 2) as u64);
    let (before, started) = (cpu(pid)?, Instant::now());
    tokio::time::sleep(watch).await;
    Ok((cpu(pid)? - before).as_secs_f64() / started.elapsed().as_secs_f64())
}

fn resident_mb(pid: u32) -> Result<f64> {
    Ok(resident_kb(pid)? as f64 / 1e3)
}

/// Files that this process may have open; the gateway raises its own.
fn handles() -> Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of open files")?;
    let soft = line.split_whitespace().next().context("no limit of open files")?;
    Ok(soft.parse().unwrap_or(usize::MAX))
}
