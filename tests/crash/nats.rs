//! The event log in NATS over kills: of the gateway, of nats-server, of one of two replicas, of PostgreSQL. Every event of
//! the log is in the stream, in order, and once: what is published again NATS knows by its id.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use recado::proto;
use recado::proto::admin_service_client::AdminServiceClient;

use crate::gateway::{Engine, TestDatabase};
use crate::load::{Load, Plan};
use crate::nats_server::{self, NatsServer};
use crate::on_both_databases;
use crate::outbox::all_events;
use crate::postgres::{PostgresServer, Stop};
use crate::process::{Process, Setup, channel, complaints, wait_for};
use crate::scene::{kills, rounds, seed};

/// The longest time between two kills.
const WORKS_MS: u64 = 700;

/// Callers at the sandbox, a server, and dice.
struct World {
    name: String,
    server: NatsServer,
    load: Load,
    random: StdRng,
    kills: usize,
}

impl World {
    async fn begin(name: &str, server: NatsServer, setup: &Setup) -> Result<(Self, Process)> {
        let seed = seed(name);
        let process = setup.start().await?;
        let config = Some(proto::sender::Config::Sandbox(proto::SandboxConfig {}));
        let sender = Some(proto::Sender { sender: "acme".into(), config, ..Default::default() });
        let mut admin = AdminServiceClient::new(channel(setup.addresses.grpc));
        admin.create_sender(proto::CreateSenderRequest { sender }).await?;
        let plan = Plan { seed, at_least_once: 0.0, pause: Duration::from_millis(20), batch: 4 };
        let load = Load::start(setup.addresses.grpc, plan);
        let random = StdRng::seed_from_u64(seed);
        Ok((Self { name: name.to_owned(), server, load, random, kills: 0 }, process))
    }

    async fn some_time(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(0..WORKS_MS))).await;
    }

    /// Waits until more is accepted.
    async fn working(&self) -> Result<()> {
        let before = self.load.accepted();
        wait_for("more messages", async || Ok((self.load.accepted() > before).then_some(()))).await
    }

    async fn nats_is_killed(&mut self) -> Result<()> {
        self.kills += 1;
        self.server.kill()?;
        self.some_time().await;
        self.server.start_again().await
    }

    /// Lets the callers finish; then the stream must be the log.
    async fn end(self, setup: &Setup) -> Result<()> {
        let (sent, _) = self.load.finish().await?;
        let log = all_events(setup).await?;
        let newest = log.last().context("nothing was recorded")?;
        let messages = self.server.messages_up_to(newest).await;
        let complaints = || format!("the last complaints of the gateway:\n{}", complaints(&setup.log));
        let mut messages = messages.with_context(complaints)?;
        // Statuses of the last messages may still come: they are not in the list, and behind it in the stream.
        messages.truncate(log.len());
        nats_server::same(&messages, &log).with_context(complaints)?;
        println!("{}: {} kills, {} messages, {} events", self.name, self.kills, sent.len(), log.len());
        Ok(())
    }
}

fn publishing(setup: Setup, server: &NatsServer) -> Setup {
    setup.with("nats-url", server.url())
}

