//! Files: those that people sent, looked up by id and fetched from an address that wants the same key; and those that a
//! sender hands over, which are kept as they came.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use ring::digest;
use serde_json::{Map, Value, json};

use super::cloud::Refusal;
use crate::fake::Fake;
use crate::fake::uploads::{Kept, Part, parts};
use crate::fake::wire::{Answer, Wire, play};

/// Bytes of a form, at most: those of the largest file, and of what is around it.
const FORM_MAX: usize = (100 << 20) + 4_096;
/// What may be handed over. The list, and the words that refuse all else, are of
/// github.com/fbsamples/whatsapp-api-examples/issues/10.
const TYPES: &[&str] = &[
    "audio/aac",
    "audio/mp4",
    "audio/mpeg",
    "audio/amr",
    "audio/ogg",
    "audio/opus",
    "application/vnd.ms-powerpoint",
    "application/msword",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/pdf",
    "text/plain",
    "application/vnd.ms-excel",
    "image/jpeg",
    "image/png",
    "image/webp",
    "video/mp4",
    "video/3gpp",
];

/// A file that a person sent: what it holds is made of its id.
fn of_a_person(id: &str) -> Option<(String, Vec<u8>)> {
    let is_there = !id.is_empty() && !id.starts_with("gone");
    is_there.then(|| ("image/jpeg".to_owned(), format!("the file {id}\n").into_bytes()))
}

/// The type and the bytes of a file: one that was handed over, else one that a person sent.
fn file(fake: &Fake, provider: &str, id: &str) -> Option<(String, Vec<u8>)> {
    match fake.uploads.find(provider, id) {
        Some(kept) => Some((kept.mime_type, kept.bytes.to_vec())),
        None => of_a_person(id),
    }
}

/// The answer to a look-up; `url` is where the file lies.
pub(in crate::fake) fn looked_up(fake: &Fake, provider: &str, id: &str, url: String) -> Result<Value, Refusal> {
    let (mime_type, bytes) = file(fake, provider, id).ok_or_else(|| Refusal::unknown_object(id))?;
    Ok(json!({
        "messaging_product": "whatsapp",
        "url": url,
        "mime_type": mime_type,
        "sha256": hex::encode(digest::digest(&digest::SHA256, &bytes)),
        "file_size": bytes.len(),
        "id": id,
    }))
}

/// The file itself.
pub(in crate::fake) fn fetched(fake: &Fake, provider: &str, id: &str) -> Response {
    match file(fake, provider, id) {
        Some((mime_type, bytes)) => ([(header::CONTENT_TYPE, mime_type)], bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Takes a form with a file, and keeps the file.
pub(in crate::fake) async fn keep<W: Wire>(wire: W, fake: &Fake, headers: &HeaderMap, body: Body) -> Response {
    let said = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (content_type, announced) = (said(header::CONTENT_TYPE), headers.contains_key(header::CONTENT_LENGTH));
    fake.uploads.begun();
    let body = match to_bytes(body, FORM_MAX).await {
        Ok(body) => body,
        Err(error) if error.to_string().contains("length limit") => return too_large().alone(),
        Err(_) => {
            fake.uploads.broke_off();
            return StatusCode::BAD_REQUEST.into_response();
        }
    };
    let kept = || -> Result<Answer, Answer> {
        let form = parts(&content_type, &body).ok_or_else(|| Refusal::new(100, "The body is no form").answer())?;
        let (mime_type, file) = judged(form)?;
        let media_id = format!("{}", fake.next_id());
        let file_name = file.file_name.unwrap_or_default();
        let (bytes, provider) = (file.bytes, W::NAME);
        fake.uploads.keep(Kept { media_id: media_id.clone(), provider, mime_type, file_name, announced, bytes });
        Ok(Answer::json(StatusCode::OK, &json!({ "id": media_id })))
    };
    play(wire, fake, || kept().unwrap_or_else(|refusal| refusal)).await
}

/// The file of a form, with its type.
fn judged(form: Vec<Part>) -> Result<(String, Part), Answer> {
    let (mut product, mut declared, mut file) = (String::new(), String::new(), None);
    for part in form {
        let text = || String::from_utf8_lossy(&part.bytes).into_owned();
        match part.name.as_str() {
            "messaging_product" => product = text(),
            "type" => declared = text(),
            "file" if part.file_name.is_some() => file = Some(part),
            _ => {}
        }
    }
    if product != "whatsapp" {
        return Err(Refusal::new(100, "The parameter messaging_product is required.").answer());
    }
    let file = file.ok_or_else(|| Refusal::new(100, "The parameter file is required.").answer())?;
    let mime_type = file.mime_type.clone();
    let essence = mime_type.split(';').next().unwrap_or_default().trim().to_owned();
    if !TYPES.contains(&essence.as_str()) || declared != mime_type {
        let details = format!(
            "Param file must be a file with one of the following types: {}. Received file of type '{mime_type}'.",
            TYPES.join(", ")
        );
        return Err(Refusal::new(100, details).answer());
    }
    let most = match essence.as_str() {
        "image/webp" => 500 << 10,
        image if image.starts_with("image/") => 5 << 20,
        sound if sound.starts_with("audio/") || sound.starts_with("video/") => 16 << 20,
        _ => 100 << 20,
    };
    match file.bytes.len() {
        0 => Err(Refusal::new(100, "The file is empty.").answer()),
        size if size > most => Err(too_large()),
        _ => Ok((mime_type, file)),
    }
}

/// [assumed] How it says so is not published.
fn too_large() -> Answer {
    Answer { status: StatusCode::PAYLOAD_TOO_LARGE, mime_type: "text/html", body: "<html>Too large</html>".into() }
}

/// Whether all files that a message names by id were handed over before. [assumed] The words; the code is that of any
/// parameter.
pub(super) fn are_known(fake: &Fake, provider: &str, message: &Map<String, Value>) -> Result<(), Refusal> {
    let kind = message.get("type").and_then(Value::as_str).unwrap_or_default();
    let part = message.get(kind).unwrap_or(&Value::Null);
    let components = part["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    let parameters = components.iter().filter_map(|component| component["parameters"].as_array()).flatten();
    let headers = parameters.chain(part.get("header"));
    let inside = headers.filter_map(|header| header.get(header["type"].as_str()?));
    let own = (kind != "template" && kind != "interactive").then_some(part);
    for id in own.into_iter().chain(inside).filter_map(|file| file["id"].as_str()) {
        if fake.uploads.find(provider, id).is_none() {
            let details = format!("{id} is not a valid whatsapp business account media attachment ID");
            return Err(Refusal::new(100, details));
        }
    }
    Ok(())
}
