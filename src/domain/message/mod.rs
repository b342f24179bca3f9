//! Outbound messages: what a caller asked for, and where it stands.

use super::status::{MessageStatus, Seen};
use super::{MessageId, Millis, SenderId};

mod attempt;
mod delivery_error;
mod request;

pub use attempt::{Attempt, AttemptOutcome, Exchange};
pub use delivery_error::{DeliveryError, ErrorReason};
pub use request::{DEFAULT_VALIDITY_MS, InDoubtPolicy, MAX_AHEAD_MS, NewMessage, Priority, WindowPolicy};

/// A message as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Position of its ACCEPTED event: the order of acceptance.
    pub seq: i64,
    /// Who has it now: the sender that was asked for, or one of its fallbacks.
    pub sender: SenderId,
    /// What was asked for.
    pub request: NewMessage,
    /// The idempotency key that it was sent with.
    pub idempotency_key: Option<String>,
    /// When it was accepted.
    pub accept_at_ms: Millis,
    /// When it may no longer be handed over.
    pub expire_at_ms: Millis,
    /// Where it stands.
    pub status: MessageStatus,
    /// Which statuses were reported.
    pub seen: Seen,
    /// How often it was handed over.
    pub attempt: i32,
    /// When its status last changed.
    pub status_at_ms: Millis,
    /// The next try, the end of a wait or of a lease; nothing when there is nothing to wait for.
    pub due_at_ms: Option<Millis>,
    /// The provider's id, of the last attempt that has one.
    pub provider_message_id: Option<String>,
    /// Why it was not delivered; only with a failure.
    pub error: Option<DeliveryError>,
    /// What it is held for.
    pub hold: Option<HoldReason>,
    /// When its recipient and what it said were erased.
    pub erase_at_ms: Option<Millis>,
}

/// Why a message is HELD. The numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum HoldReason {
    /// The person has not written within the last 24 hours: until they do.
    WindowClosed = 1,
}

impl HoldReason {
    /// The reason of that number.
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::WindowClosed].into_iter().find(|reason| *reason as i16 == number)
    }
}
