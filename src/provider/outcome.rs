//! How a hand-over ends, and what HTTP says about it where a provider says nothing of its own.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;

use super::http::{CallError, HttpAnswer, redact};
use crate::domain::message::Exchange;
use crate::domain::{DeliveryError, ErrorReason};

/// How the hand-over of one message ended.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What it came to.
    pub outcome: Result<Receipt, SendError>,
    /// What was said, redacted; shared by the messages of one request.
    pub exchange: Option<Arc<Exchange>>,
    /// How much of its limits the provider says is used; nothing where it does not say.
    pub usage: Option<Usage>,
}

/// How much of a provider's limits is used, as its headers say before it throttles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Of the limit that is nearest: 1 is all of it, and it may be more.
    pub used: f64,
    /// How long it stays closed, when it is.
    pub regain: Option<Duration>,
}

/// The provider took it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's id; nothing where it gives none.
    pub provider_message_id: Option<String>,
}

/// The three cases that change what happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// A no that stays a no.
    Refused(DeliveryError),
    /// Never written, throttled, or a no that may pass: certainly not taken.
    NotTaken {
        /// Why.
        error: DeliveryError,
        /// The provider's wish, when it has one.
        retry_after: Option<Duration>,
        /// How many retries make sense; `None`: as long as the message is valid.
        retries: Option<u32>,
    },
    /// Written, and no answer that can be relied on.
    InDoubt {
        /// What happened instead, for people.
        detail: String,
    },
}

impl SendError {
    /// Written, and no answer that can be relied on.
    pub fn in_doubt(detail: impl Into<String>) -> Self {
        SendError::InDoubt { detail: detail.into() }
    }

    /// Certainly not taken, and worth trying for as long as the message is valid.
    pub fn not_taken(error: DeliveryError, retry_after: Option<Duration>) -> Self {
        SendError::NotTaken { error, retry_after, retries: None }
    }

    /// Content that this adapter has no form for: `provider devino carries no quotes`.
    pub fn not_supported(provider: &str, what: &str) -> Self {
        let words = format!("provider {provider} carries no {what}");
        SendError::Refused(DeliveryError::ours(ErrorReason::NotSupported, words, false))
    }

    /// What an HTTP status means where the provider's words say no more: a rule of ours, and the same for all. `code` and
    /// `message` are the provider's, when it gave any.
    pub fn of_status(answer: &HttpAnswer, code: &str, message: &str) -> Self {
        let status = answer.status;
        let error = |reason, retryable| DeliveryError {
            reason,
            provider_code: if code.is_empty() { format!("HTTP {}", status.as_u16()) } else { code.to_owned() },
            provider_message: message.to_owned(),
            retryable,
        };
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                SendError::Refused(error(ErrorReason::SenderUnauthorized, false))
            }
            StatusCode::PAYMENT_REQUIRED => SendError::Refused(error(ErrorReason::Billing, true)),
            StatusCode::PAYLOAD_TOO_LARGE => SendError::Refused(error(ErrorReason::ContentTooLong, false)),
            StatusCode::TOO_MANY_REQUESTS => {
                SendError::not_taken(error(ErrorReason::RateLimited, true), answer.retry_after)
            }
            // A proxy that waited in vain cannot know what stands behind it.
            StatusCode::REQUEST_TIMEOUT => SendError::in_doubt("HTTP 408"),
            status if status.is_server_error() || status.is_success() => {
                SendError::in_doubt(format!("HTTP {} {message}", status.as_u16()).trim_end())
            }
            _ => SendError::Refused(error(ErrorReason::InvalidRequest, false)),
        }
    }

    /// The same, with secrets taken out of the provider's words: they go into errors, and errors into events.
    pub fn without(self, secrets: &[&str]) -> Self {
        let clean = |error: DeliveryError| DeliveryError {
            provider_code: redact(error.provider_code, secrets),
            provider_message: redact(error.provider_message, secrets),
            ..error
        };
        match self {
            SendError::Refused(error) => SendError::Refused(clean(error)),
            SendError::NotTaken { error, retry_after, retries } => {
                SendError::NotTaken { error: clean(error), retry_after, retries }
            }
            SendError::InDoubt { detail } => SendError::InDoubt { detail: redact(detail, secrets) },
        }
    }
}

impl From<CallError> for SendError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotWritten(why) => {
                SendError::not_taken(DeliveryError::ours(ErrorReason::ProviderUnavailable, why, true), None)
            }
            CallError::NoAnswer(why) => SendError::in_doubt(why),
        }
    }
}
