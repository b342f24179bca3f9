//! The sockets that the gateway is reached by, and who may reach them.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;

use crate::access::Access;
use crate::config::{Config, Tls};

/// Characters of an admin key that nobody guesses.
const ADMIN_KEY_MIN: usize = 16;

/// The open sockets: from here on callers are queued, and answered when their server runs.
pub(super) struct Sockets {
    pub grpc: TcpListener,
    pub http: TcpListener,
    pub grpc_addr: SocketAddr,
    pub http_addr: SocketAddr,
}

impl Sockets {
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let grpc = bind(config.grpc_addr, "grpc_addr").await?;
        let http = bind(config.http_addr, "http_addr").await?;
        let (grpc_addr, http_addr) = (grpc.local_addr()?, http.local_addr()?);
        Ok(Self { grpc, http, grpc_addr, http_addr })
    }

    /// Refuses what would let anybody in.
    pub fn check(&self, access: &Access, config: &Config) -> anyhow::Result<()> {
        if config.admin_key.as_ref().is_some_and(|key| key.expose_secret().len() < ADMIN_KEY_MIN) {
            tracing::warn!("admin_key is short enough to be guessed; `openssl rand -base64 32` makes a good one");
        }
        check_exposure(self.grpc_addr, access, &config.tls)
    }
}

async fn bind(addr: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| {
        format!("cannot listen on {addr} ({setting}); is another gateway running? Port 0 lets the system choose one")
    })
}

/// Without a key, whoever reaches the port may send in the company's name.
fn check_exposure(grpc_addr: SocketAddr, access: &Access, tls: &Tls) -> anyhow::Result<()> {
    let mutual = tls.client_ca.is_some();
    if access.needs_key() || mutual {
        return Ok(());
    }
    if !grpc_addr.ip().is_loopback() {
        bail!(
            "refusing to listen on {grpc_addr} without keys: set RECADO_ADMIN_KEY (and make keys with it), or \
             [tls] client_ca for mutual TLS, or listen on a loopback address"
        );
    }
    tracing::warn!(%grpc_addr, "no keys: anybody on this machine may call; listening on loopback only");
    Ok(())
}
