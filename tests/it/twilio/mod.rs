//! Twilio from end to end, with the fake provider over HTTP on the other side.

use anyhow::{Context as _, Result};
use recado::fake::{Account, FakeProvider, Script};
use recado::proto;

use crate::gateway::TestGateway;
use crate::provider::{Call, Provider, Reply};
use crate::tools;

mod history;
mod incoming;
mod sending;
mod statuses;

/// The account's token, which signs webhooks.
const TOKEN: &str = "sample-auth-token-0002";

/// A fake provider that signs what it posts, with a script.
async fn fake(script: Script) -> Result<FakeProvider> {
    tools::fake(signing(script)).await
}

fn signing(mut script: Script) -> Script {
    script.accounts.insert("twilio".into(), Account { secret: Some(TOKEN.into()), ..Account::default() });
    script
}

/// Makes a sender that speaks to an address.
async fn sender_at(gateway: &mut TestGateway, id: &str, base_url: &str) -> Result<proto::Sender> {
    let config = proto::TwilioConfig {
        base_url: base_url.into(),
        content_base_url: base_url.into(),
        account_sid: "AC0123456789abcdef0123456789abcdef".into(),
        auth_token: TOKEN.into(),
        from: "+14155550100".into(),
        ..Default::default()
    };
    let config = Some(proto::sender::Config::Twilio(config));
    let sender = proto::Sender { sender: id.into(), config, ..Default::default() };
    let request = proto::CreateSenderRequest { sender: Some(sender) };
    gateway.admin.create_sender(request).await?.into_inner().sender.context("CreateSender answered no sender")
}

async fn sender(gateway: &mut TestGateway, id: &str, fake: &FakeProvider) -> Result<proto::Sender> {
    sender_at(gateway, id, &fake.base_url("twilio")).await
}

/// Where a sender's webhooks go.
fn webhook(gateway: &TestGateway, sender: &str) -> String {
    format!("{}/webhooks/twilio/{sender}", gateway.http)
}

/// Where statuses of a message go.
fn callback(gateway: &TestGateway, sender: &str, message_id: &str) -> String {
    format!("{}?message_id={message_id}", webhook(gateway, sender))
}

/// Posts fields as Twilio does, signed, until they are taken.
fn post(fake: &FakeProvider, url: &str, fields: serde_json::Value) {
    let serde_json::Value::Object(fields) = fields else { panic!("{fields} is no object") };
    fake.post_incoming("twilio", url, fields).unwrap();
}

/// The next message that goes out; questions beside it, as for the catalogue, are answered with nothing.
async fn next_send(provider: &Provider) -> Call {
    loop {
        let call = provider.next().await;
        match call.method.as_str() {
            "POST" => return call,
            _ => call.answer(Reply::new(404, "{}")),
        }
    }
}
