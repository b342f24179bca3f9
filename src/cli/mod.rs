//! The command line: one small file per subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod client;
mod config;
mod download;
mod event_line;
mod events;
mod fake_provider;
mod keys;
mod migrate;
mod output;
mod send;
mod senders;
mod senders_file;
mod senders_plan;
mod serve;
mod templates;
mod upload;

/// The gateway through which a company's services talk to people on WhatsApp.
#[derive(Debug, Parser)]
#[command(name = "recado", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the gateway.
    ///
    /// When it is ready it prints one line of JSON on standard output, {"grpc_addr":"…","http_addr":"…"}. Logs go to
    /// standard error. SIGTERM and SIGINT stop it in good order; a second one stops it at once.
    Serve(serve::Args),
    /// Shows the settings in force and where each comes from. Secrets are hidden.
    Config(config::Args),
    /// Makes the database's tables, or brings them up to date. `serve` does so too.
    Migrate(migrate::Args),
    /// Lists senders, or makes them what a file says.
    #[command(subcommand)]
    Senders(senders::Command),
    /// Creates, lists and revokes API keys.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Sends one message: text, a template or a file.
    Send(send::Args),
    /// Lists the templates that a sender's provider has, or reads them from it.
    #[command(subcommand)]
    Templates(templates::Command),
    /// Shows the event log: statuses, incoming messages, template and sender changes.
    Events(events::Args),
    /// Fetches a file that a person sent from the gateway.
    Download(download::Args),
    /// Runs the scripted provider of the tests, as a server of its own.
    FakeProvider(fake_provider::Args),
}

/// Runs the command. Wrong usage ends with 2, a failure with 1.
pub async fn main() -> ExitCode {
    // Two parts of the program bring TLS along; both are told which implementation to use. Fails only when told twice.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ended = match Cli::parse().command {
        Command::Serve(args) => serve::run(args).await,
        Command::Config(args) => config::run(&args),
        Command::Migrate(args) => migrate::run(args).await,
        Command::Senders(command) => senders::run(command).await,
        Command::Keys(command) => keys::run(command).await,
        Command::Send(args) => send::run(args).await,
        Command::Templates(command) => templates::run(command).await,
        Command::Events(args) => events::run(args).await,
        Command::Download(args) => download::run(args).await,
        Command::FakeProvider(args) => fake_provider::run(args).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough: `recado events | head`.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_contract_names_is_understood() {
        for line in [
            "recado serve --grpc-addr 127.0.0.1:0 --engine-call-limit 5s --config recado.toml",
            "recado config --log-level debug",
            "recado migrate --database-url sqlite://x.db",
            "recado senders apply -f senders.toml --dry-run",
            "recado senders list --server http://127.0.0.1:1 --api-key k",
            "recado keys create --name crm --scope send --scope read --sender acme --sender other",
            "recado keys list",
            "recado keys revoke 0190",
            "recado send --to +5511999990000 --text hi",
            "recado send --to +5511999990000 --template welcome --param 1=Ana --param 2=x=y --language pt_BR --json",
            "recado send --to +5511999990000 --media-url https://x/y.jpg --kind image --sender acme --key k1",
            "recado send --to +5511999990000 --media boleto.pdf --kind document --caption hi --mime-type application/pdf",
            "recado templates list --sender acme --language pt_BR --json",
            "recado templates refresh",
            "recado events --after abc --json",
            "recado events --from-beginning --follow --sender acme",
            "recado events --subscription crm --follow --ack",
            "recado download 0190 -o pipe.jpg --wait",
            "recado download 0190 --output=-",
            "recado fake-provider --addr 127.0.0.1:0",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "recado send --to +5511999990000",
            "recado send --text hi",
            "recado send --to 1 --text hi --template t",
            "recado send --to 1 --text hi --param 1=x",
            "recado send --to 1 --template t --param 1",
            "recado send --to 1 --media-url https://x/y.jpg",
            "recado send --to 1 --media y.jpg",
            "recado send --to 1 --media y.jpg --media-url https://x/y.jpg --kind image",
            "recado send --to 1 --text hi --mime-type image/png",
            "recado events --after a --from-beginning",
            "recado events --ack",
            "recado download 0190",
            "recado download -o pipe.jpg",
            "recado keys create --name x",
            "recado keys create --name x --scope all",
            "recado senders apply",
            "recado serve --grcp-addr 127.0.0.1:0",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
