//! What Meta says no with, and what it means to us. Codes and meanings are from
//! developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes, read in 2026-11; the right-hand
//! sides are our reading.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Map, Value};

use super::wire;
use crate::domain::{DeliveryError, ErrorReason};
use crate::provider::SendError;
use crate::provider::http::HttpAnswer;
use crate::provider::lenient::{flag, integer, object, text};

/// How often a fault of Meta's own is tried again.
const FEW: u32 = 3;

/// What follows an error in the answer to a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It stays a no.
    Refuse,
    /// It passes by waiting so many seconds at least; at most so many times (`None`: as long as the message is valid).
    Wait(u64, Option<u32>),
    /// Too many messages from this sender to this person.
    Pair,
    /// Meta's own fault: a few times more; under HTTP 5xx nobody knows whether it took the message.
    Fault,
}

struct Row {
    codes: (u32, u32),
    subcode: Option<u32>,
    reason: ErrorReason,
    /// Whether the same message may pass later, for the caller.
    retryable: bool,
    next: Next,
}

const fn no(code: u32, reason: ErrorReason) -> Row {
    Row { codes: (code, code), subcode: None, reason, retryable: false, next: Next::Refuse }
}

/// A no of today.
const fn no_now(code: u32, reason: ErrorReason) -> Row {
    Row { retryable: true, ..no(code, reason) }
}

const fn after(code: u32, reason: ErrorReason, next: Next) -> Row {
    Row { next, ..no_now(code, reason) }
}

/// The first row that fits counts.
const ROWS: &[Row] = &[
    no(0, ErrorReason::SenderUnauthorized),
    after(1, ErrorReason::Unknown, Next::Fault),
    after(2, ErrorReason::ProviderUnavailable, Next::Fault),
    no(3, ErrorReason::SenderUnauthorized),
    after(4, ErrorReason::RateLimited, Next::Wait(60, None)),
    no(10, ErrorReason::SenderUnauthorized),
    no(33, ErrorReason::InvalidSender),
    Row { subcode: Some(33), ..no(100, ErrorReason::InvalidSender) },
    no(100, ErrorReason::InvalidRequest),
    no(190, ErrorReason::SenderUnauthorized),
    Row { codes: (200, 299), ..no(200, ErrorReason::SenderUnauthorized) },
    no(368, ErrorReason::SenderBlocked),
    after(80007, ErrorReason::RateLimited, Next::Wait(60, None)),
    after(80008, ErrorReason::RateLimited, Next::Wait(60, None)),
    after(130429, ErrorReason::RateLimited, Next::Wait(0, None)),
    no(130472, ErrorReason::RecipientCapped),
    no(130497, ErrorReason::RecipientUnreachable),
    after(131000, ErrorReason::Unknown, Next::Fault),
    no(131005, ErrorReason::SenderUnauthorized),
    no(131008, ErrorReason::InvalidRequest),
    no(131009, ErrorReason::InvalidRequest),
    no(131014, ErrorReason::MediaUnreachable),
    after(131016, ErrorReason::ProviderUnavailable, Next::Fault),
    no(131021, ErrorReason::InvalidRecipient),
    no(131026, ErrorReason::RecipientUnreachable),
    no(131030, ErrorReason::InvalidRecipient),
    no(131031, ErrorReason::SenderBlocked),
    no(131037, ErrorReason::SenderBlocked),
    no_now(131042, ErrorReason::Billing),
    no(131045, ErrorReason::InvalidSender),
    no(131047, ErrorReason::OutsideWindow),
    // Sources differ on whether it is throttling or a stop; so it is not hammered.
    after(131048, ErrorReason::Spam, Next::Wait(3_600, Some(FEW))),
    // The same message, not before a day has passed.
    no_now(131049, ErrorReason::RecipientCapped),
    no(131050, ErrorReason::RecipientOptedOut),
    no(131051, ErrorReason::NotSupported),
    no(131052, ErrorReason::InvalidMedia),
    after(131053, ErrorReason::MediaUnreachable, Next::Wait(1, Some(1))),
    no(131055, ErrorReason::NotSupported),
    // It is about one person: as a limit of the sender's it would slow all others too (O18).
    after(131056, ErrorReason::ContactRateLimited, Next::Pair),
    // A minute of maintenance, while the number's throughput is raised.
    after(131057, ErrorReason::ProviderUnavailable, Next::Wait(30, None)),
    no(131062, ErrorReason::NotSupported),
    no(131063, ErrorReason::NotSupported),
    no_now(131064, ErrorReason::TemplatePaused),
    no(132000, ErrorReason::TemplateParameters),
    no(132001, ErrorReason::TemplateNotFound),
    no(132005, ErrorReason::ContentTooLong),
    no(132007, ErrorReason::InvalidContent),
    no(132012, ErrorReason::TemplateParameters),
    no_now(132015, ErrorReason::TemplatePaused),
    no(132016, ErrorReason::TemplatePaused),
    no(132018, ErrorReason::TemplateParameters),
    no(132068, ErrorReason::TemplatePaused),
    // Ten sends of a flow in an hour: a limit of the template, not of the sender.
    after(132069, ErrorReason::TemplatePaused, Next::Wait(3_600, None)),
    no(133000, ErrorReason::InvalidSender),
    after(133004, ErrorReason::ProviderUnavailable, Next::Wait(30, None)),
    no(133005, ErrorReason::InvalidSender),
    no(133006, ErrorReason::InvalidSender),
    no(133008, ErrorReason::InvalidSender),
    no(133009, ErrorReason::InvalidSender),
    no(133010, ErrorReason::InvalidSender),
    no(133015, ErrorReason::InvalidSender),
    no(133016, ErrorReason::InvalidSender),
    no_now(134011, ErrorReason::Billing),
    no(134100, ErrorReason::NotSupported),
    after(134101, ErrorReason::TemplateNotFound, Next::Wait(600, Some(FEW))),
    no(134102, ErrorReason::NotSupported),
    no(135000, ErrorReason::InvalidRequest),
    // Templates that may not be created or changed.
    Row { codes: (2_388_000, 2_388_999), ..no(2_388_000, ErrorReason::InvalidRequest) },
    after(2_494_100, ErrorReason::ProviderUnavailable, Next::Wait(30, None)),
];

