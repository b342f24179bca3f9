//! Address-book entries that people send, or are sent. Providers name the members alike but spell them each in their own way; one
//! documents objects as texts, so all forms are taken.

use serde_json::{Map, Value};

use crate::domain::content::{CardAddress, CardEmail, CardName, CardOrganization, CardPhone, CardUrl, ContactCard};
use crate::provider::lenient::text;

/// Names of the members that are not spelt alike everywhere. `phones`, `emails`, `addresses`, `urls`, `birthday` and what
/// is one word inside them are.
#[derive(Debug, Clone, Copy)]
pub struct Spelling {
    /// Object or text: who it is.
    pub name: &'static str,
    /// In the name: the whole of it.
    pub formatted_name: &'static str,
    /// In the name.
    pub first_name: &'static str,
    /// In the name.
    pub last_name: &'static str,
    /// In the name.
    pub middle_name: &'static str,
    /// In the name.
    pub prefix: &'static str,
    /// In the name.
    pub suffix: &'static str,
    /// Object or text: where the person works.
    pub organization: &'static str,
    /// In a phone: its WhatsApp id.
    pub wa_id: &'static str,
    /// In an address: two letters.
    pub country_code: &'static str,
}

/// Reads cards: an array, one object, or a text (JSON in a text, or a name).
pub fn read(value: &Value, spelling: &Spelling) -> Vec<ContactCard> {
    let all = |list: &[Value]| list.iter().filter_map(|value| card(value, spelling)).collect();
    match value {
        Value::Array(list) => all(list),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(list)) => all(&list),
            Ok(value @ Value::Object(_)) => card(&value, spelling).into_iter().collect(),
            _ => card(value, spelling).into_iter().collect(),
        },
        value => card(value, spelling).into_iter().collect(),
    }
}

fn card(value: &Value, spelling: &Spelling) -> Option<ContactCard> {
    let card = match value {
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(members)) => from_members(&members, spelling),
            _ => ContactCard { name: named(text), ..ContactCard::default() },
        },
        Value::Object(members) => from_members(members, spelling),
        _ => return None,
    };
    (card != ContactCard::default()).then_some(card)
}

fn named(text: &str) -> CardName {
    CardName { formatted_name: text.trim().to_owned(), ..CardName::default() }
}

