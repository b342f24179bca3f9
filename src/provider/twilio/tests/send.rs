//! Sending, against the fake provider over real HTTP.

use serde_json::json;

use super::{TOKEN, adapter, adapter_with, settings};
use crate::domain::content::{Location, Media, MediaKind, MediaSource, Template, TemplateButton, TemplateHeader, Text};
use crate::domain::{Content, ErrorReason, MessageId, PhoneNumber};
use crate::fake::{Action, FakeProvider, Fault, Script};
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
    message(Content::Text(Text { body: body.into(), preview_url: false }))
}

fn media(kind: MediaKind, caption: &str, file_name: &str) -> Content {
    Content::Media(Media {
        kind,
        source: MediaSource::Url("https://files.example.test/a".into()),
        mime_type: String::new(),
        file_name: file_name.into(),
        caption: caption.into(),
    })
}

fn template(name: &str) -> Template {
    Template {
        template: name.into(),
        language_code: "pt-BR".into(),
        parameters: (1..=12).map(|n| (n.to_string(), format!("v{n}"))).collect(),
        ..Default::default()
    }
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
    adapter(&fake.base_url("twilio")).send(&[message]).await.remove(0)
}

/// What one text comes to under a fault, and how often it was really taken.
async fn under(action: Action) -> (String, u64) {
    let fake = fake([Fault::always(action)]).await;
    (said(&send(&fake, text("Your parcel leaves today.")).await), fake.ledger().taken)
}

/// The form of a message, as pairs.
async fn form(message: &Outgoing) -> Vec<(&'static str, String)> {
    adapter("http://127.0.0.1:1").fields(message).await.unwrap()
}

#[tokio::test]
async fn every_content_has_its_form() {
    let place = Location {
        latitude: -23.55,
        longitude: -46.63,
        name: "Loja Centro".into(),
        address: "Rua Exemplo 10".into(),
        url: String::new(),
    };
    let sid = "HX11112222333344445555666677778888";
    let cases = [
        (text("É já? 🚚").content, vec![("Body", "É já? 🚚")]),
        (
            media(MediaKind::Image, "Fatura É-77", ""),
            vec![("MediaUrl", "https://files.example.test/a"), ("Body", "Fatura É-77")],
        ),
        (media(MediaKind::Document, "", ""), vec![("MediaUrl", "https://files.example.test/a")]),
        (
            Content::Location(place),
            vec![("Body", "Loja Centro"), ("PersistentAction", "geo:-23.55,-46.63|Rua Exemplo 10")],
        ),
        (
            // O12: positions in their order, all of them texts, in a text.
            Content::Template(template(sid)),
            vec![
                ("ContentSid", sid),
                (
                    "ContentVariables",
                    r#"{"1":"v1","2":"v2","3":"v3","4":"v4","5":"v5","6":"v6","7":"v7","8":"v8","9":"v9","10":"v10","11":"v11","12":"v12"}"#,
                ),
            ],
        ),
    ];
    for (content, expected) in cases {
        let message = message(content);
        let callback = format!("https://gateway.example.test/webhooks/twilio/acme?message_id={}", message.message_id);
        let mut whole = vec![("To", "whatsapp:+351910000001"), ("From", "whatsapp:+14155550100")];
        whole.extend(expected);
        whole.push(("StatusCallback", &callback));
        let form = form(&message).await;
        assert_eq!(form.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>(), whole);
    }
}

#[tokio::test]
async fn a_messaging_service_may_choose_the_number() {
    let service = "MG0123456789abcdef0123456789abcdef";
    let with = |from: &str| {
        adapter_with(crate::proto::TwilioConfig {
            from: from.into(),
            messaging_service_sid: service.into(),
            ..settings("http://127.0.0.1:1")
        })
    };
    let names = |form: Vec<(&'static str, String)>| form.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(
        names(with("").fields(&text("x")).await.unwrap()),
        ["To", "MessagingServiceSid", "Body", "StatusCallback"]
    );
    assert_eq!(
        names(with("+14155550100").fields(&text("x")).await.unwrap()),
        ["To", "From", "MessagingServiceSid", "Body", "StatusCallback"]
    );
}

#[tokio::test]
async fn twilio_is_told_how_long_a_message_is_valid() {
    for (seconds, told) in [(0, Some("1")), (60, Some("60")), (35_999, Some("35999")), (36_000, None), (86_400, None)] {
        let message = Outgoing { validity: Some(std::time::Duration::from_secs(seconds)), ..text("x") };
        let form = form(&message).await;
        let period = form.iter().find(|(name, _)| *name == "ValidityPeriod").map(|(_, value)| value.as_str());
        assert_eq!(period, told, "{seconds}");
    }
}

#[tokio::test]
async fn o11_what_has_no_form_is_refused_and_not_sent_in_part() {
    let fake = fake([]).await;
    let header = Some(TemplateHeader::Text("x".into()));
    let buttons = vec![TemplateButton { index: 0, parameter: "2291".into(), kind: Default::default() }];
    let sid = "HX11112222333344445555666677778888";
    let quote = Outgoing { reply_to: Some("SM01".into()), ..text("x") };
    let page = Location { url: "https://maps.example.test".into(), ..Location::default() };
    for refused in [
        quote,
        message(media(MediaKind::Voice, "", "")),
        message(media(MediaKind::Sticker, "", "")),
        message(media(MediaKind::Audio, "caption", "")),
        message(media(MediaKind::Document, "caption", "")),
        message(media(MediaKind::Document, "", "a.pdf")),
        message(Content::Location(page)),
        message(Content::ContactCards(vec![])),
        message(Content::Template(Template { header, ..template(sid) })),
        message(Content::Template(Template { buttons, ..template(sid) })),
    ] {
        assert_eq!(said(&send(&fake, refused.clone()).await), "refused NOT_SUPPORTED", "{refused:?}");
    }
    assert_eq!(fake.ledger().requests, 0);
}

