//! Digivox, as we assume it: paths, header and names are the constants of the adapter, so that a correction there is one
//! here too. Errors as Spring writes them, or Meta's where the refusal is one of Meta's codes; UUIDs as ids; statuses in
//! arrays.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Fake;
use super::after::Taken;
use super::post::Post;
use super::script::Step;
use super::wire::{Answer, Handed, Wire, hand_over, unread};
use crate::domain::{Millis, now_ms};
use crate::provider::digivox::wire::{
    API_PREFIX, AUTH_HEADER, FROM_FIELD, MESSAGE_ID_FIELD, SEND_PATH, TEXT_MAX, TO_FIELD,
};

/// Digivox.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digivox;

pub(super) const WIRE: Digivox = Digivox;

pub(super) fn router() -> Router<Arc<Fake>> {
    Router::new().route(&format!("{API_PREFIX}{SEND_PATH}"), post(send))
}

async fn send(State(fake): State<Arc<Fake>>, Path(channel): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    if !fake.accepts(headers.get(AUTH_HEADER).and_then(|value| value.to_str().ok())) {
        return unread(&fake, error(StatusCode::UNAUTHORIZED, "invalid access token"));
    }
    if Uuid::try_parse(&channel).is_err() {
        return unread(&fake, error(StatusCode::BAD_REQUEST, "whatsapp_id: not a UUID"));
    }
    let channels = &fake.play().script.senders;
    if !channels.is_empty() && !channels.contains(&channel) {
        return unread(&fake, error(StatusCode::FORBIDDEN, "whatsapp_id: not of this client"));
    }
    let Ok(message) = serde_json::from_slice::<Map<String, Value>>(&body) else {
        return unread(&fake, error(StatusCode::BAD_REQUEST, "the body is not a JSON object"));
    };
    hand_over(Digivox, &fake, vec![handed(&message)]).await
}

fn handed(message: &Map<String, Value>) -> Handed<String> {
    let text = |member: &str| message.get(member).and_then(Value::as_str).unwrap_or_default();
    let kind = text("type");
    let part = message.get(kind).cloned().unwrap_or_default();
    let said = ["/body", "/name", "/caption", "/link", "/body/text"];
    let said = said.iter().find_map(|place| part.pointer(place).and_then(Value::as_str));
    Handed {
        to: text(TO_FIELD).to_owned(),
        message_id: text(MESSAGE_ID_FIELD).to_owned(),
        text: said.unwrap_or(kind).to_owned(),
        webhook_url: None,
        refusal: wrong(text(FROM_FIELD), text(TO_FIELD), kind, &part).map(str::to_owned),
    }
}

/// The first thing that is wrong with a message.
fn wrong(from: &str, to: &str, kind: &str, part: &Value) -> Option<&'static str> {
    let digits = |number: &str| (10..=15).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let body = part.get("body").and_then(Value::as_str).unwrap_or_default();
    match kind {
        _ if from.is_empty() => Some("from: missing"),
        _ if !digits(to) => Some("to: invalid number"),
        "" => Some("type: missing"),
        _ if part.is_null() => Some("there is no member of the type's name"),
        "text" if body.is_empty() || body.chars().count() > TEXT_MAX => Some("text.body: 1 to 4096 characters"),
        "image" | "audio" | "video" | "document" if part.get("link").is_none() => Some("link: missing"),
        "template" if part.get("name").is_none() => Some("template.name: missing"),
        _ => None,
    }
}

impl Wire for Digivox {
    /// Words, or one of Meta's codes.
    type Refusal = String;

    const NAME: &'static str = "digivox";
    const FAILED: &'static str = "failed";

    fn refusal(self, key: &str, _: &str, _: usize) -> String {
        key.to_owned()
    }

    fn provider_id(self, id: u64) -> String {
        Uuid::from_u64_pair(0x0c9b_8a77_1234_4abc, id | 1 << 63).to_string()
    }

    fn answer(self, outcomes: Vec<Result<&Taken, String>>) -> Answer {
        match outcomes.into_iter().next() {
            Some(Ok(taken)) => {
                Answer::json(StatusCode::CREATED, &json!({ "id": taken.provider_id, "status": "queued" }))
            }
            Some(Err(why)) => match why.parse::<u32>() {
                Ok(code) => {
                    let error = json!({ "error": { "code": code, "message": "The message was refused" } });
                    Answer::json(StatusCode::BAD_REQUEST, &error)
                }
                Err(_) => error(StatusCode::BAD_REQUEST, &why),
            },
            None => error(StatusCode::BAD_REQUEST, "nothing to send"),
        }
    }

    /// There is no word for it in a body: with `body_only` the header is missing, and that is all.
    fn throttled(self, _body_only: bool, _: usize) -> Answer {
        error(StatusCode::TOO_MANY_REQUESTS, "too many requests")
    }

    fn status(self, _: &Fake, message: &Taken, step: &Step, at_ms: Millis) -> Post {
        let mut status = json!({
            "id": message.provider_id, "status": step.status.to_lowercase(), "recipient": message.to,
            "timestamp": at_ms,
        });
        if !message.message_id.is_empty() {
            status[MESSAGE_ID_FIELD] = message.message_id.as_str().into();
        }
        if step.error_code != 0 {
            status["error"] = json!({ "code": step.error_code, "message": "not delivered" });
        }
        Post::Listed(json!({ "event": "status", "channel": "whatsapp", "status": status }).to_string())
    }

    /// A message goes into Digivox's envelope; an envelope, its own or Meta's, goes out as it is.
    fn incoming(self, fake: &Fake, mut payload: Map<String, Value>) -> Post {
        if ["event", "entry", "message"].iter().any(|member| payload.contains_key(*member)) {
            return Post::json(&payload.into());
        }
        payload.entry("id").or_insert_with(|| self.provider_id(fake.next_id()).into());
        payload.entry("timestamp").or_insert_with(|| (now_ms() / 1_000).into());
        Post::json(&json!({ "event": "message", "channel": "whatsapp", "message": payload }))
    }
}

fn error(status: StatusCode, message: &str) -> Answer {
    let reason = status.canonical_reason().unwrap_or("Error");
    Answer::json(status, &json!({ "status": status.as_u16(), "error": reason, "message": message }))
}
