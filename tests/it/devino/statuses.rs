//! What becomes of a message, as Devino reports it: in any order, twice, too early, in unknown words.

use std::collections::HashSet;

use anyhow::Result;
use recado::fake::{Action, Fault, Script, Webhooks};
use recado::proto;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus};
use serde_json::json;

use crate::gateway::{EventStream, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{Seen, count, fake, number, post, silent, until};

/// A gateway with a message that Devino took as 7001, and a stream that saw it SENT.
async fn sent(engine: crate::gateway::Engine) -> Result<(TestGateway, String, EventStream)> {
    let mut gateway = TestGateway::start(engine).await?;
    let devino = Provider::start().await?;
    gateway.devino_sender_at("acme", &devino.base_url()).await?;
    let sent = gateway.send(text("acme", &number(1), "x")).await?;
    devino.next().await.answer(Reply::new(200, r#"{"result":[{"code":"OK","messageId":"7001"}]}"#));
    let mut stream = gateway.stream(after(&sent.cursor)).await?;
    stream.until(&sent.message_id, MessageStatus::Sent).await?;
    Ok((gateway, sent.message_id, stream))
}

fn occurred(event: &proto::Event) -> (i64, i32) {
    let time = event.occur_time.as_ref().unwrap();
    (time.seconds, time.nanos)
}

on_both_databases! {
    async fn s4_a_status_that_comes_before_the_answer_finds_its_message_and_follows_it(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let devino = Provider::start().await?;
        gateway.devino_sender_at("acme", &devino.base_url()).await?;
        let webhook = gateway.devino_webhook("acme");
        let rows = gateway.rows().await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let call = devino.next().await;
        let status = json!([{ "messageId": 7001, "status": "DELIVERED", "options": sent.message_id }]);
        assert_eq!(post(&webhook, status.to_string()).await?, 200);
        until("it is withheld", async || Ok((count(&rows, "parked_reports").await? == 1).then_some(()))).await?;
        let (message, _) = gateway.message(&sent.message_id).await?;
        assert_eq!(message.status(), MessageStatus::Sending);

        call.answer(Reply::new(200, r#"{"result":[{"code":"OK","messageId":"7001"}]}"#));
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Delivered).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "DELIVERED"]);
        assert!(statuses.iter().all(|status| !status.late && !status.duplicate && !status.contradicts_final));
        let (message, attempts) = gateway.message(&sent.message_id).await?;
        assert_eq!((message.status(), message.provider_message_id.as_str()), (MessageStatus::Delivered, "7001"));
        assert_eq!((attempts.len(), attempts[0].outcome()), (1, AttemptOutcome::Taken));
        assert_eq!(count(&rows, "parked_reports").await?, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn s4_an_answer_that_is_lost_after_a_status_came_leaves_no_doubt(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let devino = Provider::start().await?;
        gateway.devino_sender_at("acme", &devino.base_url()).await?;
        let rows = gateway.rows().await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let call = devino.next().await;
        let status = json!([{ "messageId": 7001, "status": "DELIVERED", "options": sent.message_id }]);
        assert_eq!(post(&gateway.devino_webhook("acme"), status.to_string()).await?, 200);
        until("it is withheld", async || Ok((count(&rows, "parked_reports").await? == 1).then_some(()))).await?;
        drop(call);
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Delivered).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "DELIVERED"]);
        let (message, attempts) = gateway.message(&sent.message_id).await?;
        assert_eq!((message.status(), message.provider_message_id.as_str()), (MessageStatus::Delivered, "7001"));
        assert_eq!(attempts.iter().map(proto::Attempt::outcome).collect::<Vec<_>>(), [AttemptOutcome::InDoubt]);
        gateway.stop().await?;
        Ok(())
    }

    async fn s4_a_provider_that_reports_before_it_answers_loses_nothing(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let webhooks = Webhooks { before_answer: true, ..Default::default() };
        let fake = fake(Script { webhooks, ..Script::default() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let sent = gateway.send_all((0..50).map(|n| text("acme", &number(n), "x"))).await?;
        let seen = Seen::until_all(&mut stream, 50, MessageStatus::Read).await?;
        for one in &sent {
            assert_eq!(seen.words(&one.message_id), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        }
        assert_eq!((seen.by_message.len(), fake.ledger().twice.len()), (50, 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn s6_two_statuses_in_one_webhook_are_both_recorded_and_a_copy_is_not(engine) {
        let (gateway, id, mut stream) = sent(engine).await?;
        let webhook = gateway.devino_webhook("acme");
        let both = |ts: i64| json!([
            { "messageId": 7001, "status": "READ", "ts": ts },
            { "messageId": 7001, "status": "DELIVERED", "ts": ts },
        ]).to_string();
        assert_eq!(post(&webhook, both(1_767_225_600_000)).await?, 200);
        let read = stream.next_status(&id).await?;
        assert_eq!((read.status(), read.current_status(), read.late), (MessageStatus::Read, MessageStatus::Read, false));
        let delivered = stream.next_status(&id).await?;
        assert_eq!((delivered.status(), delivered.current_status()), (MessageStatus::Delivered, MessageStatus::Read));
        assert!(delivered.late);
        // The very same once more makes no event; the same words at another time do, and are flagged.
        assert_eq!(post(&webhook, both(1_767_225_600_000)).await?, 200);
        assert_eq!(post(&webhook, both(1_767_225_601_000)).await?, 200);
        for expected in [MessageStatus::Read, MessageStatus::Delivered] {
            let again = stream.next_event().await?;
            assert_eq!(occurred(&again), (1_767_225_601, 0));
            let Some(proto::event::Payload::StatusChanged(again)) = again.payload else { panic!("{again:?}") };
            assert_eq!((again.status(), again.current_status()), (expected, MessageStatus::Read));
            assert!(again.duplicate);
        }
        let (message, _) = gateway.message(&id).await?;
        assert_eq!(message.status(), MessageStatus::Read);
        gateway.stop().await?;
        Ok(())
    }

    async fn s7_a_status_that_matches_nothing_is_parked_until_it_does(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let devino = Provider::start().await?;
        gateway.devino_sender_at("acme", &devino.base_url()).await?;
        gateway.devino_sender_at("other", &devino.base_url()).await?;
        let webhook = gateway.devino_webhook("acme");
        let rows = gateway.rows().await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let call = devino.next().await;
        // Without our id, and the provider's is not known yet; one that never will be; one of another sender's.
        let statuses = json!([
            { "messageId": 7001, "status": "DELIVERED", "ts": 1_767_225_600_000_i64 },
            { "messageId": 7999, "status": "READ", "ts": 1_767_225_600_000_i64 },
            { "messageId": 7998, "status": "READ", "options": "019b7a5c-8a00-7000-8000-000000000001" },
        ]);
        assert_eq!(post(&webhook, statuses.to_string()).await?, 200);
        let other = json!([{ "messageId": 7001, "status": "READ", "options": sent.message_id }]).to_string();
        assert_eq!(post(&gateway.devino_webhook("other"), other).await?, 200);
        until("four are parked", async || Ok((count(&rows, "parked_reports").await? == 4).then_some(()))).await?;
        let (message, _) = gateway.message(&sent.message_id).await?;
        assert_eq!(message.status(), MessageStatus::Sending);

        call.answer(Reply::new(200, r#"{"result":[{"code":"OK","messageId":"7001"}]}"#));
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Delivered).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "DELIVERED"]);
        until("one has left", async || Ok((count(&rows, "parked_reports").await? < 4).then_some(()))).await?;
        let last = json!([{ "messageId": 7001, "status": "CLICKED" }]).to_string();
        assert_eq!(post(&webhook, last).await?, 200);
        assert_eq!(stream.next_status(&sent.message_id).await?.status(), MessageStatus::Read);
        let statuses = gateway.all_events().await?.into_iter().filter(|event| {
            matches!(event.payload, Some(proto::event::Payload::StatusChanged(_)))
        });
        assert_eq!(statuses.count(), 4, "nothing of the others");
        gateway.stop().await?;
        Ok(())
    }

    async fn s10_an_unknown_word_is_kept_raw_and_changes_nothing(engine) {
        let (gateway, id, mut stream) = sent(engine).await?;
        let status = json!({ "messageId": 7001, "status": "TELEPORTED", "errorCode": 2313 }).to_string();
        assert_eq!(post(&gateway.devino_webhook("acme"), status).await?, 200);
        let event = stream.next_status(&id).await?;
        assert_eq!((event.status(), event.current_status()), (MessageStatus::Unspecified, MessageStatus::Sent));
        assert_eq!(event.provider_status, "TELEPORTED");
        let (message, _) = gateway.message(&id).await?;
        assert_eq!((message.status(), message.error), (MessageStatus::Sent, None));
        gateway.stop().await?;
        Ok(())
    }

    async fn s13_seconds_and_milliseconds_are_one_instant_and_absurd_times_are_none(engine) {
        let (gateway, id, mut stream) = sent(engine).await?;
        for (word, ts, expected) in [
            ("DELIVERED", 1_767_225_600_123, Some((1_767_225_600, 123_000_000))),
            ("READ", 1_767_225_600, Some((1_767_225_600, 0))),
            ("SENT", 0, None),
            ("CLICKED", 9_999_999_999_999_i64, None),
        ] {
            let status = json!({ "messageId": 7001, "status": word, "ts": ts }).to_string();
            assert_eq!(post(&gateway.devino_webhook("acme"), status).await?, 200);
            let event = stream.next_event().await?;
            let received = event.receive_time.as_ref().map(|time| (time.seconds, time.nanos)).unwrap();
            assert_eq!(occurred(&event), expected.unwrap_or(received), "{word} {ts}");
            let Some(proto::event::Payload::StatusChanged(status)) = event.payload else { panic!("no status") };
            assert_eq!((status.message_id.as_str(), status.provider_status.as_str()), (&*id, word));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_click_tells_what_the_person_opened_it_with(engine) {
        let (gateway, id, mut stream) = sent(engine).await?;
        let status = json!([{
            "messageId": 7001, "status": "CLICKED", "errorCode": 0, "ip": "198.51.100.7", "browser": "Firefox",
            "os": "Android", "userAgent": "Mozilla/5.0 (Android 14)", "options": id,
        }]).to_string();
        assert_eq!(post(&gateway.devino_webhook("acme"), status).await?, 200);
        let event = stream.next_status(&id).await?;
        assert_eq!(event.status(), MessageStatus::Read);
        assert_eq!(event.client_info, Some(proto::ClientInfo {
            ip: "198.51.100.7".into(),
            browser: "Firefox".into(),
            os: "Android".into(),
            user_agent: "Mozilla/5.0 (Android 14)".into(),
        }));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_late_failure_fails_the_message_with_its_reason(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let late = Fault::always(Action::LateFailure { error_code: 2305 }).to(number(1));
        let fake = fake(Script { faults: vec![late], ..Script::default() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "FAILED"]);
        let error = statuses[2].error.clone().unwrap();
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::NotOnWhatsapp, "2305"));
        let (message, attempts) = gateway.message(&sent.message_id).await?;
        assert_eq!((message.error, attempts.len()), (Some(error), 1));
        gateway.stop().await?;
        Ok(())
    }

    async fn s1_every_order_of_the_same_reports_ends_alike(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let webhook = gateway.devino_webhook("acme");
        let sent = gateway.send_all((0..24).map(|n| text("acme", &number(n), "x"))).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        Seen::until_all(&mut stream, 24, MessageStatus::Sent).await?;
        let words = ["SENT", "DELIVERED", "READ", "UNDELIVERED"];
        for (one, order) in sent.iter().zip(orders()) {
            for place in order {
                let status = json!({ "messageId": 1, "options": one.message_id, "status": words[place] });
                assert_eq!(post(&webhook, status.to_string()).await?, 200);
            }
            let mut last = None;
            for _ in 0..4 {
                last = Some(stream.next_status(&one.message_id).await?);
            }
            assert_eq!(last.unwrap().current_status(), MessageStatus::Read, "{order:?}");
            let (message, _) = gateway.message(&one.message_id).await?;
            assert_eq!((message.status(), message.error), (MessageStatus::Read, None));
        }
        gateway.stop().await?;
        Ok(())
    }
}

/// All orders of four.
fn orders() -> Vec<[usize; 4]> {
    let all = (0..256).map(|n| [n / 64, n / 16 % 4, n / 4 % 4, n % 4]);
    all.filter(|order| HashSet::from(*order).len() == 4).collect()
}
