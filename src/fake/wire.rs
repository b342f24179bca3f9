//! What all fakes share: a request is played against the script, taken into the ledger, answered, and followed by its
//! statuses. What a provider's wire looks like is the [`Wire`] in its own folder.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::Fake;
use super::after::{After, Taken};
use super::post::Post;
use super::script::{Action, Occasion, Play, Step};
use crate::domain::{Millis, now_ms};

/// One provider's requests, answers and webhooks.
pub(super) trait Wire: Copy + Send + Sync + Unpin + 'static {
    /// Why a message is refused, in the provider's terms.
    type Refusal: Send;

    /// The provider's name, and the first part of its paths.
    const NAME: &'static str;
    /// The provider's word for a message that was not delivered.
    const FAILED: &'static str;

    /// The script's refusal of the message in place `i`.
    fn refusal(self, key: &str, reference: &str, i: usize) -> Self::Refusal;

    /// Whether a refusal is of the request as a whole, so that nothing of it is taken.
    fn refuses_all(self, _refusal: &Self::Refusal) -> bool {
        false
    }

    /// A provider id in the wire's form. Ids count up from above 2^53.
    fn provider_id(self, id: u64) -> String {
        id.to_string()
    }

    /// The answer to a request whose messages came to this, in their order; alone in it is a refusal of the whole.
    fn answer(self, outcomes: Vec<Result<&Taken, Self::Refusal>>) -> Answer;

    /// The answer to a request of `messages` messages that comes too soon. A `Retry-After` is put beside it.
    fn throttled(self, body_only: bool, messages: usize) -> Answer;

    /// A status as it is posted.
    fn status(self, fake: &Fake, message: &Taken, step: &Step, at_ms: Millis) -> Post;

    /// An incoming message as it is posted: ids and times that are missing are filled in, and what the wire wraps items
    /// in is put around it.
    fn incoming(self, fake: &Fake, payload: Map<String, Value>) -> Post;

    /// What goes to an address, signed, where the signature covers the address.
    fn addressed(self, _fake: &Fake, _url: &str, post: Post) -> Post {
        post
    }
}

/// One message of a request, as the wire read it.
#[derive(Debug)]
pub(super) struct Handed<R> {
    /// Digits.
    pub to: String,
    /// Its sender's id of it; empty when it gave none.
    pub message_id: String,
    /// Its text; of a template or a file without text, the template's id or the address.
    pub text: String,
    /// Where its statuses go; nothing: where the script says that the provider posts.
    pub webhook_url: Option<Arc<str>>,
    /// What the provider itself finds wrong with it.
    pub refusal: Option<R>,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub mime_type: &'static str,
    pub body: Bytes,
}

impl Answer {
    pub fn json(status: StatusCode, body: &Value) -> Self {
        Self { status, mime_type: "application/json", body: body.to_string().into() }
    }

    /// Answered, and nothing follows.
    pub fn alone(self) -> Response {
        (self.status, [(header::CONTENT_TYPE, self.mime_type)], self.body).into_response()
    }
}

/// A request that could not be read or may not be made; the ledger counts it.
pub(super) fn unread(fake: &Fake, answer: Answer) -> Response {
    fake.ledger().request(std::iter::empty());
    answer.alone()
}

/// Plays one request to send.
pub(super) async fn hand_over<W: Wire>(wire: W, fake: &Arc<Fake>, messages: Vec<Handed<W::Refusal>>) -> Response {
    let nths = fake.ledger().request(messages.iter().map(|message| message.to.as_str()));
    let occasions: Vec<_> = messages.iter().zip(nths).map(|(message, nth)| Occasion { to: &message.to, nth }).collect();
    let play = fake.play();
    let fault = play.with_request(&occasions).cloned();
    let latency = Duration::from_millis(play.script.latency_ms);
    if let Some(response) = before(wire, fault.as_ref(), messages.len()) {
        tokio::time::sleep(latency).await;
        return response;
    }

    let nths: Vec<u32> = occasions.iter().map(|occasion| occasion.nth).collect();
    let (outcomes, taken) = take(wire, fake, &play, messages, &nths);
    let answer = answer_of(wire, outcomes, &taken);
    // From here on they are taken, whether or not anybody waits for the answer: statuses follow when this is dropped.
    let mut after = After { wire, fake: fake.clone(), taken };
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
        Some(Action::ErrorAfterAccept { status }) => respond(scripted_error(status), after),
        Some(Action::Garbage) => respond(page(StatusCode::OK, b"<html><body>It works!</body></html>"), after),
        _ => respond(answer, after),
    }
}

