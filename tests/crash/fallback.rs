//! Kills while messages go from one sender to the next: each is at one of them, and is handed over once.

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use recado::fake::{FakeProvider, Script};
use recado::proto;
use recado::proto::{AttemptOutcome, MessageStatus};

use crate::gateway::{TestDatabase, text};
use crate::on_both_databases;
use crate::process::{Setup, devino_sender, wait_for};
use crate::scene::{kills, seed};

/// Messages between two kills.
const BATCH: usize = 40;

on_both_databases! {
    async fn o16_kills_between_two_senders_lose_nothing_and_send_nothing_twice(engine) {
        let mut random = StdRng::seed_from_u64(seed(&format!("fallback, {engine:?}")));
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = Setup::new(&database.url, folder.path());
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        // The name of the senders that the campaigns make is refused.
        let script = Script { latency_ms: 20, senders: vec!["BackupCare".into()], ..Script::default() };
        fake.set_script(script).map_err(anyhow::Error::msg)?;
        let mut process = setup.start().await?;
        devino_sender(setup.addresses.grpc, "acme", &fake).await?;
        devino_sender(setup.addresses.grpc, "backup", &fake).await?;
        rename(&setup, "backup", "BackupCare").await?;

        let mut ids = Vec::new();
        for round in 0..=kills() {
            let entries = (0..BATCH).map(|n| {
                let options = proto::SendOptions { fallback_senders: vec!["backup".into()], ..Default::default() };
                // Few people, so that messages of a conversation meet.
                let to = format!("+351910{:06}", n % 10);
                let request = text("acme", &to, &format!("{round} {n}"));
                let request = proto::SendMessageRequest { options: Some(options), ..request };
                proto::BatchSendEntry { entry: Some(proto::batch_send_entry::Entry::Message(request)) }
            });
            let request = proto::BatchSendRequest { entries: entries.collect() };
            for result in setup.messaging().batch_send(request).await?.into_inner().results {
                let Some(proto::batch_send_result::Result::Accepted(accepted)) = result.result else {
                    anyhow::bail!("not accepted: {result:?}")
                };
                ids.push(accepted.message_id);
            }
            if round < kills() {
                tokio::time::sleep(std::time::Duration::from_millis(random.random_range(0..400))).await;
                process.kill()?;
                process = setup.start().await?;
            }
        }

        let (mut doubts, mut found) = (0, Vec::new());
        for id in &ids {
            let rest = wait_for("a message to come to rest", async || {
                let request = proto::GetMessageRequest { message_id: id.clone() };
                let answer = setup.messaging().get_message(request).await?.into_inner();
                let status = answer.message.as_ref().map(proto::Message::status);
                // In doubt and never taken: no word will ever come.
                let taken = fake.rows().iter().any(|row| row.message_id == *id);
                let silent = status == Some(MessageStatus::InDoubt) && !taken;
                Ok((silent || status == Some(MessageStatus::Read)).then_some(answer))
            });
            found.push(rest.await?);
        }
        let rows = fake.rows();
        for answer in found {
            let message = answer.message.unwrap();
            let times: u32 = rows.iter().filter(|row| row.message_id == message.message_id).map(|row| row.times).sum();
            match message.status() {
                MessageStatus::Read => {
                    ensure!(times == 1 && message.current_sender == "backup", "{times} times: {message:?}");
                    let first = &answer.attempts[0];
                    let passed = (first.sender.as_str(), first.outcome(), first.next_sender.as_str());
                    ensure!(passed == ("acme", AttemptOutcome::Refused, "backup"), "{:?}", answer.attempts);
                }
                _ => {
                    doubts += 1;
                    ensure!(times == 0, "in doubt, and taken {times} times: {message:?}");
                }
            }
        }
        println!("{engine:?}: {} messages, {} kills, {doubts} in doubt and never taken", ids.len(), kills());
        ensure!(doubts < ids.len() / 2, "most were to be handed over");
        Ok(())
    }
}

/// Gives a Devino sender the name that passes.
async fn rename(setup: &Setup, id: &str, from: &str) -> Result<()> {
    let config = proto::DevinoConfig { from: from.into(), ..Default::default() };
    let config = Some(proto::sender::Config::Devino(config));
    let sender = Some(proto::Sender { sender: id.into(), config, ..Default::default() });
    let channel = crate::process::channel(setup.addresses.grpc);
    let mut admin = proto::admin_service_client::AdminServiceClient::new(channel);
    admin.update_sender(proto::UpdateSenderRequest { sender, update_mask: None }).await?;
    Ok(())
}
