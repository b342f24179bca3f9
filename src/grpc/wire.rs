//! What tonic refuses before a method sees it: bytes that are no message, none at all, messages that are too large or
//! compressed. It answers these itself, without details and with INTERNAL for the first; this layer says it in the
//! contract's words.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::{Layer, Service};

use super::status::DOMAIN;
use crate::error::Error;

/// Bytes of a request, at most: gRPC's usual 4 MiB.
pub const MAX_REQUEST: usize = 4 << 20;

/// What tonic says of requests that are no message.
const MALFORMED: [&str; 4] = [
    "failed to decode Protobuf message",
    "Missing request message",
    "Unexpected EOF decoding stream",
    // A flag of compression that is none, or without the name of one.
    "protocol error: received message with",
];
/// How tonic says which compressions it reads, in answer to another one and in no other.
const READS: &str = "grpc-accept-encoding";

/// Puts [`Wire`] around a service.
#[derive(Debug, Clone, Copy, Default)]
pub struct WireLayer;

impl<S> Layer<S> for WireLayer {
    type Service = Wire<S>;

    fn layer(&self, inner: S) -> Wire<S> {
        Wire { inner }
    }
}

/// Rewrites tonic's own refusals, counts and logs requests.
#[derive(Debug, Clone)]
pub struct Wire<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Wire<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let waiting = self.inner.clone();
        // The clone that was polled ready is the one that is called.
        let mut ready = std::mem::replace(&mut self.inner, waiting);
        let path = request.uri().path().to_owned();
        let started = std::time::Instant::now();
        Box::pin(async move {
            let mut response = ready.call(request).await?;
            if let Some(status) = Status::from_header_map(response.headers())
                && let Some(better) = in_our_words(&status)
            {
                response = better.into_http();
            }
            log(&path, &response, started.elapsed());
            Ok(response)
        })
    }
}

/// A better status for one that tonic made; `None` for all others.
fn in_our_words(status: &Status) -> Option<Status> {
    if !status.details().is_empty() {
        return None;
    }
    match status.code() {
        Code::Internal if MALFORMED.iter().any(|words| status.message().starts_with(words)) => {
            Some(Error::Malformed(status.message().to_owned()).into())
        }
        Code::OutOfRange if status.message().contains("message length too large") => {
            let mut details = ErrorDetails::new();
            details.set_error_info("REQUEST_TOO_LARGE", DOMAIN, HashMap::new());
            let message = format!("the request is larger than {MAX_REQUEST} bytes; split it");
            Some(Status::with_error_details(Code::OutOfRange, message, details))
        }
        Code::Unimplemented => {
            let mut details = ErrorDetails::new();
            details.set_error_info("NOT_IMPLEMENTED", DOMAIN, HashMap::new());
            let (mut told, mut message) = (MetadataMap::new(), "no such method in this version");
            if let Some(reads) = status.metadata().get(READS) {
                told.insert(READS, reads.clone());
                message = "compressed requests are not read; send them as they are (grpc-encoding: identity)";
            }
            Some(Status::with_error_details_and_metadata(Code::Unimplemented, message, details, told))
        }
        _ => None,
    }
}

/// One line a request. A stream's line is written when it opens; its end has one of its own.
fn log<R>(path: &str, response: &Response<R>, elapsed: std::time::Duration) {
    let code = match Status::from_header_map(response.headers()) {
        Some(status) => status.code(),
        None => Code::Ok,
    };
    let method = path.rsplit('/').next().unwrap_or_default();
    let message_id = response.extensions().get::<crate::domain::MessageId>();
    let elapsed_us = elapsed.as_micros() as u64;
    // Only methods that there are: a label per made-up path would fill the memory.
    if code != Code::Unimplemented {
        let labels = [("method", method.to_owned()), ("code", format!("{code:?}"))];
        metrics::counter!("recado_requests_total", &labels).increment(1);
        metrics::histogram!("recado_request_seconds").record(elapsed);
    }
    match message_id {
        Some(id) => tracing::info!(method, code = ?code, message.id = %id, elapsed_us, "a request was answered"),
        None => tracing::info!(method, code = ?code, elapsed_us, "a request was answered"),
    }
}
