//! What is in hand stays in one hand, however long it takes.

use recado::fake::{Action, Fault, Script};
use recado::proto::{self, MessageStatus};

use crate::gateway::{Setup, TestGateway, after, text};
use crate::on_both_databases;
use crate::tools::{Seen, fake, impatient, number, silent};

on_both_databases! {
    async fn o5_a_lease_is_renewed_while_a_message_waits_for_its_call(engine) {
        const MESSAGES: usize = 8;
        let mut settings = impatient();
        settings.push(("engine.lease", "1500ms".into()));
        let mut gateway = TestGateway::start_with(engine, Setup { settings }).await?;
        let fake = fake(Script { latency_ms: 500, ..silent() }).await?;
        crate::meta::sender_at(&mut gateway, "acme", &fake.base_url("meta"), crate::meta::NUMBER).await?;
        // Their time has come, so they are in hand; but one call after the other takes longer than a lease.
        let one_call = proto::SenderLimits {
            messages_per_second: Some(1_000.0),
            in_flight: Some(1),
            ..Default::default()
        };
        gateway.limit("acme", one_call).await?;
        let sent = gateway.send_all((0..MESSAGES).map(|n| text("acme", &number(n), "x"))).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        let seen = Seen::until_all(&mut stream, MESSAGES, MessageStatus::Sent).await?;
        for one in &sent {
            assert_eq!(seen.words(&one.message_id), ["ACCEPTED", "SENT"]);
            let (_, attempts) = gateway.message(&one.message_id).await?;
            assert_eq!(attempts.len(), 1);
        }
        let ledger = fake.ledger();
        assert_eq!((ledger.distinct, ledger.twice.len()), (MESSAGES as u64, 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn o2_a_provider_that_answers_after_the_time_limit_gets_nothing_twice(engine) {
        const MESSAGES: usize = 40;
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let slow = Fault::always(Action::Slow { ms: 3_000 });
        let fake = fake(Script { faults: vec![slow], ..Script::default() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        let sent = gateway.send_all((0..MESSAGES).map(|n| text("acme", &number(n), "x"))).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        // What is lost with an answer is found again by the statuses.
        let seen = Seen::until_all(&mut stream, MESSAGES, MessageStatus::Read).await?;
        for one in &sent {
            let words = seen.words(&one.message_id);
            assert!(words.contains(&"IN_DOUBT"), "{words:?}");
            assert_eq!(words.last(), Some(&"READ"));
        }
        assert_eq!((fake.ledger().taken, fake.ledger().twice.len()), (MESSAGES as u64, 0));
        gateway.stop().await?;
        Ok(())
    }
}
