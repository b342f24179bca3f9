#![no_main]

use recado::proto::DigivoxConfig;
use recado::proto::sender::Config;

recado_fuzz::webhook!(Config::Digivox(DigivoxConfig {
    base_url: "https://dcs.example.test".into(),
    client_token: "key".into(),
    whatsapp_id: "5b0c7e1a-2222-4333-8444-555566667777".into(),
    whatsapp_from: "558330000001".into(),
    webhook_token: "token".into(),
    ..Default::default()
}));
