//! The one HTTP client that adapters use: time limits, byte caps, no redirects, and a trace without secrets.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};

use super::FileBytes;
use crate::domain::message::Exchange;

/// How long a connection may take to open.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Idle connections are closed this early, since a provider that closes one in the moment we write on it leaves a
/// message in doubt; under load connections are never idle.
const IDLE_LIMIT: Duration = Duration::from_secs(3);
/// Bytes of an answer that are read at most.
const ANSWER_CAP: usize = 4 << 20;
/// Bytes of an answer that a trace keeps.
const TRACE_CAP: usize = 2 << 10;

/// A shared client with its time limit.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    call_limit: Duration,
}

/// One request of an adapter.
#[derive(Debug)]
pub struct Call<'a> {
    /// Method.
    pub method: Method,
    /// Address, with query.
    pub url: url::Url,
    /// Headers beside `content-type`.
    pub headers: Vec<(&'a str, String)>,
    /// The body.
    pub body: Body,
    /// What must not appear in the trace: credentials, and what people may not read there.
    pub redact: Vec<&'a str>,
}

/// What is sent.
pub enum Body {
    /// Nothing.
    None,
    /// JSON.
    Json(Vec<u8>),
    /// Fields of a form, `application/x-www-form-urlencoded`.
    Form(Vec<(&'static str, String)>),
    /// Anything else.
    Other {
        /// MIME type.
        mime_type: String,
        /// As it is sent.
        bytes: Vec<u8>,
    },
    /// As it comes, in a call that may take longer than others.
    Stream {
        /// MIME type.
        mime_type: String,
        /// How many bytes come, when it is known; else they go out in chunks of HTTP/1.1, or frames of HTTP/2.
        length: Option<u64>,
        /// As they are sent.
        bytes: FileBytes,
        /// How long the call may take.
        limit: Duration,
    },
}

impl Body {
    /// The request with its body, and what that needs.
    fn put_on(self, request: RequestBuilder) -> RequestBuilder {
        let typed = |request: RequestBuilder, mime_type: &str| request.header("content-type", mime_type);
        match self {
            Body::None => request,
            Body::Json(bytes) => typed(request, "application/json").body(bytes),
            Body::Form(fields) => {
                let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
                typed(request, "application/x-www-form-urlencoded").body(form)
            }
            Body::Other { mime_type, bytes } => typed(request, &mime_type).body(bytes),
            Body::Stream { mime_type, length, bytes, limit } => {
                let request = typed(request, &mime_type).body(reqwest::Body::wrap_stream(bytes)).timeout(limit);
                match length {
                    Some(length) => request.header("content-length", length),
                    None => request,
                }
            }
        }
    }
}

impl fmt::Debug for Body {
    /// What it is, and nothing of what it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Body::None => "None",
            Body::Json(_) => "Json",
            Body::Form(_) => "Form",
            Body::Other { .. } => "Other",
            Body::Stream { .. } => "Stream",
        })
    }
}

/// What came of a call.
#[derive(Debug)]
pub struct Called {
    /// The answer, or how far the call got.
    pub result: Result<HttpAnswer, CallError>,
    /// For the attempt's record.
    pub exchange: Arc<Exchange>,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// HTTP status.
    pub status: StatusCode,
    /// `Retry-After` in seconds, when there is one; an hour at most.
    pub retry_after: Option<Duration>,
    /// Headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// How far a call got that has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// No byte of the request was written: refused, no such host, TLS failed (O1).
    NotWritten(String),
    /// Written, and the answer is missing, broken or too large.
    NoAnswer(String),
}

impl HttpClient {
    /// A client whose calls end after `call_limit`.
    ///
    /// # Errors
    /// When the TLS parts of this build do not fit together.
    pub fn new(call_limit: Duration) -> reqwest::Result<Self> {
        // A second install is refused; then the one that is there serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(call_limit)
            .pool_idle_timeout(IDLE_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .user_agent(concat!("recado/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, call_limit })
    }

    /// How long a call may take.
    pub fn call_limit(&self) -> Duration {
        self.call_limit
    }

    /// Makes one request, and only one.
    pub async fn call(&self, call: Call<'_>) -> Called {
        let started = Instant::now();
        let (method, path) = (call.method.to_string(), call.url.path().to_owned());
        let mut request = self.client.request(call.method, call.url);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let result = Self::answer(call.body.put_on(request)).await;
        let (http_status, answer) = match &result {
            Ok(answer) => (Some(answer.status.as_u16()), String::from_utf8_lossy(&answer.body).into_owned()),
            Err(CallError::NotWritten(why) | CallError::NoAnswer(why)) => (None, why.clone()),
        };
        let exchange = Exchange {
            method,
            path: redact(path, &call.redact),
            http_status,
            answer: cut(redact(answer, &call.redact)),
            elapsed_ms: started.elapsed().as_millis() as i64,
        };
        Called { result, exchange: Arc::new(exchange) }
    }

    async fn answer(request: RequestBuilder) -> Result<HttpAnswer, CallError> {
        let mut response = request.send().await.map_err(|error| {
            let why = explain(error.without_url());
            match why {
                (true, why) => CallError::NotWritten(why),
                (false, why) => CallError::NoAnswer(why),
            }
        })?;
        let status = response.status();
        let headers = response.headers().clone();
        let retry_after = headers.get("retry-after").and_then(|v| v.to_str().ok()).and_then(retry_after);
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_CAP => {
                    return Err(CallError::NoAnswer(format!("the answer has more than {ANSWER_CAP} bytes")));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => {
                    return Ok(HttpAnswer { status, retry_after, headers, body: body.freeze() });
                }
                Err(error) => return Err(CallError::NoAnswer(explain(error.without_url()).1)),
            }
        }
    }
}

/// Whether the request certainly was not written, and the whole chain of causes in one line.
fn explain(error: reqwest::Error) -> (bool, String) {
    let not_written = error.is_connect() || error.is_builder();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    (not_written, text)
}

/// Seconds only: a date needs two clocks that agree, and no provider of ours documents one.
fn retry_after(value: &str) -> Option<Duration> {
    value.trim().parse::<u64>().ok().map(|seconds| Duration::from_secs(seconds.min(3_600)))
}

/// Takes secrets out of a text that others may read: a trace, or a provider's own words that an error repeats.
pub fn redact(mut text: String, secrets: &[&str]) -> String {
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(*secret, "[redacted]");
    }
    text
}

fn cut(mut text: String) -> String {
    if text.len() > TRACE_CAP {
        let end = (0..=TRACE_CAP).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
