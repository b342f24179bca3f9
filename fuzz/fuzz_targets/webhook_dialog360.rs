#![no_main]

use recado::proto::Dialog360Config;
use recado::proto::sender::Config;

recado_fuzz::webhook!(Config::Dialog360(Dialog360Config {
    api_key: "key".into(),
    webhook_token: "token".into(),
    ..Default::default()
}));
