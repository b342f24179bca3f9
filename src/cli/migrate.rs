//! `recado migrate`: the tables, without the gateway.

use anyhow::Context as _;
use recado::config::{Config, Flags};
use recado::store::{Store, sqlite_path};
use secrecy::ExposeSecret as _;

use super::{output, serve};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::load(&args.flags)?;
    recado::telemetry::init(&config.log)?;
    let url = config.database_url.expose_secret();
    let is_new = !config.is_postgres() && !sqlite_path(url).exists();
    let opened =
        Store::open(url).await.with_context(|| format!("the database {} cannot be opened", config.database_shown()));
    let store = opened.map_err(|error| serve::with_advice(error, &config))?;
    store.ping().await.with_context(|| format!("the database {} does not answer", config.database_shown()))?;
    let done = if is_new { "was made, with all tables" } else { "has all tables, as this version needs them" };
    output::line(&format!("{} {done}", config.database_shown()))
}
