//! `recado fake-provider`: the scripted provider of the tests, as a server of its own.

use std::net::SocketAddr;

use anyhow::Context as _;
use recado::fake::{FakeProvider, PROVIDERS};
use serde_json::{Map, Value};

use super::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port to listen on; with port 0 the system chooses one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    addr: SocketAddr,
}

/// Prints one line of JSON when it is ready, and runs until it is interrupted.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let fake = FakeProvider::start(args.addr).await.with_context(|| format!("cannot listen on {}", args.addr))?;
    output::line(&ready(&fake).to_string())?;
    super::serve::shutdown_signal()?.await;
    Ok(())
}

/// Where it listens, and what a sender's `base_url` is to be, by provider: `devino_base_url`, `meta_base_url`, …
fn ready(fake: &FakeProvider) -> Value {
    let mut ready = Map::from_iter([("addr".to_owned(), Value::from(fake.addr().to_string()))]);
    for provider in PROVIDERS {
        ready.insert(format!("{provider}_base_url"), fake.base_url(provider).into());
    }
    ready.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_ready_line_names_every_provider() {
        let fake = FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let ready = ready(&fake);
        assert_eq!(ready["addr"], fake.addr().to_string());
        assert_eq!(ready["meta_base_url"], format!("http://{}/meta", fake.addr()));
        assert_eq!(ready["devino_base_url"], format!("http://{}/devino", fake.addr()));
        assert_eq!(ready.as_object().unwrap().len(), 1 + PROVIDERS.len());
    }
}
