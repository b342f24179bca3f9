//! The one HTTP client for addresses that others give: of people's files, and of whatever a provider or a caller names.
//!
//! A request goes to http and https only, and to public addresses only. Names are resolved by a resolver that gives
//! nothing else, and the connection goes to exactly the addresses that were judged, so a name that changes its answer in
//! between (rebinding) gains nothing. Redirects of a GET are followed one by one, each judged anew; headers that open the first
//! address are not sent to another. Bytes and times have caps. Whatever an operator needs beyond that stands in an
//! [`AllowList`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION};
use tokio::time::Instant;
use url::{Host, Url};

use crate::provider::Secret;

mod address;
mod allow;
mod names;
#[cfg(test)]
mod tests;

pub use allow::AllowList;
use names::Names;

/// How long a connection may take to open.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Redirects that are followed, at most.
const REDIRECTS: usize = 5;

/// What one request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of the answer.
    pub bytes: u64,
    /// From the beginning to the last byte, redirects included.
    pub total: Duration,
    /// Between two parts of the answer.
    pub idle: Duration,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Not an address that this client goes to, and never will be.
    #[error("forbidden address: {0}")]
    Forbidden(String),
    /// More bytes than the cap.
    #[error("larger than {cap} bytes")]
    TooLarge {
        /// The cap.
        cap: u64,
    },
    /// Not reached, cut off, too slow, or redirected without end. May pass.
    #[error("{0}")]
    Unreachable(String),
}

/// A shared client; cheap to clone.
#[derive(Debug, Clone)]
pub struct Guarded {
    client: reqwest::Client,
    allowed: Arc<AllowList>,
}

impl Guarded {
    /// A client that goes to public addresses, and to those that are allowed.
    ///
    /// # Errors
    /// When the TLS parts of this build do not fit together.
    pub fn new(allowed: AllowList) -> reqwest::Result<Self> {
        Self::with_names(allowed, Arc::new(names::System))
    }

    fn with_names(allowed: AllowList, names: Arc<dyn Names>) -> reqwest::Result<Self> {
        // A second install is refused; then the one that is there serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let allowed = Arc::new(allowed);
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .dns_resolver(Arc::new(names::Judged { allowed: allowed.clone(), names }))
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would connect for us, to wherever it likes.
            .no_proxy()
            .referer(false)
            .user_agent(concat!("recado/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, allowed })
    }

    /// Asks for what lies at an address. `headers` go to the address's own origin (scheme, host and port) and to no other.
    /// The answer may have any status that is not a redirect.
    ///
    /// # Errors
    /// [`GuardError`]; nothing was written to a forbidden address.
    pub async fn get(&self, url: Url, headers: &[(&'static str, Secret)], caps: Caps) -> Result<Opened, GuardError> {
        let deadline = Instant::now() + caps.total;
        let (mut at, mut headers) = (url.clone(), headers);
        for _ in 0..=REDIRECTS {
            self.check(&at)?;
            let mut request = self.client.get(at.clone());
            for (name, value) in headers {
                request = request.header(*name, value.expose());
            }
            let response = once(request, caps.idle, deadline).await?;
            match redirect(&at, &response)? {
                Some(next) => at = next,
                None => return Opened::new(response, caps, deadline),
            }
            // Once they stay behind, they are not taken up again: whoever was redirected to would choose what they open.
            if at.origin() != url.origin() {
                headers = &[];
            }
        }
        Err(GuardError::Unreachable(format!("more than {REDIRECTS} redirects")))
    }

    /// Posts to an address. A redirect is an answer like any other: what was meant for one is shown to no other.
    ///
    /// # Errors
    /// [`GuardError`]; nothing was written to a forbidden address.
    pub async fn post(
        &self,
        url: Url,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        caps: Caps,
    ) -> Result<Opened, GuardError> {
        let deadline = Instant::now() + caps.total;
        self.check(&url)?;
        let mut request = self.client.post(url).body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        Opened::new(once(request, caps.idle, deadline).await?, caps, deadline)
    }

    /// What can be said before a name is resolved. Addresses that are written as numbers are never resolved, so they are
    /// judged here, in whatever form they were given: [`Url`] reads `0x7f.1` as 127.0.0.1.
    ///
    /// # Errors
    /// [`GuardError::Forbidden`].
    pub fn check(&self, url: &Url) -> Result<(), GuardError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(GuardError::Forbidden(format!("{} is neither http nor https", url.scheme())));
        }
        // They would be sent along, also after a redirect.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(GuardError::Forbidden("it holds a user name or a password".into()));
        }
        let ip: IpAddr = match url.host() {
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(ip)) => ip.into(),
            Some(Host::Ipv6(ip)) => ip.into(),
            None => return Err(GuardError::Forbidden("it has no host".into())),
        };
        match address::forbidden(ip) {
            Some(why) if !self.allowed.has_address(ip) => Err(GuardError::Forbidden(format!("{ip} is {why}"))),
            _ => Ok(()),
        }
    }
}

/// One request, no redirect followed.
async fn once(
    request: reqwest::RequestBuilder,
    idle: Duration,
    deadline: Instant,
) -> Result<reqwest::Response, GuardError> {
    let limit = deadline.min(Instant::now() + CONNECT_LIMIT + idle);
    match tokio::time::timeout_at(limit, request.send()).await {
        Ok(sent) => sent.map_err(explain),
        Err(_) => Err(GuardError::Unreachable("no answer in time".into())),
    }
}

/// Where an answer leads on to; nothing when it is an answer by itself.
fn redirect(from: &Url, response: &reqwest::Response) -> Result<Option<Url>, GuardError> {
    let moved = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    let Some(location) = response.headers().get(LOCATION).filter(|_| moved.contains(&response.status())) else {
        return Ok(None);
    };
    // No words of the other side: addresses of files hold tokens.
    let unreadable = || GuardError::Unreachable("redirected to something that is no address".into());
    let location = location.to_str().map_err(|_| unreadable())?;
    from.join(location).map(Some).map_err(|_| unreadable())
}

/// An answer whose body was not read yet.
#[derive(Debug)]
pub struct Opened {
    response: reqwest::Response,
    caps: Caps,
    deadline: Instant,
    read: u64,
}

impl Opened {
    fn new(response: reqwest::Response, caps: Caps, deadline: Instant) -> Result<Self, GuardError> {
        match response.content_length() {
            Some(length) if response.status().is_success() && length > caps.bytes => {
                Err(GuardError::TooLarge { cap: caps.bytes })
            }
            _ => Ok(Self { response, caps, deadline, read: 0 }),
        }
    }

    /// HTTP status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next bytes; nothing after the last.
    ///
    /// # Errors
    /// When a cap is reached or the connection is cut off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, GuardError> {
        let limit = self.deadline.min(Instant::now() + self.caps.idle);
        let chunk = match tokio::time::timeout_at(limit, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(explain)?,
            Err(_) => return Err(GuardError::Unreachable("the answer took too long".into())),
        };
        self.read += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
        match self.read > self.caps.bytes {
            true => Err(GuardError::TooLarge { cap: self.caps.bytes }),
            false => Ok(chunk),
        }
    }
}

/// The resolver's refusal lies under several layers of the client's own errors. What is said of the rest names no address:
/// those of files hold tokens.
fn explain(error: reqwest::Error) -> GuardError {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        if let Some(forbidden) = inner.downcast_ref::<GuardError>() {
            return forbidden.clone();
        }
        words.push_str(": ");
        words.push_str(&inner.to_string());
        cause = inner.source();
    }
    GuardError::Unreachable(words)
}
