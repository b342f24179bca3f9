//! Devino's classic API, as far as its documentation tells: rejections by the documented keys, ids above 2^53 as texts in
//! answers and as numbers in webhooks, statuses in arrays.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::Fake;
use super::script::{Action, Occasion, Play};
use crate::domain::now_ms;
use judge::{Message, Outcome, Reason, Request, reasons};
use statuses::{After, Taken};

mod judge;
mod statuses;

const BATCH_MAX: usize = 100;
pub(super) fn router() -> Router<Arc<Fake>> {
    Router::new().route("/whatsapp/messages", post(send)).route("/billing-api/companies/current/account", get(balance))
}

async fn balance(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    match authorised(&fake, &headers) {
        true => axum::Json(json!({ "balance": 1000.5, "currency": "EUR" })).into_response(),
        false => error(StatusCode::UNAUTHORIZED, "Invalid credentials"),
    }
}

async fn send(State(fake): State<Arc<Fake>>, headers: HeaderMap, body: Bytes) -> Response {
    if !authorised(&fake, &headers) {
        fake.ledger().request(std::iter::empty());
        return error(StatusCode::UNAUTHORIZED, "Invalid credentials");
    }
    let Ok(request) = serde_json::from_slice::<Request>(&body) else {
        fake.ledger().request(std::iter::empty());
        return error(StatusCode::BAD_REQUEST, "The body is not JSON of the right form");
    };
    let messages = request.messages.unwrap_or_default();
    let recipients = messages.iter().map(|message| message.to.as_deref().unwrap_or_default());
    let nths = fake.ledger().request(recipients.clone());
    let occasions: Vec<_> = recipients.zip(nths).map(|(to, nth)| Occasion { to, nth }).collect();

    let play = fake.play();
    let fault = play.with_request(&occasions).cloned();
    let latency = Duration::from_millis(play.script.latency_ms);
    let before = match &fault {
        Some(Action::Throttle { retry_after_s, body_only }) => {
            Some(throttled(*retry_after_s, *body_only, messages.len()))
        }
        Some(Action::DropBeforeAccept) => Some(dropped(None)),
        Some(Action::ErrorBeforeAccept { status }) => Some(scripted_error(*status, None)),
        Some(Action::TooLarge { .. }) => Some(error(StatusCode::PAYLOAD_TOO_LARGE, "Too large")),
        _ => None,
    };
    if let Some(response) = before {
        tokio::time::sleep(latency).await;
        return response;
    }

    let (outcomes, taken) = take(&fake, &play, &messages, &occasions);
    // From here on they are taken, whether or not anybody waits for the answer: statuses follow when this is dropped.
    let mut after = After { fake: fake.clone(), taken };
    if play.script.webhooks.before_answer {
        after.post_now().await;
    }
    match fault {
        Some(Action::Slow { ms }) => tokio::time::sleep(latency + Duration::from_millis(ms)).await,
        _ if !latency.is_zero() => tokio::time::sleep(latency).await,
        _ => {}
    }
    match fault {
        Some(Action::DropAfterAccept) => dropped(Some(after)),
        Some(Action::ErrorAfterAccept { status }) => scripted_error(status, Some(after)),
        Some(Action::Garbage) => {
            let page = Bytes::from_static(b"<html><body>It works!</body></html>");
            answer(StatusCode::OK, "text/html", page, Some(after))
        }
        _ => {
            let body = serde_json::to_vec(&json!({ "result": outcomes })).unwrap_or_default();
            answer(StatusCode::OK, "application/json", body.into(), Some(after))
        }
    }
}

fn authorised(fake: &Fake, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(key) = given.and_then(|given| given.strip_prefix("Key ")) else { return false };
    fake.play().script.api_key.as_deref().map_or(!key.is_empty(), |right| right == key)
}

