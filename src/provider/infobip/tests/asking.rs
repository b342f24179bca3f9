//! What the adapter asks beside sending: the catalogue, files, the account.

use serde_json::json;

use super::adapter;
use crate::domain::ErrorReason;
use crate::domain::content::MediaSource;
use crate::domain::template::{HeaderFormat, Quality, TemplateCategory, TemplateStatus};
use crate::fake::{FakeProvider, Script};
use crate::provider::infobip::templates;
use crate::provider::{AskError, CheckOutcome, Provider as _};

async fn fake() -> FakeProvider {
    FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_catalogue_tells_what_must_be_filled() {
    let fake = fake().await;
    let catalogue = adapter(&fake.base_url("infobip")).templates().await.unwrap();
    let [first, second] = &catalogue[..] else { panic!("{catalogue:?}") };
    assert_eq!((&*first.template, &*first.template_id, &*first.language_code), ("boleto_disponivel", "1", "pt_BR"));
    assert_eq!((first.status, first.category), (Some(TemplateStatus::Approved), Some(TemplateCategory::Utility)));
    assert_eq!((first.header_format, first.quality), (Some(HeaderFormat::Document), Some(Quality::Green)));
    let parameters: Vec<_> = first.parameters.iter().map(|p| (p.name.as_str(), p.example.as_str())).collect();
    assert_eq!(parameters, [("1", "Marina"), ("2", "12/01/2026")]);
    assert!(first.buttons[0].parameter_required && first.footer == "Acme");
    assert_eq!((second.header_format, second.parameters.len(), second.buttons.len()), (None, 2, 0));
}

#[test]
fn odd_templates_are_read_as_far_as_they_go() {
    let said = json!({ "templates": [
        7, {}, { "name": "plain", "structure": "?" },
        { "name": "fixed", "status": "BRAND_NEW", "structure": {
            "header": { "format": "TEXT", "text": "Hello" }, "body": { "text": "{{2}} {{1}} {{999}} {{name}} {{" } } },
        { "name": "asked", "structure": { "header": { "format": "TEXT", "text": "Hello {{1}}" }, "body": "Plain" } },
    ] });
    let catalogue = templates::read(said.as_object().unwrap());
    let shown: Vec<_> = catalogue
        .iter()
        .map(|t| (t.template.as_str(), t.status, t.header_format, t.parameters.len(), t.body.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("plain", None, None, 0, ""),
            ("fixed", None, None, 2, "{{2}} {{1}} {{999}} {{name}} {{"),
            ("asked", None, Some(HeaderFormat::Text), 0, "Plain"),
        ]
    );
    assert_eq!(catalogue[1].provider_status, "BRAND_NEW");
}

#[tokio::test]
async fn refused_and_unreachable_questions_are_told_apart() {
    let fake = fake().await;
    fake.set_script(Script { api_key: Some("another".into()), ..Script::default() }).unwrap();
    let adapter_there = adapter(&fake.base_url("infobip"));
    let Err(AskError::Refused(error)) = adapter_there.templates().await else { panic!("refused") };
    assert_eq!(error.reason, ErrorReason::SenderUnauthorized);
    assert!(matches!(adapter_there.check().await, CheckOutcome::Refused(_)));
    let away = adapter("http://127.0.0.1:1");
    assert!(matches!(away.templates().await, Err(AskError::Unreachable(_))));
    assert!(matches!(away.check().await, CheckOutcome::Unreachable { .. }));
}

#[tokio::test]
async fn the_balance_shows_that_the_key_works() {
    let fake = fake().await;
    let CheckOutcome::Working { detail } = adapter(&fake.base_url("infobip")).check().await else { panic!("works") };
    assert_eq!(detail, "balance 47.79 EUR");
}

#[tokio::test]
async fn i14_only_infobips_own_files_get_to_see_the_key() {
    let fake = fake().await;
    let adapter = adapter(&fake.base_url("infobip"));
    let located = async |url: &str| adapter.locate_media(&MediaSource::Url(url.into())).await.unwrap();
    let own = format!("{}/whatsapp/1/senders/551140001000/media/a1", fake.base_url("infobip"));
    for (url, shown) in [
        (own.as_str(), true),
        ("https://abc123.api.infobip.com/whatsapp/1/senders/551140001000/media/a1", true),
        ("http://abc123.api.infobip.com/whatsapp/1/senders/551140001000/media/a1", false),
        ("https://evilinfobip.com/a1", false),
        ("https://abc123.api.infobip.com.example.test/a1", false),
    ] {
        assert_eq!(!located(url).await.headers.is_empty(), shown, "{url}");
    }
    let address = located(&own).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let (name, value) = &address.headers[0];
    let opened = client.get(address.url.clone()).header(*name, value.expose()).send().await.unwrap();
    assert_eq!(opened.status(), 200);
    assert_eq!(client.get(address.url).send().await.unwrap().status(), 401);
    assert!(adapter.locate_media(&MediaSource::MediaId("a1".into())).await.is_err());
}
