//! `recado config`: what is in force, and from where.

use recado::config::{Flags, Layers};

use super::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
}

/// Prints the settings even when they do not fit together: that is when they are looked at.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let layers = Layers::read(&args.flags, std::env::vars_os())?;
    let heading = ["SETTING", "VALUE", "SOURCE"].map(str::to_owned).to_vec();
    let lines = layers.explain().into_iter().map(|line| vec![line.key.to_owned(), line.value, line.source]);
    output::line(&output::table(&std::iter::once(heading).chain(lines).collect::<Vec<_>>()))?;
    Ok(layers.config()?.check()?)
}
