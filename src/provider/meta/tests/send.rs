//! Sending, against the fake provider over real HTTP.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{NUMBER, SECRET, TOKEN, VERIFY, adapter, adapter_with, message, settings};
use crate::domain::Content;
use crate::domain::content::Text;
use crate::fake::{Action, FakeProvider, Fault, Script};
use crate::provider::{Answer, Outgoing, Provider as _, SendError};

fn text() -> Outgoing {
    message(Content::Text(Text { body: "Seu pedido sai hoje.".into(), preview_url: false }))
}

async fn fake(faults: impl Into<Vec<Fault>>) -> FakeProvider {
    let fake = FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    fake.set_script(Script { faults: faults.into(), statuses: vec![], ..Script::default() }).unwrap();
    fake
}

/// An outcome in one line.
fn said(answer: &Answer) -> String {
    match &answer.outcome {
        Ok(receipt) => format!("taken {}", receipt.provider_message_id.as_deref().unwrap_or("without an id")),
        Err(SendError::Refused(error)) => format!("refused {} {}", error.reason, error.provider_code),
        Err(SendError::NotTaken { error, retry_after, .. }) => format!("not taken {} {retry_after:?}", error.reason),
        Err(SendError::InDoubt { .. }) => "in doubt".into(),
    }
}

async fn send(base_url: &str) -> String {
    said(&adapter(base_url).send(&[text()]).await[0])
}

/// What a message comes to under a fault, and how often it was really taken.
async fn under(action: Action) -> (String, u64) {
    let fake = fake([Fault::always(action)]).await;
    (send(&fake.base_url("meta")).await, fake.ledger().taken)
}