fn from_members(members: &Map<String, Value>, spelling: &Spelling) -> ContactCard {
    let member = |of: &Map<String, Value>, name: &str| text(of, name).unwrap_or_default();
    let name = match members.get(spelling.name) {
        Some(Value::Object(name)) => CardName {
            formatted_name: member(name, spelling.formatted_name),
            first_name: member(name, spelling.first_name),
            last_name: member(name, spelling.last_name),
            middle_name: member(name, spelling.middle_name),
            prefix: member(name, spelling.prefix),
            suffix: member(name, spelling.suffix),
        },
        Some(Value::String(name)) => named(name),
        _ => CardName::default(),
    };
    let organization = match members.get(spelling.organization) {
        Some(Value::Object(company)) => CardOrganization {
            company: member(company, "company"),
            department: member(company, "department"),
            title: member(company, "title"),
        },
        Some(Value::String(company)) => CardOrganization { company: company.clone(), ..CardOrganization::default() },
        _ => CardOrganization::default(),
    };
    ContactCard {
        name,
        phones: list(members, "phones", "phone", |phone| CardPhone {
            phone: member(phone, "phone"),
            r#type: member(phone, "type"),
            wa_id: member(phone, spelling.wa_id),
        }),
        emails: list(members, "emails", "email", |email| CardEmail {
            email: member(email, "email"),
            r#type: member(email, "type"),
        }),
        addresses: list(members, "addresses", "street", |address| CardAddress {
            street: member(address, "street"),
            city: member(address, "city"),
            state: member(address, "state"),
            zip: member(address, "zip"),
            country: member(address, "country"),
            country_code: member(address, spelling.country_code),
            r#type: member(address, "type"),
        }),
        organization: (organization != CardOrganization::default()).then_some(organization),
        urls: list(members, "urls", "url", |url| CardUrl { url: member(url, "url"), r#type: member(url, "type") }),
        birthday: member(members, "birthday"),
    }
}

/// A list of parts, one part, or texts that stand for the part's main member.
fn list<T: Default + PartialEq>(
    members: &Map<String, Value>,
    name: &str,
    main: &str,
    part: impl Fn(&Map<String, Value>) -> T,
) -> Vec<T> {
    let one = |value: &Value| match value {
        Value::Object(members) => part(members),
        Value::String(_) | Value::Number(_) => part(&Map::from_iter([(main.to_owned(), value.clone())])),
        _ => T::default(),
    };
    let parts = match members.get(name) {
        Some(Value::Array(list)) => list.iter().map(one).collect(),
        Some(value) => vec![one(value)],
        None => Vec::new(),
    };
    parts.into_iter().filter(|part| *part != T::default()).collect()
}

/// Writes a card; what is empty is left out.
pub fn write(card: &ContactCard, spelling: &Spelling) -> Value {
    let name = &card.name;
    let mut members = texts([("birthday", &card.birthday)]);
    let name = texts([
        (spelling.formatted_name, &name.formatted_name),
        (spelling.first_name, &name.first_name),
        (spelling.last_name, &name.last_name),
        (spelling.middle_name, &name.middle_name),
        (spelling.prefix, &name.prefix),
        (spelling.suffix, &name.suffix),
    ]);
    members.insert(spelling.name.to_owned(), name.into());
    if let Some(work) = &card.organization {
        let work = texts([("company", &work.company), ("department", &work.department), ("title", &work.title)]);
        members.insert(spelling.organization.to_owned(), work.into());
    }
    let mut list = |name: &str, parts: Vec<Map<String, Value>>| {
        if !parts.is_empty() {
            members.insert(name.to_owned(), parts.into_iter().map(Value::Object).collect());
        }
    };
    let phone = |p: &CardPhone| texts([("phone", &p.phone), ("type", &p.r#type), (spelling.wa_id, &p.wa_id)]);
    list("phones", card.phones.iter().map(phone).collect());
    list("emails", card.emails.iter().map(|e| texts([("email", &e.email), ("type", &e.r#type)])).collect());
    list("urls", card.urls.iter().map(|u| texts([("url", &u.url), ("type", &u.r#type)])).collect());
    let address = |a: &CardAddress| {
        texts([
            ("street", &a.street),
            ("city", &a.city),
            ("state", &a.state),
            ("zip", &a.zip),
            ("country", &a.country),
            (spelling.country_code, &a.country_code),
            ("type", &a.r#type),
        ])
    };
    list("addresses", card.addresses.iter().map(address).collect());
    members.into()
}

/// An object of those members that have a text.
fn texts<const N: usize>(members: [(&str, &String); N]) -> Map<String, Value> {
    let filled = members.into_iter().filter(|(_, text)| !text.is_empty());
    filled.map(|(name, text)| (name.to_owned(), text.as_str().into())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SPELLING: Spelling = Spelling {
        name: "name",
        formatted_name: "formattedName",
        first_name: "firstName",
        last_name: "lastName",
        middle_name: "middleName",
        prefix: "namePrefix",
        suffix: "nameSuffix",
        organization: "org",
        wa_id: "waId",
        country_code: "countryCode",
    };

    #[test]
    fn what_is_written_is_read_again() {
        let whole = json!({
            "name": { "formattedName": "Mr. Rui B Melo Jr.", "firstName": "Rui", "lastName": "Melo", "middleName": "B",
                "namePrefix": "Mr.", "nameSuffix": "Jr." },
            "phones": [{ "phone": "+351 910 000 009", "type": "CELL", "waId": "351910000009" }],
            "emails": [{ "email": "rui@example.test", "type": "WORK" }],
            "urls": [{ "url": "https://example.test", "type": "WORK" }],
            "addresses": [{ "street": "Rua B 2", "city": "Porto", "state": "Porto", "zip": "4000-000", "country": "Portugal",
                "countryCode": "PT", "type": "WORK" }],
            "org": { "company": "Acme", "department": "Fleet", "title": "Driver" },
            "birthday": "1990-02-01",
        });
        let [card] = &read(&whole, &SPELLING)[..] else { panic!("one card") };
        assert_eq!(write(card, &SPELLING), whole);
        let named = ContactCard { name: named("Rui"), ..ContactCard::default() };
        assert_eq!(write(&named, &SPELLING), json!({ "name": { "formattedName": "Rui" } }));
    }
}
