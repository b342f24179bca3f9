//! What Twilio says no with, and what it means to us. Codes and their meanings are from
//! www.twilio.com/docs/api/errors unless a row says otherwise; the right-hand sides are our reading.

use crate::domain::{DeliveryError, ErrorReason, MessageStatus};
use crate::provider::SendError;
use crate::provider::http::HttpAnswer;

/// What follows a code in the answer to a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It stays a no.
    Refuse,
    /// Not taken, and may pass: try again, at most so often (`None`: as long as the message is valid).
    Retry(Option<u32>),
    /// Nobody knows whether it was taken.
    Doubt,
}

struct Row {
    code: u32,
    reason: ErrorReason,
    retryable: bool,
    next: Next,
    meaning: &'static str,
}

const fn no(code: u32, reason: ErrorReason, meaning: &'static str) -> Row {
    Row { code, reason, retryable: false, next: Next::Refuse, meaning }
}

const fn again(code: u32, reason: ErrorReason, retries: Option<u32>, meaning: &'static str) -> Row {
    Row { code, reason, retryable: true, next: Next::Retry(retries), meaning }
}

/// Passes by itself, but seldom at once.
const FEW: Option<u32> = Some(3);

/// Codes of answers to a send (20xxx, 21xxx) and of statuses (30xxx, 63xxx); either may show up in the other place.
const ROWS: &[Row] = &[
    no(20003, ErrorReason::SenderUnauthorized, "authentication failed"),
    no(20404, ErrorReason::InvalidSender, "not found: the account's SID is wrong"),
    no(20422, ErrorReason::InvalidRequest, "a parameter is invalid"),
    again(20429, ErrorReason::RateLimited, None, "too many requests"),
    Row { next: Next::Doubt, ..again(20500, ErrorReason::ProviderUnavailable, None, "internal server error") },
    again(20503, ErrorReason::ProviderUnavailable, None, "service unavailable"),
    no(21211, ErrorReason::InvalidRecipient, "the recipient's number is invalid"),
    no(21212, ErrorReason::InvalidSender, "the sender's number is invalid"),
    no(21408, ErrorReason::InvalidRecipient, "the recipient's region is not enabled"),
    no(21602, ErrorReason::InvalidContent, "no text, file or content"),
    no(21603, ErrorReason::InvalidSender, "no sender and no messaging service"),
    no(21604, ErrorReason::InvalidRequest, "no recipient"),
    no(21606, ErrorReason::InvalidSender, "the sender cannot write to this destination"),
    no(21608, ErrorReason::InvalidRecipient, "a trial account writes to verified numbers only"),
    no(21609, ErrorReason::InvalidRequest, "the callback's address is invalid"),
    no(21610, ErrorReason::RecipientOptedOut, "the person has unsubscribed"),
    again(21611, ErrorReason::RateLimited, None, "the sender's queue is full"),
    no(21614, ErrorReason::InvalidRecipient, "not a mobile number"),
    no(21617, ErrorReason::ContentTooLong, "the text has more than 1,600 characters"),
    no(21619, ErrorReason::InvalidContent, "no text, file or content"),
    no(21620, ErrorReason::InvalidMedia, "the file's address is invalid"),
    no(21623, ErrorReason::InvalidMedia, "too many files"),
    no(21624, ErrorReason::InvalidRequest, "the validity is invalid"),
    no(21654, ErrorReason::TemplateNotFound, "no ContentSid"),
    no(21655, ErrorReason::TemplateNotFound, "the ContentSid is invalid"),
    no(21656, ErrorReason::TemplateParameters, "the content variables are invalid"),
    no(21701, ErrorReason::InvalidSender, "the messaging service does not exist"),
    no(21703, ErrorReason::InvalidSender, "the messaging service has no number that fits"),
    no(21704, ErrorReason::InvalidSender, "the messaging service has no numbers"),
    no(21705, ErrorReason::InvalidSender, "the messaging service is invalid"),
    again(30001, ErrorReason::RateLimited, None, "the queue overflowed"),
    no(30002, ErrorReason::SenderBlocked, "the account is suspended"),
    no(30003, ErrorReason::RecipientUnreachable, "the recipient is unreachable"),
    no(30004, ErrorReason::RecipientUnreachable, "the message was blocked"),
    no(30005, ErrorReason::InvalidRecipient, "the recipient is unknown"),
    no(30006, ErrorReason::InvalidRecipient, "a landline, or a carrier that cannot be reached"),
    no(30007, ErrorReason::Spam, "filtered"),
    no(30008, ErrorReason::Unknown, "unknown error"),
    // Pitfall O15: the message outlived its validity in Twilio's queue.
    again(30036, ErrorReason::Expired, None, "its validity ran out in the queue"),
    no(63001, ErrorReason::SenderUnauthorized, "WhatsApp refuses the sender's authentication"),
    no(63002, ErrorReason::InvalidSender, "WhatsApp does not know the sender"),
    no(63003, ErrorReason::NotOnWhatsapp, "WhatsApp does not know the recipient"),
    no(63005, ErrorReason::InvalidContent, "WhatsApp does not accept the content"),
    no(63006, ErrorReason::InvalidContent, "the content cannot be brought into WhatsApp's form"),
    no(63007, ErrorReason::InvalidSender, "Twilio has no WhatsApp sender of this number"),
    no(63008, ErrorReason::InvalidSender, "the sender is set up wrongly"),
    again(63009, ErrorReason::ProviderUnavailable, FEW, "WhatsApp answered an error"),
    again(63010, ErrorReason::ProviderUnavailable, FEW, "internal error of Twilio"),
    again(63011, ErrorReason::ProviderUnavailable, FEW, "WhatsApp refused the request"),
    again(63012, ErrorReason::ProviderUnavailable, FEW, "internal error of WhatsApp"),
    no(63013, ErrorReason::InvalidContent, "it violates WhatsApp's policy"),
    no(63014, ErrorReason::RecipientOptedOut, "the person has blocked the sender"),
    no(63015, ErrorReason::RecipientUnreachable, "the person has not joined the sandbox"),
    no(63016, ErrorReason::OutsideWindow, "outside the window without a template"),
    again(63017, ErrorReason::RateLimited, None, "too many messages in a short time"),
    again(63018, ErrorReason::RateLimited, None, "too many messages in a short time for WhatsApp"),
    no(63019, ErrorReason::MediaUnreachable, "the file could not be fetched"),
    // Passes once it is paid, but not by itself: retryable for the caller, not for us.
    Row {
        retryable: true,
        ..no(63020, ErrorReason::Billing, "the business cannot pay, or did not accept an invitation")
    },
    no(63021, ErrorReason::InvalidContent, "the content is invalid"),
    no(63022, ErrorReason::InvalidSender, "the certificate of the sender's name is invalid"),
    no(63023, ErrorReason::Unknown, "WhatsApp answered an error"),
    no(63024, ErrorReason::NotOnWhatsapp, "not a number of WhatsApp"),
    no(63025, ErrorReason::InvalidMedia, "the file exists already"),
    no(63026, ErrorReason::Spam, "rejected as spam"),
    no(63027, ErrorReason::TemplateNotFound, "no such template in that language"),
    no(63028, ErrorReason::TemplateParameters, "wrong number of template parameters"),
    no(63029, ErrorReason::RecipientUnreachable, "the recipient could not get the template"),
    no(63030, ErrorReason::InvalidContent, "a parameter is not supported"),
    no(63031, ErrorReason::InvalidRecipient, "the recipient is the sender itself"),
    no(63032, ErrorReason::RecipientUnreachable, "WhatsApp does not deliver it to this person"),
    no(63033, ErrorReason::RecipientOptedOut, "the recipient has blocked the sender"),
    no(63034, ErrorReason::InvalidMedia, "the file is too large"),
    no(63037, ErrorReason::InvalidMedia, "the file could not be uploaded"),
    again(63038, ErrorReason::RateLimited, None, "the account's messages of this day are used up"),
    no(63040, ErrorReason::TemplateNotFound, "the template was not approved"),
    no(63041, ErrorReason::TemplatePaused, "the template is paused"),
    no(63042, ErrorReason::TemplatePaused, "the template is disabled"), // [assumed]
    no(63049, ErrorReason::RecipientCapped, "Meta chose not to deliver it; not before a day has passed"),
    no(63051, ErrorReason::SenderBlocked, "the business is restricted"), // [assumed]
    no(63062, ErrorReason::SenderBlocked, "terms of marketing messages were not accepted"), // [assumed]
    no(63112, ErrorReason::SenderBlocked, "Meta disabled the business"), // [assumed]
];

