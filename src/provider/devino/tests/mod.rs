use std::time::Duration;

use super::{Adapter, config};
use crate::domain::SenderId;
use crate::proto::DevinoConfig;
use crate::provider::sandbox::Simulator;
use crate::provider::{Context, HttpClient, Settings as _};

mod direct;
mod send;
mod webhook;

const KEY: &str = "key-0f0e0d0c";
const TOKEN: &str = "a token/with=oddities&more";

fn adapter(base_url: &str) -> Adapter {
    adapter_of(settings(base_url))
}

fn settings(base_url: &str) -> DevinoConfig {
    DevinoConfig {
        base_url: base_url.into(),
        api_key: KEY.into(),
        from: "AcmeCare".into(),
        webhook_token: TOKEN.into(),
        ..Default::default()
    }
}

fn adapter_of(settings: DevinoConfig) -> Adapter {
    let context = Context {
        sender: SenderId::trusted("acme".into()),
        webhook_url: "https://gateway.example.test/webhooks/devino/acme".parse().unwrap(),
        http: HttpClient::new(Duration::from_millis(500)).unwrap(),
        sandbox: Simulator::new().0,
    };
    Adapter::new(config::Config::from_proto(settings), context)
}
