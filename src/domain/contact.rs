//! The person on the other side.

use serde::{Deserialize, Serialize};

use super::PhoneNumber;
use super::phone::{peer_of, variants_of};

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
    /// The name that a person chose at WhatsApp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

impl Contact {
    /// Somebody of whom only a number is known.
    pub fn of_phone(number: impl Into<String>) -> Self {
        Self { phone_number: Some(number.into()), ..Self::default() }
    }

    /// What conversations are kept by: the number where one is known, else the user id; empty when nobody is named.
    pub fn peer(&self) -> String {
        self.peers().next().unwrap_or_default()
    }

    /// All that the person may be asked for by: numbers in their one form ([`peer_of`]), and the user id (I10).
    pub fn peers(&self) -> impl Iterator<Item = String> {
        let number = |given: &Option<String>| given.as_deref().and_then(PhoneNumber::digits_of).map(|d| peer_of(&d));
        let numbers = [number(&self.phone_number), number(&self.wa_id)];
        let others = [self.user_id.clone(), self.phone_number.clone(), self.wa_id.clone()];
        numbers.into_iter().chain(others).flatten()
    }

    /// What the person's windows are kept by: each number in its one form, and the user id.
    pub fn conversations(&self) -> Vec<String> {
        let number = |given: &Option<String>| given.as_deref().and_then(PhoneNumber::digits_of).map(|d| peer_of(&d));
        let all = [number(&self.phone_number), number(&self.wa_id), self.user_id.clone()];
        let mut all: Vec<String> = all.into_iter().flatten().filter(|peer| !peer.is_empty()).collect();
        all.dedup();
        all
    }

    /// Other ways to write the person's number, digits only.
    pub fn number_variants(&self) -> Vec<String> {
        let given = self.phone_number.as_deref().or(self.wa_id.as_deref());
        given.and_then(PhoneNumber::digits_of).map(|digits| variants_of(&digits)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i10_a_person_is_found_by_whatever_is_known() {
        let contact = |phone: &str, user: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Contact { phone_number: some(phone), wa_id: None, user_id: some(user), username: None }
        };
        let has = |contact: &Contact, peer: &str| contact.peers().any(|one| one == peer);
        let hidden = contact("", "BR.1349");
        assert_eq!(hidden.peer(), "BR.1349");
        let both = contact("553187654321", "BR.1349");
        assert_eq!(both.peer(), "5531987654321");
        assert!(has(&both, "5531987654321") && has(&both, "BR.1349") && !has(&both, "5531987654322"));
        let moved = contact("5531987654322", "BR.1349");
        assert!(has(&moved, "5531987654322") && has(&moved, "BR.1349"));
        assert_eq!(contact("", "").peer(), "");
        assert_eq!(contact("AcmeCare", "").peer(), "AcmeCare");
        assert_eq!(both.number_variants(), ["5531987654321"]);
        assert!(hidden.number_variants().is_empty());
    }
}
