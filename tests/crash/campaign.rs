//! One gateway, killed at random moments under load, and started again each time.

use rand::RngExt as _;

use crate::gateway::TestDatabase;
use crate::on_both_databases;
use crate::process::Setup;
use crate::scene::{Scene, acquit, kills, seed};

/// The longest time that a gateway works between two kills.
const WORKS_MS: u64 = 1_200;
/// Some are killed again on their way up, within this time.
const COMES_UP_MS: u64 = 250;

on_both_databases! {
    async fn o5_kills_at_any_moment_lose_nothing_and_send_nothing_twice(engine) {
        let name = format!("one gateway, {engine:?}");
        let seed = seed(&name);
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = Setup::new(&database.url, folder.path());
        let mut process = setup.start().await?;
        let mut scene = Scene::begin(&name, setup.addresses.grpc, seed, 0.2).await?;
        while scene.killed() < kills() {
            scene.working().await?;
            scene.somebody_writes();
            scene.provider_changes_pace()?;
            scene.some_time(WORKS_MS).await;
            scene.somebody_writes();
            scene.kill(&mut process)?;
            process = setup.spawn()?;
            while scene.killed() < kills() && scene.random.random_bool(0.25) {
                scene.some_time(COMES_UP_MS).await;
                scene.kill(&mut process)?;
                process = setup.spawn()?;
            }
            process.ready().await?;
        }
        scene.working().await?;
        acquit(&scene.end().await?, &setup.log)
    }
}
