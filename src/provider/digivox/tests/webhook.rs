//! Webhooks: fixtures in `tests/fixtures/digivox`, read into snapshots beside this file.

use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CHANNEL, TOKEN, adapter, settings};
use crate::domain::content::{IncomingContent, MediaSource};
use crate::domain::{MessageStatus, Millis};
use crate::proto::DigivoxConfig;
use crate::provider::digivox::config::Config;
use crate::provider::digivox::webhook::parse;
use crate::provider::{Provider as _, Report, Settings as _, StatusReport, Unreadable, Webhook};

/// Seen from here, the times of the fixtures are of today.
const NOW: Millis = 1_767_300_000_000;

fn webhook(body: impl Into<Bytes>) -> Webhook {
    Webhook { headers: vec![], query: vec![], path_token: None, body: body.into(), receive_at_ms: NOW }
}

fn read(body: impl Into<Bytes>) -> Vec<Result<Report, Unreadable>> {
    parse(&Config::from_proto(settings("http://127.0.0.1:1")), &webhook(body))
}

/// Read by settings that differ, the only item of a body.
fn read_with(differs: DigivoxConfig, body: &Value) -> Report {
    let mut reports = adapter(differs).parse(&webhook(body.to_string()));
    assert_eq!(reports.len(), 1);
    reports.remove(0).unwrap()
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/digivox");
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
            insta::assert_debug_snapshot!(read(body));
        });
    }
}

#[test]
fn i6_a_bad_item_costs_no_other() {
    let mut items = vec![json!({ "event": "status", "status": { "id": "a", "status": "sent" } }); 50];
    items[17] = json!("what?");
    let reports = read(json!(items).to_string());
    assert_eq!(reports.iter().filter(|report| report.is_ok()).count(), 49);
    assert_eq!(reports[17], Err(Unreadable { index: 17, why: "not an object".into() }));
}

#[test]
fn what_is_not_json_is_one_unreadable_item() {
    for body in ["", "<html>", "[{\"event\":\"status\"", "\u{feff}[]", "[1,]"] {
        let reports = read(body);
        assert!(matches!(&reports[..], [Err(Unreadable { index: 0, .. })]), "{body}: {reports:?}");
    }
    assert!(read("[]").is_empty());
    assert!(read(format!("[{}{}]", "[".repeat(500), "]".repeat(500)))[0].is_err());
    assert!(read(format!("{{\"entry\":[{}{}]}}", "[".repeat(5_000), "]".repeat(5_000)))[0].is_err());
}

#[test]
fn places_named_by_the_settings_come_first() {
    let own = DigivoxConfig {
        event_pointer: "/what".into(),
        channel_pointer: "/net".into(),
        account_pointer: "/box".into(),
        message_pointer: "/payload".into(),
        message_id_pointer: "/key".into(),
        message_from_pointer: "/who".into(),
        message_time_pointer: "/when".into(),
        message_type_pointer: "/sort".into(),
        message_text_pointer: "/words".into(),
        media_url_pointer: "/{type}/at".into(),
        profile_name_pointer: "/nick".into(),
        status_word_pointer: "/state".into(),
        status_id_pointer: "/of".into(),
        status_time_pointer: "/since".into(),
        status_code_pointer: "/why".into(),
        message_id_field: Some("ours".into()),
        ..settings("http://127.0.0.1:1")
    };
    let payload = json!({ "key": "k-1", "who": "558390000002", "when": 1_767_225_600, "sort": "text", "words": "Oi" });
    let item = json!({ "what": "message", "net": "WHATSAPP", "box": CHANNEL, "payload": payload, "nick": "Maria" });
    let Report::Incoming(incoming) = read_with(own.clone(), &item) else { panic!("incoming") };
    assert_eq!((incoming.provider_message_id.as_deref(), incoming.profile_name.as_str()), (Some("k-1"), "Maria"));
    assert_eq!((incoming.account.as_deref(), incoming.occur_at_ms), (Some(CHANNEL), Some(1_767_225_600_000)));
    assert_eq!(incoming.contact.phone_number.as_deref(), Some("558390000002"));
    assert!(matches!(incoming.content, IncomingContent::Text(text) if text.body == "Oi"));

    let file = json!({ "who": "558390000002", "sort": "image", "image": { "at": "https://media.example.test/1" } });
    let Report::Incoming(incoming) = read_with(own.clone(), &json!({ "payload": file })) else { panic!("incoming") };
    let IncomingContent::Media(media) = incoming.content else { panic!("media") };
    assert_eq!(media.source, MediaSource::Url("https://media.example.test/1".into()));

    let id = "019b7a5c-8a00-7000-8000-000000000001";
    let item =
        json!({ "what": "status", "state": "failed", "of": "k-2", "since": 1_767_225_600, "why": 131_047, "ours": id });
    let Report::Status(status) = read_with(own.clone(), &item) else { panic!("status") };
    assert_eq!((status.provider_message_id.as_deref(), status.status), (Some("k-2"), Some(MessageStatus::Failed)));
    assert_eq!(status.message_id.map(|id| id.to_string()).as_deref(), Some(id));
    assert_eq!(status.error.unwrap().provider_code, "131047");
    assert_eq!(read_with(own, &json!({ "what": "message", "net": "telegram" })), Report::Nothing);
}

