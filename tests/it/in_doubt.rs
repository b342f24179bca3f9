//! How a doubt ends when no word comes. By a status that carries our id it ends in `o1_…` of each provider, by the
//! provider's listing in `cloudhumans::look_ups`, by sending again in `devino::faults`.

use anyhow::Result;
use recado::fake::{Action, FakeProvider, Fault, Script};
use recado::proto;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, InDoubtPolicy, MessageStatus};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::json;

use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::tools::{execute, fake, impatient, number, post, silent, with};

const HOUR_MS: i64 = 3_600_000;

/// A gateway whose provider takes everything and answers nothing.
async fn start(engine: crate::gateway::Engine, setup: Setup) -> Result<(TestGateway, FakeProvider)> {
    let mut gateway = TestGateway::start_with(engine, setup).await?;
    let fake = fake(Script { faults: vec![Fault::always(Action::DropAfterAccept)], ..silent() }).await?;
    gateway.devino_sender("acme", &fake).await?;
    Ok((gateway, fake))
}

fn options(policy: InDoubtPolicy, validity_s: i64) -> proto::SendOptions {
    proto::SendOptions {
        in_doubt_policy: policy as i32,
        validity: Some(prost_types::Duration { seconds: validity_s, nanos: 0 }),
        ..Default::default()
    }
}

on_both_databases! {
    async fn s12_at_most_once_waits_an_hour_at_the_least_and_then_fails_as_unknown(engine) {
        let (mut gateway, fake) = start(engine, Setup { settings: impatient() }).await?;
        let rows = gateway.rows().await?;
        for (n, (validity_s, least_ms)) in [(60, HOUR_MS), (7_200, 2 * HOUR_MS)].into_iter().enumerate() {
            let request = with(text("acme", &number(n), "x"), options(InDoubtPolicy::AtMostOnce, validity_s));
            let sent = gateway.send(request).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            stream.until(&sent.message_id, MessageStatus::InDoubt).await?;
            let state = MessageStatus::InDoubt as i32;
            let question = format!("SELECT due_at_ms - accept_at_ms AS wait FROM messages WHERE status = {state}");
            let row = rows.query_one_raw(Statement::from_string(rows.get_database_backend(), question)).await?;
            let wait: i64 = row.unwrap().try_get("", "wait")?;
            assert!((least_ms..least_ms + 60_000).contains(&wait), "{wait} ms of {validity_s} s");

            // That long after, as far as the message knows.
            execute(&rows, &format!("UPDATE messages SET due_at_ms = 1 WHERE status = {state}")).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
            let error = statuses.last().and_then(|status| status.error.clone()).unwrap();
            assert_eq!((error.reason(), error.retryable), (DeliveryErrorReason::OutcomeUnknown, false));
            let (message, attempts) = gateway.message(&sent.message_id).await?;
            assert_eq!((message.status(), attempts.len()), (MessageStatus::Failed, 1));
            assert_eq!(attempts[0].outcome(), AttemptOutcome::InDoubt);
            assert_eq!(fake.ledger().taken, n as u64 + 1, "it was not sent again");

            // Whoever has it got it, however late the word.
            let late = json!([{ "messageId": 7_000 + n, "status": "DELIVERED", "options": sent.message_id }]);
            assert_eq!(post(&gateway.devino_webhook("acme"), late.to_string()).await?, 200);
            let statuses = stream.until(&sent.message_id, MessageStatus::Delivered).await?;
            assert!(statuses.last().unwrap().contradicts_final);
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn o1_at_least_once_is_not_sent_again_after_its_validity(engine) {
        // The validity is over before the wait.
        let setup = Setup { settings: impatient() }.with("engine.in_doubt_wait", "1h");
        let (mut gateway, fake) = start(engine, setup).await?;
        let request = with(text("acme", &number(1), "x"), options(InDoubtPolicy::AtLeastOnce, 2));
        let sent = gateway.send(request).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "IN_DOUBT", "FAILED"]);
        assert_eq!(statuses[2].error.as_ref().unwrap().reason(), DeliveryErrorReason::OutcomeUnknown);
        assert_eq!((fake.ledger().requests, fake.ledger().taken), (1, 1));
        gateway.stop().await?;
        Ok(())
    }

    async fn o1_at_least_once_is_sent_again_until_an_answer_comes(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let lost = Fault::always(Action::DropAfterAccept).first(2);
        let fake = fake(Script { faults: vec![lost], ..silent() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        let sent = gateway.send(with(text("acme", &number(1), "x"), options(InDoubtPolicy::AtLeastOnce, 3_600))).await?;
        let statuses = gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(words(&statuses).first(), Some(&"ACCEPTED"));
        let (_, attempts) = gateway.message(&sent.message_id).await?;
        use AttemptOutcome::{InDoubt, Taken};
        let outcomes: Vec<_> = attempts.iter().map(proto::Attempt::outcome).collect();
        assert_eq!(outcomes, [InDoubt, InDoubt, Taken]);
        // The first status that carries our id is believed, whichever attempt it is about.
        let read = json!([{ "messageId": 7_001, "status": "SEEN", "options": sent.message_id }]);
        assert_eq!(post(&gateway.devino_webhook("acme"), read.to_string()).await?, 200);
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Read).await?;
        assert_eq!(fake.ledger().taken, 3);
        gateway.stop().await?;
        Ok(())
    }
}