/// Judges all messages, then takes those that passed, all at once.
fn take(fake: &Fake, play: &Play, messages: &[Message], occasions: &[Occasion<'_>]) -> (Vec<Outcome>, Vec<Taken>) {
    if messages.is_empty() {
        return (vec![Outcome::of_request("must.be.not.null")], Vec::new());
    }
    if messages.len() > BATCH_MAX {
        return (vec![Outcome::of_request("too.many.messages")], Vec::new());
    }
    let mut judged = Vec::with_capacity(messages.len());
    for (i, (message, occasion)) in messages.iter().zip(occasions).enumerate() {
        let mut reasons = reasons(i, message, &play.script.senders);
        let mut fails = None;
        match play.with_message(*occasion) {
            Some(Action::Refuse { key, reference }) if reference == "messages" => {
                return (vec![Outcome::of_request(key)], Vec::new());
            }
            Some(Action::Refuse { key, reference }) => {
                reasons.push(Reason { key: key.clone(), reference: reference.replace("[i]", &format!("[{i}]")) });
            }
            Some(Action::LateFailure { error_code }) => fails = Some(*error_code),
            _ => {}
        }
        judged.push((reasons, fails));
    }
    let (mut outcomes, mut taken) = (Vec::with_capacity(messages.len()), Vec::with_capacity(messages.len()));
    let mut urls = Urls::default();
    let mut ledger = fake.ledger();
    let now = now_ms();
    for ((message, occasion), (reasons, fails)) in messages.iter().zip(occasions).zip(judged) {
        if !reasons.is_empty() {
            ledger.refused();
            outcomes.push(Outcome::rejected(reasons));
            continue;
        }
        let provider_id = fake.next_id();
        let text = [&message.text, &message.template_id, &message.content_url].into_iter().flatten().next();
        let options = message.callback_data.clone();
        ledger.taken(options.as_deref().unwrap_or_default(), provider_id, occasion.to, text.map_or("", |t| t), now);
        outcomes.push(Outcome {
            code: "OK",
            message_id: Some(provider_id.to_string()),
            reasons: vec![],
            description: None,
        });
        taken.push(Taken {
            url: message.callback_url.as_deref().map(|url| urls.shared(url)),
            provider_id,
            options,
            to: occasion.to.to_owned(),
            nth: occasion.nth,
            fails,
        });
    }
    (outcomes, taken)
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

fn error(status: StatusCode, description: &str) -> Response {
    let code = status.canonical_reason().unwrap_or("ERROR").to_uppercase().replace(' ', "_");
    (status, axum::Json(json!({ "code": code, "description": description }))).into_response()
}

fn scripted_error(status: u16, after: Option<After>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer(status, "text/html", Bytes::from_static(b"<html><body>Sorry</body></html>"), after)
}

fn throttled(retry_after_s: Option<u64>, body_only: bool, messages: usize) -> Response {
    if body_only {
        let reasons = || vec![Reason { key: "too.many.requests".into(), reference: String::new() }];
        let result: Vec<Outcome> = (0..messages).map(|_| Outcome::rejected(reasons())).collect();
        return axum::Json(json!({ "result": result })).into_response();
    }
    let mut response = error(StatusCode::TOO_MANY_REQUESTS, "Too many requests");
    if let Some(seconds) = retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn answer(status: StatusCode, mime_type: &'static str, bytes: Bytes, after: Option<After>) -> Response {
    let length = bytes.len();
    let headers = [(header::CONTENT_TYPE, mime_type.to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    let body = Body::from_stream(AnswerBody { bytes: Some(bytes), _after: after });
    (status, headers, body).into_response()
}

/// An answer that keeps what follows it until it was written.
struct AnswerBody {
    bytes: Option<Bytes>,
    _after: Option<After>,
}

impl futures::Stream for AnswerBody {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.bytes.take().map(Ok))
    }
}

/// Closes the connection without a byte: hyper writes the head together with the body's first part, and a body that
/// fails at once ends the connection before.
fn dropped(after: Option<After>) -> Response {
    let broken = async move {
        let _after = after;
        Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionAborted))
    };
    Body::from_stream(futures::stream::once(broken)).into_response()
}
