//! What CloudChat says no with, and what it means to us: answers to a send, and failures reported later. The texts are
//! Chatwoot's unless a row says otherwise; the right-hand sides are our reading.

use reqwest::StatusCode;
use serde_json::Value;

use crate::domain::{DeliveryError, ErrorReason};
use crate::provider::SendError;
use crate::provider::http::HttpAnswer;
use crate::provider::meta::errors::Said;

/// What follows a no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It stays a no.
    Refuse,
    /// It may pass: try again, at most so often (`None`: as long as the message is valid).
    Retry(Option<u32>),
}

struct Row {
    status: u16,
    /// Part of the text, in lower case.
    text: &'static str,
    reason: ErrorReason,
    next: Next,
}

const fn row(status: u16, text: &'static str, reason: ErrorReason) -> Row {
    Row { status, text, reason, next: Next::Refuse }
}

/// Of the rows of a status the first whose text is part of the answer's counts. A status or a text without a row means
/// what HTTP says: [`SendError::of_status`].
const ANSWERS: &[Row] = &[
    // Chatwoot answers 401 also to what the token's owner may not do; that is no reason to doubt the token.
    row(401, "not authorized for bots", ErrorReason::NotSupported),
    row(401, "not authorized to do this action", ErrorReason::NotSupported),
    row(401, "suspended", ErrorReason::SenderBlocked), // [assumed] text
    // The conversation was found a moment ago: merged or deleted meanwhile, it is searched for once more.
    Row { next: Next::Retry(Some(1)), ..row(404, "resource could not be found", ErrorReason::InvalidRequest) },
    row(404, "", ErrorReason::InvalidSender), // [assumed] a page: wrong path or host
    Row { next: Next::Retry(None), ..row(422, "too many messages", ErrorReason::RateLimited) },
    row(422, "template", ErrorReason::TemplateNotFound), // [assumed] text
    row(422, "phone", ErrorReason::InvalidRecipient),
    row(422, "inbox", ErrorReason::InvalidSender), // [assumed] text
];

/// What an answer that is no success means to the message that was sent.
pub fn of_answer(answer: &HttpAnswer) -> SendError {
    let words = words(&answer.body);
    let lower = words.to_lowercase();
    let found = ANSWERS.iter().find(|row| answer.status.as_u16() == row.status && lower.contains(row.text));
    let Some(row) = found else { return SendError::of_status(answer, "", &words) };
    let retryable = row.next != Next::Refuse;
    let provider_code = format!("HTTP {}", row.status);
    let error = DeliveryError { reason: row.reason, provider_code, provider_message: words, retryable };
    match row.next {
        Next::Refuse => SendError::Refused(error),
        Next::Retry(retries) => SendError::NotTaken { error, retry_after: answer.retry_after, retries },
    }
}

/// What an answer that is no success means where it was a question: nothing was handed over by it, whatever became of it.
pub fn of_question(answer: &HttpAnswer) -> SendError {
    match of_answer(answer) {
        SendError::InDoubt { detail } => unanswered(detail),
        // Of what was asked for by its id, and is gone.
        SendError::NotTaken { error, .. } if answer.status == StatusCode::NOT_FOUND => SendError::Refused(error),
        other => other,
    }
}

/// A question without an answer.
pub fn unanswered(detail: impl Into<String>) -> SendError {
    SendError::not_taken(DeliveryError::ours(ErrorReason::ProviderUnavailable, detail, true), None)
}

/// Bytes of an answer without any known member that are shown.
const SHOWN: usize = 512;

/// The text of an error: `error`, else `message`, else `errors`, else how the answer begins.
pub fn words(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) if !list.is_empty() => Some(
            list.iter()
                .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(", "),
        ),
        Value::Object(_) => Some(value.to_string()),
        _ => None,
    };
    ["error", "message", "errors"]
        .iter()
        .find_map(|member| text(said.get(member)?))
        .unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).trim().to_owned())
}

/// A failure that is reported later: `external_error`, in which Chatwoot keeps Meta's code and words.
pub fn failure(external_error: &str) -> DeliveryError {
    let (code, words) = code_and_words(external_error.trim());
    let (reason, retryable) = match Said::handed_through(code, words).map(Said::failure) {
        Some(error) => (error.reason, error.retryable),
        // Of WhatsApp's API before Meta's.
        None if code == "470" => (ErrorReason::OutsideWindow, false),
        None => by_words(external_error),
    };
    DeliveryError { reason, provider_code: code.to_owned(), provider_message: words.to_owned(), retryable }
}

/// `131047: Re-engagement message` of a status, `(#132000) Number of parameters …` of a send, or words alone.
fn code_and_words(text: &str) -> (&str, &str) {
    let numeric = |code: &str| !code.is_empty() && code.len() <= 7 && code.bytes().all(|b| b.is_ascii_digit());
    let of_status = text.split_once(": ").filter(|(code, _)| numeric(code));
    let of_send = || text.strip_prefix("(#")?.split_once(") ").filter(|(code, _)| numeric(code));
    of_status.or_else(of_send).unwrap_or(("", text))
}

