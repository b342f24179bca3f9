//! Two gateways on one PostgreSQL behind a balancer: one is killed, the other takes over; and their clocks differ.

use anyhow::{Result, ensure};

use crate::cable::Cable;
use crate::gateway::{Engine, TestDatabase};
use crate::judge::Verdict;
use crate::process::{Process, Setup};
use crate::scene::{Plot, Scene, acquit, kills, rounds};

const WORKS_MS: u64 = 1_200;

/// Two gateways, and what stands before them.
struct Pair {
    setups: [Setup; 2],
    processes: Vec<Process>,
    grpc: Cable,
    http: Cable,
}

impl Pair {
    async fn start(setups: [Setup; 2]) -> Result<Self> {
        let mut setups = setups;
        let grpc = Cable::start(setups.iter().map(|setup| setup.addresses.grpc).collect()).await?;
        let http = Cable::start(setups.iter().map(|setup| setup.addresses.http).collect()).await?;
        setups.iter_mut().for_each(|setup| setup.public_url = format!("http://{}", http.addr));
        // Together, so that both find the database empty.
        let (first, second) = tokio::try_join!(setups[0].start(), setups[1].start())?;
        Ok(Self { setups, processes: vec![first, second], grpc, http })
    }

    async fn acquitted(self, scene: Scene) -> Result<Verdict> {
        let Self { setups, processes, grpc: _grpc, http: _http } = self;
        let verdict = scene.end(processes, &setups[0]).await?;
        acquit(&verdict, &setups[0].log)?;
        Ok(verdict)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn o4_a_replica_is_killed_and_the_other_takes_over() -> Result<()> {
    let database = TestDatabase::create(Engine::Postgres).await?;
    let folder = tempfile::tempdir()?;
    let setup = || Setup::new(&database.url, folder.path());
    let mut pair = Pair::start([setup(), setup()]).await?;
    let mut scene = Scene::begin(Plot::new("kill -9 of one of two replicas", "Postgres"), pair.grpc.addr).await?;
    while scene.kill_count() < kills() {
        let turn = scene.kill_count() % 2;
        scene.somebody_writes();
        scene.provider_changes_pace()?;
        scene.some_time(WORKS_MS).await;
        scene.kill(&mut pair.processes[turn])?;
        // Only the other one is there.
        scene.working().await?;
        scene.somebody_writes();
        scene.some_time(WORKS_MS).await;
        pair.processes[turn] = pair.setups[turn].start().await?;
        scene.working().await?;
    }
    pair.acquitted(scene).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_a_minute_apart_lose_nothing_and_send_nothing_twice() -> Result<()> {
    let database = TestDatabase::create(Engine::Postgres).await?;
    let folder = tempfile::tempdir()?;
    let setup = |clock| Setup::new(&database.url, folder.path()).with_clock(clock);
    let pair = Pair::start([setup("-30s"), setup("+30s")]).await?;
    let mut scene = Scene::begin(Plot::new("clocks a minute apart", "Postgres"), pair.grpc.addr).await?;
    for _ in 0..rounds() {
        scene.faults += 1;
        scene.somebody_writes();
        scene.provider_changes_pace()?;
        scene.some_time(2 * WORKS_MS).await;
        scene.working().await?;
    }
    let verdict = pair.acquitted(scene).await?;
    // Nobody died: a lease that ran out would be one that was judged by the wrong clock.
    ensure!(verdict.in_doubt() == 0, "{} messages fell in doubt", verdict.in_doubt());
    Ok(())
}
