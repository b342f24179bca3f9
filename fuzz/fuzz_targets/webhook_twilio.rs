#![no_main]

use recado::proto::TwilioConfig;
use recado::proto::sender::Config;

recado_fuzz::webhook!(Config::Twilio(TwilioConfig {
    account_sid: "AC0123456789abcdef0123456789abcdef".into(),
    auth_token: "token".into(),
    from: "+14155550100".into(),
    ..Default::default()
}));
