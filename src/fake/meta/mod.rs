//! Meta's Cloud API: one message a request, errors by code, webhooks in envelopes, signed by the app's secret.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use ring::hmac;
use serde_json::{Map, Value, json};

use super::Fake;
use super::after::Taken;
use super::post::Post;
use super::script::Step;
use super::wire::{Answer, Wire, hand_over, unread};
use crate::domain::Millis;
use cloud::Refusal;

pub(in crate::fake) mod cloud;
pub(in crate::fake) mod files;
pub(in crate::fake) mod templates;

/// Meta, as one number sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    number: u64,
}

pub(super) const WIRE: Meta = Meta { number: cloud::NUMBER };

type Asked = Query<HashMap<String, String>>;

pub(super) fn router() -> Router<Arc<Fake>> {
    Router::new()
        .route("/{id}/messages", post(send))
        .route("/{id}/media", post(keep))
        .route("/{id}/message_templates", get(list))
        .route("/{id}", get(look_up))
        .route("/attachments/{id}", get(fetch))
}

fn authorised(fake: &Fake, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    fake.accepts(given.and_then(|given| given.strip_prefix("Bearer ")))
}

fn unauthorised() -> Answer {
    Refusal::new(190, "Invalid OAuth access token").answer()
}

/// Whether the script has such a number.
fn is_number(fake: &Fake, id: &str) -> bool {
    let senders = &fake.play().script.senders;
    id.bytes().all(|b| b.is_ascii_digit()) && (senders.is_empty() || senders.iter().any(|sender| sender == id))
}

async fn send(State(fake): State<Arc<Fake>>, Path(number): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    if !authorised(&fake, &headers) {
        return unread(&fake, unauthorised());
    }
    let wire = match number.parse() {
        Ok(id) if is_number(&fake, &number) => Meta { number: id },
        _ => return unread(&fake, Refusal::unknown_object(&number).answer()),
    };
    match cloud::handed(&fake, Meta::NAME, &body) {
        Ok(handed) => hand_over(wire, &fake, vec![handed]).await,
        Err(refusal) => unread(&fake, refusal.answer()),
    }
}

async fn keep(State(fake): State<Arc<Fake>>, Path(number): Path<String>, headers: HeaderMap, body: Body) -> Response {
    if !authorised(&fake, &headers) {
        return unauthorised().alone();
    }
    match number.parse() {
        Ok(id) if is_number(&fake, &number) => files::keep(Meta { number: id }, &fake, &headers, body).await,
        _ => Refusal::unknown_object(&number).answer().alone(),
    }
}

async fn list(State(fake): State<Arc<Fake>>, Query(asked): Asked, headers: HeaderMap) -> Response {
    let answer = match templates::page(asked.get("after").map(String::as_str)) {
        _ if !authorised(&fake, &headers) => unauthorised(),
        Some(page) => Answer::json(StatusCode::OK, &page),
        None => Refusal::new(100, "after is no cursor of ours").answer(),
    };
    answer.alone()
}

/// A number, when its fields are asked for; else a file.
async fn look_up(
    State(fake): State<Arc<Fake>>,
    Path(id): Path<String>,
    Query(asked): Asked,
    headers: HeaderMap,
) -> Response {
    if !authorised(&fake, &headers) {
        return unauthorised().alone();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let found = match asked.contains_key("fields") {
        true if is_number(&fake, &id) => Ok(json!({
            "display_phone_number": "+55 11 4000-1000", "verified_name": "Acme", "quality_rating": "GREEN",
            "throughput": { "level": "STANDARD" }, "id": id,
        })),
        true => Err(Refusal::unknown_object(&id)),
        // What people sent is no number's own (github.com/chatwoot/chatwoot/pull/13319).
        false if asked.contains_key("phone_number_id") && fake.uploads.find(Meta::NAME, &id).is_none() => {
            Err(Refusal::new(100, "Param phone_number_id is not a valid whatsapp business phone number id ID"))
        }
        false => files::looked_up(&fake, Meta::NAME, &id, format!("http://{host}/meta/attachments/{id}")),
    };
    match found {
        Ok(found) => Answer::json(StatusCode::OK, &found).alone(),
        Err(refusal) => refusal.answer().alone(),
    }
}

async fn fetch(State(fake): State<Arc<Fake>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match authorised(&fake, &headers) {
        true => files::fetched(&fake, Meta::NAME, &id),
        false => unauthorised().alone(),
    }
}

/// A webhook with its signature, when the script has a secret.
fn signed(fake: &Fake, body: &Value) -> Post {
    cloud::post(body, |body| match fake.account(Meta::NAME).secret {
        Some(secret) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            let signature = hex::encode(hmac::sign(&key, body.as_bytes()));
            vec![("x-hub-signature-256", format!("sha256={signature}"))]
        }
        None => Vec::new(),
    })
}

impl Wire for Meta {
    type Refusal = Refusal;

    const NAME: &'static str = "meta";
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

    fn throttled(self, body_only: bool, _: usize) -> Answer {
        cloud::throttled(body_only)
    }

    fn status(self, fake: &Fake, message: &Taken, step: &Step, at_ms: Millis) -> Post {
        signed(fake, &cloud::status(message, self.number, step, at_ms))
    }

    fn incoming(self, fake: &Fake, payload: Map<String, Value>) -> Post {
        signed(fake, &cloud::incoming(fake, payload))
    }
}
