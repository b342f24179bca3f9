//! What a callback says: one event as JSON, in the shape of docs/callback.schema.json. Pure, and the same bytes each time.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::domain::callback::DueCallback;
use crate::domain::event::{Event, IncomingMessage, StatusChanged};
use crate::domain::{IncomingContent, MessageStatus, Millis, Payload};

/// The body of a callback about this event; nothing when it is gone, or of a kind that is not posted.
pub fn body(callback: &DueCallback, provider: &str) -> Option<Vec<u8>> {
    let event = callback.event.as_ref()?;
    let (kind, data) = match &event.payload {
        Payload::StatusChanged(status) => {
            ("message.status", status_data(event, status, callback.to.previous, provider))
        }
        Payload::IncomingMessage(incoming) => ("message.incoming", incoming_data(event, incoming, provider)),
        Payload::TemplateChanged(_) | Payload::SenderChanged(_) | Payload::ContactChanged(_) => return None,
    };
    // What is empty is left out; the schema names what is always there.
    let body = json!({ "type": kind, "timestamp": time(event.record_at_ms), "data": data });
    serde_json::to_vec(&body).ok()
}

fn status_data(event: &Event, status: &StatusChanged, previous: Option<MessageStatus>, provider: &str) -> Value {
    let word = |status: MessageStatus| Value::from(status.as_str());
    let mut data = common(event, provider);
    let occur_at_ms = event.occur_at_ms.unwrap_or(event.receive_at_ms);
    // What another sender takes over is not lost, and no error to whoever reads the number only.
    let lost = status.error.as_ref().filter(|_| status.next_sender.is_none());
    let code = lost.map_or("0", |error| error.provider_code.as_str());
    let client = status.client_info.clone().unwrap_or_default();
    let mut put = |name: &str, value: Value| put(&mut data, name, value);
    put("message_id", json!(status.message_id));
    put("to", json!(status.to));
    put("status", status.status.map_or(Value::Null, word));
    put("current_status", word(status.current_status));
    put("previous_status", previous.map_or(Value::Null, word));
    put("late", flag(status.late));
    put("duplicate", flag(status.duplicate));
    put("contradicts_final", flag(status.contradicts_final));
    put("attempt", if status.attempt > 0 { json!(status.attempt) } else { Value::Null });
    put("provider_message_id", json!(status.provider_message_id));
    put("provider_status", json!(status.provider_status));
    put("via_sender", json!(status.via_sender));
    put("next_sender", json!(status.next_sender));
    put("error", json!(status.error));
    put("callback_data", json!(status.callback_data));
    put("labels", json!(status.labels));
    put("pricing", json!(status.pricing));
    // Devino's names, so that whoever read its callbacks finds them here.
    put("messageId", json!(status.message_id));
    put("ts", json!(occur_at_ms));
    put("errorCode", code.parse::<i64>().map_or(Value::Null, Value::from));
    put("ip", json!(client.ip));
    put("browser", json!(client.browser));
    put("os", json!(client.os));
    put("userAgent", json!(client.user_agent));
    put("options", json!(status.callback_data));
    Value::Object(data)
}

fn incoming_data(event: &Event, incoming: &IncomingMessage, provider: &str) -> Value {
    let mut data = common(event, provider);
    let mut put = |name: &str, value: Value| put(&mut data, name, value);
    put("message_id", json!(incoming.message_id));
    put("provider_message_id", json!(incoming.provider_message_id));
    put("from", json!(incoming.contact));
    put("profile_name", json!(incoming.profile_name));
    put("content", content(incoming));
    put("reply_to", json!(incoming.reply_to));
    put("referral", json!(incoming.referral));
    put("window_expire_time", json!(incoming.window_expire_at_ms.map(time)));
    put("forwarded", flag(incoming.forwarded));
    put("frequently_forwarded", flag(incoming.frequently_forwarded));
    put("backfilled", flag(incoming.backfilled));
    Value::Object(data)
}

/// What every callback has.
fn common(event: &Event, provider: &str) -> Map<String, Value> {
    let mut data = Map::new();
    put(&mut data, "event_id", json!(event.id));
    put(&mut data, "sender", json!(event.sender));
    put(&mut data, "provider", json!(provider));
    put(&mut data, "sequence", json!(event.position));
    put(&mut data, "occur_time", json!(time(event.occur_at_ms.unwrap_or(event.receive_at_ms))));
    put(&mut data, "receive_time", json!(time(event.receive_at_ms)));
    data
}

/// The content under its kind's name. Where the provider keeps a file is not told: its addresses may hold tokens.
fn content(incoming: &IncomingMessage) -> Value {
    match &incoming.content {
        IncomingContent::Media(file) => json!({ "media": {
            "kind": file.kind,
            "media_id": incoming.media_id,
            "mime_type": file.mime_type,
            "file_name": file.file_name,
            "caption": file.caption,
        }}),
        other => json!(other),
    }
}

/// Leaves out what says nothing.
fn put(data: &mut Map<String, Value>, name: &str, value: Value) {
    let says = match &value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => true,
    };
    if says {
        data.insert(name.to_owned(), value);
    }
}

fn flag(set: bool) -> Value {
    if set { Value::Bool(true) } else { Value::Null }
}

/// RFC 3339 in UTC, to the millisecond. Times before 1970 are none.
fn time(millis: Millis) -> String {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}
