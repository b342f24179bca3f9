//! One gateway, killed under load and started again each time: at random moments, and at every step of a message's way.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::RngExt as _;
use recado::faults::STEPS;

use crate::gateway::TestDatabase;
use crate::on_both_databases;
use crate::process::{Process, Setup};
use crate::scene::{Plot, Scene, acquit, kills};

/// The longest time that a gateway works between two kills.
const WORKS_MS: u64 = 1_200;
/// Some are killed again on their way up, within this time.
const COMES_UP_MS: u64 = 250;
/// A step that is not reached in this time is tried another time.
const STEP_LIMIT: Duration = Duration::from_secs(5);
/// Tries for each step, at most, until it was reached as often as it must be.
const TRIES: usize = 10;

on_both_databases! {
    async fn o5_kills_at_any_moment_lose_nothing_and_send_nothing_twice(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = Setup::new(&database.url, folder.path());
        let mut process = setup.start().await?;
        let plot = Plot::new("kill -9 at any moment", format!("{engine:?}"));
        let mut scene = Scene::begin(plot, setup.addresses.grpc).await?;
        while scene.kill_count() < kills() {
            scene.working().await?;
            scene.somebody_writes();
            scene.provider_changes_pace()?;
            scene.some_time(WORKS_MS).await;
            scene.somebody_writes();
            scene.kill(&mut process)?;
            process = setup.spawn()?;
            while scene.kill_count() < kills() && scene.random.random_bool(0.25) {
                scene.some_time(COMES_UP_MS).await;
                scene.kill(&mut process)?;
                process = setup.spawn()?;
            }
            process.ready().await?;
        }
        scene.working().await?;
        acquit(&scene.end(vec![process], &setup).await?, &setup.log)
    }

    async fn o4_death_at_every_step_loses_nothing_and_sends_nothing_twice(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = Setup::new(&database.url, folder.path());
        let mut process = setup.start().await?;
        let plot = Plot::new("kill -9 at each of its steps", format!("{engine:?}"));
        let mut scene = Scene::begin(plot, setup.addresses.grpc).await?;
        scene.working().await?;
        scene.kill(&mut process)?;
        for turn in 0..kills().div_ceil(STEPS.len()) {
            for step in STEPS {
                scene.somebody_writes();
                scene.provider_changes_pace()?;
                let mut tries = 0;
                while !dies_at(step, &setup, &mut scene).await? {
                    tries += 1;
                    ensure!(tries < TRIES, "{step} was not reached in turn {turn}");
                }
            }
        }
        let process = setup.start().await?;
        scene.working().await?;
        acquit(&scene.end(vec![process], &setup).await?, &setup.log)
    }
}

/// Starts a gateway that dies at a step, now or later; tells whether it got there. It is dead in any case.
async fn dies_at(step: &str, setup: &Setup, scene: &mut Scene) -> Result<bool> {
    // Timers run out seldom, everything else all the time.
    let times = scene.random.random_range(1..=if step.starts_with("timers") { 2 } else { 25 });
    let mut process: Process = setup.spawn_doomed(step, times)?;
    let until = Instant::now() + STEP_LIMIT;
    while Instant::now() < until {
        if process.died()? {
            scene.killed();
            return Ok(true);
        }
        scene.look_for_recovery();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    scene.kill(&mut process)?;
    Ok(false)
}
