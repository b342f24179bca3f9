//! Webhooks: fixtures in `tests/fixtures/twilio`, read into snapshots beside this file.

use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;

use crate::provider::twilio::{webhook, wire};
use crate::provider::{Report, Webhook};

fn webhook(body: impl Into<Bytes>) -> Webhook {
    Webhook { headers: vec![], query: vec![], path_token: None, body: body.into(), receive_at_ms: 1_767_300_000_000 }
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/twilio");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<_> = files
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    fixtures.sort();
    assert!(fixtures.len() > 25);
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
fn s11_any_field_may_be_absent_or_empty_and_the_others_still_count() {
    let written = |fields: &[(String, String)]| {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
    };
    for (name, body) in fixtures() {
        let fields: Vec<(String, String)> = url::form_urlencoded::parse(&body).into_owned().collect();
        let whole = webhook::parse(&webhook(body.clone()));
        for place in 0..fields.len() {
            let (mut absent, mut empty) = (fields.clone(), fields.clone());
            absent.remove(place);
            empty[place].1.clear();
            for read in [webhook::parse(&webhook(written(&absent))), webhook::parse(&webhook(written(&empty)))] {
                assert!(read.iter().all(Result::is_ok), "{name}: {:?}: {read:?}", fields[place]);
                let kind = |report: &Report| matches!(report, Report::Status(_));
                assert_eq!(read[0].as_ref().map(kind), whole[0].as_ref().map(kind), "{name}: {:?}", fields[place]);
            }
        }
    }
}

#[test]
fn s4_the_message_id_of_the_address_is_read_from_the_journal() {
    let ours = "019b7a5c-8a00-7000-8000-000000000001";
    let posted = Webhook {
        query: vec![(wire::MESSAGE_ID.into(), ours.into())],
        ..webhook("MessageSid=SM01&MessageStatus=sent")
    };
    let journalled = webhook::journalled(&posted);
    assert_eq!(journalled, format!("MessageSid=SM01&MessageStatus=sent&RecadoMessageId={ours}"));
    let read = webhook::parse(&webhook(journalled)).remove(0).unwrap();
    let Report::Status(status) = read else { panic!("{read:?}") };
    assert_eq!(status.message_id.map(|id| id.to_string()).as_deref(), Some(ours));
    // What came without one stays as it came.
    for plain in [webhook("MessageSid=SM01"), Webhook { body: Bytes::new(), ..posted }] {
        assert_eq!(webhook::journalled(&plain), plain.body);
    }
}

#[test]
fn what_is_neither_is_one_unreadable_item() {
    for body in ["", "<html>", "{\"a\":1}", "MessageStatus=sent", "%zz%", "a=b", "\u{0}"] {
        let reports = webhook::parse(&webhook(body));
        assert!(matches!(&reports[..], [Err(_)]), "{body}: {reports:?}");
    }
}

#[test]
fn files_are_not_counted_on_for_ever() {
    let reports =
        webhook::parse(&webhook("MessageSid=SM01&From=whatsapp:%2B5511987654321&NumMedia=9223372036854775807"));
    assert_eq!(reports.len(), 1);
    let reports = webhook::parse(&webhook("MessageSid=SM01&NumMedia=-1&Body=x"));
    assert_eq!(reports.len(), 1);
}

/// Forms with the names that mean something, and any values.
fn any_form() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "MessageSid",
        "MessageStatus",
        "SmsStatus",
        "ErrorCode",
        "From",
        "To",
        "Body",
        "NumMedia",
        "MediaUrl0",
        "MediaUrl1",
        "MediaContentType0",
        "MessageType",
        "Latitude",
        "Longitude",
        "ButtonPayload",
        "ListId",
        "RecadoMessageId",
        "OriginalRepliedMessageSid",
        "ReferralMediaUrl",
    ];
    let value = prop_oneof![".*", Just("received".to_owned()), Just("reaction".to_owned()), Just("3".to_owned())];
    prop::collection::vec((prop::sample::select(NAMES), value), 0..12)
        .prop_map(|fields| url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish())
}

proptest! {
    #[test]
    fn parsing_any_bytes_ends_with_an_answer(body: Vec<u8>) {
        prop_assert!(!webhook::parse(&webhook(body)).is_empty());
    }

    #[test]
    fn parsing_any_form_is_pure(body in any_form()) {
        let reports = webhook::parse(&webhook(body.clone()));
        prop_assert!(!reports.is_empty());
        prop_assert_eq!(reports, webhook::parse(&webhook(body)));
    }
}
