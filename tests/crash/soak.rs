//! A long soak in compressed time: the gateway's clock runs so fast that a day takes seconds, and at the end of each day it is
//! looked what has grown.
//!
//! `./dev soak` makes it long: `SOAK_DAYS`, `SOAK_DAY_S` (seconds that a day takes), `SOAK_MESSAGES` (a day). `SOAK_SETTINGS`
//! are settings of the gateway, `retention-events=3d,retention-interval=1s`; when there are any, all tables must be bounded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use recado::fake::{Action, FakeProvider, Fault, Script};
use recado::proto;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};
use serde_json::json;

use crate::database::Engine;
use crate::footprint::resident_kb;
use crate::gateway::{TestDatabase, text};
use crate::on_both_databases;
use crate::process::{Process, Setup, devino_sender, wait_for};
use crate::scene::size;
use crate::subscriber::Subscriber;

/// Messages in one call.
const BATCH: usize = 50;
const PEOPLE: usize = 500;

on_both_databases! {
    async fn t10_days_in_seconds_leave_nothing_that_grows_but_what_is_kept(engine) {
        let (days, day_s, messages) = (size("SOAK_DAYS", 4), size("SOAK_DAY_S", 2), size("SOAK_MESSAGES", 200));
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let speed = 86_400 / day_s;
        let settings = std::env::var("SOAK_SETTINGS").unwrap_or_default();
        let mut setup = Setup::new(&database.url, folder.path())
            .with_time(&format!("x{speed}"))
            // What is compared with the clock must be as long as it was; calls go by true time.
            .with("engine-lease", format!("{}s", 60 * speed))
            .with("engine-in-doubt-wait", format!("{}s", 2 * speed));
        for (name, value) in settings.split(',').filter_map(|setting| setting.split_once('=')) {
            setup = setup.with(name.to_owned().leak(), value);
        }
        let process = setup.start().await?;
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        let lost = Fault::always(Action::DropAfterAccept).with_probability(0.01);
        fake.set_script(Script { faults: vec![lost], ..Script::default() }).map_err(anyhow::Error::msg)?;
        let webhook_url = devino_sender(setup.addresses.grpc, "acme", &fake).await?;
        let subscriber = Subscriber::start(setup.addresses.grpc);
        let connection = database.connect().await?;
        let mut soak = Soak { setup, process, fake, webhook_url, subscriber, connection, engine, days: Vec::new() };
        for day in 1..=days {
            soak.live_a_day(day, messages, Duration::from_secs(day_s as u64)).await?;
        }
        soak.rest(days * messages).await?;
        soak.judge(!settings.is_empty())
    }
}

/// What was there at the end of a day.
#[derive(Debug, Default)]
struct Day {
    rows: BTreeMap<String, i64>,
    /// Resident memory of the gateway, in KiB.
    memory: u64,
    files: usize,
}

struct Soak {
    setup: Setup,
    process: Process,
    fake: FakeProvider,
    webhook_url: String,
    subscriber: Subscriber,
    connection: DatabaseConnection,
    engine: Engine,
    days: Vec<Day>,
}

impl Soak {
    /// Messages go out and people write, evenly over the day.
    async fn live_a_day(&mut self, day: usize, messages: usize, length: Duration) -> Result<()> {
        let began = Instant::now();
        let calls = messages.div_ceil(BATCH);
        let mut messaging = self.setup.messaging();
        for call in 0..calls {
            let count = BATCH.min(messages - call * BATCH);
            let entries = (0..count).map(|i| {
                let number = (day * messages + call * BATCH + i) % PEOPLE;
                let request = text("acme", &format!("+351910{number:06}"), "olá");
                proto::BatchSendEntry { entry: Some(proto::batch_send_entry::Entry::Message(request)) }
            });
            let answer = messaging.batch_send(proto::BatchSendRequest { entries: entries.collect() }).await?;
            let accepted = |result: &proto::BatchSendResult| {
                matches!(result.result, Some(proto::batch_send_result::Result::Accepted(_)))
            };
            ensure!(answer.into_inner().results.iter().all(accepted), "not all messages were accepted");
            self.somebody_writes(&format!("day {day}, {call}"))?;
            let next = length.mul_f64((call + 1) as f64 / calls as f64);
            tokio::time::sleep(next.saturating_sub(began.elapsed())).await;
        }
        let found = self.look().await?;
        println!("{:?} day {day:>3}: {found}", self.engine);
        self.days.push(found);
        Ok(())
    }

