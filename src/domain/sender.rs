//! WhatsApp identities that the gateway can send from.

use serde::{Deserialize, Serialize};

use super::opt_out::OptOutWords;
use super::pace::Rate;
use super::{Millis, SenderId};

/// A sender, without its provider's settings: those are the adapter's.
#[derive(Debug, Clone, PartialEq)]
pub struct Sender {
    /// Chosen by the operator.
    pub id: SenderId,
    /// The provider's name: `devino`, `sandbox`.
    pub provider: &'static str,
    /// For people.
    pub display_name: String,
    /// The sender's own number, as given; may be empty.
    pub phone_number: String,
    /// Whether it sends.
    pub state: SenderState,
    /// How much at once.
    pub limits: Limits,
    /// Language of templates that name none.
    pub default_language_code: String,
    /// By what words people opt out.
    pub opt_out_words: OptOutWords,
    /// Where incoming messages are POSTed; empty: nowhere. May hold a token: never logged.
    pub incoming_callback_url: String,
    /// When it was made.
    pub create_at_ms: Millis,
    /// When it was last changed.
    pub update_at_ms: Millis,
}

/// Whether a sender sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SenderState {
    /// Messages are handed over.
    Active,
    /// Messages are accepted and wait.
    Paused,
}

impl SenderState {
    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            SenderState::Active => "ACTIVE",
            SenderState::Paused => "PAUSED",
        }
    }
}

/// Whether a sender can send, as the last calls to its provider showed. The numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i16)]
pub enum SenderHealth {
    /// It works.
    Ok = 1,
    /// The provider refuses its credentials.
    CredentialsRefused = 2,
    /// The provider cannot be reached or fails.
    Unreachable = 3,
    /// WhatsApp or the provider restricted or banned it.
    Blocked = 4,
}

impl SenderHealth {
    /// By its number.
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Ok, Self::CredentialsRefused, Self::Unreachable, Self::Blocked].into_iter().find(|h| *h as i16 == number)
    }
}

/// How much a sender may do at once; what is not set is the provider's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// How fast, over all replicas.
    #[serde(flatten)]
    pub rate: Rate,
    /// Calls to the provider under way at the same time; each may carry several messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
}
