//! All SQL, named by intent. SQLite and PostgreSQL alike; no other module knows which one is underneath.
//!
//! What happens on the way of a message goes through one [`writer`], which commits whatever queued up during the last
//! commit as one transaction. What operators do is rare and has transactions of its own.

use std::path::PathBuf;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use recado_migrations::{Migrator, MigratorTrait as _};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::sqlx::{self, Connection as _, SqliteConnection};
use sea_orm::{
    ActiveValue::Set, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    DbErr, EntityTrait, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};

use crate::domain::known_failure::Lifetimes;
use crate::error::Error;

mod accept;
mod api_keys;
mod batch;
mod callbacks;
mod changes;
mod claims;
mod clock;
mod deliveries;
mod entity;
mod erase;
mod heads;
mod health;
mod intake;
mod journal;
mod known;
mod known_failures;
mod log;
mod look_ups;
mod media;
mod messages;
mod noted;
mod notices;
mod opt_outs;
mod outlook;
mod pace;
mod passing;
mod rows;
mod senders;
mod stats;
mod subscriptions;
mod tallies;
mod templates;
mod trim;
mod upkeep;
mod windows;
mod writer;

pub use accept::{Accept, Accepted};
pub use api_keys::StoredKey;
pub use callbacks::{CallbackFilter, EndedPost, EndpointClaim, EndpointsWanted};
pub use claims::{Claim, Claimed, EndedCall};
pub use deliveries::{After, Delivery, DeliveryFilter, DeliveryState};
pub use erase::{KeptWebhook, OfPerson};
pub use intake::{Intake, Item, Parsed};
pub use journal::{JournalEntry, NewJournalEntry};
pub use log::Appended;
pub use look_ups::{LookUp, LookedUp};
pub use media::{MediaClaim, MediaOutcome};
pub use messages::{Found, MessageFilter};
pub use opt_outs::OptOutFilter;
pub use senders::StoredSender;
pub use stats::{Counts, JournalNumbers, SenderNumbers, window_start};
pub use subscriptions::{Hold, Lagging, StoredSubscription};
pub use templates::{CatalogueState, Saved};
pub use trim::Trimmed;
pub use upkeep::{Announced, Kind, Turn};
pub use windows::OfWindow;
pub use writer::{Listener, Writer};

/// How long a lone statement may wait for a connection before the store counts as away.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(3);
/// Reading connections to an SQLite file.
const SQLITE_READERS: u32 = 4;
/// How often it is tried to empty SQLite's write-ahead log, each time for as long as a connection is waited for.
const EMPTYING_TRIES: usize = 3;
const EMPTYING_WAIT: Duration = Duration::from_millis(50);
/// Pages kept in memory by each SQLite connection: 32 MiB, as a negative count of KiB.
const SQLITE_CACHE: &str = "-32768";

/// Every statement here goes by an index to a few rows. PostgreSQL knows a table's numbers only from its first ANALYZE on,
/// about a minute after the first load, and until then it walks through all of a growing table for each batch; plans that
/// it made for an empty table even outlive that. Forbidding the plans that walk is not absolute: what has no other is
/// still carried out.
const POSTGRES_PLANNER: [(&str, &str); 3] =
    [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off")];

/// A database, opened and migrated.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// One connection with SQLite, a pool with PostgreSQL.
    write: DatabaseConnection,
    /// Never writes.
    read: DatabaseConnection,
    /// Which log this is.
    epoch: i64,
    /// Whose people there is something noted about.
    noted: noted::Noted,
    /// How long what providers said about people is remembered.
    lifetimes: OnceLock<Lifetimes>,
    /// How far the database's clock is ahead of ours.
    ahead_ms: AtomicI64,
    /// Held while an SQLite file is open, so that no second gateway opens it.
    _lock: Option<std::fs::File>,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An address that is neither `sqlite:` nor `postgres:`.
    #[error("database_url {0:?} begins with neither sqlite: nor postgres:")]
    UnknownKind(String),
    /// Another process has the SQLite file open.
    #[error("{0} is in use by another gateway; SQLite carries one process, PostgreSQL many")]
    InUse(PathBuf),
    /// The lock beside the SQLite file could not be made.
    #[error("cannot lock {path}: {cause}")]
    Lock {
        /// The lock's path.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Nobody answers at PostgreSQL's address.
    #[error("no PostgreSQL answers at {address}: {cause}; is database_url right, and the server up?")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why.
        cause: std::io::Error,
    },
    /// The database said no.
    #[error("the database cannot be opened")]
    Database(#[from] DbErr),
}

/// What went wrong inside the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database is away.
    #[error("the database is away: {0}")]
    Unavailable(String),
    /// Two transactions wanted the same unique key; tried again, the later one sees the earlier.
    #[error("written by another transaction at the same time: {0}")]
    Conflict(String),
    /// Two transactions waited for each other, and this one gave way; tried again, it goes.
    #[error("gave way to another transaction: {0}")]
    GaveWay(String),
    /// Anything else is a fault of ours.
    #[error("{0}")]
    Fault(String),
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        let text = error.to_string();
        if let Some(sea_orm::SqlErr::UniqueConstraintViolation(_)) = error.sql_err() {
            return Self::Conflict(text);
        }
        match &error {
            DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime) if gave_way(runtime) => {
                Self::GaveWay(text)
            }
            DbErr::ConnectionAcquire(_) => Self::Unavailable(text),
            DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime) if is_away(runtime) => {
                Self::Unavailable(text)
            }
            _ => Self::Fault(text),
        }
    }
}

