//! Infobip's WhatsApp API, as far as tests need it: a path for each kind of content, one object or a list of one as the
//! answer, a no inside of a 200, reports in `results` with times that are no RFC 3339.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Map, Value, json};

use super::Fake;
use super::after::Taken;
use super::post::Post;
use super::script::Step;
use super::wire::{Answer, Handed, Wire, hand_over, unread};
use crate::domain::{Millis, now_ms};

/// Infobip: whether the request is one of templates, whose answer is a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Infobip {
    listed: bool,
}

pub(super) const WIRE: Infobip = Infobip { listed: false };

/// The number that webhooks name as ours.
const SENDER: &str = "551140001000";
/// A picture of one dot.
const DOT: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
const TEXT_MAX: usize = 4_096;
/// Paths below `/whatsapp/1/message`.
const KINDS: &[&str] = &[
    "text",
    "image",
    "audio",
    "video",
    "document",
    "sticker",
    "location",
    "contact",
    "interactive/buttons",
    "interactive/list",
    "interactive/url-button",
    "template",
];

pub(super) fn router() -> Router<Arc<Fake>> {
    Router::new()
        .route("/whatsapp/1/message/{*kind}", post(send))
        .route("/whatsapp/2/senders/{sender}/templates", get(templates))
        .route("/whatsapp/1/senders/{sender}/media/{media}", get(media))
        .route("/account/1/balance", get(balance))
}

fn authorised(fake: &Fake, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    fake.accepts(given.and_then(|given| given.strip_prefix("App ")))
}

/// Why a message is refused: by the whole request, or by the status inside of a 200.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    /// The field that is wrong, and how.
    Wrong { field: String, words: String },
    /// The status' name.
    Status(String),
}

impl Refusal {
    fn wrong(field: &str, words: &str) -> Self {
        Self::Wrong { field: field.into(), words: words.into() }
    }
}

fn error(status: StatusCode, code: &str, text: &str, validation_errors: Value) -> Answer {
    let mut exception = json!({ "messageId": code, "text": text });
    if !validation_errors.is_null() {
        exception["validationErrors"] = validation_errors;
    }
    Answer::json(status, &json!({ "requestError": { "serviceException": exception } }))
}

fn unauthorised() -> Answer {
    error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Invalid login details", Value::Null)
}

async fn balance(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    match authorised(&fake, &headers) {
        true => Answer::json(StatusCode::OK, &json!({ "balance": 47.79, "currency": "EUR" })).alone(),
        false => unauthorised().alone(),
    }
}

async fn media(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    match authorised(&fake, &headers) {
        true => ([(header::CONTENT_TYPE, "image/gif")], DOT).into_response(),
        false => unauthorised().alone(),
    }
}

async fn templates(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    if !authorised(&fake, &headers) {
        return unauthorised().alone();
    }
    let template = |id: &str, name: &str, structure: Value| {
        json!({ "id": id, "businessAccountId": 1, "name": name, "language": "pt_BR", "status": "APPROVED", "category": "UTILITY",
            "structure": structure, "quality": "HIGH" })
    };
    let all = json!([
        template(
            "1",
            "boleto_disponivel",
            json!({
                "header": { "format": "DOCUMENT" },
                "body": { "text": "Olá {{1}}, vence em {{2}}.", "examples": ["Marina", "12/01/2026"] },
                "footer": { "text": "Acme" },
                "buttons": [{ "type": "URL", "text": "Abrir", "url": "https://acme.example.net/b/{{1}}" }],
                "type": "DOCUMENT",
            })
        ),
        template(
            "2",
            "order_ready_v2",
            json!({
                "body": { "text": "Olá {{1}}, o pedido {{2}} está pronto.", "examples": ["Ana", "A-1001"] },
                "type": "TEXT",
            })
        ),
    ]);
    Answer::json(StatusCode::OK, &json!({ "templates": all })).alone()
}