/// An error, as Meta writes it in answers and in webhooks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::provider) struct Said {
    code: Option<u32>,
    subcode: Option<u32>,
    transient: bool,
    words: String,
}

impl Said {
    /// The member `error` of an answer; nothing when there is none.
    pub fn of_answer(body: &Map<String, Value>) -> Option<Self> {
        object(body, "error").map(Self::read)
    }

    /// An error object, of an answer or of a webhook's `errors`.
    pub fn read(error: &Map<String, Value>) -> Self {
        let number = |member| integer(error, member).and_then(|number| u32::try_from(number).ok());
        let details = object(error, "error_data").and_then(|data| text(data, "details"));
        let title = text(error, "message").or_else(|| text(error, "title"));
        let words = match (title, details.or_else(|| text(error, "error_user_msg"))) {
            (Some(title), Some(details)) if title == details => title,
            (Some(title), Some(details)) => format!("{title}: {details}"),
            (title, details) => title.or(details).unwrap_or_default(),
        };
        Self {
            code: number("code"),
            subcode: number("error_subcode"),
            transient: flag(error, "is_transient").unwrap_or(false),
            words,
        }
    }

    /// What others hand through of Meta's: a code in a text, and words. Nothing when the code has no row.
    pub fn handed_through(code: &str, words: &str) -> Option<Self> {
        let code = code.trim().parse().ok()?;
        let said = Self { code: Some(code), words: words.to_owned(), ..Self::default() };
        said.row().is_some().then_some(said)
    }

