//! Credentials in memory: never shown by `Debug`, written out only to be sealed.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::error::{Reason, Violations};

/// A credential. `Serialize` writes it out, since settings are serialised for one purpose only: to be sealed.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

impl Secret {
    /// The credential itself, for the request that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }

    /// Equality in constant time.
    pub fn matches(&self, given: &str) -> bool {
        use subtle::ConstantTimeEq as _;
        !self.is_empty() && bool::from(self.expose().as_bytes().ct_eq(given.as_bytes()))
    }

    /// Notes what is wrong with a credential that goes into a header. `what` says what belongs there.
    pub fn check_for_header(&self, field: &str, what: &str, violations: &mut Violations) {
        let given = self.expose();
        if given.is_empty() {
            violations.add(field, Reason::Required, what);
        } else if !given.bytes().all(|b| matches!(b, b' '..=b'~')) || given.trim() != given {
            // A line break that came along with it would make each request fail.
            let description = "it has printable ASCII characters only, and no blanks around it";
            violations.add(field, Reason::Invalid, description);
        }
    }

    /// For the contract's message: the credential, or nothing.
    pub fn told(&self, secrets: Secrets) -> String {
        match secrets {
            Secrets::Hidden => String::new(),
            Secrets::Shown => self.expose().to_owned(),
        }
    }
}

/// Whether a message of the contract is made with credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// For answers.
    Hidden,
    /// For laying an update over what is stored.
    Shown,
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_empty() { "Secret(none)" } else { "Secret(hidden)" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}
