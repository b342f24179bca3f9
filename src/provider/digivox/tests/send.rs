//! Sending, against the fake provider over real HTTP.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{CHANNEL, CLIENT_TOKEN, TOKEN, adapter, settings};
use crate::domain::content::{Location, Media, MediaKind, MediaSource, Template, TemplateButton, Text};
use crate::domain::{Content, MessageId, PhoneNumber};
use crate::fake::{Action, FakeProvider, Fault, Script};
use crate::proto::DigivoxConfig;
use crate::provider::{Answer, Outgoing, Provider as _, SendError};

fn message(content: Content) -> Outgoing {
    let digits = "558390000002".to_owned();
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

fn text() -> Outgoing {
    message(Content::Text(Text { body: "Seu pedido saiu para entrega.".into(), preview_url: false }))
}

fn said(answer: &Answer) -> String {
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

async fn fake(faults: impl Into<Vec<Fault>>) -> FakeProvider {
    let fake = FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    fake.set_script(Script { faults: faults.into(), statuses: vec![], ..Script::default() }).unwrap();
    fake
}

/// What one message comes to under a fault, and how often it was really taken.
async fn under(action: Action) -> (String, u64) {
    let fake = fake([Fault::always(action)]).await;
    let answers = adapter(settings(&fake.base_url("digivox"))).send(&[text()]).await;
    (said(&answers[0]), fake.ledger().taken)
}

#[tokio::test]
async fn each_message_is_a_request_of_its_own_and_they_keep_their_order() {
    let fake = fake([]).await;
    let messages = [text(), text(), text()];
    let answers = adapter(settings(&fake.base_url("digivox"))).send(&messages).await;
    assert_eq!(answers.iter().map(said).collect::<Vec<_>>(), ["taken"; 3]);
    let ours: Vec<String> = messages.iter().map(|message| message.message_id.to_string()).collect();
    assert_eq!(fake.rows().into_iter().map(|row| row.message_id).collect::<Vec<_>>(), ours);
    assert_eq!((fake.ledger().requests, fake.ledger().largest_batch), (3, 1));
}

#[tokio::test]
async fn o1_o3_what_goes_wrong_is_told_apart() {
    for (action, expected, taken) in [
        (Action::DropAfterAccept, "in doubt", 1),
        (Action::ErrorAfterAccept { status: 500 }, "in doubt", 1),
        (Action::Garbage, "in doubt", 1),
        (Action::Slow { ms: 5_000 }, "in doubt", 1),
        (Action::DropBeforeAccept, "in doubt", 0),
        (Action::ErrorBeforeAccept { status: 502 }, "in doubt", 0),
        (Action::Throttle { retry_after_s: Some(1), body_only: false }, "not taken RATE_LIMITED Some(1s) None", 0),
        (Action::Throttle { retry_after_s: None, body_only: true }, "not taken RATE_LIMITED None None", 0),
        (Action::TooLarge { over: 0 }, "refused CONTENT_TOO_LONG", 0),
        (Action::Refuse { key: "to: invalid number".into(), reference: String::new() }, "refused INVALID_REQUEST", 0),
        (Action::Refuse { key: "131047".into(), reference: String::new() }, "refused OUTSIDE_WINDOW", 0),
    ] {
        assert_eq!(under(action.clone()).await, (expected.to_owned(), taken), "{action:?}");
    }
    let gone = fake([]).await;
    let base_url = gone.base_url("digivox");
    gone.stop().await;
    let answers = adapter(settings(&base_url)).send(&[text()]).await;
    assert_eq!(said(&answers[0]), "not taken PROVIDER_UNAVAILABLE None None");
}

#[tokio::test]
async fn the_fake_wants_the_token_and_a_channel_that_is_the_clients() {
    let fake = fake([]).await;
    let at = |change: fn(&mut DigivoxConfig)| {
        let mut settings = settings(&fake.base_url("digivox"));
        change(&mut settings);
        adapter(settings)
    };
    fake.set_script(Script { api_key: Some(CLIENT_TOKEN.into()), senders: vec![CHANNEL.into()], ..Script::default() })
        .unwrap();
    for (adapter, expected) in [
        (at(|_| {}), "taken"),
        (at(|settings| settings.client_token = "another".into()), "refused SENDER_UNAUTHORIZED"),
        (at(|settings| settings.auth_header = "authorization".into()), "refused SENDER_UNAUTHORIZED"),
        (
            at(|settings| settings.whatsapp_id = "99999999-2222-4333-8444-555566667777".into()),
            "refused SENDER_UNAUTHORIZED",
        ),
        (at(|settings| settings.whatsapp_id = "acme".into()), "refused INVALID_REQUEST"),
        (at(|settings| settings.send_path = "/elsewhere".into()), "refused INVALID_REQUEST"),
    ] {
        assert_eq!(said(&adapter.send(&[text()]).await[0]), expected, "{adapter:?}");
    }
}

/// What an answer of this status and body comes to, and the provider's id in it.
fn judged(settings: DigivoxConfig, status: u16, body: &str) -> (String, Option<String>) {
    let answer = crate::provider::http::HttpAnswer {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after: None,
        headers: Default::default(),
        body: body.to_owned().into(),
    };
    let answer = Answer { outcome: adapter(settings).judge(&answer), exchange: None, usage: None };
    (said(&answer), answer.outcome.ok().and_then(|receipt| receipt.provider_message_id))
}

#[test]
fn answers_of_many_forms_are_read() {
    for (status, body, expected, id) in [
        (
            201,
            r#"{"id":"0C9B8A77-1234-4abc-9def-001122334455","status":"queued"}"#,
            "taken",
            "0c9b8a77-1234-4abc-9def-001122334455",
        ),
        (200, r#"{"id":7001,"message":"queued"}"#, "taken", "7001"),
        (202, r#"{"messageId":"a"}"#, "taken", "a"),
        (200, r#"{"message_id":"a"}"#, "taken", "a"),
        (200, r#"{"messages":[{"id":"wamid.A"}]}"#, "taken", "wamid.A"),
        (200, r#"{"data":{"id":"a"}}"#, "taken", "a"),
        (200, r#"{"status":"queued"}"#, "taken without an id", ""),
        (200, r#"{"id":{},"error":null}"#, "taken without an id", ""),
        (204, "", "taken without an id", ""),
        (201, "", "taken without an id", ""),
        (200, "<html>", "in doubt", ""),
        (200, r#"{"error":{"code":131047,"message":"late"}}"#, "refused OUTSIDE_WINDOW", ""),
        (200, r#"{"error":"no"}"#, "refused INVALID_REQUEST", ""),
        (200, r#"{"errors":[{"message":"no"}]}"#, "refused INVALID_REQUEST", ""),
        (400, r#"{"status":400,"error":"Bad Request","message":"to: invalid number"}"#, "refused INVALID_REQUEST", ""),
        (400, r#"{"error":{"code":131026}}"#, "refused RECIPIENT_UNREACHABLE", ""),
        (400, "plain words", "refused INVALID_REQUEST", ""),
        (401, "", "refused SENDER_UNAUTHORIZED", ""),
        (403, "<html>", "refused SENDER_UNAUTHORIZED", ""),
        (404, "", "refused INVALID_REQUEST", ""),
        (429, "{}", "not taken RATE_LIMITED None None", ""),
        (500, "{}", "in doubt", ""),
        (502, "<html>", "in doubt", ""),
    ] {
        let (said, given) = judged(settings("http://127.0.0.1:1"), status, body);
        assert_eq!((said.as_str(), given.unwrap_or_default().as_str()), (expected, id), "{status} {body}");
    }
}

#[test]
fn answers_are_read_where_the_settings_say() {
    let own = || DigivoxConfig {
        response_id_pointer: "/result/key".into(),
        response_code_pointer: "/result/reason".into(),
        ..settings("http://127.0.0.1:1")
    };
    let (said, id) = judged(own(), 200, r#"{"id":"not this","result":{"key":"this"}}"#);
    assert_eq!((said.as_str(), id.as_deref()), ("taken", Some("this")));
    assert_eq!(judged(own(), 200, r#"{"id":"else this"}"#).1.as_deref(), Some("else this"));
    assert_eq!(judged(own(), 422, r#"{"result":{"reason":"131047"}}"#).0, "refused OUTSIDE_WINDOW");
}

fn on_the_wire(settings: DigivoxConfig, message: &Outgoing) -> Result<Value, String> {
    let form = adapter(settings).form(message).map(Value::Object);
    form.map_err(|error| said(&Answer { outcome: Err(error), exchange: None, usage: None }))
}

#[test]
fn messages_take_metas_form_and_say_whom_they_are_from() {
    let media = Content::Media(Media {
        kind: MediaKind::Document,
        source: MediaSource::Url("https://files.example.test/nf-10.pdf".into()),
        mime_type: "application/pdf".into(),
        file_name: "nf-10.pdf".into(),
        caption: "Nota fiscal".into(),
    });
    let template = Content::Template(Template {
        template: "order_out".into(),
        parameters: [("1".to_owned(), "Maria".to_owned())].into(),
        buttons: vec![TemplateButton { index: 0, parameter: "A-1001".into(), kind: Default::default() }],
        ..Default::default()
    });
    let link = Content::Text(Text { body: "https://t.example.test/1".into(), preview_url: true });
    for (content, kind, part) in [
        (text().content, "text", json!({ "body": "Seu pedido saiu para entrega." })),
        (link, "text", json!({ "body": "https://t.example.test/1", "preview_url": true })),
        (
            media,
            "document",
            json!({ "link": "https://files.example.test/nf-10.pdf", "filename": "nf-10.pdf", "caption": "Nota fiscal" }),
        ),
        (
            template,
            "template",
            json!({ "name": "order_out", "language": { "code": "pt_BR" }, "components": [
                { "type": "body", "parameters": [{ "type": "text", "text": "Maria" }] },
                { "type": "button", "sub_type": "url", "index": "0", "parameters": [{ "type": "text", "text": "A-1001" }] },
            ] }),
        ),
    ] {
        let message = message(content);
        let expected = json!({
            "from": "558330000001", "to": "558390000002", "type": kind, kind: part,
            "biz_opaque_callback_data": message.message_id.to_string(),
        });
        assert_eq!(on_the_wire(settings("http://127.0.0.1:1"), &message), Ok(expected));
    }
}

#[test]
fn members_are_called_as_the_settings_say() {
    let own = DigivoxConfig {
        message_id_field: Some("reference".into()),
        whatsapp_id_field: "channel_id".into(),
        ..settings("http://127.0.0.1:1")
    };
    let (message, none) = (text(), DigivoxConfig { message_id_field: Some(String::new()), ..settings("http://x") });
    let form = on_the_wire(own, &message).unwrap();
    assert_eq!((&form["reference"], &form["channel_id"]), (&json!(message.message_id.to_string()), &json!(CHANNEL)));
    assert_eq!(form.get("biz_opaque_callback_data"), None);
    assert_eq!(on_the_wire(none.clone(), &message).unwrap().as_object().unwrap().len(), 4);
    assert!(!adapter(none).capabilities().echoes_message_id);
}

#[test]
fn what_digivox_does_not_speak_of_is_sent_on_demand_only() {
    let rich = || DigivoxConfig { rich_contents: true, ..settings("http://127.0.0.1:1") };
    let place = message(Content::Location(Location { latitude: -7.1, longitude: -34.8, ..Default::default() }));
    assert_eq!(on_the_wire(settings("http://x"), &place), Err("refused NOT_SUPPORTED".into()));
    assert_eq!(on_the_wire(rich(), &place).unwrap()["location"], json!({ "latitude": -7.1, "longitude": -34.8 }));
    let quote = Outgoing { reply_to: Some("in-7001".into()), ..text() };
    assert_eq!(on_the_wire(rich(), &quote), Err("refused NOT_SUPPORTED".into()));
    assert!(adapter(rich()).capabilities().location && !adapter(settings("http://x")).capabilities().location);
}

#[tokio::test]
async fn settings_that_slipped_through_send_nothing() {
    let answers = adapter(settings("not an address")).send(&[text()]).await;
    assert_eq!(said(&answers[0]), "refused INVALID_SENDER");
}

#[test]
fn the_secrets_show_nowhere() {
    let shown = format!("{:?}", adapter(settings("http://127.0.0.1:1")));
    assert!(!shown.contains(CLIENT_TOKEN) && !shown.contains(TOKEN), "{shown}");
}
