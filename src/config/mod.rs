//! Settings: `config/default.toml`, then the file of `--config`, then `RECADO_…`, then flags.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::guarded::AllowList;

mod check;
mod keys;
mod layers;

pub use keys::Flags;
pub use layers::{InForce, Layers};

/// Everything that can be set. A part gets its own section, not the whole.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where gRPC, health and reflection listen; with port 0 the system chooses one.
    #[serde(deserialize_with = "address")]
    pub grpc_addr: SocketAddr,
    /// Where HTTP listens; with port 0 the system chooses one.
    #[serde(deserialize_with = "address")]
    pub http_addr: SocketAddr,
    /// The database, `sqlite:` or `postgres:`. May hold a password.
    pub database_url: SecretString,
    /// The key that seals credentials, 32 bytes as base64 or hex; `None`: made once beside the SQLite file.
    #[serde(deserialize_with = "optional_secret")]
    pub master_key: Option<SecretString>,
    /// An API key with the scope admin, to begin with.
    #[serde(deserialize_with = "optional_secret")]
    pub admin_key: Option<SecretString>,
    /// Where providers reach the HTTP address; `None`: the HTTP address itself. Its path ends with a slash, so that
    /// [`Url::join`] keeps all of it.
    #[serde(deserialize_with = "optional_base")]
    pub public_url: Option<Url>,
    /// `[grpc]`.
    pub grpc: Grpc,
    /// `[engine]`.
    pub engine: Engine,
    /// `[known_failures]`.
    pub known_failures: KnownFailures,
    /// `[events]`.
    pub events: Events,
    /// `[templates]`.
    pub templates: Templates,
    /// `[webhook]`.
    pub webhook: Webhook,
    /// `[media]`.
    pub media: Media,
    /// `[callbacks]`.
    pub callbacks: Callbacks,
    /// `[nats]`.
    pub nats: Nats,
    /// `[retention]`.
    pub retention: Retention,
    /// `[guard]`.
    pub guard: Guard,
    /// `[log]`.
    pub log: Log,
    /// `[tls]`.
    pub tls: Tls,
}

/// How clients that are gone without a word are found.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    /// How often a client is pinged.
    #[serde(deserialize_with = "duration")]
    pub ping_interval: Duration,
    /// How long a ping may be without an answer.
    #[serde(deserialize_with = "duration")]
    pub ping_limit: Duration,
}

/// How messages are handed over.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Longest time that one call to a provider may take.
    #[serde(deserialize_with = "duration")]
    pub call_limit: Duration,
    /// How long a message belongs to the worker that hands it over. Longer than `call_limit`.
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
    /// Messages under way at providers at the same time, in this process.
    pub in_flight: usize,
    /// Wait for a lost answer before a message with `AT_LEAST_ONCE` is sent again.
    #[serde(deserialize_with = "duration")]
    pub in_doubt_wait: Duration,
    /// Wait before the first retry; it doubles with each further one.
    #[serde(deserialize_with = "duration")]
    pub retry_first: Duration,
    /// Longest wait between two retries.
    #[serde(deserialize_with = "duration")]
    pub retry_cap: Duration,
    /// So long after a hand-over a provider whose webhooks do not tell all is asked what became of the message; rising.
    #[serde(deserialize_with = "durations")]
    pub look_up_after: Vec<Duration>,
    /// Longest time that a provider is asked before a message is accepted.
    #[serde(deserialize_with = "duration")]
    pub admit_limit: Duration,
    /// How long calls that run may go on when the process is stopped.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
}

/// How long what providers said about people is remembered. Zero: not at all.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFailures {
    /// They are not on WhatsApp.
    #[serde(deserialize_with = "duration")]
    pub not_on_whatsapp: Duration,
    /// They get no more marketing messages for now.
    #[serde(deserialize_with = "duration")]
    pub capped: Duration,
    /// They cannot be reached, for one of several reasons.
    #[serde(deserialize_with = "duration")]
    pub unreachable: Duration,
}

/// How events reach subscribers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// Events kept in memory for live subscribers.
    pub ring: usize,
    /// A stream that takes nothing for so long is ended.
    #[serde(deserialize_with = "duration")]
    pub slow_consumer: Duration,
}

/// How copies of templates are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Templates {
    /// How often the templates of each sender are read from its provider.
    #[serde(deserialize_with = "duration")]
    pub refresh_interval: Duration,
}

/// What providers may POST.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Largest body that is taken, in bytes.
    pub body_limit: usize,
    /// How far back providers are asked, at the start, for what people wrote while the gateway was away.
    #[serde(deserialize_with = "duration")]
    pub history: Duration,
}

