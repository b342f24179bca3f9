//! Whom the fake knows, and what it answers to questions. A contact and the conversation with it both have the person's
//! number as their id.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::{INBOX, message, new, spelt, unauthorised};
use crate::domain::{Millis, now_ms};
use crate::fake::script::{Action, Script, Step};
use crate::fake::wire::Answer;
use crate::fake::{Fake, Row};

/// Messages of a list without `after`, the newest.
const PAGE: usize = 20;

/// How a person stands, by the end of the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Person {
    /// `…0404`: no contact.
    Unknown,
    /// `…0403`: the window is closed.
    Silent,
    /// `…0402`: the conversation is resolved.
    Resolved,
    /// Everybody else: the conversation is open.
    Talking,
}

pub(super) fn person(digits: &str) -> Person {
    match digits.get(digits.len().saturating_sub(4)..) {
        _ if !is_number(digits) => Person::Unknown,
        Some("0404") => Person::Unknown,
        Some("0403") => Person::Silent,
        Some("0402") => Person::Resolved,
        _ => Person::Talking,
    }
}

pub(super) fn is_number(text: &str) -> bool {
    (5..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

pub(super) fn number(digits: &str) -> u64 {
    digits.parse().unwrap_or_default()
}

pub(super) fn conversation(to: &str, at_ms: Millis, messages: Vec<Value>) -> Value {
    let person = person(to);
    json!({
        "id": number(to), "account_id": 42, "inbox_id": INBOX, "channel": "Channel::Whatsapp",
        "status": if person == Person::Resolved { "resolved" } else { "open" },
        "can_reply": person != Person::Silent, "created_at": at_ms / 1_000, "last_activity_at": at_ms / 1_000,
        "contact_inbox": { "contact_id": number(to), "inbox_id": INBOX, "source_id": to },
        "meta": { "sender": { "id": number(to), "phone_number": format!("+{to}"), "type": "contact" } },
        "messages": messages,
    })
}

pub(super) async fn search(
    State(fake): State<Arc<Fake>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = unauthorised(&fake, &headers) {
        return refused.alone();
    }
    let Some(q) = query.get("q").filter(|q| !q.trim().is_empty()) else {
        let error = json!({ "error": "Specify search string with parameter q" });
        return Answer::json(StatusCode::UNPROCESSABLE_ENTITY, &error).alone();
    };
    let digits = q.trim_start_matches('+');
    let known: Vec<Value> = (person(digits) != Person::Unknown)
        .then(|| json!({ "id": number(digits), "name": "Marina", "phone_number": format!("+{digits}") }))
        .into_iter()
        .collect();
    let meta = json!({ "count": known.len(), "current_page": 1 });
    Answer::json(StatusCode::OK, &json!({ "meta": meta, "payload": known })).alone()
}

pub(super) async fn conversations(
    State(fake): State<Arc<Fake>>,
    Path((_, contact)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = unauthorised(&fake, &headers) {
        return refused.alone();
    }
    let all = vec![conversation(&contact, now_ms(), Vec::new())];
    Answer::json(StatusCode::OK, &json!({ "payload": all })).alone()
}

pub(super) async fn messages(
    State(fake): State<Arc<Fake>>,
    Path((_, conversation)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = unauthorised(&fake, &headers) {
        return refused.alone();
    }
    let after: Option<u64> = query.get("after").and_then(|after| after.parse().ok());
    let play = fake.play();
    let rows = fake.ledger().rows();
    let rows: Vec<(u64, &Row)> = rows
        .iter()
        .filter(|row| row.to == conversation)
        .flat_map(|row| row.provider_message_ids.iter().filter_map(move |id| Some((id.parse().ok()?, row))))
        .filter(|(id, _)| after.is_none_or(|after| *id > after))
        .collect();
    let skipped = if after.is_some() { 0 } else { rows.len().saturating_sub(PAGE) };
    let listed = rows[skipped..].iter().map(|(id, row)| {
        let stands = stands(&play.script, &row.to, now_ms() - row.at_ms);
        message(&(*id).into(), &row.to, &row.text, row.at_ms, &stands)
    });
    let listed: Vec<Value> = listed.collect();
    Answer::json(StatusCode::OK, &json!({ "meta": {}, "payload": listed })).alone()
}

/// Where a message stands so long after it was taken.
fn stands(script: &Script, to: &str, age_ms: Millis) -> Step {
    let fails = script.faults.iter().find_map(|fault| match fault.action {
        Action::LateFailure { error_code } if fault.to.as_deref() == Some(to) => {
            Some(Step { status: "failed".into(), after_ms: 0, error_code })
        }
        _ => None,
    });
    let reached = script.statuses.iter().filter(|step| i64::try_from(step.after_ms).is_ok_and(|after| after <= age_ms));
    fails.or_else(|| reached.max_by_key(|step| step.after_ms).map(spelt)).unwrap_or_else(new)
}

pub(super) async fn inbox(
    State(fake): State<Arc<Fake>>,
    Path((_, inbox)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = unauthorised(&fake, &headers) {
        return refused.alone();
    }
    match inbox == INBOX.to_string() {
        true => {
            let inbox = json!({ "id": INBOX, "name": "WhatsApp", "channel_type": "Channel::Whatsapp", "provider": "whatsapp_cloud" });
            Answer::json(StatusCode::OK, &inbox).alone()
        }
        false => Answer::json(StatusCode::NOT_FOUND, &json!({ "error": "Resource could not be found" })).alone(),
    }
}
