//! What the gateway costs, against a bare server of the same shape that runs in the same minutes: `./dev bench`.
//!
//! Gateway, comparator and fake provider are processes of their own (the gateway is the real `recado serve`, logging as in
//! production), so that each one's CPU time can be read apart; the load comes from this process. Rounds of gateway and
//! comparator alternate, because a machine's speed drifts within minutes: the ratios are the result, the absolute
//! figures only say what this machine did.

mod backlog;
mod bare_stream;
mod comparator;
mod database;
#[path = "../../tests/crash/footprint.rs"]
mod footprint;
mod life;
mod live;
mod load;
mod paced;
mod report;
mod server;
mod streams;

use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use database::{Kind, ScratchDatabase};
use load::Load;
use report::{Pair, Report};
use server::Server;

/// The gateway's, for the comparator, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Calls under way at the same time in the closed loop, on [`load::CONNECTIONS`] connections.
const IN_FLIGHT: usize = 512;
/// Calls a second in the open loop.
const STEADY: u32 = 2_000;
/// Events a second before a live subscriber.
const LIVE: u32 = 1_000;

/// Measures the gateway against a bare comparator, and prints one table in Markdown.
#[derive(Debug, Parser)]
struct Args {
    /// Three short rounds of each: to see that it runs
    #[arg(long)]
    quick: bool,
    /// One database only
    #[arg(long, value_name = "DATABASE")]
    only: Option<Kind>,
    /// What to measure
    #[arg(long, default_value = "costs")]
    part: Part,
    /// With `--part backlog`: messages that wait, for a hundredth of as many senders
    #[arg(long, default_value_t = 1_000_000)]
    waiting: usize,
    /// End with 1 when a required ratio is missed
    #[arg(long)]
    check: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// This process is the comparator, on this database
    #[arg(long, hide = true, value_name = "URL")]
    comparator: Option<String>,
    /// This process is the comparator of streams, with events of so many bytes
    #[arg(long, hide = true, value_name = "BYTES")]
    stream_comparator: Option<usize>,
    /// How large the comparator's rows are, in bytes
    #[arg(long, hide = true, default_value_t = 0)]
    row_bytes: usize,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Against the comparator: what acceptance, a live event and a whole life cost
    Costs,
    /// How exactly a rate is kept, and how much of it is used
    Pace,
    /// What a million messages that wait cost
    Backlog,
    /// Events to subscribers, against raw server streaming
    Streams,
}

/// How long, and how often.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rounds: usize,
    round: Duration,
    lives: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(url) = &args.comparator {
        return comparator::serve(url, args.row_bytes).await;
    }
    if let Some(bytes) = args.stream_comparator {
        return bare_stream::serve(bytes).await;
    }
    if !args.bench {
        println!("nothing measured: `./dev bench` or `cargo bench --bench delivery` does, in several minutes");
        return Ok(());
    }
    // A second install is refused; then the one that is there serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let plan = match args.quick {
        true => Plan { rounds: 3, round: Duration::from_millis(1_500), lives: 4_000 },
        false => Plan { rounds: 7, round: Duration::from_secs(4), lives: 20_000 },
    };
    match args.part {
        Part::Costs => {}
        Part::Pace => return pace(args.only).await,
        Part::Backlog => return backlog(&args, plan).await,
        Part::Streams => return streams(args.only, plan).await,
    }
    let mut report = Report::new(plan);
    for kind in [Kind::Sqlite, Kind::Postgres] {
        if args.only.is_none_or(|only| only == kind) {
            measure(kind, plan, &mut report).await.with_context(|| format!("on {kind}"))?;
        }
    }
    println!("\n{report}");
    if args.check && !report.passed() {
        std::process::exit(1);
    }
    Ok(())
}

async fn pace(only: Option<Kind>) -> anyhow::Result<()> {
    println!(
        "| database | limit | reached | of the limit | fullest second | twice |\n| --- | --- | --- | --- | --- | --- |"
    );
    for kind in [Kind::Sqlite, Kind::Postgres] {
        for case in paced::CASES {
            let possible = case.replicas == 1 || kind == Kind::Postgres;
            if only.is_none_or(|only| only == kind) && possible {
                println!("| {kind} {}", paced::measure(kind, case).await.with_context(|| format!("on {kind}"))?);
            }
        }
    }
    Ok(())
}

