//! PostgreSQL is restarted or cut off under load: callers wait, nothing is lost, and nothing falls in doubt, since the
//! gateway itself lives on and writes down what it knows.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::RngExt as _;

use crate::cable::{Cable, State};
use crate::postgres::{PostgresServer, Stop};
use crate::process::{Process, Setup};
use crate::scene::{Plot, Scene, acquit, rounds};

const WORKS_MS: u64 = 1_500;
/// How long it is away, at most: less than a lease.
const AWAY_MS: u64 = 3_000;

/// A gateway whose database is at the other end of a cable.
struct Remote {
    server: PostgresServer,
    cable: Cable,
    setup: Setup,
    process: Process,
    _folder: tempfile::TempDir,
}

impl Remote {
    async fn start() -> Result<Self> {
        let server = tokio::task::spawn_blocking(PostgresServer::start).await??;
        let cable = Cable::start(vec![server.addr]).await?;
        let folder = tempfile::tempdir()?;
        let setup = Setup::new(&server.url(cable.addr), folder.path()).with("engine-lease", "30s");
        let process = setup.start().await?;
        Ok(Self { server, cable, setup, process, _folder: folder })
    }

    async fn acquitted(self, scene: Scene) -> Result<()> {
        let verdict = scene.end(vec![self.process], &self.setup).await?;
        acquit(&verdict, &self.setup.log)?;
        ensure!(verdict.in_doubt() == 0, "{} messages fell in doubt", verdict.in_doubt());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t9_postgres_is_restarted_under_load() -> Result<()> {
    let remote = Remote::start().await?;
    let mut scene = Scene::begin(Plot::new("PostgreSQL restarted", "Postgres"), remote.setup.addresses.grpc).await?;
    for round in 0..rounds() {
        scene.working().await?;
        scene.somebody_writes();
        scene.some_time(WORKS_MS).await;
        scene.somebody_writes();
        scene.faults += 1;
        scene.broken();
        let how = if round % 2 == 0 { Stop::Immediate } else { Stop::Fast };
        let pause = Duration::from_millis(scene.random.random_range(0..AWAY_MS));
        tokio::task::block_in_place(|| {
            remote.server.stop(how)?;
            std::thread::sleep(pause);
            remote.server.start_again()
        })?;
        scene.working().await?;
    }
    remote.acquitted(scene).await
}

#[tokio::test(flavor = "multi_thread")]
async fn t9_postgres_is_cut_off_under_load() -> Result<()> {
    let remote = Remote::start().await?;
    let mut scene = Scene::begin(Plot::new("PostgreSQL cut off", "Postgres"), remote.setup.addresses.grpc).await?;
    for round in 0..rounds() {
        scene.working().await?;
        scene.somebody_writes();
        scene.some_time(WORKS_MS).await;
        scene.faults += 1;
        scene.broken();
        // A cable that is cut ends connections; one that falls silent says nothing, and then they end after all.
        if round % 2 == 1 {
            remote.cable.set(State::Silent);
            scene.some_time(AWAY_MS).await;
        }
        remote.cable.set(State::Cut);
        scene.somebody_writes();
        scene.some_time(AWAY_MS).await;
        remote.cable.set(State::Whole);
        scene.working().await?;
    }
    remote.acquitted(scene).await
}
