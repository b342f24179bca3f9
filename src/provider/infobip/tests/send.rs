//! Sending, against the fake provider over real HTTP.

use serde_json::{Value, json};

use super::{KEY, TOKEN, adapter};
use crate::domain::content::{
    CardName, ContactCard, Interactive, InteractiveAction, InteractiveHeader, List, ListRow, ListSection, Location,
    Media, MediaKind, MediaSource, Reaction, ReplyButton, Template, TemplateButton, TemplateButtonKind, TemplateHeader,
    Text,
};
use crate::domain::{Content, ErrorReason, MessageId, PhoneNumber};
use crate::fake::{Action, FakeProvider, Fault, Script};
use crate::provider::http::HttpAnswer;
use crate::provider::infobip::send::judge;
use crate::provider::{Answer, Outgoing, Provider as _, SendError};

fn message(content: Content) -> Outgoing {
    Outgoing {
        message_id: MessageId::generate(),
        attempt: 1,
        to: PhoneNumber { given: "+351 910 000 001".into(), digits: "351910000001".into() },
        content,
        reply_to: None,
        reaction_to: None,
        validity: None,
    }
}

fn text(body: &str) -> Outgoing {
    message(Content::Text(Text { body: body.into(), preview_url: true }))
}

fn media(kind: MediaKind, caption: &str, file_name: &str) -> Media {
    Media {
        kind,
        source: MediaSource::Url("https://files.example.test/a".into()),
        mime_type: String::new(),
        file_name: file_name.into(),
        caption: caption.into(),
    }
}

fn template() -> Template {
    Template {
        template: "boleto_disponivel".into(),
        language_code: "pt-br".into(),
        parameters: (1..=12).map(|n| (n.to_string(), format!("v{n}"))).collect(),
        ..Default::default()
    }
}

fn interactive(action: InteractiveAction, header: Option<InteractiveHeader>) -> Content {
    Content::Interactive(Interactive { body: "Some text".into(), header, footer: "Footer".into(), action })
}

fn buttons() -> InteractiveAction {
    InteractiveAction::ReplyButtons(vec![ReplyButton { id: "1".into(), title: "Yes".into() }])
}

fn choice() -> InteractiveAction {
    let row = ListRow { id: "1".into(), title: "row title".into(), description: String::new() };
    let section = ListSection { title: String::new(), rows: vec![row] };
    InteractiveAction::List(List { button: "Choose one".into(), sections: vec![section] })
}

async fn fake(faults: impl Into<Vec<Fault>>) -> FakeProvider {
    let fake = FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    fake.set_script(Script { faults: faults.into(), statuses: vec![], ..Script::default() }).unwrap();
    fake
}

/// An outcome in one line.
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

async fn send(fake: &FakeProvider, message: Outgoing) -> Answer {
    adapter(&fake.base_url("infobip")).send(&[message]).await.remove(0)
}

/// What one text comes to under a fault, and how often it was really taken.
async fn under(action: Action) -> (String, u64) {
    let fake = fake([Fault::always(action)]).await;
    (said(&send(&fake, text("Your parcel leaves today.")).await), fake.ledger().taken)
}

