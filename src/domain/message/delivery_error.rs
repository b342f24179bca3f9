//! Why a message was not delivered, in our words and the provider's.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a message was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryError {
    /// Our word.
    pub reason: ErrorReason,
    /// The provider's code, as it came.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider_code: String,
    /// The provider's words, as they came.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider_message: String,
    /// Whether the same message may pass later.
    pub retryable: bool,
}

impl DeliveryError {
    /// Without the provider's words, which may name a person.
    pub fn bare(self) -> Self {
        Self { provider_message: String::new(), ..self }
    }

    /// An error of our own finding.
    pub fn ours(reason: ErrorReason, message: impl Into<String>, retryable: bool) -> Self {
        Self { reason, provider_code: String::new(), provider_message: message.into(), retryable }
    }
}

macro_rules! error_reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $word:literal,)+) => {
        /// Why, in our words: one list for all providers. The numbers are the contract's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[repr(i32)]
        pub enum ErrorReason {
            $($(#[$doc])* #[serde(rename = $word)] $variant = $number,)+
        }

        impl ErrorReason {
            /// The contract's word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

error_reasons! {
    /// The provider gave a code that we have no row for.
    Unknown = 1 "UNKNOWN",
    /// No such number, or not one to write to.
    InvalidRecipient = 2 "INVALID_RECIPIENT",
    /// The person does not use WhatsApp.
    NotOnWhatsapp = 3 "NOT_ON_WHATSAPP",
    /// The person cannot be reached.
    RecipientUnreachable = 4 "RECIPIENT_UNREACHABLE",
    /// The 24-hour window is closed and it is not a template.
    OutsideWindow = 5 "OUTSIDE_WINDOW",
    /// The content is refused.
    InvalidContent = 6 "INVALID_CONTENT",
    /// The text is too long.
    ContentTooLong = 7 "CONTENT_TOO_LONG",
    /// The file is refused.
    InvalidMedia = 8 "INVALID_MEDIA",
    /// The file could not be fetched.
    MediaUnreachable = 9 "MEDIA_UNREACHABLE",
    /// No such template in that language.
    TemplateNotFound = 10 "TEMPLATE_NOT_FOUND",
    /// The parameters do not fit the template.
    TemplateParameters = 11 "TEMPLATE_PARAMETERS",
    /// The template is paused or disabled.
    TemplatePaused = 12 "TEMPLATE_PAUSED",
    /// The provider does not know the sender.
    InvalidSender = 13 "INVALID_SENDER",
    /// Credentials refused.
    SenderUnauthorized = 14 "SENDER_UNAUTHORIZED",
    /// The sender is blocked.
    SenderBlocked = 15 "SENDER_BLOCKED",
    /// The account cannot pay.
    Billing = 16 "BILLING",
    /// Too much in too short a time.
    RateLimited = 17 "RATE_LIMITED",
    /// Taken for spam.
    Spam = 18 "SPAM",
    /// Taken for a duplicate.
    Duplicate = 19 "DUPLICATE",
    /// The person got enough of this kind.
    RecipientCapped = 20 "RECIPIENT_CAPPED",
    /// The person does not want it.
    RecipientOptedOut = 21 "RECIPIENT_OPTED_OUT",
    /// The provider cannot carry it.
    NotSupported = 22 "NOT_SUPPORTED",
    /// The provider says that the request is wrong.
    InvalidRequest = 23 "INVALID_REQUEST",
    /// The provider cannot be reached, or is out of order.
    ProviderUnavailable = 24 "PROVIDER_UNAVAILABLE",
    /// In doubt, and no word came.
    OutcomeUnknown = 25 "OUTCOME_UNKNOWN",
    /// Its time ran out.
    Expired = 26 "EXPIRED",
    /// Called back.
    Cancelled = 27 "CANCELLED",
    /// Its sender was deleted.
    SenderDeleted = 28 "SENDER_DELETED",
    /// Too much to this person in too short a time.
    ContactRateLimited = 29 "CONTACT_RATE_LIMITED",
}

impl fmt::Display for ErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
