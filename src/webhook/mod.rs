//! HTTP for providers: verify, journal, answer, in that order. Beside it what probes and metrics read.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::domain::{SenderId, now_ms};
use crate::provider::{Webhook, sandbox};
use crate::senders::Senders;
use crate::store::{NewJournalEntry, Store, Writer};
use crate::telemetry::Metrics;

mod lags;

/// What the handlers need.
#[derive(Clone)]
pub struct Web {
    /// For `/readyz`.
    pub store: Store,
    /// For the journal.
    pub writer: Writer,
    /// For the adapters.
    pub senders: Arc<Senders>,
    /// Renders `/metrics`.
    pub metrics: Metrics,
}

/// All routes. A body over `body_limit` bytes is answered with 413.
pub fn router(web: Web, body_limit: usize) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/webhooks/{provider}/{sender}", post(receive).get(challenge))
        .route("/webhooks/{provider}/{sender}/{token}", post(receive_with_token))
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(from_fn(move |request, next| refuse_what_is_announced(body_limit, request, next)))
        .with_state(web)
}

/// A body that is announced as too large is refused before it comes; one that only turns out so, when it does.
async fn refuse_what_is_announced(limit: usize, request: Request, next: Next) -> Response {
    let announced =
        request.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match announced.is_some_and(|announced| announced > limit) {
        true => (StatusCode::PAYLOAD_TOO_LARGE, format!("a webhook has at most {limit} bytes\n")).into_response(),
        false => next.run(request).await,
    }
}

async fn ready(State(web): State<Web>) -> Response {
    match web.store.ping().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready: the store is away");
            (StatusCode::SERVICE_UNAVAILABLE, "the store is away\n").into_response()
        }
    }
}

async fn metrics_text(State(web): State<Web>) -> String {
    web.metrics.render() + &lags::text(&web.store).await
}

/// Answers a provider that asks before it posts. It needs nothing but the senders in memory, so it answers also when the
/// store is slow.
async fn challenge(
    State(web): State<Web>,
    Path((provider, sender)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let webhook = webhook(None, query, &headers, Bytes::new());
    let account = sender.parse::<SenderId>().ok().and_then(|sender| web.senders.get(&sender));
    let Some(account) = account.filter(|account| account.sender.provider == provider) else {
        return Taken::Unknown.into_response();
    };
    match account.provider.challenge(&webhook) {
        Some(Ok(answer)) => answer.into_response(),
        Some(Err(forged)) => {
            tracing::warn!(sender = %account.sender.id, why = %forged, "a webhook's address was asked about, wrongly");
            (StatusCode::FORBIDDEN, "not verified\n").into_response()
        }
        None => {
            let words = format!("provider {provider} posts its webhooks and asks for nothing\n");
            (StatusCode::METHOD_NOT_ALLOWED, words).into_response()
        }
    }
}

async fn receive(
    state: State<Web>,
    Path((provider, sender)): Path<(String, String)>,
    query: RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(state, &provider, &sender, None, query, headers, body).await
}

async fn receive_with_token(
    state: State<Web>,
    Path((provider, sender, token)): Path<(String, String, String)>,
    query: RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(state, &provider, &sender, Some(token), query, headers, body).await
}

async fn answer(
    State(web): State<Web>,
    provider: &str,
    sender: &str,
    path_token: Option<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let webhook = webhook(path_token, query, &headers, body);
    let outcome = match sender.parse::<SenderId>() {
        Ok(sender) => web.take(provider, &sender, webhook).await,
        Err(_) => Taken::Unknown,
    };
    metrics::counter!("recado_webhooks_total", "outcome" => outcome.word()).increment(1);
    outcome.into_response()
}

fn webhook(path_token: Option<String>, query: Option<String>, headers: &HeaderMap, body: Bytes) -> Webhook {
    let query = query.unwrap_or_default();
    let readable =
        |(name, value): (&HeaderName, &HeaderValue)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()));
    Webhook {
        headers: headers.iter().filter_map(readable).collect(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        path_token,
        body,
        receive_at_ms: now_ms(),
    }
}

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// Durable.
    Stored,
    /// Not from whom it says; nothing is kept.
    Forged,
    /// No such sender.
    Unknown,
    /// The store is away; the provider comes again.
    NotStored,
}

impl Taken {
    fn word(self) -> &'static str {
        match self {
            Taken::Stored => "stored",
            Taken::Forged => "forged",
            Taken::Unknown => "unknown",
            Taken::NotStored => "not_stored",
        }
    }
}

impl IntoResponse for Taken {
    fn into_response(self) -> Response {
        match self {
            Taken::Stored => StatusCode::OK.into_response(),
            Taken::Forged => (StatusCode::UNAUTHORIZED, "not verified\n").into_response(),
            Taken::Unknown => (StatusCode::NOT_FOUND, "no such sender of that provider\n").into_response(),
            Taken::NotStored => (StatusCode::SERVICE_UNAVAILABLE, "not stored; post it again\n").into_response(),
        }
    }
}

impl Web {
    /// Verifies on the raw bytes, appends to the journal, and only then answers. It waits for nothing else (I8).
    async fn take(&self, provider: &str, sender: &SenderId, webhook: Webhook) -> Taken {
        let account = match self.senders.find(sender).await {
            Ok(Some(account)) if account.sender.provider == provider => account,
            Ok(_) => return Taken::Unknown,
            Err(error) => {
                tracing::warn!(%sender, %error, "a webhook's sender could not be looked up; the provider is asked to come again");
                return Taken::NotStored;
            }
        };
        if let Err(forged) = account.provider.verify(&webhook) {
            tracing::warn!(%sender, bytes = webhook.body.len(), why = %forged, "a webhook was refused");
            return Taken::Forged;
        }
        let body = match self.senders.seal_webhook(sender, &account.provider.journalled(&webhook)) {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::error!(%sender, %error, "a webhook could not be sealed; the provider is asked to come again");
                return Taken::NotStored;
            }
        };
        let entry = NewJournalEntry {
            sender: sender.clone(),
            provider: provider.to_owned(),
            receive_at_ms: self.store.now_ms(),
            headers: kept(&webhook.headers),
            body,
        };
        match self.writer.journal(entry).await {
            Ok(()) => Taken::Stored,
            Err(error) => {
                tracing::warn!(%sender, %error, "a webhook could not be stored; the provider is asked to come again");
                Taken::NotStored
            }
        }
    }
}

/// Headers that the journal keeps: what the body is, and which way it came. Any other may hold a secret.
const KEPT: &[&str] = &[
    "content-length",
    "content-type",
    "date",
    "forwarded",
    "traceparent",
    "user-agent",
    "x-forwarded-for",
    "x-request-id",
];

/// The headers that are kept, as a JSON object of texts.
fn kept(headers: &[(String, String)]) -> String {
    let kept = headers.iter().filter(|(name, _)| KEPT.contains(&name.as_str()));
    let kept: serde_json::Map<String, serde_json::Value> =
        kept.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    serde_json::Value::Object(kept).to_string()
}

#[async_trait::async_trait]
impl sandbox::simulator::Inbox for Web {
    async fn post(&self, sender: &SenderId, webhook: Webhook) -> bool {
        self.take("sandbox", sender, webhook).await != Taken::NotStored
    }
}
