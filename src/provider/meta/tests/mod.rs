use std::time::Duration;

use super::{Adapter, config};
use crate::domain::{Content, MessageId, PhoneNumber, SenderId};
use crate::provider::sandbox::Simulator;
use crate::provider::{Context, HttpClient, Outgoing, Settings as _};

mod ask;
mod body;
mod send;
mod verify;
mod webhook;

const TOKEN: &str = "EAAsample-token-0f0e";
const SECRET: &str = "sample-app-secret-0001";
const VERIFY: &str = "vt-sample-9f2c";
const NUMBER: &str = "106540352242922";

fn settings(base_url: &str) -> crate::proto::MetaConfig {
    crate::proto::MetaConfig {
        base_url: base_url.into(),
        access_token: TOKEN.into(),
        phone_number_id: NUMBER.into(),
        waba_id: "102290129340398".into(),
        app_secret: SECRET.into(),
        verify_token: VERIFY.into(),
    }
}

fn adapter(base_url: &str) -> Adapter {
    adapter_with(settings(base_url))
}

fn adapter_with(settings: crate::proto::MetaConfig) -> Adapter {
    let context = Context {
        sender: SenderId::trusted("acme".into()),
        webhook_url: "https://gateway.example.test/webhooks/meta/acme".parse().unwrap(),
        http: HttpClient::new(Duration::from_millis(500)).unwrap(),
        sandbox: Simulator::new().0,
    };
    Adapter::new(config::Config::from_proto(settings), context)
}

fn message(content: Content) -> Outgoing {
    Outgoing {
        message_id: MessageId::generate(),
        attempt: 1,
        to: PhoneNumber { given: "+5511987654321".into(), digits: "5511987654321".into() },
        content,
        reply_to: None,
        reaction_to: None,
        validity: None,
    }
}
