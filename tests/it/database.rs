//! A database for one test, of either kind.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement};

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A file of its own.
    Sqlite,
    /// A database of its own, on the server of `TEST_POSTGRES_URL`.
    Postgres,
}

/// A database that is there for one test. Cloned, it is the same one.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    pub url: String,
    folder: Arc<tempfile::TempDir>,
}

impl TestDatabase {
    pub async fn create(engine: Engine) -> Result<Self> {
        let folder = Arc::new(tempfile::tempdir()?);
        let url = match engine {
            Engine::Sqlite => format!("sqlite://{}", folder.path().join("recado.db").display()),
            Engine::Postgres => {
                let server = std::env::var("TEST_POSTGRES_URL").context(
                    "TEST_POSTGRES_URL is not set: it names a PostgreSQL server, as postgres://user@host:port. \
                     `./dev test` finds or installs one, starts it and sets it",
                )?;
                let name = format!("recado_{}", uuid::Uuid::new_v4().simple());
                let admin = Database::connect(format!("{server}/postgres")).await?;
                let create = format!("CREATE DATABASE {name}");
                admin.execute_raw(Statement::from_string(DbBackend::Postgres, create)).await?;
                admin.close().await?;
                format!("{server}/{name}")
            }
        };
        Ok(Self { url, folder })
    }

    /// A connection beside the gateway's, for what no caller may do.
    pub async fn connect(&self) -> Result<DatabaseConnection> {
        Ok(Database::connect(&self.url).await?)
    }

    /// Where an SQLite file and what belongs to it lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Runs a test on both databases, each as a test of its own.
#[macro_export]
macro_rules! on_both_databases {
    ($($(#[$meta:meta])* async fn $name:ident($engine:ident) $body:block)+) => { $(
        mod $name {
            use super::*;
            async fn run($engine: $crate::database::Engine) -> anyhow::Result<()> $body

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() -> anyhow::Result<()> { run($crate::database::Engine::Sqlite).await }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() -> anyhow::Result<()> { run($crate::database::Engine::Postgres).await }
        }
    )+ };
}
