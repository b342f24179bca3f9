//! Digivox from end to end, with the fake provider over HTTP on the other side.

use std::path::Path;

use anyhow::{Context as _, Result};
use recado::fake::{Account, FakeProvider, Script};
use recado::proto;
use recado::proto::event::Payload;
use serde_json::{Map, Value};

use crate::gateway::{EventStream, TestGateway};
use crate::tools::{TOKEN, play};

mod incoming;
mod sending;
mod statuses;

const CHANNEL: &str = "5b0c7e1a-2222-4333-8444-555566667777";
const PERSON: &str = "558390000002";

/// A Digivox sender at an address.
fn sender(id: &str, base_url: &str) -> proto::Sender {
    sender_with(id, proto::DigivoxConfig { base_url: base_url.into(), ..config() })
}

fn sender_with(id: &str, config: proto::DigivoxConfig) -> proto::Sender {
    proto::Sender { sender: id.into(), config: Some(proto::sender::Config::Digivox(config)), ..Default::default() }
}

/// Settings without an address.
fn config() -> proto::DigivoxConfig {
    proto::DigivoxConfig {
        client_token: "test-key-0123456789".into(),
        whatsapp_id: CHANNEL.into(),
        whatsapp_from: "558330000001".into(),
        webhook_token: TOKEN.into(),
        ..Default::default()
    }
}

async fn create(gateway: &mut TestGateway, sender: proto::Sender) -> Result<()> {
    gateway.admin.create_sender(proto::CreateSenderRequest { sender: Some(sender) }).await?;
    Ok(())
}

/// Where webhooks of a sender go, with the token.
fn webhook(gateway: &TestGateway, sender: &str) -> String {
    format!("{}/webhooks/digivox/{sender}?token={TOKEN}", gateway.http)
}

/// A sender that speaks to the fake, which posts statuses where an operator would have told Digivox to.
async fn with_fake(gateway: &mut TestGateway, fake: &FakeProvider, script: Script) -> Result<()> {
    create(gateway, sender("acme", &fake.base_url("digivox"))).await?;
    replay(gateway, fake, script);
    Ok(())
}

/// Another script from now on, with the same address for webhooks.
fn replay(gateway: &TestGateway, fake: &FakeProvider, mut script: Script) {
    let account = Account { webhook_url: Some(webhook(gateway, "acme")), secret: None };
    script.accounts.insert("digivox".into(), account);
    play(fake, script);
}

/// A recorded payload.
fn recorded(name: &str) -> Result<Map<String, Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/digivox").join(name);
    Ok(serde_json::from_slice(&std::fs::read(&path).with_context(|| path.display().to_string())?)?)
}

async fn next_incoming(stream: &mut EventStream) -> Result<(proto::Event, proto::IncomingMessage)> {
    loop {
        let mut event = stream.next_event().await?;
        if let Some(Payload::IncomingMessage(incoming)) = event.payload.take() {
            return Ok((event, incoming));
        }
    }
}