async fn send(State(fake): State<Arc<Fake>>, Path(kind): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    if !authorised(&fake, &headers) {
        return unread(&fake, unauthorised());
    }
    if !KINDS.contains(&kind.as_str()) {
        return unread(&fake, error(StatusCode::NOT_FOUND, "NOT_FOUND", "Requested URL not found", Value::Null));
    }
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return unread(&fake, error(StatusCode::BAD_REQUEST, "BAD_REQUEST", "Bad Request", Value::Null));
    };
    let wire = Infobip { listed: kind == "template" };
    let messages: Vec<Value> = match (wire.listed, request) {
        (true, mut request) => request["messages"].as_array_mut().map(std::mem::take).unwrap_or_default(),
        (false, request) => vec![request],
    };
    let senders = fake.play().script.senders.clone();
    let handed = messages.iter().map(|message| handed(&kind, message, &senders)).collect();
    hand_over(wire, &fake, handed).await
}

fn handed(kind: &str, message: &Value, senders: &[String]) -> Handed<Refusal> {
    let said = |member: &str| message[member].as_str().unwrap_or_default();
    let content = &message["content"];
    let text = ["text", "templateName", "mediaUrl"].into_iter().find_map(|member| content[member].as_str());
    Handed {
        to: said("to").to_owned(),
        message_id: said("callbackData").to_owned(),
        text: text.unwrap_or_default().to_owned(),
        webhook_url: message["notifyUrl"].as_str().map(Into::into),
        refusal: refusal(kind, message, senders),
    }
}

/// The first thing that is wrong.
fn refusal(kind: &str, message: &Value, senders: &[String]) -> Option<Refusal> {
    let number = |member: &str| {
        let given = message[member].as_str().unwrap_or_default();
        (5..=15).contains(&given.len()) && given.bytes().all(|b| b.is_ascii_digit())
    };
    let content = &message["content"];
    let given = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if !number("to") {
        return Some(Refusal::wrong("to", "must be a valid phone number"));
    }
    if !number("from") {
        return Some(Refusal::wrong("from", "must be a valid phone number"));
    }
    if !senders.is_empty() && !senders.iter().any(|sender| message["from"] == sender.as_str()) {
        return Some(Refusal::Status("REJECTED_SOURCE".into()));
    }
    if message["messageId"].as_str().is_some_and(|id| id.len() > 100) {
        return Some(Refusal::wrong("messageId", "size must be between 0 and 100"));
    }
    let is_web = |value: &Value| {
        let url = value.as_str().and_then(|url| url::Url::parse(url).ok());
        url.is_some_and(|url| matches!(url.scheme(), "http" | "https"))
    };
    match kind {
        "text" if !given(&content["text"]) => Some(Refusal::wrong("content.text", "must not be blank")),
        "text" if content["text"].as_str().is_some_and(|text| text.chars().count() > TEXT_MAX) => {
            Some(Refusal::wrong("content.text", "size must be between 1 and 4096"))
        }
        "image" | "audio" | "video" | "document" | "sticker" if !is_web(&content["mediaUrl"]) => {
            Some(Refusal::wrong("content.mediaUrl", "must be a valid url"))
        }
        "location" if !content["latitude"].is_number() => Some(Refusal::wrong("content.latitude", "must not be null")),
        "contact" if !given(&content["contacts"][0]["name"]["formattedName"]) => {
            Some(Refusal::wrong("content.contacts[0].name.formattedName", "must not be blank"))
        }
        "template" if !given(&content["templateName"]) => {
            Some(Refusal::wrong("content.templateName", "must not be blank"))
        }
        "template" if !given(&content["language"]) => Some(Refusal::wrong("content.language", "must not be blank")),
        "template" if !content["templateData"]["body"]["placeholders"].is_array() => {
            Some(Refusal::wrong("content.templateData.body.placeholders", "must not be null"))
        }
        kind if kind.starts_with("interactive") && !given(&content["body"]["text"]) => {
            Some(Refusal::wrong("content.body.text", "must not be blank"))
        }
        _ => None,
    }
}

/// `2025-12-11T05:48:20.118+0000`
fn time(at_ms: Millis) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(at_ms.max(0) as u64);
    humantime::format_rfc3339_millis(at).to_string().replace('Z', "+0000")
}

/// The group that a status' name begins with.
fn group(name: &str) -> (u32, &'static str) {
    match name.split('_').next().unwrap_or_default() {
        "PENDING" => (1, "PENDING"),
        "UNDELIVERABLE" => (2, "UNDELIVERABLE"),
        "DELIVERED" => (3, "DELIVERED"),
        "EXPIRED" => (4, "EXPIRED"),
        "REJECTED" => (5, "REJECTED"),
        _ => (0, "OTHER"),
    }
}

