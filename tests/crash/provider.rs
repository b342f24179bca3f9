//! A provider that breaks every rule: it takes messages and drops the connection, answers too late, in garbage or with an
//! error, throttles, and posts its statuses twice, in any order and before it answers.

use anyhow::Result;
use recado::fake::{Action, Fault, Script, Step, Webhooks};

use crate::cast::{self, Cast};
use crate::database::Engine;
use crate::gateway::TestDatabase;
use crate::process::Setup;
use crate::scene::{Plot, Scene, acquit, rounds};

const PLAYS_MS: u64 = 3_000;
/// Longer than the limit of a call.
const TOO_LATE_MS: u64 = 2_000;

/// Everything at once, by chance, and by another chance in each round.
fn script(seed: u64, round: usize) -> Script {
    let step = |status: &str, after_ms| Step { status: status.into(), after_ms, error_code: 0 };
    let throttle = |body_only| Action::Throttle { retry_after_s: Some(1), body_only };
    let sometimes = |action, probability| Fault::always(action).with_probability(probability);
    let faults = vec![
        sometimes(Action::DropAfterAccept, 0.04),
        sometimes(Action::DropBeforeAccept, 0.02),
        sometimes(Action::Garbage, 0.04),
        sometimes(Action::ErrorAfterAccept { status: 502 }, 0.04),
        sometimes(Action::ErrorBeforeAccept { status: 503 }, 0.02),
        sometimes(Action::Slow { ms: TOO_LATE_MS }, 0.03),
        sometimes(throttle(false), 0.02).first(1),
        sometimes(throttle(true), 0.02).first(1),
    ];
    let webhooks = Webhooks { duplicate: 0.5, reorder: true, before_answer: round % 2 == 1, ..Webhooks::default() };
    let statuses = vec![step("DELIVERED", 50), step("READ", 300)];
    Script { seed: seed.wrapping_add(round as u64), latency_ms: 10, statuses, webhooks, faults, ..Script::default() }
}

async fn run(engine: Engine, name: &str, cast: Cast) -> Result<()> {
    let database = TestDatabase::create(engine).await?;
    let folder = tempfile::tempdir()?;
    let setup = Setup::new(&database.url, folder.path());
    let process = setup.start().await?;
    let on = format!("{engine:?}, {name}");
    let plot = Plot { cast, ..Plot::new("a provider that breaks all rules", on) };
    let mut scene = Scene::begin(plot, setup.addresses.grpc).await?;
    for round in 0..rounds() {
        scene.play(script(scene.seed, round))?;
        scene.some_time(PLAYS_MS).await;
        scene.working().await?;
        scene.faults += scene.fake.acted() as usize;
    }
    acquit(&scene.end(vec![process], &setup).await?, &setup.log)
}

/// On one database each, in turns: what the provider does reaches the store by one way.
macro_rules! providers {
    ($($name:ident on $engine:ident)+) => { $(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() -> Result<()> { run(Engine::$engine, stringify!($name), cast::$name()).await }
    )+ };
}

providers! {
    devino on Sqlite
    meta on Postgres
    devino_direct on Postgres
    dialog360 on Sqlite
    digivox on Sqlite
    infobip on Postgres
    twilio on Sqlite
}
