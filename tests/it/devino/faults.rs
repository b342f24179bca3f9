//! What goes wrong on the way out: nothing is lost, and nothing is sent twice unless the caller chose that.

use anyhow::Result;
use recado::fake::{Action, FakeProvider, Fault, Script};
use recado::proto;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, InDoubtPolicy, MessageStatus};

use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::tools::{fake, impatient, number, play, post, silent, until, with};

fn faulty(fault: Fault) -> Script {
    Script { faults: vec![fault], ..silent() }
}

fn at_least_once() -> proto::SendOptions {
    proto::SendOptions { in_doubt_policy: InDoubtPolicy::AtLeastOnce as i32, ..Default::default() }
}

fn outcomes(attempts: &[proto::Attempt]) -> Vec<AttemptOutcome> {
    attempts.iter().map(proto::Attempt::outcome).collect()
}

/// A gateway without much patience, and a Devino of a script.
async fn start(engine: crate::gateway::Engine, script: Script) -> Result<(TestGateway, FakeProvider)> {
    let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
    let fake = fake(script).await?;
    gateway.devino_sender("acme", &fake).await?;
    Ok((gateway, fake))
}

on_both_databases! {
    async fn o1_o9_a_lost_answer_is_in_doubt_until_a_status_settles_it(engine) {
        let (mut gateway, fake) = start(engine, silent()).await?;
        let webhook = gateway.devino_webhook("acme");
        let lost = [
            Action::DropAfterAccept,
            Action::ErrorAfterAccept { status: 500 },
            Action::Garbage,
            Action::Slow { ms: 3_000 },
        ];
        let count = lost.len() as u64;
        for (n, action) in lost.into_iter().enumerate() {
            play(&fake, faulty(Fault::always(action.clone())));
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            stream.until(&sent.message_id, MessageStatus::InDoubt).await?;
            let provider_id = fake.rows()[n].provider_message_ids[0].clone();
            // The first by our own id alone: the provider's is not known to us.
            let status = |word: &str| format!(
                r#"[{{"messageId":{provider_id},"status":"{word}","ts":1767225600123,"options":"{}"}}]"#,
                sent.message_id,
            );
            assert_eq!(post(&webhook, status("DELIVERED")).await?, 200);
            let statuses = stream.until(&sent.message_id, MessageStatus::Delivered).await?;
            assert_eq!(statuses[0].provider_message_id, provider_id, "{action:?}");
            let (message, attempts) = gateway.message(&sent.message_id).await?;
            assert_eq!((message.status(), outcomes(&attempts)), (MessageStatus::Delivered, vec![AttemptOutcome::InDoubt]));
            assert_eq!(message.provider_message_id, provider_id);
        }
        let ledger = fake.ledger();
        assert_eq!((ledger.requests, ledger.taken, ledger.twice.len()), (count, count, 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn o1_a_doubt_is_not_resent_at_most_once_and_is_at_least_once(engine) {
        let (mut gateway, fake) = start(engine, silent()).await?;
        for (n, action) in [Action::DropAfterAccept, Action::DropBeforeAccept].into_iter().enumerate() {
            let taken_by_it = u64::from(action == Action::DropAfterAccept);
            fake.forget();
            play(&fake, faulty(Fault::always(action.clone()).first(1)));
            let at_most = gateway.send(text("acme", &number(2 * n), "x")).await?;
            let mut stream = gateway.stream(after(&at_most.cursor)).await?;
            stream.until(&at_most.message_id, MessageStatus::InDoubt).await?;

            play(&fake, faulty(Fault::always(action.clone()).first(1)));
            let at_least = gateway.send(with(text("acme", &number(2 * n + 1), "x"), at_least_once())).await?;
            let statuses = stream.until(&at_least.message_id, MessageStatus::Sent).await?;
            assert_eq!(words(&statuses), ["ACCEPTED", "IN_DOUBT", "SENT"], "{action:?}");
            let (_, attempts) = gateway.message(&at_least.message_id).await?;
            assert_eq!(outcomes(&attempts), [AttemptOutcome::InDoubt, AttemptOutcome::Taken]);
            assert_eq!((attempts[0].number, attempts[1].number), (1, 2));

            // The one before it was in doubt for longer, and nobody sent it again.
            let (message, attempts) = gateway.message(&at_most.message_id).await?;
            assert_eq!((message.status(), attempts.len()), (MessageStatus::InDoubt, 1));
            let twice = fake.ledger().twice;
            assert_eq!(twice.contains(&at_least.message_id), taken_by_it == 1, "the price of AT_LEAST_ONCE");
            assert_eq!((fake.ledger().requests, fake.ledger().taken), (3, 1 + 2 * taken_by_it));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn o1_a_provider_that_is_away_is_tried_again_until_it_is_back(engine) {
        let (mut gateway, fake) = start(engine, silent()).await?;
        let addr = fake.addr();
        fake.stop().await;
        let sent = gateway.send_all((0..5).map(|n| text("acme", &number(n), "x"))).await?;
        for one in &sent {
            let tried = async || {
                let mut messaging = gateway.messaging.clone();
                let request = proto::GetMessageRequest { message_id: one.message_id.clone() };
                let mut attempts = messaging.get_message(request).await?.into_inner().attempts;
                attempts.retain(|attempt| attempt.outcome() != AttemptOutcome::Started);
                Ok((attempts.len() >= 2).then_some(attempts))
            };
            let attempts = until("it was tried twice", tried).await?;
            assert!(attempts.iter().all(|attempt| attempt.outcome() == AttemptOutcome::NotTaken), "{attempts:?}");
            assert_eq!(attempts[0].error.as_ref().unwrap().reason(), DeliveryErrorReason::ProviderUnavailable);
        }
        let fake = FakeProvider::start(addr).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        let seen = crate::tools::Seen::until_all(&mut stream, 5, MessageStatus::Read).await?;
        for one in &sent {
            assert_eq!(seen.words(&one.message_id), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        }
        assert_eq!((fake.ledger().taken, fake.ledger().twice.len()), (5, 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn o3_throttling_is_a_retry_and_retry_after_is_obeyed(engine) {
        let (mut gateway, fake) = start(engine, silent()).await?;
        let cases = [(Some(1), false), (None, true), (None, false)];
        for (n, (retry_after_s, body_only)) in cases.into_iter().enumerate() {
            fake.forget();
            play(&fake, faulty(Fault::always(Action::Throttle { retry_after_s, body_only }).first(2)));
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
            assert_eq!(words(&statuses), ["ACCEPTED", "SENT"]);
            let (_, attempts) = gateway.message(&sent.message_id).await?;
            use AttemptOutcome::{NotTaken, Taken};
            assert_eq!(outcomes(&attempts), [NotTaken, NotTaken, Taken], "{retry_after_s:?} {body_only}");
            assert_eq!(attempts[1].error.as_ref().unwrap().reason(), DeliveryErrorReason::RateLimited);
            let millis = |time: &Option<prost_types::Timestamp>| {
                let time = time.as_ref().unwrap();
                time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
            };
            for pair in attempts.windows(2).filter(|_| retry_after_s.is_some()) {
                let waited = millis(&pair[1].start_time) - millis(&pair[0].end_time);
                assert!(waited >= 1_000, "tried again after {waited} ms");
            }
            assert_eq!((fake.ledger().requests, fake.ledger().taken), (3, 1));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn many_faults_at_once_lose_nothing_and_send_nothing_twice(engine) {
        const MESSAGES: usize = 300;
        let drop = |action| Fault::always(action).with_probability(0.1);
        let script = Script {
            faults: vec![
                drop(Action::DropAfterAccept),
                drop(Action::Throttle { retry_after_s: None, body_only: false }),
                drop(Action::ErrorAfterAccept { status: 502 }),
                drop(Action::Garbage),
                drop(Action::Throttle { retry_after_s: None, body_only: true }),
            ],
            webhooks: recado::fake::Webhooks { duplicate: 0.5, reorder: true, ..Default::default() },
            ..Script::default()
        };
        let (mut gateway, fake) = start(engine, script).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let sent = gateway.send_all((0..MESSAGES).map(|n| text("acme", &number(n), "x"))).await?;
        // In whatever order the reports come, the last word is READ.
        let mut read = std::collections::HashSet::new();
        while read.len() < MESSAGES {
            if let Some(proto::event::Payload::StatusChanged(status)) = stream.next_event().await?.payload
                && status.current_status() == MessageStatus::Read
            {
                read.insert(status.message_id);
            }
        }
        until("all reports came", async || Ok((fake.posted().pending == 0).then_some(()))).await?;
        let ledger = fake.ledger();
        assert_eq!((ledger.distinct, ledger.twice.len()), (MESSAGES as u64, 0), "{ledger:?}");
        for one in &sent {
            let (message, _) = gateway.message(&one.message_id).await?;
            assert_eq!(message.status(), MessageStatus::Read);
        }
        gateway.stop().await?;
        Ok(())
    }
}