async fn backlog(args: &Args, plan: Plan) -> anyhow::Result<()> {
    let size = backlog::Size { senders: (args.waiting / 100).max(1), messages: args.waiting };
    for kind in [Kind::Sqlite, Kind::Postgres] {
        if args.only.is_none_or(|only| only == kind) {
            let watch = if args.quick { Duration::from_secs(20) } else { Duration::from_secs(60) };
            let found = backlog::measure(kind, size, plan.lives, watch).await.with_context(|| format!("on {kind}"))?;
            println!("{kind}: {found}");
        }
    }
    Ok(())
}

async fn streams(only: Option<Kind>, plan: Plan) -> anyhow::Result<()> {
    let mut all = String::new();
    for kind in [Kind::Sqlite, Kind::Postgres] {
        if only.is_none_or(|only| only == kind) {
            let rounds = plan.rounds.min(3);
            let found = streams::measure(kind, rounds, plan.round / 2).await.with_context(|| format!("on {kind}"))?;
            all += &found.to_string();
        }
    }
    println!("| database | what | gateway | raw tonic | ratio |\n| --- | --- | --- | --- | --- |\n{all}");
    Ok(())
}

async fn measure(kind: Kind, plan: Plan, report: &mut Report) -> anyhow::Result<()> {
    accept(kind, plan, report).await?;
    live(kind, plan, report).await?;
    life(kind, plan, report).await
}

/// Acceptance alone: the sender is paused, so nothing is handed over.
async fn accept(kind: Kind, plan: Plan, report: &mut Report) -> anyhow::Result<()> {
    let (ours, theirs) = (ScratchDatabase::create(kind).await?, ScratchDatabase::create(kind).await?);
    report.database(kind, ours.version().await?);
    let gateway = Server::gateway(&ours).await?;
    gateway.make_paused_sender(load::SENDER).await?;
    let mut gateway_load = Load::connect(&gateway).await?;
    gateway_load.send_one().await?;
    let row_bytes = ours.message_row_bytes().await?;
    let comparator = Server::comparator(&theirs, row_bytes).await?;
    let mut comparator_load = Load::connect(&comparator).await?;

    for (server, load) in [(&gateway, &mut gateway_load), (&comparator, &mut comparator_load)] {
        load.closed_loop(server, IN_FLIGHT, plan.round / 2).await?; // warms caches; not counted
    }
    for round in 1..=plan.rounds {
        let gateway = gateway_load.closed_loop(&gateway, IN_FLIGHT, plan.round).await?;
        let bare = comparator_load.closed_loop(&comparator, IN_FLIGHT, plan.round).await?;
        eprintln!("{kind}, accept, round {round}: gateway {gateway}; bare {bare}");
        report.accepted(kind, Pair { gateway, bare });
    }
    for round in 1..=plan.rounds {
        let gateway = gateway_load.open_loop(STEADY, plan.round).await?;
        let bare = comparator_load.open_loop(STEADY, plan.round).await?;
        eprintln!("{kind}, {STEADY} a second, round {round}: gateway {gateway}; bare {bare}");
        report.steady(kind, Pair { gateway, bare });
    }
    drop((gateway, comparator));
    ours.drop().await?;
    theirs.drop().await
}

/// From the call to the event before a subscriber.
async fn live(kind: Kind, plan: Plan, report: &mut Report) -> anyhow::Result<()> {
    let database = ScratchDatabase::create(kind).await?;
    let gateway = Server::gateway(&database).await?;
    gateway.make_paused_sender(load::SENDER).await?;
    let mut load = Load::connect(&gateway).await?;
    for round in 0..=plan.rounds {
        let live = live::measure(&gateway, &mut load, LIVE, plan.round).await?;
        if round > 0 {
            eprintln!("{kind}, live, round {round}: {live}");
            report.live(kind, live);
        }
    }
    drop(gateway);
    database.drop().await
}

/// From acceptance to READ.
async fn life(kind: Kind, plan: Plan, report: &mut Report) -> anyhow::Result<()> {
    let database = ScratchDatabase::create(kind).await?;
    let gateway = Server::gateway(&database).await?;
    let fake = Server::fake_provider().await?;
    gateway.make_devino_sender(load::SENDER, &fake).await?;
    let mut load = Load::connect(&gateway).await?;
    for round in 0..=plan.rounds {
        let count = if round == 0 { plan.lives / 4 } else { plan.lives };
        let life = life::measure(&gateway, &mut load, count).await?;
        if round > 0 {
            eprintln!("{kind}, whole life, round {round}: {life}");
            report.life(kind, life);
        }
    }
    drop((gateway, fake));
    database.drop().await
}