/// How files that people sent are fetched and kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// A folder, or `s3://BUCKET/PREFIX`; empty: a folder of its own, see [`Config::media_store`].
    #[serde(deserialize_with = "text")]
    pub store: String,
    /// Largest file, in bytes.
    pub bytes_max: u64,
    /// Files fetched at the same time, in this process.
    pub in_flight: usize,
    /// Longest time that one file may take, in either direction, redirects included.
    #[serde(deserialize_with = "duration")]
    pub fetch_limit: Duration,
    /// Longest silence of whoever serves a file, or uploads one.
    #[serde(deserialize_with = "duration")]
    pub idle_limit: Duration,
    /// Wait before the second try; it doubles with each further one.
    #[serde(deserialize_with = "duration")]
    pub retry_first: Duration,
    /// Longest wait between two tries.
    #[serde(deserialize_with = "duration")]
    pub retry_cap: Duration,
    /// How long after its event a file is tried for.
    #[serde(deserialize_with = "duration")]
    pub give_up_after: Duration,
}

/// How callbacks are posted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callbacks {
    /// POSTs at the same time, in this process.
    pub in_flight: usize,
    /// Of these to one host.
    pub in_flight_per_host: usize,
    /// Longest time that one POST may take.
    #[serde(deserialize_with = "duration")]
    pub post_limit: Duration,
    /// The wait before each retry.
    #[serde(deserialize_with = "durations")]
    pub retries: Vec<Duration>,
    /// An endpoint without a success for so long is out of use.
    #[serde(deserialize_with = "duration")]
    pub disable_after: Duration,
    /// How long callbacks that ended are kept.
    #[serde(deserialize_with = "duration")]
    pub keep: Duration,
}

/// Where all events are published.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// Servers of one cluster, `nats:` or `tls:`, without users; none: nothing is published.
    #[serde(rename = "url", deserialize_with = "servers")]
    pub servers: Vec<Url>,
    /// The stream.
    #[serde(deserialize_with = "text")]
    pub stream: String,
    /// What subjects begin with.
    #[serde(deserialize_with = "text")]
    pub subject_prefix: String,
    /// Whom to connect as; empty: nobody.
    #[serde(deserialize_with = "text")]
    pub user: String,
    /// The user's password.
    #[serde(deserialize_with = "optional_secret")]
    pub password: Option<SecretString>,
    /// What to connect with instead.
    #[serde(deserialize_with = "optional_secret")]
    pub token: Option<SecretString>,
    /// File with a JWT and its key.
    #[serde(deserialize_with = "optional_path")]
    pub credentials: Option<PathBuf>,
    /// PEM file with the roots of the servers' certificates.
    #[serde(deserialize_with = "optional_path")]
    pub ca: Option<PathBuf>,
}

/// How long things are kept, and how much of them; `None` and 0: all.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Events, from when they entered the log.
    #[serde(deserialize_with = "optional_duration")]
    pub events: Option<Duration>,
    /// Bytes of them, about.
    pub events_bytes: u64,
    /// Messages with their attempts and keys, from their last status; and what incoming messages are known by.
    #[serde(deserialize_with = "optional_duration")]
    pub messages: Option<Duration>,
    /// Bytes of them, about.
    pub messages_bytes: u64,
    /// Webhooks as they came.
    #[serde(deserialize_with = "optional_duration")]
    pub journal: Option<Duration>,
    /// Bytes of them, about.
    pub journal_bytes: u64,
    /// Files that people sent, from their events.
    #[serde(deserialize_with = "optional_duration")]
    pub media: Option<Duration>,
    /// Bytes of them.
    pub media_bytes: u64,
    /// Named subscriptions that nobody uses.
    #[serde(deserialize_with = "optional_duration")]
    pub subscriptions: Option<Duration>,
    /// How often it is looked.
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    /// Rows that one transaction removes at most.
    pub step: u64,
}

/// Where addresses that others give may lead to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// What is allowed beside the public internet.
    #[serde(deserialize_with = "allowed")]
    pub allow: AllowList,
}

/// What is logged, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Filter directives of `tracing`.
    pub level: String,
    /// How it is written.
    pub format: Format,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// TLS of gRPC. All paths are PEM files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those that lead to its root; turns TLS on.
    #[serde(deserialize_with = "optional_path")]
    pub certificate: Option<PathBuf>,
    /// The certificate's private key.
    #[serde(deserialize_with = "optional_path")]
    pub key: Option<PathBuf>,
    /// The roots of client certificates; turns mutual TLS on.
    #[serde(deserialize_with = "optional_path")]
    pub client_ca: Option<PathBuf>,
}

