//! What must fit together before anything starts.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::ExposeSecret as _;
use url::Url;

use super::{Config, ConfigError};

/// Fewest events that the memory for live subscribers may hold.
const SMALLEST_RING: usize = 16;
/// Larger rings fill the memory: an event takes about a kilobyte.
const LARGEST_RING: usize = 1_000_000;
/// Pings in a row would cost every client, and a busy one answers late.
const SHORTEST_PING: Duration = Duration::from_millis(100);
/// Rows that one transaction of the retention may remove.
const STEPS: std::ops::RangeInclusive<u64> = 1..=10_000;
/// Providers count how often they are asked.
const SHORTEST_REFRESH: Duration = Duration::from_secs(10);

impl Config {
    /// Checks what must fit together.
    ///
    /// # Errors
    /// All problems at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        self.check_addresses(&mut problems);
        self.check_secrets(&mut problems);
        self.check_engine(&mut problems);
        self.check_media(&mut problems);
        self.check_callbacks(&mut problems);
        self.check_nats(&mut problems);
        self.check_retention(&mut problems);
        let mut wrong = |yes: bool, problem: &dyn Display| {
            if yes {
                problems.push(problem.to_string());
            }
        };
        for (key, value) in [("interval", self.grpc.ping_interval), ("limit", self.grpc.ping_limit)] {
            let short = value < SHORTEST_PING;
            wrong(
                short,
                &format_args!("grpc.ping_{key} is {}; it must be 100ms or longer", humantime::format_duration(value)),
            );
        }
        let ring = self.events.ring;
        let fits = (SMALLEST_RING..=LARGEST_RING).contains(&ring);
        wrong(!fits, &format_args!("events.ring is {ring}; it must be {SMALLEST_RING} to {LARGEST_RING}"));
        wrong(self.events.slow_consumer.is_zero(), &"events.slow_consumer is 0; it must be longer");
        let interval = self.templates.refresh_interval;
        let shown = humantime::format_duration(interval);
        wrong(
            interval < SHORTEST_REFRESH,
            &format_args!("templates.refresh_interval is {shown}; it must be 10s or longer, or providers throttle"),
        );
        wrong(self.webhook.body_limit == 0, &"webhook.body_limit is 0; it must be larger, or every webhook is refused");
        if let Err(error) = crate::telemetry::filter(&self.log) {
            wrong(true, &format_args!("log.level: {error}"));
        }
        match (&self.tls.certificate, &self.tls.key, &self.tls.client_ca) {
            (Some(_), None, _) => wrong(true, &"tls.certificate is set and tls.key is not: TLS needs both"),
            (None, Some(_), _) => wrong(true, &"tls.key is set and tls.certificate is not: TLS needs both"),
            (None, None, Some(_)) => {
                wrong(true, &"tls.client_ca is set without tls.certificate and tls.key: mutual TLS needs all three");
            }
            _ => {}
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    fn check_addresses(&self, problems: &mut Vec<String>) {
        if self.grpc_addr == self.http_addr && self.grpc_addr.port() != 0 {
            problems.push(format!("grpc_addr and http_addr are both {}; each needs a port of its own", self.grpc_addr));
        }
        if let Some(url) = &self.public_url {
            if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
                problems
                    .push(format!("public_url has the scheme {:?}; it must be an http or https address", url.scheme()));
            } else if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
                problems
                    .push("public_url must be scheme, host and path only, such as https://recado.example.com".into());
            }
        }
        let database = self.database_url.expose_secret();
        let scheme = database.split(':').next().unwrap_or_default();
        match scheme {
            "sqlite" if database.len() > "sqlite://".len() => {}
            "sqlite" => problems.push("database_url names no file; write sqlite://recado.db".into()),
            "postgres" | "postgresql" if Url::parse(database).is_ok_and(|url| url.has_host()) => {}
            "postgres" | "postgresql" => problems.push(
                "database_url cannot be read; write postgres://USER:PASSWORD@HOST/NAME, with '%2F' for '/', '%40' for \
                 '@' and so on in the password"
                    .into(),
            ),
            _ => problems.push("database_url must begin with sqlite: or postgres:, such as sqlite://recado.db".into()),
        }
    }

    fn check_secrets(&self, problems: &mut Vec<String>) {
        match &self.master_key {
            None if self.is_postgres() => problems.push(
                "master_key is required with PostgreSQL, as every gateway on the database needs the same; \
                 `openssl rand -base64 32` makes one"
                    .into(),
            ),
            Some(key) if !is_32_bytes(key.expose_secret()) => problems
                .push("master_key must be 32 bytes as base64 or hex; `openssl rand -base64 32` makes one".into()),
            _ => {}
        }
        let sendable = |key: &str| key.bytes().all(|byte| byte.is_ascii_graphic());
        if self.admin_key.as_ref().is_some_and(|key| !sendable(key.expose_secret())) {
            problems.push(
                "admin_key must be printable ASCII without spaces, as it travels in a header; `openssl rand -hex 32` \
                 makes one"
                    .into(),
            );
        }
    }

    fn check_engine(&self, problems: &mut Vec<String>) {
        let engine = &self.engine;
        let shown = |duration: Duration| humantime::format_duration(duration).to_string();
        // Pitfall O5: under a lease that ends before the call, two workers send the same message.
        if engine.lease <= engine.call_limit {
            problems.push(format!(
                "engine.lease is {} and engine.call_limit is {}; the lease must be longer than the call, or two workers \
                 could send the same message",
                shown(engine.lease),
                shown(engine.call_limit)
            ));
        }
        if engine.retry_cap < engine.retry_first {
            problems.push(format!(
                "engine.retry_cap is {} and engine.retry_first is {}; the longest wait cannot be shorter than the first",
                shown(engine.retry_cap),
                shown(engine.retry_first)
            ));
        }
        for (key, value) in [("call_limit", engine.call_limit), ("retry_first", engine.retry_first)] {
            if value < Duration::from_millis(1) {
                problems.push(format!("engine.{key} is {}; it must be 1ms or longer", shown(value)));
            }
        }
        let mut before = Duration::ZERO;
        for &after in &engine.look_up_after {
            if after <= before {
                let (after, before) = (shown(after), shown(before));
                problems.push(format!(
                    "engine.look_up_after has {after} behind {before}; each must be longer than the last"
                ));
            }
            before = after;
        }
        if engine.in_flight == 0 {
            problems.push("engine.in_flight is 0; it must be 1 or more, or nothing is sent".into());
        }
    }

    fn check_callbacks(&self, problems: &mut Vec<String>) {
        let callbacks = &self.callbacks;
        for (key, is_none) in [
            ("in_flight", callbacks.in_flight == 0),
            ("in_flight_per_host", callbacks.in_flight_per_host == 0),
            ("post_limit", callbacks.post_limit.is_zero()),
        ] {
            if is_none {
                problems.push(format!("callbacks.{key} is 0; it must be larger, or no callback is posted"));
            }
        }
        if callbacks.disable_after.is_zero() {
            problems.push("callbacks.disable_after is 0; it must be longer, or the first failure disables".into());
        }
    }

    fn check_nats(&self, problems: &mut Vec<String>) {
        let nats = &self.nats;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if nats.stream.is_empty() || !nats.stream.chars().all(fits) {
            problems
                .push(format!("nats.stream is {:?}; a stream's name has letters, digits, '-' and '_'", nats.stream));
        }
        if !nats.subject_prefix.split('.').all(|token| !token.is_empty() && token.chars().all(fits)) {
            problems.push(format!(
                "nats.subject_prefix is {:?}; it is one or more words of letters, digits, '-' and '_', with dots between",
                nats.subject_prefix
            ));
        }
        if nats.subject_prefix.starts_with(['$', '_']) {
            problems.push(format!(
                "nats.subject_prefix is {:?}; subjects that begin with '$' or '_' are NATS's own ($JS, $SYS, _INBOX): \
                 events there would be taken for its answers, or refused",
                nats.subject_prefix
            ));
        }
        if nats.password.is_some() && nats.user.is_empty() {
            problems.push("nats.password is set and nats.user is not".into());
        }
        let ways = [!nats.user.is_empty(), nats.token.is_some(), nats.credentials.is_some()];
        if ways.iter().filter(|given| **given).count() > 1 {
            problems
                .push("more than one of nats.user, nats.token and nats.credentials is set; it connects by one".into());
        }
        if nats.servers.is_empty() && (ways.contains(&true) || nats.ca.is_some()) {
            problems.push("nats.url is empty, and how to connect to it is set".into());
        }
        let encrypted = nats.servers.iter().filter(|server| server.scheme() == "tls").count();
        if encrypted > 0 && encrypted < nats.servers.len() {
            problems.push("nats.url has servers with tls:// and others without; all must be spoken to alike".into());
        }
        if nats.ca.is_some() && !nats.servers.is_empty() && encrypted == 0 {
            problems.push("nats.ca is set and nats.url has no tls://, so nothing would be checked by it".into());
        }
        if let Some(file) = nats.ca.as_ref().filter(|_| !nats.servers.is_empty())
            && let Err(why) = check_roots(file)
        {
            problems.push(format!("nats.ca is {}, {why}", file.display()));
        }
    }

    fn check_retention(&self, problems: &mut Vec<String>) {
        let kept = &self.retention;
        let times = [
            ("events", kept.events),
            ("messages", kept.messages),
            ("journal", kept.journal),
            ("media", kept.media),
            ("subscriptions", kept.subscriptions),
            ("interval", Some(kept.interval)),
        ];
        for (key, _) in times.iter().filter(|(_, time)| time.is_some_and(|time| time.is_zero())) {
            problems.push(format!("retention.{key} is 0; it must be longer, or empty where all is to be kept"));
        }
        if !STEPS.contains(&kept.step) {
            problems.push(format!("retention.step is {}; it must be {} to {}", kept.step, STEPS.start(), STEPS.end()));
        }
        // None is for ever.
        let longer = match (kept.journal, kept.messages) {
            (Some(journal), Some(messages)) => journal > messages,
            (None, Some(_)) => true,
            _ => false,
        };
        if longer {
            problems.push(
                "retention.journal is longer than retention.messages: a webhook that is parsed again would make second \
                 events of messages that are forgotten"
                    .into(),
            );
        }
    }

    fn check_media(&self, problems: &mut Vec<String>) {
        let media = &self.media;
        for (key, is_none) in [
            ("bytes_max", media.bytes_max == 0),
            ("in_flight", media.in_flight == 0),
            ("fetch_limit", media.fetch_limit.is_zero()),
            ("idle_limit", media.idle_limit.is_zero()),
        ] {
            if is_none {
                problems.push(format!("media.{key} is 0; it must be larger, or no file is fetched"));
            }
        }
        if media.retry_first < Duration::from_millis(1) || media.retry_cap < media.retry_first {
            let shown = |duration: Duration| humantime::format_duration(duration).to_string();
            problems.push(format!(
                "media.retry_first is {} and media.retry_cap is {}; the first must be 1ms or longer, and the longest wait \
                 not shorter than it",
                shown(media.retry_first),
                shown(media.retry_cap)
            ));
        }
    }
}

/// Whether a file has roots, and nothing else in the place of one. The client of NATS reads it at each connection, and says
/// of one that is empty only that the server's certificate is of nobody.
fn check_roots(file: &Path) -> Result<(), String> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| format!("which cannot be read: {error}"))?;
    if certificates.is_empty() {
        return Err("which has no certificate in it; it must be PEM, with BEGIN CERTIFICATE".into());
    }
    let mut roots = RootCertStore::empty();
    for (n, certificate) in certificates.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| format!("whose certificate {} is none: {error}", n + 1))?;
    }
    Ok(())
}

/// The forms that [`crate::seal`] reads.
fn is_32_bytes(text: &str) -> bool {
    let decoded = hex::decode(text).ok().filter(|bytes| bytes.len() == 32).or_else(|| STANDARD.decode(text).ok());
    decoded.is_some_and(|bytes| bytes.len() == 32)
}
