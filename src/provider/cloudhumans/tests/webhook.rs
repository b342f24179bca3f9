//! Webhooks: fixtures in `tests/fixtures/cloudhumans`, read into snapshots beside this file.

use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{SECRET, adapter_of, settings};
use crate::domain::content::MediaSource;
use crate::domain::{IncomingContent, MessageStatus};
use crate::proto::WebhookSignature;
use crate::provider::cloudhumans::config::Config;
use crate::provider::cloudhumans::webhook;
use crate::provider::{Provider as _, Report, Settings as _, StatusReport, Unreadable, Webhook};

/// Seen from here, the times of the fixtures are of today.
const NOW: i64 = 1_765_433_000_000;

fn webhook(body: impl Into<Bytes>) -> Webhook {
    Webhook { headers: vec![], query: vec![], path_token: None, body: body.into(), receive_at_ms: NOW }
}

fn parse(body: impl Into<Bytes>) -> Vec<Result<Report, Unreadable>> {
    webhook::parse(&Config::from_proto(settings("http://127.0.0.1:1")), &webhook(body))
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cloudhumans");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<_> = files
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    fixtures.sort();
    assert!(fixtures.len() > 30);
    fixtures
}

fn fixture(name: &str) -> Value {
    let all = fixtures();
    let (_, body) = all.iter().find(|(fixture, _)| fixture == name).unwrap();
    serde_json::from_slice(body).unwrap()
}

#[test]
fn fixtures_read_as_they_always_did() {
    for (name, body) in fixtures() {
        insta::with_settings!({ snapshot_suffix => name, omit_expression => true }, {
            insta::assert_debug_snapshot!(parse(body));
        });
    }
}

#[test]
fn echoes_notes_edits_and_other_inboxes_are_nothing() {
    for name in [
        "echo_outgoing",
        "echo_template",
        "private_note",
        "edited",
        "deleted",
        "other_inbox",
        "other_account",
        "conversation_status_changed",
        "typing",
        "status_sent",
        "status_of_another",
    ] {
        assert_eq!(parse(fixture(name).to_string()), [Ok(Report::Nothing)], "{name}");
    }
}

#[test]
fn s11_any_member_may_be_absent_or_null_alike() {
    for (name, body) in fixtures() {
        let whole: Value = serde_json::from_slice(&body).unwrap();
        for member in whole.as_object().unwrap().keys() {
            let (mut absent, mut null) = (whole.clone(), whole.clone());
            absent.as_object_mut().unwrap().remove(member);
            null[member] = Value::Null;
            let (absent, null) = (parse(absent.to_string()), parse(null.to_string()));
            assert_eq!(absent.len(), null.len(), "{name}: {member}");
            for pair in absent.iter().zip(&null) {
                let same = match pair {
                    // What is kept raw differs as the bytes do.
                    (Ok(Report::Incoming(one)), Ok(Report::Incoming(other))) => one.contact == other.contact,
                    (one, other) => one == other,
                };
                assert!(same, "{name}: {member} absent and null differ");
            }
            let telling = ["event", "id", "message_type"].contains(&member.as_str());
            if !telling && !name.ends_with("bad") {
                assert!(absent.iter().all(Result::is_ok), "{name}: {member}: {absent:?}");
            }
        }
    }
}

#[test]
fn every_status_word_has_its_meaning_at_both_places() {
    for (word, expected) in [
        ("delivered", Some(Some(MessageStatus::Delivered))),
        ("read", Some(Some(MessageStatus::Read))),
        ("failed", Some(Some(MessageStatus::Failed))),
        ("teleported", Some(None)),
        ("sent", None),
        ("progress", None),
    ] {
        let mut nested = fixture("status_delivered");
        nested["conversation"]["messages"][0]["status"] = word.into();
        let mut at_root = fixture("status_of_another");
        at_root["status"] = word.into();
        for event in [nested, at_root] {
            let read = match parse(event.to_string()).remove(0).unwrap() {
                Report::Status(StatusReport { status, provider_status, provider_message_id, .. }) => {
                    assert_eq!((provider_status.as_str(), provider_message_id.as_deref()), (word, Some("640101")));
                    Some(status)
                }
                Report::Nothing => None,
                other => panic!("{other:?}"),
            };
            assert_eq!(read, expected, "{word}");
        }
    }
}

