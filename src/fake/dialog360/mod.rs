//! 360dialog: Meta's wire behind another door, with one key for a number, templates by offset, and a token instead of a
//! signature.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Map, Value, json};

use super::Fake;
use super::after::Taken;
use super::meta::cloud::{self, Refusal};
use super::meta::{files, templates};
use super::post::Post;
use super::script::Step;
use super::wire::{Answer, Wire, hand_over, unread};
use crate::domain::Millis;

/// 360dialog.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialog360;

pub(super) const WIRE: Dialog360 = Dialog360;

pub(super) fn router() -> Router<Arc<Fake>> {
    Router::new()
        .route("/messages", post(send))
        .route("/media", post(keep))
        .route("/health_status", get(health))
        .route("/v1/configs/templates", get(list))
        .route("/{media}", get(look_up))
        .route("/whatsapp_business/attachments/{id}", get(fetch))
}

fn authorised(fake: &Fake, headers: &HeaderMap) -> bool {
    fake.accepts(headers.get("d360-api-key").and_then(|value| value.to_str().ok()))
}

/// Its own form of a no: the status outside and the code inside differ, as they do.
fn unauthorised() -> Answer {
    let meta = json!({ "meta": { "httpCode": 404, "developerMessage": "No such key", "success": false } });
    Answer::json(StatusCode::UNAUTHORIZED, &meta)
}

async fn send(State(fake): State<Arc<Fake>>, headers: HeaderMap, body: Bytes) -> Response {
    if !authorised(&fake, &headers) {
        return unread(&fake, unauthorised());
    }
    match cloud::handed(&fake, Dialog360::NAME, &body) {
        Ok(handed) => hand_over(Dialog360, &fake, vec![handed]).await,
        Err(refusal) => unread(&fake, refusal.answer()),
    }
}

async fn keep(State(fake): State<Arc<Fake>>, headers: HeaderMap, body: Body) -> Response {
    match authorised(&fake, &headers) {
        true => files::keep(Dialog360, &fake, &headers, body).await,
        false => unauthorised().alone(),
    }
}

async fn health(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    let health = json!({ "health_status": { "can_send_message": "AVAILABLE", "entities": [] } });
    match authorised(&fake, &headers) {
        true => Answer::json(StatusCode::OK, &health).alone(),
        false => unauthorised().alone(),
    }
}

async fn list(
    State(fake): State<Arc<Fake>>,
    Query(asked): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let number = |member: &str, usual| asked.get(member).and_then(|number| number.parse().ok()).unwrap_or(usual);
    match authorised(&fake, &headers) {
        true => {
            Answer::json(StatusCode::OK, &templates::listed(number("limit", 1_000), number("offset", 0)).into()).alone()
        }
        false => unauthorised().alone(),
    }
}

/// The address that it answers is Meta's, where this key opens nothing.
async fn look_up(State(fake): State<Arc<Fake>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if !authorised(&fake, &headers) {
        return unauthorised().alone();
    }
    let url = format!("https://lookaside.fbsbx.com/whatsapp_business/attachments/{id}?mid=1");
    match files::looked_up(&fake, Dialog360::NAME, &id, url) {
        Ok(found) => Answer::json(StatusCode::OK, &found).alone(),
        Err(refusal) => refusal.answer_with(StatusCode::NOT_FOUND).alone(),
    }
}

async fn fetch(State(fake): State<Arc<Fake>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match authorised(&fake, &headers) {
        true => files::fetched(&fake, Dialog360::NAME, &id),
        false => unauthorised().alone(),
    }
}

/// A webhook with the header that was set up, when the script has a secret.
fn carrying(fake: &Fake, body: &Value) -> Post {
    cloud::post(body, |_| match fake.account(Dialog360::NAME).secret {
        Some(secret) => vec![("authorization", format!("Bearer {secret}"))],
        None => Vec::new(),
    })
}

impl Wire for Dialog360 {
    type Refusal = Refusal;

    const NAME: &'static str = "dialog360";
    const FAILED: &'static str = "failed";

    fn refusal(self, key: &str, reference: &str, _: usize) -> Refusal {
        Refusal::scripted(key, reference)
    }

    fn provider_id(self, id: u64) -> String {
        cloud::provider_id(id)
    }

    fn answer(self, outcomes: Vec<Result<&Taken, Refusal>>) -> Answer {
        cloud::answer(outcomes)
    }

    /// 429, or a 400 that only its words tell.
    fn throttled(self, body_only: bool, _: usize) -> Answer {
        let status = if body_only { StatusCode::BAD_REQUEST } else { StatusCode::TOO_MANY_REQUESTS };
        let words = "You exceeded the limit of requests per second";
        let meta = json!({ "httpCode": status.as_u16(), "developerMessage": words, "success": false });
        Answer::json(status, &json!({ "meta": meta }))
    }

    fn status(self, fake: &Fake, message: &Taken, step: &Step, at_ms: Millis) -> Post {
        carrying(fake, &cloud::status(message, cloud::NUMBER, step, at_ms))
    }

    fn incoming(self, fake: &Fake, payload: Map<String, Value>) -> Post {
        carrying(fake, &cloud::incoming(fake, payload))
    }
}
