//! Who is on the other side: a number, a business-scoped user id, or both.

use serde_json::{Map, Value};

use super::{Change, inside};
use crate::domain::{Contact, PhoneNumber};
use crate::provider::lenient::text;

/// Somebody, by what an item says of the number and of the user id; either may stand in the other's place.
pub(super) fn contact(ids: impl IntoIterator<Item = Option<String>>) -> Contact {
    let mut contact = Contact::default();
    for id in ids.into_iter().flatten() {
        let id = id.trim().to_owned();
        match PhoneNumber::digits_of(&id) {
            Some(digits) if contact.wa_id.is_none() => {
                contact.phone_number = Some(id);
                contact.wa_id = Some(digits);
            }
            None if contact.user_id.is_none() && !id.is_empty() => contact.user_id = Some(id),
            _ => {}
        }
    }
    contact
}

/// Who wrote an incoming message, and what the person calls itself. Another's profile beside it is not mixed in.
pub(super) fn author(change: &Change, item: &Map<String, Value>) -> (Contact, String) {
    let own = [text(item, "from"), text(item, "from_user_id")];
    let is_of = |profile: &&Map<String, Value>| {
        let ids = [text(profile, "wa_id"), text(profile, "user_id")];
        ids.iter().flatten().any(|id| own.iter().flatten().any(|own| own == id))
    };
    let only = match (&own, change.contacts.as_slice()) {
        ([None, None], [only]) => Some(only),
        _ => None,
    };
    let Some(profile) = change.contacts.iter().find(is_of).or(only) else { return (contact(own), String::new()) };
    let [from, user_id] = own;
    let username = Some(inside(profile, "profile", "username")).filter(|name| !name.is_empty());
    let name = match inside(profile, "profile", "name") {
        name if name.is_empty() => username.clone().unwrap_or_default(),
        name => name,
    };
    let contact = contact([from, user_id, text(profile, "wa_id"), text(profile, "user_id")]);
    (Contact { username, ..contact }, name)
}