#[test]
fn s13_times_of_any_form_are_one_instant() {
    for (given, millis) in [
        (json!(1_767_225_600), Some(1_767_225_600_000)),
        (json!(1_767_225_600_123_i64), Some(1_767_225_600_123)),
        (json!("1767225600"), Some(1_767_225_600_000)),
        (json!("2026-01-01T00:00:00Z"), Some(1_767_225_600_000)),
        (json!("2025-12-31T21:00:00-03:00"), Some(1_767_225_600_000)),
        (json!("2026-01-01T00:00:00.123Z"), Some(1_767_225_600_123)),
        (json!(0), None),
        (json!("ontem"), None),
        (json!(null), None),
        (json!("9999-12-31T23:59:59Z"), None),
    ] {
        let item = json!({ "status": { "id": "a", "status": "sent", "timestamp": given } });
        let Report::Status(StatusReport { occur_at_ms, .. }) = read_with(settings("http://x"), &item) else {
            panic!("status")
        };
        assert_eq!(occur_at_ms, millis, "{given}");
    }
}

#[test]
fn i9_only_the_token_proves_a_webhook() {
    let adapter = adapter(settings("http://127.0.0.1:1"));
    let with = |token: &str| {
        let query = vec![("token".to_owned(), token.to_owned())];
        adapter.verify(&Webhook { query, ..webhook("[]") }).is_ok()
    };
    assert!(with(TOKEN));
    assert!(!with("") && !with(&TOKEN[1..]) && !with(&TOKEN.to_uppercase()));
    let without = super::adapter(DigivoxConfig { webhook_token: String::new(), ..settings("http://127.0.0.1:1") });
    assert!(without.verify(&Webhook { query: vec![("token".into(), String::new())], ..webhook("[]") }).is_err());
}

#[test]
fn metas_question_is_answered_to_whoever_knows_the_token() {
    let adapter = adapter(settings("http://127.0.0.1:1"));
    let asked = |pairs: &[(&str, &str)]| {
        let query = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        adapter.challenge(&Webhook { query, ..webhook("") })
    };
    let question = ("hub.challenge", "1158201444");
    assert_eq!(asked(&[question, ("token", TOKEN)]), Some(Ok("1158201444".into())));
    assert_eq!(asked(&[question, ("hub.verify_token", TOKEN)]), Some(Ok("1158201444".into())));
    assert!(matches!(asked(&[question, ("hub.verify_token", "another")]), Some(Err(_))));
    assert!(matches!(asked(&[question]), Some(Err(_))));
    assert_eq!(asked(&[("token", TOKEN)]), None);
}

#[test]
fn channels_of_one_token_may_share_an_address_and_others_may_not() {
    let account = |change: fn(&mut DigivoxConfig)| {
        let mut settings = settings("http://127.0.0.1:1");
        change(&mut settings);
        adapter(settings).account().unwrap()
    };
    let own = account(|_| {});
    assert_eq!(own.id, CHANNEL);
    assert_eq!(account(|settings| settings.whatsapp_id = "other".into()).proof, own.proof);
    assert_ne!(account(|settings| settings.webhook_token = "other".into()).proof, own.proof);
}

/// JSON of any shape, with the members that mean something among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    const MEMBERS: &[&str] = &[
        "event",
        "channel",
        "whatsapp_id",
        "message",
        "data",
        "status",
        "id",
        "from",
        "timestamp",
        "type",
        "text",
        "body",
        "image",
        "url",
        "contact",
        "contacts",
        "name",
        "object",
        "entry",
        "changes",
        "value",
        "messages",
        "statuses",
        "metadata",
        "errors",
        "code",
        "interactive",
        "button_reply",
        "location",
        "latitude",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        prop::sample::select(vec!["failed", "image", "text", "whatsapp_business_account"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
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
        read(body);
    }

    #[test]
    fn parsing_any_json_is_pure_and_answers_each_item(value in any_json()) {
        let items = value.as_array().map_or(1, Vec::len);
        let body = value.to_string();
        let reports = read(body.clone());
        prop_assert!(reports.len() >= items);
        prop_assert_eq!(reports, read(body));
    }
}
