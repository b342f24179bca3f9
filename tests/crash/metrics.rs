//! What the metrics of a real process say.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use recado::fake::{FakeProvider, Script, Webhooks};
use recado::proto;

use crate::gateway::{TestDatabase, text};
use crate::on_both_databases;
use crate::process::{Setup, devino_sender, wait_for};

const MESSAGES: usize = 20;

/// The value of a metric; nothing as long as it was never used.
pub async fn metric(setup: &Setup, name: &str) -> Result<Option<f64>> {
    // A second install is refused; then the one that is there serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let text = client.get(format!("http://{}/metrics", setup.addresses.http)).send().await?.text().await?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.map(|value| value.parse().context("no number")).transpose()
}

on_both_databases! {
    async fn t12_repeats_of_sends_and_of_webhooks_are_not_counted(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = Setup::new(&database.url, folder.path());
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        let webhooks = Webhooks { duplicate: 1.0, ..Webhooks::default() };
        fake.set_script(Script { webhooks, ..Script::default() }).map_err(anyhow::Error::msg)?;
        let _process = setup.start().await?;
        devino_sender(setup.addresses.grpc, "acme", &fake).await?;
        let mut messaging = setup.messaging();
        let mut ids = HashSet::new();
        for n in (0..MESSAGES).flat_map(|n| [n, n, n]) {
            let idempotency_key = format!("order-{n}");
            let options = Some(proto::SendOptions { idempotency_key, ..Default::default() });
            let request = proto::SendMessageRequest { options, ..text("acme", &format!("+351910{n:06}"), "olá") };
            ids.insert(messaging.send_message(request).await?.into_inner().message_id);
        }
        assert_eq!(ids.len(), MESSAGES);
        wait_for("every message to be read", async || {
            Ok((metric(&setup, r#"recado_statuses_total{status="READ"}"#).await? >= Some(MESSAGES as f64)).then_some(()))
        }).await?;
        // Each status twice, and all of them read.
        wait_for("every repeat", async || {
            let repeats = metric(&setup, "recado_reports_repeated_total").await?;
            Ok((fake.posted().pending == 0 && repeats >= Some(2.0 * MESSAGES as f64)).then_some(()))
        }).await?;
        for name in ["ACCEPTED", "SENT", "DELIVERED", "READ"] {
            let counted = metric(&setup, &format!(r#"recado_statuses_total{{status="{name}"}}"#)).await?;
            assert_eq!(counted, Some(MESSAGES as f64), "{name}");
        }
        assert_eq!(metric(&setup, "recado_messages_accepted_total").await?, Some(MESSAGES as f64));
        assert_eq!(fake.ledger().distinct, MESSAGES as u64);
        wait_for("the gauges of what waits", async || {
            let waits = metric(&setup, "recado_queue_depth").await?;
            Ok((waits == Some(0.0) && metric(&setup, r#"recado_sender_queue_depth{sender="acme"}"#).await?.is_some())
                .then_some(()))
        }).await?;
        Ok(())
    }
}
