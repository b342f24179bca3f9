//! The processes under measurement.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use recado::proto;
use recado::proto::admin_service_client::AdminServiceClient;
use serde_json::Value;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::database::ScratchDatabase;
use super::footprint;

/// The gateway's key in this run.
const KEY: &str = "bench-0123456789abcdef0123456789abcdef";
/// Half a byte of the key that seals credentials, in hex.
pub const MASTER_KEY: &str = "7f";

/// A channel whose calls carry the key.
pub type KeyedChannel = InterceptedService<Channel, Keyed>;

/// Puts the key into every call, as callers do.
#[derive(Debug, Clone, Copy)]
pub struct Keyed;

impl Interceptor for Keyed {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        let value = format!("Bearer {KEY}").parse().map_err(|_| tonic::Status::internal("the key is no header"))?;
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

/// A process that said where it listens.
#[derive(Debug)]
pub struct Server {
    child: Child,
    ready: Value,
}

impl Server {
    /// `recado serve`, with its settings as they come; its log goes to a file, where it is JSON, as in production;
    /// replicas share it.
    pub async fn gateway(database: &ScratchDatabase) -> anyhow::Result<Self> {
        let log =
            std::fs::File::options().create(true).append(true).open(database.folder.path().join("gateway.log"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_recado"));
        command
            .args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"])
            .args(["--database-url", &database.url])
            .env_clear()
            .env("RECADO_MASTER_KEY", MASTER_KEY.repeat(32))
            .env("RECADO_ADMIN_KEY", KEY)
            .current_dir(database.folder.path())
            .stderr(log);
        Self::start(command).await
    }

    /// The bare server: this very program.
    pub async fn comparator(database: &ScratchDatabase, row_bytes: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--comparator", &database.url, "--row-bytes", &row_bytes.to_string()]);
        Self::start(command).await
    }

    /// The bare server of streams: this very program, too.
    pub async fn stream_comparator(event_bytes: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--stream-comparator", &event_bytes.to_string()]);
        Self::start(command).await
    }

    /// `recado fake-provider`, which takes every message at once and posts DELIVERED and READ at once.
    pub async fn fake_provider() -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recado"));
        command.arg("fake-provider");
        let fake = Self::start(command).await?;
        fake.play(&serde_json::json!({ "statuses": [{ "status": "DELIVERED" }, { "status": "READ" }] })).await?;
        Ok(fake)
    }

    /// Has a fake play another script.
    pub async fn play(&self, script: &Value) -> anyhow::Result<()> {
        let url = format!("http://{}/_control/script", self.said("addr")?);
        reqwest::Client::new().put(url).json(script).send().await?.error_for_status()?;
        Ok(())
    }

    /// What a fake was handed; with `full`, message by message.
    pub async fn ledger(&self, full: bool) -> anyhow::Result<Value> {
        let url = format!("http://{}/_control/ledger?full={full}", self.said("addr")?);
        Ok(reqwest::Client::new().get(url).send().await?.error_for_status()?.json().await?)
    }

    async fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("no standard output")?;
        let mut server = Self { child, ready: Value::Null };
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(Duration::from_secs(30), reading).await;
        let line = line.with_context(|| format!("{command:?} was not ready in 30 s"))???;
        server.ready = serde_json::from_str(&line).with_context(|| format!("{command:?} began with {line:?}"))?;
        Ok(server)
    }

    /// Something that its first line said.
    fn said(&self, name: &str) -> anyhow::Result<&str> {
        self.ready[name].as_str().with_context(|| format!("{} does not tell {name}", self.ready))
    }

    /// A connection of its own.
    pub async fn connect(&self) -> anyhow::Result<KeyedChannel> {
        let url = format!("http://{}", self.said("grpc_addr")?);
        let channel = Channel::from_shared(url)?.tcp_nodelay(true).connect().await?;
        Ok(InterceptedService::new(channel, Keyed))
    }

    /// A connection that takes 64 KiB in advance, as little as HTTP/2 knows.
    pub async fn connect_narrow(&self) -> anyhow::Result<KeyedChannel> {
        let endpoint = Channel::from_shared(format!("http://{}", self.said("grpc_addr")?))?;
        let channel = endpoint.initial_stream_window_size(65_535).tcp_nodelay(true).connect().await?;
        Ok(InterceptedService::new(channel, Keyed))
    }

    /// CPU time that it has used so far, in user and kernel mode.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        footprint::cpu(self.child.id())
    }

    /// A sender to whose people nothing is handed over.
    pub async fn make_paused_sender(&self, id: &str) -> anyhow::Result<()> {
        let config = proto::sender::Config::Sandbox(proto::SandboxConfig {});
        self.make_sender(id, proto::SenderState::Paused, config, Default::default()).await
    }

    /// A sender at the fake as Meta, paused, with limits of its own.
    pub async fn make_meta_sender(&self, id: &str, fake: &Server, limits: proto::SenderLimits) -> anyhow::Result<()> {
        let config = proto::sender::Config::Meta(proto::MetaConfig {
            base_url: format!("http://{}/meta", fake.said("addr")?),
            access_token: "bench-token-0123456789".into(),
            phone_number_id: "106540352242922".into(),
            app_secret: "bench-secret-0123456789".into(),
            verify_token: "bench-verify-0123456789".into(),
            ..Default::default()
        });
        self.make_sender(id, proto::SenderState::Paused, config, limits).await
    }

    /// Lets a paused sender go on.
    pub async fn resume(&self, id: &str) -> anyhow::Result<()> {
        let sender =
            proto::Sender { sender: id.into(), state: proto::SenderState::Active as i32, ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["state".into()] });
        let mut admin = AdminServiceClient::new(self.connect().await?);
        admin.update_sender(proto::UpdateSenderRequest { sender: Some(sender), update_mask }).await?;
        Ok(())
    }

    /// Memory that it has resident, in MB.
    pub fn resident_mb(&self) -> anyhow::Result<f64> {
        Ok(footprint::resident_kb(self.child.id())? as f64 / 1e3)
    }

    /// A sender at the fake.
    pub async fn make_devino_sender(&self, id: &str, fake: &Server) -> anyhow::Result<()> {
        let config = proto::sender::Config::Devino(devino_config(fake)?);
        self.make_sender(id, proto::SenderState::Active, config, Default::default()).await
    }

    async fn make_sender(
        &self,
        id: &str,
        state: proto::SenderState,
        config: proto::sender::Config,
        limits: proto::SenderLimits,
    ) -> anyhow::Result<()> {
        let sender = proto::Sender {
            sender: id.into(),
            state: state as i32,
            config: Some(config),
            limits: Some(limits),
            ..Default::default()
        };
        let mut admin = AdminServiceClient::new(self.connect().await?);
        admin.create_sender(proto::CreateSenderRequest { sender: Some(sender) }).await?;
        Ok(())
    }
}

/// The settings of a sender at the fake as Devino.
pub fn devino_config(fake: &Server) -> anyhow::Result<proto::DevinoConfig> {
    Ok(proto::DevinoConfig {
        base_url: fake.said("devino_base_url")?.into(),
        api_key: "bench-key-0123456789".into(),
        from: "AcmeCare".into(),
        api: proto::DevinoApi::Classic as i32,
        webhook_token: "bench-token-0123456789".into(),
        ..Default::default()
    })
}

/// Whatever happens, it ends with its owner. Its database is thrown away, so there is nothing to say goodbye to.
impl Drop for Server {
    fn drop(&mut self) {
        // Fails only for one that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
