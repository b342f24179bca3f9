//! A full disk under SQLite: callers are told to come back, nothing that was accepted is lost, and it goes on when there is
//! room again.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::process::{Setup, wait_for};
use crate::scene::{Plot, Scene, acquit, rounds};

const WORKS_MS: u64 = 1_500;
const FULL_MS: u64 = 2_000;

/// A disk that can be filled: a small file system of its own where this machine lets us mount one, and else a limit on the
/// size of the gateway's files, which stops the database as well.
enum Disk {
    Mounted { folder: PathBuf },
    Limited,
}

impl Disk {
    fn mount(folder: &Path) -> Result<Self> {
        let folder = folder.join("small");
        std::fs::create_dir(&folder)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256m", "tmpfs"]).arg(&folder).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        Ok(if mounted { Self::Mounted { folder } } else { Self::Limited })
    }

    fn folder<'a>(&'a self, otherwise: &'a Path) -> &'a Path {
        match self {
            Self::Mounted { folder } => folder,
            Self::Limited => otherwise,
        }
    }

    fn ballast(folder: &Path) -> PathBuf {
        folder.join("ballast")
    }

    fn fill(&self, pid: u32) -> Result<()> {
        match self {
            Self::Mounted { folder } => {
                let mut file = File::create(Self::ballast(folder))?;
                let block = vec![0; 4_096];
                while file.write_all(&block).is_ok() {}
                Ok(())
            }
            // Shorter than the database is by now.
            Self::Limited => limit(pid, "4096"),
        }
    }

    fn make_room(&self, pid: u32) -> Result<()> {
        match self {
            Self::Mounted { folder } => Ok(std::fs::remove_file(Self::ballast(folder))?),
            Self::Limited => limit(pid, "unlimited"),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Mounted { folder } = self {
            let _ = Command::new("umount").arg("-l").arg(folder).status();
        }
    }
}

/// The largest file that a process may write, in bytes; what it may set itself to stays unlimited.
fn limit(pid: u32, bytes: &str) -> Result<()> {
    let status =
        Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--fsize={bytes}:unlimited")]).status();
    ensure!(status.context("neither mount nor prlimit works here")?.success(), "prlimit refused");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_callers_time_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = Disk::mount(folder.path())?;
    let url = format!("sqlite://{}/recado.db", disk.folder(folder.path()).display());
    let setup = Setup::new(&url, folder.path()).with("engine-lease", "60s");
    let process = setup.start().await?;
    let mut scene = Scene::begin(Plot::new("full disk", "Sqlite"), setup.addresses.grpc).await?;
    for _ in 0..rounds() {
        scene.working().await?;
        scene.somebody_writes();
        scene.some_time(WORKS_MS).await;
        let refused = scene.load.refused();
        scene.faults += 1;
        scene.broken();
        disk.fill(process.pid())?;
        scene.somebody_writes();
        let told = async || Ok((scene.load.refused() > refused).then_some(()));
        wait_for("a caller who is told to come back", told).await?;
        scene.some_time(FULL_MS).await;
        disk.make_room(process.pid())?;
        scene.working().await?;
    }
    // A call's outcome that waited for room is written, not doubted.
    let verdict = scene.end(vec![process], &setup).await?;
    acquit(&verdict, &setup.log)?;
    ensure!(verdict.in_doubt() == 0, "{} messages fell in doubt", verdict.in_doubt());
    // Room for the last commit was there: the file is whole.
    tokio::time::timeout(Duration::from_secs(60), sound(&url)).await?
}

/// SQLite's own word on the file.
async fn sound(url: &str) -> Result<()> {
    use sea_orm::{ConnectionTrait as _, Database, DbBackend, Statement};
    let database = Database::connect(url).await?;
    let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA integrity_check");
    let row = database.query_one_raw(statement).await?.context("no word")?;
    let word: String = row.try_get_by_index(0)?;
    ensure!(word == "ok", "the database file is not whole: {word}");
    Ok(())
}
