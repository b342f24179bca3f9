//! Files that people sent: looked up by id, fetched from an address that wants the same key.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use ring::digest;
use serde_json::{Value, json};

use super::cloud::Refusal;

/// What a file holds.
fn bytes(id: &str) -> Vec<u8> {
    format!("the file {id}\n").into_bytes()
}

/// Whether there is such a file: all ids but those that begin with `gone`.
fn is_there(id: &str) -> bool {
    !id.is_empty() && !id.starts_with("gone")
}

/// The answer to a look-up; `url` is where the file lies.
pub(in crate::fake) fn looked_up(id: &str, url: String) -> Result<Value, Refusal> {
    if !is_there(id) {
        return Err(Refusal::unknown_object(id));
    }
    let bytes = bytes(id);
    Ok(json!({
        "messaging_product": "whatsapp",
        "url": url,
        "mime_type": "image/jpeg",
        "sha256": hex::encode(digest::digest(&digest::SHA256, &bytes)),
        "file_size": bytes.len(),
        "id": id,
    }))
}

/// The file itself.
pub(in crate::fake) fn fetched(id: &str) -> Response {
    match is_there(id) {
        true => ([(header::CONTENT_TYPE, "image/jpeg")], bytes(id)).into_response(),
        false => StatusCode::NOT_FOUND.into_response(),
    }
}
