//! What Meta's wire and that of those who pass it on have in common: bodies that are judged, answers, errors, and webhooks.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::files;
use crate::domain::{Millis, now_ms};
use crate::fake::Fake;
use crate::fake::after::Taken;
use crate::fake::post::{Post, Whole};
use crate::fake::script::Step;
use crate::fake::wire::{Answer, Handed};

/// The number that webhooks are about when nobody says another.
pub(in crate::fake) const NUMBER: u64 = 106_540_352_242_922;

/// An error, by its code.
#[derive(Debug, Clone)]
pub(in crate::fake) struct Refusal {
    pub code: u32,
    pub subcode: Option<u32>,
    pub details: String,
}

impl Refusal {
    pub fn new(code: u32, details: impl Into<String>) -> Self {
        Self { code, subcode: None, details: details.into() }
    }

    /// An object that is not there, or not for this key.
    pub fn unknown_object(id: &str) -> Self {
        let details = format!("Object with ID '{id}' does not exist, cannot be loaded due to missing permissions");
        Self { subcode: Some(33), ..Self::new(100, details) }
    }

    /// The script's: `key` is the code; one that is no number becomes 131000.
    pub fn scripted(key: &str, reference: &str) -> Self {
        Self::new(key.parse().unwrap_or(131_000), reference)
    }

    fn status(&self) -> StatusCode {
        match self.code {
            0 | 190 => StatusCode::UNAUTHORIZED,
            10 | 200..=299 | 368 | 130_497 | 131_005 | 131_031 => StatusCode::FORBIDDEN,
            132_001 => StatusCode::NOT_FOUND,
            3 | 131_000 | 131_016 | 131_045 | 131_057 | 133_000 => StatusCode::INTERNAL_SERVER_ERROR,
            2 | 133_004 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    pub fn answer(&self) -> Answer {
        self.answer_with(self.status())
    }

    pub fn answer_with(&self, status: StatusCode) -> Answer {
        let mut error = json!({
            "message": format!("(#{}) The request was refused", self.code),
            "type": "OAuthException",
            "code": self.code,
            "error_data": { "messaging_product": "whatsapp", "details": self.details },
            "fbtrace_id": "AfakeTRACE",
        });
        if let Some(subcode) = self.subcode {
            error["error_subcode"] = subcode.into();
        }
        Answer::json(status, &json!({ "error": error }))
    }
}

/// The answer to the one message of a request.
pub(in crate::fake) fn answer(outcomes: Vec<Result<&Taken, Refusal>>) -> Answer {
    match outcomes.into_iter().next() {
        Some(Ok(taken)) => {
            let answer = json!({
                "messaging_product": "whatsapp",
                "contacts": [{ "input": taken.to, "wa_id": wa_id(&taken.to) }],
                "messages": [{ "id": taken.provider_id, "message_status": "accepted" }],
            });
            Answer::json(StatusCode::OK, &answer)
        }
        Some(Err(refusal)) => refusal.answer(),
        None => Refusal::new(131_008, "no message").answer(),
    }
}

/// Too soon: 429, or by the code alone.
pub(in crate::fake) fn throttled(body_only: bool) -> Answer {
    let status = if body_only { StatusCode::BAD_REQUEST } else { StatusCode::TOO_MANY_REQUESTS };
    Refusal::new(130_429, "Cloud API message throughput has been reached.").answer_with(status)
}

/// An id of Meta's form.
pub(in crate::fake) fn provider_id(id: u64) -> String {
    format!("wamid.HBgN{id:X}AA==")
}

/// Brazilian mobiles of old lose their ninth digit at WhatsApp: whoever compares numbers is found out.
pub(in crate::fake) fn wa_id(to: &str) -> String {
    match to.strip_prefix("55").and_then(|rest| rest.split_at_checked(2)) {
        Some((area, number)) if number.len() == 9 && number.starts_with('9') => format!("55{area}{}", &number[1..]),
        _ => to.to_owned(),
    }
}

/// A message of a request, and what Meta would find wrong with it at once.
pub(in crate::fake) fn handed(fake: &Fake, provider: &str, body: &[u8]) -> Result<Handed<Refusal>, Refusal> {
    let body = serde_json::from_slice::<Map<String, Value>>(body);
    let body = body.map_err(|_| Refusal::new(100, "The body is not JSON of the right form"))?;
    let said = |member: &str| body.get(member).and_then(Value::as_str).unwrap_or_default();
    Ok(Handed {
        to: said("to").trim_start_matches('+').to_owned(),
        message_id: said("biz_opaque_callback_data").to_owned(),
        text: told(&body),
        webhook_url: None,
        refusal: judged(&body).and_then(|()| files::are_known(fake, provider, &body)).err(),
    })
}

/// The text of a message, or the word of its type.
fn told(body: &Map<String, Value>) -> String {
    let kind = body.get("type").and_then(Value::as_str).unwrap_or_default();
    let part = body.get(kind).unwrap_or(&Value::Null);
    let texts = [&part["body"], &part["caption"], &part["body"]["text"], &part["name"], &part["link"]];
    texts.into_iter().find_map(Value::as_str).unwrap_or(kind).to_owned()
}

fn judged(body: &Map<String, Value>) -> Result<(), Refusal> {
    let said = |member: &str| body.get(member).and_then(Value::as_str).unwrap_or_default();
    if said("messaging_product") != "whatsapp" {
        return Err(Refusal::new(100, "messaging_product must be whatsapp"));
    }
    let to = said("to").trim_start_matches('+');
    if to.is_empty() || !to.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refusal::new(131_009, "to is no number"));
    }
    let kind = said("type");
    let Some(part) = body.get(kind).filter(|_| !kind.is_empty()) else {
        return Err(Refusal::new(131_008, format!("the member {kind} is missing")));
    };
    let length = |text: &Value| text.as_str().unwrap_or_default().chars().count();
    match kind {
        "text" if !(1..=4_096).contains(&length(&part["body"])) => Err(Refusal::new(131_009, "text.body: 1 to 4096")),
        "image" | "audio" | "video" | "document" | "sticker" => {
            match (part.get("link").is_some(), part.get("id").is_some()) {
                (true, false) | (false, true) => Ok(()),
                _ => Err(Refusal::new(131_008, "exactly one of link and id")),
            }
        }
        "interactive" if !(1..=1_024).contains(&length(&part["body"]["text"])) => {
            Err(Refusal::new(131_009, "interactive.body.text: 1 to 1024"))
        }
        "template" => super::templates::judged(part),
        "text" | "location" | "contacts" | "reaction" | "interactive" => Ok(()),
        other => Err(Refusal::new(131_051, format!("{other} is no type"))),
    }
}

