//! What is asked beside sending: whether the credentials work, which templates there are, where a file is.

use super::{TOKEN, adapter, adapter_with, settings};
use crate::domain::ErrorReason;
use crate::domain::content::MediaSource;
use crate::domain::template::{HeaderFormat, ParameterFormat, Quality, TemplateCategory, TemplateStatus};
use crate::fake::{FakeProvider, Script};
use crate::provider::{AskError, CheckOutcome, Provider as _};

async fn fake() -> FakeProvider {
    FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_check_asks_for_the_number() {
    let fake = fake().await;
    let adapter = adapter(&fake.base_url("meta"));
    let detail = "+55 11 4000-1000, Acme, quality GREEN, throughput STANDARD".to_owned();
    assert_eq!(adapter.check().await, CheckOutcome::Working { detail });
    for (script, reason) in [
        (Script { api_key: Some("another".into()), ..Script::default() }, ErrorReason::SenderUnauthorized),
        (Script { senders: vec!["1".into()], ..Script::default() }, ErrorReason::InvalidSender),
    ] {
        fake.set_script(script).unwrap();
        let CheckOutcome::Refused(error) = adapter.check().await else { panic!("{reason}") };
        assert_eq!(error.reason, reason);
    }
    fake.stop().await;
    assert!(matches!(adapter.check().await, CheckOutcome::Unreachable { .. }));
}

#[tokio::test]
async fn all_pages_of_the_catalogue_are_read() {
    let fake = fake().await;
    let templates = adapter(&fake.base_url("meta")).templates().await.unwrap();
    let names: Vec<&str> = templates.iter().map(|template| template.template.as_str()).collect();
    assert_eq!(names, ["order_ready_v2", "boleto_disponivel", "boas_vindas", "oferta", "vitrine", "pedido_a_caminho"]);

    let boleto = &templates[1];
    assert_eq!((boleto.template_id.as_str(), boleto.language_code.as_str()), ("594425479261597", "pt_BR"));
    assert_eq!((boleto.status, boleto.provider_status.as_str()), (Some(TemplateStatus::Approved), "APPROVED"));
    assert_eq!((boleto.category, boleto.quality), (Some(TemplateCategory::Utility), Some(Quality::Green)));
    assert_eq!((boleto.header_format, boleto.rejected_reason.as_str()), (Some(HeaderFormat::Document), ""));
    assert_eq!(boleto.parameter_format, Some(ParameterFormat::Positional));
    let given = |n: usize| {
        let parameters = &templates[n].parameters;
        parameters.iter().map(|p| format!("{}={}", p.name, p.example)).collect::<Vec<_>>()
    };
    assert_eq!(
        (given(1), given(2)),
        (vec!["1=Marina".into(), "2=12/01/2026".into()], vec!["nome=Marina".into(), "plano=Ouro".to_owned()])
    );
    let buttons: Vec<_> = boleto.buttons.iter().map(|b| (b.r#type.as_str(), b.parameter_required)).collect();
    assert_eq!(buttons, [("URL", true), ("QUICK_REPLY", false)]);
    assert_eq!(templates[2].parameter_format, Some(ParameterFormat::Named));
    assert_eq!(
        (templates[2].header_format, templates[2].header_text.as_str()),
        (Some(HeaderFormat::Text), "Bem-vinda")
    );
    assert_eq!(templates[3].status, Some(TemplateStatus::Paused));
    assert_eq!(templates[4].unsupported_reason, "the gateway cannot fill a component of type CAROUSEL");
    assert!(templates[..4].iter().all(|template| template.unsupported_reason.is_empty()));
}

#[tokio::test]
async fn a_catalogue_needs_the_business_account_and_the_right_token() {
    let fake = fake().await;
    let without = adapter_with(crate::proto::MetaConfig { waba_id: String::new(), ..settings(&fake.base_url("meta")) });
    assert_eq!((without.templates().await, without.capabilities().catalogue), (Err(AskError::NotSupported), false));
    let adapter = adapter(&fake.base_url("meta"));
    assert!(adapter.capabilities().catalogue);
    fake.set_script(Script { api_key: Some("another".into()), ..Script::default() }).unwrap();
    let Err(AskError::Refused(error)) = adapter.templates().await else { panic!("refused") };
    assert_eq!(error.reason, ErrorReason::SenderUnauthorized);
    fake.stop().await;
    assert!(matches!(adapter.templates().await, Err(AskError::Unreachable(_))));
}

#[tokio::test]
async fn i13_a_file_is_looked_up_by_its_id_and_opened_by_the_token() {
    let fake = fake().await;
    let adapter = adapter(&fake.base_url("meta"));
    let found = adapter.locate_media(&MediaSource::MediaId("1479537139650973".into())).await.unwrap();
    assert_eq!(found.url.as_str(), format!("{}/attachments/1479537139650973", fake.base_url("meta")));
    assert_eq!(
        (found.headers[0].0, found.headers[0].1.expose()),
        ("authorization", format!("Bearer {TOKEN}").as_str())
    );
    assert_eq!(found.mime_type, "image/jpeg");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(client.get(found.url.clone()).send().await.unwrap().status(), 401);
    let file = client.get(found.url).header(found.headers[0].0, found.headers[0].1.expose()).send().await.unwrap();
    let bytes = file.bytes().await.unwrap();
    let sum = ring::digest::digest(&ring::digest::SHA256, &bytes);
    assert_eq!(found.sha256.unwrap(), sum.as_ref());
    let gone = adapter.locate_media(&MediaSource::MediaId("gone-1".into())).await;
    assert!(matches!(gone, Err(AskError::Refused(_))), "{gone:?}");
}

#[tokio::test]
async fn i14_an_address_elsewhere_gets_no_token() {
    let adapter = adapter("http://127.0.0.1:1");
    for (url, opened) in [
        ("https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1", true),
        ("https://files.example.test/a", false),
    ] {
        let found = adapter.locate_media(&MediaSource::Url(url.into())).await.unwrap();
        assert_eq!((found.url.as_str(), !found.headers.is_empty()), (url, opened));
    }
    assert!(adapter.locate_media(&MediaSource::Url("file:///etc/passwd".into())).await.is_err());
}
