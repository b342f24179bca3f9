//! Which number plays what.

use std::time::Duration;

use crate::domain::MessageStatus;
use crate::domain::message::{DeliveryError, ErrorReason};

/// How the sandbox answers a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// Takes it.
    Takes,
    /// Takes it after this many seconds.
    TakesAfter(u64),
    /// Refuses it: not on WhatsApp.
    Refuses,
    /// Throttles the first two tries (retry after 1 s), then takes it.
    ThrottlesFirst,
    /// Takes it and loses the answer.
    LosesAnswer,
}

/// What one number plays.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// The number's digits.
    pub number: &'static str,
    /// For the docs.
    pub what: &'static str,
    /// How the hand-over is answered.
    pub answering: Answering,
    /// Statuses, with milliseconds after the hand-over.
    pub statuses: &'static [(MessageStatus, u64)],
    /// Whether the person answers, a second later.
    pub replies: bool,
}

const DELIVERED_AND_READ: &[(MessageStatus, u64)] = &[(MessageStatus::Delivered, 150), (MessageStatus::Read, 400)];

/// Any number that has no script.
pub const ANY: Script = Script {
    number: "",
    what: "taken, delivered and read within a second",
    answering: Answering::Takes,
    statuses: DELIVERED_AND_READ,
    replies: false,
};

/// The scripted numbers. +1 500 555 is not given to anybody.
pub const SCRIPTS: &[Script] = &[
    Script { number: "15005550001", ..ANY },
    Script {
        number: "15005550002",
        what: "refused: not on WhatsApp",
        answering: Answering::Refuses,
        statuses: &[],
        ..ANY
    },
    Script {
        number: "15005550003",
        what: "throttled twice (retry after 1 s), then taken, delivered and read",
        answering: Answering::ThrottlesFirst,
        ..ANY
    },
    Script {
        number: "15005550004",
        what: "taken, but the answer is lost; delivered after 2 s, which settles the doubt",
        answering: Answering::LosesAnswer,
        statuses: &[(MessageStatus::Delivered, 2_000), (MessageStatus::Read, 2_500)],
        ..ANY
    },
    Script {
        number: "15005550005",
        what: "taken after 5 s, then delivered and read",
        answering: Answering::TakesAfter(5),
        ..ANY
    },
    Script {
        number: "15005550006",
        what: "taken, then failed: cannot be reached",
        statuses: &[(MessageStatus::Failed, 300)],
        ..ANY
    },
    Script { number: "15005550007", what: "delivered, read, and the person answers", replies: true, ..ANY },
    Script {
        number: "15005550008",
        what: "the answer is lost and no status ever comes",
        answering: Answering::LosesAnswer,
        statuses: &[],
        ..ANY
    },
    Script {
        number: "15005550009",
        what: "delivered, never read",
        statuses: &[(MessageStatus::Delivered, 150)],
        ..ANY
    },
    Script {
        number: "15005550010",
        what: "read is reported before delivered",
        statuses: &[(MessageStatus::Read, 150), (MessageStatus::Delivered, 400)],
        ..ANY
    },
];

/// What a number plays.
pub fn of(digits: &str) -> Script {
    SCRIPTS.iter().find(|script| script.number == digits).copied().unwrap_or(ANY)
}

/// What goes with a status that is a failure.
pub fn error_of(status: MessageStatus) -> Option<DeliveryError> {
    (status == MessageStatus::Failed)
        .then(|| error(ErrorReason::RecipientUnreachable, "F1", "the phone is off for good", false))
}

/// An error in the sandbox's words.
pub fn error(reason: ErrorReason, code: &str, message: &str, retryable: bool) -> DeliveryError {
    DeliveryError { reason, provider_code: code.into(), provider_message: message.into(), retryable }
}

/// How long a throttled hand-over should wait.
pub const THROTTLED: Duration = Duration::from_secs(1);