/// A status as it is posted.
pub(in crate::fake) fn status(message: &Taken, number: u64, step: &Step, at_ms: Millis) -> Value {
    // Scripts may keep the words that all fakes know.
    let word = step.status.to_ascii_lowercase();
    let mut status = json!({
        "id": message.provider_id,
        "status": word,
        "timestamp": (at_ms / 1_000).to_string(),
        "recipient_id": wa_id(&message.to),
    });
    if !message.message_id.is_empty() {
        status["biz_opaque_callback_data"] = message.message_id.as_str().into();
    }
    if matches!(word.as_str(), "sent" | "delivered") {
        status["pricing"] =
            json!({ "billable": true, "pricing_model": "PMP", "category": "utility", "type": "regular" });
    }
    if step.error_code != 0 {
        status["errors"] = json!([{
            "code": step.error_code, "title": "Message undeliverable", "message": "Message undeliverable",
            "error_data": { "details": "The recipient cannot receive this message." },
        }]);
    }
    envelope(number, json!({ "statuses": [status] }))
}

/// An incoming message as it is posted: `from`, and what Meta would put into `messages`. A payload that is an envelope
/// already is posted as it is; `phone_number_id` and `profile_name` go where they belong.
pub(in crate::fake) fn incoming(fake: &Fake, mut payload: Map<String, Value>) -> Value {
    if payload.contains_key("entry") {
        return payload.into();
    }
    let number = payload.remove("phone_number_id");
    let number = number.as_ref().and_then(|id| id.as_str().map_or(id.as_u64(), |id| id.parse().ok())).unwrap_or(NUMBER);
    let name = payload.remove("profile_name").unwrap_or_else(|| "Marina".into());
    payload.entry("id").or_insert_with(|| provider_id(fake.next_id()).into());
    payload.entry("timestamp").or_insert_with(|| (now_ms() / 1_000).to_string().into());
    let mut value = json!({});
    if let Some(from) = payload.get("from") {
        value["contacts"] = json!([{ "profile": { "name": name }, "wa_id": from }]);
    }
    value["messages"] = json!([payload]);
    envelope(number, value)
}

fn envelope(number: u64, mut value: Value) -> Value {
    value["messaging_product"] = "whatsapp".into();
    value["metadata"] = json!({ "display_phone_number": "551140001000", "phone_number_id": number.to_string() });
    let change = json!({ "field": "messages", "value": value });
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "102290129340398", "changes": [change] }] })
}

/// A body as Meta writes it, with what is not ASCII escaped, and slashes too; with the headers that prove it.
pub(in crate::fake) fn post(body: &Value, headers: impl FnOnce(&str) -> Vec<(&'static str, String)>) -> Post {
    let body = escaped(&body.to_string());
    Post::Alone(Whole { mime_type: "application/json", headers: headers(&body), body })
}

fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '/' => escaped.push_str("\\/"),
            plain if plain.is_ascii() => escaped.push(plain),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_bodies_are_escaped_and_mean_the_same() {
        let body = json!({ "text": "É já? 🚚 a/b \"x\"" });
        let written = escaped(&body.to_string());
        assert!(written.is_ascii() && written.contains("\\ud83d\\ude9a") && written.contains("a\\/b"), "{written}");
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), body);
    }

    #[test]
    fn i16_brazilian_mobiles_lose_their_ninth_digit() {
        for (to, wa_id) in [
            ("5511987654321", "551187654321"),
            ("551140001000", "551140001000"),
            ("351910000001", "351910000001"),
            ("55", "55"),
        ] {
            assert_eq!(super::wa_id(to), wa_id);
        }
    }
}
