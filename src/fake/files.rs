//! Files that an incoming message may point to, with all that goes wrong while they are fetched. A provider keeps its files
//! somewhere; so does the fake, beside the providers' paths.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{StreamExt as _, stream};
use serde::Deserialize;

use super::Fake;

/// Bytes of one part of a file that is served in parts.
const PART: usize = 16 << 10;

pub(super) fn router() -> Router<Arc<Fake>> {
    Router::new()
        .route("/{bytes}", get(whole))
        .route("/slow/{bytes}", get(slow))
        .route("/untyped/{bytes}", get(untyped))
        .route("/stuck/{bytes}", get(stuck))
        .route("/endless", get(endless))
        .route("/late/{bytes}", get(late))
        .route("/guarded/{bytes}", get(guarded))
        .route("/redirect", get(redirect))
}

/// How often each file was asked for, by what stands behind `/files/`.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<HashMap<String, u64>>);

impl Asked {
    /// Counts one more; gives how many it is.
    fn once_more(&self, address: &str) -> u64 {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asked.entry(address.to_owned()).or_default();
        *count += 1;
        *count
    }

    pub fn times(&self, address: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(address).copied().unwrap_or_default()
    }
}

/// The bytes of the fake's file of that size: counted up from 0 to 250, over and over.
pub fn file(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i % 251) as u8).collect()
}

fn served(bytes: usize) -> Response {
    ([(header::CONTENT_TYPE, "image/jpeg")], file(bytes)).into_response()
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, "no such file\n").into_response()
}

async fn whole(State(fake): State<Arc<Fake>>, uri: Uri, Path(bytes): Path<usize>) -> Response {
    fake.files.once_more(&uri.to_string());
    served(bytes)
}

/// In parts, with pauses between, and without saying how many.
async fn slow(
    State(fake): State<Arc<Fake>>,
    uri: Uri,
    Path(bytes): Path<usize>,
    Query(Pause { ms }): Query<Pause>,
) -> Response {
    fake.files.once_more(&uri.to_string());
    let parts: Vec<Bytes> = file(bytes).chunks(PART).map(Bytes::copy_from_slice).collect();
    let parts = stream::iter(parts).then(move |part| async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok::<_, Infallible>(part)
    });
    ([(header::CONTENT_TYPE, "video/mp4")], Body::from_stream(parts)).into_response()
}

#[derive(Deserialize)]
struct Pause {
    #[serde(default)]
    ms: u64,
}

/// Without a word about what it is.
async fn untyped(State(fake): State<Arc<Fake>>, uri: Uri, Path(bytes): Path<usize>) -> Response {
    fake.files.once_more(&uri.to_string());
    Body::from(file(bytes)).into_response()
}

/// Begun and never ended, so many times; then in full.
async fn stuck(
    State(fake): State<Arc<Fake>>,
    uri: Uri,
    Path(bytes): Path<usize>,
    Query(Stuck { times }): Query<Stuck>,
) -> Response {
    if fake.files.once_more(&uri.to_string()) > times {
        return served(bytes);
    }
    let begun = stream::iter([Ok::<_, Infallible>(Bytes::from_static(&[0]))]).chain(stream::pending());
    Body::from_stream(begun).into_response()
}

#[derive(Deserialize)]
struct Stuck {
    times: u64,
}

/// Without an end, and without a word about it.
async fn endless(State(fake): State<Arc<Fake>>, uri: Uri) -> Response {
    fake.files.once_more(&uri.to_string());
    let part = Bytes::from(file(PART));
    Body::from_stream(stream::repeat_with(move || Ok::<_, Infallible>(part.clone()))).into_response()
}

/// Not there when it is first asked for.
async fn late(
    State(fake): State<Arc<Fake>>,
    uri: Uri,
    Path(bytes): Path<usize>,
    Query(Tries { missing: times }): Query<Tries>,
) -> Response {
    match fake.files.once_more(&uri.to_string()) > times {
        true => served(bytes),
        false => missing(),
    }
}

#[derive(Deserialize)]
struct Tries {
    missing: u64,
}

/// For holders of any `authorization` only.
async fn guarded(State(fake): State<Arc<Fake>>, uri: Uri, Path(bytes): Path<usize>, headers: HeaderMap) -> Response {
    fake.files.once_more(&uri.to_string());
    match headers.contains_key(header::AUTHORIZATION) {
        true => served(bytes),
        false => StatusCode::UNAUTHORIZED.into_response(),
    }
}

/// Somewhere else.
async fn redirect(State(fake): State<Arc<Fake>>, uri: Uri, Query(Elsewhere { to }): Query<Elsewhere>) -> Response {
    fake.files.once_more(&uri.to_string());
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

#[derive(Deserialize)]
struct Elsewhere {
    to: String,
}