/// Answers every request with these bytes.
async fn answering(bytes: impl Into<Vec<u8>>) -> String {
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

fn response(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_message_is_taken_once_under_our_id() {
    let fake = fake([]).await;
    let messages = [text()];
    let answers = adapter(&fake.base_url("meta")).send(&messages).await;
    let row = &fake.rows()[0];
    assert_eq!(said(&answers[0]), format!("taken {}", row.provider_message_ids[0]));
    assert_eq!((row.message_id.clone(), fake.ledger().requests), (messages[0].message_id.to_string(), 1));
    let exchange = answers[0].exchange.as_ref().unwrap();
    assert_eq!((exchange.method.as_str(), exchange.path.clone()), ("POST", format!("/meta/{NUMBER}/messages")));
}

#[tokio::test]
async fn o1_an_answer_that_is_lost_is_in_doubt() {
    for (action, taken) in [
        (Action::DropAfterAccept, 1),
        (Action::ErrorAfterAccept { status: 500 }, 1),
        (Action::Garbage, 1),
        (Action::Slow { ms: 5_000 }, 1),
        (Action::DropBeforeAccept, 0),
        (Action::ErrorBeforeAccept { status: 503 }, 0),
    ] {
        assert_eq!(under(action.clone()).await, ("in doubt".into(), taken), "{action:?}");
    }
}

#[tokio::test]
async fn o1_a_refused_connection_is_not_in_doubt() {
    let fake = fake([]).await;
    let base_url = fake.base_url("meta");
    fake.stop().await;
    assert_eq!(send(&base_url).await, "not taken PROVIDER_UNAVAILABLE None");
    assert_eq!(send("not an address").await, "refused INVALID_SENDER ");
}

#[tokio::test]
async fn o3_throttling_is_not_taken_with_the_delay_that_was_asked_for() {
    let throttle = |retry_after_s, body_only| Action::Throttle { retry_after_s, body_only };
    assert_eq!(under(throttle(Some(1), false)).await, ("not taken RATE_LIMITED Some(1s)".into(), 0));
    assert_eq!(under(throttle(None, false)).await, ("not taken RATE_LIMITED None".into(), 0));
    assert_eq!(under(throttle(None, true)).await, ("not taken RATE_LIMITED None".into(), 0));
    let pair = Action::Refuse { key: "131056".into(), reference: String::new() };
    assert_eq!(under(pair).await, ("not taken CONTACT_RATE_LIMITED Some(1s)".into(), 0));
}

#[tokio::test]
async fn refusals_are_told_by_their_code() {
    for (key, expected) in [
        ("131047", "refused OUTSIDE_WINDOW 131047"),
        ("190", "refused SENDER_UNAUTHORIZED 190"),
        ("132001", "refused TEMPLATE_NOT_FOUND 132001"),
        ("131045", "refused INVALID_SENDER 131045"),
        ("131000", "in doubt"),
    ] {
        let refuse = Action::Refuse { key: key.into(), reference: "why".into() };
        assert_eq!(under(refuse).await, (expected.into(), 0), "{key}");
    }
    let fake = fake([]).await;
    fake.set_script(Script { senders: vec!["1".into()], ..Script::default() }).unwrap();
    assert_eq!(send(&fake.base_url("meta")).await, "refused INVALID_SENDER 100");
    fake.set_script(Script { api_key: Some("another".into()), ..Script::default() }).unwrap();
    assert_eq!(send(&fake.base_url("meta")).await, "refused SENDER_UNAUTHORIZED 190");
}

#[tokio::test]
async fn the_http_status_counts_only_without_an_error_object() {
    let error = |code: u32| format!(r#"{{"error":{{"code":{code},"message":"m"}}}}"#);
    for (status, body, expected) in [
        (
            200,
            r#"{"messages":[{"id":"wamid.A","message_status":"held_for_quality_assessment"}]}"#.into(),
            "taken wamid.A",
        ),
        (201, r#"{"messages":[{"id":7}]}"#.into(), "taken 7"),
        (200, r#"{"messages":[{}]}"#.into(), "in doubt"),
        (200, r#"{"messages":[]}"#.into(), "in doubt"),
        (200, "{}".into(), "in doubt"),
        (200, "<html>".into(), "in doubt"),
        (204, String::new(), "in doubt"),
        (200, error(131_026), "refused RECIPIENT_UNREACHABLE 131026"),
        (200, error(130_429), "not taken RATE_LIMITED None"),
        (400, error(999_999), "refused UNKNOWN 999999"),
        (429, error(999_999), "not taken RATE_LIMITED None"),
        (500, error(999_999), "in doubt"),
        (500, error(131_026), "refused RECIPIENT_UNREACHABLE 131026"),
        (302, String::new(), "refused INVALID_REQUEST HTTP 302"),
        (400, r#"{"error":"what?"}"#.into(), "refused INVALID_REQUEST HTTP 400"),
        (401, "<html>".into(), "refused SENDER_UNAUTHORIZED HTTP 401"),
        (404, String::new(), "refused INVALID_REQUEST HTTP 404"),
        (408, String::new(), "in doubt"),
        (413, String::new(), "refused CONTENT_TOO_LONG HTTP 413"),
        (429, String::new(), "not taken RATE_LIMITED None"),
        (502, "<html>".into(), "in doubt"),
    ] {
        assert_eq!(send(&answering(response(status, &body)).await).await, expected, "{status} {body}");
    }
}

#[tokio::test]
async fn no_secret_number_or_text_shows_in_a_trace_or_an_error() {
    let echo = format!(
        r#"{{"error":{{"code":131009,"message":"{TOKEN} {SECRET} {VERIFY}","error_data":{{"details":"5511987654321: Seu pedido sai hoje."}}}}}}"#
    );
    let answers = adapter(&answering(response(400, &echo)).await).send(&[text()]).await;
    assert_eq!(said(&answers[0]), "refused INVALID_REQUEST 131009");
    for private in [TOKEN, SECRET, VERIFY, "5511987654321", "pedido"] {
        assert!(!format!("{answers:?}").contains(private), "{private}: {answers:?}");
    }
    let shown = format!("{:?}", adapter_with(settings("http://127.0.0.1:1")));
    for secret in [TOKEN, SECRET, VERIFY] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn templates_are_judged_by_the_fake_as_by_meta() {
    use crate::domain::content::{Media, MediaKind, MediaSource, Template, TemplateHeader};
    let template = |name: &str, parameters: &[(&str, &str)], header: Option<MediaKind>| {
        let source = MediaSource::Url("https://f.test/a.pdf".into());
        let file =
            |kind| Media { kind, source, mime_type: String::new(), file_name: String::new(), caption: String::new() };
        message(Content::Template(Template {
            template: name.into(),
            language_code: "pt_BR".into(),
            parameters: parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            header: header.map(file).map(TemplateHeader::Media),
            ..Default::default()
        }))
    };
    let fake = fake([]).await;
    let adapter = adapter(&fake.base_url("meta"));
    for (message, expected) in [
        (template("boleto_disponivel", &[("1", "Ana"), ("2", "12/01")], Some(MediaKind::Document)), "taken"),
        (template("boas_vindas", &[("nome", "Ana"), ("plano", "Ouro")], None), "taken"),
        (
            template("boleto_disponivel", &[("1", "Ana")], Some(MediaKind::Document)),
            "refused TEMPLATE_PARAMETERS 132000",
        ),
        (template("boleto_disponivel", &[("1", "Ana"), ("2", "x")], None), "refused TEMPLATE_PARAMETERS 132012"),
        (template("boas_vindas", &[("1", "Ana"), ("2", "Ouro")], None), "refused TEMPLATE_PARAMETERS 132012"),
        (template("nobody_knows", &[], None), "refused TEMPLATE_NOT_FOUND 132001"),
        (template("oferta", &[("1", "Ana")], None), "refused TEMPLATE_PAUSED 132015"),
    ] {
        let said = said(&adapter.send(&[message]).await[0]);
        assert!(said.starts_with(expected), "{said} instead of {expected}");
    }
}