fn find(code: &str) -> Option<&'static Row> {
    let code = code.trim().parse::<u32>().ok()?;
    ROWS.iter().find(|row| row.code == code)
}

/// What an answer with a code comes to; one without a row is judged by its HTTP status, with the code kept.
pub fn refusal(answer: &HttpAnswer, code: &str, message: &str) -> SendError {
    let Some(row) = find(code) else { return SendError::of_status(answer, code, message) };
    let error = DeliveryError {
        reason: row.reason,
        provider_code: code.to_owned(),
        provider_message: words(row, message),
        retryable: row.retryable,
    };
    match row.next {
        Next::Refuse => SendError::Refused(error),
        Next::Retry(retries) => SendError::NotTaken { error, retry_after: answer.retry_after, retries },
        Next::Doubt => SendError::in_doubt(format!("{code} {}", error.provider_message)),
    }
}

/// What a failing status and its code come to. A code without a row stays a failure, with the code kept.
pub fn failure(code: &str, message: &str) -> (MessageStatus, DeliveryError) {
    let row = find(code);
    let error = DeliveryError {
        reason: row.map_or(ErrorReason::Unknown, |row| row.reason),
        provider_code: code.trim().to_owned(),
        provider_message: row.map_or_else(|| message.to_owned(), |row| words(row, message)),
        retryable: row.is_some_and(|row| row.retryable),
    };
    let status = match error.reason {
        ErrorReason::Expired => MessageStatus::Expired,
        _ => MessageStatus::Failed,
    };
    (status, error)
}

