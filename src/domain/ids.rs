//! Ids are types, so that one cannot be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Reason;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id, later than every id that this process made before.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = (Reason, String);

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    "" => Err((Reason::Required, "an id is needed".into())),
                    text => Uuid::try_parse(text)
                        .map(Self)
                        .map_err(|_| (Reason::Invalid, format!("{text:?} is not a UUID"))),
                }
            }
        }
    };
}

uuid_id! {
    /// One message, outbound or incoming: UUIDv7.
    MessageId
}
uuid_id! {
    /// One file that a person sent: UUIDv7.
    MediaId
}
uuid_id! {
    /// One event; the same after any replay.
    EventId
}

/// A sender's id, chosen by the operator: `[a-z0-9-]{1,63}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SenderId(String);

impl SenderId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An id that was checked before it was stored.
    pub fn trusted(id: String) -> Self {
        Self(id)
    }
}

impl fmt::Display for SenderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SenderId {
    type Err = (Reason, String);

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        match text.len() {
            0 => Err((Reason::Required, "a sender id is needed".into())),
            64.. => Err((Reason::TooLong, format!("{} characters; a sender id has at most 63", text.len()))),
            _ if text.chars().all(fits) => Ok(Self(text.to_owned())),
            _ => Err((Reason::Invalid, "a sender id has lower-case letters, digits and '-' only".into())),
        }
    }
}
