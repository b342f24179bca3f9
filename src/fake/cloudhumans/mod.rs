//! CloudChat of Cloud Humans, a Chatwoot: templates to anybody, texts into conversations, questions about both, one webhook
//! an event. It keeps nothing but the ledger: who is known, and where a message stands, follows from the number written to,
//! from the script and from the time.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Map, Value, json};

use super::Fake;
use super::after::Taken;
use super::post::{Post, Whole};
use super::script::Step;
use super::wire::{Answer, Handed, Wire, hand_over, unread};
use crate::domain::{Millis, now_ms};

mod directory;

/// What a request makes, and is answered with.
#[derive(Debug, Clone, Copy)]
pub(super) enum CloudHumans {
    /// A conversation with a template in it.
    Conversation,
    /// A message in a conversation.
    Message,
}

pub(super) const WIRE: CloudHumans = CloudHumans::Message;

/// The only inbox that there is.
const INBOX: u64 = 58;

pub(super) fn router() -> Router<Arc<Fake>> {
    let account = Router::new()
        .route("/conversations/create_proactive_whatsapp_conversation", post(start))
        .route("/conversations/{conversation}/messages", post(write).get(directory::messages))
        .route("/contacts/search", get(directory::search))
        .route("/contacts/{contact}/conversations", get(directory::conversations))
        .route("/inboxes/{inbox}", get(directory::inbox));
    Router::new().nest("/api/v1/accounts/{account}", account)
}

/// Why a message is refused: status and text.
type Refusal = (StatusCode, String);

async fn start(State(fake): State<Arc<Fake>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refused) = unauthorised(&fake, &headers) {
        return unread(&fake, refused);
    }
    let request = serde_json::from_slice::<Map<String, Value>>(&body).unwrap_or_default();
    let text = |member: &str| request.get(member).and_then(Value::as_str).unwrap_or_default();
    let fixed = ["inbox_id", "phone_number", "template_name"];
    let missing = fixed.into_iter().find(|member| text(member).is_empty());
    let digits = text("phone_number").strip_prefix('+').filter(|rest| directory::is_number(rest));
    let refusal = match (missing, digits) {
        (Some(member), _) => Some((StatusCode::UNPROCESSABLE_ENTITY, format!("param is missing: {member}"))),
        (_, None) => Some((StatusCode::UNPROCESSABLE_ENTITY, "Phone number should be in e164 format".to_owned())),
        _ if text("inbox_id") != INBOX.to_string() => Some(not_found()),
        _ => None,
    };
    // As a template would read: its name and what fills it.
    let filled = request.iter().filter(|(name, _)| !fixed.contains(&name.as_str()));
    let filled: Vec<&str> = filled.filter_map(|(_, value)| value.as_str()).collect();
    let handed = Handed {
        to: digits.unwrap_or_default().to_owned(),
        message_id: String::new(),
        text: [&[text("template_name")], &filled[..]].concat().join(" "),
        webhook_url: None,
        refusal,
    };
    hand_over(CloudHumans::Conversation, &fake, vec![handed]).await
}

async fn write(
    State(fake): State<Arc<Fake>>,
    Path((_, conversation)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refused) = unauthorised(&fake, &headers) {
        return unread(&fake, refused);
    }
    let request = serde_json::from_slice::<Map<String, Value>>(&body).unwrap_or_default();
    let content = request.get("content").and_then(Value::as_str).unwrap_or_default();
    let refusal = match directory::person(&conversation) {
        directory::Person::Unknown => Some(not_found()),
        _ if content.is_empty() => Some((StatusCode::UNPROCESSABLE_ENTITY, "Content can't be blank".to_owned())),
        _ => None,
    };
    let text = content.to_owned();
    let handed = Handed { to: conversation, message_id: String::new(), text, webhook_url: None, refusal };
    hand_over(CloudHumans::Message, &fake, vec![handed]).await
}

fn not_found() -> Refusal {
    (StatusCode::NOT_FOUND, "Resource could not be found".to_owned())
}

fn unauthorised(fake: &Fake, headers: &HeaderMap) -> Option<Answer> {
    let token = headers.get("api_access_token").and_then(|value| value.to_str().ok());
    let error = json!({ "error": "Invalid Access Token" });
    (!fake.accepts(token)).then(|| Answer::json(StatusCode::UNAUTHORIZED, &error))
}

