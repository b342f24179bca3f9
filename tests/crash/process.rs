//! The gateway as a process of its own.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use recado::fake::FakeProvider;
use recado::proto;
use recado::proto::admin_service_client::AdminServiceClient;
use recado::proto::messaging_service_client::MessagingServiceClient;
use tonic::transport::Channel;

/// Generous: the machine may be busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(120);

const WEBHOOK_TOKEN: &str = "test-token-0123456789";

/// Addresses that stay the same over restarts.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
}

impl Addresses {
    pub fn choose() -> Self {
        Self { grpc: free_address(), http: free_address() }
    }
}

/// An address on which nobody listens, below the ports that the system gives to outgoing connections: those could take it
/// while the gateway is dead.
pub fn free_address() -> SocketAddr {
    loop {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, rand::random_range(10_000..32_000)));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
}

/// How a gateway is started; equal at every restart.
#[derive(Debug, Clone)]
pub struct Setup {
    pub addresses: Addresses,
    /// Where webhooks come in; the gateway's own HTTP address, or a balancer's.
    pub public_url: String,
    pub database_url: String,
    /// Where the log goes; each start appends.
    pub log: PathBuf,
    /// Settings as flags: `("engine-lease", "3s")`.
    pub settings: Vec<(&'static str, String)>,
    /// Faults that the process carries in itself (`recado::faults`).
    pub faults: Vec<(&'static str, String)>,
}

impl Setup {
    pub fn new(database_url: &str, folder: &Path) -> Self {
        let addresses = Addresses::choose();
        Self {
            addresses,
            public_url: format!("http://{}", addresses.http),
            database_url: database_url.to_owned(),
            log: folder.join(format!("gateway-{}.log", addresses.grpc.port())),
            settings: Vec::new(),
            faults: Vec::new(),
        }
        .with("engine-call-limit", "1500ms")
        .with("engine-lease", "2s")
        .with("engine-in-doubt-wait", "1s")
    }

    /// With another value of a setting.
    pub fn with(mut self, setting: &'static str, value: impl Into<String>) -> Self {
        self.settings.retain(|(name, _)| *name != setting);
        self.settings.push((setting, value.into()));
        self
    }

    /// With a wrong clock: `+60s`, `-30s`.
    pub fn with_clock(mut self, clock: &str) -> Self {
        self.faults.push(("FAULT_CLOCK", clock.to_owned()));
        self
    }

    /// In another time, for the database as well: `+26h`, `x1440`.
    pub fn with_time(mut self, time: &str) -> Self {
        self.faults.push(("FAULT_TIME", time.to_owned()));
        self
    }

    /// Starts a process that dies at a step of a message's way, when it gets there so many times.
    pub fn spawn_doomed(&self, step: &str, times: u64) -> Result<Process> {
        let mut setup = self.clone();
        setup.faults.push(("FAULT_CRASH_AT", format!("{step}:{times}")));
        setup.spawn()
    }

    /// Starts the process, and does not wait for it.
    pub fn spawn(&self) -> Result<Process> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        // Files that may not grow must be an error to the gateway, as a full disk is, and not a signal. Thousands of connections
        // need as many handles as it can get.
        let mut command = Command::new("sh");
        let script = r#"trap '' XFSZ; ulimit -n "$(ulimit -H -n)" 2>/dev/null; exec "$0" "$@""#;
        command.args(["-c", script, env!("CARGO_BIN_EXE_recado")]);
        // Settings of whoever runs the tests are none of the gateway's.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RECADO_")) {
            command.env_remove(name);
        }
        command
            .arg("serve")
            .args(["--grpc-addr", &self.addresses.grpc.to_string()])
            .args(["--http-addr", &self.addresses.http.to_string()])
            .args(["--public-url", &self.public_url])
            .arg("--media-store")
            .arg(self.log.with_file_name("media"))
            .args(["--guard-allow", "127.0.0.1"])
            .env("RECADO_DATABASE_URL", &self.database_url)
            .env("RECADO_MASTER_KEY", "7f".repeat(32))
            .envs(self.faults.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        for (setting, value) in &self.settings {
            command.arg(format!("--{setting}={value}"));
        }
        let child = command.spawn().context("the binary cannot be started")?;
        Ok(Process { child, log: self.log.clone() })
    }

    /// Starts the process and waits until it says that it is ready.
    pub async fn start(&self) -> Result<Process> {
        let mut process = self.spawn()?;
        process.ready().await?;
        Ok(process)
    }

    pub fn messaging(&self) -> MessagingServiceClient<Channel> {
        MessagingServiceClient::new(channel(self.addresses.grpc))
    }
}

/// A channel that connects, and connects again, when it is used.
pub fn channel(addr: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{addr}")).unwrap().connect_lazy()
}

/// A running gateway; dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Waits for the line that says that it is ready.
    pub async fn ready(&mut self) -> Result<()> {
        let stdout = self.child.stdout.take().context("its standard output was read before")?;
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(PATIENCE, line).await.context("the gateway does not get ready")???;
        ensure!(line.contains("grpc_addr"), "the gateway did not start; its last complaints:\n{}", self.complaints());
        Ok(())
    }

    /// Its number, at the system.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it died, as it was doomed to.
    pub fn died(&mut self) -> Result<bool> {
        let Some(status) = self.child.try_wait()? else { return Ok(false) };
        ensure!(status.code().is_none(), "the gateway ended by itself, {status}:\n{}", self.complaints());
        Ok(true)
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        let status = self.child.wait()?;
        ensure!(status.code().is_none(), "the gateway ended before it was killed, {status}:\n{}", self.complaints());
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status()?;
        ensure!(sent.success(), "SIGTERM could not be sent");
        self.end().await
    }

    /// Waits until it ends by itself.
    pub async fn end(&mut self) -> Result<ExitStatus> {
        let end = async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    return Ok(status);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, end).await.context("the gateway does not end")?
    }

    /// What it complained about last.
    pub fn complaints(&self) -> String {
        complaints(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last warnings and errors of a log.
pub fn complaints(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains(r#""level":"INFO""#)).collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Makes a Devino sender `acme` that speaks to the fake; gives the address to which the provider posts.
pub async fn devino_sender(grpc: SocketAddr, id: &str, fake: &FakeProvider) -> Result<String> {
    let config = proto::DevinoConfig {
        base_url: fake.base_url("devino"),
        api_key: "test-key-0123456789".into(),
        from: "AcmeCare".into(),
        api: proto::DevinoApi::Classic as i32,
        webhook_token: WEBHOOK_TOKEN.into(),
        ..Default::default()
    };
    let sender =
        proto::Sender { sender: id.into(), config: Some(proto::sender::Config::Devino(config)), ..Default::default() };
    let mut admin = AdminServiceClient::new(channel(grpc));
    let answer = admin.create_sender(proto::CreateSenderRequest { sender: Some(sender) }).await?.into_inner();
    let address = answer.sender.context("CreateSender answered no sender")?.webhook_url;
    Ok(format!("{address}?token={WEBHOOK_TOKEN}"))
}

/// Asks again and again until the answer is there; an error names what was waited for.
pub async fn wait_for<T>(what: &str, mut probe: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let ask = async {
        loop {
            if let Some(found) = probe().await? {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ask).await.with_context(|| format!("waited too long for {what}"))?
}
