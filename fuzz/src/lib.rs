//! What all targets do: a webhook of arbitrary bytes is verified and read. Nothing may panic, and equal bytes give equal
//! reports.

use std::sync::Arc;
use std::time::Duration;

use recado::domain::SenderId;
use recado::proto::sender::Config;
use recado::provider::sandbox::Simulator;
use recado::provider::{AnySettings, Context, HttpClient, Provider, Webhook, build};

pub use libfuzzer_sys;

/// An adapter that never calls anybody.
pub fn adapter(config: Config) -> Arc<dyn Provider> {
    let settings = AnySettings::from_proto(config);
    let context = Context {
        sender: SenderId::trusted("acme".into()),
        webhook_url: "https://gateway.example.test/webhooks/provider/acme".parse().expect("an address"),
        http: HttpClient::new(Duration::from_secs(1)).expect("a client"),
        sandbox: Simulator::new().0,
    };
    build(&settings, context)
}

/// Verifies and reads one webhook.
pub fn read(adapter: &dyn Provider, body: &[u8]) {
    let webhook = Webhook {
        headers: vec![("content-type".into(), "application/json".into())],
        query: Vec::new(),
        path_token: None,
        body: body.to_vec().into(),
        receive_at_ms: 1_767_226_000_000,
    };
    assert!(adapter.verify(&webhook).is_err(), "nothing here is proven");
    let reports = adapter.parse(&webhook);
    assert_eq!(reports, adapter.parse(&webhook));
}

/// A target that feeds an adapter of these settings.
#[macro_export]
macro_rules! webhook {
    ($config:expr) => {
        static ADAPTER: std::sync::LazyLock<std::sync::Arc<dyn recado::provider::Provider>> =
            std::sync::LazyLock::new(|| $crate::adapter($config));

        $crate::libfuzzer_sys::fuzz_target!(|body: &[u8]| $crate::read(&**ADAPTER, body));
    };
}