/// A message as it stands in answers and lists.
fn message(id: &Value, to: &str, content: &str, at_ms: Millis, status: &Step) -> Value {
    json!({
        "id": id, "content": content, "inbox_id": INBOX, "conversation_id": directory::number(to), "message_type": 1,
        "content_type": "text", "status": status.status, "content_attributes": attributes(status),
        "created_at": at_ms / 1_000, "private": false, "source_id": null,
    })
}

fn attributes(status: &Step) -> Value {
    match status.error_code {
        0 => json!({}),
        code => json!({ "external_error": format!("{code}: Message undeliverable") }),
    }
}

/// The status in Chatwoot's spelling.
fn spelt(step: &Step) -> Step {
    Step { status: step.status.to_lowercase(), ..step.clone() }
}

fn new() -> Step {
    Step { status: "sent".into(), after_ms: 0, error_code: 0 }
}

impl Wire for CloudHumans {
    type Refusal = Refusal;

    const NAME: &'static str = "cloudhumans";
    const FAILED: &'static str = "failed";

    /// `ref` is the HTTP status, 422 when it is none.
    fn refusal(self, key: &str, reference: &str, _: usize) -> Refusal {
        let status = reference.parse().ok().and_then(|status| StatusCode::from_u16(status).ok());
        (status.unwrap_or(StatusCode::UNPROCESSABLE_ENTITY), key.to_owned())
    }

    fn answer(self, outcomes: Vec<Result<&Taken, Refusal>>) -> Answer {
        match outcomes.into_iter().next() {
            Some(Ok(taken)) => {
                let now = now_ms();
                let message = message(&taken.id.into(), &taken.to, "", now, &new());
                let body = match self {
                    CloudHumans::Message => message,
                    CloudHumans::Conversation => directory::conversation(&taken.to, now, vec![message]),
                };
                Answer::json(StatusCode::OK, &body)
            }
            Some(Err((status, error))) => Answer::json(status, &json!({ "error": error })),
            None => Answer::json(StatusCode::OK, &json!({})),
        }
    }

    fn throttled(self, body_only: bool, _: usize) -> Answer {
        match body_only {
            true => self.answer(vec![Err((StatusCode::UNPROCESSABLE_ENTITY, "Too many messages".into()))]),
            false => {
                Answer { status: StatusCode::TOO_MANY_REQUESTS, mime_type: "text/plain", body: "Retry later\n".into() }
            }
        }
    }

    /// As upstream does it: no status at the root, but in the conversation's last message.
    fn status(self, fake: &Fake, taken: &Taken, step: &Step, at_ms: Millis) -> Post {
        let step = spelt(step);
        let last = message(&taken.id.into(), &taken.to, "", at_ms, &step);
        let event = json!({
            "event": "message_updated", "id": taken.id, "content": "", "content_type": "text", "message_type": "outgoing",
            "private": false, "source_id": format!("wamid.{}", taken.id), "content_attributes": attributes(&step),
            "account": { "id": 42, "name": "Acme" }, "inbox": { "id": INBOX, "name": "WhatsApp" },
            "sender": { "id": 7, "name": "API", "type": "user" },
            "conversation": directory::conversation(&taken.to, at_ms, vec![last]),
        });
        posted(fake, &event)
    }

    fn incoming(self, fake: &Fake, mut payload: Map<String, Value>) -> Post {
        payload.entry("event").or_insert_with(|| "message_created".into());
        payload.entry("message_type").or_insert_with(|| "incoming".into());
        payload.entry("id").or_insert_with(|| fake.next_id().into());
        payload.entry("created_at").or_insert_with(|| (now_ms() / 1_000).into());
        posted(fake, &payload.into())
    }
}

/// A webhook, signed where the script has a secret.
fn posted(fake: &Fake, event: &Value) -> Post {
    let body = event.to_string();
    let headers = fake.account(CloudHumans::NAME).secret.map(|secret| {
        let timestamp = (now_ms() / 1_000).to_string();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let digest = ring::hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
        vec![
            ("x-chatwoot-signature", format!("sha256={}", hex::encode(digest))),
            ("x-chatwoot-timestamp", timestamp),
            ("x-chatwoot-delivery", uuid::Uuid::new_v4().to_string()),
        ]
    });
    Post::Alone(Whole { mime_type: "application/json", headers: headers.unwrap_or_default(), body })
}
