use std::time::Duration;

use super::{Adapter, config};
use crate::domain::SenderId;
use crate::proto::InfobipConfig;
use crate::provider::sandbox::Simulator;
use crate::provider::{Context, HttpClient, Settings as _};

mod asking;
mod send;
mod webhook;

const KEY: &str = "key-0f0e0d0c";
const TOKEN: &str = "a token/with=oddities&more";

fn adapter(base_url: &str) -> Adapter {
    let proto = InfobipConfig {
        base_url: base_url.into(),
        api_key: KEY.into(),
        from: "+551140001000".into(),
        webhook_token: TOKEN.into(),
    };
    let context = Context {
        sender: SenderId::trusted("acme".into()),
        webhook_url: "https://gateway.example.test/webhooks/infobip/acme".parse().unwrap(),
        http: HttpClient::new(Duration::from_millis(500)).unwrap(),
        sandbox: Simulator::new().0,
    };
    Adapter::new(config::Config::from_proto(proto), context)
}
