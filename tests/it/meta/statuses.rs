//! What becomes of a message, as Meta reports it.

use recado::fake::{Action, Fault, Script, Step, Webhooks};
use recado::proto;
use recado::proto::{DeliveryErrorReason, MessageStatus};
use serde_json::json;

use super::{post, start, status, webhook};
use crate::gateway::{TestGateway, after, text, words};
use crate::on_both_databases;
use crate::tools::{Seen, number, silent, until};

fn chain() -> Vec<Step> {
    let step = |(n, status): (u64, &str)| Step { status: status.into(), after_ms: 5 * n, error_code: 0 };
    (0..).zip(["sent", "delivered", "read", "played"]).map(step).collect()
}

on_both_databases! {
    async fn s1_s6_repeated_and_reordered_statuses_end_as_played(engine) {
        const MESSAGES: usize = 30;
        let mut gateway = TestGateway::start(engine).await?;
        let webhooks = Webhooks { duplicate: 0.5, reorder: true, ..Default::default() };
        let fake = start(&mut gateway, Script { statuses: chain(), webhooks, ..Script::default() }).await?;
        let sent = gateway.send_all((0..MESSAGES).map(|n| text("acme", &number(n), "x"))).await?;
        for one in &sent {
            let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
            while stream.next_status(&one.message_id).await?.current_status() != MessageStatus::Played {}
        }
        until("all reports came", async || Ok((fake.posted().pending == 0).then_some(()))).await?;
        for one in &sent {
            let (message, attempts) = gateway.message(&one.message_id).await?;
            assert_eq!((message.status(), attempts.len()), (MessageStatus::Played, 1));
        }
        assert!(fake.ledger().twice.is_empty());
        gateway.stop().await?;
        Ok(())
    }

    async fn s4_statuses_before_the_answer_lose_nothing(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let webhooks = Webhooks { before_answer: true, ..Default::default() };
        let _fake = start(&mut gateway, Script { webhooks, ..Script::default() }).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let sent = gateway.send_all((0..20).map(|n| text("acme", &number(n), "x"))).await?;
        let seen = Seen::until_all(&mut stream, 20, MessageStatus::Read).await?;
        for one in &sent {
            assert_eq!(seen.words(&one.message_id), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_late_failure_fails_the_message_with_its_reason(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let late = Fault::always(Action::LateFailure { error_code: 131_047 });
        let _fake = start(&mut gateway, Script { faults: vec![late], ..Script::default() }).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "FAILED"]);
        let error = statuses[2].error.clone().unwrap();
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::OutsideWindow, "131047"));
        gateway.stop().await?;
        Ok(())
    }

    async fn s10_s13_unknown_words_and_odd_times_are_kept_and_change_nothing(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        let id = fake.rows()[0].provider_message_ids[0].clone();
        for (word, timestamp, current) in [
            ("warning", json!("1767225600"), MessageStatus::Sent),
            ("delivered", json!(1_767_225_600_123_i64), MessageStatus::Delivered),
            ("TELEPORTED", json!(null), MessageStatus::Delivered),
        ] {
            // By Meta's id alone, as for a message that had no room for ours.
            let body = status(json!({ "id": id, "status": word, "timestamp": timestamp }));
            assert_eq!(post(&webhook(&gateway, "acme"), body).await?, 200);
            let event = stream.next_event().await?;
            if let Some(millis) = timestamp.as_i64() {
                let time = event.occur_time.unwrap();
                assert_eq!(time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000, millis);
            }
            let Some(proto::event::Payload::StatusChanged(event)) = event.payload else { panic!("{word}") };
            assert_eq!((event.provider_status.as_str(), event.current_status()), (word, current));
        }
        gateway.stop().await?;
        Ok(())
    }
}
