//! The direct API, against the fake provider over real HTTP.

use serde_json::json;

use super::send::{answering, fake, message, said};
use super::{adapter_of as adapter, settings};
use crate::domain::Content;
use crate::domain::content::{
    CardName, ContactCard, Interactive, InteractiveAction, Location, Media, MediaKind, MediaSource, ReplyButton,
    Template, TemplateHeader, Text,
};
use crate::fake::{Action, Fault};
use crate::proto::{DevinoApi, DevinoConfig};
use crate::provider::{Outgoing, Provider as _, SendError};

fn direct(base_url: &str) -> DevinoConfig {
    DevinoConfig { api: DevinoApi::Direct.into(), ..settings(base_url) }
}

fn text(n: usize, body: &str, preview_url: bool) -> Outgoing {
    message(n, Content::Text(Text { body: body.into(), preview_url }))
}

fn media(kind: MediaKind) -> Media {
    let source = MediaSource::Url("https://files.example.test/a".into());
    Media { kind, source, mime_type: String::new(), file_name: String::new(), caption: String::new() }
}

fn question(action: InteractiveAction) -> Content {
    Content::Interactive(Interactive { body: "Deliver today?".into(), header: None, footer: String::new(), action })
}

fn yes() -> InteractiveAction {
    InteractiveAction::ReplyButtons(vec![ReplyButton { id: "yes".into(), title: "Yes".into() }])
}

/// One of each that only the direct API carries, and some that both do.
fn all() -> Vec<Content> {
    let rui = CardName { formatted_name: "Rui Melo".into(), first_name: "Rui".into(), ..Default::default() };
    let template = Template {
        template: "order_ready".into(),
        language_code: "pt-PT".into(),
        parameters: [("1".to_owned(), "Ana".to_owned())].into(),
        header: Some(TemplateHeader::Media(media(MediaKind::Image))),
        ..Default::default()
    };
    vec![
        Content::Text(Text { body: "Track it: https://t.example.test/1".into(), preview_url: true }),
        Content::Media(media(MediaKind::Image)),
        Content::Media(media(MediaKind::Document)),
        Content::Location(Location { latitude: 38.72, longitude: -9.14, ..Default::default() }),
        Content::ContactCards(vec![ContactCard { name: rui, ..Default::default() }]),
        question(yes()),
        Content::Template(template),
    ]
}

#[test]
fn messages_take_whatsapps_form_with_devinos_members_beside_it() {
    let adapter = adapter(direct("http://127.0.0.1:1"));
    let parts = [
        json!({ "type": "text", "preview_url": true, "text": { "body": "Track it: https://t.example.test/1" } }),
        json!({ "type": "image", "image": { "link": "https://files.example.test/a" } }),
        json!({ "type": "document", "document": { "link": "https://files.example.test/a" } }),
        json!({ "type": "location", "location": { "latitude": 38.72, "longitude": -9.14 } }),
        json!({ "type": "contacts", "contacts": [{ "name": { "formatted_name": "Rui Melo", "first_name": "Rui" } }] }),
        json!({ "type": "interactive", "interactive": {
            "type": "button", "body": { "text": "Deliver today?" },
            "action": { "buttons": [{ "type": "reply", "reply": { "id": "yes", "title": "Yes" } }] },
        } }),
        json!({ "type": "template", "template": {
            "name": "order_ready", "language": { "code": "pt_PT" }, "components": [
                { "type": "header", "parameters": [{ "type": "image", "image": { "link": "https://files.example.test/a" } }] },
                { "type": "body", "parameters": [{ "type": "text", "text": "Ana" }] },
            ],
        } }),
    ];
    let contents = all();
    assert_eq!(contents.len(), parts.len());
    for (content, part) in contents.into_iter().zip(parts) {
        let message = message(1, content);
        let mut form = adapter.direct(&message).unwrap();
        for (member, value) in [
            ("from", "AcmeCare"),
            ("to", "351910000001"),
            ("callbackData", &message.message_id.to_string()),
            ("callbackUrl", "https://gateway.example.test/webhooks/devino/acme?token=a+token%2Fwith%3Doddities%26more"),
        ] {
            assert_eq!(form.remove(member), Some(json!(value)));
        }
        assert_eq!(json!(form), part);
    }
}

