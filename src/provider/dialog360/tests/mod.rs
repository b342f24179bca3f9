//! What differs from Meta: the key, the token, the errors, the list of templates and the address of files. What does not is
//! tested in `provider::meta`.

use std::time::Duration;

use super::{Adapter, config};
use crate::domain::content::{MediaSource, Text};
use crate::domain::template::TemplateStatus;
use crate::domain::{Content, ErrorReason, MessageId, PhoneNumber, SenderId};
use crate::fake::{Action, FakeProvider, Fault, Script};
use crate::provider::sandbox::Simulator;
use crate::provider::{
    Answer, AskError, CheckOutcome, Context, HttpClient, Outgoing, Provider as _, SendError, Settings as _, Webhook,
};

const KEY: &str = "key-360-0f0e0d0c";
const TOKEN: &str = "hook-9f2c7b1ead";

fn adapter(base_url: &str) -> Adapter {
    let settings =
        crate::proto::Dialog360Config { base_url: base_url.into(), api_key: KEY.into(), webhook_token: TOKEN.into() };
    let context = Context {
        sender: SenderId::trusted("acme".into()),
        webhook_url: "https://gateway.example.test/webhooks/dialog360/acme".parse().unwrap(),
        http: HttpClient::new(Duration::from_millis(500)).unwrap(),
        sandbox: Simulator::new().0,
    };
    Adapter::new(config::Config::from_proto(settings), context)
}

async fn fake(script: Script) -> FakeProvider {
    let fake = FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    fake.set_script(Script { statuses: vec![], ..script }).unwrap();
    fake
}

async fn send(fake: &FakeProvider) -> Answer {
    let text = Text { body: "Seu pedido sai hoje.".into(), preview_url: false };
    let message = Outgoing {
        message_id: MessageId::generate(),
        attempt: 1,
        to: PhoneNumber { given: "+5511987654321".into(), digits: "5511987654321".into() },
        content: Content::Text(text),
        reply_to: None,
        reaction_to: None,
        validity: None,
    };
    adapter(&fake.base_url("dialog360")).send(&[message]).await.remove(0)
}

#[tokio::test]
async fn a_message_is_taken_at_a_path_without_a_number() {
    let fake = fake(Script { api_key: Some(KEY.into()), ..Script::default() }).await;
    let answer = send(&fake).await;
    let row = &fake.rows()[0];
    assert_eq!(answer.outcome.unwrap().provider_message_id.as_ref(), row.provider_message_ids.first());
    assert_eq!(answer.exchange.unwrap().path, "/dialog360/messages");
}

#[tokio::test]
async fn noes_come_in_metas_form_and_in_its_own() {
    let under = async |action| {
        let fake = fake(Script { faults: vec![Fault::always(action)], ..Script::default() }).await;
        match send(&fake).await.outcome {
            Err(SendError::Refused(error)) => format!("refused {} {}", error.reason, error.provider_code),
            Err(SendError::NotTaken { error, .. }) => format!("not taken {} {}", error.reason, error.provider_code),
            other => format!("{other:?}"),
        }
    };
    let refuse = Action::Refuse { key: "131047".into(), reference: String::new() };
    assert_eq!(under(refuse).await, "refused OUTSIDE_WINDOW 131047");
    let throttle = |body_only| Action::Throttle { retry_after_s: None, body_only };
    assert_eq!(under(throttle(false)).await, "not taken RATE_LIMITED HTTP 429");
    assert_eq!(under(throttle(true)).await, "not taken RATE_LIMITED HTTP 400");
    let fake = fake(Script { api_key: Some("another".into()), ..Script::default() }).await;
    let Err(SendError::Refused(error)) = send(&fake).await.outcome else { panic!("refused") };
    assert_eq!((error.reason, error.provider_code.as_str()), (ErrorReason::SenderUnauthorized, "HTTP 404"));
}

#[tokio::test]
async fn the_check_asks_for_the_health() {
    let fake = fake(Script::default()).await;
    let adapter = adapter(&fake.base_url("dialog360"));
    assert_eq!(adapter.check().await, CheckOutcome::Working { detail: "can send: AVAILABLE".into() });
    fake.set_script(Script { api_key: Some("another".into()), ..Script::default() }).unwrap();
    let CheckOutcome::Refused(error) = adapter.check().await else { panic!("refused") };
    assert_eq!(error.reason, ErrorReason::SenderUnauthorized);
}

#[tokio::test]
async fn templates_are_read_by_offset_with_metas_ids() {
    let fake = fake(Script::default()).await;
    let templates = adapter(&fake.base_url("dialog360")).templates().await.unwrap();
    let names: Vec<&str> = templates.iter().map(|template| template.template.as_str()).collect();
    assert_eq!(names, ["order_ready_v2", "boleto_disponivel", "boas_vindas", "oferta", "vitrine", "pedido_a_caminho"]);
    assert_eq!(templates[1].template_id, "594425479261597");
    assert_eq!((templates[3].status, templates[3].provider_status.as_str()), (Some(TemplateStatus::Paused), "paused"));
}

#[tokio::test]
async fn i14_metas_files_are_fetched_from_360dialog_and_the_key_goes_nowhere_else() {
    let fake = fake(Script { api_key: Some(KEY.into()), ..Script::default() }).await;
    let base = fake.base_url("dialog360");
    let adapter = adapter(&base);
    let found = adapter.locate_media(&MediaSource::MediaId("1479537139650973".into())).await.unwrap();
    assert_eq!(found.url.as_str(), format!("{base}/whatsapp_business/attachments/1479537139650973?mid=1"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let file = client.get(found.url).header(found.headers[0].0, found.headers[0].1.expose()).send().await.unwrap();
    let sum = ring::digest::digest(&ring::digest::SHA256, &file.bytes().await.unwrap());
    assert_eq!(found.sha256.unwrap(), sum.as_ref());
    let gone = adapter.locate_media(&MediaSource::MediaId("gone".into())).await;
    assert!(matches!(gone, Err(AskError::Refused(_))), "{gone:?}");
    for url in ["https://files.example.test/a", "https://scontent.facebook.com/a"] {
        let found = adapter.locate_media(&MediaSource::Url(url.into())).await.unwrap();
        assert_eq!((found.url.as_str(), found.headers.len()), (url, 0));
    }
}

#[test]
fn i9_only_the_token_proves_a_webhook() {
    let adapter = adapter("http://127.0.0.1:1");
    let with = |header: Option<(&str, &str)>, query: Option<&str>| {
        let headers = header.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let query = query.map(|token| ("token".to_owned(), token.to_owned())).into_iter().collect();
        let body = r#"{"entry":[]}"#.into();
        adapter.verify(&Webhook { headers, query, path_token: None, body, receive_at_ms: 0 }).is_ok()
    };
    let bearer = format!("Bearer {TOKEN}");
    assert!(with(Some(("authorization", &bearer)), None));
    assert!(with(Some(("x-webhook-token", TOKEN)), None));
    assert!(with(None, Some(TOKEN)));
    assert!(!with(None, None));
    assert!(!with(Some(("authorization", TOKEN)), None));
    assert!(!with(Some(("authorization", "Bearer ")), Some("")));
    assert!(!with(Some(("authorization", &bearer[..bearer.len() - 1])), None));
    assert!(!with(Some(("x-hub-signature-256", "sha256=00")), None));
}
