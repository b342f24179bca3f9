//! What goes wrong on the way out.

use recado::fake::{Action, Fault, Script};
use recado::proto;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus};
use serde_json::json;

use super::{play, post, start, status, webhook};
use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::tools::{impatient, number, silent};

fn faulty(fault: Fault) -> Script {
    Script { faults: vec![fault], ..silent() }
}

fn outcomes(attempts: &[proto::Attempt]) -> Vec<AttemptOutcome> {
    attempts.iter().map(proto::Attempt::outcome).collect()
}

on_both_databases! {
    async fn o1_a_lost_answer_is_in_doubt_until_a_status_settles_it(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let fake = start(&mut gateway, silent()).await?;
        let lost = [
            Action::DropAfterAccept,
            Action::ErrorAfterAccept { status: 500 },
            Action::Garbage,
            Action::Slow { ms: 3_000 },
        ];
        let count = lost.len() as u64;
        for (n, action) in lost.into_iter().enumerate() {
            play(&gateway, &fake, faulty(Fault::always(action.clone())));
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            stream.until(&sent.message_id, MessageStatus::InDoubt).await?;
            let provider_id = fake.rows()[n].provider_message_ids[0].clone();
            // The message's own id is all that the gateway knows it by.
            let delivered = json!({ "id": provider_id, "status": "delivered", "biz_opaque_callback_data": sent.message_id });
            assert_eq!(post(&webhook(&gateway, "acme"), status(delivered)).await?, 200);
            stream.until(&sent.message_id, MessageStatus::Delivered).await?;
            let (message, attempts) = gateway.message(&sent.message_id).await?;
            assert_eq!((message.status(), outcomes(&attempts)), (MessageStatus::Delivered, vec![AttemptOutcome::InDoubt]), "{action:?}");
            assert_eq!(message.provider_message_id, provider_id);
        }
        let ledger = fake.ledger();
        assert_eq!((ledger.requests, ledger.taken, ledger.twice.len()), (count, count, 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn o3_o18_throttling_is_a_retry(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let fake = start(&mut gateway, silent()).await?;
        let throttle = |retry_after_s, body_only| Action::Throttle { retry_after_s, body_only };
        let pair = Action::Refuse { key: "131056".into(), reference: String::new() };
        use DeliveryErrorReason::{RateLimited, ContactRateLimited};
        let cases = [
            (throttle(Some(1), false), 1_000, RateLimited),
            (throttle(None, true), 0, RateLimited),
            (throttle(None, false), 0, RateLimited),
            (pair, 1_000, ContactRateLimited),
        ];
        for (n, (action, least_ms, reason)) in cases.into_iter().enumerate() {
            fake.forget();
            play(&gateway, &fake, faulty(Fault::always(action.clone()).first(1)));
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
            assert_eq!(words(&statuses), ["ACCEPTED", "SENT"]);
            let (_, attempts) = gateway.message(&sent.message_id).await?;
            assert_eq!(outcomes(&attempts), [AttemptOutcome::NotTaken, AttemptOutcome::Taken], "{action:?}");
            assert_eq!(attempts[0].error.as_ref().unwrap().reason(), reason);
            let millis = |time: &Option<prost_types::Timestamp>| {
                let time = time.as_ref().unwrap();
                time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
            };
            let waited = millis(&attempts[1].start_time) - millis(&attempts[0].end_time);
            assert!(waited >= least_ms, "{action:?}: tried again after {waited} ms");
            assert_eq!((fake.ledger().requests, fake.ledger().taken), (2, 1));
        }
        gateway.stop().await?;
        Ok(())
    }
}
