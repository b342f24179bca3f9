//! The binary, as the gateway and as the fake provider.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// A process of the binary, killed when it is dropped.
pub struct Process {
    child: Child,
    ready: Value,
}

impl Process {
    /// Starts the binary and waits for the line with which it says that it is ready.
    pub async fn start(arguments: &[&str], folder: &Path) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recado"));
        // Settings of whoever runs the tests are none of the story's.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RECADO_")) {
            command.env_remove(name);
        }
        let log = std::fs::File::create(folder.join(format!("{}.log", arguments[0])))?;
        let mut child = command
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("the binary cannot be started")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = read.await??;
        let ready = serde_json::from_str(&line).with_context(|| format!("it is not ready: {line:?}; {arguments:?}"))?;
        Ok(Self { child, ready })
    }

    /// An address that it said.
    pub fn addr(&self, name: &str) -> Result<SocketAddr> {
        self.ready[name].as_str().with_context(|| format!("no {name} in {}", self.ready))?.parse().context("an address")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