/// Whether the connection, not the statement, failed. PostgreSQL's classes 08 (connection), 53 (no resources) and 57
/// (shutdown), and SQLite's BUSY, FULL and IOERR say: later.
fn is_away(error: &sea_orm::RuntimeErr) -> bool {
    let sea_orm::RuntimeErr::SqlxError(error) = error else {
        return false;
    };
    match error.as_ref() {
        sea_orm::sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            let sqlite = code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13));
            let postgres = code.len() == 5 && ["08", "53", "57"].iter().any(|class| code.starts_with(class));
            if code.len() == 5 { postgres } else { sqlite }
        }),
        sea_orm::sqlx::Error::Io(_)
        | sea_orm::sqlx::Error::Tls(_)
        | sea_orm::sqlx::Error::PoolTimedOut
        | sea_orm::sqlx::Error::PoolClosed
        | sea_orm::sqlx::Error::Protocol(_)
        | sea_orm::sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// PostgreSQL's deadlock and serialisation failures.
fn gave_way(error: &sea_orm::RuntimeErr) -> bool {
    let sea_orm::RuntimeErr::SqlxError(error) = error else {
        return false;
    };
    let code = error.as_database_error().and_then(|database| database.code());
    code.is_some_and(|code| ["40001", "40P01"].contains(&&*code))
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) | StoreError::GaveWay(cause) => {
                tracing::warn!(error = %cause, "the store is away");
                Error::Unavailable { retry_after: Duration::from_secs(1) }
            }
            StoreError::Conflict(cause) | StoreError::Fault(cause) => {
                Error::Internal(anyhow::anyhow!("store: {cause}"))
            }
        }
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        StoreError::from(error).into()
    }
}

impl Store {
    /// Opens the database and migrates it.
    ///
    /// # Errors
    /// When it cannot be reached, is in use by another gateway (SQLite), or is of no known kind.
    pub async fn open(database_url: &str) -> Result<Self, OpenError> {
        let (write, read, lock) = if database_url.starts_with("sqlite:") {
            let lock = lock_sqlite(database_url)?;
            let write = Database::connect(sqlite_options(database_url, 1)).await?;
            Migrator::up(&write, None).await?;
            let read = match is_in_memory(database_url) {
                true => write.clone(),
                false => Database::connect(sqlite_options(database_url, SQLITE_READERS)).await?,
            };
            (write, read, lock)
        } else if database_url.starts_with("postgres:") || database_url.starts_with("postgresql:") {
            check_reachable(database_url).await?;
            let pool = Database::connect(postgres_options(database_url)).await?;
            migrate_postgres(&pool).await?;
            (pool.clone(), pool, None)
        } else {
            return Err(OpenError::UnknownKind(database_url.to_owned()));
        };
        let epoch = log_epoch(&write).await?;
        let (noted, lifetimes, ahead_ms) = Default::default();
        let store = Self { inner: Arc::new(Inner { write, read, epoch, noted, lifetimes, ahead_ms, _lock: lock }) };
        let failed = |error: StoreError| DbErr::Custom(error.to_string());
        store.refresh_noted().await.map_err(failed)?;
        store.compare_clocks().await.map_err(failed)?;
        Ok(store)
    }

    /// Which log this database holds: drawn at random when it was made.
    pub fn epoch(&self) -> i64 {
        self.inner.epoch
    }

    /// Whether this process is the only one that can have the database open.
    pub fn is_exclusive(&self) -> bool {
        self.inner.write.get_database_backend() == DbBackend::Sqlite
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when there is none.
    pub async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.inner.read.ping().await?)
    }

    /// Has SQLite write everything into its file, and empty the log beside it, where what was overwritten could still be read.
    /// Readers may be in the way for a moment.
    ///
    /// # Errors
    /// When the store is away, or somebody reads for longer than that.
    pub async fn empty_wal(&self) -> Result<(), StoreError> {
        if !self.is_exclusive() {
            return Ok(());
        }
        for _ in 0..EMPTYING_TRIES {
            let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA wal_checkpoint(TRUNCATE)");
            let row = self.inner.write.query_one_raw(statement).await?;
            if row.map_or(Ok(0), |row| row.try_get_by_index::<i32>(0))? == 0 {
                return Ok(());
            }
            tokio::time::sleep(EMPTYING_WAIT).await;
        }
        Err(StoreError::Unavailable("the write-ahead log is being read and cannot be emptied".into()))
    }

    /// Closes the connections. SQLite then has everything in its one file.
    pub async fn close(&self) {
        for pool in [&self.inner.read, &self.inner.write] {
            if let Err(error) = pool.clone().close().await {
                tracing::warn!(%error, "a connection to the database could not be closed");
            }
        }
    }

    fn read(&self) -> &DatabaseConnection {
        &self.inner.read
    }

    /// A transaction that may write.
    async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        // Immediate: a deferred transaction that reads before it writes fails as soon as another one wrote in between.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        Ok(self.inner.write.begin_with_options(options).await?)
    }
}