/// Why the settings cannot be used: every problem with its key, its source and what would be right. Never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings cannot be used")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads all layers, with the environment of this process, and checks what must fit together.
    ///
    /// # Errors
    /// A file that cannot be read, names that are no settings, values that cannot be read or do not fit together.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let config = Layers::read(flags, std::env::vars_os())?.config()?;
        config.check()?;
        Ok(config)
    }

    /// Whether the database is a server that several gateways may share.
    pub fn is_postgres(&self) -> bool {
        ["postgres:", "postgresql:"].iter().any(|scheme| self.database_url.expose_secret().starts_with(scheme))
    }

    /// Where files that people sent are kept: as set, or beside the SQLite file, or in the working directory.
    pub fn media_store(&self) -> String {
        let database = self.database_url.expose_secret();
        match self.media.store.as_str() {
            "" if self.is_postgres() || database.contains(":memory:") => "recado-media".to_owned(),
            "" => format!("{}.media", crate::store::sqlite_path(database).display()),
            given => given.to_owned(),
        }
    }

    /// The database's address without a password: for people.
    pub fn database_shown(&self) -> String {
        redact(self.database_url.expose_secret())
    }
}

/// The defaults. Tests change what they need.
impl Default for Config {
    fn default() -> Self {
        Layers::read(&Flags::default(), [])
            .and_then(|layers| layers.config())
            .unwrap_or_else(|error| unreachable!("config/default.toml is compiled in and tested: {error}"))
    }
}

/// A database's address with its password hidden; all of it where it cannot be told apart.
fn redact(url: &str) -> String {
    if url.starts_with("sqlite:") {
        return url.to_owned();
    }
    let Ok(mut parsed) = Url::parse(url) else { return "(hidden)".to_owned() };
    let secret = |name: &str| name.to_ascii_lowercase().contains("password");
    let in_query = parsed.query_pairs().any(|(name, _)| secret(&name));
    // A password with an unescaped '/', '?' or '#' ends the host early; what follows it still has the '@'.
    if [Some(parsed.path()), parsed.query(), parsed.fragment()].iter().flatten().any(|rest| rest.contains('@')) {
        return "(hidden)".to_owned();
    }
    if parsed.password().is_some() && parsed.set_password(Some("****")).is_err() {
        return "(hidden)".to_owned();
    }
    if in_query {
        let pairs: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
        let shown = pairs.iter().map(|(name, value)| (name, if secret(name) { "****" } else { value }));
        parsed.query_pairs_mut().clear().extend_pairs(shown);
    }
    parsed.into()
}

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from).map(|text| text.trim().to_owned())
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = text(from)?;
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| {
        D::Error::custom(format!("{text:?} is no address and port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080"))
    })
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    one_duration(&text(from)?)
}

fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = text(from)?;
    if text.is_empty() { Ok(None) } else { one_duration(&text).map(Some) }
}

fn durations<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Duration>, D::Error> {
    let text = text(from)?;
    text.split(',').map(str::trim).filter(|part| !part.is_empty() || text.contains(',')).map(one_duration).collect()
}

fn one_duration<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
    humantime::parse_duration(text)
        .map_err(|error| E::custom(format!("{text:?} is no duration, such as \"250ms\", \"30s\" or \"15m\": {error}")))
}

fn allowed<'de, D: Deserializer<'de>>(from: D) -> Result<AllowList, D::Error> {
    AllowList::parse(&text(from)?).map_err(D::Error::custom)
}

fn servers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Url>, D::Error> {
    let text = text(from)?;
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    // What was given may hold a password, so it is not repeated.
    let right = "is nats://HOST:PORT or tls://HOST:PORT, several with commas between";
    parts
        .map(|part| {
            let url = Url::parse(part).map_err(|error| D::Error::custom(format!("a server {right}: {error}")))?;
            if !matches!(url.scheme(), "nats" | "tls") || !url.has_host() || !matches!(url.path(), "" | "/") {
                return Err(D::Error::custom(format!("a server {right}")));
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err(D::Error::custom(
                    "a server has no user in it: nats.user, nats.password and nats.token are for that",
                ));
            }
            Ok(url)
        })
        .collect()
}

fn optional_secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Some(text(from)?).filter(|text| !text.is_empty()).map(SecretString::from))
}

fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    Ok(Some(text(from)?).filter(|text| !text.is_empty()).map(PathBuf::from))
}

fn optional_base<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Url>, D::Error> {
    let text = text(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    let mut url = Url::parse(&text).map_err(|error| {
        D::Error::custom(format!("{text:?} is no address, such as https://recado.example.com: {error}"))
    })?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(Some(url))
}

#[cfg(test)]
mod tests;