/// Twilio's words, or the table's where it has none.
fn words(row: &Row, message: &str) -> String {
    if message.is_empty() { row.meaning.to_owned() } else { message.to_owned() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use reqwest::StatusCode;

    use super::*;

    fn answer(status: u16) -> HttpAnswer {
        let status = StatusCode::from_u16(status).unwrap();
        HttpAnswer { status, retry_after: None, headers: Default::default(), body: Bytes::new() }
    }

    /// What a code comes to in an answer and in a status, as one line.
    fn said(code: u32) -> String {
        let next = match refusal(&answer(400), &code.to_string(), "") {
            SendError::Refused(_) => "refused".to_owned(),
            SendError::NotTaken { retries, .. } => format!("{retries:?}"),
            SendError::InDoubt { .. } => "in doubt".into(),
        };
        let (status, error) = failure(&code.to_string(), "");
        assert_eq!(error.provider_code, code.to_string());
        assert!(!error.provider_message.is_empty());
        format!("{next} {} {} {}", status.as_str(), error.reason, error.retryable)
    }

    #[test]
    fn every_code_has_its_case() {
        let cases = [
            (20003, "refused FAILED SENDER_UNAUTHORIZED false"),
            (20404, "refused FAILED INVALID_SENDER false"),
            (20422, "refused FAILED INVALID_REQUEST false"),
            (20429, "None FAILED RATE_LIMITED true"),
            (20500, "in doubt FAILED PROVIDER_UNAVAILABLE true"),
            (20503, "None FAILED PROVIDER_UNAVAILABLE true"),
            (21211, "refused FAILED INVALID_RECIPIENT false"),
            (21212, "refused FAILED INVALID_SENDER false"),
            (21408, "refused FAILED INVALID_RECIPIENT false"),
            (21602, "refused FAILED INVALID_CONTENT false"),
            (21603, "refused FAILED INVALID_SENDER false"),
            (21604, "refused FAILED INVALID_REQUEST false"),
            (21606, "refused FAILED INVALID_SENDER false"),
            (21608, "refused FAILED INVALID_RECIPIENT false"),
            (21609, "refused FAILED INVALID_REQUEST false"),
            (21610, "refused FAILED RECIPIENT_OPTED_OUT false"),
            (21611, "None FAILED RATE_LIMITED true"),
            (21614, "refused FAILED INVALID_RECIPIENT false"),
            (21617, "refused FAILED CONTENT_TOO_LONG false"),
            (21619, "refused FAILED INVALID_CONTENT false"),
            (21620, "refused FAILED INVALID_MEDIA false"),
            (21623, "refused FAILED INVALID_MEDIA false"),
            (21624, "refused FAILED INVALID_REQUEST false"),
            (21654, "refused FAILED TEMPLATE_NOT_FOUND false"),
            (21655, "refused FAILED TEMPLATE_NOT_FOUND false"),
            (21656, "refused FAILED TEMPLATE_PARAMETERS false"),
            (21701, "refused FAILED INVALID_SENDER false"),
            (21703, "refused FAILED INVALID_SENDER false"),
            (21704, "refused FAILED INVALID_SENDER false"),
            (21705, "refused FAILED INVALID_SENDER false"),
            (30001, "None FAILED RATE_LIMITED true"),
            (30002, "refused FAILED SENDER_BLOCKED false"),
            (30003, "refused FAILED RECIPIENT_UNREACHABLE false"),
            (30004, "refused FAILED RECIPIENT_UNREACHABLE false"),
            (30005, "refused FAILED INVALID_RECIPIENT false"),
            (30006, "refused FAILED INVALID_RECIPIENT false"),
            (30007, "refused FAILED SPAM false"),
            (30008, "refused FAILED UNKNOWN false"),
            (30036, "None EXPIRED EXPIRED true"),
            (63001, "refused FAILED SENDER_UNAUTHORIZED false"),
            (63002, "refused FAILED INVALID_SENDER false"),
            (63003, "refused FAILED NOT_ON_WHATSAPP false"),
            (63005, "refused FAILED INVALID_CONTENT false"),
            (63006, "refused FAILED INVALID_CONTENT false"),
            (63007, "refused FAILED INVALID_SENDER false"),
            (63008, "refused FAILED INVALID_SENDER false"),
            (63009, "Some(3) FAILED PROVIDER_UNAVAILABLE true"),
            (63010, "Some(3) FAILED PROVIDER_UNAVAILABLE true"),
            (63011, "Some(3) FAILED PROVIDER_UNAVAILABLE true"),
            (63012, "Some(3) FAILED PROVIDER_UNAVAILABLE true"),
            (63013, "refused FAILED INVALID_CONTENT false"),
            (63014, "refused FAILED RECIPIENT_OPTED_OUT false"),
            (63015, "refused FAILED RECIPIENT_UNREACHABLE false"),
            (63016, "refused FAILED OUTSIDE_WINDOW false"),
            (63017, "None FAILED RATE_LIMITED true"),
            (63018, "None FAILED RATE_LIMITED true"),
            (63019, "refused FAILED MEDIA_UNREACHABLE false"),
            (63020, "refused FAILED BILLING true"),
            (63021, "refused FAILED INVALID_CONTENT false"),
            (63022, "refused FAILED INVALID_SENDER false"),
            (63023, "refused FAILED UNKNOWN false"),
            (63024, "refused FAILED NOT_ON_WHATSAPP false"),
            (63025, "refused FAILED INVALID_MEDIA false"),
            (63026, "refused FAILED SPAM false"),
            (63027, "refused FAILED TEMPLATE_NOT_FOUND false"),
            (63028, "refused FAILED TEMPLATE_PARAMETERS false"),
            (63029, "refused FAILED RECIPIENT_UNREACHABLE false"),
            (63030, "refused FAILED INVALID_CONTENT false"),
            (63031, "refused FAILED INVALID_RECIPIENT false"),
            (63032, "refused FAILED RECIPIENT_UNREACHABLE false"),
            (63033, "refused FAILED RECIPIENT_OPTED_OUT false"),
            (63034, "refused FAILED INVALID_MEDIA false"),
            (63037, "refused FAILED INVALID_MEDIA false"),
            (63038, "None FAILED RATE_LIMITED true"),
            (63040, "refused FAILED TEMPLATE_NOT_FOUND false"),
            (63041, "refused FAILED TEMPLATE_PAUSED false"),
            (63042, "refused FAILED TEMPLATE_PAUSED false"),
            (63049, "refused FAILED RECIPIENT_CAPPED false"),
            (63051, "refused FAILED SENDER_BLOCKED false"),
            (63062, "refused FAILED SENDER_BLOCKED false"),
            (63112, "refused FAILED SENDER_BLOCKED false"),
        ];
        for (code, expected) in cases {
            assert_eq!(said(code), expected, "{code}");
        }
        assert_eq!(cases.map(|(code, _)| code).to_vec(), ROWS.iter().map(|row| row.code).collect::<Vec<_>>());
    }

    #[test]
    fn a_code_without_a_row_is_kept() {
        let (status, error) = failure("63999", "Something new");
        assert_eq!((status, error.reason), (MessageStatus::Failed, ErrorReason::Unknown));
        assert_eq!((error.provider_code.as_str(), error.provider_message.as_str()), ("63999", "Something new"));
        let SendError::Refused(error) = refusal(&answer(400), "21999", "Something new") else { panic!("refused") };
        assert_eq!((error.reason, error.provider_code.as_str()), (ErrorReason::InvalidRequest, "21999"));
        assert!(matches!(refusal(&answer(502), "", ""), SendError::InDoubt { .. }));
    }

    #[test]
    fn twilios_own_words_are_kept() {
        let (_, error) = failure("63016", "Failed to send freeform message");
        assert_eq!(error.provider_message, "Failed to send freeform message");
    }
}
