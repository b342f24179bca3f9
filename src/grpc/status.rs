//! Errors on the wire: each has its code, its reason, and what a program or a person needs to go on.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::fit::Way;
use crate::error::Error;

/// `google.rpc.ErrorInfo.domain` of every error.
pub const DOMAIN: &str = "recado";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        told(error, Way::Headers)
    }
}

fn told(error: Error, way: Way) -> Status {
    let message = way.message(error.to_string());
    let mut details = ErrorDetails::new();
    let mut metadata = HashMap::new();
    let mut note = |key: &str, value: String| drop(metadata.insert(key.to_owned(), way.value(value)));
    let (code, reason) = match error {
        Error::Invalid(violations) => {
            details.set_bad_request(way.violations(&violations, &message));
            (Code::InvalidArgument, "INVALID_REQUEST")
        }
        Error::Malformed(_) => (Code::InvalidArgument, "MALFORMED_REQUEST"),
        Error::NotFound { resource, name } => {
            details.set_resource_info(resource, way.value(name.clone()), "", message.clone());
            note("resource", resource.to_owned());
            note("name", name);
            let reason = match resource {
                "sender" => "SENDER_NOT_FOUND",
                "message" => "MESSAGE_NOT_FOUND",
                _ => "NOT_FOUND",
            };
            (Code::NotFound, reason)
        }
        Error::AlreadyExists { resource, name } => {
            note("resource", resource.to_owned());
            note("name", name);
            (Code::AlreadyExists, "ALREADY_EXISTS")
        }
        Error::KeyReused { message_id, fields, .. } => {
            note("message_id", message_id);
            note("fields", way.names(&fields));
            (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
        }
        Error::Precondition { reason, metadata, .. } => {
            metadata.into_iter().for_each(|(key, value)| note(key, value));
            (Code::FailedPrecondition, reason)
        }
        Error::CursorCompacted { oldest } => {
            note("oldest_cursor", oldest);
            (Code::OutOfRange, "CURSOR_COMPACTED")
        }
        Error::SubscriptionHeld { subscription } => {
            note("subscription", subscription);
            (Code::AlreadyExists, "SUBSCRIPTION_HELD")
        }
        Error::SubscriptionTakenOver { cursor, cause } => {
            note("cursor", cursor);
            note("cause", cause.to_owned());
            (Code::Aborted, "SUBSCRIPTION_TAKEN_OVER")
        }
        Error::SlowConsumer { cursor, retry_after } => {
            note("cursor", cursor);
            details.set_retry_info(Some(retry_after));
            (Code::ResourceExhausted, "SLOW_CONSUMER")
        }
        Error::Unauthenticated(_) => (Code::Unauthenticated, "UNAUTHENTICATED"),
        Error::KeyRevoked => (Code::Unauthenticated, "KEY_REVOKED"),
        Error::Denied(_) => (Code::PermissionDenied, "PERMISSION_DENIED"),
        Error::Overloaded { retry_after, .. } => {
            details.set_retry_info(Some(retry_after));
            (Code::ResourceExhausted, "OVERLOADED")
        }
        Error::MediaNotReady { retry_after, .. } => {
            details.set_retry_info(Some(retry_after));
            (Code::Unavailable, "MEDIA_NOT_READY")
        }
        Error::GoingAway { retry_after } => {
            details.set_retry_info(Some(retry_after));
            (Code::Unavailable, "GOING_AWAY")
        }
        Error::TooSlow { .. } => (Code::DeadlineExceeded, "UPLOAD_TOO_SLOW"),
        Error::Unavailable { retry_after } => {
            details.set_retry_info(Some(retry_after));
            (Code::Unavailable, "STORE_UNAVAILABLE")
        }
        Error::ProviderUnavailable { retry_after, .. } => {
            details.set_retry_info(Some(retry_after));
            (Code::Unavailable, "PROVIDER_UNAVAILABLE")
        }
        Error::NotAtProvider { .. } => (Code::Unimplemented, "NOT_IMPLEMENTED"),
        Error::Internal(cause) => {
            tracing::error!(error = format!("{cause:#}"), "a call failed for a fault of the gateway");
            (Code::Internal, "INTERNAL")
        }
    };
    details.set_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// The reason that a status of ours gives.
pub(super) fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The same as a message, for the entries of a batch.
pub(super) fn embedded(error: Error) -> tonic_types::pb::Status {
    use prost::Message as _;
    let status = told(error, Way::Body);
    // Its details are a `google.rpc.Status` already, code and message included.
    tonic_types::pb::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::pb::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}