    fn row(&self) -> Option<&'static Row> {
        let code = self.code?;
        let fits = |row: &&Row| {
            (row.codes.0..=row.codes.1).contains(&code) && (row.subcode.is_none() || row.subcode == self.subcode)
        };
        ROWS.iter().find(fits)
    }

    /// Why a message was not delivered, for a webhook: a code without a row is a failure, and kept.
    pub fn failure(self) -> DeliveryError {
        let (reason, retryable) = self.row().map_or((ErrorReason::Unknown, false), |row| (row.reason, row.retryable));
        self.error(reason, retryable)
    }

    fn error(self, reason: ErrorReason, retryable: bool) -> DeliveryError {
        let provider_code = self.code.map(|code| code.to_string()).unwrap_or_default();
        DeliveryError { reason, provider_code, provider_message: self.words, retryable }
    }

    /// What it comes to in the answer to the `attempt`-th send (1 is the first). The code decides, whatever the HTTP
    /// status, which changes; that only tells what a fault of Meta's, or a code without a row, leaves open.
    pub fn outcome(self, answer: &HttpAnswer, attempt: i32) -> SendError {
        let status = answer.status;
        let wait = |seconds| {
            let wait = [answer.retry_after, regain(answer), Some(Duration::from_secs(seconds))];
            wait.into_iter().flatten().max().filter(|wait| !wait.is_zero())
        };
        let lost = || format!("HTTP {} with code {}", status.as_u16(), self.code.unwrap_or_default());
        let Some(row) = self.row() else {
            return match status {
                StatusCode::TOO_MANY_REQUESTS => {
                    SendError::not_taken(self.error(ErrorReason::RateLimited, true), wait(0))
                }
                status if status.is_server_error() => SendError::in_doubt(lost()),
                _ if self.transient => SendError::NotTaken {
                    error: self.error(ErrorReason::Unknown, true),
                    retry_after: wait(0),
                    retries: Some(FEW),
                },
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    SendError::Refused(self.error(ErrorReason::SenderUnauthorized, false))
                }
                _ => SendError::Refused(self.error(ErrorReason::Unknown, false)),
            };
        };
        let (retry_after, retries) = match row.next {
            Next::Refuse => return SendError::Refused(self.error(row.reason, row.retryable)),
            Next::Fault if status.is_server_error() => return SendError::in_doubt(lost()),
            Next::Fault => (wait(0), Some(FEW)),
            Next::Wait(seconds, retries) => (wait(seconds), retries),
            Next::Pair => (wait(wire::pair_wait(attempt).as_secs()), None),
        };
        SendError::NotTaken { error: self.error(row.reason, row.retryable), retry_after, retries }
    }
}

