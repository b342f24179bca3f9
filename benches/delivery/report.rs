//! The table.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use super::Plan;
use super::database::Kind;
use super::life::Life;
use super::live::Live;
use super::load::{Latency, Throughput, millis};

/// The least that the gateway's rate may be, of the comparator's.
const RATE_LEAST: f64 = 0.5;
/// The most that the gateway's p99 may be, of the comparator's.
const P99_MOST: f64 = 3.0;

/// The same measured twice, one right after the other.
#[derive(Debug, Clone, Copy)]
pub struct Pair<T> {
    pub gateway: T,
    pub bare: T,
}

/// All rounds of a database.
#[derive(Debug)]
struct Rounds {
    kind: Kind,
    version: String,
    accepted: Vec<Pair<Throughput>>,
    steady: Vec<Pair<Latency>>,
    live: Vec<Live>,
    life: Vec<Life>,
}

/// What was measured.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    databases: Vec<Rounds>,
}

impl Report {
    pub fn new(plan: Plan) -> Self {
        Self { plan, databases: Vec::new() }
    }

    pub fn database(&mut self, kind: Kind, version: String) {
        let rounds = Rounds { kind, version, accepted: vec![], steady: vec![], live: vec![], life: vec![] };
        self.databases.push(rounds);
    }

    pub fn accepted(&mut self, kind: Kind, pair: Pair<Throughput>) {
        self.of(kind).for_each(|rounds| rounds.accepted.push(pair));
    }

    pub fn steady(&mut self, kind: Kind, pair: Pair<Latency>) {
        self.of(kind).for_each(|rounds| rounds.steady.push(pair));
    }

    pub fn live(&mut self, kind: Kind, live: Live) {
        self.of(kind).for_each(|rounds| rounds.live.push(live));
    }

    pub fn life(&mut self, kind: Kind, life: Life) {
        self.of(kind).for_each(|rounds| rounds.life.push(life));
    }

    fn of(&mut self, kind: Kind) -> impl Iterator<Item = &mut Rounds> {
        self.databases.iter_mut().filter(move |rounds| rounds.kind == kind)
    }

    /// Whether every required ratio is kept.
    pub fn passed(&self) -> bool {
        self.databases.iter().all(|rounds| rounds.rate().median >= RATE_LEAST && rounds.p99().median <= P99_MOST)
    }
}

impl Rounds {
    /// Gateway over comparator, round by round.
    fn rate(&self) -> Spread {
        Spread::of(self.accepted.iter().map(|pair| pair.gateway.per_second / pair.bare.per_second))
    }

    fn p99(&self) -> Spread {
        Spread::of(self.steady.iter().map(|pair| pair.gateway.p99.as_secs_f64() / pair.bare.p99.as_secs_f64()))
    }
}

/// A median, and between what.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        Self { median: at(values.len() / 2), least: at(0), most: at(values.len().saturating_sub(1)) }
    }

    /// With as many digits as a reader needs.
    pub fn show(self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$}-{:.digits$})", self.median, self.least, self.most)
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", facts(self))?;
        writeln!(f, "| database | what | gateway | bare comparator | ratio | required |")?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- |")?;
        self.databases.iter().try_for_each(|rounds| rows(f, rounds))
    }
}

fn rows(f: &mut fmt::Formatter<'_>, rounds: &Rounds) -> fmt::Result {
    let kind = rounds.kind;
    let mut row = |what: &str, gateway: String, bare: String, ratio: String, required: String| {
        writeln!(f, "| {kind} | {what} | {gateway} | {bare} | {ratio} | {required} |")
    };
    let none = String::new;
    let rate = |side: fn(&Pair<Throughput>) -> f64| Spread::of(rounds.accepted.iter().map(side));
    let steady = |side: fn(&Pair<Latency>) -> f64| Spread::of(rounds.steady.iter().map(side));
    let verdict = |passed: bool| if passed { "PASS" } else { "FAIL" };
    row(
        "SendMessage, 512 in flight, messages/s",
        rate(|pair| pair.gateway.per_second).show(0),
        rate(|pair| pair.bare.per_second).show(0),
        rounds.rate().show(2),
        format!("at least {RATE_LEAST}: {}", verdict(rounds.rate().median >= RATE_LEAST)),
    )?;
    row(
        "the same, CPU of the server, µs/message",
        rate(|pair| micros(pair.gateway.cpu)).show(0),
        rate(|pair| micros(pair.bare.cpu)).show(0),
        Spread::of(rounds.accepted.iter().map(|pair| micros(pair.gateway.cpu) / micros(pair.bare.cpu))).show(2),
        none(),
    )?;
    row(
        "SendMessage, 2,000/s, p50 ms",
        steady(|pair| millis(pair.gateway.p50)).show(2),
        steady(|pair| millis(pair.bare.p50)).show(2),
        Spread::of(rounds.steady.iter().map(|pair| millis(pair.gateway.p50) / millis(pair.bare.p50))).show(2),
        none(),
    )?;
    row(
        "the same, p99 ms",
        steady(|pair| millis(pair.gateway.p99)).show(2),
        steady(|pair| millis(pair.bare.p99)).show(2),
        rounds.p99().show(2),
        format!("at most {P99_MOST:.0}: {}", verdict(rounds.p99().median <= P99_MOST)),
    )?;
    let life = |side: fn(&Life) -> f64| Spread::of(rounds.life.iter().map(side));
    row("accept to READ streamed, messages/s", life(|life| life.per_second).show(0), none(), none(), none())?;
    row("the same, CPU of the gateway, µs/message", life(|life| micros(life.cpu)).show(0), none(), none(), none())?;
    let live = |side: fn(&Live) -> Duration| Spread::of(rounds.live.iter().map(|live| millis(side(live)))).show(2);
    row(
        "live subscriber, 1,000/s, call to event, p50 / p99 ms",
        format!("{} / {}", live(|live| live.from_call.p50), live(|live| live.from_call.p99)),
        none(),
        none(),
        none(),
    )?;
    row(
        "the same, answer to event, p50 / p99 ms",
        format!("{} / {}", live(|live| live.after_answer.p50), live(|live| live.after_answer.p99)),
        none(),
        none(),
        none(),
    )
}

/// On what, and how.
fn facts(report: &Report) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let databases: Vec<String> =
        report.databases.iter().map(|rounds| format!("{} {}", rounds.kind, rounds.version)).collect();
    format!(
        "{cores} cores for load, servers, databases and fake provider together; Linux {}; {rustc}; {}. Median (least-most) \
         of {} alternating rounds of {:.1} s; whole lives by {} messages, at most 2,000 under way.",
        kernel.trim(),
        databases.join(", "),
        report.plan.rounds,
        report.plan.round.as_secs_f64(),
        report.plan.lives,
    )
}
