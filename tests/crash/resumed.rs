//! Subscribers that are killed and come back, again and again, while events are written: every event, in order, none missing.
//!
//! `SUBSCRIBER_KILLS` is how often each of the two subscribers is killed (30 unless set), `SUBSCRIBER_EVENTS` how many events
//! are written meanwhile (3,000). One keeps its cursor itself, the other one has a named subscription and acknowledges. Half of
//! the kills end the subscriber, the other half cut its connection. The gateway is killed in the middle, and so is PostgreSQL.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use recado::domain::Cursor;
use recado::proto;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::stream_events_request::Start;
use recado::proto::stream_events_response::Item;
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::Channel;

use crate::cable::{Cable, State};
use crate::gateway::{Engine, TestDatabase, held};
use crate::outbox::all_events;
use crate::postgres::{PostgresServer, Stop};
use crate::process::{PATIENCE, Setup, channel};
use crate::scene::{seed, size};
use crate::subscriber::is_about_the_cursor;

/// Callers at the same time.
const WRITERS: usize = 4;
/// Events of one call.
const BATCH: usize = 25;
/// Events between two acknowledgements, at most.
const ACK_AFTER: usize = 40;
/// A subscriber that has nothing to read is killed within this time.
const IDLE_MS: u64 = 20;
/// One of so many is killed without regard to whether its stream has begun.
const EARLY: f64 = 0.1;
const NAME: &str = "killed-again";

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_killed_and_resumed_miss_nothing_on_sqlite() -> Result<()> {
    let database = TestDatabase::create(Engine::Sqlite).await?;
    let folder = tempfile::tempdir()?;
    run("SQLite", Setup::new(&database.url, folder.path()), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_killed_and_resumed_miss_nothing_on_postgres() -> Result<()> {
    let server = tokio::task::spawn_blocking(PostgresServer::start).await??;
    let folder = tempfile::tempdir()?;
    let setup = Setup::new(&server.url(server.addr), folder.path());
    run("PostgreSQL", setup, Some(server)).await
}

async fn run(name: &str, setup: Setup, server: Option<PostgresServer>) -> Result<()> {
    let seed = seed(&format!("killed subscribers on {name}"));
    let pace = Arc::new(Pace::new(size("SUBSCRIBER_KILLS", 30), size("SUBSCRIBER_EVENTS", 3_000)));
    let grpc = setup.addresses.grpc;
    let started = Instant::now();
    let mut process = setup.start().await?;
    let mut subscribers = JoinSet::new();
    for (number, keeps) in [Keeps::Cursor, Keeps::Subscription].into_iter().enumerate() {
        let random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        subscribers.spawn(Subscriber::begin(grpc, keeps, random, pace.clone()).await?.run());
    }
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        writers.spawn(write(setup.clone(), pace.clone()));
    }
    pace.until_written(pace.events / 3).await?;
    process.kill()?;
    process = setup.start().await?;
    pace.until_written(pace.events * 2 / 3).await?;
    if let Some(server) = &server {
        tokio::task::block_in_place(|| {
            server.stop(Stop::Immediate)?;
            server.start_again()
        })?;
        pace.until_written(pace.events * 5 / 6).await?;
    }
    process.kill()?;
    process = setup.start().await?;
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    let log = all_events(&setup).await?;
    let written: Vec<(i64, String)> = log[log.len() - pace.events..]
        .iter()
        .map(|event| Ok((place(&event.cursor)?, event.event_id.clone())))
        .collect::<Result<_>>()?;
    while let Some(report) = subscribers.join_next().await {
        let report = report??;
        if let Some(at) = (0..pace.events).find(|&at| report.seen.get(at) != written.get(at)) {
            bail!("{name}, {report}: {:?} instead of {:?}", report.seen.get(at), written.get(at));
        }
        ensure!(report.seen.len() == pace.events && report.kills == pace.kills, "{name}, {report}");
        println!("{name}, {report}");
    }
    let restarts =
        if server.is_some() { "two kills of the gateway, one of PostgreSQL" } else { "two kills of the gateway" };
    println!("{name}: {restarts}; {:.0} s", started.elapsed().as_secs_f64());
    drop(process);
    Ok(())
}

fn place(cursor: &str) -> Result<i64> {
    Ok(cursor.parse::<Cursor>().map_err(|(_, words)| anyhow::anyhow!(words))?.position)
}

/// Keeps kills and events in step, so that subscribers are killed while events are written, up to the last of both.
struct Pace {
    /// Of each subscriber.
    kills: usize,
    events: usize,
    killed: AtomicUsize,
    /// Events that somebody is writing, or has written.
    begun: AtomicUsize,
    written: AtomicUsize,
}

impl Pace {
    fn new(kills: usize, events: usize) -> Self {
        let [killed, begun, written] = [(); 3].map(|()| AtomicUsize::new(0));
        Self { kills, events, killed, begun, written }
    }

    /// Events may be a twentieth ahead of the kills.
    fn may_write(&self) -> bool {
        let killed = self.killed.load(Ordering::Relaxed) as f64 / (2 * self.kills) as f64;
        let written = self.written.load(Ordering::Relaxed) as f64 / self.events as f64;
        written <= killed + 0.05
    }

    /// And kills of one subscriber ahead of the events.
    fn may_kill(&self, kills: usize) -> bool {
        let written = self.written.load(Ordering::Relaxed) as f64 / self.events as f64;
        kills < self.kills && kills as f64 / self.kills as f64 <= written + 0.05
    }

    /// Waits until so many events are written; fails when it does not go on.
    async fn until_written(&self, count: usize) -> Result<()> {
        let (mut known, mut moved) = (0, Instant::now());
        while known < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let written = self.written.load(Ordering::Relaxed);
            if written > known {
                (known, moved) = (written, Instant::now());
            }
            ensure!(moved.elapsed() < PATIENCE, "no event was written after {known}");
        }
        Ok(())
    }
}

