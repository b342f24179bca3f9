//! How fast a sender sends: never faster than it may, and nobody waits for a contact that may get no more.

use std::time::Duration;

use recado::fake::{Action, Fault};
use recado::proto::{self, MessageStatus, SenderState};

use crate::gateway::{TestGateway, after, text};
use crate::on_both_databases;
use crate::tools::{Seen, fake, number, play, silent, until};

impl TestGateway {
    async fn limit(&mut self, sender: &str, limits: proto::SenderLimits) -> anyhow::Result<proto::SenderLimits> {
        let sender = proto::Sender { sender: sender.into(), limits: Some(limits), ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["limits".into()] });
        let request = proto::UpdateSenderRequest { sender: Some(sender), update_mask };
        Ok(self.admin.update_sender(request).await?.into_inner().sender.unwrap().limits.unwrap())
    }
}

on_both_databases! {
    async fn a_sender_never_sends_faster_than_its_rate(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let limits = proto::SenderLimits { messages_per_second: Some(40.0), ..Default::default() };
        let in_force = gateway.limit("acme", limits).await?;
        assert_eq!((in_force.messages_per_second, in_force.in_flight), (Some(40.0), Some(16)), "the rest is the provider's");
        let sent = gateway.send_all((0..60).map(|n| text("acme", &number(n), "x"))).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        Seen::until_all(&mut stream, 60, MessageStatus::Sent).await?;
        let taken: Vec<i64> = fake.rows().iter().map(|row| row.at_ms).collect();
        // A slow machine makes it slower, never faster: 59 intervals of 25 ms, of which a late first may hide one tenth.
        let span = taken.iter().max().unwrap() - taken.iter().min().unwrap();
        assert!(span >= 59 * 25 * 9 / 10, "60 messages in {span} ms");
        assert!(fake.ledger().largest_batch <= 2, "a batch would be a burst");
        gateway.stop().await?;
        Ok(())
    }

    async fn o18_a_contact_that_may_get_no_more_holds_back_nobody_else(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let hour = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
        let limits = proto::SenderLimits { contact_interval: hour, contact_burst: Some(2), ..Default::default() };
        gateway.limit("acme", limits).await?;
        gateway.set_state("acme", SenderState::Paused).await?;
        let hot = gateway.send_all((0..5).map(|n| text("acme", &number(0), &format!("hot {n}")))).await?;
        let others = gateway.send_all((1..40).map(|n| text("acme", &number(n), "x"))).await?;
        let mut stream = gateway.stream(after(&hot[0].cursor)).await?;
        gateway.set_state("acme", SenderState::Active).await?;
        let seen = Seen::until_all(&mut stream, 41, MessageStatus::Sent).await?;
        assert!(others.iter().all(|one| seen.words(&one.message_id).contains(&"SENT")));
        let texts: Vec<String> = fake.rows().into_iter().filter(|row| row.to == number(0)).map(|row| row.text).collect();
        assert_eq!(texts, ["hot 0", "hot 1"]);
        for one in &hot[2..] {
            let (message, attempts) = gateway.message(&one.message_id).await?;
            assert_eq!((message.status(), attempts.len()), (MessageStatus::Accepted, 0));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn o3_o17_a_throttled_sender_waits_as_long_as_its_provider_wants(engine) {
        for limits in [
            proto::SenderLimits::default(),
            proto::SenderLimits { messages_per_second: Some(1_000.0), ..Default::default() },
        ] {
            let mut gateway = TestGateway::start(engine).await?;
            let fake = fake(silent()).await?;
            let throttle = Action::Throttle { retry_after_s: Some(2), body_only: false };
            play(&fake, recado::fake::Script { faults: vec![Fault::always(throttle).first(1)], ..silent() });
            gateway.devino_sender("acme", &fake).await?;
            gateway.limit("acme", limits).await?;
            let first = gateway.send(text("acme", &number(1), "x")).await?;
            until("it was throttled", async || Ok((fake.ledger().requests == 1).then_some(()))).await?;
            let throttled = recado::domain::now_ms();
            let others = gateway.send_all((2..6).map(|n| text("acme", &number(n), "x"))).await?;
            let mut stream = gateway.stream(after(&first.cursor)).await?;
            Seen::until_all(&mut stream, 5, MessageStatus::Sent).await?;
            assert_eq!(others.len(), 4);
            // Noted a moment after the answer; a whole second less than asked for allows for that.
            let soonest = fake.rows().iter().map(|row| row.at_ms).min().unwrap();
            assert!(soonest - throttled >= Duration::from_secs(1).as_millis() as i64, "{soonest} {throttled}");
            gateway.stop().await?;
        }
        Ok(())
    }
}
