//! What Digivox says no with, and what it means to us. HTTP statuses are from
//! <https://documenter.getpostman.com/view/33375237/2sA3kd9cT5>; codes are Meta's [assumed], as far as Digivox hands them
//! through: none is documented. What they mean is in Meta's own table.

use reqwest::StatusCode;

use super::wire::Word;
use crate::domain::{DeliveryError, ErrorReason, MessageStatus};
use crate::provider::SendError;
use crate::provider::http::HttpAnswer;
use crate::provider::meta::errors::Said;

/// [assumed] What it says where it hands a code through without words.
fn words_for(reason: ErrorReason) -> Option<&'static str> {
    match reason {
        ErrorReason::RecipientUnreachable => Some("undeliverable"),
        ErrorReason::OutsideWindow => Some("more than 24 hours since the person last wrote"),
        _ => None,
    }
}

/// What an answer that says no comes to. A code of Meta's says more than the status; 5xx leaves in doubt whatever it says,
/// since a proxy stands in front.
pub fn refusal(answer: &HttpAnswer, code: &str, message: &str) -> SendError {
    let by_status = match answer.status.is_success() {
        // An error under a success is a no all the same (O9).
        true => SendError::of_status(&HttpAnswer { status: StatusCode::BAD_REQUEST, ..answer.clone() }, code, message),
        false => SendError::of_status(answer, code, message),
    };
    match (by_status, Said::handed_through(code, message)) {
        // Which attempt it was is not known here: the shortest of Meta's waits.
        (SendError::Refused(_), Some(said)) => match said.outcome(answer, 1) {
            SendError::Refused(error) => SendError::Refused(worded(error)),
            other => other,
        },
        (error, _) => error,
    }
}

fn worded(mut error: DeliveryError) -> DeliveryError {
    if error.provider_message.is_empty() {
        error.provider_message = words_for(error.reason).unwrap_or_default().to_owned();
    }
    error
}

/// How a failing word and its code come together: the word says whether it failed or ran out of time, the code why.
pub fn failure(word: Word, raw_word: &str, code: &str, message: &str) -> Option<(MessageStatus, DeliveryError)> {
    let (status, otherwise) = match word {
        Word::Is(_) => return None,
        Word::Expired => (MessageStatus::Expired, (ErrorReason::Expired, true)),
        Word::Failed => (MessageStatus::Failed, (ErrorReason::Unknown, false)),
    };
    let known = Said::handed_through(code, message).map(|said| worded(said.failure()));
    let error = known.unwrap_or_else(|| DeliveryError {
        reason: otherwise.0,
        provider_code: code.to_owned(),
        provider_message: message.to_owned(),
        retryable: otherwise.1,
    });
    let provider_message = match error.provider_message.as_str() {
        "" => raw_word.to_owned(),
        words => words.to_owned(),
    };
    Some((status, DeliveryError { provider_message, ..error }))
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
            (400, "999999", "INVALID_REQUEST false refused"),
            (400, "130429", "RATE_LIMITED true not taken"),
            (400, "132001", "TEMPLATE_NOT_FOUND false refused"),
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
        assert_eq!(said(Word::Failed, "131049"), "FAILED RECIPIENT_CAPPED true");
        assert_eq!(said(Word::Failed, ""), "FAILED UNKNOWN false");
        assert_eq!(said(Word::Failed, "USER_GONE"), "FAILED UNKNOWN false");
        assert_eq!(said(Word::Expired, ""), "EXPIRED EXPIRED true");
        assert_eq!(said(Word::Expired, "131047"), "EXPIRED OUTSIDE_WINDOW false");
        assert_eq!(failure(Word::Is(MessageStatus::Read), "read", "131047", ""), None, "a code beside a good word");
    }
}
