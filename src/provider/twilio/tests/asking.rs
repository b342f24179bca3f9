//! What the adapter asks beside sending: the catalogue, files, messages, the account.

use serde_json::{Value, json};

use super::{ACCOUNT, adapter};
use crate::domain::content::{MediaSource, Text};
use crate::domain::template::{ParameterFormat, TemplateCategory, TemplateStatus};
use crate::domain::{Content, ErrorReason, MessageId, MessageStatus, PhoneNumber};
use crate::fake::{FakeProvider, Script};
use crate::provider::{AskError, CheckOutcome, HandedOver, Provider as _, Report};

/// A provider that answers every GET with what stands for its path.
async fn answering(answers: Vec<(&'static str, u16, Value)>) -> String {
    let router = axum::Router::new().fallback(move |uri: axum::http::Uri| {
        let path = uri.path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default();
        let answer = answers.iter().find(|(known, ..)| *known == path);
        let (status, body) =
            answer.map_or((404, json!({ "code": 20404 })), |(_, status, body)| (*status, body.clone()));
        async move { (axum::http::StatusCode::from_u16(status).unwrap(), body.to_string()) }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base_url
}

#[tokio::test]
async fn the_catalogue_is_read_to_its_last_page_and_on_one_host() {
    let content = |sid: &str, more: Value| {
        let mut content = json!({ "sid": sid, "friendly_name": "boleto_disponivel", "language": "pt_BR" });
        content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        content
    };
    let approved = content(
        "HX01",
        json!({
            "variables": { "1": "Marina", "10": "z", "2": "12/01/2026" },
            "types": { "twilio/call-to-action": {
                "body": "Olá {{1}}, vence em {{2}}.",
                "actions": [{ "type": "URL", "title": "Abrir", "url": "https://acme.example.net/b/{{10}}" }],
            } },
            "approval_requests": { "category": "UTILITY", "status": "approved", "rejection_reason": "" },
        }),
    );
    let named = content(
        "HX02",
        json!({ "variables": { "name": "Ana" }, "approval_requests": {
        "status": "rejected", "rejection_reason": "TAG_CONTENT_MISMATCH", "category": "MARKETING" } }),
    );
    let odd = json!({ "sid": "HX03", "types": [], "variables": null, "approval_requests": "?" });
    let page = |contents: Vec<Value>, next: Value| json!({ "contents": contents, "meta": { "next_page_url": next } });
    let next = "https://content.twilio.com/v1/ContentAndApprovals?PageSize=100&Page=1";
    let elsewhere = "https://elsewhere.example.test/other?Page=2";
    let base_url = answering(vec![
        ("/v1/ContentAndApprovals?PageSize=100", 200, page(vec![approved, json!(7)], next.into())),
        ("/v1/ContentAndApprovals?PageSize=100&Page=1", 200, page(vec![named, odd], elsewhere.into())),
    ])
    .await;
    let catalogue = adapter(&base_url).templates().await.unwrap();
    assert_eq!(catalogue.len(), 3);
    let first = &catalogue[0];
    assert_eq!((&*first.template, &*first.template_id, &*first.language_code), ("boleto_disponivel", "HX01", "pt_BR"));
    assert_eq!((first.status, first.category), (Some(TemplateStatus::Approved), Some(TemplateCategory::Utility)));
    assert_eq!(first.parameter_format, Some(ParameterFormat::Positional));
    let parameters: Vec<_> = first.parameters.iter().map(|p| (p.name.as_str(), p.example.as_str())).collect();
    assert_eq!(parameters, [("1", "Marina"), ("2", "12/01/2026"), ("10", "z")]);
    assert_eq!((&*first.body, first.buttons[0].text.as_str()), ("Olá {{1}}, vence em {{2}}.", "Abrir"));
    let second = &catalogue[1];
    assert_eq!((second.status, &*second.rejected_reason), (Some(TemplateStatus::Rejected), "TAG_CONTENT_MISMATCH"));
    assert_eq!(second.parameter_format, Some(ParameterFormat::Named));
    let third = &catalogue[2];
    assert_eq!((&*third.template, third.status, third.parameter_format), ("HX03", None, None));
}

#[tokio::test]
async fn refused_and_unreachable_questions_are_told_apart() {
    let base_url = answering(vec![(
        "/v1/ContentAndApprovals?PageSize=100",
        401,
        json!({ "code": 20003, "message": "Authenticate" }),
    )])
    .await;
    let Err(AskError::Refused(error)) = adapter(&base_url).templates().await else { panic!("refused") };
    assert_eq!(error.reason, ErrorReason::SenderUnauthorized);
    let away = adapter("http://127.0.0.1:1").templates().await;
    assert!(matches!(away, Err(AskError::Unreachable(_))), "{away:?}");
}

#[tokio::test]
async fn i14_only_twilios_own_files_get_to_see_the_credentials() {
    let fake = FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let adapter = adapter(&fake.base_url("twilio"));
    let located = async |url: &str| adapter.locate_media(&MediaSource::Url(url.into())).await.unwrap();
    let own = format!("{}/2010-04-01/Accounts/{ACCOUNT}/Messages/SM01/Media/ME01", fake.base_url("twilio"));
    for (url, shown) in [
        (own.as_str(), true),
        ("https://api.twilio.com/2010-04-01/Accounts/AC01/Messages/MM01/Media/ME01", true),
        ("http://api.twilio.com/2010-04-01/Accounts/AC01/Messages/MM01/Media/ME01", false),
        ("https://api.twilio.com.example.test/ME01", false),
        ("https://media.example.test/ad.jpg", false),
    ] {
        assert_eq!(!located(url).await.headers.is_empty(), shown, "{url}");
    }
    for none in [MediaSource::Url("not an address".into()), MediaSource::MediaId("ME01".into())] {
        assert!(adapter.locate_media(&none).await.is_err());
    }
    // The fake wants them, and redirects to where they must not go.
    let address = located(&own).await;
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let (name, value) = &address.headers[0];
    let answer = client.get(address.url.clone()).header(*name, value.expose()).send().await.unwrap();
    assert_eq!(answer.status(), 307);
    assert_eq!(client.get(address.url).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_message_can_be_asked_after_by_its_sid() {
    let handed_over = |id: Option<&str>| HandedOver {
        message_id: MessageId::generate(),
        provider_message_id: id.map(str::to_owned),
        to: PhoneNumber { given: "+351910000001".into(), digits: "351910000001".into() },
        content: Content::Text(Text { body: "x".into(), preview_url: false }),
        attempt_start_at_ms: 0,
    };
    let answer = json!({ "sid": "SM01", "status": "undelivered", "error_code": 63024, "error_message": null,
        "to": "whatsapp:+351910000001" });
    let base_url =
        answering(vec![("/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages/SM01.json", 200, answer)])
            .await;
    let adapter = adapter(&base_url);
    let asked = handed_over(Some("SM01"));
    let reports = adapter.look_up(&asked).await.unwrap();
    let [Report::Status(status)] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((status.status, status.message_id), (Some(MessageStatus::Failed), Some(asked.message_id)));
    assert_eq!(status.error.as_ref().unwrap().reason, ErrorReason::NotOnWhatsapp);
    assert_eq!(status.provider_message_id.as_deref(), Some("SM01"));
    assert_eq!(adapter.look_up(&handed_over(None)).await, Ok(vec![]));
    assert!(matches!(adapter.look_up(&handed_over(Some("SM02"))).await, Err(AskError::Refused(_))));
}

#[tokio::test]
async fn the_account_says_whether_it_can_send() {
    let path = "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef.json";
    for (status, working) in [("active", true), ("suspended", false), ("closed", false)] {
        let outcome = adapter(&answering(vec![(path, 200, json!({ "status": status }))]).await).check().await;
        match outcome {
            CheckOutcome::Working { .. } => assert!(working),
            CheckOutcome::Refused(error) => assert!(!working && error.reason == ErrorReason::SenderBlocked),
            other => panic!("{other:?}"),
        }
    }
    let fake = FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    assert!(matches!(adapter(&fake.base_url("twilio")).check().await, CheckOutcome::Working { .. }));
    fake.set_script(Script { api_key: Some("another".into()), ..Script::default() }).unwrap();
    assert!(matches!(adapter(&fake.base_url("twilio")).check().await, CheckOutcome::Refused(_)));
}
