//! The person on the other side.

use serde::{Deserialize, Serialize};

/// What a provider told us about who wrote: any of these may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contact {
    /// The number as the provider gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// WhatsApp's own id of the account: digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wa_id: Option<String>,
    /// Business-scoped user id: what is left when a person hides the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

impl Contact {
    /// Somebody of whom only a number is known.
    pub fn of_phone(number: impl Into<String>) -> Self {
        Self { phone_number: Some(number.into()), ..Self::default() }
    }

    /// What conversations are kept by: digits where a number is known, else the user id; empty when nobody is named.
    pub fn peer(&self) -> String {
        let number = self.phone_number.as_deref().or(self.wa_id.as_deref());
        number
            .and_then(super::PhoneNumber::digits_of)
            .or_else(|| self.user_id.clone())
            .or_else(|| number.map(str::to_owned))
            .unwrap_or_default()
    }
}