on_both_databases! {
    async fn t9_gateway_and_nats_are_killed_in_turns_and_the_stream_is_the_log(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let server = NatsServer::start().await?;
        let setup = publishing(Setup::new(&database.url, folder.path()), &server);
        let (mut world, mut process) = World::begin(&format!("NATS on {engine:?}"), server, &setup).await?;
        while world.kills < kills() {
            world.working().await?;
            world.some_time().await;
            process.kill()?;
            world.kills += 1;
            // Now and then both are away at once.
            if world.random.random_bool(0.3) {
                world.nats_is_killed().await?;
            }
            process = setup.start().await?;
            world.working().await?;
            world.some_time().await;
            world.nats_is_killed().await?;
        }
        world.end(&setup).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t9_the_replica_that_publishes_is_killed_and_the_other_goes_on() -> Result<()> {
    let database = TestDatabase::create(Engine::Postgres).await?;
    let folder = tempfile::tempdir()?;
    let server = NatsServer::start().await?;
    let setups = [(); 2].map(|()| publishing(Setup::new(&database.url, folder.path()), &server));
    // Callers stay with the first; the second is killed and comes back, and so does the first.
    let (mut world, first) = World::begin("NATS and two replicas", server, &setups[0]).await?;
    let mut processes = [first, setups[1].start().await?];
    for round in 0..rounds().max(2) {
        let turn = round % 2;
        world.working().await?;
        world.some_time().await;
        processes[turn].kill()?;
        world.kills += 1;
        world.some_time().await;
        processes[turn] = setups[turn].start().await?;
    }
    world.working().await?;
    world.end(&setups[0]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn t9_postgres_is_restarted_and_the_stream_is_the_log() -> Result<()> {
    let postgres = tokio::task::spawn_blocking(PostgresServer::start).await??;
    let folder = tempfile::tempdir()?;
    let server = NatsServer::start().await?;
    let setup = publishing(Setup::new(&postgres.url(postgres.addr), folder.path()), &server);
    let (mut world, _process) = World::begin("NATS and PostgreSQL restarted", server, &setup).await?;
    for round in 0..rounds() {
        world.working().await?;
        world.some_time().await;
        world.kills += 1;
        let how = if round % 2 == 0 { Stop::Immediate } else { Stop::Fast };
        tokio::task::block_in_place(|| {
            postgres.stop(how)?;
            postgres.start_again()
        })?;
        world.working().await?;
    }
    world.end(&setup).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_nats_is_in_the_log_once_and_holds_no_secret() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = NatsServer::start_with("authorization { user: recado, password: right }").await?;
    let database = TestDatabase::create(Engine::Sqlite).await?;
    let setup = publishing(Setup::new(&database.url, folder.path()), &server)
        .with("nats-user", "recado")
        .with("nats-password", "wr0ng-pass");
    let mut process = setup.start().await?;
    wait_for("the complaint", async || {
        Ok(complaints(&setup.log).to_lowercase().contains("authorization violation").then_some(()))
    })
    .await?;
    // It goes on trying, with nothing new to say.
    wait_for("more tries", async || Ok((server.refusals() >= 5).then_some(()))).await?;
    process.terminate().await?;
    let log = std::fs::read_to_string(&setup.log)?;
    assert_eq!(log.matches("events are not published").count(), 1, "{log}");
    assert!(!log.contains("wr0ng-pass"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_missing_is_in_the_log_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = NatsServer::start_with(
        "authorization { users: [{ user: recado, password: right, permissions: { publish: { deny: [\"recado.>\"] } } }] }",
    )
    .await?;
    // Two replicas, who take turns at it.
    let database = TestDatabase::create(Engine::Postgres).await?;
    let setups = ["one", "two"].map(|name| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        publishing(Setup::new(&database.url, &folder), &server)
            .with("nats-user", "recado")
            .with("nats-password", "right")
    });
    let mut processes = [setups[0].start().await?, setups[1].start().await?];
    for setup in &setups {
        wait_for("the complaint", async || Ok(complaints(&setup.log).contains("NATS complains").then_some(()))).await?;
    }
    let before = server.violations();
    wait_for("more tries", async || Ok((server.violations() >= before + 4).then_some(()))).await?;
    for (process, setup) in processes.iter_mut().zip(&setups) {
        process.terminate().await?;
        let log = std::fs::read_to_string(&setup.log)?;
        for words in ["NATS complains", "events are not published"] {
            let said = log.lines().filter(|line| line.contains(words)).map(serde_json::from_str::<serde_json::Value>);
            // On a slow machine there may be other troubles.
            let said: Vec<String> = said.map(|line| Ok(line?["error"].to_string())).collect::<Result<_>>()?;
            let different: std::collections::HashSet<&String> = said.iter().collect();
            assert!(!said.is_empty() && different.len() == said.len(), "{words}: {log}");
        }
        assert!(log.contains("Publish") && log.contains("recado.events.sandbox.sender_changed"), "{log}");
    }
    Ok(())
}
