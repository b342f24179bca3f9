#![no_main]

use recado::proto::InfobipConfig;
use recado::proto::sender::Config;

recado_fuzz::webhook!(Config::Infobip(InfobipConfig {
    base_url: "https://abc123.api.infobip.com".into(),
    api_key: "key".into(),
    from: "551140001000".into(),
    webhook_token: "token".into(),
}));
