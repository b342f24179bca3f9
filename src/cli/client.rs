//! The way to a running gateway.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use recado::proto::admin_service_client::AdminServiceClient;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::messaging_service_client::MessagingServiceClient;
use recado::proto::opt_out_service_client::OptOutServiceClient;
use recado::proto::template_service_client::TemplateServiceClient;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

/// Where the gateway is when nothing else is said.
const DEFAULT_SERVER: &str = "http://127.0.0.1:50051";

/// Largest answer that is read, in bytes: a page of events may be larger than gRPC's usual 4 MiB.
const LARGEST_ANSWER: usize = 64 << 20;

/// Where Linux distributions and macOS keep the roots that the system trusts.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Which gateway, and who calls.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Gateway")]
pub struct Server {
    /// Address of the gateway, http or https [default: http://127.0.0.1:50051; env: RECADO_SERVER]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// API key; better given as RECADO_API_KEY, since flags are seen by other users of the machine
    #[arg(long, value_name = "KEY")]
    api_key: Option<SecretString>,
    /// PEM file with the roots that the gateway's certificate leads to [default: the system's; env: RECADO_SERVER_CA]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// PEM file with a client certificate, for mutual TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// PEM file with the client certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

/// A channel whose calls carry the key.
pub type Link = InterceptedService<Channel, Key>;

/// Puts the key on each call.
#[derive(Clone)]
pub struct Key(Option<MetadataValue<Ascii>>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("authorization", key.clone());
        }
        Ok(request)
    }
}

impl Server {
    /// Connects.
    ///
    /// # Errors
    /// When nothing answers there, with what to look at.
    pub async fn connect(&self) -> anyhow::Result<Link> {
        let address = self.address();
        let endpoint = self.endpoint(&address)?;
        let channel = endpoint.connect().await.map_err(|error| unreachable_server(&address, &error))?;
        Ok(InterceptedService::new(channel, self.key()?))
    }

    /// For senders, keys and what is under the surface.
    pub async fn admin(&self) -> anyhow::Result<AdminServiceClient<Link>> {
        Ok(AdminServiceClient::new(self.connect().await?).max_decoding_message_size(LARGEST_ANSWER))
    }

    /// For sending.
    pub async fn messaging(&self) -> anyhow::Result<MessagingServiceClient<Link>> {
        Ok(MessagingServiceClient::new(self.connect().await?).max_decoding_message_size(LARGEST_ANSWER))
    }

    /// For templates.
    pub async fn templates(&self) -> anyhow::Result<TemplateServiceClient<Link>> {
        Ok(TemplateServiceClient::new(self.connect().await?).max_decoding_message_size(LARGEST_ANSWER))
    }

    /// For people who do not want to be written to.
    pub async fn opt_outs(&self) -> anyhow::Result<OptOutServiceClient<Link>> {
        Ok(OptOutServiceClient::new(self.connect().await?).max_decoding_message_size(LARGEST_ANSWER))
    }

    /// For the event log.
    pub async fn events(&self) -> anyhow::Result<EventServiceClient<Link>> {
        Ok(EventServiceClient::new(self.connect().await?).max_decoding_message_size(LARGEST_ANSWER))
    }

    fn address(&self) -> String {
        let given = self.server.clone().or_else(|| variable("RECADO_SERVER"));
        let address = given.unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        // `127.0.0.1:50051`, as `recado serve` prints it, is an address too.
        if address.contains("://") { address } else { format!("http://{address}") }
    }

    fn key(&self) -> anyhow::Result<Key> {
        let given = self.api_key.clone().or_else(|| variable("RECADO_API_KEY").map(SecretString::from));
        let header = |key: SecretString| {
            let mut value: MetadataValue<Ascii> = format!("Bearer {}", key.expose_secret().trim())
                .parse()
                .map_err(|_| anyhow!("the API key holds letters that cannot be sent; it is printable ASCII"))?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        };
        Ok(Key(given.map(header).transpose()?))
    }

