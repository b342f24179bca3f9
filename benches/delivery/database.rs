//! Databases for one measurement.

use std::fmt;

use anyhow::Context as _;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Sqlite,
    Postgres,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Sqlite => "SQLite",
            Kind::Postgres => "PostgreSQL",
        })
    }
}

/// An empty database, and a folder for what belongs to it.
#[derive(Debug)]
pub struct ScratchDatabase {
    pub url: String,
    pub folder: tempfile::TempDir,
    /// On which server, under which name.
    on_server: Option<(String, String)>,
}

impl ScratchDatabase {
    pub async fn create(kind: Kind) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        if kind == Kind::Sqlite {
            let url = format!("sqlite://{}", folder.path().join("recado.db").display());
            return Ok(Self { url, folder, on_server: None });
        }
        let server = std::env::var("TEST_POSTGRES_URL").context(
            "TEST_POSTGRES_URL is not set: it names a PostgreSQL server, as postgres://user@host:port. `./dev bench` finds \
             or installs one, starts it and sets it; `--only sqlite` does without",
        )?;
        let name = format!("recado_bench_{}", uuid::Uuid::new_v4().simple());
        run(&format!("{server}/postgres"), &format!("CREATE DATABASE {name}")).await?;
        Ok(Self { url: format!("{server}/{name}"), folder, on_server: Some((server, name)) })
    }

    /// Takes it away again.
    pub async fn drop(self) -> anyhow::Result<()> {
        match &self.on_server {
            Some((server, name)) => {
                run(&format!("{server}/postgres"), &format!("DROP DATABASE {name} WITH (FORCE)")).await
            }
            None => Ok(()),
        }
    }

    /// The server's version, or the library's.
    pub async fn version(&self) -> anyhow::Result<String> {
        let text = match self.on_server {
            Some(_) => "SELECT current_setting('server_version') AS v",
            None => "SELECT sqlite_version() AS v",
        };
        // The library is the same whichever file is opened; this one may not be there yet.
        let url = if self.on_server.is_some() { &self.url } else { "sqlite::memory:" };
        let database = Database::connect(url).await?;
        value(&database, text).await
    }

    /// Bytes of a row of `messages`: texts as they are, numbers in full.
    pub async fn message_row_bytes(&self) -> anyhow::Result<usize> {
        let texts = ["sender", "peer", "caller", "idempotency_key", "request", "labels", "holds"];
        let texts = texts.map(|column| format!("coalesce(octet_length({column}), 0)")).join(" + ");
        // seq, three times, 8 each; the id; status and lane, 2 each; seen, attempt and retries, 4 each
        let numbers = 4 * 8 + 16 + 2 * 2 + 3 * 4;
        let text = format!("SELECT cast({texts} + {numbers} AS text) AS v FROM messages LIMIT 1");
        let database = Database::connect(&self.url).await?;
        Ok(value(&database, &text).await?.parse()?)
    }
}

async fn run(url: &str, text: &str) -> anyhow::Result<()> {
    let database = Database::connect(url).await?;
    database.execute_raw(Statement::from_string(DbBackend::Postgres, text)).await?;
    Ok(database.close().await?)
}

async fn value(database: &DatabaseConnection, text: &str) -> anyhow::Result<String> {
    let statement = Statement::from_string(database.get_database_backend(), text);
    let row = database.query_one_raw(statement).await?.context("no row")?;
    Ok(row.try_get("", "v")?)
}
