//! How messages go out, as peers were broken by it.

use recado::fake::{Action, Fault, Script};
use recado::proto::{self, AttemptOutcome, InDoubtPolicy, MessageStatus};
use serde_json::json;

use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{Seen, execute, fake, fields, impatient, keyed, number, play, post, silent, with};

fn at_least_once() -> proto::SendOptions {
    proto::SendOptions { in_doubt_policy: InDoubtPolicy::AtLeastOnce as i32, ..Default::default() }
}

on_both_databases! {
    async fn o2_a_provider_that_answers_after_the_limit_at_full_load_gets_nothing_twice(engine) {
        let settings = Setup { settings: impatient() };
        let mut gateway = TestGateway::start_with(engine, settings).await?;
        // The limit of a call is 1 s; statuses follow the answer that nobody waits for.
        let slow = Fault::always(Action::Slow { ms: 2_500 });
        let fake = fake(Script { faults: vec![slow], ..Script::default() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        let sent = gateway.send_all((0..400).map(|n| text("acme", &number(n), "x"))).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        let in_doubt = Seen::until_all(&mut stream, 400, MessageStatus::InDoubt).await?;
        let is_read = |all: &[proto::MessageStatusChanged]| all.iter().any(|one| one.status() == MessageStatus::Read);
        let read = in_doubt.by_message.values().filter(|all| is_read(all)).count();
        Seen::until_all(&mut stream, 400 - read, MessageStatus::Read).await?;
        let ledger = fake.ledger();
        assert_eq!((ledger.seen, ledger.taken, ledger.distinct, ledger.twice.len()), (400, 400, 400, 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn o6_a_key_is_honoured_as_long_as_its_message_is_kept(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let request = with(text("acme", &number(1), "x"), keyed("order-77"));
        let first = gateway.send(request.clone()).await?;
        gateway.stream(after(&first.cursor)).await?.until(&first.message_id, MessageStatus::Sent).await?;
        let rows = gateway.rows().await?;
        let days = 29_i64 * 86_400_000;
        let older = ["accept_at_ms", "expire_at_ms", "status_at_ms"].map(|name| format!("{name} = {name} - {days}"));
        execute(&rows, &format!("UPDATE messages SET {}", older.join(", "))).await?;
        rows.close().await?;
        let mut gateway = TestGateway::start_on(gateway.stop().await?, Setup::default()).await?;
        let again = gateway.send(request).await?;
        assert_eq!((again.message_id, again.deduplicated), (first.message_id, true));
        assert_eq!(fake.ledger().seen, 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn o8_a_second_attempt_is_not_touched_by_what_comes_late_of_the_first(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let devino = Provider::start().await?;
        gateway.devino_sender_at("acme", &devino.base_url()).await?;
        let sent = gateway.send(with(text("acme", &number(1), "x"), at_least_once())).await?;
        // Devino took it as 7001 and its answer was lost; then it takes it again, as 7002.
        drop(devino.next().await);
        devino.next().await.answer(Reply::new(200, r#"{"result":[{"code":"OK","messageId":"7002"}]}"#));
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "IN_DOUBT", "SENT"]);

        let webhook = gateway.devino_webhook("acme");
        let status = |id: u32, word: &str| {
            json!({ "messageId": id, "status": word, "errorCode": 2305, "options": sent.message_id }).to_string()
        };
        assert_eq!(post(&webhook, status(7001, "UNDELIVERED")).await?, 200);
        let late = stream.next_status(&sent.message_id).await?;
        assert_eq!((late.status(), late.current_status(), late.attempt), (MessageStatus::Failed, MessageStatus::Sent, 1));
        assert!(late.late);
        assert_eq!(post(&webhook, status(7002, "DELIVERED")).await?, 200);
        let delivered = stream.next_status(&sent.message_id).await?;
        assert_eq!((delivered.current_status(), delivered.attempt), (MessageStatus::Delivered, 2));
        let (message, attempts) = gateway.message(&sent.message_id).await?;
        assert_eq!((message.status(), message.provider_message_id.as_str()), (MessageStatus::Delivered, "7002"));
        let outcomes: Vec<_> = attempts.iter().map(|attempt| (attempt.outcome(), &*attempt.provider_message_id)).collect();
        assert_eq!(outcomes, [(AttemptOutcome::InDoubt, ""), (AttemptOutcome::Taken, "7002")]);
        gateway.stop().await?;
        Ok(())
    }

    async fn o13_texts_are_counted_as_the_provider_counts_and_never_cut(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let flag = "🇧🇷".to_owned(); // two scalars, four UTF-16 units, eight bytes
        let longest = ["a".repeat(1_000), "é".repeat(1_000), flag.repeat(500)];
        for (n, body) in longest.iter().enumerate() {
            assert_eq!(body.chars().count(), 1_000);
            let sent = gateway.send(text("acme", &number(n), body)).await?;
            gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
            assert_eq!(&fake.rows()[n].text, body);
            let refused = gateway.send(text("acme", &number(n), &format!("{body}a"))).await.unwrap_err();
            let refused = refused.downcast::<tonic::Status>()?;
            assert_eq!((refused.code(), fields(&refused)), (tonic::Code::InvalidArgument, vec!["text.body".to_owned()]));
            let words = format!("{:?}", crate::tools::details(&refused));
            assert!(words.contains("1000") || words.contains("1,000"), "{refused:?}");
        }
        assert_eq!(fake.ledger().seen, longest.len() as u64);
        gateway.stop().await?;
        Ok(())
    }

    async fn o17_each_message_of_a_request_costs_its_own_slot(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        // Devino takes 100 messages in a request.
        gateway.devino_sender("acme", &fake).await?;
        let limits = proto::SenderLimits { messages_per_second: Some(50.0), ..Default::default() };
        let sender = proto::Sender { sender: "acme".into(), limits: Some(limits), ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["limits".into()] });
        gateway.admin.update_sender(proto::UpdateSenderRequest { sender: Some(sender), update_mask }).await?;
        let sent = gateway.send_all((0..120).map(|n| text("acme", &number(n), "x"))).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        Seen::until_all(&mut stream, 120, MessageStatus::Sent).await?;
        let mut at: Vec<i64> = fake.rows().iter().map(|row| row.at_ms).collect();
        at.sort();
        let most = (0..at.len()).map(|first| at[first..].iter().take_while(|at_ms| **at_ms < at[first] + 1_000).count()).max();
        assert!(most <= Some(50), "{most:?} messages in one second");
        gateway.stop().await?;
        Ok(())
    }

    async fn o14_what_must_not_be_retried_is_asked_once(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let refuse = Action::Refuse { key: "invalid".into(), reference: "messages[i].to".into() };
        play(&fake, Script { faults: vec![Fault::always(refuse)], ..silent() });
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Failed).await?;
        let (_, attempts) = gateway.message(&sent.message_id).await?;
        assert_eq!((attempts.len(), fake.ledger().requests), (1, 1));
        gateway.stop().await?;
        Ok(())
    }
}
