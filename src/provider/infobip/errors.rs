//! What Infobip says no with, and what it means to us. Words of errors and statuses are from Infobip's public client
//! libraries and www.infobip.com/docs/essentials/response-status-and-error-codes unless a row says otherwise; the
//! right-hand sides are our reading.

use serde_json::{Map, Value};

use crate::domain::{DeliveryError, ErrorReason, MessageStatus};
use crate::provider::SendError;
use crate::provider::http::HttpAnswer;
use crate::provider::lenient::{flag, integer, object, text};

/// What follows a no in the answer to a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It stays a no.
    Refuse,
    /// Not taken, and may pass: try again, at most so often (`None`: as long as the message is valid).
    Retry(Option<u32>),
    /// Nobody knows whether it was taken.
    Doubt,
}

struct Refusal {
    /// `messageId` of a `serviceException`.
    code: &'static str,
    /// [assumed] `errorCode` of the newer form.
    newer: &'static str,
    reason: ErrorReason,
    retryable: bool,
    next: Next,
}

/// Requests that were refused as a whole. A request that is wrong says in which fields: [`FIELDS`].
const REFUSALS: &[Refusal] = &[
    refusal("BAD_REQUEST", "E400", ErrorReason::InvalidRequest),
    refusal("UNAUTHORIZED", "E401", ErrorReason::SenderUnauthorized),
    refusal("FORBIDDEN", "E403", ErrorReason::SenderUnauthorized), // [assumed]
    refusal("NOT_FOUND", "E404", ErrorReason::InvalidRequest),
    Refusal {
        retryable: true,
        next: Next::Retry(None),
        ..refusal("TOO_MANY_REQUESTS", "E429", ErrorReason::RateLimited)
    },
    // [assumed]
    Refusal {
        retryable: true,
        next: Next::Doubt,
        ..refusal("GENERAL_ERROR", "E500", ErrorReason::ProviderUnavailable)
    },
];

const fn refusal(code: &'static str, newer: &'static str, reason: ErrorReason) -> Refusal {
    Refusal { code, newer, reason, retryable: false, next: Next::Refuse }
}

/// Fields that a wrong request names: the first whose name begins the path decides. [assumed]
const FIELDS: &[(&str, ErrorReason)] = &[
    ("to", ErrorReason::InvalidRecipient),
    ("from", ErrorReason::InvalidSender),
    ("content.mediaUrl", ErrorReason::InvalidMedia),
    ("content.filename", ErrorReason::InvalidMedia),
    ("content.templateName", ErrorReason::TemplateNotFound),
    ("content.language", ErrorReason::TemplateNotFound),
    ("content.templateData", ErrorReason::TemplateParameters),
    ("content", ErrorReason::InvalidContent),
];

/// What an answer that is no success comes to; without words of Infobip's, what its HTTP status says.
pub fn refused(answer: &HttpAnswer, said: &Map<String, Value>) -> SendError {
    let exception = object(said, "requestError").and_then(|error| object(error, "serviceException"));
    let (code, words) = match exception {
        Some(exception) => (text(exception, "messageId"), text(exception, "text")),
        None => (text(said, "errorCode"), text(said, "description")),
    };
    let (code, words) = (code.unwrap_or_default(), words.unwrap_or_default());
    let wrong = exception.map_or_else(|| violations(said), validation_errors);
    let row = REFUSALS.iter().find(|row| row.code.eq_ignore_ascii_case(&code) || row.newer == code);
    let Some(row) = row else { return SendError::of_status(answer, &code, &with_fields(&words, &wrong)) };
    let reason = match row.reason {
        ErrorReason::InvalidRequest => wrong.iter().find_map(|(field, _)| reason_of(field)).unwrap_or(row.reason),
        reason => reason,
    };
    let error = DeliveryError {
        reason,
        provider_code: code,
        provider_message: with_fields(&words, &wrong),
        retryable: row.retryable,
    };
    match row.next {
        Next::Refuse => SendError::Refused(error),
        Next::Retry(retries) => SendError::NotTaken { error, retry_after: answer.retry_after, retries },
        Next::Doubt => SendError::in_doubt(format!("{} {}", error.provider_code, error.provider_message).trim_end()),
    }
}