#[tokio::test]
async fn all_kinds_share_a_request_and_a_rejected_one_costs_no_other() {
    let refuse = Action::Refuse { key: "invalid".into(), reference: "messages[i].image.link".into() };
    let fake = fake([Fault::always(refuse).to("351910000001")]).await;
    let messages: Vec<Outgoing> = all().into_iter().enumerate().map(|(n, content)| message(n, content)).collect();
    let answers = adapter(direct(&fake.base_url("devino"))).send(&messages).await;
    let said: Vec<String> = answers.iter().map(said).collect();
    assert_eq!(said[1], "refused INVALID_MEDIA");
    assert!(said.iter().enumerate().all(|(n, said)| n == 1 || said == "taken"), "{said:?}");
    assert_eq!((fake.ledger().requests, fake.ledger().distinct), (1, 6));
    let exchange = answers[0].exchange.as_ref().unwrap();
    assert_eq!(exchange.path, "/devino/whatsapp/v2/messages");
}

#[tokio::test]
async fn a_message_by_itself_is_a_matter_of_settings() {
    let fake = fake([]).await;
    let adapter = adapter(DevinoConfig { direct_unwrapped: true, ..direct(&fake.base_url("devino")) });
    assert_eq!(adapter.capabilities().batch, 1);
    let answers = adapter.send(&[text(1, "One by itself", false)]).await;
    assert_eq!(said(&answers[0]), "taken");
    assert_eq!((fake.ledger().requests, fake.rows()[0].text.as_str()), (1, "One by itself"));
}

#[tokio::test]
async fn an_answer_may_be_one_result_without_a_list() {
    for (status, body, expected) in [
        (200, r#"{"code":"OK","messageId":"3590000000000000001"}"#, "taken"),
        (200, r#"{"result":{"code":"OK","messageId":3590000000000000001}}"#, "taken"),
        (400, r#"{"code":"REJECTED","reasons":[{"key":"forbidden"}]}"#, "refused SENDER_UNAUTHORIZED"),
        (400, r#"{"code":"BAD_REQUEST","description":"no"}"#, "refused INVALID_REQUEST"),
        (200, r#"{"code":"BAD_REQUEST"}"#, "in doubt"),
    ] {
        let length = body.len();
        let response = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        let adapter = adapter(direct(&answering(response).await));
        assert_eq!(said(&adapter.send(&[text(1, "x", false)]).await[0]), expected, "{body}");
    }
}

#[test]
fn what_it_does_not_carry_is_refused_whole() {
    let adapter = adapter(direct("http://127.0.0.1:1"));
    let page = InteractiveAction::UrlButton { text: "Open".into(), url: "https://example.test".into() };
    let place = Location { url: "https://maps.example.test".into(), ..Default::default() };
    for message in [
        message(1, question(page)),
        message(1, Content::Location(place)),
        message(1, Content::Media(media(MediaKind::Sticker))),
        Outgoing { reply_to: Some("3590".into()), ..text(1, "x", false) },
    ] {
        assert!(matches!(adapter.direct(&message), Err(SendError::Refused(_))), "{message:?}");
    }
}

#[tokio::test]
async fn the_fake_judges_what_is_inside() {
    let fake = fake([]).await;
    let adapter = adapter(direct(&fake.base_url("devino")));
    let long = "é".repeat(4_097);
    for (content, expected) in [
        (Content::Text(Text { body: long, preview_url: false }), "refused CONTENT_TOO_LONG"),
        (Content::ContactCards(vec![ContactCard::default()]), "refused INVALID_CONTENT"),
    ] {
        assert_eq!(said(&adapter.send(&[message(1, content)]).await[0]), expected);
    }
    assert_eq!(fake.ledger().refused, 2);
}
