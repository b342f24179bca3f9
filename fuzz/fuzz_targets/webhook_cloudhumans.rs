#![no_main]

use recado::proto::CloudHumansConfig;
use recado::proto::sender::Config;

recado_fuzz::webhook!(Config::Cloudhumans(CloudHumansConfig {
    base_url: "https://cloudchat.example.test".into(),
    api_access_token: "token".into(),
    account_id: "42".into(),
    inbox_id: "58".into(),
    webhook_secret: "secret".into(),
    ..Default::default()
}));
