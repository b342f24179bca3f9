//! Events on their way to subscribers, against raw tonic server streaming of events of the same size, in turns: how many
//! are delivered a second and for a second of the server's CPU, how long after the commit, and what subscribers who stopped
//! reading cost those who send.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use bytes::Buf as _;
use prost::Message as _;
use recado::proto;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::messaging_service_client::MessagingServiceClient;
use recado::proto::stream_events_request::Start;
use tokio::task::JoinSet;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::database::{Kind, ScratchDatabase};
use super::live::{self, Live, next_status};
use super::load::{self, Latency, Load, SENDER, millis};
use super::report::Spread;
use super::server::{KeyedChannel, Server};

/// An event with the answer around it, on the wire.
const EVENT_BYTES: usize = 300;
/// Events of the log that is replayed: more than the gateway keeps in memory.
const LOG: usize = 50_000;
/// Of these, so many fit into what it keeps.
const RECENT: usize = 8_000;
/// Calls a second before live subscribers.
const LIVE: u32 = 1_000;
/// Calls a second beside subscribers who stopped reading.
const BESIDE: u32 = 1_000;
/// Live subscribers, and those who stopped.
const MANY: usize = 100;

/// What a server did for its subscribers.
#[derive(Debug, Clone, Copy)]
struct Delivered {
    per_second: f64,
    /// CPU time of the server for each event.
    cpu_us: f64,
}

/// All rounds on one database.
pub struct Streams {
    kind: Kind,
    rows: Vec<Row>,
}

struct Row {
    what: String,
    gateway: String,
    bare: String,
    ratio: String,
}

impl fmt::Display for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.iter().try_for_each(|Row { what, gateway, bare, ratio }| {
            writeln!(f, "| {} | {what} | {gateway} | {bare} | {ratio} |", self.kind)
        })
    }
}

/// Measures all of it on a database.
pub async fn measure(kind: Kind, rounds: usize, round: Duration) -> anyhow::Result<Streams> {
    let database = ScratchDatabase::create(kind).await?;
    let gateway = Server::gateway(&database).await?;
    gateway.make_paused_sender(SENDER).await?;
    let bare = Server::stream_comparator(EVENT_BYTES).await?;
    let recent = fill(&gateway).await?;
    let mut streams = Streams { kind, rows: Vec::new() };
    for (what, start) in [("the log", Start::FromBeginning(true)), ("memory", Start::AfterCursor(recent))] {
        for subscribers in [1, MANY] {
            let mut pairs = Vec::new();
            for turn in 0..=rounds {
                let ours = replay(&gateway, subscribers, &start, round).await?;
                let theirs = replay(&bare, subscribers, &Start::FromBeginning(true), round).await?;
                eprintln!("{kind}, replay from {what} to {subscribers}: {ours:.1?}; bare {theirs:.1?}");
                // The first one warms up.
                pairs.extend((turn > 0).then_some((ours, theirs)));
            }
            streams.replayed(what, subscribers, &pairs);
        }
    }
    streams.live(&gateway, &bare, rounds, round).await?;
    streams.beside_stopped(&gateway, rounds, round).await?;
    drop((gateway, bare));
    database.drop().await?;
    Ok(streams)
}

impl Streams {
    fn row(&mut self, what: String, gateway: String, bare: String, ratio: String) {
        self.rows.push(Row { what, gateway, bare, ratio });
    }

    fn compared(&mut self, what: String, digits: usize, pairs: &[(f64, f64)]) {
        let side = |side: fn(&(f64, f64)) -> f64| Spread::of(pairs.iter().map(side)).show(digits);
        let ratio = Spread::of(pairs.iter().map(|(ours, theirs)| ours / theirs)).show(2);
        self.row(what, side(|pair| pair.0), side(|pair| pair.1), ratio);
    }

    fn replayed(&mut self, what: &str, subscribers: usize, pairs: &[(Delivered, Delivered)]) {
        let speed: Vec<_> = pairs.iter().map(|(ours, theirs)| (ours.per_second, theirs.per_second)).collect();
        self.compared(format!("replay from {what}, {subscribers} at once, events/s"), 0, &speed);
        let cores: Vec<_> = pairs.iter().map(|(ours, theirs)| (1e6 / ours.cpu_us, 1e6 / theirs.cpu_us)).collect();
        self.compared("the same, events for a second of the server's CPU".into(), 0, &cores);
    }

