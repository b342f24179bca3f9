//! What Digivox says no with, and what it means to us. HTTP statuses are from
//! <https://documenter.getpostman.com/view/33375237/2sA3kd9cT5>; codes are Meta's, as far as Digivox is likely to hand
//! them through: none is documented. The right-hand sides are our reading.

use reqwest::StatusCode;

use super::wire::Word;
use crate::domain::{DeliveryError, ErrorReason, MessageStatus};
use crate::provider::SendError;
use crate::provider::http::HttpAnswer;

struct Code {
    code: u32,
    reason: ErrorReason,
    retryable: bool,
    meaning: &'static str,
}

/// [assumed] Meta's codes.
const CODES: &[Code] = &[
    Code { code: 131026, reason: ErrorReason::RecipientUnreachable, retryable: false, meaning: "undeliverable" },
    Code {
        code: 131047,
        reason: ErrorReason::OutsideWindow,
        retryable: false,
        meaning: "more than 24 hours since the person last wrote",
    },
];

fn row(code: &str) -> Option<&'static Code> {
    let code = code.trim().parse::<u32>().ok()?;
    CODES.iter().find(|row| row.code == code)
}

/// What an answer that says no comes to. A code that has a row says more than the status; 5xx leaves in doubt whatever it
/// says, since a proxy stands in front.
pub fn refusal(answer: &HttpAnswer, code: &str, message: &str) -> SendError {
    let by_status = match answer.status.is_success() {
        // An error under a success is a no all the same (O9).
        true => SendError::of_status(&HttpAnswer { status: StatusCode::BAD_REQUEST, ..answer.clone() }, code, message),
        false => SendError::of_status(answer, code, message),
    };
    match (by_status, row(code)) {
        (SendError::Refused(error), Some(row)) => {
            let message =
                if error.provider_message.is_empty() { row.meaning.to_owned() } else { error.provider_message };
            let (reason, retryable) = (row.reason, row.retryable);
            SendError::Refused(DeliveryError { reason, retryable, provider_message: message, ..error })
        }
        (error, _) => error,
    }
}

/// How a failing word and its code come together: the word says whether it failed or ran out of time, the code why.
pub fn failure(word: Word, raw_word: &str, code: &str, message: &str) -> Option<(MessageStatus, DeliveryError)> {
    let row = row(code);
    let (status, reason, retryable) = match (word, row) {
        (Word::Is(_), _) => return None,
        (Word::Expired, None) => (MessageStatus::Expired, ErrorReason::Expired, true),
        (Word::Expired, Some(row)) => (MessageStatus::Expired, row.reason, row.retryable),
        (Word::Failed, Some(row)) => (MessageStatus::Failed, row.reason, row.retryable),
        (Word::Failed, None) => (MessageStatus::Failed, ErrorReason::Unknown, false),
    };
    let words = match (message, row) {
        ("", Some(row)) => row.meaning,
        ("", None) => raw_word,
        (message, _) => message,
    };
    Some((
        status,
        DeliveryError { reason, provider_code: code.to_owned(), provider_message: words.to_owned(), retryable },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, code: &str) -> String {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = HttpAnswer { status, retry_after: None, headers: Default::default(), body: Default::default() };
        match refusal(&answer, code, "") {
            SendError::Refused(error) => format!("{} {} refused", error.reason, error.retryable),
            SendError::NotTaken { error, .. } => format!("{} {} not taken", error.reason, error.retryable),
            SendError::InDoubt { .. } => "in doubt".into(),
        }
    }

    #[test]
    fn every_status_and_every_code_has_its_case() {
        for (status, code, expected) in [
            (400, "", "INVALID_REQUEST false refused"),
            (400, "131047", "OUTSIDE_WINDOW false refused"),
            (400, "131026", "RECIPIENT_UNREACHABLE false refused"),
            (400, "brand.new", "INVALID_REQUEST false refused"),
            (200, "131047", "OUTSIDE_WINDOW false refused"),
            (200, "", "INVALID_REQUEST false refused"),
            (401, "", "SENDER_UNAUTHORIZED false refused"),
            (403, "", "SENDER_UNAUTHORIZED false refused"),
            (404, "", "INVALID_REQUEST false refused"),
            (409, "", "INVALID_REQUEST false refused"),
            (413, "", "CONTENT_TOO_LONG false refused"),
            (415, "", "INVALID_REQUEST false refused"),
            (422, "", "INVALID_REQUEST false refused"),
            (429, "", "RATE_LIMITED true not taken"),
            (500, "", "in doubt"),
            (500, "131047", "in doubt"),
            (502, "", "in doubt"),
            (503, "", "in doubt"),
            (504, "", "in doubt"),
        ] {
            assert_eq!(said(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn every_code_of_a_failed_delivery_has_its_case() {
        let said = |word, code: &str| {
            let (status, error) = failure(word, "failed", code, "").unwrap();
            assert_eq!(error.provider_code, code);
            format!("{} {} {}", status.as_str(), error.reason, error.retryable)
        };
        let cases = [(131026, "FAILED RECIPIENT_UNREACHABLE false"), (131047, "FAILED OUTSIDE_WINDOW false")];
        for (code, expected) in cases {
            assert_eq!(said(Word::Failed, &code.to_string()), expected);
        }
        assert_eq!(cases.map(|(code, _)| code).to_vec(), CODES.iter().map(|row| row.code).collect::<Vec<_>>());
        assert_eq!(said(Word::Failed, ""), "FAILED UNKNOWN false");
        assert_eq!(said(Word::Failed, "USER_GONE"), "FAILED UNKNOWN false");
        assert_eq!(said(Word::Expired, ""), "EXPIRED EXPIRED true");
        assert_eq!(said(Word::Expired, "131047"), "EXPIRED OUTSIDE_WINDOW false");
        assert_eq!(failure(Word::Is(MessageStatus::Read), "read", "131047", ""), None, "a code beside a good word");
    }
}
