//! `recado fake-provider`: the scripted provider of the tests, as a server of its own.

use std::net::SocketAddr;

use anyhow::Context as _;
use recado::fake::FakeProvider;

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
    let ready = serde_json::json!({
        "addr": fake.addr().to_string(),
        "devino_base_url": fake.base_url("devino").to_string(),
    });
    output::line(&ready.to_string())?;
    super::serve::shutdown_signal()?.await;
    Ok(())
}