    /// Commit to wire, and what each delivery costs.
    async fn live(&mut self, gateway: &Server, bare: &Server, rounds: usize, round: Duration) -> anyhow::Result<()> {
        let mut load = Load::connect(gateway).await?;
        for subscribers in [1, MANY] {
            let (mut ours, mut theirs, mut costs) = (Vec::new(), Vec::new(), Vec::new());
            for turn in 0..=rounds {
                let cpu = gateway.cpu()?;
                load.paced(LIVE, round).await?;
                let alone = gateway.cpu()? - cpu;
                let cpu = gateway.cpu()?;
                let live = live::measure_many(gateway, &mut load, LIVE, round, subscribers).await?;
                let with = gateway.cpu()? - cpu;
                let (raw, raw_cost_us) = raw_live(bare, round, subscribers).await?;
                let deliveries = f64::from(LIVE) * round.as_secs_f64() * subscribers as f64;
                let cost_us = with.saturating_sub(alone).as_secs_f64() * 1e6 / deliveries;
                eprintln!(
                    "{}, live to {subscribers}: {live}, {cost_us:.1} µs; bare {raw}, {raw_cost_us:.1} µs",
                    self.kind
                );
                if turn > 0 {
                    ours.push(live);
                    theirs.push(raw);
                    costs.push((cost_us, raw_cost_us));
                }
            }
            self.lived(subscribers, &ours, &theirs);
            if subscribers > 1 {
                self.compared("the same, CPU of the server for each event and subscriber, µs".into(), 1, &costs);
            }
        }
        Ok(())
    }

    fn lived(&mut self, subscribers: usize, ours: &[Live], theirs: &[Latency]) {
        let show = |of: &dyn Fn(&Live) -> Duration| Spread::of(ours.iter().map(|live| millis(of(live)))).show(2);
        let bare = |of: fn(&Latency) -> Duration| Spread::of(theirs.iter().map(|raw| millis(of(raw)))).show(2);
        self.row(
            format!("live, {LIVE}/s to {subscribers}, call to event, p50 / p99 ms; bare: made to event"),
            format!("{} / {}", show(&|live| live.from_call.p50), show(&|live| live.from_call.p99)),
            format!("{} / {}", bare(|raw| raw.p50), bare(|raw| raw.p99)),
            String::new(),
        );
        self.row(
            "the same, answer to event, p50 / p99 ms".into(),
            format!("{} / {}", show(&|live| live.after_answer.p50), show(&|live| live.after_answer.p99)),
            String::new(),
            String::new(),
        );
    }

    /// Accepting with and without subscribers who stopped reading, in turns.
    async fn beside_stopped(&mut self, gateway: &Server, rounds: usize, round: Duration) -> anyhow::Result<()> {
        let mut load = Load::connect(gateway).await?;
        let (mut p50, mut p99, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..=rounds {
            let without = load.open_loop(BESIDE, round).await?;
            let without_mb = gateway.resident_mb()?;
            let stopped = stop_reading(gateway).await?;
            let with = load.open_loop(BESIDE, round).await?;
            let with_mb = gateway.resident_mb()?;
            eprintln!(
                "{}: {MANY} stopped readers: {with}, {with_mb:.0} MB; without {without}, {without_mb:.0} MB",
                self.kind
            );
            drop(stopped);
            if turn > 0 {
                p50.push((millis(with.p50), millis(without.p50)));
                p99.push((millis(with.p99), millis(without.p99)));
                memory.push((with_mb, without_mb));
            }
        }
        self.compared(format!("SendMessage, {BESIDE}/s, beside {MANY} stopped readers and without, p50 ms"), 2, &p50);
        self.compared("the same, p99 ms".into(), 2, &p99);
        self.compared("the same, resident memory, MB".into(), 0, &memory);
        Ok(())
    }
}

/// Fills the log with events of one size; gives the cursor after which those are that the gateway has in memory.
async fn fill(gateway: &Server) -> anyhow::Result<String> {
    let mut stream = live::subscribe(gateway).await?;
    let mut messaging = MessagingServiceClient::new(gateway.connect().await?);
    messaging.batch_send(batch(0..1, 1)).await?;
    let status = next_status(&mut stream).await?;
    // A stream of one event, to see how large it is.
    let mut events = EventServiceClient::new(gateway.connect().await?);
    let start = Some(proto::list_events_request::Start::FromBeginning(true));
    let request = proto::ListEventsRequest { start, page_size: 1_000, ..Default::default() };
    let page = events.list_events(request).await?.into_inner();
    let last = page.events.into_iter().last().context("no event")?;
    let item = Some(proto::stream_events_response::Item::Event(last));
    let bare_bytes = proto::StreamEventsResponse { item }.encoded_len() - status.callback_data.len();
    ensure!(bare_bytes < EVENT_BYTES, "an event has {bare_bytes} bytes");
    // Three lengths are around it, of which none grows by another byte from here on.
    let padding = EVENT_BYTES - bare_bytes;
    let mut cursor = String::new();
    for first in (1..LOG).step_by(500) {
        let answer = messaging.batch_send(batch(first..first + 500, padding)).await?.into_inner();
        for result in answer.results {
            let Some(proto::batch_send_result::Result::Accepted(accepted)) = result.result else {
                anyhow::bail!("not accepted: {result:?}");
            };
            if first < LOG - RECENT {
                cursor = accepted.cursor;
            }
        }
    }
    Ok(cursor)
}

fn batch(numbers: std::ops::Range<usize>, padding: usize) -> proto::BatchSendRequest {
    let entries = numbers.map(|n| {
        let mut request = load::request(n as u64);
        if let Some(options) = &mut request.options {
            options.idempotency_key = format!("filling-{n}");
            options.callback_data = "x".repeat(padding);
        }
        proto::BatchSendEntry { entry: Some(proto::batch_send_entry::Entry::Message(request)) }
    });
    proto::BatchSendRequest { entries: entries.collect() }
}

/// Reads from a start to the end of the log, again and again, for some time.
async fn replay(server: &Server, subscribers: usize, start: &Start, time: Duration) -> anyhow::Result<Delivered> {
    let mut channels = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        channels.push(server.connect().await?);
    }
    let (cpu, started) = (server.cpu()?, Instant::now());
    let mut reading = JoinSet::new();
    for channel in channels {
        let start = start.clone();
        reading.spawn(async move {
            let mut count = 0_u64;
            loop {
                let mut stream = peek(channel.clone(), Some(start.clone())).await?;
                loop {
                    match stream.message().await?.context("the stream ended")? {
                        Head::Event => count += 1,
                        Head::CaughtUp => break,
                        Head::Other => {}
                    }
                    if count.is_multiple_of(64) && started.elapsed() >= time {
                        return anyhow::Ok(count);
                    }
                }
            }
        });
    }
    let mut events = 0;
    while let Some(count) = reading.join_next().await {
        events += count??;
    }
    let cpu = server.cpu()? - cpu;
    let events = events as f64;
    Ok(Delivered { per_second: events / started.elapsed().as_secs_f64(), cpu_us: cpu.as_secs_f64() * 1e6 / events })
}