/// Plays a request that hands nothing to anybody, such as a file to keep: `done` does what is asked for.
pub(super) async fn play<W: Wire>(wire: W, fake: &Fake, done: impl FnOnce() -> Answer) -> Response {
    let play = fake.play();
    let fault = play.with_request(&[]).cloned();
    tokio::time::sleep(Duration::from_millis(play.script.latency_ms)).await;
    if let Some(response) = before(wire, fault.as_ref(), 1) {
        return response;
    }
    let answer = done();
    match fault {
        Some(Action::DropAfterAccept) => dropped::<()>(None),
        Some(Action::ErrorAfterAccept { status }) => scripted_error(status).alone(),
        Some(Action::Garbage) => page(StatusCode::OK, b"<html><body>It works!</body></html>").alone(),
        Some(Action::Slow { ms }) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            answer.alone()
        }
        _ => answer.alone(),
    }
}

/// What goes wrong before anything is taken.
fn before<W: Wire>(wire: W, fault: Option<&Action>, messages: usize) -> Option<Response> {
    Some(match fault? {
        Action::Throttle { retry_after_s, body_only } => {
            let mut response = wire.throttled(*body_only, messages).alone();
            if let Some(seconds) = retry_after_s.filter(|_| !body_only) {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
        Action::DropBeforeAccept => dropped::<()>(None),
        Action::ErrorBeforeAccept { status } => scripted_error(*status).alone(),
        Action::TooLarge { .. } => page(StatusCode::PAYLOAD_TOO_LARGE, b"<html><body>Too large</body></html>").alone(),
        _ => return None,
    })
}

/// For each message its place among those taken, or why it was refused.
type Outcomes<R> = Vec<Result<usize, R>>;

/// Judges all messages, then takes those that passed, all at once.
fn take<W: Wire>(
    wire: W,
    fake: &Fake,
    play: &Play,
    messages: Vec<Handed<W::Refusal>>,
    nths: &[u32],
) -> (Outcomes<W::Refusal>, Vec<Taken>) {
    let mut judged = Vec::with_capacity(messages.len());
    for (i, (mut message, &nth)) in messages.into_iter().zip(nths).enumerate() {
        let mut fails = None;
        match play.with_message(Occasion { to: &message.to, nth }) {
            Some(Action::Refuse { key, reference }) => {
                let refusal = wire.refusal(key, reference, i);
                if wire.refuses_all(&refusal) {
                    return (vec![Err(refusal)], Vec::new());
                }
                message.refusal = Some(refusal);
            }
            Some(Action::LateFailure { error_code }) => fails = Some(*error_code),
            _ => {}
        }
        judged.push((message, nth, fails));
    }
    let (mut outcomes, mut taken) = (Vec::with_capacity(judged.len()), Vec::with_capacity(judged.len()));
    let account: Option<Arc<str>> = fake.account(W::NAME).webhook_url.map(Into::into);
    let mut ledger = fake.ledger();
    let now = now_ms();
    for (message, nth, fails) in judged {
        let Handed { to, message_id, text, webhook_url, refusal } = message;
        let webhook_url = webhook_url.or_else(|| account.clone());
        if let Some(refusal) = refusal {
            ledger.refused();
            outcomes.push(Err(refusal));
            continue;
        }
        let id = fake.next_id();
        let provider_id = wire.provider_id(id);
        ledger.taken(&message_id, &provider_id, &to, &text, now);
        outcomes.push(Ok(taken.len()));
        taken.push(Taken { webhook_url, id, provider_id, message_id, to, nth, fails });
    }
    (outcomes, taken)
}

fn answer_of<W: Wire>(wire: W, outcomes: Outcomes<W::Refusal>, taken: &[Taken]) -> Answer {
    wire.answer(outcomes.into_iter().map(|outcome| outcome.map(|place| &taken[place])).collect())
}

fn page(status: StatusCode, html: &'static [u8]) -> Answer {
    Answer { status, mime_type: "text/html", body: Bytes::from_static(html) }
}

fn scripted_error(status: u16) -> Answer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    page(status, b"<html><body>Sorry</body></html>")
}

/// Answers, and lets go of `after` when the answer was written.
fn respond<A: Send + Unpin + 'static>(answer: Answer, after: A) -> Response {
    let Answer { status, mime_type, body } = answer;
    let headers = [(header::CONTENT_TYPE, mime_type.to_owned()), (header::CONTENT_LENGTH, body.len().to_string())];
    let body = Body::from_stream(AnswerBody { bytes: Some(body), _after: after });
    (status, headers, body).into_response()
}

/// An answer that keeps what follows it until it was written.
struct AnswerBody<A> {
    bytes: Option<Bytes>,
    _after: A,
}

impl<A: Unpin> futures::Stream for AnswerBody<A> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.bytes.take().map(Ok))
    }
}

/// Closes the connection without a byte: hyper writes the head together with the body's first part, and a body that
/// fails at once ends the connection before.
fn dropped<A: Send + 'static>(after: Option<A>) -> Response {
    let broken = async move {
        let _after = after;
        Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionAborted))
    };
    Body::from_stream(futures::stream::once(broken)).into_response()
}
