use std::time::Duration;

use super::{Adapter, config};
use crate::domain::SenderId;
use crate::proto::DigivoxConfig;
use crate::provider::sandbox::Simulator;
use crate::provider::{Context, HttpClient, Settings as _};

mod send;
mod webhook;

const CLIENT_TOKEN: &str = "1d2e3f40-aaaa-4bbb-8ccc-ddddeeeeffff";
const TOKEN: &str = "a token/with=oddities&more";
const CHANNEL: &str = "5b0c7e1a-2222-4333-8444-555566667777";

fn settings(base_url: &str) -> DigivoxConfig {
    DigivoxConfig {
        base_url: base_url.into(),
        client_token: CLIENT_TOKEN.into(),
        whatsapp_id: CHANNEL.into(),
        whatsapp_from: "558330000001".into(),
        webhook_token: TOKEN.into(),
        ..Default::default()
    }
}

fn adapter(settings: DigivoxConfig) -> Adapter {
    let context = Context {
        sender: SenderId::trusted("acme".into()),
        webhook_url: "https://gateway.example.test/webhooks/digivox/acme".parse().unwrap(),
        http: HttpClient::new(Duration::from_millis(500)).unwrap(),
        sandbox: Simulator::new().0,
    };
    Adapter::new(config::Config::from_proto(settings), context)
}