/// Chatwoot's own words, which have no code. [assumed] that they stay as they are.
fn by_words(text: &str) -> (ErrorReason, bool) {
    let lower = text.to_lowercase();
    let rows = [
        ("template not found", ErrorReason::TemplateNotFound),
        ("invalid template", ErrorReason::TemplateNotFound),
        ("window", ErrorReason::OutsideWindow),
    ];
    rows.into_iter()
        .find(|(words, _)| lower.contains(words))
        .map_or((ErrorReason::Unknown, false), |(_, reason)| (reason, false))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(status: u16, body: &str) -> HttpAnswer {
        HttpAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: Some(Duration::from_secs(7)),
            headers: Default::default(),
            body: body.to_owned().into(),
        }
    }

    fn said(error: &SendError) -> String {
        match error {
            SendError::Refused(error) => format!("refused {} {}", error.reason, error.retryable),
            SendError::NotTaken { error, retry_after, retries } => {
                format!("not taken {} {retry_after:?} {retries:?}", error.reason)
            }
            SendError::InDoubt { .. } => "in doubt".into(),
        }
    }

    #[test]
    fn every_answer_has_its_case() {
        for (status, body, expected) in [
            (401, r#"{"error":"Invalid Access Token"}"#, "refused SENDER_UNAUTHORIZED false"),
            (401, r#"{"error":"Access to this endpoint is not authorized for bots"}"#, "refused NOT_SUPPORTED false"),
            (401, r#"{"error":"You are not authorized to do this action"}"#, "refused NOT_SUPPORTED false"),
            (401, r#"{"error":"You are not authorized to access this account"}"#, "refused SENDER_UNAUTHORIZED false"),
            (401, r#"{"error":"Account is suspended"}"#, "refused SENDER_BLOCKED false"),
            (401, "", "refused SENDER_UNAUTHORIZED false"),
            (402, r#"{"error":"Plan limit"}"#, "refused BILLING true"),
            (403, "<html>", "refused SENDER_UNAUTHORIZED false"),
            (404, r#"{"error":"Resource could not be found"}"#, "not taken INVALID_REQUEST Some(7s) Some(1)"),
            (404, "<html>", "refused INVALID_SENDER false"),
            (422, r#"{"error":"Too many messages"}"#, "not taken RATE_LIMITED Some(7s) None"),
            (422, r#"{"error":"Template not found"}"#, "refused TEMPLATE_NOT_FOUND false"),
            (
                422,
                r#"{"message":"Phone number is invalid","attributes":["phone_number"]}"#,
                "refused INVALID_RECIPIENT false",
            ),
            (422, r#"{"error":"inbox_id is missing"}"#, "refused INVALID_SENDER false"),
            (422, r#"{"errors":["content can't be blank"]}"#, "refused INVALID_REQUEST false"),
            (429, "Retry later\n", "not taken RATE_LIMITED Some(7s) None"),
            (500, r#"{"error":"undefined method"}"#, "in doubt"),
            (502, "<html>", "in doubt"),
            (503, "", "in doubt"),
            (504, "", "in doubt"),
            (301, "", "refused INVALID_REQUEST false"),
        ] {
            assert_eq!(said(&of_answer(&answer(status, body))), expected, "{status} {body}");
        }
    }

    #[test]
    fn o1_a_question_is_never_in_doubt() {
        for (status, body, expected) in [
            (500, "", "not taken PROVIDER_UNAVAILABLE None None"),
            (504, "", "not taken PROVIDER_UNAVAILABLE None None"),
            (200, "<html>", "not taken PROVIDER_UNAVAILABLE None None"),
            (404, r#"{"error":"Resource could not be found"}"#, "refused INVALID_REQUEST true"),
            (401, "", "refused SENDER_UNAUTHORIZED false"),
            (429, "", "not taken RATE_LIMITED Some(7s) None"),
        ] {
            assert_eq!(said(&of_question(&answer(status, body))), expected, "{status} {body}");
        }
    }

    #[test]
    fn the_words_are_found_wherever_they_are() {
        for (body, expected) in [
            (r#"{"error":"one"}"#, "one"),
            (r#"{"error":["one","two"]}"#, "one, two"),
            (r#"{"error":null,"message":"one"}"#, "one"),
            (r#"{"errors":{"phone":["taken"]}}"#, r#"{"phone":["taken"]}"#),
            (r#"{"errors":[{"a":1}]}"#, r#"{"a":1}"#),
            ("Retry later\n", "Retry later"),
            ("", ""),
            ("null", "null"),
        ] {
            assert_eq!(words(body.as_bytes()), expected, "{body}");
        }
        assert_eq!(words(&[b'x'; 2_000]).len(), SHOWN);
    }

    #[test]
    fn o14_every_late_failure_has_its_case() {
        for (external_error, code, expected) in [
            ("131053: Media upload error", "131053", "MEDIA_UNREACHABLE true"),
            ("131047: Re-engagement message", "131047", "OUTSIDE_WINDOW false"),
            ("131026: Message undeliverable", "131026", "RECIPIENT_UNREACHABLE false"),
            ("131049: healthy ecosystem", "131049", "RECIPIENT_CAPPED true"),
            ("131056: pair rate limit", "131056", "CONTACT_RATE_LIMITED true"),
            ("470: too long ago", "470", "OUTSIDE_WINDOW false"),
            ("(#132000) Number of parameters does not match", "132000", "TEMPLATE_PARAMETERS false"),
            ("(#190) expired", "190", "SENDER_UNAUTHORIZED false"),
            ("Template not found or invalid template name", "", "TEMPLATE_NOT_FOUND false"),
            ("Message is outside of the messaging window", "", "OUTSIDE_WINDOW false"),
            ("999999: never seen", "999999", "UNKNOWN false"),
            ("note: not a code", "", "UNKNOWN false"),
            ("", "", "UNKNOWN false"),
        ] {
            let error = failure(external_error);
            assert_eq!(format!("{} {}", error.reason, error.retryable), expected, "{external_error}");
            assert_eq!(error.provider_code, code, "{external_error}");
        }
    }
}
