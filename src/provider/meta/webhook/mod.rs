//! What Meta tells us, in the envelope that also those use who pass its API on: entries of business accounts, their changes,
//! and in these statuses, what people wrote, and what became of templates and numbers. Pure functions of bytes; each item
//! stands alone, whatever is wrong with its neighbours.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::domain::Millis;
use crate::provider::lenient::{integer, object, text};
use crate::provider::{Report, Unreadable, Webhook, plausible_time};

mod account;
mod incoming;
mod people;
mod status;

/// Members of an object that are not read yet.
type Members<'b> = BTreeMap<String, &'b RawValue>;

/// Reads a webhook. News of another business account than `waba_id` (empty: any) are no news of this sender's.
pub(in crate::provider) fn parse(webhook: &Webhook, waba_id: &str) -> Vec<Result<Report, Unreadable>> {
    let mut items = Items { reports: Vec::new(), receive_at_ms: webhook.receive_at_ms, waba_id };
    match envelope(&webhook.body) {
        Ok(entries) => entries.into_iter().for_each(|entry| items.entry(entry)),
        Err(why) => items.push(Err(why)),
    }
    items.reports
}

/// The entries as they came, each of them valid JSON.
fn envelope(body: &[u8]) -> Result<Vec<&RawValue>, String> {
    // serde_json's own words quote nothing but positions and expectations, so they may be shown.
    let whole: &RawValue = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    match members(whole)?.get("entry") {
        Some(entries) => Ok(list(entries)),
        None => Err("not an envelope of Meta's: it has no entry".into()),
    }
}

fn members(raw: &RawValue) -> Result<Members<'_>, String> {
    serde_json::from_str(raw.get()).map_err(|_| "not an object".into())
}

/// The items of an array; a single item counts as one, and `null` as none.
fn list(raw: &RawValue) -> Vec<&RawValue> {
    match raw.get() {
        "null" => Vec::new(),
        text => serde_json::from_str(text).unwrap_or_else(|_| vec![raw]),
    }
}

fn read(raw: &RawValue) -> Result<Map<String, Value>, String> {
    // It is JSON, but may nest too deep or hold half a character.
    match serde_json::from_str(raw.get()) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err("not an object".into()),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// A member that is read whole; nothing when it cannot be, or is no object.
fn part(members: &Members<'_>, member: &str) -> Map<String, Value> {
    members.get(member).and_then(|raw| read(raw).ok()).unwrap_or_default()
}

/// What was read so far.
struct Items<'w> {
    reports: Vec<Result<Report, Unreadable>>,
    receive_at_ms: Millis,
    waba_id: &'w str,
}

/// What a change says of all its items.
struct Change {
    /// The number that it is about, as Meta's id.
    account: Option<String>,
    /// Profiles of people.
    contacts: Vec<Map<String, Value>>,
    receive_at_ms: Millis,
}

impl Change {
    fn time(&self, item: &Map<String, Value>) -> Option<Millis> {
        plausible_time(integer(item, "timestamp")?, self.receive_at_ms)
    }
}

impl Items<'_> {
    fn push(&mut self, item: Result<Report, String>) {
        let index = self.reports.len();
        self.reports.push(item.map_err(|why| Unreadable { index, why }));
    }

    fn entry(&mut self, raw: &RawValue) {
        let entry = match members(raw) {
            Ok(entry) => entry,
            Err(why) => return self.push(Err(format!("an entry is {why}"))),
        };
        let about = about(&entry);
        match entry.get("changes") {
            Some(changes) => list(changes).into_iter().for_each(|change| self.change(change, &about)),
            None => self.push(Err("an entry without changes".into())),
        }
    }

    fn change(&mut self, raw: &RawValue, entry: &Map<String, Value>) {
        let change = match members(raw) {
            Ok(change) => change,
            Err(why) => return self.push(Err(format!("a change is {why}"))),
        };
        let Some(raw_value) = change.get("value") else { return self.push(Err("a change without a value".into())) };
        let value = match members(raw_value) {
            Ok(value) => value,
            Err(why) => return self.push(Err(format!("the value of a change is {why}"))),
        };
        // Only messages come without their field's name, should it ever be missing.
        let field = change.get("field").and_then(|field| serde_json::from_str::<String>(field.get()).ok());
        match field.as_deref().unwrap_or("messages") {
            "messages" => self.messages(&value),
            // Messages that the business itself typed in the app, and what was said before it came here.
            "smb_message_echoes" | "message_echoes" | "history" | "smb_app_state_sync" => {
                self.push(Ok(Report::Nothing))
            }
            "calls" | "flows" | "security" => self.push(Ok(Report::Nothing)),
            "user_preferences" => self.preferences(&value),
            field => {
                let about = text(entry, "id");
                let another = about.as_deref().is_some_and(|id| !self.waba_id.is_empty() && id != self.waba_id);
                let time = integer(entry, "time").and_then(|time| plausible_time(time, self.receive_at_ms));
                let report = match another {
                    true => Err("it is about another business account than the sender's".into()),
                    false => read(raw_value).and_then(|value| account::report(field, &value, time)),
                };
                self.push(report);
            }
        }
    }

    fn messages(&mut self, value: &Members<'_>) {
        let change = self.about_a_number(value);
        let mut items = 0;
        for raw in value.get("statuses").map(|statuses| list(statuses)).unwrap_or_default() {
            items += 1;
            self.push(read(raw).and_then(|item| status::report(&change, &item)).map(Report::Status));
        }
        for raw in value.get("messages").map(|messages| list(messages)).unwrap_or_default() {
            items += 1;
            self.push(read(raw).map(|item| Report::Incoming(incoming::report(&change, &item, raw))));
        }
        for raw in value.get("errors").map(|errors| list(errors)).unwrap_or_default() {
            items += 1;
            self.push(read(raw).and_then(|error| account::error(&change, &error)));
        }
        if items == 0 {
            self.push(Err("a change with neither messages, nor statuses, nor errors".into()));
        }
    }

    fn preferences(&mut self, value: &Members<'_>) {
        let change = self.about_a_number(value);
        for raw in value.get("user_preferences").map(|list_of| list(list_of)).unwrap_or_default() {
            self.push(read(raw).map(|item| Report::Incoming(incoming::preference(&change, &item, raw))));
        }
    }

    fn about_a_number(&self, value: &Members<'_>) -> Change {
        let contacts = value.get("contacts").map(|contacts| list(contacts)).unwrap_or_default();
        Change {
            account: text(&part(value, "metadata"), "phone_number_id"),
            contacts: contacts.into_iter().filter_map(|contact| read(contact).ok()).collect(),
            receive_at_ms: self.receive_at_ms,
        }
    }
}

/// The business account and the time of an entry; its changes are read by themselves.
fn about(entry: &Members<'_>) -> Map<String, Value> {
    let one = |member: &str| Some((member.to_owned(), serde_json::from_str(entry.get(member)?.get()).ok()?));
    ["id", "time"].into_iter().filter_map(one).collect()
}

/// The text of a member of an object inside; empty when either is not there.
fn inside(item: &Map<String, Value>, part: &str, member: &str) -> String {
    object(item, part).and_then(|part| text(part, member)).unwrap_or_default()
}