#[tokio::test]
async fn a_template_is_found_by_its_name_and_language() {
    let fake = fake([]).await;
    let adapter = adapter(&fake.base_url("twilio"));
    let named = |name: &str, language_code: &str| {
        message(Content::Template(Template { language_code: language_code.into(), ..template(name) }))
    };
    // On the second page of the catalogue.
    for language_code in ["pt_BR", "pt-BR"] {
        let answer = adapter.send(&[named("order_ready_v2", language_code)]).await.remove(0);
        assert_eq!(said(&answer), "taken");
    }
    let sids: Vec<String> = fake.rows().into_iter().map(|row| row.text).collect();
    assert_eq!(sids, ["HX11112222333344445555666677779999"; 2]);
    for (name, language_code) in [("order_ready_v2", "en"), ("no_such", "pt_BR")] {
        let answer = adapter.send(&[named(name, language_code)]).await.remove(0);
        assert_eq!(said(&answer), "refused TEMPLATE_NOT_FOUND");
    }
    // Nothing was written when nobody could be asked for the name.
    let base_url = fake.base_url("twilio");
    fake.stop().await;
    let answer = super::adapter(&base_url).send(&[named("order_ready_v2", "pt_BR")]).await.remove(0);
    assert_eq!(said(&answer), "not taken PROVIDER_UNAVAILABLE None None");
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
async fn refusals_come_by_their_codes_without_the_number_in_them() {
    for (code, expected) in [
        ("21211", "refused INVALID_RECIPIENT"),
        ("21610", "refused RECIPIENT_OPTED_OUT"),
        ("63007", "refused INVALID_SENDER"),
        ("21611", "not taken RATE_LIMITED None None"),
        ("20003", "refused SENDER_UNAUTHORIZED"),
        ("20500", "in doubt"),
        ("21999", "refused INVALID_REQUEST"),
    ] {
        let refuse = Action::Refuse { key: code.into(), reference: "whatsapp:+351910000001 is refused".into() };
        let fake = fake([Fault::always(refuse)]).await;
        let answer = send(&fake, text("x")).await;
        assert_eq!(said(&answer), expected, "{code}");
        assert!(!format!("{answer:?}").contains("351910000001"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_plus_reaches_twilio_as_a_plus() {
    let fake = fake([]).await;
    assert_eq!(said(&send(&fake, text("1+1=2 & é")).await), "taken");
    let row = fake.rows().remove(0);
    assert_eq!((row.to.as_str(), row.text.as_str()), ("351910000001", "1+1=2 & é"));
    assert!(row.provider_message_ids[0].starts_with("SM"));
}

#[tokio::test]
async fn o9_a_failure_inside_of_201_is_refused_and_no_sid_is_in_doubt() {
    use crate::provider::http::HttpAnswer;
    let judged = |status: u16, body: serde_json::Value| {
        let answer = HttpAnswer {
            status: reqwest::StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            headers: Default::default(),
            body: body.to_string().into(),
        };
        let outcome = crate::provider::twilio::send::judge(&answer);
        said(&Answer { outcome, exchange: None, usage: None })
    };
    let sid = "SM0f0e0d0c0b0a09080706050403020100";
    for (status, body, expected) in [
        (201, json!({ "sid": sid, "status": "accepted", "from": null, "error_code": null }), "taken"),
        (200, json!({ "sid": sid }), "taken"),
        (201, json!({ "sid": sid, "status": "failed", "error_code": 63024 }), "refused NOT_ON_WHATSAPP"),
        (201, json!({ "status": "queued" }), "in doubt"),
        (201, json!([]), "in doubt"),
        (401, json!({ "sid": sid, "code": 20003 }), "refused SENDER_UNAUTHORIZED"),
        (404, json!({ "code": 20404, "message": "not found" }), "refused INVALID_SENDER"),
        (503, json!({ "code": 20503 }), "not taken PROVIDER_UNAVAILABLE None None"),
        (500, json!({ "code": "20500" }), "in doubt"),
        (500, json!({}), "in doubt"),
        (400, json!({ "code": null }), "refused INVALID_REQUEST"),
    ] {
        assert_eq!(judged(status, body.clone()), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_shown_nowhere() {
    let fake = fake([]).await;
    let script = Script { api_key: Some("another".into()), ..Script::default() };
    fake.set_script(script).unwrap();
    let answer = send(&fake, text("x")).await;
    let Err(SendError::Refused(error)) = &answer.outcome else { panic!("{answer:?}") };
    assert_eq!((error.reason, error.provider_code.as_str()), (ErrorReason::SenderUnauthorized, "20003"));
    assert!(!format!("{answer:?}").contains(TOKEN));
}

#[tokio::test]
async fn an_api_key_makes_requests_instead_of_the_token() {
    let fake = fake([]).await;
    fake.set_script(Script { api_key: Some("key-secret".into()), statuses: vec![], ..Script::default() }).unwrap();
    let adapter = adapter_with(crate::proto::TwilioConfig {
        api_key_sid: "SK0123456789abcdef0123456789abcdef".into(),
        api_key_secret: "key-secret".into(),
        ..settings(&fake.base_url("twilio"))
    });
    assert_eq!(said(&adapter.send(&[text("x")]).await[0]), "taken");
    assert!(matches!(adapter.check().await, crate::provider::CheckOutcome::Working { .. }));
}