/// Writes events, a batch at a time and each once, whatever happens to the gateway.
async fn write(setup: Setup, pace: Arc<Pace>) -> Result<()> {
    let mut messaging = setup.messaging();
    loop {
        let first = pace.begun.fetch_add(BATCH, Ordering::Relaxed);
        if first >= pace.events {
            return Ok(());
        }
        while !pace.may_write() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let numbers = first..pace.events.min(first + BATCH);
        let entries = numbers.clone().map(|n| {
            let mut request = held("sandbox", &format!("3519{n:08}"), "olá");
            request.options.get_or_insert_default().idempotency_key = format!("event {n}");
            proto::BatchSendEntry { entry: Some(proto::batch_send_entry::Entry::Message(request)) }
        });
        let request = proto::BatchSendRequest { entries: entries.collect() };
        loop {
            let whole = |answer: tonic::Response<proto::BatchSendResponse>| {
                use proto::batch_send_result::Result::Accepted;
                answer.into_inner().results.iter().all(|result| matches!(result.result, Some(Accepted(_))))
            };
            if messaging.batch_send(request.clone()).await.is_ok_and(whole) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        pace.written.fetch_add(numbers.len(), Ordering::Relaxed);
    }
}

/// Who remembers how far a subscriber is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// It does.
    Cursor,
    /// The gateway does, as far as it was told.
    Subscription,
}

/// What outlives a kill.
#[derive(Debug, Default)]
struct Memory {
    /// The place before the first event.
    base: i64,
    /// Places and ids, each once.
    seen: Vec<(i64, String)>,
    cursor: String,
    /// What the gateway confirmed.
    acked: i64,
    repeats: usize,
    /// Whether the stream of this life has begun.
    began: bool,
}

impl Memory {
    /// Takes in an event; `before` is the one before it in the same stream.
    fn take(&mut self, event: &proto::Event, before: Option<i64>, keeps: Keeps) -> Result<i64> {
        let (place, last) = (place(&event.cursor)?, self.seen.last().map_or(self.base, |(place, _)| *place));
        match (before, keeps) {
            (Some(before), _) => ensure!(place == before + 1, "{place} after {before}"),
            (None, Keeps::Cursor) => ensure!(place == last + 1, "resumed after {last}, and got {place}"),
            (None, Keeps::Subscription) => {
                ensure!(
                    (self.acked + 1..=last + 1).contains(&place),
                    "resumed at {place}; {} was acknowledged",
                    self.acked
                );
            }
        }
        if place == last + 1 {
            self.seen.push((place, event.event_id.clone()));
            self.cursor.clone_from(&event.cursor);
        } else {
            let known = &self.seen[(place - self.base - 1) as usize];
            ensure!(*known == (place, event.event_id.clone()), "{place} is not what it was");
            self.repeats += 1;
        }
        Ok(place)
    }
}

/// A subscriber over all its lives.
struct Subscriber {
    keeps: Keeps,
    random: StdRng,
    pace: Arc<Pace>,
    cable: Cable,
    memory: Arc<Mutex<Memory>>,
    kills: usize,
    lives: usize,
}

/// What it saw.
struct Report {
    keeps: Keeps,
    kills: usize,
    lives: usize,
    repeats: usize,
    seen: Vec<(i64, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keeps, kills, lives, repeats, seen } = self;
        write!(
            f,
            "by its {keeps:?}: {kills} kills, {lives} streams, {} events, each once but for {repeats} repeats",
            seen.len()
        )
    }
}

impl Subscriber {
    /// Makes its place: now.
    async fn begin(grpc: SocketAddr, keeps: Keeps, random: StdRng, pace: Arc<Pace>) -> Result<Self> {
        let start = (keeps == Keeps::Subscription).then(|| Start::Subscription(NAME.into()));
        let request = proto::StreamEventsRequest { start, ..Default::default() };
        let mut stream = EventServiceClient::new(channel(grpc)).stream_events(request).await?.into_inner();
        let first = stream.message().await?.and_then(|answer| answer.item);
        let Some(Item::Attached(attached)) = first else { bail!("it began with {first:?}") };
        let base = place(&attached.start_cursor)?;
        let memory = Memory { base, acked: base, cursor: attached.start_cursor, ..Memory::default() };
        let cable = Cable::start(vec![grpc]).await?;
        Ok(Self { keeps, random, pace, cable, memory: Arc::new(Mutex::new(memory)), kills: 0, lives: 0 })
    }