#[tokio::test]
async fn every_content_has_its_path_and_form_and_the_fake_takes_it() {
    let place = || Location { latitude: 44.95, longitude: 13.85, name: "Shop".into(), ..Location::default() };
    let card = ContactCard {
        name: CardName { formatted_name: "Rui Melo".into(), ..CardName::default() },
        ..ContactCard::default()
    };
    let header = TemplateHeader::Media(media(MediaKind::Document, "", "boleto.pdf"));
    let button = |index, kind, parameter: &str| TemplateButton { index, kind, parameter: parameter.into() };
    let filled = Template {
        header: Some(header),
        buttons: vec![button(1, TemplateButtonKind::QuickReply, "yes"), button(0, TemplateButtonKind::Url, "2291")],
        ..template()
    };
    let at = Template { header: Some(TemplateHeader::Location(place())), parameters: [].into(), ..template() };
    let twelve: Vec<String> = (1..=12).map(|n| format!("v{n}")).collect();
    let url = "https://files.example.test/a";
    let cases = [
        (text("É já? 🚚").content, "text", json!({ "text": "É já? 🚚", "previewUrl": true })),
        (
            Content::Media(media(MediaKind::Image, "Fatura", "")),
            "image",
            json!({ "mediaUrl": url, "caption": "Fatura" }),
        ),
        (
            Content::Media(media(MediaKind::Document, "Fatura", "a.pdf")),
            "document",
            json!({ "mediaUrl": url, "caption": "Fatura", "filename": "a.pdf" }),
        ),
        (Content::Media(media(MediaKind::Sticker, "", "")), "sticker", json!({ "mediaUrl": url })),
        (Content::Location(place()), "location", json!({ "latitude": 44.95, "longitude": 13.85, "name": "Shop" })),
        (
            Content::ContactCards(vec![card]),
            "contact",
            json!({ "contacts": [{ "name": { "formattedName": "Rui Melo" } }] }),
        ),
        (
            interactive(buttons(), Some(InteractiveHeader::Text("Header".into()))),
            "interactive/buttons",
            json!({
                "body": { "text": "Some text" }, "footer": { "text": "Footer" },
                "header": { "type": "TEXT", "text": "Header" },
                "action": { "buttons": [{ "type": "REPLY", "id": "1", "title": "Yes" }] },
            }),
        ),
        (
            interactive(choice(), None),
            "interactive/list",
            json!({
                "body": { "text": "Some text" }, "footer": { "text": "Footer" },
                "action": { "title": "Choose one", "sections": [{ "rows": [{ "id": "1", "title": "row title" }] }] },
            }),
        ),
        (
            interactive(
                InteractiveAction::UrlButton { text: "Open".into(), url: "https://acme.example.test".into() },
                Some(InteractiveHeader::Media(media(MediaKind::Image, "", ""))),
            ),
            "interactive/url-button",
            json!({
                "body": { "text": "Some text" }, "footer": { "text": "Footer" },
                "header": { "type": "IMAGE", "mediaUrl": url },
                "action": { "displayText": "Open", "url": "https://acme.example.test" },
            }),
        ),
        (
            // O11, O12: a header's file and the buttons beside twelve values in their order.
            Content::Template(filled),
            "template",
            json!({
                "templateName": "boleto_disponivel", "language": "pt_BR",
                "templateData": {
                    "body": { "placeholders": twelve },
                    "header": { "type": "DOCUMENT", "mediaUrl": url, "filename": "boleto.pdf" },
                    "buttons": [
                        { "type": "URL", "parameter": "2291" }, { "type": "QUICK_REPLY", "parameter": "yes" },
                    ],
                },
            }),
        ),
        (
            Content::Template(at),
            "template",
            json!({
                "templateName": "boleto_disponivel", "language": "pt_BR",
                "templateData": {
                    "body": { "placeholders": [] },
                    "header": { "type": "LOCATION", "latitude": 44.95, "longitude": 13.85, "name": "Shop" },
                },
            }),
        ),
    ];
    let fake = fake([]).await;
    for (content, path, expected) in cases {
        let message = message(content);
        let (at, body) = adapter("http://127.0.0.1:1").request(&message).unwrap();
        assert_eq!(at, format!("whatsapp/1/message/{path}"));
        let whole = json!({
            "from": "551140001000", "to": "351910000001", "content": expected,
            "messageId": message.message_id.to_string(), "callbackData": message.message_id.to_string(),
            "notifyUrl": "https://gateway.example.test/webhooks/infobip/acme?token=a+token%2Fwith%3Doddities%26more",
        });
        let whole = if path == "template" { json!({ "messages": [whole] }) } else { whole };
        assert_eq!(body, whole);
        let id = message.message_id.to_string();
        let answer = send(&fake, message).await;
        assert_eq!(answer.outcome.unwrap().provider_message_id, Some(id), "{path}");
    }
}

#[tokio::test]
async fn o11_what_has_no_form_is_refused_and_not_sent_in_part() {
    let fake = fake([]).await;
    let file = |kind, caption: &str, name: &str| Content::Media(media(kind, caption, name));
    let quote = Outgoing { reply_to: Some("ABGG".into()), ..text("x") };
    let page = Location { url: "https://maps.example.test".into(), ..Location::default() };
    let above = |kind, caption: &str| Some(InteractiveHeader::Media(media(kind, caption, "")));
    let by_id = Media { source: MediaSource::MediaId("7".into()), ..media(MediaKind::Image, "", "") };
    for refused in [
        quote,
        message(file(MediaKind::Voice, "", "")),
        message(file(MediaKind::Audio, "caption", "")),
        message(file(MediaKind::Image, "", "a.jpg")),
        message(Content::Media(by_id)),
        message(Content::Location(page)),
        message(Content::Reaction(Reaction { message_id: None, emoji: "👍".into() })),
        message(interactive(choice(), above(MediaKind::Image, ""))),
        message(interactive(buttons(), above(MediaKind::Audio, ""))),
        message(interactive(buttons(), above(MediaKind::Image, "caption"))),
    ] {
        assert_eq!(said(&send(&fake, refused.clone()).await), "refused NOT_SUPPORTED", "{refused:?}");
    }
    let no_language = Template { language_code: String::new(), ..template() };
    assert_eq!(said(&send(&fake, message(Content::Template(no_language))).await), "refused INVALID_REQUEST");
    assert_eq!(fake.ledger().requests, 0);
}