fn status_of(id: u32, name: &str) -> Value {
    let (group_id, group) = group(name);
    json!({ "groupId": group_id, "groupName": group, "id": id, "name": name, "description": "As the script has it" })
}

impl Infobip {
    fn wrap(self, result: Value) -> Value {
        if self.listed { json!({ "messages": [result], "bulkId": "bk-1" }) } else { result }
    }
}

impl Wire for Infobip {
    type Refusal = Refusal;

    const NAME: &'static str = "infobip";
    const FAILED: &'static str = "UNDELIVERABLE_NOT_DELIVERED";

    /// A status' name is refused inside of a 200; anything else is a field, with `ref` as its words.
    fn refusal(self, key: &str, reference: &str, _: usize) -> Refusal {
        match group(key).0 {
            0 => Refusal::wrong(key, reference),
            _ => Refusal::Status(key.to_owned()),
        }
    }

    /// The id that the request gave, which the ledger keeps as the sender's: `callbackData` is the same here.
    fn answer(self, outcomes: Vec<Result<&Taken, Refusal>>) -> Answer {
        match outcomes.into_iter().next() {
            Some(Ok(taken)) => {
                let result = json!({ "to": taken.to, "messageCount": 1, "messageId": taken.message_id,
                    "status": status_of(7, "PENDING_ENROUTE") });
                Answer::json(StatusCode::OK, &self.wrap(result))
            }
            Some(Err(Refusal::Status(name))) => {
                let result = json!({ "messageCount": 1, "messageId": "refused", "status": status_of(99, &name) });
                Answer::json(StatusCode::OK, &self.wrap(result))
            }
            Some(Err(Refusal::Wrong { field, words })) => {
                error(StatusCode::BAD_REQUEST, "BAD_REQUEST", "Bad Request", json!({ field: [words] }))
            }
            None => {
                error(StatusCode::BAD_REQUEST, "BAD_REQUEST", "Bad Request", json!({ "messages": "must not be empty" }))
            }
        }
    }

    fn throttled(self, body_only: bool, _: usize) -> Answer {
        let status = if body_only { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
        error(status, "TOO_MANY_REQUESTS", "Too many requests", Value::Null)
    }

    /// READ is a seen report, which has a form of its own; a code is one of an error beside the status.
    fn status(self, _: &Fake, message: &Taken, step: &Step, at_ms: Millis) -> Post {
        let word = step.status.to_uppercase();
        let result = match word.as_str() {
            "READ" | "SEEN" => json!({
                "messageId": message.message_id, "from": SENDER, "to": message.to, "sentAt": time(at_ms), "seenAt": time(at_ms),
                "applicationId": "app", "entityId": "ent",
            }),
            _ => {
                let error = match step.error_code {
                    0 => {
                        json!({ "id": 0, "name": "NO_ERROR", "description": "No Error", "groupId": 0, "groupName": "OK",
                        "permanent": false })
                    }
                    id => {
                        json!({ "id": id, "name": format!("EC_{id}"), "description": "As the script has it", "groupId": 1,
                        "groupName": "HANDSET_ERRORS", "permanent": true })
                    }
                };
                json!({
                    "bulkId": "bk-1", "messageId": message.message_id, "to": message.to, "sentAt": time(at_ms),
                    "doneAt": time(at_ms), "messageCount": 1, "price": { "pricePerMessage": 0.0, "currency": "BRL" },
                    "status": status_of(5, &word), "error": error, "callbackData": message.message_id,
                })
            }
        };
        Post::json(&json!({ "results": [result] }))
    }

    fn incoming(self, fake: &Fake, mut payload: Map<String, Value>) -> Post {
        let mut fill = |member: &str, value: Value| {
            payload.entry(member).or_insert(value);
        };
        fill("to", json!(SENDER));
        fill("integrationType", json!("WHATSAPP"));
        fill("messageId", json!(format!("ABGG{}", fake.next_id())));
        fill("receivedAt", json!(time(now_ms())));
        Post::json(&json!({ "results": [payload], "messageCount": 1, "pendingMessageCount": 0 }))
    }
}
