use std::time::Duration;

use super::{Adapter, config};
use crate::domain::SenderId;
use crate::provider::sandbox::Simulator;
use crate::provider::{Context, HttpClient, Settings as _};

mod send;
mod webhook;

const KEY: &str = "key-0f0e0d0c";
const TOKEN: &str = "a token/with=oddities&more";

fn adapter(base_url: &str) -> Adapter {
    let webhook_url = "https://gateway.example.test/webhooks/devino/acme";
    adapter_called_back_at(base_url, webhook_url, Duration::from_millis(500))
}

fn adapter_called_back_at(base_url: &str, webhook_url: &str, call_limit: Duration) -> Adapter {
    let proto = crate::proto::DevinoConfig {
        base_url: base_url.into(),
        api_key: KEY.into(),
        from: "AcmeCare".into(),
        api: 0,
        webhook_token: TOKEN.into(),
    };
    let context = Context {
        sender: SenderId::trusted("acme".into()),
        webhook_url: webhook_url.parse().unwrap(),
        http: HttpClient::new(call_limit).unwrap(),
        sandbox: Simulator::new().0,
    };
    Adapter::new(config::Config::from_proto(proto), context)
}
