//! Two gateways on one PostgreSQL behind a balancer: one is killed, the other takes over.

use anyhow::Result;

use crate::balancer::Balancer;
use crate::gateway::{Engine, TestDatabase};
use crate::process::Setup;
use crate::scene::{Scene, acquit, kills, seed};

const WORKS_MS: u64 = 1_200;

#[tokio::test(flavor = "multi_thread")]
async fn o4_a_replica_is_killed_and_the_other_takes_over() -> Result<()> {
    let name = "two replicas";
    let seed = seed(name);
    let database = TestDatabase::create(Engine::Postgres).await?;
    let folder = tempfile::tempdir()?;
    let mut setups = [Setup::new(&database.url, folder.path()), Setup::new(&database.url, folder.path())];
    let grpc = Balancer::start(setups.iter().map(|setup| setup.addresses.grpc).collect()).await?;
    let http = Balancer::start(setups.iter().map(|setup| setup.addresses.http).collect()).await?;
    setups.iter_mut().for_each(|setup| setup.public_url = format!("http://{}", http.addr));
    // Together, so that both find the database empty.
    let (first, second) = tokio::try_join!(setups[0].start(), setups[1].start())?;
    let mut processes = [first, second];
    let mut scene = Scene::begin(name, grpc.addr, seed, 0.2).await?;
    while scene.killed() < kills() {
        let turn = scene.killed() % 2;
        scene.somebody_writes();
        scene.provider_changes_pace()?;
        scene.some_time(WORKS_MS).await;
        scene.kill(&mut processes[turn])?;
        // Only the other one is there.
        scene.working().await?;
        scene.somebody_writes();
        scene.some_time(WORKS_MS).await;
        processes[turn] = setups[turn].start().await?;
        scene.working().await?;
    }
    acquit(&scene.end().await?, &setups[0].log)
}
