//! Webhooks: fixtures in `tests/fixtures/infobip`, read into snapshots beside this file.

use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{TOKEN, adapter};
use crate::provider::infobip::webhook;
use crate::provider::{Provider as _, Report, Unreadable, Webhook};

fn webhook(body: impl Into<Bytes>) -> Webhook {
    Webhook { headers: vec![], query: vec![], path_token: None, body: body.into(), receive_at_ms: 1_767_300_000_000 }
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/infobip");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<_> = files
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    fixtures.sort();
    assert!(fixtures.len() > 15);
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
fn i6_a_bad_item_costs_no_other() {
    let mut items = vec![json!({ "messageId": "m-1", "status": { "groupName": "DELIVERED" } }); 50];
    items[17] = json!("what?");
    let reports = webhook::parse(&webhook(json!({ "results": items }).to_string()));
    assert_eq!(reports.iter().filter(|report| report.is_ok()).count(), 49);
    assert_eq!(reports[17], Err(Unreadable { index: 17, why: "not an object".into() }));
}

#[test]
fn what_is_not_json_is_one_unreadable_item() {
    for body in ["", "<html>", "{\"results\":[{}", "{\"results\":7}", "[1]", "null", "{}"] {
        let reports = webhook::parse(&webhook(body));
        assert!(matches!(&reports[..], [Err(Unreadable { index: 0, .. })]), "{body}: {reports:?}");
    }
    assert!(webhook::parse(&webhook("{\"results\":[]}")).is_empty());
    let deep = format!("{{\"results\":[{}{}]}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(webhook::parse(&webhook(deep))[0].is_err());
}

#[test]
fn i9_only_the_token_proves_a_webhook() {
    let adapter = adapter("http://127.0.0.1:1");
    let with = |token: &str| {
        let webhook = Webhook { query: vec![("token".into(), token.into())], ..webhook("{}") };
        adapter.verify(&webhook).is_ok()
    };
    assert!(with(TOKEN));
    assert!(!with("") && !with(&TOKEN[1..]) && !with(&TOKEN.to_uppercase()));
    assert!(adapter.verify(&webhook("{}")).is_err());
}

#[test]
fn i5_what_is_for_another_number_is_not_this_ones() {
    let adapter = adapter("http://127.0.0.1:1");
    let own = adapter.account().unwrap();
    assert_eq!(own.id, "551140001000");
    let named: Vec<Option<String>> =
        webhook::parse(&webhook(std::fs::read("tests/fixtures/infobip/mixed.json").unwrap()))
            .iter()
            .map(|report| report.as_ref().ok().and_then(Report::account).map(str::to_owned))
            .collect();
    let some = |number: &str| Some(number.to_owned());
    assert_eq!(named, [some("551140001000"), None, some("551140001000"), some("551140009999")]);
}

/// JSON of any shape, with the members that mean something among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    const MEMBERS: &[&str] = &[
        "results",
        "messageId",
        "callbackData",
        "status",
        "groupName",
        "groupId",
        "error",
        "seenAt",
        "deletedAt",
        "message",
        "type",
        "text",
        "url",
        "latitude",
        "contacts",
        "contact",
        "from",
        "messageTemplateId",
        "change",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        Just(Value::from("REJECTED")),
        Just(Value::from("2025-12-11T05:48:20.118+0000")),
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
    fn parsing_any_results_gives_one_report_each(results in prop::collection::vec(any_json(), 0..6)) {
        let body = json!({ "results": results }).to_string();
        let reports = webhook::parse(&webhook(body.clone()));
        prop_assert_eq!(reports.len(), results.len());
        prop_assert_eq!(reports, webhook::parse(&webhook(body)));
    }
}