    fn somebody_writes(&self, words: &str) -> Result<()> {
        // Nobody that is written to: a window that closes would end the texts to them.
        let payload = json!({ "from": "351919999999", "to": "AcmeCare", "text": words });
        let serde_json::Value::Object(payload) = payload else { unreachable!("an object, a line above") };
        self.fake.post_incoming("devino", &self.webhook_url, payload).map_err(anyhow::Error::msg)
    }

    async fn look(&self) -> Result<Day> {
        let backend = self.connection.get_database_backend();
        let tables = match backend {
            DbBackend::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            _ => "SELECT tablename::text AS name FROM pg_tables WHERE schemaname = 'public'",
        };
        let mut rows = BTreeMap::new();
        for table in self.connection.query_all_raw(Statement::from_string(backend, tables)).await? {
            let name: String = table.try_get("", "name")?;
            let count = self.count(&format!("SELECT count(*) AS n FROM {name}")).await?;
            if count > 1 && name != "seaql_migrations" {
                rows.insert(name, count);
            }
        }
        let pid = self.process.pid();
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).context("the gateway is gone")?.count();
        Ok(Day { rows, memory: resident_kb(pid)?, files })
    }

    async fn count(&self, text: &str) -> Result<i64> {
        let statement = Statement::from_string(self.connection.get_database_backend(), text);
        let row = self.connection.query_one_raw(statement).await?.context("no count")?;
        Ok(row.try_get("", "n")?)
    }

    /// Waits until all work is done: whatever waits for ever is residue.
    async fn rest(&self, messages: usize) -> Result<()> {
        wait_for("every message to be taken", async || {
            Ok((self.fake.ledger().distinct as usize == messages && self.fake.posted().pending == 0).then_some(()))
        })
        .await?;
        ensure!(self.fake.ledger().twice.is_empty(), "taken twice: {:?}", self.fake.ledger().twice);
        wait_for("all webhooks to be taken in, all reports matched, all messages to rest", async || {
            let residue = "SELECT (SELECT count(*) FROM journal WHERE pending IS NOT NULL) \
                 + (SELECT count(*) FROM parked_reports) \
                 + (SELECT count(*) FROM messages WHERE due_at_ms IS NOT NULL OR lane IS NOT NULL OR holds IS NOT NULL) \
                 AS n";
            Ok((self.count(residue).await? == 0).then_some(()))
        })
        .await?;
        wait_for("the subscriber to see it", async || {
            let head = self.count("SELECT head AS n FROM log").await?;
            let cursor = self.subscriber.cursor().parse::<recado::domain::Cursor>();
            Ok(cursor.is_ok_and(|cursor| cursor.position == head).then_some(()))
        })
        .await
    }

    /// Compares the second half of the time with the end of the first.
    fn judge(&self, tables_too: bool) -> Result<()> {
        let half = self.days.len() / 2;
        let (early, late) = (&self.days[..half.max(1)], &self.days[half..]);
        let most = |days: &[Day], of: fn(&Day) -> u64| days.iter().map(of).max().unwrap_or_default();
        let (before, after) = (most(early, |day| day.memory), most(late, |day| day.memory));
        ensure!(after <= before * 3 / 2 + 32_768, "memory grows: {before} KiB, then {after} KiB");
        let (before, after) = (most(early, |day| day.files as u64), most(late, |day| day.files as u64));
        ensure!(after <= before + 8, "open files grow: {before}, then {after}");
        let (Some(middle), Some(end)) = (early.last(), late.last()) else { return Ok(()) };
        let grows = |(name, rows): (&String, &i64)| {
            let before = middle.rows.get(name).copied().unwrap_or_default();
            (*rows > before * 5 / 4 + 100).then(|| name.clone())
        };
        let growing: Vec<String> = end.rows.iter().filter_map(grows).collect();
        println!("{:?}: tables that grow: {growing:?}", self.engine);
        ensure!(!tables_too || growing.is_empty(), "these grow, though they are trimmed: {growing:?}");
        Ok(())
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>4} MiB {:>3} files", self.memory / 1_024, self.files)?;
        self.rows.iter().try_for_each(|(name, rows)| write!(f, "  {name} {rows}"))
    }
}
