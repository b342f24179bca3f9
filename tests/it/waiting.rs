//! Messages that wait: for their time, for their sender, for nothing any more.

use futures::future::join_all;
use recado::domain::now_ms;
use recado::proto;
use recado::proto::{DeliveryErrorReason, MessageStatus, SenderState};
use tonic::Code;

use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::tools::{Seen, fake, impatient, number, reason, silent, with, word};

fn timestamp(millis: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: millis / 1_000, nanos: (millis % 1_000) as i32 * 1_000_000 }
}

fn valid_for_ms(millis: i32) -> proto::SendOptions {
    let validity = prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 };
    proto::SendOptions { validity: Some(validity), ..Default::default() }
}

fn cancel(id: &str) -> proto::CancelMessageRequest {
    proto::CancelMessageRequest { message_id: id.into() }
}

on_both_databases! {
    async fn a_scheduled_message_is_handed_over_at_its_time_and_not_before(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let send_at_ms = now_ms() + 2_000;
        let options = proto::SendOptions { send_time: Some(timestamp(send_at_ms)), ..Default::default() };
        let scheduled = gateway.send(with(text("acme", &number(1), "later"), options)).await?;
        assert_eq!(scheduled.status(), MessageStatus::Scheduled);
        let (message, attempts) = gateway.message(&scheduled.message_id).await?;
        assert_eq!((message.status(), attempts.len()), (MessageStatus::Scheduled, 0));
        assert_eq!(message.next_attempt_time, Some(timestamp(send_at_ms)));
        // One that waits for its time holds back nobody, not even in its own conversation.
        let at_once = gateway.send(text("acme", &number(1), "at once")).await?;
        let mut stream = gateway.stream(after(&scheduled.cursor)).await?;
        let seen = Seen::until_all(&mut stream, 2, MessageStatus::Sent).await?;
        assert_eq!(seen.words(&scheduled.message_id), ["ACCEPTED", "SENT"]);
        assert_eq!(seen.words(&at_once.message_id), ["ACCEPTED", "SENT"]);
        let rows = fake.rows();
        assert_eq!(rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>(), ["at once", "later"]);
        assert!(rows[1].at_ms >= send_at_ms, "handed over {} ms early", send_at_ms - rows[1].at_ms);
        gateway.stop().await?;
        Ok(())
    }

    async fn o15_a_message_that_outlived_its_validity_is_not_handed_over(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.set_state("acme", SenderState::Paused).await?;
        let short = gateway.send(with(text("acme", &number(1), "short"), valid_for_ms(300))).await?;
        let long = gateway.send(text("acme", &number(1), "long")).await?;
        let mut stream = gateway.stream(after(&short.cursor)).await?;
        let statuses = stream.until(&short.message_id, MessageStatus::Expired).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "EXPIRED"]);
        let error = statuses[1].error.clone().unwrap();
        assert_eq!(error.reason(), DeliveryErrorReason::Expired);
        let (message, attempts) = gateway.message(&short.message_id).await?;
        assert_eq!((message.status(), message.error, attempts.len()), (MessageStatus::Expired, Some(error), 0));
        gateway.set_state("acme", SenderState::Active).await?;
        stream.until(&long.message_id, MessageStatus::Sent).await?;
        assert_eq!((fake.ledger().seen, fake.rows()[0].text.as_str()), (1, "long"));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_retry_ends_with_the_validity(engine) {
        use recado::fake::{Action, Fault, Script};
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let throttle = Fault::always(Action::Throttle { retry_after_s: None, body_only: false });
        let fake = fake(Script { faults: vec![throttle], ..silent() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        let sent = gateway.send(with(text("acme", &number(1), "x"), valid_for_ms(900))).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Expired).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "EXPIRED"]);
        let (_, attempts) = gateway.message(&sent.message_id).await?;
        assert!(!attempts.is_empty());
        assert!(attempts.iter().all(|attempt| attempt.outcome() == proto::AttemptOutcome::NotTaken));
        assert_eq!((fake.ledger().taken, fake.ledger().seen), (0, attempts.len() as u64));
        gateway.stop().await?;
        Ok(())
    }

    async fn cancelling_wins_before_the_hand_over(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.set_state("acme", SenderState::Paused).await?;
        let options = proto::SendOptions { send_time: Some(timestamp(now_ms() + 86_400_000)), ..Default::default() };
        let waiting = gateway.send(text("acme", &number(1), "waiting")).await?;
        let scheduled = gateway.send(with(text("acme", &number(2), "scheduled"), options)).await?;
        for sent in [&waiting, &scheduled] {
            let answer = gateway.messaging.cancel_message(cancel(&sent.message_id)).await?.into_inner();
            let message = answer.message.unwrap();
            assert_eq!((message.message_id.as_str(), message.status()), (&*sent.message_id, MessageStatus::Cancelled));
            let again = gateway.messaging.cancel_message(cancel(&sent.message_id)).await?.into_inner();
            assert_eq!(again.message, Some(message), "cancelling what is cancelled is OK");
        }
        gateway.set_state("acme", SenderState::Active).await?;
        let last = gateway.send(text("acme", &number(1), "last")).await?;
        let mut stream = gateway.stream(after(&waiting.cursor)).await?;
        let seen = Seen::until_all(&mut stream, 1, MessageStatus::Sent).await?;
        assert_eq!(seen.words(&waiting.message_id), ["ACCEPTED", "CANCELLED"]);
        assert_eq!(seen.words(&scheduled.message_id), ["ACCEPTED", "CANCELLED"]);
        assert_eq!(seen.words(&last.message_id), ["ACCEPTED", "SENT"]);
        assert_eq!(seen.by_message[&waiting.message_id][1].error.as_ref().unwrap().reason(), DeliveryErrorReason::Cancelled);
        assert_eq!(fake.ledger().seen, 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn cancelling_loses_after_the_hand_over(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let sent = gateway.send(text("sandbox", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Read).await?;
        let error = gateway.messaging.cancel_message(cancel(&sent.message_id)).await.unwrap_err();
        let (reason, metadata) = reason(&error);
        assert_eq!((error.code(), reason.as_str()), (Code::FailedPrecondition, "NOT_CANCELLABLE"));
        assert_eq!(metadata["status"], "READ");
        let (message, _) = gateway.message(&sent.message_id).await?;
        assert_eq!(message.status(), MessageStatus::Read);
        gateway.stop().await?;
        Ok(())
    }

    async fn against_a_hand_over_cancelling_wins_or_loses_but_never_both(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let sent = gateway.send_all((0..200).map(|n| text("acme", &number(n), "x"))).await?;
        let cancels = sent.iter().map(|one| {
            let (mut messaging, id) = (gateway.messaging.clone(), one.message_id.clone());
            async move { messaging.cancel_message(cancel(&id)).await }
        });
        let cancels = join_all(cancels).await;
        let last = gateway.send(text("acme", &number(999), "last")).await?;
        gateway.stream(after(&last.cursor)).await?.until(&last.message_id, MessageStatus::Sent).await?;
        for (one, cancelled) in sent.iter().zip(cancels) {
            let (message, attempts) = crate::tools::until("it stands still", async || {
                let (message, attempts) = gateway.messaging.clone().get_message(proto::GetMessageRequest {
                    message_id: one.message_id.clone(),
                }).await.map(|answer| { let a = answer.into_inner(); (a.message.unwrap(), a.attempts) })?;
                let still = matches!(message.status(), MessageStatus::Sent | MessageStatus::Cancelled);
                Ok(still.then_some((message, attempts)))
            }).await?;
            let taken = fake.rows().iter().filter(|row| row.message_id == one.message_id).count();
            let expected = match cancelled {
                Ok(_) => ("CANCELLED", 0, 0),
                Err(error) => {
                    assert_eq!(reason(&error).0, "NOT_CANCELLABLE");
                    ("SENT", 1, 1)
                }
            };
            assert_eq!((word(message.status()), attempts.len(), taken), expected);
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_paused_sender_holds_and_a_resumed_one_sends(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(Default::default()).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.devino_sender("other", &fake).await?;
        gateway.set_state("acme", SenderState::Paused).await?;
        let held = gateway.send(text("acme", &number(1), "held")).await?;
        let other = gateway.send(text("other", &number(1), "not held")).await?;
        let mut stream = gateway.stream(after(&held.cursor)).await?;
        stream.until(&other.message_id, MessageStatus::Read).await?;
        let (message, attempts) = gateway.message(&held.message_id).await?;
        assert_eq!((message.status(), attempts.len(), fake.ledger().seen), (MessageStatus::Accepted, 0, 1));
        // Also over a restart.
        let database = gateway.stop().await?;
        let mut gateway = TestGateway::start_on(database, Default::default()).await?;
        let after_it = gateway.send(text("sandbox", &number(1), "x")).await?;
        gateway.stream(after(&after_it.cursor)).await?.until(&after_it.message_id, MessageStatus::Read).await?;
        assert_eq!(fake.ledger().seen, 1);
        gateway.set_state("acme", SenderState::Active).await?;
        let mut stream = gateway.stream(after(&held.cursor)).await?;
        let statuses = stream.until(&held.message_id, MessageStatus::Sent).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT"]);
        assert_eq!(fake.ledger().distinct, 2);
        gateway.stop().await?;
        Ok(())
    }

    async fn messages_of_a_deleted_sender_fail_and_are_not_handed_over(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.set_state("acme", SenderState::Paused).await?;
        let options = proto::SendOptions { send_time: Some(timestamp(now_ms() + 1_000)), ..Default::default() };
        let sent = gateway.send_all([
            text("acme", &number(1), "a"),
            text("acme", &number(1), "b"),
            text("acme", &number(2), "c"),
            with(text("acme", &number(3), "scheduled"), options),
        ]).await?;
        gateway.admin.delete_sender(proto::DeleteSenderRequest { sender: "acme".into() }).await?;
        let error = gateway.messaging.send_message(text("acme", &number(1), "too late")).await.unwrap_err();
        assert_eq!(reason(&error).0, "SENDER_NOT_FOUND");
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        let seen = Seen::until_all(&mut stream, 4, MessageStatus::Failed).await?;
        for one in &sent {
            let statuses = &seen.by_message[&one.message_id];
            assert_eq!(statuses.len(), 2);
            assert_eq!(statuses[1].error.as_ref().unwrap().reason(), DeliveryErrorReason::SenderDeleted);
        }
        assert_eq!(fake.ledger().seen, 0);
        gateway.stop().await?;
        Ok(())
    }
}