    fn endpoint(&self, address: &str) -> anyhow::Result<Endpoint> {
        let scheme = address.split("://").next().unwrap_or_default();
        if !matches!(scheme, "http" | "https") {
            bail!("--server {address}: begins with {scheme}://; write http:// or, with TLS, https://");
        }
        let endpoint = Endpoint::from_shared(address.to_owned())
            .with_context(|| format!("--server {address} is no address, such as {DEFAULT_SERVER}"))?
            .user_agent(concat!("recado-cli/", env!("CARGO_PKG_VERSION")))?
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true);
        match scheme {
            "https" => endpoint.tls_config(self.tls()?).context("the TLS files cannot be used"),
            _ => Ok(endpoint),
        }
    }

    fn tls(&self) -> anyhow::Result<ClientTlsConfig> {
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
        let given = self.tls_ca.clone().or_else(|| variable("RECADO_SERVER_CA").map(PathBuf::from));
        let of_system = || {
            let named = variable("SSL_CERT_FILE").map(PathBuf::from);
            named.into_iter().chain(SYSTEM_ROOTS.iter().map(PathBuf::from)).find(|path| path.is_file())
        };
        let roots = given.or_else(of_system).context("no trusted roots were found; name them with --tls-ca FILE")?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&roots)?));
        match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(tls.identity(Identity::from_pem(read(certificate)?, read(key)?))),
            _ => Ok(tls),
        }
    }
}

/// A variable of the environment that holds something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn unreachable_server(address: &str, error: &tonic::transport::Error) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    anyhow!(
        "no gateway answers at {address}: {cause}\n  Is `recado serve` running there? --server or RECADO_SERVER names another \
         address; with TLS it begins with https://"
    )
}

/// A refusal for people: the code, the reason, the text, and every wrong field.
pub fn refused(status: Status) -> anyhow::Error {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).filter(|reason| !reason.is_empty());
    let mut text = format!("{:?}", status.code());
    if let Some(reason) = &reason {
        let _ = write!(text, " ({reason})");
    }
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    // The message of an invalid request repeats its violations, which follow one by one.
    if violations.is_empty() {
        let _ = write!(text, ": {}", status.message());
    }
    for violation in &violations {
        let field = if violation.field.is_empty() { "request" } else { &violation.field };
        let _ = write!(text, "\n  {field}: {}", violation.description);
        if !violation.reason.is_empty() {
            let _ = write!(text, " [{}]", violation.reason);
        }
    }
    let facts = details.error_info().map(|info| info.metadata.clone()).unwrap_or_default();
    let mut facts: Vec<_> = facts.into_iter().collect();
    facts.sort();
    for (name, value) in facts {
        let _ = write!(text, "\n  {name}: {value}");
    }
    if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
        let _ = write!(text, "\n  try again in {}", humantime::format_duration(delay));
    }
    match status.code() {
        tonic::Code::Unauthenticated => text.push_str("\n  give the API key as RECADO_API_KEY or with --api-key"),
        tonic::Code::Unimplemented if reason.is_none() => text.push_str("\n  is this a gateway of an older version?"),
        _ => {}
    }
    anyhow!(text)
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_refusal_names_code_reason_and_every_field() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("to", "must be a number in E.164 form, such as +5511999990000");
        details.add_bad_request_violation("text.body", "is empty");
        details.set_error_info("INVALID_REQUEST", "recado", [("sender".to_owned(), "acme".to_owned())]);
        let text = refused(Status::with_error_details(Code::InvalidArgument, "two are wrong", details)).to_string();
        assert_eq!(
            text,
            "InvalidArgument (INVALID_REQUEST)\n  to: must be a number in E.164 form, such as +5511999990000\n  text.body: \
             is empty\n  sender: acme"
        );
        let plain = refused(Status::not_found("message \"x\" was not found")).to_string();
        assert_eq!(plain, "NotFound: message \"x\" was not found");
    }

    #[test]
    fn an_address_without_a_scheme_is_plain_http() {
        let server = |server: &str| Server {
            server: Some(server.to_owned()),
            api_key: None,
            tls_ca: None,
            tls_certificate: None,
            tls_key: None,
        };
        assert_eq!(server("127.0.0.1:7").address(), "http://127.0.0.1:7");
        assert_eq!(server("https://x").address(), "https://x");
        assert!(server("ftp://x").endpoint("ftp://x").unwrap_err().to_string().contains("write http://"));
    }
}