#[test]
fn further_files_of_a_message_are_messages_of_their_own() {
    let reports = parse(fixture("incoming_two_files").to_string());
    let read = |report: &Result<Report, Unreadable>| match report {
        Ok(Report::Incoming(incoming)) => match &incoming.content {
            IncomingContent::Media(media) => (incoming.provider_message_id.clone().unwrap(), media.caption.clone()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let expected = [("640082", "Os dois"), ("640082.1", "")].map(|(id, caption)| (id.to_owned(), caption.to_owned()));
    assert_eq!(reports.iter().map(read).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_file_is_fetched_where_it_says() {
    let adapter = adapter_of(settings("http://127.0.0.1:1"));
    let url = "https://media.example.test/rails/active_storage/blobs/redirect/eyJf--sample/foto.jpg";
    let address = adapter.locate_media(&MediaSource::Url(url.into())).await.unwrap();
    // Signed, so nothing opens it: the token must not follow the redirect to the storage.
    assert_eq!((address.url.as_str(), address.headers.len()), (url, 0));
    assert!(adapter.locate_media(&MediaSource::MediaId("88012".into())).await.is_err());
}

#[test]
fn what_is_not_json_is_one_unreadable_item() {
    for body in ["", "<html>", "{\"event\":\"message_created\"", "\u{feff}{}", "[]", "null", "7", "{}"] {
        let reports = parse(body);
        assert!(matches!(&reports[..], [Err(Unreadable { index: 0, .. })]), "{body}: {reports:?}");
    }
    assert!(parse("[".repeat(100_000))[0].is_err());
    assert!(parse(format!("{}1{}", "{\"event\":".repeat(500), "}".repeat(500)))[0].is_err());
}

/// With this mode; `signature` and `token` as the webhook has them.
fn verified(mode: WebhookSignature, signature: Option<(&str, &str)>, token: Option<&str>) -> bool {
    let settings = crate::proto::CloudHumansConfig { webhook_signature: mode.into(), ..settings("http://h") };
    let headers = signature
        .into_iter()
        .flat_map(|(signature, timestamp)| [("x-chatwoot-signature", signature), ("x-chatwoot-timestamp", timestamp)]);
    let webhook = Webhook {
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        query: token.map(|token| ("token".to_owned(), token.to_owned())).into_iter().collect(),
        receive_at_ms: 1_765_432_100_000 + 299_000,
        ..webhook(r#"{"event":"message_created","id":4711}"#)
    };
    webhook::verify(&Config::from_proto(settings), &webhook).is_ok()
}

#[test]
fn i9_the_mode_says_what_proves_a_webhook() {
    use WebhookSignature::{IfPresent, Off, Required};
    // The vector of the notes.
    let right = ("sha256=b276c618c0da6a1b797d0da464cddc80ba5d519ff9346eee278837bb276d406d", "1765432100");
    let wrong = ("sha256=b276c618c0da6a1b797d0da464cddc80ba5d519ff9346eee278837bb276d406e", "1765432100");
    for (mode, signature, token, expected) in [
        (Required, Some(right), None, true),
        (Required, Some(wrong), Some(SECRET), false),
        (Required, None, Some(SECRET), false),
        (IfPresent, Some(right), None, true),
        (IfPresent, Some(right), Some("another"), true),
        (IfPresent, Some(wrong), Some(SECRET), false),
        (IfPresent, None, Some(SECRET), true),
        (IfPresent, None, Some("another"), false),
        (IfPresent, None, None, false),
        (Off, Some(wrong), Some(SECRET), true),
        (Off, Some(right), None, false),
        (Off, None, Some(SECRET), true),
        (Off, None, None, false),
    ] {
        assert_eq!(verified(mode, signature, token), expected, "{mode:?} {signature:?} {token:?}");
    }
    let (hex, timestamp) = (right.0.trim_start_matches("sha256="), right.1);
    for odd in [hex, "", "sha256=", "sha1=00", "sha256=zz", &right.0[..70]] {
        assert!(!verified(Required, Some((odd, timestamp)), None), "{odd}");
    }
    for odd in ["", "x", "1765432101", "-1", "99999999999999999999"] {
        assert!(!verified(Required, Some((right.0, odd)), None), "{odd}");
    }
}

#[test]
fn i9_an_old_signature_and_one_of_an_empty_secret_prove_nothing() {
    let signed = |secret: &str, receive_at_ms| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let signature = format!("sha256={}", hex::encode(ring::hmac::sign(&key, b"1765432100.{}")));
        let headers = [("x-chatwoot-signature", signature), ("x-chatwoot-timestamp", "1765432100".to_owned())];
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let settings = crate::proto::CloudHumansConfig { webhook_secret: secret.into(), ..settings("http://h") };
        let webhook = Webhook { headers, receive_at_ms, ..webhook("{}") };
        webhook::verify(&Config::from_proto(settings), &webhook).is_ok()
    };
    for (seconds, expected) in [(0, true), (300, true), (-300, true), (301, false), (-301, false)] {
        assert_eq!(signed(SECRET, 1_765_432_100_000 + seconds * 1_000), expected, "{seconds} s");
    }
    assert!(!signed("", 1_765_432_100_000));
    let empty = crate::proto::CloudHumansConfig { webhook_secret: String::new(), ..settings("http://h") };
    let webhook = Webhook { query: vec![("token".into(), String::new())], ..webhook("{}") };
    assert!(webhook::verify(&Config::from_proto(empty), &webhook).is_err());
}

/// JSON of any shape, with the members that mean something among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    const MEMBERS: &[&str] = &[
        "id",
        "message_type",
        "status",
        "created_at",
        "content",
        "content_attributes",
        "external_error",
        "attachments",
        "file_type",
        "data_url",
        "conversation",
        "messages",
        "inbox",
        "sender",
        "contact_inbox",
        "source_id",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        prop::sample::select(vec!["incoming", "image", "location", "2025-12-11T05:50:02.418Z"]).prop_map(Value::from),
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
        parse(body);
    }

    #[test]
    fn parsing_any_event_ends_alike_each_time(value in any_json(), created: bool) {
        let mut event = match value {
            Value::Object(members) => Value::Object(members),
            other => json!({ "content": other }),
        };
        event["event"] = if created { "message_created" } else { "message_updated" }.into();
        let body = event.to_string();
        let reports = parse(body.clone());
        prop_assert!(!reports.is_empty());
        prop_assert_eq!(reports, parse(body));
    }
}
