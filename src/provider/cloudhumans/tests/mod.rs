use std::time::Duration;

use super::{Adapter, config};
use crate::domain::content::{Content, Template, Text};
use crate::domain::{MessageId, PhoneNumber, SenderId};
use crate::fake::{FakeProvider, Fault, Script};
use crate::proto::CloudHumansConfig;
use crate::provider::sandbox::Simulator;
use crate::provider::{Answer, Context, HttpClient, Outgoing, SendError, Settings as _};

mod look_up;
mod send;
mod webhook;

const TOKEN: &str = "tok_live_0f0e0d0c";
const SECRET: &str = "cw_sample_secret_7Q";

fn settings(base_url: &str) -> CloudHumansConfig {
    CloudHumansConfig {
        base_url: base_url.into(),
        api_access_token: TOKEN.into(),
        account_id: "42".into(),
        inbox_id: "58".into(),
        webhook_secret: SECRET.into(),
        ..Default::default()
    }
}

fn adapter(base_url: &str) -> Adapter {
    adapter_of(settings(base_url))
}

fn adapter_of(settings: CloudHumansConfig) -> Adapter {
    let context = Context {
        sender: SenderId::trusted("acme".into()),
        webhook_url: "https://gateway.example.test/webhooks/cloudhumans/acme".parse().unwrap(),
        http: HttpClient::new(Duration::from_millis(500)).unwrap(),
        sandbox: Simulator::new().0,
    };
    Adapter::new(config::Config::from_proto(settings), context)
}

async fn fake(faults: impl IntoIterator<Item = Fault>) -> FakeProvider {
    let fake = FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let faults = faults.into_iter().collect();
    fake.set_script(Script { faults, statuses: vec![], ..Script::default() }).unwrap();
    fake
}

fn message(to: &str, content: Content) -> Outgoing {
    Outgoing {
        message_id: MessageId::generate(),
        attempt: 1,
        to: PhoneNumber { given: format!("+{to}"), digits: to.into() },
        content,
        reply_to: None,
        reaction_to: None,
        validity: None,
    }
}

fn text(to: &str) -> Outgoing {
    message(to, Content::Text(Text { body: "Seu pedido saiu para entrega.".into(), preview_url: false }))
}

fn template(to: &str, parameters: &[(&str, &str)]) -> Outgoing {
    message(to, Content::Template(filled(parameters)))
}

fn filled(parameters: &[(&str, &str)]) -> Template {
    Template {
        template: "boleto_disponivel".into(),
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Default::default()
    }
}

/// An answer, for comparing.
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

/// Somewhere that answers every request alike, whatever it asks.
async fn answering(status: u16, body: &str) -> String {
    let response = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = vec![0; 64 << 10];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(response.as_bytes()).await;
        }
    });
    base_url
}
