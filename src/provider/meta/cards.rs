//! Address-book entries, in the one form that they have on both ways.

use serde_json::{Map, Value};

use crate::domain::content::{CardAddress, CardEmail, CardName, CardOrganization, CardPhone, CardUrl, ContactCard};
use crate::provider::lenient::{list, object, text};

/// A card as it is sent.
pub(super) fn write(card: &ContactCard) -> Value {
    let ContactCard { name, phones, emails, addresses, organization, urls, birthday } = card;
    let mut whole = Map::new();
    let first = match [&name.first_name, &name.last_name, &name.middle_name, &name.prefix, &name.suffix] {
        // Meta wants one part beside the whole name; the whole is the nearest to it.
        parts if parts.iter().all(|part| part.is_empty()) => &name.formatted_name,
        _ => &name.first_name,
    };
    let names = members([
        ("formatted_name", &name.formatted_name),
        ("first_name", first),
        ("last_name", &name.last_name),
        ("middle_name", &name.middle_name),
        ("prefix", &name.prefix),
        ("suffix", &name.suffix),
    ]);
    whole.insert("name".into(), names);
    let mut add = |member: &str, values: Vec<Value>| {
        if !values.is_empty() {
            whole.insert(member.into(), values.into());
        }
    };
    let phone = |p: &CardPhone| members([("phone", &p.phone), ("type", &p.r#type), ("wa_id", &p.wa_id)]);
    add("phones", phones.iter().map(phone).collect());
    add("emails", emails.iter().map(|e| members([("email", &e.email), ("type", &e.r#type)])).collect());
    add("addresses", addresses.iter().map(address).collect());
    add("urls", urls.iter().map(|u| members([("url", &u.url), ("type", &u.r#type)])).collect());
    if let Some(o) = organization {
        let org = members([("company", &o.company), ("department", &o.department), ("title", &o.title)]);
        whole.insert("org".into(), org);
    }
    if !birthday.is_empty() {
        whole.insert("birthday".into(), birthday.as_str().into());
    }
    whole.into()
}

fn address(address: &CardAddress) -> Value {
    members([
        ("street", &address.street),
        ("city", &address.city),
        ("state", &address.state),
        ("zip", &address.zip),
        ("country", &address.country),
        ("country_code", &address.country_code),
        ("type", &address.r#type),
    ])
}

fn members<const N: usize>(texts: [(&str, &String); N]) -> Value {
    let given = texts.into_iter().filter(|(_, text)| !text.is_empty());
    Value::Object(given.map(|(member, text)| (member.to_owned(), text.as_str().into())).collect())
}

/// The cards of an incoming message that say anything.
pub(super) fn read(cards: &[Value]) -> Vec<ContactCard> {
    let cards = cards.iter().filter_map(Value::as_object).map(card);
    cards.filter(|card| *card != ContactCard::default()).collect()
}

fn card(card: &Map<String, Value>) -> ContactCard {
    let member = |of: &Map<String, Value>, name: &str| text(of, name).unwrap_or_default();
    let name = object(card, "name").map(|name| CardName {
        formatted_name: member(name, "formatted_name"),
        first_name: member(name, "first_name"),
        last_name: member(name, "last_name"),
        middle_name: member(name, "middle_name"),
        prefix: member(name, "prefix"),
        suffix: member(name, "suffix"),
    });
    let organization = object(card, "org").map(|org| CardOrganization {
        company: member(org, "company"),
        department: member(org, "department"),
        title: member(org, "title"),
    });
    ContactCard {
        name: name.unwrap_or_default(),
        phones: parts(card, "phones", |phone| CardPhone {
            phone: member(phone, "phone"),
            r#type: member(phone, "type"),
            wa_id: member(phone, "wa_id"),
        }),
        emails: parts(card, "emails", |email| CardEmail {
            email: member(email, "email"),
            r#type: member(email, "type"),
        }),
        addresses: parts(card, "addresses", |address| CardAddress {
            street: member(address, "street"),
            city: member(address, "city"),
            state: member(address, "state"),
            zip: member(address, "zip"),
            country: member(address, "country"),
            country_code: member(address, "country_code"),
            r#type: member(address, "type"),
        }),
        organization: organization.filter(|organization| *organization != CardOrganization::default()),
        urls: parts(card, "urls", |url| CardUrl { url: member(url, "url"), r#type: member(url, "type") }),
        birthday: member(card, "birthday"),
    }
}

fn parts<T: Default + PartialEq>(
    card: &Map<String, Value>,
    name: &str,
    part: impl Fn(&Map<String, Value>) -> T,
) -> Vec<T> {
    let parts = list(card, name).iter().filter_map(Value::as_object).map(part);
    parts.filter(|part| *part != T::default()).collect()
}
