//! Devino's classic and direct API, as far as its documentation tells: rejections by the documented keys, ids above 2^53 as texts in
//! answers and as numbers in webhooks, statuses in arrays.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Fake;
use super::after::Taken;
use super::post::Post;
use super::script::Step;
use super::wire::{Answer, Handed, Wire, hand_over, unread};
use crate::domain::{Millis, now_ms};
use judge::{Message, Outcome, Reason, Request, reasons};

mod direct;
mod judge;

/// Messages in one request, at most.
const BATCH_MAX: usize = 100;

/// Devino.
#[derive(Debug, Clone, Copy)]
pub(super) struct Devino;

pub(super) const WIRE: Devino = Devino;

pub(super) fn router() -> Router<Arc<Fake>> {
    Router::new()
        .route("/whatsapp/messages", post(send))
        .route("/whatsapp/v2/messages", post(send_direct))
        .route("/billing-api/companies/current/account", get(balance))
}

async fn balance(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    match authorised(&fake, &headers) {
        true => Answer::json(StatusCode::OK, &json!({ "balance": 1000.5, "currency": "EUR" })).alone(),
        false => error(StatusCode::UNAUTHORIZED, "Invalid credentials").alone(),
    }
}

async fn send(State(fake): State<Arc<Fake>>, headers: HeaderMap, body: Bytes) -> Response {
    if !authorised(&fake, &headers) {
        return unread(&fake, error(StatusCode::UNAUTHORIZED, "Invalid credentials"));
    }
    let Ok(request) = serde_json::from_slice::<Request>(&body) else {
        return unread(&fake, error(StatusCode::BAD_REQUEST, "The body is not JSON of the right form"));
    };
    hand_over_all(&fake, request.messages.unwrap_or_default(), handed).await
}

async fn send_direct(State(fake): State<Arc<Fake>>, headers: HeaderMap, body: Bytes) -> Response {
    if !authorised(&fake, &headers) {
        return unread(&fake, error(StatusCode::UNAUTHORIZED, "Invalid credentials"));
    }
    let Ok(request) = serde_json::from_slice::<direct::Request>(&body) else {
        return unread(&fake, error(StatusCode::BAD_REQUEST, "The body is not JSON of the right form"));
    };
    hand_over_all(&fake, request.messages(), handed_directly).await
}

async fn hand_over_all<M>(
    fake: &Arc<Fake>,
    messages: Vec<M>,
    handed: impl Fn(usize, M, &[String], &mut Urls) -> Handed<Vec<Reason>>,
) -> Response {
    if messages.is_empty() || messages.len() > BATCH_MAX {
        let key = if messages.is_empty() { "must.be.not.null" } else { "too.many.messages" };
        return unread(fake, Devino.answer(vec![Err(Devino.refusal(key, "messages", 0))]));
    }
    let senders = fake.play().script.senders.clone();
    let mut urls = Urls::default();
    let handed = messages.into_iter().enumerate().map(|(i, message)| handed(i, message, &senders, &mut urls));
    let handed = handed.collect();
    hand_over(Devino, fake, handed).await
}

fn handed(i: usize, message: Message, senders: &[String], urls: &mut Urls) -> Handed<Vec<Reason>> {
    let reasons = reasons(i, &message, senders);
    let text = [message.text, message.template_id, message.content_url].into_iter().flatten().next();
    Handed {
        to: message.to.unwrap_or_default(),
        message_id: message.callback_data.unwrap_or_default(),
        text: text.unwrap_or_default(),
        webhook_url: message.callback_url.map(|url| urls.shared(&url)),
        refusal: (!reasons.is_empty()).then_some(reasons),
    }
}

fn handed_directly(i: usize, message: direct::Message, senders: &[String], urls: &mut Urls) -> Handed<Vec<Reason>> {
    let reasons = direct::reasons(i, &message, senders);
    let text = |member| direct::text(&message, member);
    Handed {
        to: text("to").unwrap_or_default().to_owned(),
        message_id: text("callbackData").unwrap_or_default().to_owned(),
        text: direct::said(&message),
        webhook_url: text("callbackUrl").map(|url| urls.shared(url)),
        refusal: (!reasons.is_empty()).then_some(reasons),
    }
}

fn authorised(fake: &Fake, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    fake.accepts(given.and_then(|given| given.strip_prefix("Key ")))
}

impl Wire for Devino {
    type Refusal = Vec<Reason>;

    const NAME: &'static str = "devino";
    const FAILED: &'static str = "UNDELIVERED";

    fn refusal(self, key: &str, reference: &str, i: usize) -> Vec<Reason> {
        vec![Reason { key: key.into(), reference: reference.replace("[i]", &format!("[{i}]")) }]
    }

    fn refuses_all(self, reasons: &Vec<Reason>) -> bool {
        reasons.iter().any(|reason| reason.reference == "messages")
    }

    fn answer(self, outcomes: Vec<Result<&Taken, Vec<Reason>>>) -> Answer {
        let outcome = |outcome| match outcome {
            Ok(taken) => Outcome::ok(taken),
            Err(reasons) => Outcome::rejected(reasons),
        };
        let result: Vec<Outcome> = outcomes.into_iter().map(outcome).collect();
        Answer::json(StatusCode::OK, &json!({ "result": result }))
    }

    fn throttled(self, body_only: bool, messages: usize) -> Answer {
        if body_only {
            let refused = || Err(vec![Reason { key: "too.many.requests".into(), reference: String::new() }]);
            return self.answer((0..messages).map(|_| refused()).collect());
        }
        error(StatusCode::TOO_MANY_REQUESTS, "Too many requests")
    }

    fn status(self, _: &Fake, message: &Taken, step: &Step, at_ms: Millis) -> Post {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Status<'a> {
            message_id: u64,
            ts: i64,
            status: &'a str,
            error_code: u32,
            ip: Option<&'a str>,
            browser: Option<&'a str>,
            os: Option<&'a str>,
            user_agent: Option<&'a str>,
            options: Option<&'a str>,
        }
        let status = Status {
            message_id: message.id,
            ts: at_ms,
            status: &step.status,
            error_code: step.error_code,
            ip: None,
            browser: None,
            os: None,
            user_agent: None,
            options: Some(message.message_id.as_str()).filter(|id| !id.is_empty()),
        };
        Post::Listed(serde_json::to_string(&status).unwrap_or_default())
    }

    fn incoming(self, fake: &Fake, mut payload: Map<String, Value>) -> Post {
        payload.entry("incomingMessageId").or_insert_with(|| fake.next_id().into());
        payload.entry("ts").or_insert_with(|| now_ms().into());
        Post::json(&payload.into())
    }
}

/// The messages of a request mostly name one address: kept once.
#[derive(Default)]
struct Urls(Vec<Arc<str>>);

impl Urls {
    fn shared(&mut self, url: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| &***known == url) {
            return known.clone();
        }
        let url: Arc<str> = url.into();
        self.0.push(url.clone());
        url
    }
}

fn error(status: StatusCode, description: &str) -> Answer {
    let code = status.canonical_reason().unwrap_or("ERROR").to_uppercase().replace(' ', "_");
    Answer::json(status, &json!({ "code": code, "description": description }))
}
