//! Address-book entries that people send: documented as texts, described as objects, so all forms are taken.

use serde_json::{Map, Value};

use crate::domain::content::{CardAddress, CardEmail, CardName, CardOrganization, CardPhone, CardUrl, ContactCard};
use crate::provider::lenient::text;

/// Reads `whatsAppContacts`: an array, one object, or a text (JSON in a text, or a name).
pub(super) fn read(value: &Value) -> Vec<ContactCard> {
    match value {
        Value::Array(list) => list.iter().filter_map(card).collect(),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(list)) => list.iter().filter_map(card).collect(),
            Ok(value @ Value::Object(_)) => card(&value).into_iter().collect(),
            _ => card(value).into_iter().collect(),
        },
        value => card(value).into_iter().collect(),
    }
}

fn card(value: &Value) -> Option<ContactCard> {
    let card = match value {
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(members)) => from_members(&members),
            _ => ContactCard { name: named(text), ..ContactCard::default() },
        },
        Value::Object(members) => from_members(members),
        _ => return None,
    };
    (card != ContactCard::default()).then_some(card)
}

fn named(text: &str) -> CardName {
    CardName { formatted_name: text.trim().to_owned(), ..CardName::default() }
}

fn from_members(members: &Map<String, Value>) -> ContactCard {
    let member = |of: &Map<String, Value>, name: &str| text(of, name).unwrap_or_default();
    let name = match members.get("contactName") {
        Some(Value::Object(name)) => CardName {
            formatted_name: member(name, "formattedName"),
            first_name: member(name, "firstName"),
            last_name: member(name, "lastName"),
            middle_name: member(name, "middleName"),
            prefix: member(name, "namePrefix"),
            suffix: member(name, "nameSuffix"),
        },
        Some(Value::String(name)) => named(name),
        _ => CardName::default(),
    };
    let organization = match members.get("contactCompany") {
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
            wa_id: member(phone, "waId"),
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
            country_code: member(address, "countryCode"),
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
