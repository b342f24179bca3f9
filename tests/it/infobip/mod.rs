//! Infobip from end to end, with the fake provider over HTTP on the other side.

use anyhow::{Context as _, Result};
use recado::fake::FakeProvider;
use recado::proto;

use crate::gateway::TestGateway;
use crate::provider::{Call, Provider, Reply};

mod incoming;
mod sending;

const TOKEN: &str = "token-9f2c7b1ea0123456";

/// Makes a sender that speaks to an address, with a number of its own.
async fn sender_at(gateway: &mut TestGateway, id: &str, from: &str, base_url: &str) -> Result<proto::Sender> {
    let config = proto::InfobipConfig {
        base_url: base_url.into(),
        api_key: "key-0f0e0d0c0b0a".into(),
        from: from.into(),
        webhook_token: TOKEN.into(),
    };
    let config = Some(proto::sender::Config::Infobip(config));
    let sender = proto::Sender { sender: id.into(), config, ..Default::default() };
    let request = proto::CreateSenderRequest { sender: Some(sender) };
    gateway.admin.create_sender(request).await?.into_inner().sender.context("CreateSender answered no sender")
}

async fn sender(gateway: &mut TestGateway, id: &str, fake: &FakeProvider) -> Result<proto::Sender> {
    sender_at(gateway, id, "551140001000", &fake.base_url("infobip")).await
}

/// Where a sender's webhooks go, with the token.
fn webhook(gateway: &TestGateway, sender: &str) -> String {
    format!("{}/webhooks/infobip/{sender}?token={TOKEN}", gateway.http)
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
