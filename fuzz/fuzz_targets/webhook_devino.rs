#![no_main]

use recado::proto::DevinoConfig;
use recado::proto::sender::Config;

recado_fuzz::webhook!(Config::Devino(DevinoConfig {
    api_key: "key".into(),
    from: "AcmeCare".into(),
    webhook_token: "token".into(),
    ..Default::default()
}));