    /// Lives and dies until it has died as often as it must, and has seen everything.
    async fn run(mut self) -> Result<Report> {
        let (mut known, mut moved) = ((0, 0), Instant::now());
        while self.kills < self.pace.kills || self.read() < self.pace.events {
            self.live().await?;
            let now = (self.kills, self.read());
            if now != known {
                (known, moved) = (now, Instant::now());
            }
            ensure!(moved.elapsed() < PATIENCE, "it does not go on after {known:?} kills and events");
        }
        let memory = std::mem::take(&mut *self.memory.lock().unwrap());
        Ok(Report {
            keeps: self.keeps,
            kills: self.kills,
            lives: self.lives,
            repeats: memory.repeats,
            seen: memory.seen,
        })
    }

    fn read(&self) -> usize {
        self.memory.lock().unwrap().seen.len()
    }

    /// One life: to a kill, to the end of its stream, or to the end of everything.
    async fn live(&mut self) -> Result<()> {
        self.lives += 1;
        let mut life = self.come_alive()?;
        let goal = self.read() + self.random.random_range(0..=2 * self.pace.events / self.pace.kills);
        let patience = Duration::from_millis(self.random.random_range(0..IDLE_MS));
        let early = self.random.random_bool(EARLY);
        let (mut read, mut moved) = (self.read(), Instant::now());
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if life.is_finished() {
                // The gateway went, or is not there yet.
                life.await??;
                tokio::time::sleep(Duration::from_millis(20)).await;
                return Ok(());
            }
            let now = self.read();
            if now > read {
                (read, moved) = (now, Instant::now());
            }
            if self.kills >= self.pace.kills && read >= self.pace.events {
                life.abort();
                return Ok(());
            }
            let began = early || self.memory.lock().unwrap().began;
            if self.pace.may_kill(self.kills) && began && (read >= goal || moved.elapsed() >= patience) {
                return self.kill(&mut life).await;
            }
            // What hangs is for the caller to judge.
            if moved.elapsed() >= PATIENCE {
                life.abort();
                return Ok(());
            }
        }
    }

    async fn kill(&mut self, life: &mut JoinHandle<Result<()>>) -> Result<()> {
        self.kills += 1;
        self.pace.killed.fetch_add(1, Ordering::Relaxed);
        if self.random.random_bool(0.5) {
            life.abort();
            // It may have ended by itself in this moment.
            return match life.await {
                Ok(ended) => ended,
                Err(_) => Ok(()),
            };
        }
        self.cable.set(State::Cut);
        let ended = tokio::time::timeout(PATIENCE, life).await.context("it reads on over a cut connection")?;
        self.cable.set(State::Whole);
        ended?
    }

    /// Opens a stream where it was, over a connection of its own.
    fn come_alive(&mut self) -> Result<JoinHandle<Result<()>>> {
        let (keeps, memory) = (self.keeps, self.memory.clone());
        let start = {
            let mut memory = memory.lock().unwrap();
            memory.began = false;
            match keeps {
                Keeps::Cursor => Start::AfterCursor(memory.cursor.clone()),
                Keeps::Subscription => Start::Subscription(NAME.into()),
            }
        };
        // The gateway may not have noticed yet that its predecessor is gone.
        let takeover = keeps == Keeps::Subscription;
        let request = proto::StreamEventsRequest { start: Some(start), takeover, ..Default::default() };
        let client = EventServiceClient::new(channel(self.cable.addr));
        let random = StdRng::seed_from_u64(self.random.random());
        Ok(tokio::spawn(follow(client, request, keeps, memory, random)))
    }
}

/// Reads until the stream ends, and acknowledges now and then.
async fn follow(
    mut client: EventServiceClient<Channel>,
    request: proto::StreamEventsRequest,
    keeps: Keeps,
    memory: Arc<Mutex<Memory>>,
    mut random: StdRng,
) -> Result<()> {
    let mut stream = match client.stream_events(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if is_about_the_cursor(&status) => bail!("its place is not taken: {status:?}"),
        Err(_) => return Ok(()),
    };
    let (mut before, mut to_ack) = (None, random.random_range(1..=ACK_AFTER));
    while let Ok(Some(answer)) = stream.message().await {
        let event = match answer.item {
            Some(Item::Event(event)) => event,
            Some(Item::Attached(_)) => {
                memory.lock().unwrap().began = true;
                continue;
            }
            _ => continue,
        };
        let place = memory.lock().unwrap().take(&event, before, keeps)?;
        before = Some(place);
        to_ack -= 1;
        if to_ack == 0 {
            to_ack = random.random_range(1..=ACK_AFTER);
            if keeps == Keeps::Subscription {
                let request = proto::AckEventsRequest { subscription: NAME.into(), cursor: event.cursor };
                if client.ack_events(request).await.is_err() {
                    return Ok(());
                }
                memory.lock().unwrap().acked = place;
            }
        }
    }
    Ok(())
}
