//! A provider that takes nothing from a sender: messages wait for it, instead of failing one after the other.

use anyhow::Result;
use recado::fake::{FakeProvider, Script};
use recado::proto::event::Payload;
use recado::proto::{self, AttemptOutcome, MessageStatus, SenderChangeKind, SenderHealth};

use crate::gateway::{TestGateway, text};
use crate::on_both_databases;
use crate::tools::{Seen, fake, number, silent, until};

impl TestGateway {
    async fn health(&self) -> Result<SenderHealth> {
        let request = proto::GetSenderRequest { sender: "acme".into() };
        let sender = self.admin.clone().get_sender(request).await?.into_inner().sender.unwrap();
        Ok(sender.health())
    }

    /// What the log says of the sender, but for what operators did.
    async fn changes(&mut self) -> Result<Vec<(SenderChangeKind, SenderHealth)>> {
        let changes = self.all_events().await?.into_iter().filter_map(|event| match event.payload {
            Some(Payload::SenderChanged(changed)) if event.sender == "acme" => Some((changed.kind(), changed.health())),
            _ => None,
        });
        Ok(changes.filter(|(_, health)| *health != SenderHealth::Unspecified).collect())
    }
}

on_both_databases! {
    async fn refused_credentials_keep_messages_until_they_are_set_right(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(Script { api_key: Some("the-right-key".into()), ..silent() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        assert_eq!(gateway.health().await?, SenderHealth::Unspecified, "nothing was sent yet");
        let mut stream = gateway.stream(Default::default()).await?;
        gateway.send_all((0..50).map(|n| text("acme", &number(n), "x"))).await?;
        until("the refusal is known", async || {
            Ok((gateway.health().await? == SenderHealth::CredentialsRefused).then_some(()))
        }).await?;
        assert!(fake.ledger().requests < 50, "not each message finds out by itself");

        let config = proto::DevinoConfig { api_key: "the-right-key".into(), ..Default::default() };
        let config = Some(proto::sender::Config::Devino(config));
        let sender = Some(proto::Sender { sender: "acme".into(), config, ..Default::default() });
        gateway.admin.update_sender(proto::UpdateSenderRequest { sender, update_mask: None }).await?;
        let seen = Seen::until_all(&mut stream, 50, MessageStatus::Sent).await?;
        assert!(seen.by_message.keys().all(|id| seen.words(id) == ["ACCEPTED", "SENT"]));
        assert_eq!((fake.ledger().taken, gateway.health().await?), (50, SenderHealth::Ok));
        let expected = [
            (SenderChangeKind::CredentialsRefused, SenderHealth::CredentialsRefused),
            (SenderChangeKind::Recovered, SenderHealth::Ok),
        ];
        assert_eq!(gateway.changes().await?, expected);
        gateway.stop().await?;
        Ok(())
    }

    async fn an_unreachable_provider_is_asked_by_one_message_at_a_time(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let away = fake(silent()).await?;
        let addr = away.addr();
        gateway.devino_sender("acme", &away).await?;
        away.stop().await;
        let limits = Some(proto::SenderLimits { in_flight: Some(1), ..Default::default() });
        let sender = Some(proto::Sender { sender: "acme".into(), limits, ..Default::default() });
        gateway.admin.update_sender(proto::UpdateSenderRequest { sender, update_mask: None }).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        // One by one, so that no request carries several of them.
        let mut sent = Vec::new();
        while gateway.health().await? != SenderHealth::Unreachable {
            sent.push(gateway.send(text("acme", &number(sent.len()), "x")).await?.message_id);
        }
        let more = gateway.send_all((0..200).map(|n| text("acme", &number(10_000 + n), "x"))).await?;
        sent.extend(more.into_iter().map(|answer| answer.message_id));

        let back = FakeProvider::start(addr).await?;
        back.set_script(silent()).map_err(anyhow::Error::msg)?;
        Seen::until_all(&mut stream, sent.len(), MessageStatus::Sent).await?;
        let mut untried = 0;
        for id in &sent[sent.len() - 200..] {
            let (message, attempts) = gateway.message(id).await?;
            assert_eq!(message.status(), MessageStatus::Sent);
            assert_eq!(attempts.last().unwrap().outcome(), AttemptOutcome::Taken);
            untried += usize::from(attempts.len() == 1);
        }
        assert!(untried > 150, "{untried} of 200 waited without a try of their own");
        assert_eq!((back.ledger().taken, back.ledger().twice.len()), (sent.len() as u64, 0));
        let expected = [
            (SenderChangeKind::Unreachable, SenderHealth::Unreachable),
            (SenderChangeKind::Recovered, SenderHealth::Ok),
        ];
        assert_eq!(gateway.changes().await?, expected);
        gateway.stop().await?;
        Ok(())
    }
}