/// `{"content.text": ["must not be blank"]}`: a list, or one text.
fn validation_errors(exception: &Map<String, Value>) -> Vec<(String, String)> {
    let words = |value: &Value| match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
        Value::String(words) => words.clone(),
        _ => String::new(),
    };
    let errors = object(exception, "validationErrors");
    errors.into_iter().flatten().map(|(field, value)| (field.clone(), words(value))).collect()
}

/// [assumed] `[{"property": "content.text", "violation": "must not be blank"}]`.
fn violations(said: &Map<String, Value>) -> Vec<(String, String)> {
    let one = |violation: &Value| {
        let violation = violation.as_object()?;
        Some((text(violation, "property")?, text(violation, "violation").unwrap_or_default()))
    };
    crate::provider::lenient::list(said, "violations").iter().filter_map(one).collect()
}

/// `messages[0].content.text` and `content.text` are the same field.
fn reason_of(field: &str) -> Option<ErrorReason> {
    let field = match field.strip_prefix("messages[") {
        Some(rest) => rest.split_once("].").map_or(field, |(_, field)| field),
        None => field,
    };
    let below =
        |name: &str| field.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    FIELDS.iter().find(|(name, _)| below(name)).map(|(_, reason)| *reason)
}

/// `Bad Request (content.text must not be blank)`
fn with_fields(words: &str, wrong: &[(String, String)]) -> String {
    let list: Vec<String> =
        wrong.iter().map(|(field, words)| format!("{field} {words}").trim_end().to_owned()).collect();
    match (words, list.is_empty()) {
        (_, true) => words.to_owned(),
        ("", _) => list.join(", "),
        _ => format!("{words} ({})", list.join(", ")),
    }
}

/// What a group of statuses means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// On its way.
    Pending,
    /// It was not delivered.
    Undeliverable,
    /// It was.
    Delivered,
    /// Its time ran out.
    Expired,
    /// It was not taken.
    Rejected,
}

impl Group {
    /// By its name, and by its number only where it has none.
    pub fn of(status: &Map<String, Value>) -> Option<Self> {
        let by_name = text(status, "groupName").map(|name| match name.trim().to_ascii_uppercase().as_str() {
            "PENDING" => Some(Self::Pending),
            "UNDELIVERABLE" => Some(Self::Undeliverable),
            "DELIVERED" => Some(Self::Delivered),
            "EXPIRED" => Some(Self::Expired),
            "REJECTED" => Some(Self::Rejected),
            _ => None,
        });
        by_name.unwrap_or_else(|| match integer(status, "groupId")? {
            1 => Some(Self::Pending),
            2 => Some(Self::Undeliverable),
            3 => Some(Self::Delivered),
            4 => Some(Self::Expired),
            5 => Some(Self::Rejected),
            _ => None,
        })
    }
}

struct Failure {
    name: &'static str,
    reason: ErrorReason,
    retryable: bool,
    next: Next,
}

const fn no(name: &'static str, reason: ErrorReason) -> Failure {
    Failure { name, reason, retryable: false, next: Next::Refuse }
}

