//! What each part is told of the configuration.

use std::net::SocketAddr;

use anyhow::bail;
use secrecy::ExposeSecret as _;
use url::Url;

use crate::callback;
use crate::config::{Config, KnownFailures};
use crate::domain::callback::Policy;
use crate::domain::known_failure::Lifetimes;
use crate::engine::{self, Backoff};
use crate::guarded::Caps;
use crate::media;
use crate::seal::SealKey;
use crate::store::sqlite_path;

pub(super) fn public_url(config: &Config, http_addr: SocketAddr) -> anyhow::Result<Url> {
    match &config.public_url {
        Some(given) => Ok(given.clone()),
        None => Ok(Url::parse(&format!("http://{http_addr}"))?),
    }
}

/// `first`: nothing is sealed yet.
pub(super) fn seal_key(config: &Config, first: bool) -> anyhow::Result<SealKey> {
    let database_url = config.database_url.expose_secret();
    match &config.master_key {
        Some(given) => Ok(SealKey::parse(given.expose_secret())?),
        // `Config::check` refuses this first; it must not depend on being called.
        None if config.is_postgres() => bail!("RECADO_MASTER_KEY is required with PostgreSQL"),
        None if database_url.contains(":memory:") => Ok(SealKey::ephemeral()?),
        None => Ok(SealKey::beside(&sqlite_path(database_url), first)?),
    }
}

pub(super) fn lifetimes(config: &Config) -> Lifetimes {
    let KnownFailures { not_on_whatsapp, capped, unreachable } = config.known_failures;
    Lifetimes { not_on_whatsapp, capped, unreachable }
}

pub(super) fn engine(config: &Config) -> engine::Config {
    let engine = &config.engine;
    engine::Config {
        call_limit: engine.call_limit,
        lease: engine.lease,
        in_flight: engine.in_flight,
        in_doubt_wait: engine.in_doubt_wait,
        backoff: Backoff { first: engine.retry_first, cap: engine.retry_cap },
        look_up_first: engine.look_up_after.first().copied(),
    }
}

pub(super) fn media(config: &Config) -> media::Config {
    let media = &config.media;
    media::Config {
        in_flight: media.in_flight,
        lease: config.engine.lease,
        caps: Caps { bytes: media.bytes_max, total: media.fetch_limit, idle: media.idle_limit },
        patience: media::Patience {
            backoff: Backoff { first: media.retry_first, cap: media.retry_cap },
            give_up_after: media.give_up_after,
        },
    }
}

pub(super) fn callbacks(config: &Config) -> callback::Config {
    let callbacks = &config.callbacks;
    callback::Config {
        in_flight: callbacks.in_flight,
        in_flight_per_host: callbacks.in_flight_per_host,
        post_limit: callbacks.post_limit,
        lease: config.engine.lease,
        policy: Policy { waits: callbacks.retries.clone(), disable_after: callbacks.disable_after },
        keep: callbacks.keep,
    }
}
