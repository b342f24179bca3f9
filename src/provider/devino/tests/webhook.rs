//! Webhooks: fixtures in `tests/fixtures/devino`, read into snapshots beside this file.

use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use url::Url;

use super::{TOKEN, adapter};
use crate::provider::devino::webhook;
use crate::provider::{Provider as _, Report, Secret, Unreadable, Webhook};

/// Seen from here, the times of the fixtures are of today.
const NOW: i64 = 1_767_300_000_000;

fn webhook(body: impl Into<Bytes>) -> Webhook {
    Webhook { headers: vec![], query: vec![], path_token: None, body: body.into(), receive_at_ms: NOW }
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/devino");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<_> = files
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    fixtures.sort();
    assert!(fixtures.len() > 10);
    fixtures
}

#[test]
fn fixtures_read_as_they_always_did() {
    for (name, body) in fixtures() {
        insta::with_settings!({ snapshot_suffix => name, omit_expression => true }, {
            insta::assert_debug_snapshot!(webhook::parse(&webhook(body)));
        });
    }
}

#[test]
fn s11_any_member_may_be_absent_or_null_and_the_others_still_count() {
    for (name, body) in fixtures().into_iter().filter(|(name, _)| !name.ends_with("bad") && !name.ends_with("wrapped"))
    {
        let items = match serde_json::from_slice(&body).unwrap() {
            Value::Array(items) => items,
            item => vec![item],
        };
        for item in items {
            let members: Vec<String> = item.as_object().unwrap().keys().cloned().collect();
            for member in members {
                let (mut absent, mut null) = (item.clone(), item.clone());
                absent.as_object_mut().unwrap().remove(&member);
                null[&member] = Value::Null;
                let read = |item: &Value| webhook::parse(&webhook(item.to_string()));
                let (absent, null) = (read(&absent), read(&null));
                let same = match (&absent[0], &null[0]) {
                    // What is kept raw differs as the bytes do.
                    (Ok(Report::Incoming(one)), Ok(Report::Incoming(other))) => one.contact == other.contact,
                    (one, other) => one == other,
                };
                assert!(same, "{name}: {member} absent and null differ");
                // Only these tell what an item is: a status has its word and names a message, and an incoming message
                // has its id, or at least both sides.
                let telling = match item.get("incomingMessageId") {
                    Some(_) => &["incomingMessageId"][..],
                    // The direct API's messages tell by their type.
                    None => &["status", "messageId", "options", "from", "to", "type"],
                };
                if !telling.contains(&member.as_str()) {
                    assert!(absent[0].is_ok(), "{name}: {member}: {absent:?}");
                }
            }
        }
    }
}

#[test]
fn i6_a_bad_item_costs_no_other() {
    let mut items = vec![json!({ "messageId": 3590000000000000001_u64, "status": "DELIVERED" }); 50];
    items[17] = json!("what?");
    let reports = webhook::parse(&webhook(json!(items).to_string()));
    assert_eq!(reports.iter().filter(|report| report.is_ok()).count(), 49);
    assert_eq!(reports[17], Err(Unreadable { index: 17, why: "not an object".into() }));
}

#[test]
fn what_is_not_json_is_one_unreadable_item() {
    for body in ["", "<html>", "[{\"status\":\"DELIVERED\"", "\u{feff}[]", "[1,]"] {
        let reports = webhook::parse(&webhook(body));
        assert!(matches!(&reports[..], [Err(Unreadable { index: 0, .. })]), "{body}: {reports:?}");
    }
    assert!(webhook::parse(&webhook("[]")).is_empty());
    assert!(webhook::parse(&webhook("[".repeat(100_000)))[0].is_err());
    assert!(webhook::parse(&webhook(format!("[{}{}]", "[".repeat(500), "]".repeat(500))))[0].is_err());
}

#[test]
fn i9_only_the_token_proves_a_webhook() {
    let adapter = adapter("http://127.0.0.1:1/devino");
    let with = |query: Option<&str>, path: Option<&str>, header: Option<&str>| {
        let pair =
            |name: &str, value: Option<&str>| value.map(|v| (name.to_owned(), v.to_owned())).into_iter().collect();
        let webhook = Webhook {
            headers: pair("x-webhook-token", header),
            query: pair("token", query),
            path_token: path.map(str::to_owned),
            ..webhook("[]")
        };
        adapter.verify(&webhook).is_ok()
    };
    assert!(with(Some(TOKEN), None, None));
    assert!(with(None, Some(TOKEN), None));
    assert!(with(None, None, Some(TOKEN)));
    assert!(!with(None, None, None));
    assert!(!with(Some(""), Some(""), Some("")));
    assert!(!with(Some(&TOKEN[1..]), None, None));
    for place in 0..TOKEN.len() {
        let mut flipped = TOKEN.as_bytes().to_vec();
        flipped[place] ^= 1;
        assert!(!with(Some(std::str::from_utf8(&flipped).unwrap()), None, None));
    }
}

#[test]
fn without_a_token_nothing_is_proven() {
    let empty = Webhook { query: vec![("token".into(), String::new())], ..webhook("[]") };
    assert!(empty.carries(&Secret::default()).is_err());
}

#[test]
fn the_token_reaches_devino_whole_and_shows_nowhere() {
    let adapter = adapter("http://127.0.0.1:1/devino");
    let url: Url = adapter.callback_url.expose().parse().unwrap();
    assert_eq!(url.query_pairs().find(|(name, _)| name == "token").unwrap().1, TOKEN);
    let shown = format!("{adapter:?}");
    assert!(!shown.contains("oddities") && !shown.contains("key-0f0e0d0c"), "{shown}");
}

/// JSON of any shape, with the members that mean something among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    const MEMBERS: &[&str] = &[
        "messageId",
        "status",
        "ts",
        "errorCode",
        "options",
        "incomingMessageId",
        "from",
        "to",
        "text",
        "contentUrl",
        "contentType",
        "whatsAppGeoLocation",
        "latitude",
        "longitude",
        "whatsAppContacts",
        "contactName",
        "phones",
        "type",
        "image",
        "messages",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        Just(Value::from("UNDELIVERED")),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(prop::sample::select(MEMBERS).prop_map(String::from), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn parsing_any_bytes_ends_with_an_answer(body: Vec<u8>) {
        webhook::parse(&webhook(body));
    }

    #[test]
    fn parsing_any_json_gives_one_report_an_item(value in any_json()) {
        let items = value.as_array().map_or(1, Vec::len);
        let body = value.to_string();
        let reports = webhook::parse(&webhook(body.clone()));
        // One that wraps messages stands for them.
        prop_assert!(reports.len() == items || body.contains("\"messages\""));
        prop_assert_eq!(reports, webhook::parse(&webhook(body)));
    }
}
