//! `recado serve`: the gateway itself.

use std::path::Path;

use anyhow::anyhow;
use recado::app::App;
use recado::config::{Config, Flags};
use recado::store::sqlite_path;
use secrecy::ExposeSecret as _;
use tokio::signal::unix::{SignalKind, signal};

use super::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::load(&args.flags)?;
    recado::telemetry::init(&config.log)?;
    let stop = shutdown_signal()?;
    let app = App::start(config.clone()).await.map_err(|error| with_advice(error, &config))?;
    output::line(&ready(&app.grpc_addr().to_string(), &app.http_addr().to_string()))?;
    app.run(stop).await
}

/// The one line that says where the gateway listens.
fn ready(grpc_addr: &str, http_addr: &str) -> String {
    format!("{{\"grpc_addr\":\"{grpc_addr}\",\"http_addr\":\"{http_addr}\"}}")
}

/// Ends with the first SIGTERM or SIGINT; the second ends the process. It listens from the call on, not from the first
/// poll, so that a signal during the start is not lost.
pub fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping; a second signal stops at once");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("stopped at once; leases bring back what was under way");
            std::process::exit(130);
        });
    })
}

/// Adds what would be right to a database that could not be opened; `App` does so for the sockets. It looks only after
/// the failure: a check before would be a guess.
pub fn with_advice(error: anyhow::Error, config: &Config) -> anyhow::Error {
    match about_database(config.database_url.expose_secret()) {
        Some(advice) => anyhow!("{error:#}\n  {advice}"),
        None => error,
    }
}

/// What stands against a database file.
fn about_database(url: &str) -> Option<String> {
    if !url.starts_with("sqlite:") || url.contains(":memory:") || url.contains("mode=memory") {
        return None;
    }
    let file = sqlite_path(url);
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        let shown = folder.display();
        return Some(format!(
            "the folder {shown} of database_url {url} does not exist; make it with `mkdir -p {shown}`, or name another \
             file with --database-url sqlite://FILE"
        ));
    }
    if file.is_dir() {
        return Some(format!(
            "database_url {url} names a folder; name a file in it, such as {}/recado.db",
            file.display()
        ));
    }
    let writable = match file.exists() {
        true => std::fs::File::options().append(true).open(&file).map(drop),
        false => try_file_in(folder),
    };
    writable.err().map(|cause| format!("database_url {url} cannot be written by this user: {cause}"))
}

/// Whether a file can be made in a folder.
fn try_file_in(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".recado-{}", std::process::id()));
    std::fs::File::options().write(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_json() {
        let line: serde_json::Value = serde_json::from_str(&ready("127.0.0.1:50051", "[::1]:8080")).unwrap();
        assert_eq!(line["grpc_addr"], "127.0.0.1:50051");
        assert_eq!(line["http_addr"], "[::1]:8080");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let place = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/data/recado.db", place.path().display());
        assert!(about_database(&url).unwrap().contains("mkdir -p"));
        assert_eq!(about_database(&format!("sqlite://{}/recado.db", place.path().display())), None);
        assert!(about_database(&format!("sqlite://{}", place.path().display())).unwrap().contains("names a folder"));
        assert_eq!(about_database("sqlite::memory:"), None);
        assert_eq!(about_database("postgres://db/x"), None);
    }
}
