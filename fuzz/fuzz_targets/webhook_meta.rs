#![no_main]

use recado::proto::MetaConfig;
use recado::proto::sender::Config;

recado_fuzz::webhook!(Config::Meta(MetaConfig {
    access_token: "token".into(),
    phone_number_id: "106540352242922".into(),
    app_secret: "secret".into(),
    ..Default::default()
}));