/// Names of failing statuses; those that say no more than their group are not here.
const FAILURES: &[Failure] = &[
    no("REJECTED_NETWORK", ErrorReason::InvalidRecipient),
    no("REJECTED_PREFIX_MISSING", ErrorReason::InvalidRecipient),
    no("REJECTED_DND", ErrorReason::RecipientOptedOut),
    no("REJECTED_SOURCE", ErrorReason::InvalidSender),
    // Passes after a top-up, but not by itself: retryable for the caller, not for us.
    Failure { retryable: true, ..no("REJECTED_NOT_ENOUGH_CREDITS", ErrorReason::Billing) },
    no("REJECTED_SENDER", ErrorReason::InvalidSender),
    no("REJECTED_DESTINATION", ErrorReason::InvalidRecipient),
    Failure { retryable: true, ..no("REJECTED_PREPAID_PACKAGE_EXPIRED", ErrorReason::Billing) },
    no("REJECTED_DESTINATION_NOT_REGISTERED", ErrorReason::InvalidRecipient),
    no("REJECTED_ROUTE_NOT_AVAILABLE", ErrorReason::InvalidSender),
    Failure { retryable: true, next: Next::Retry(None), ..no("REJECTED_FLOODING_FILTER", ErrorReason::RateLimited) },
    Failure {
        retryable: true,
        next: Next::Retry(Some(1)),
        ..no("REJECTED_SYSTEM_ERROR", ErrorReason::ProviderUnavailable)
    },
    no("REJECTED_DUPLICATE_MESSAGE_ID", ErrorReason::Duplicate),
    no("REJECTED_MESSAGE_TOO_LONG", ErrorReason::ContentTooLong),
];

/// Groups of errors, where the status says no more than that it failed. [assumed] but for their names.
const ERROR_GROUPS: &[(&str, i64, ErrorReason)] = &[
    ("HANDSET_ERRORS", 1, ErrorReason::RecipientUnreachable),
    ("USER_ERRORS", 2, ErrorReason::InvalidRequest),
    ("OPERATOR_ERRORS", 3, ErrorReason::ProviderUnavailable),
];

/// What a failing status and the error beside it come to. A name without a row is kept as the code.
pub fn failure(
    group: Group,
    status: &Map<String, Value>,
    error: &Map<String, Value>,
) -> (MessageStatus, DeliveryError) {
    let name = text(status, "name").unwrap_or_default();
    let row = FAILURES.iter().find(|row| row.name.eq_ignore_ascii_case(name.trim()));
    let has_error = integer(error, "id").is_some_and(|id| id != 0);
    let error_group = ERROR_GROUPS.iter().find(|(name, id, _)| match text(error, "groupName") {
        Some(given) => given.eq_ignore_ascii_case(name),
        None => integer(error, "groupId") == Some(*id),
    });
    let reason = match (row, error_group) {
        (Some(row), _) => row.reason,
        (None, _) if group == Group::Expired => ErrorReason::Expired,
        (None, Some((_, _, reason))) if has_error => *reason,
        (None, _) if group == Group::Undeliverable => ErrorReason::RecipientUnreachable,
        (None, _) => ErrorReason::Unknown,
    };
    // `permanent` is Infobip's own hint, where a row does not know better.
    let passes = has_error && flag(error, "permanent") == Some(false);
    let retryable = row.map_or(passes || reason == ErrorReason::Expired, |row| row.retryable);
    let said = |object: &Map<String, Value>, member: &str| text(object, member).unwrap_or_default();
    let (code, words) = match has_error {
        true => (said(error, "name"), said(error, "description")),
        false => (name, said(status, "description")),
    };
    let status = if group == Group::Expired { MessageStatus::Expired } else { MessageStatus::Failed };
    (status, DeliveryError { reason, provider_code: code, provider_message: words, retryable })
}

