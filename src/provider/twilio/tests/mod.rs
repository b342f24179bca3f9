use std::time::Duration;

use super::{Adapter, config};
use crate::domain::SenderId;
use crate::proto::TwilioConfig;
use crate::provider::sandbox::Simulator;
use crate::provider::{Context, HttpClient, Settings as _};

mod asking;
mod send;
mod webhook;

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "sample-auth-token-0002";

fn settings(base_url: &str) -> TwilioConfig {
    TwilioConfig {
        base_url: base_url.into(),
        content_base_url: base_url.into(),
        account_sid: ACCOUNT.into(),
        auth_token: TOKEN.into(),
        from: "+14155550100".into(),
        ..Default::default()
    }
}

fn adapter(base_url: &str) -> Adapter {
    adapter_with(settings(base_url))
}

fn adapter_with(proto: TwilioConfig) -> Adapter {
    let context = Context {
        sender: SenderId::trusted("acme".into()),
        webhook_url: "https://gateway.example.test/webhooks/twilio/acme".parse().unwrap(),
        http: HttpClient::new(Duration::from_millis(500)).unwrap(),
        sandbox: Simulator::new().0,
    };
    Adapter::new(config::Config::from_proto(proto), context)
}
