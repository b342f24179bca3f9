//! Names into addresses, of which only those go on that a connection may be made to.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{AllowList, GuardError, address};

/// Who knows names.
#[async_trait]
pub(super) trait Names: fmt::Debug + Send + Sync {
    /// The addresses of a host.
    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own resolver.
#[derive(Debug)]
pub(super) struct System;

#[async_trait]
impl Names for System {
    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Gives the client nothing but addresses that pass, and the client connects to nothing but what it is given.
#[derive(Debug)]
pub(super) struct Judged {
    pub allowed: Arc<AllowList>,
    pub names: Arc<dyn Names>,
}

impl Resolve for Judged {
    fn resolve(&self, name: Name) -> Resolving {
        let (allowed, names) = (self.allowed.clone(), self.names.clone());
        Box::pin(async move {
            let found = names.look_up(name.as_str()).await?;
            let passed = judge(&allowed, name.as_str(), found)?;
            // The client puts the port of the address in.
            let passed: Addrs = Box::new(passed.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(passed)
        })
    }
}

/// The addresses that pass; an error when there are some and none does.
fn judge(allowed: &AllowList, host: &str, found: Vec<IpAddr>) -> Result<Vec<IpAddr>, GuardError> {
    if allowed.has_name(host) {
        return Ok(found);
    }
    let verdict = |ip: IpAddr| address::forbidden(ip).filter(|_| !allowed.has_address(ip));
    let refusal = found.first().and_then(|ip| Some(format!("{host} leads to {ip}, which is {}", verdict(*ip)?)));
    let passed: Vec<IpAddr> = found.into_iter().filter(|ip| verdict(*ip).is_none()).collect();
    match refusal {
        Some(refusal) if passed.is_empty() => Err(GuardError::Forbidden(refusal)),
        _ => Ok(passed),
    }
}
