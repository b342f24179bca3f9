//! Sending, against the fake provider over real HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{KEY, TOKEN, adapter};
use crate::domain::content::{Media, MediaKind, MediaSource, Template, Text};
use crate::domain::{Content, ErrorReason, MessageId, PhoneNumber};
use crate::fake::{Action, FakeProvider, Fault, Script};
use crate::provider::{Answer, CheckOutcome, Outgoing, Provider as _, SendError};

fn text(n: usize) -> Outgoing {
    message(n, Content::Text(Text { body: format!("Your parcel {n} leaves today."), preview_url: false }))
}

pub(super) fn message(n: usize, content: Content) -> Outgoing {
    let digits = format!("3519100000{n:02}");
    Outgoing {
        message_id: MessageId::generate(),
        attempt: 1,
        to: PhoneNumber { given: format!("+{digits}"), digits },
        content,
        reply_to: None,
        reaction_to: None,
        validity: None,
    }
}

fn texts(count: usize) -> Vec<Outgoing> {
    (0..count).map(text).collect()
}

pub(super) async fn fake(faults: impl Into<Vec<Fault>>) -> FakeProvider {
    let fake = FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    fake.set_script(Script { faults: faults.into(), statuses: vec![], ..Script::default() }).unwrap();
    fake
}

/// An outcome in one line.
pub(super) fn said(answer: &Answer) -> String {
    match &answer.outcome {
        Ok(receipt) if receipt.provider_message_id.is_some() => "taken".into(),
        Ok(_) => "taken without an id".into(),
        Err(SendError::Refused(error)) => format!("refused {}", error.reason),
        Err(SendError::NotTaken { error, retry_after, retries }) => {
            format!("not taken {} {retry_after:?} {retries:?}", error.reason)
        }
        Err(SendError::InDoubt { .. }) => "in doubt".into(),
    }
}

async fn send(fake: &FakeProvider, messages: &[Outgoing]) -> Vec<String> {
    let answers = adapter(&fake.base_url("devino")).send(messages).await;
    assert_eq!(answers.len(), messages.len());
    answers.iter().map(said).collect()
}

/// What one message comes to under a fault, and how often it was really taken.
async fn under(action: Action) -> (String, u64) {
    let fake = fake([Fault::always(action)]).await;
    let said = send(&fake, &texts(1)).await.remove(0);
    (said, fake.ledger().taken)
}

/// Answers every request with these bytes.
pub(super) async fn answering(bytes: impl Into<Vec<u8>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let bytes = bytes.into();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1 << 16];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    base_url
}

/// What `count` messages come to when a status and a body are answered.
async fn answered(status: u16, body: &str, count: usize) -> Vec<String> {
    let length = body.len();
    let response = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    let answers = adapter(&answering(response).await).send(&texts(count)).await;
    answers.iter().map(said).collect()
}