/// How long Meta keeps its limits closed: the longest `estimated_time_to_regain_access`, in minutes, of the header
/// `x-business-use-case-usage` (an object of lists, by business account). The name and the unit are [assumed].
fn regain(answer: &HttpAnswer) -> Option<Duration> {
    let header = answer.headers.get("x-business-use-case-usage")?.to_str().ok()?;
    let usage: Map<String, Value> = serde_json::from_str(header).ok()?;
    let uses = usage.values().filter_map(Value::as_array).flatten().filter_map(Value::as_object);
    let minutes = uses.filter_map(|usage| integer(usage, "estimated_time_to_regain_access")).max()?;
    u64::try_from(minutes).ok().filter(|minutes| *minutes > 0).map(|minutes| Duration::from_secs(minutes.min(60) * 60))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::*;

    fn answer(status: u16) -> HttpAnswer {
        let status = StatusCode::from_u16(status).unwrap();
        HttpAnswer { status, retry_after: None, headers: HeaderMap::new(), body: Default::default() }
    }

    fn said(code: u32, subcode: u32) -> Said {
        Said::read(json!({ "code": code, "error_subcode": subcode }).as_object().unwrap())
    }

    /// Reason, whether it may pass later, and what is next, as one comparable line.
    fn line(error: SendError) -> String {
        match error {
            SendError::Refused(error) => format!("{} {} refused", error.reason, error.retryable),
            SendError::NotTaken { error, retry_after, retries } => {
                assert!(error.retryable);
                let wait = retry_after.map_or(0, |wait| wait.as_secs());
                format!("{} wait {wait} {}", error.reason, retries.map_or("on".into(), |most| most.to_string()))
            }
            SendError::InDoubt { .. } => "in doubt".into(),
        }
    }

    #[test]
    fn o14_every_code_has_its_case() {
        let cases = [
            (0, 0, "SENDER_UNAUTHORIZED false refused"),
            (1, 0, "UNKNOWN wait 0 3"),
            (2, 0, "PROVIDER_UNAVAILABLE wait 0 3"),
            (3, 0, "SENDER_UNAUTHORIZED false refused"),
            (4, 0, "RATE_LIMITED wait 60 on"),
            (10, 0, "SENDER_UNAUTHORIZED false refused"),
            (33, 0, "INVALID_SENDER false refused"),
            (100, 33, "INVALID_SENDER false refused"),
            (100, 0, "INVALID_REQUEST false refused"),
            (190, 463, "SENDER_UNAUTHORIZED false refused"),
            (230, 0, "SENDER_UNAUTHORIZED false refused"),
            (368, 0, "SENDER_BLOCKED false refused"),
            (80007, 0, "RATE_LIMITED wait 60 on"),
            (80008, 0, "RATE_LIMITED wait 60 on"),
            (130429, 0, "RATE_LIMITED wait 0 on"),
            (130472, 0, "RECIPIENT_CAPPED false refused"),
            (130497, 0, "RECIPIENT_UNREACHABLE false refused"),
            (131000, 0, "UNKNOWN wait 0 3"),
            (131005, 0, "SENDER_UNAUTHORIZED false refused"),
            (131008, 0, "INVALID_REQUEST false refused"),
            (131009, 0, "INVALID_REQUEST false refused"),
            (131014, 0, "MEDIA_UNREACHABLE false refused"),
            (131016, 0, "PROVIDER_UNAVAILABLE wait 0 3"),
            (131021, 0, "INVALID_RECIPIENT false refused"),
            (131026, 0, "RECIPIENT_UNREACHABLE false refused"),
            (131030, 0, "INVALID_RECIPIENT false refused"),
            (131031, 0, "SENDER_BLOCKED false refused"),
            (131037, 0, "SENDER_BLOCKED false refused"),
            (131042, 0, "BILLING true refused"),
            (131045, 0, "INVALID_SENDER false refused"),
            (131047, 0, "OUTSIDE_WINDOW false refused"),
            (131048, 0, "SPAM wait 3600 3"),
            (131049, 0, "RECIPIENT_CAPPED true refused"),
            (131050, 0, "RECIPIENT_OPTED_OUT false refused"),
            (131051, 0, "NOT_SUPPORTED false refused"),
            (131052, 0, "INVALID_MEDIA false refused"),
            (131053, 0, "MEDIA_UNREACHABLE wait 1 1"),
            (131055, 0, "NOT_SUPPORTED false refused"),
            (131056, 2_494_055, "CONTACT_RATE_LIMITED wait 4 on"),
            (131057, 0, "PROVIDER_UNAVAILABLE wait 30 on"),
            (131062, 0, "NOT_SUPPORTED false refused"),
            (131063, 0, "NOT_SUPPORTED false refused"),
            (131064, 0, "TEMPLATE_PAUSED true refused"),
            (132000, 0, "TEMPLATE_PARAMETERS false refused"),
            (132001, 0, "TEMPLATE_NOT_FOUND false refused"),
            (132005, 0, "CONTENT_TOO_LONG false refused"),
            (132007, 0, "INVALID_CONTENT false refused"),
            (132012, 0, "TEMPLATE_PARAMETERS false refused"),
            (132015, 0, "TEMPLATE_PAUSED true refused"),
            (132016, 0, "TEMPLATE_PAUSED false refused"),
            (132018, 0, "TEMPLATE_PARAMETERS false refused"),
            (132068, 0, "TEMPLATE_PAUSED false refused"),
            (132069, 0, "TEMPLATE_PAUSED wait 3600 on"),
            (133000, 0, "INVALID_SENDER false refused"),
            (133004, 0, "PROVIDER_UNAVAILABLE wait 30 on"),
            (133005, 0, "INVALID_SENDER false refused"),
            (133006, 0, "INVALID_SENDER false refused"),
            (133008, 0, "INVALID_SENDER false refused"),
            (133009, 0, "INVALID_SENDER false refused"),
            (133010, 0, "INVALID_SENDER false refused"),
            (133015, 0, "INVALID_SENDER false refused"),
            (133016, 0, "INVALID_SENDER false refused"),
            (134011, 0, "BILLING true refused"),
            (134100, 0, "NOT_SUPPORTED false refused"),
            (134101, 0, "TEMPLATE_NOT_FOUND wait 600 3"),
            (134102, 0, "NOT_SUPPORTED false refused"),
            (135000, 0, "INVALID_REQUEST false refused"),
            (2_388_040, 0, "INVALID_REQUEST false refused"),
            (2_494_100, 0, "PROVIDER_UNAVAILABLE wait 30 on"),
        ];
        for (code, subcode, expected) in cases {
            assert_eq!(line(said(code, subcode).outcome(&answer(400), 2)), expected, "{code}");
            let failure = said(code, subcode).failure();
            assert!(expected.starts_with(failure.reason.as_str()), "{code}: {failure:?}");
            assert_eq!(failure.provider_code, code.to_string());
        }
        assert_eq!(cases.len(), ROWS.len(), "a row has no case");
    }

    #[test]
    fn a_fault_of_metas_under_5xx_leaves_the_message_in_doubt_and_a_no_does_not() {
        for (code, under_500) in [
            (1, "in doubt"),
            (2, "in doubt"),
            (131000, "in doubt"),
            (131016, "in doubt"),
            (999_999, "in doubt"),
            (3, "SENDER_UNAUTHORIZED false refused"),
            (131045, "INVALID_SENDER false refused"),
            (131057, "PROVIDER_UNAVAILABLE wait 30 on"),
            (133004, "PROVIDER_UNAVAILABLE wait 30 on"),
        ] {
            assert_eq!(line(said(code, 0).outcome(&answer(500), 1)), under_500, "{code}");
        }
    }

    #[test]
    fn codes_without_a_row_go_by_what_else_was_said() {
        assert_eq!(line(said(999_999, 0).outcome(&answer(400), 1)), "UNKNOWN false refused");
        assert_eq!(line(said(999_999, 0).outcome(&answer(429), 1)), "RATE_LIMITED wait 0 on");
        assert_eq!(line(said(999_999, 0).outcome(&answer(401), 1)), "SENDER_UNAUTHORIZED false refused");
        let transient = Said { transient: true, ..said(999_999, 0) };
        assert_eq!(line(transient.outcome(&answer(400), 1)), "UNKNOWN wait 0 3");
        assert_eq!(line(Said::default().outcome(&answer(400), 1)), "UNKNOWN false refused");
        assert_eq!(said(999_999, 0).failure().reason, ErrorReason::Unknown);
    }

    #[test]
    fn o3_what_meta_asks_for_is_waited() {
        let mut throttled = answer(400);
        let usage = r#"{"1022":[{"type":"messaging","estimated_time_to_regain_access":7},{"call_count":"x"}],"7":{}}"#;
        throttled.headers.insert("x-business-use-case-usage", usage.parse().unwrap());
        assert_eq!(line(said(80007, 0).outcome(&throttled, 1)), "RATE_LIMITED wait 420 on");
        throttled.retry_after = Some(Duration::from_secs(900));
        assert_eq!(line(said(80007, 0).outcome(&throttled, 1)), "RATE_LIMITED wait 900 on");
        throttled.headers.insert("x-business-use-case-usage", "[".parse().unwrap());
        assert_eq!(line(said(4, 0).outcome(&throttled, 1)), "RATE_LIMITED wait 900 on");
    }

    #[test]
    fn words_for_people_are_put_together() {
        for (error, words) in [
            (
                json!({ "message": "(#131009) wrong", "error_data": { "details": "to is no number" } }),
                "(#131009) wrong: to is no number",
            ),
            (json!({ "title": "Undeliverable", "message": "Undeliverable" }), "Undeliverable"),
            (json!({ "message": "Same", "error_data": { "details": "Same" } }), "Same"),
            (json!({ "error_user_msg": "Try later" }), "Try later"),
            (json!({ "code": "131009", "message": null, "error_data": 7 }), ""),
        ] {
            assert_eq!(Said::read(error.as_object().unwrap()).words, words);
        }
        assert_eq!(Said::read(json!({ "code": "131009" }).as_object().unwrap()).code, Some(131_009));
    }
}
