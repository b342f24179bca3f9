//! What 360dialog itself says no with, where the no is not Meta's. Forms and HTTP statuses are from
//! docs.360dialog.com/docs/support/api-error-message-list, read in 2026-11; the right-hand sides are our reading.

use reqwest::StatusCode;
use serde_json::{Map, Value};

use crate::domain::{DeliveryError, ErrorReason};
use crate::provider::SendError;
use crate::provider::http::HttpAnswer;
use crate::provider::lenient::{flag, integer, list, object, text};

/// What words in a 400 of 360dialog's own tell: the status alone is used for all of these. The first row that fits counts.
const WORDS: &[(&str, ErrorReason, bool, Next)] = &[
    ("requests per second", ErrorReason::RateLimited, true, Next::Wait),
    ("rate limit", ErrorReason::RateLimited, true, Next::Wait),
    ("too many requests", ErrorReason::RateLimited, true, Next::Wait),
    ("payment", ErrorReason::Billing, true, Next::Refuse),
    ("disabled", ErrorReason::SenderBlocked, false, Next::Refuse),
];

/// Codes of the older form `{"errors":[{"code"}]}`, of WhatsApp's API on premises. [assumed], all of them.
const CODES: &[(i64, ErrorReason, bool, Next)] = &[
    (470, ErrorReason::OutsideWindow, false, Next::Refuse),
    (471, ErrorReason::Spam, true, Next::Refuse),
    (1001, ErrorReason::ContentTooLong, false, Next::Refuse),
    (1005, ErrorReason::SenderUnauthorized, false, Next::Refuse),
    (1006, ErrorReason::InvalidRequest, false, Next::Refuse),
    (1008, ErrorReason::InvalidRequest, false, Next::Refuse),
    (1009, ErrorReason::InvalidRequest, false, Next::Refuse),
    (1013, ErrorReason::NotOnWhatsapp, false, Next::Refuse),
    (1015, ErrorReason::RateLimited, true, Next::Wait),
    (1021, ErrorReason::InvalidRecipient, false, Next::Refuse),
    (1026, ErrorReason::RecipientUnreachable, false, Next::Refuse),
    (2000, ErrorReason::TemplateParameters, false, Next::Refuse),
    (2001, ErrorReason::TemplateNotFound, false, Next::Refuse),
    (2005, ErrorReason::ContentTooLong, false, Next::Refuse),
    (2012, ErrorReason::TemplateParameters, false, Next::Refuse),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It stays a no.
    Refuse,
    /// It passes by waiting.
    Wait,
}

/// What an answer without Meta's error object comes to.
pub(super) fn outcome(answer: &HttpAnswer) -> SendError {
    let body = serde_json::from_slice::<Map<String, Value>>(&answer.body).unwrap_or_default();
    if let Some(error) = list(&body, "errors").iter().find_map(Value::as_object) {
        return on_premises(answer, error);
    }
    let said = Said::read(&body);
    match answer.status {
        StatusCode::BAD_REQUEST => {
            let lower = said.words.to_lowercase();
            let row = WORDS.iter().find(|(word, ..)| lower.contains(word));
            match row {
                Some((_, reason, retryable, next)) => said.error(answer, *reason, *retryable, *next),
                None => said.error(answer, ErrorReason::InvalidRequest, false, Next::Refuse),
            }
        }
        // The path is not open to this key: a matter of settings, and the key itself is good.
        StatusCode::FORBIDDEN => said.error(answer, ErrorReason::InvalidRequest, false, Next::Refuse),
        // [assumed] A 503 in its own form is a limit of its own; any other may come from behind it.
        StatusCode::SERVICE_UNAVAILABLE if said.is_a_no => {
            said.error(answer, ErrorReason::RateLimited, true, Next::Wait)
        }
        _ => SendError::of_status(answer, &said.code, &said.words),
    }
}

/// `{"meta":{"httpCode":400,"developerMessage":"…","success":false}}`, with keys that vary.
#[derive(Debug, Default)]
struct Said {
    code: String,
    words: String,
    /// It says that it did not succeed.
    is_a_no: bool,
}

impl Said {
    fn read(body: &Map<String, Value>) -> Self {
        let meta = object(body, "meta").unwrap_or(body);
        let first = |names: &[&str]| names.iter().find_map(|name| text(meta, name)).unwrap_or_default();
        let code = first(&["httpCode", "http_code"]);
        Self {
            code: if code.is_empty() { code } else { format!("HTTP {code}") },
            words: first(&["developerMessage", "developer_message", "details", "message"]),
            is_a_no: flag(meta, "success") == Some(false),
        }
    }

    fn error(self, answer: &HttpAnswer, reason: ErrorReason, retryable: bool, next: Next) -> SendError {
        let provider_code = match self.code.is_empty() {
            true => format!("HTTP {}", answer.status.as_u16()),
            false => self.code,
        };
        ended(answer, DeliveryError { reason, provider_code, provider_message: self.words, retryable }, next)
    }
}