#[tokio::test]
async fn a_batch_is_one_request_and_comes_back_in_order() {
    let fake = fake([]).await;
    let messages = texts(100);
    assert_eq!(send(&fake, &messages).await, vec!["taken"; 100]);
    let ledger = fake.ledger();
    assert_eq!((ledger.requests, ledger.largest_batch, ledger.distinct), (1, 100, 100));
    let ids: Vec<String> = messages.iter().map(|message| message.message_id.to_string()).collect();
    assert_eq!(fake.rows().into_iter().map(|row| row.message_id).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn o9_a_partial_rejection_under_200_costs_no_other() {
    let refuse = Action::Refuse { key: "invalid".into(), reference: "messages[i].to".into() };
    let fake = fake([Fault::always(refuse).to("351910000001")]).await;
    assert_eq!(send(&fake, &texts(3)).await, ["taken", "refused INVALID_RECIPIENT", "taken"]);
    assert_eq!(fake.ledger().distinct, 2);
}

#[tokio::test]
async fn o1_an_answer_lost_after_the_message_was_taken_is_in_doubt() {
    assert_eq!(under(Action::DropAfterAccept).await, ("in doubt".into(), 1));
    assert_eq!(under(Action::ErrorAfterAccept { status: 502 }).await, ("in doubt".into(), 1));
    assert_eq!(under(Action::Garbage).await, ("in doubt".into(), 1));
    assert_eq!(under(Action::Slow { ms: 5_000 }).await, ("in doubt".into(), 1));
}

#[tokio::test]
async fn what_cannot_be_told_from_that_is_in_doubt_too() {
    assert_eq!(under(Action::DropBeforeAccept).await, ("in doubt".into(), 0));
    assert_eq!(under(Action::ErrorBeforeAccept { status: 503 }).await, ("in doubt".into(), 0));
}

#[tokio::test]
async fn o1_a_refused_connection_is_not_in_doubt() {
    let fake = fake([]).await;
    let base_url = fake.base_url("devino");
    fake.stop().await;
    let answers = adapter(&base_url).send(&texts(2)).await;
    assert_eq!(answers.iter().map(said).collect::<Vec<_>>(), vec!["not taken PROVIDER_UNAVAILABLE None None"; 2]);
}

#[tokio::test]
async fn o3_throttling_is_not_taken_with_the_delay_that_was_asked_for() {
    let throttle = |retry_after_s, body_only| Action::Throttle { retry_after_s, body_only };
    assert_eq!(under(throttle(Some(1), false)).await, ("not taken RATE_LIMITED Some(1s) None".into(), 0));
    assert_eq!(under(throttle(None, false)).await, ("not taken RATE_LIMITED None None".into(), 0));
    assert_eq!(under(throttle(None, true)).await, ("not taken RATE_LIMITED None None".into(), 0));
}

#[tokio::test]
async fn a_rejection_of_the_whole_request_goes_to_every_message() {
    let refuse = Action::Refuse { key: "must.be.not.null".into(), reference: "messages".into() };
    let fake = fake([Fault::always(refuse)]).await;
    assert_eq!(send(&fake, &texts(3)).await, vec!["refused INVALID_REQUEST"; 3]);
    assert_eq!(fake.ledger().taken, 0);
}

#[tokio::test]
async fn a_request_too_large_is_halved_until_it_passes() {
    let too_many = Action::Refuse { key: "too.many.messages".into(), reference: "messages".into() };
    for (fault, requests) in
        [(Fault::always(Action::TooLarge { over: 25 }), 1 + 2 + 4), (Fault::always(too_many.clone()).first(1), 1 + 2)]
    {
        let fake = fake([fault]).await;
        let messages = texts(100);
        assert_eq!(send(&fake, &messages).await, vec!["taken"; 100]);
        let ledger = fake.ledger();
        assert_eq!((ledger.requests, ledger.taken, ledger.distinct), (requests, 100, 100));
        let ids: Vec<String> = messages.iter().map(|message| message.message_id.to_string()).collect();
        assert_eq!(fake.rows().into_iter().map(|row| row.message_id).collect::<Vec<_>>(), ids, "order is kept");
    }
    assert_eq!(under(Action::TooLarge { over: 0 }).await, ("refused CONTENT_TOO_LONG".into(), 0));
    assert_eq!(under(too_many).await, ("refused INVALID_REQUEST".into(), 0));
}

#[tokio::test]
async fn the_http_status_counts_only_without_a_result() {
    for (status, body, said) in [
        (200, r#"{"result":[{"code":"OK","messageId":3590000000000000001}]}"#, "taken"),
        (500, r#"{"result":[{"code":"OK","messageId":"3590000000000000001"}]}"#, "taken"),
        (400, r#"{"result":[{"code":"REJECTED","reasons":{"key":"forbidden"}}]}"#, "refused SENDER_UNAUTHORIZED"),
        (200, r#"{"result":[{"code":"OK"}]}"#, "taken without an id"),
        (200, r#"{"result":[{"code":"REJECTED"}]}"#, "not taken UNKNOWN None Some(1)"),
        (200, r#"{"result":[{"code":"REJECTED","reasons":["forbidden"]}]}"#, "refused SENDER_UNAUTHORIZED"),
        (200, r#"{"result":[{"code":"DECLINED","reasons":[{"key":"billing.error"}]}]}"#, "refused BILLING"),
        (200, r#"{"result":[{"code":"PENDING","messageId":"7"}]}"#, "in doubt"),
        (200, r#"{"result":[{}]}"#, "in doubt"),
        (200, r#"{"result":[null]}"#, "in doubt"),
        (200, r#"{"result":[]}"#, "in doubt"),
        (200, r#"{"result":{}}"#, "in doubt"),
        (200, "", "in doubt"),
        (204, "", "in doubt"),
        (301, "", "refused INVALID_REQUEST"),
        (400, r#"{"code":"BAD_REQUEST"}"#, "refused INVALID_REQUEST"),
        (401, "<html>", "refused SENDER_UNAUTHORIZED"),
        (402, "", "refused BILLING"),
        (403, "", "refused SENDER_UNAUTHORIZED"),
        (404, "", "refused INVALID_REQUEST"),
        (405, "", "refused INVALID_REQUEST"),
        (408, "", "in doubt"),
        (413, "", "refused CONTENT_TOO_LONG"),
        (429, r#"{"result":[]}"#, "not taken RATE_LIMITED None None"),
        (500, "<html>", "in doubt"),
        (503, "", "in doubt"),
    ] {
        assert_eq!(answered(status, body, 1).await, [said], "{status} {body}");
    }
}

#[tokio::test]
async fn results_that_do_not_match_the_messages_leave_all_in_doubt() {
    let two = r#"{"result":[{"code":"OK","messageId":"1"},{"code":"OK","messageId":"2"}]}"#;
    assert_eq!(answered(200, two, 3).await, vec!["in doubt"; 3]);
    let one = r#"{"result":[{"code":"REJECTED","reasons":[{"key":"invalid","ref":"messages[0].to"}]}]}"#;
    assert_eq!(answered(200, one, 2).await, vec!["in doubt"; 2]);
}

#[tokio::test]
async fn what_devino_has_no_form_for_is_refused_alone() {
    let media = |kind, source, caption: &str| {
        Content::Media(Media {
            kind,
            source,
            mime_type: String::new(),
            file_name: String::new(),
            caption: caption.into(),
        })
    };
    let url = || MediaSource::Url("https://files.example.test/a.ogg".into());
    let fake = fake([]).await;
    let messages = [
        text(0),
        message(1, Content::Location(Default::default())),
        message(2, media(MediaKind::Image, MediaSource::MediaId("7".into()), "")),
        message(3, media(MediaKind::Sticker, url(), "")),
        message(4, media(MediaKind::Voice, url(), "not to be cut off")),
        Outgoing { reply_to: Some("3591".into()), ..text(5) },
        text(6),
    ];
    let no = "refused NOT_SUPPORTED";
    assert_eq!(send(&fake, &messages).await, ["taken", no, no, no, no, no, "taken"]);
    assert_eq!(fake.ledger().requests, 1);
    assert_eq!(send(&fake, &messages[1..3]).await, [no, no]);
    assert_eq!(fake.ledger().requests, 1, "nothing left to send");
}

/// The request's JSON as Devino would see it.
async fn on_the_wire(message: &Outgoing) -> Value {
    let adapter = adapter("http://127.0.0.1:1");
    let mut item = serde_json::to_value(adapter.item(message).unwrap()).unwrap();
    let members = item.as_object_mut().unwrap();
    assert_eq!(members.remove("callbackData").unwrap(), json!(message.message_id.to_string()));
    assert_eq!(members.remove("from").unwrap(), "AcmeCare");
    assert_eq!(members.remove("to").unwrap(), json!(message.to.digits));
    let url = "https://gateway.example.test/webhooks/devino/acme?token=a+token%2Fwith%3Doddities%26more";
    assert_eq!(members.remove("callbackUrl").unwrap(), url);
    item
}

#[tokio::test]
async fn contents_take_devinos_form() {
    assert_eq!(on_the_wire(&text(7)).await, json!({ "text": "Your parcel 7 leaves today." }));
    let media = |kind, url: &str, mime_type: &str, file_name: &str, caption: &str| {
        let source = MediaSource::Url(url.into());
        Content::Media(Media {
            kind,
            source,
            mime_type: mime_type.into(),
            file_name: file_name.into(),
            caption: caption.into(),
        })
    };
    for (content, wire) in [
        (
            media(MediaKind::Document, "https://f.test/x", "", "invoice-77.pdf", "Invoice 77"),
            json!({ "contentUrl": "https://f.test/x", "contentName": "invoice-77.pdf", "contentType": "application/pdf", "text": "Invoice 77" }),
        ),
        (
            media(MediaKind::Voice, "https://f.test/v", "auidio/ogg; codecs=opus", "", ""),
            json!({ "contentUrl": "https://f.test/v", "contentType": "audio/ogg" }),
        ),
        (
            media(MediaKind::Audio, "https://f.test/a.acc", "Audio/ACC", "", ""),
            json!({ "contentUrl": "https://f.test/a.acc", "contentType": "audio/aac" }),
        ),
        (
            media(MediaKind::Image, "https://f.test/a.png?x=1", "", "", "Front"),
            json!({ "contentUrl": "https://f.test/a.png?x=1", "contentType": "image/png", "text": "Front" }),
        ),
    ] {
        assert_eq!(on_the_wire(&message(0, content)).await, wire);
    }
}

#[tokio::test]
async fn o12_templates_carry_their_language_and_positions() {
    let parameters: BTreeMap<_, _> = (1..=12).map(|n| (n.to_string(), format!("v{n}"))).collect();
    let template = |parameters, language_code: &str| {
        let (template, language_code) = ("order_ready_v2".into(), language_code.into());
        Content::Template(Template { template, language_code, parameters, ..Default::default() })
    };
    let wire = on_the_wire(&message(0, template(parameters, "pt_BR"))).await;
    assert_eq!(wire["templateId"], "order_ready_v2");
    assert_eq!(wire["languageCode"], "PT_BR");
    assert_eq!(wire["templateParams"].as_object().unwrap().len(), 12);
    assert_eq!((&wire["templateParams"]["2"], &wire["templateParams"]["10"]), (&json!("v2"), &json!("v10")));

    let bare = json!({ "templateId": "order_ready_v2", "languageCode": "EN" });
    for (validity, wire) in [
        (None, bare.clone()),
        (Some(3_600), bare.clone()),
        (Some(86_400), json!({ "templateId": "order_ready_v2", "languageCode": "EN", "validity": 86_400 })),
    ] {
        let validity = validity.map(Duration::from_secs);
        let message = Outgoing { validity, ..message(0, template(BTreeMap::new(), "")) };
        assert_eq!(on_the_wire(&message).await, wire);
    }
    let plain = Outgoing { validity: Some(Duration::from_secs(86_400)), ..text(1) };
    assert_eq!(on_the_wire(&plain).await.get("validity"), None);
}

#[tokio::test]
async fn no_secret_number_or_text_shows_in_a_trace() {
    let messages = texts(1);
    let url = "https://gateway.example.test/webhooks/devino/acme?token=a+token%2Fwith%3Doddities%26more";
    let echo = format!("Key {KEY} {TOKEN} {url} {} Your parcel 0 leaves today.", messages[0].to.digits);
    let response = format!("HTTP/1.1 500 X\r\ncontent-length: {}\r\n\r\n{echo}", echo.len());
    let answers = adapter(&answering(response).await).send(&messages).await;
    let exchange = answers[0].exchange.as_ref().unwrap();
    for secret in [KEY, "oddities", "351910000000", "parcel"] {
        assert!(!format!("{answers:?}").contains(secret), "{secret}: {exchange:?}");
    }
    assert_eq!((exchange.http_status, exchange.path.as_str()), (Some(500), "/whatsapp/messages"));
}

#[tokio::test]
async fn the_check_asks_for_the_balance() {
    let fake = fake([]).await;
    let adapter = adapter(&fake.base_url("devino"));
    assert_eq!(adapter.check().await, CheckOutcome::Working { detail: "balance 1000.5".into() });
    fake.set_script(Script { api_key: Some("another".into()), ..Script::default() }).unwrap();
    let CheckOutcome::Refused(error) = adapter.check().await else { panic!("refused") };
    assert_eq!(error.reason, ErrorReason::SenderUnauthorized);
    assert_eq!(said(&adapter.send(&texts(1)).await[0]), "refused SENDER_UNAUTHORIZED");
    fake.stop().await;
    assert!(matches!(adapter.check().await, CheckOutcome::Unreachable { .. }));
}

#[tokio::test]
async fn settings_that_slipped_through_send_nothing() {
    let answers = adapter("not an address").send(&texts(2)).await;
    assert_eq!(answers.iter().map(said).collect::<Vec<_>>(), vec!["refused INVALID_SENDER"; 2]);
}
