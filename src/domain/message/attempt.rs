//! Hand-overs of messages, and what was said by them.

use serde::{Deserialize, Serialize};

use super::DeliveryError;
use crate::domain::{Millis, SenderId};

/// One hand-over of a message to a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// 1 is the first.
    pub number: i32,
    /// Through which sender.
    pub sender: SenderId,
    /// When it was on disk, before the call.
    pub start_at_ms: Millis,
    /// When its outcome was.
    pub end_at_ms: Option<Millis>,
    /// How it ended; nothing while it is under way.
    pub outcome: Option<AttemptOutcome>,
    /// The provider's id.
    pub provider_message_id: Option<String>,
    /// Why it did not pass.
    pub error: Option<DeliveryError>,
    /// What was said, redacted.
    pub exchange: Option<Exchange>,
    /// Who took the message over after it, and why.
    pub passed: Option<(SenderId, DeliveryError)>,
    /// Whether the template of the message's window policy went in its place.
    pub instead: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i16)]
pub enum AttemptOutcome {
    /// The provider took it.
    Taken = 1,
    /// The provider said no.
    Refused = 2,
    /// It never got there, or was asked to wait.
    NotTaken = 3,
    /// Nobody knows.
    InDoubt = 4,
    /// Nobody was called: this sender cannot send it.
    Skipped = 5,
}

impl AttemptOutcome {
    /// The outcome of that number.
    pub fn from_number(number: i16) -> Option<Self> {
        let all = [Self::Taken, Self::Refused, Self::NotTaken, Self::InDoubt, Self::Skipped];
        all.into_iter().find(|outcome| *outcome as i16 == number)
    }
}

/// What was said between the gateway and a provider, without secrets, numbers of people or texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// HTTP method.
    pub method: String,
    /// Path, without query.
    pub path: String,
    /// HTTP status; nothing when no answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The answer's body, cut to 2 KiB, or what went wrong instead.
    pub answer: String,
    /// How long it took.
    pub elapsed_ms: i64,
}
