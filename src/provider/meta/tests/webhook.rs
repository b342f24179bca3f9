//! Webhooks: fixtures in `tests/fixtures/meta`, read into snapshots beside this file.

use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::provider::meta::webhook;
use crate::provider::{Report, Unreadable, Webhook};

/// Seen from here, the times of the fixtures are of today.
const NOW: i64 = 1_767_300_000_000;
const WABA: &str = "102290129340398";

fn posted(body: impl Into<Bytes>) -> Webhook {
    Webhook { headers: vec![], query: vec![], path_token: None, body: body.into(), receive_at_ms: NOW }
}

fn read(body: impl Into<Bytes>) -> Vec<Result<Report, Unreadable>> {
    webhook::parse(&posted(body), WABA)
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/meta");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<_> = files
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    fixtures.sort();
    assert!(fixtures.len() > 20);
    fixtures
}

#[test]
fn fixtures_read_as_they_always_did() {
    for (name, body) in fixtures() {
        insta::with_settings!({ snapshot_suffix => name, omit_expression => true }, {
            insta::assert_debug_snapshot!(read(body));
        });
    }
}

/// Every place of an object's member below `messages` or `statuses`.
fn places(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, inner) in members {
                found.push(format!("{path}/{key}"));
                places(inner, format!("{path}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (place, inner) in items.iter().enumerate() {
                places(inner, format!("{path}/{place}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn s11_any_member_of_an_item_may_be_absent_or_null_and_the_others_still_count() {
    let mut tried = 0;
    for (name, body) in
        fixtures().into_iter().filter(|(name, _)| name.starts_with("incoming") || name.starts_with("status_c"))
    {
        let whole: Value = serde_json::from_slice(&body).unwrap();
        let before = read(body);
        assert!(before.iter().all(Result::is_ok), "{name}: {before:?}");
        let mut found = Vec::new();
        places(&whole, String::new(), &mut found);
        let of_an_item = |place: &&String| place.contains("/messages/") || place.contains("/statuses/");
        for place in found.iter().filter(of_an_item) {
            let (parent, key) = place.rsplit_once('/').unwrap();
            let (mut absent, mut null) = (whole.clone(), whole.clone());
            absent.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
            null.pointer_mut(parent).unwrap()[key] = Value::Null;
            for changed in [absent, null] {
                let read = read(changed.to_string());
                assert_eq!(read.len(), before.len(), "{name}: {place} costs an item");
                assert!(key == "status" || read.iter().all(Result::is_ok), "{name} without {place}: {read:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn i5_i6_a_bad_item_costs_no_other() {
    let mut items = vec![json!({ "id": "wamid.HBgN", "status": "delivered" }); 50];
    items[17] = json!("what?");
    let change = json!({ "field": "messages", "value": { "statuses": items } });
    let whole = json!({ "entry": [{ "id": WABA, "changes": [change.clone()] }, { "changes": [change] }] }).to_string();
    let reports = read(whole.clone());
    assert_eq!((reports.len(), reports.iter().filter(|report| report.is_ok()).count()), (100, 98));
    assert_eq!(reports[67], Err(Unreadable { index: 67, why: "not an object".into() }));
    // Half a character, which no JSON value can hold, is no reason to lose the neighbours.
    let reports = read(whole.replace("\"what?\"", r#"{"id":"\ud800","status":"read"}"#));
    assert_eq!(reports.iter().filter(|report| report.is_ok()).count(), 98);
    // Nor is what nests deeper than can be read.
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let reports = read(whole.replace("\"what?\"", &format!(r#"{{"id":{deep}}}"#)));
    assert_eq!(reports.iter().filter(|report| report.is_ok()).count(), 98);
}

#[test]
fn what_is_no_envelope_is_one_unreadable_item() {
    for body in ["", "<html>", "{\"entry\":[", "\u{feff}{}", "[1,]", "[]", "{}", "null", "7"] {
        assert!(matches!(&read(body)[..], [Err(Unreadable { index: 0, .. })]), "{body}");
    }
    assert!(read(r#"{"entry":null}"#).is_empty());
    assert!(read("[".repeat(100_000))[0].is_err());
    let deep = format!("{}1{}", "{\"entry\":".repeat(500), "}".repeat(500));
    assert!(read(deep)[0].is_err());
}

#[test]
fn what_is_kept_raw_is_kept_as_it_came() {
    let item = r#"{"type" : "poll","id":"wamid.\u00e9" ,"x":1e2}"#;
    let body = format!(r#"{{"entry":[{{"changes":[{{"value":{{"messages":[{item}]}}}}]}}]}}"#);
    let [Ok(Report::Incoming(report))] = &read(body)[..] else { panic!("one message") };
    let crate::domain::IncomingContent::Unsupported { r#type, raw } = &report.content else { panic!("{report:?}") };
    assert_eq!((r#type.as_str(), raw.as_str()), ("poll", item));
    assert_eq!(report.provider_message_id.as_deref(), Some("wamid.é"));
}

#[test]
fn news_of_any_business_account_are_read_when_none_is_set() {
    let body = std::fs::read("tests/fixtures/meta/account_of_another.json").unwrap();
    assert!(read(body.clone())[0].is_err());
    assert!(matches!(webhook::parse(&posted(body), "")[0], Ok(Report::Template(_))));
}

/// JSON of any shape, with the members that mean something among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    const MEMBERS: &[&str] = &[
        "entry",
        "changes",
        "value",
        "field",
        "messages",
        "statuses",
        "errors",
        "contacts",
        "metadata",
        "id",
        "status",
        "timestamp",
        "type",
        "text",
        "body",
        "from",
        "interactive",
        "button_reply",
        "context",
        "referral",
        "order",
        "product_items",
        "quantity",
        "name",
        "phones",
        "biz_opaque_callback_data",
        "user_preferences",
        "event",
    ];
    let words = ["messages", "text", "failed", "interactive", "account_update", "message_template_status_update"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 96, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(prop::sample::select(MEMBERS).prop_map(String::from), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn parsing_any_bytes_ends_with_an_answer(body: Vec<u8>) {
        read(body);
    }

    #[test]
    fn parsing_any_value_of_a_change_is_pure_and_numbers_its_items(value in any_json(), field in any_json()) {
        let body = json!({ "entry": [{ "changes": [{ "field": field, "value": value }, { "value": value }] }] }).to_string();
        let reports = read(body.clone());
        prop_assert!(reports.len() >= 2);
        for (place, report) in reports.iter().enumerate() {
            if let Err(unreadable) = report {
                prop_assert_eq!(unreadable.index, place);
            }
        }
        prop_assert_eq!(reports, read(body));
    }
}