fn on_premises(answer: &HttpAnswer, error: &Map<String, Value>) -> SendError {
    let code = integer(error, "code");
    let row = CODES.iter().find(|(known, ..)| Some(*known) == code);
    let words = [text(error, "title"), text(error, "details")].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let provider_code = code.map(|code| code.to_string()).unwrap_or_default();
    match row {
        Some((_, reason, retryable, next)) => {
            let (reason, retryable) = (*reason, *retryable);
            ended(answer, DeliveryError { reason, provider_code, provider_message: words, retryable }, *next)
        }
        None => SendError::of_status(answer, &provider_code, &words),
    }
}

fn ended(answer: &HttpAnswer, error: DeliveryError, next: Next) -> SendError {
    match next {
        Next::Refuse => SendError::Refused(error),
        Next::Wait => SendError::not_taken(error, answer.retry_after),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(status: u16, body: Value) -> String {
        let answer = HttpAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            headers: Default::default(),
            body: body.to_string().into(),
        };
        match outcome(&answer) {
            SendError::Refused(error) => {
                format!("{} {} {} refused", error.reason, error.provider_code, error.retryable)
            }
            SendError::NotTaken { error, retries: None, .. } => {
                format!("{} {} wait", error.reason, error.provider_code)
            }
            other => format!("{}", matches!(other, SendError::InDoubt { .. })).replace("true", "in doubt"),
        }
    }

    fn meta(code: u16, words: &str) -> Value {
        json!({ "meta": { "httpCode": code, "developerMessage": words, "success": false } })
    }

    #[test]
    fn a_400_is_told_by_its_words() {
        let cases = [
            ("Limit of 80 requests per second exceeded", "RATE_LIMITED HTTP 400 wait"),
            ("Rate limit hit", "RATE_LIMITED HTTP 400 wait"),
            ("Too many requests", "RATE_LIMITED HTTP 400 wait"),
            ("No valid payment method", "BILLING HTTP 400 true refused"),
            ("The channel was disabled", "SENDER_BLOCKED HTTP 400 false refused"),
        ];
        for (words, expected) in cases {
            assert_eq!(line(400, meta(400, words)), expected);
        }
        assert_eq!(cases.len(), WORDS.len(), "a row has no case");
        assert_eq!(line(400, meta(400, "What is this?")), "INVALID_REQUEST HTTP 400 false refused");
        let other_keys = json!({ "meta": { "http_code": "400", "developer_message": "disabled" } });
        assert_eq!(line(400, other_keys), "SENDER_BLOCKED HTTP 400 false refused");
        assert_eq!(line(400, json!({ "details": "unpaid: payment due" })), "BILLING HTTP 400 true refused");
    }

    #[test]
    fn other_statuses_are_what_they_are() {
        for (status, body, expected) in [
            (401, meta(404, "No such key"), "SENDER_UNAUTHORIZED HTTP 404 false refused"),
            (403, meta(403, "path is blocked"), "INVALID_REQUEST HTTP 403 false refused"),
            (404, json!({}), "INVALID_REQUEST HTTP 404 false refused"),
            (429, meta(429, ""), "RATE_LIMITED HTTP 429 wait"),
            (503, meta(503, "capacity"), "RATE_LIMITED HTTP 503 wait"),
            (503, json!("busy"), "in doubt"),
            (500, meta(500, ""), "in doubt"),
            (502, json!(null), "in doubt"),
        ] {
            assert_eq!(line(status, body.clone()), expected, "{status} {body}");
        }
    }

    #[test]
    fn every_code_of_old_has_its_case() {
        let cases = [
            (470, "OUTSIDE_WINDOW 470 false refused"),
            (471, "SPAM 471 true refused"),
            (1001, "CONTENT_TOO_LONG 1001 false refused"),
            (1005, "SENDER_UNAUTHORIZED 1005 false refused"),
            (1006, "INVALID_REQUEST 1006 false refused"),
            (1008, "INVALID_REQUEST 1008 false refused"),
            (1009, "INVALID_REQUEST 1009 false refused"),
            (1013, "NOT_ON_WHATSAPP 1013 false refused"),
            (1015, "RATE_LIMITED 1015 wait"),
            (1021, "INVALID_RECIPIENT 1021 false refused"),
            (1026, "RECIPIENT_UNREACHABLE 1026 false refused"),
            (2000, "TEMPLATE_PARAMETERS 2000 false refused"),
            (2001, "TEMPLATE_NOT_FOUND 2001 false refused"),
            (2005, "CONTENT_TOO_LONG 2005 false refused"),
            (2012, "TEMPLATE_PARAMETERS 2012 false refused"),
        ];
        for (code, expected) in cases {
            let errors = json!({ "errors": [{ "code": code, "title": "No", "details": "why" }] });
            assert_eq!(line(400, errors), expected);
        }
        assert_eq!(cases.map(|(code, _)| code).to_vec(), CODES.iter().map(|row| row.0).collect::<Vec<_>>());
        let unknown = |status| line(status, json!({ "errors": [{ "code": 77 }] }));
        assert_eq!((unknown(400), unknown(500)), ("INVALID_REQUEST 77 false refused".into(), "in doubt".into()));
    }
}
