//! A PostgreSQL server of a test's own, which may be restarted.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::process::free_address;

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Transactions are undone, connections told.
    Fast,
    /// As if it was killed: it recovers when it starts.
    Immediate,
}

/// A server; dropped, it is stopped.
#[derive(Debug)]
pub struct PostgresServer {
    folder: TempDir,
    programs: PathBuf,
    pub addr: SocketAddr,
}

impl PostgresServer {
    /// Makes a cluster and starts its server.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let server = Self { folder, programs: programs()?, addr: free_address() };
        if is_root()? {
            run(Command::new("chown").arg("postgres").arg(server.folder.path()))?;
        }
        let data = server.data();
        run(server
            .program("initdb")?
            .arg("-D")
            .arg(data)
            .args("-A trust -U postgres --no-sync -E UTF8 --locale=C".split(' ')))?;
        server.start_again()?;
        Ok(server)
    }

    /// What a gateway is told, when it reaches the server at an address.
    pub fn url(&self, addr: SocketAddr) -> String {
        format!("postgres://postgres@{addr}/postgres")
    }

    /// Stops it, and waits until it has ended.
    pub fn stop(&self, how: Stop) -> Result<()> {
        let mode = match how {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        run(self.program("pg_ctl")?.arg("-D").arg(self.data()).args(["stop", "-w", "-m", mode]))
    }

    /// Starts it, and waits until it takes connections.
    pub fn start_again(&self) -> Result<()> {
        let (port, folder) = (self.addr.port(), self.folder.path().display());
        let options = format!("-h {} -p {port} -k {folder} -c max_connections=100", Ipv4Addr::LOCALHOST);
        let log = self.folder.path().join("server.log");
        run(self.program("pg_ctl")?.arg("-D").arg(self.data()).arg("-l").arg(log).args(["start", "-w", "-o", &options]))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of PostgreSQL's, which refuses to run as root.
    fn program(&self, name: &str) -> Result<Command> {
        let path = self.programs.join(name);
        let mut command = match is_root()? {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]).arg(path);
                command
            }
            false => Command::new(path),
        };
        command.current_dir(self.folder.path());
        Ok(command)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let _ = self.stop(Stop::Immediate);
    }
}

fn is_root() -> Result<bool> {
    Ok(Command::new("id").arg("-u").output()?.stdout.starts_with(b"0\n"))
}

/// Where they are, in the places where `./dev` looks too.
fn programs() -> Result<PathBuf> {
    let mut places = vec!["/opt/homebrew/opt/postgresql/bin".into()];
    if let Ok(said) = Command::new("pg_config").arg("--bindir").output() {
        places.push(PathBuf::from(String::from_utf8(said.stdout)?.trim()));
    }
    for root in ["/usr/lib/postgresql", "/usr"] {
        let versions = std::fs::read_dir(root).into_iter().flatten().flatten();
        places.extend(versions.map(|version| version.path().join("bin")));
    }
    let found =
        places.into_iter().find(|place| ["initdb", "pg_ctl", "postgres"].iter().all(|name| place.join(name).is_file()));
    found.context("PostgreSQL's programs (initdb, pg_ctl) are not here; `./dev test` installs them")
}

/// Runs it to its end; an error holds what it said.
fn run(command: &mut Command) -> Result<()> {
    // A server that inherits a pipe would keep it open.
    let said = tempfile::NamedTempFile::new()?;
    let status = command.stdin(Stdio::null()).stdout(said.reopen()?).stderr(said.reopen()?).status()?;
    ensure!(status.success(), "{command:?} ended with {status}: {}", std::fs::read_to_string(said.path())?);
    Ok(())
}
