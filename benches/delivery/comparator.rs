//! The least that could be called a gateway: a tonic call that commits one row and answers. The same request and answer on
//! the wire, a row of the same size, a unique index on caller and key and a partial one on what is due, the same database
//! with the same settings, and the same group commit: what queued up during the last commit is the next batch. No keys, no
//! checks, no events, no log.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use recado::domain::now_ms;
use recado::proto;
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbBackend, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait as _, Value,
};
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use uuid::Uuid;

/// Rows in one transaction, at most: as the gateway's writer.
const BATCH: usize = 256;

const TABLE: &[&str] = &[
    "CREATE TABLE rows (seq BIGINT PRIMARY KEY, id UUID NOT NULL, account TEXT NOT NULL, key TEXT NOT NULL, \
     payload TEXT NOT NULL, due_at_ms BIGINT)",
    "CREATE UNIQUE INDEX rows_key ON rows (account, key)",
    "CREATE INDEX rows_due ON rows (due_at_ms) WHERE due_at_ms IS NOT NULL",
];

/// One row on its way.
struct Job {
    id: Uuid,
    account: String,
    key: String,
    payload: String,
    due_at_ms: i64,
    done: oneshot::Sender<i64>,
}

/// Serves until the process is ended.
pub async fn serve(url: &str, row_bytes: usize) -> anyhow::Result<()> {
    let database = open(url).await?;
    for statement in TABLE {
        database.execute_unprepared(statement).await?;
    }
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", serde_json::json!({ "grpc_addr": socket.local_addr()?.to_string() }));
    let (jobs, queue) = mpsc::channel(8_192);
    let writing = tokio::spawn(write(database, queue));
    let serving = tonic::transport::Server::builder()
        .add_service(Bare { jobs, row_bytes })
        .serve_with_incoming(TcpIncoming::from(socket).with_nodelay(Some(true)));
    tokio::select! {
        served = serving => Ok(served?),
        written = writing => written?,
    }
}

async fn open(url: &str) -> anyhow::Result<DatabaseConnection> {
    let sqlite = url.starts_with("sqlite:");
    let mut options = ConnectOptions::new(if sqlite { format!("{url}?mode=rwc") } else { url.to_owned() });
    options
        .max_connections(1)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .sqlx_logging(false)
        .acquire_timeout(Duration::from_secs(5))
        .test_before_acquire(false)
        .map_sqlx_sqlite_opts(|options| {
            options
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL")
                .pragma("cache_size", "-32768")
                .statement_cache_capacity(2 * BATCH)
        })
        .map_sqlx_postgres_opts(|options| options.statement_cache_capacity(2 * BATCH));
    Ok(Database::connect(options).await?)
}

/// Commits what queued up during the last commit, in one statement.
async fn write(database: DatabaseConnection, mut queue: mpsc::Receiver<Job>) -> anyhow::Result<()> {
    let backend = database.get_database_backend();
    let options =
        || TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..Default::default() };
    let (mut jobs, mut texts, mut head) = (Vec::with_capacity(BATCH), HashMap::new(), 0);
    while queue.recv_many(&mut jobs, BATCH).await > 0 {
        let text = texts.entry(jobs.len()).or_insert_with(|| insert_text(backend, jobs.len())).clone();
        let (mut values, mut waiting) = (Vec::with_capacity(6 * jobs.len()), Vec::with_capacity(jobs.len()));
        for Job { id, account, key, payload, due_at_ms, done } in jobs.drain(..) {
            head += 1;
            values.extend([
                Value::from(head),
                id.into(),
                account.into(),
                key.into(),
                payload.into(),
                Some(due_at_ms).into(),
            ]);
            waiting.push((done, head));
        }
        let transaction = database.begin_with_options(options()).await?;
        transaction.execute_raw(Statement::from_sql_and_values(backend, text, values)).await?;
        transaction.commit().await?;
        for (done, seq) in waiting {
            let _ = done.send(seq);
        }
    }
    Ok(())
}

fn insert_text(backend: DbBackend, rows: usize) -> String {
    // SQLite finds bare marks faster than numbered ones.
    let mark = |number: usize| match backend {
        DbBackend::Postgres => format!("${number}"),
        _ => "?".to_owned(),
    };
    let row = |row: usize| {
        let cells: Vec<String> = (1..=6).map(|cell| mark(row * 6 + cell)).collect();
        format!("({})", cells.join(", "))
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!(
        "INSERT INTO rows (seq, id, account, key, payload, due_at_ms) VALUES {} ON CONFLICT DO NOTHING",
        rows.join(", ")
    )
}

/// The service, by hand: it has one method.
#[derive(Clone)]
struct Bare {
    jobs: mpsc::Sender<Job>,
    row_bytes: usize,
}

impl tonic::server::NamedService for Bare {
    const NAME: &'static str = "recado.v1.MessagingService";
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tower::Service<http::Request<Body>> for Bare {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let bare = self.clone();
        Box::pin(async move { Ok(tonic::server::Grpc::new(ProstCodec::default()).unary(bare, request).await) })
    }
}

impl tonic::server::UnaryService<proto::SendMessageRequest> for Bare {
    type Response = proto::SendMessageResponse;
    type Future = Answer<Result<Response<Self::Response>, Status>>;

    fn call(&mut self, request: Request<proto::SendMessageRequest>) -> Self::Future {
        let bare = self.clone();
        Box::pin(async move {
            let answer = bare.take(request.into_inner()).await;
            answer.map(Response::new).map_err(|error| Status::internal(error.to_string()))
        })
    }
}

impl Bare {
    async fn take(&self, request: proto::SendMessageRequest) -> anyhow::Result<proto::SendMessageResponse> {
        let now = now_ms();
        let id = Uuid::now_v7();
        let key = request.options.unwrap_or_default().idempotency_key;
        let Some(proto::send_message_request::Content::Text(text)) = request.content else {
            anyhow::bail!("only texts are sent here")
        };
        let mut payload = text.body;
        // id, seq and due_at_ms take 16 + 8 + 8.
        let others = request.sender.len() + key.len() + 32;
        payload.extend(std::iter::repeat_n(' ', self.row_bytes.saturating_sub(others + payload.len())));
        let (done, written) = oneshot::channel();
        let job = Job { id, account: request.sender, key, payload, due_at_ms: now, done };
        self.jobs.send(job).await.context("the writer is gone")?;
        let seq = written.await.context("the commit failed")?;
        Ok(proto::SendMessageResponse {
            message_id: id.to_string(),
            status: proto::MessageStatus::Accepted as i32,
            accept_time: Some(prost_types::Timestamp { seconds: now / 1_000, nanos: 0 }),
            deduplicated: false,
            // As long as the gateway's.
            cursor: format!("{seq:024}"),
            template_unchecked: false,
        })
    }
}
