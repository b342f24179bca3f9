//! The fake's own controls, beside the providers' paths.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Fake;
use super::ledger::{Row, Summary};
use super::post::Posted;
use super::script::Script;
use super::uploads::{Counts, Kept};

pub(super) fn router() -> Router<Arc<Fake>> {
    Router::new()
        .route("/ledger", get(ledger).delete(forget))
        .route("/script", get(script).put(play))
        .route("/incoming", post(incoming))
}

#[derive(Deserialize)]
struct LedgerQuery {
    #[serde(default)]
    full: bool,
}

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    summary: Summary,
    webhooks: Posted,
    uploads: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<Kept>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Vec<Row>>,
}

async fn ledger(State(fake): State<Arc<Fake>>, Query(query): Query<LedgerQuery>) -> Json<Answer> {
    let ledger = fake.ledger();
    let rows = query.full.then(|| ledger.rows());
    Json(Answer {
        summary: ledger.summary(),
        webhooks: fake.poster.posted(),
        uploads: fake.uploads.counts(),
        files: query.full.then(|| fake.uploads.all()),
        rows,
    })
}

async fn forget(State(fake): State<Arc<Fake>>) -> StatusCode {
    fake.forget();
    StatusCode::NO_CONTENT
}

async fn script(State(fake): State<Arc<Fake>>) -> Json<Script> {
    Json(fake.play().script.clone())
}

async fn play(State(fake): State<Arc<Fake>>, body: Bytes) -> Response {
    let script = serde_json::from_slice::<Script>(&body).map_err(|error| error.to_string());
    match script.and_then(|script| fake.set_script(script)) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, why + "\n").into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Incoming {
    provider: String,
    /// Nothing: where the script says that the provider posts.
    url: Option<String>,
    payload: Map<String, Value>,
}

async fn incoming(State(fake): State<Arc<Fake>>, body: Bytes) -> Response {
    let posted = serde_json::from_slice::<Incoming>(&body).map_err(|error| error.to_string()).and_then(|incoming| {
        let Incoming { provider, url, payload } = incoming;
        let url = url.or_else(|| fake.account(&provider).webhook_url);
        let url = url.ok_or(format!("url, or accounts.{provider}.webhook_url in the script, says where to post"))?;
        fake.post_incoming(&provider, &url, payload)
    });
    match posted {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, why + "\n").into_response(),
    }
}