fn is_in_memory(url: &str) -> bool {
    url.contains(":memory:") || url.contains("mode=memory")
}

fn sqlite_options(url: &str, connections: u32) -> ConnectOptions {
    // `mode=rwc` makes the file on first use.
    let url = match url.contains("mode=") || is_in_memory(url) {
        true => url.to_owned(),
        false => format!("{url}{}mode=rwc", if url.contains('?') { '&' } else { '?' }),
    };
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(ACQUIRE_LIMIT)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_pool_opts(|pool| pool.after_release(|connection, _| Box::pin(is_sound(connection))))
        .map_sqlx_sqlite_opts(|options| {
            options
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL")
                .pragma("cache_size", SQLITE_CACHE)
                // What is deleted or changed is overwritten: who was erased is not to be read in the file.
                .pragma("secure_delete", "ON")
                .busy_timeout(ACQUIRE_LIMIT)
                .statement_cache_capacity(256)
        });
    options
}

/// Whether a connection may be used again. On a full disk SQLite undoes a transaction by itself, and the ROLLBACK after it
/// fails; sqlx then believes that the transaction goes on, and makes of each later one a savepoint within. Its commit would
/// be none: callers would hear OK for what only this connection can see. Such a connection is closed, and another one opened.
async fn is_sound(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // A transaction that was dropped is undone by now, or never.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

fn postgres_options(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url.to_owned());
    options
        .max_connections(12)
        .min_connections(2)
        .acquire_timeout(ACQUIRE_LIMIT)
        .connect_timeout(ACQUIRE_LIMIT)
        .test_before_acquire_if_idle_for(Duration::from_secs(10))
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(|options| {
            options.application_name("recado").statement_cache_capacity(256).options(POSTGRES_PLANNER)
        });
    options
}

/// One replica migrates, the others wait for it: sea-orm's migrator takes no lock of its own.
async fn migrate_postgres(pool: &DatabaseConnection) -> Result<(), DbErr> {
    const LOCK: i64 = 0x7265_6361_646f; // "recado"
    let transaction = pool.begin().await?;
    transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    Migrator::up(pool, None).await?;
    transaction.commit().await
}

/// Makes the log's one row, if there is none, and tells its epoch.
async fn log_epoch(database: &DatabaseConnection) -> Result<i64, DbErr> {
    use entity::log;
    let row = log::ActiveModel {
        id: Set(1),
        epoch: Set(rand::random::<i64>() & i64::MAX),
        head: Set(0),
        record_at_ms: Set(0),
    };
    log::Entity::insert(row)
        .on_conflict(OnConflict::column(log::Column::Id).do_nothing().to_owned())
        .exec_without_returning(database)
        .await?;
    let row = log::Entity::find_by_id(1).one(database).await?;
    row.map(|row| row.epoch).ok_or_else(|| DbErr::RecordNotFound("the log has no row".into()))
}

/// The pool would only say that it timed out.
async fn check_reachable(url: &str) -> Result<(), OpenError> {
    let Ok(url) = url::Url::parse(url) else { return Ok(()) };
    // A socket in a folder has no host; the pool finds it, or says so.
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else { return Ok(()) };
    let address = format!("{host}:{}", url.port().unwrap_or(5432));
    let connected = tokio::time::timeout(ACQUIRE_LIMIT, tokio::net::TcpStream::connect(&address)).await;
    let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    connected.map(drop).map_err(|cause| OpenError::Unreachable { address, cause })
}

/// Two gateways on one SQLite file would each believe that the other's work was abandoned.
fn lock_sqlite(url: &str) -> Result<Option<std::fs::File>, OpenError> {
    if is_in_memory(url) {
        return Ok(None);
    }
    let path = PathBuf::from(format!("{}.lock", sqlite_path(url).display()));
    let failed = |cause| OpenError::Lock { path: path.clone(), cause };
    let mut options = std::fs::File::options();
    options.create(true).truncate(false).write(true);
    // Messages lie there in clear. SQLite gives its other files the mode of the first.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(failed)?;
    // Only a new one: closing a file that SQLite has open would drop its locks.
    match options.create_new(true).open(sqlite_path(url)) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(sqlite_path(url))),
        Err(std::fs::TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// The file that an `sqlite:` address names.
pub fn sqlite_path(url: &str) -> PathBuf {
    let rest = url.trim_start_matches("sqlite:").trim_start_matches("//");
    PathBuf::from(rest.split('?').next().unwrap_or_default())
}

/// `column = value` for a partial update.
fn set(value: impl Into<sea_orm::Value>) -> Expr {
    Expr::value(value)
}