/// From the moment at which an event was made to its arrival, and the CPU for each.
async fn raw_live(bare: &Server, time: Duration, subscribers: usize) -> anyhow::Result<(Latency, f64)> {
    let mut streams = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        let mut client = EventServiceClient::new(bare.connect().await?);
        streams.push(client.stream_events(proto::StreamEventsRequest::default()).await?.into_inner());
    }
    let (cpu, started) = (bare.cpu()?, Instant::now());
    let mut reading = JoinSet::new();
    for mut stream in streams {
        reading.spawn(async move {
            let mut took = Vec::new();
            while started.elapsed() < time {
                let status = next_status(&mut stream).await?;
                let made = status.callback_data.get(..20).context("no time")?.parse()?;
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
                took.push(now.saturating_sub(Duration::from_micros(made)));
            }
            anyhow::Ok(took)
        });
    }
    let mut all = Vec::new();
    while let Some(took) = reading.join_next().await {
        all.extend(took??);
    }
    let cpu_us = (bare.cpu()? - cpu).as_secs_f64() * 1e6 / all.len() as f64;
    Ok((Latency::of(all)?, cpu_us))
}

/// Streams of the whole log of which nobody reads, each on a connection that takes little in advance.
async fn stop_reading(gateway: &Server) -> anyhow::Result<Vec<Streaming<proto::StreamEventsResponse>>> {
    let mut stopped = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        let mut events = EventServiceClient::new(gateway.connect_narrow().await?);
        let start = Some(Start::FromBeginning(true));
        let request = proto::StreamEventsRequest { start, ..Default::default() };
        stopped.push(events.stream_events(request).await?.into_inner());
    }
    Ok(stopped)
}

/// What an answer is, by its first byte: whoever counts events needs no more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Event,
    CaughtUp,
    Other,
}

/// A stream of which only the heads are looked at, so that the load costs little beside the server.
async fn peek(channel: KeyedChannel, start: Option<Start>) -> anyhow::Result<Streaming<Head>> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let request = tonic::Request::new(proto::StreamEventsRequest { start, ..Default::default() });
    let path = http::uri::PathAndQuery::from_static("/recado.v1.EventService/StreamEvents");
    Ok(grpc.server_streaming(request, path, Peek).await?.into_inner())
}

#[derive(Debug, Clone, Copy)]
struct Peek;

impl Codec for Peek {
    type Encode = proto::StreamEventsRequest;
    type Decode = Head;
    type Encoder = <ProstCodec<Self::Encode, Self::Encode> as Codec>::Encoder;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<Self::Encode, Self::Encode>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Decoder for Peek {
    type Item = Head;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Head>, Status> {
        // Tags of the fields `event` and `caught_up`, which are messages.
        let head = match buffer.chunk().first() {
            Some(0x12) => Head::Event,
            Some(0x22) => Head::CaughtUp,
            _ => Head::Other,
        };
        buffer.advance(buffer.remaining());
        Ok(Some(head))
    }
}
