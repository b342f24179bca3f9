//! How fast a sender with a rate is fed, by the ledger of the fake: never above its rate in any second, and how much of it is
//! used while work waits, also when each answer takes 200 ms.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use recado::proto;
use tokio::sync::Semaphore;

use super::database::{Kind, ScratchDatabase};
use super::load::{Load, SENDER};
use super::server::Server;

/// One case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Messages per second.
    pub rate: u32,
    /// How long the provider takes to answer.
    pub latency_ms: u64,
    /// Calls that may be open.
    pub in_flight: i32,
    /// Messages that wait at the beginning.
    pub messages: usize,
    /// Gateways on one database.
    pub replicas: usize,
}

/// The cases that are measured; those of several replicas where a database can be shared.
pub const CASES: [Case; 6] = [
    Case { rate: 80, latency_ms: 50, in_flight: 64, messages: 1_600, replicas: 1 },
    Case { rate: 400, latency_ms: 200, in_flight: 128, messages: 8_000, replicas: 1 },
    Case { rate: 1_000, latency_ms: 200, in_flight: 256, messages: 20_000, replicas: 1 },
    // Of a limit 97 % are used, so this is the case that feeds a slow provider 1,000 a second.
    Case { rate: 1_100, latency_ms: 200, in_flight: 256, messages: 22_000, replicas: 1 },
    Case { rate: 80, latency_ms: 50, in_flight: 64, messages: 1_600, replicas: 2 },
    Case { rate: 400, latency_ms: 200, in_flight: 128, messages: 8_000, replicas: 2 },
];

/// What the ledger says.
#[derive(Debug, Clone, Copy)]
pub struct Paced {
    case: Case,
    /// From the first message to the last.
    per_second: f64,
    /// In the fullest second, wherever it begins.
    fullest: usize,
    /// Messages that came more than once.
    twice: usize,
}

impl fmt::Display for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, per_second, fullest, twice } = self;
        write!(
            f,
            "| {}/s, answers after {} ms, {} calls{} | {per_second:.1}/s | {:.3} | {fullest} | {twice} |",
            case.rate,
            case.latency_ms,
            case.in_flight,
            if case.replicas > 1 { format!(", {} replicas", case.replicas) } else { String::new() },
            per_second / f64::from(case.rate)
        )
    }
}

/// Lets all wait, lets them go, and reads the ledger.
pub async fn measure(kind: Kind, case: Case) -> anyhow::Result<Paced> {
    let database = ScratchDatabase::create(kind).await?;
    let fake = Server::fake_provider().await?;
    fake.play(&serde_json::json!({ "statuses": [], "latency_ms": case.latency_ms })).await?;
    let gateway = Server::gateway(&database).await?;
    let limits = proto::SenderLimits {
        messages_per_second: Some(f64::from(case.rate)),
        in_flight: Some(case.in_flight),
        ..Default::default()
    };
    gateway.make_meta_sender(SENDER, &fake, limits).await?;
    let mut load = Load::connect(&gateway).await?;
    let mut others = Vec::new();
    for _ in 1..case.replicas {
        others.push(Server::gateway(&database).await?);
    }
    // More permits than callers and messages: nobody waits.
    load.gated(case.messages, Arc::new(Semaphore::new(2 * case.messages + 1_024))).await?;
    gateway.resume(SENDER).await?;
    let times = loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let ledger = fake.ledger(false).await?;
        if ledger["distinct"].as_u64().context("no ledger")? < case.messages as u64 {
            continue;
        }
        let ledger = fake.ledger(true).await?;
        let twice = ledger["twice"].as_array().map_or(0, Vec::len);
        let rows = ledger["rows"].as_array().context("no rows")?;
        let mut times: Vec<i64> = rows.iter().filter_map(|row| row["at_ms"].as_i64()).collect();
        times.sort_unstable();
        break (times, twice);
    };
    let (times, twice) = times;
    let span_ms = times.last().zip(times.first()).map_or(0, |(last, first)| last - first).max(1);
    let fullest = (0..times.len()).map(|i| times[i..].iter().take_while(|at| **at < times[i] + 1_000).count()).max();
    drop((gateway, others, fake));
    database.drop().await?;
    let per_second = (times.len() - 1) as f64 * 1e3 / span_ms as f64;
    Ok(Paced { case, per_second, fullest: fullest.unwrap_or_default(), twice })
}