#[tokio::test]
async fn o1_an_answer_lost_after_the_message_was_taken_is_in_doubt() {
    assert_eq!(under(Action::DropAfterAccept).await, ("in doubt".into(), 1));
    assert_eq!(under(Action::ErrorAfterAccept { status: 502 }).await, ("in doubt".into(), 1));
    assert_eq!(under(Action::Garbage).await, ("in doubt".into(), 1));
    assert_eq!(under(Action::Slow { ms: 5_000 }).await, ("in doubt".into(), 1));
    assert_eq!(under(Action::DropBeforeAccept).await, ("in doubt".into(), 0));
    assert_eq!(under(Action::ErrorBeforeAccept { status: 503 }).await, ("in doubt".into(), 0));
}

#[tokio::test]
async fn o3_throttling_is_not_taken_with_the_delay_that_was_asked_for() {
    let throttle = |retry_after_s, body_only| Action::Throttle { retry_after_s, body_only };
    assert_eq!(under(throttle(Some(1), false)).await, ("not taken RATE_LIMITED Some(1s) None".into(), 0));
    assert_eq!(under(throttle(None, false)).await, ("not taken RATE_LIMITED None None".into(), 0));
    assert_eq!(under(throttle(None, true)).await, ("not taken RATE_LIMITED None None".into(), 0));
}

#[tokio::test]
async fn o9_refusals_come_as_errors_and_inside_of_200() {
    for (key, expected) in [
        ("to", "refused INVALID_RECIPIENT"),
        ("content.templateName", "refused TEMPLATE_NOT_FOUND"),
        ("REJECTED_NOT_ENOUGH_CREDITS", "refused BILLING"),
        ("REJECTED_FLOODING_FILTER", "not taken RATE_LIMITED None None"),
        ("UNDELIVERABLE_NOT_DELIVERED", "refused RECIPIENT_UNREACHABLE"),
        ("EXPIRED_EXPIRED", "refused EXPIRED"),
    ] {
        let refuse = Action::Refuse { key: key.into(), reference: "351910000001 is wrong".into() };
        let fake = fake([Fault::always(refuse)]).await;
        for content in [text("x").content, Content::Template(template())] {
            let answer = send(&fake, message(content)).await;
            assert_eq!(said(&answer), expected, "{key}");
            assert!(!format!("{answer:?}").contains("351910000001"), "{answer:?}");
        }
    }
}

#[test]
fn answers_are_read_whatever_is_missing() {
    let judged = |status: u16, body: Value| {
        let answer = HttpAnswer {
            status: reqwest::StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            headers: Default::default(),
            body: body.to_string().into(),
        };
        let message = Outgoing { attempt: 2, ..text("x") };
        let outcome = judge(&answer, &message);
        let ours = format!("{}-2", message.message_id);
        let known = matches!(&outcome, Ok(receipt) if receipt.provider_message_id.as_ref() == Some(&ours));
        if known { "taken under our id".to_owned() } else { said(&Answer { outcome, exchange: None, usage: None }) }
    };
    let pending = json!({ "groupId": 1, "groupName": "PENDING" });
    for (status, body, expected) in [
        (200, json!({ "messageId": "m-1", "status": pending }), "taken"),
        (200, json!({ "messages": [{ "messageId": "m-1", "status": pending }], "bulkId": "bk" }), "taken"),
        (200, json!({ "status": pending }), "taken under our id"),
        (200, json!({ "messageId": "m-1" }), "taken"),
        (200, json!({ "messageId": "m-1", "status": { "groupName": "BRAND_NEW" } }), "taken"),
        (200, json!({ "messages": [{ "messageId": "m-1", "status": { "groupId": 5 } }] }), "refused UNKNOWN"),
        (200, json!({ "messages": [] }), "in doubt"),
        (200, json!([]), "in doubt"),
        (500, json!({ "requestError": { "serviceException": { "messageId": "GENERAL_ERROR" } } }), "in doubt"),
        (500, json!({}), "in doubt"),
        (403, json!({}), "refused SENDER_UNAUTHORIZED"),
        (302, json!({}), "refused INVALID_REQUEST"),
    ] {
        assert_eq!(judged(status, body.clone()), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_shown_nowhere() {
    let fake = fake([]).await;
    fake.set_script(Script { api_key: Some("another".into()), ..Script::default() }).unwrap();
    let answer = send(&fake, text("x")).await;
    let Err(SendError::Refused(error)) = &answer.outcome else { panic!("{answer:?}") };
    assert_eq!((error.reason, error.provider_code.as_str()), (ErrorReason::SenderUnauthorized, "UNAUTHORIZED"));
    let shown = format!("{answer:?} {:?}", adapter("http://127.0.0.1:1"));
    assert!(!shown.contains(KEY) && !shown.contains(TOKEN) && !shown.contains("oddities"), "{shown}");
}