/// The same in the answer to a send: a no inside of a 200.
pub fn refused_inside(group: Group, status: &Map<String, Value>) -> SendError {
    let (_, error) = failure(group, status, &Map::new());
    let name = text(status, "name").unwrap_or_default();
    match FAILURES.iter().find(|row| row.name.eq_ignore_ascii_case(name.trim())).map(|row| row.next) {
        Some(Next::Retry(retries)) => SendError::NotTaken { error, retry_after: None, retries },
        _ => SendError::Refused(error),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    fn said(error: &SendError) -> String {
        match error {
            SendError::Refused(error) => format!("{} {} refused", error.reason, error.retryable),
            SendError::NotTaken { error, retries, .. } => format!("{} {} {retries:?}", error.reason, error.retryable),
            SendError::InDoubt { .. } => "in doubt".into(),
        }
    }

    fn answer(status: u16, body: Value) -> SendError {
        let status = StatusCode::from_u16(status).unwrap();
        let answer =
            HttpAnswer { status, retry_after: None, headers: Default::default(), body: body.to_string().into() };
        refused(&answer, &map(body))
    }

    #[test]
    fn every_refusal_has_its_case() {
        let cases = [
            ("BAD_REQUEST", "E400", "INVALID_REQUEST false refused"),
            ("UNAUTHORIZED", "E401", "SENDER_UNAUTHORIZED false refused"),
            ("FORBIDDEN", "E403", "SENDER_UNAUTHORIZED false refused"),
            ("NOT_FOUND", "E404", "INVALID_REQUEST false refused"),
            ("TOO_MANY_REQUESTS", "E429", "RATE_LIMITED true None"),
            ("GENERAL_ERROR", "E500", "in doubt"),
        ];
        for (code, newer, expected) in cases {
            let exception = json!({ "requestError": { "serviceException": { "messageId": code, "text": "x" } } });
            assert_eq!(said(&answer(400, exception)), expected, "{code}");
            assert_eq!(said(&answer(400, json!({ "errorCode": newer, "description": "x" }))), expected, "{newer}");
        }
        assert_eq!(cases.len(), REFUSALS.len(), "a row has no case");
        let other = json!({ "requestError": { "serviceException": { "messageId": "BRAND_NEW", "text": "x" } } });
        let SendError::Refused(error) = answer(422, other.clone()) else { panic!("refused") };
        assert_eq!((error.reason, error.provider_code.as_str()), (ErrorReason::InvalidRequest, "BRAND_NEW"));
        assert_eq!(said(&answer(503, other)), "in doubt");
    }

    #[test]
    fn every_field_has_its_case() {
        let cases = [
            ("to", "INVALID_RECIPIENT"),
            ("from", "INVALID_SENDER"),
            ("content.mediaUrl", "INVALID_MEDIA"),
            ("content.filename", "INVALID_MEDIA"),
            ("content.templateName", "TEMPLATE_NOT_FOUND"),
            ("content.language", "TEMPLATE_NOT_FOUND"),
            ("content.templateData.body.placeholders[1]", "TEMPLATE_PARAMETERS"),
            ("content.text", "INVALID_CONTENT"),
        ];
        for (field, expected) in cases {
            for path in [field.to_owned(), format!("messages[0].{field}")] {
                let wrong = json!({ path.clone(): ["must not be blank"] });
                let exception = json!({ "messageId": "BAD_REQUEST", "text": "Bad Request", "validationErrors": wrong });
                let error = answer(400, json!({ "requestError": { "serviceException": exception } }));
                let SendError::Refused(error) = error else { panic!("{error:?}") };
                assert_eq!(error.reason.as_str(), expected, "{path}");
                assert_eq!(error.provider_message, format!("Bad Request ({path} must not be blank)"));
                let newer = json!({ "errorCode": "E400", "violations": [{ "property": path, "violation": "blank" }] });
                let SendError::Refused(error) = answer(400, newer) else { panic!("refused") };
                assert_eq!(error.reason.as_str(), expected, "{path}");
            }
        }
        assert_eq!(cases.len(), FIELDS.len(), "a field has no case");
        for none in ["tooth", "contents", "notifyUrl", "messages[0", ""] {
            assert_eq!(reason_of(none), None, "{none}");
        }
    }

    #[test]
    fn validation_errors_may_be_lists_or_texts() {
        let exception = |value: Value| map(json!({ "validationErrors": value }));
        for (value, expected) in [
            (json!({ "to": ["a", "b"] }), vec![("to", "a; b")]),
            (json!({ "to": "a" }), vec![("to", "a")]),
            (json!({ "to": { "x": 1 } }), vec![("to", "")]),
            (json!(["to"]), vec![]),
            (json!(null), vec![]),
        ] {
            let read = validation_errors(&exception(value));
            let read: Vec<_> = read.iter().map(|(field, words)| (field.as_str(), words.as_str())).collect();
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn every_failing_name_has_its_case() {
        let cases = [
            ("REJECTED_NETWORK", "INVALID_RECIPIENT false refused"),
            ("REJECTED_PREFIX_MISSING", "INVALID_RECIPIENT false refused"),
            ("REJECTED_DND", "RECIPIENT_OPTED_OUT false refused"),
            ("REJECTED_SOURCE", "INVALID_SENDER false refused"),
            ("REJECTED_NOT_ENOUGH_CREDITS", "BILLING true refused"),
            ("REJECTED_SENDER", "INVALID_SENDER false refused"),
            ("REJECTED_DESTINATION", "INVALID_RECIPIENT false refused"),
            ("REJECTED_PREPAID_PACKAGE_EXPIRED", "BILLING true refused"),
            ("REJECTED_DESTINATION_NOT_REGISTERED", "INVALID_RECIPIENT false refused"),
            ("REJECTED_ROUTE_NOT_AVAILABLE", "INVALID_SENDER false refused"),
            ("REJECTED_FLOODING_FILTER", "RATE_LIMITED true None"),
            ("REJECTED_SYSTEM_ERROR", "PROVIDER_UNAVAILABLE true Some(1)"),
            ("REJECTED_DUPLICATE_MESSAGE_ID", "DUPLICATE false refused"),
            ("REJECTED_MESSAGE_TOO_LONG", "CONTENT_TOO_LONG false refused"),
        ];
        for (name, expected) in cases {
            let status = map(json!({ "groupId": 5, "name": name }));
            assert_eq!(said(&refused_inside(Group::Rejected, &status)), expected, "{name}");
        }
        assert_eq!(cases.map(|(name, _)| name).to_vec(), FAILURES.iter().map(|row| row.name).collect::<Vec<_>>());
    }

    #[test]
    fn the_group_of_the_error_says_more_than_that_it_failed() {
        let error = |group: Value, permanent: bool| {
            let mut error =
                json!({ "id": 7_777, "name": "EC_SOMETHING", "description": "Something", "permanent": permanent });
            error.as_object_mut().unwrap().extend(map(group));
            map(error)
        };
        let none = map(json!({ "id": 0, "name": "NO_ERROR", "groupId": 0, "groupName": "OK", "permanent": false }));
        for (group, error, expected) in [
            (
                Group::Undeliverable,
                error(json!({ "groupName": "HANDSET_ERRORS" }), true),
                "FAILED RECIPIENT_UNREACHABLE false EC_SOMETHING",
            ),
            (Group::Undeliverable, error(json!({ "groupId": 2 }), true), "FAILED INVALID_REQUEST false EC_SOMETHING"),
            (Group::Rejected, error(json!({ "groupId": 3 }), false), "FAILED PROVIDER_UNAVAILABLE true EC_SOMETHING"),
            (Group::Rejected, error(json!({ "groupId": 77 }), true), "FAILED UNKNOWN false EC_SOMETHING"),
            (Group::Undeliverable, none.clone(), "FAILED RECIPIENT_UNREACHABLE false X"),
            (Group::Rejected, none.clone(), "FAILED UNKNOWN false X"),
            (Group::Expired, none, "EXPIRED EXPIRED true X"),
        ] {
            let (status, error) = failure(group, &map(json!({ "name": "X" })), &error);
            let said = format!("{} {} {} {}", status.as_str(), error.reason, error.retryable, error.provider_code);
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn groups_are_known_by_name_and_without_one_by_number() {
        for (status, group) in [
            (json!({ "groupName": "DELIVERED", "groupId": 1 }), Some(Group::Delivered)),
            (json!({ "groupName": "delivered" }), Some(Group::Delivered)),
            (json!({ "groupId": 3 }), Some(Group::Delivered)),
            (json!({ "groupId": "4" }), Some(Group::Expired)),
            (json!({ "groupName": "TELEPORTED", "groupId": 3 }), None),
            (json!({ "groupId": 9 }), None),
            (json!({}), None),
        ] {
            assert_eq!(Group::of(&map(status.clone())), group, "{status}");
        }
    }
}
