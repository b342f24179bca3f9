//! Order: strict within a conversation, none between them but priority.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use recado::fake::{Action, Fault, Script};
use recado::proto;
use recado::proto::{MessageStatus, Priority, SenderState};

use crate::gateway::{Setup, TestGateway, after, text};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{Seen, fake, impatient, number, play, silent, until, with};

fn lane(priority: Priority) -> proto::SendOptions {
    proto::SendOptions { priority: priority as i32, ..Default::default() }
}

on_both_databases! {
    async fn an_urgent_message_overtakes_a_campaign_but_not_its_own_conversation(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.set_state("acme", SenderState::Paused).await?;
        let to = |n: usize, body: &str, priority| with(text("acme", &number(n), body), lane(priority));
        let sent = gateway.send_all([
            to(1, "bulk 1", Priority::Bulk),
            to(1, "bulk 2", Priority::Bulk),
            to(2, "bulk 3", Priority::Bulk),
            to(3, "normal", Priority::Normal),
            to(4, "urgent", Priority::Urgent),
            to(1, "urgent behind bulk", Priority::Urgent),
        ]).await?;
        gateway.set_state("acme", SenderState::Active).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        Seen::until_all(&mut stream, 6, MessageStatus::Sent).await?;
        let texts: Vec<String> = fake.rows().into_iter().map(|row| row.text).collect();
        assert_eq!(texts, ["urgent", "normal", "bulk 1", "bulk 3", "bulk 2", "urgent behind bulk"]);
        gateway.stop().await?;
        Ok(())
    }

    async fn o10_a_retry_holds_back_its_own_conversation_only(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        // Of a request that holds several, only that number's message is throttled.
        let throttle = Action::Refuse { key: "too.many.requests".into(), reference: String::new() };
        let throttled = Fault::always(throttle).to(number(1));
        let fake = fake(Script { faults: vec![throttled], ..silent() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        let first = gateway.send(text("acme", &number(1), "0")).await?;
        until("it was throttled twice", async || Ok((fake.ledger().refused >= 2).then_some(()))).await?;
        let mut mine = vec![first.clone()];
        for n in 1..5 {
            mine.push(gateway.send(text("acme", &number(1), &n.to_string())).await?);
        }
        let mut stream = gateway.stream(after(&first.cursor)).await?;
        for n in 2..6 {
            let other = gateway.send(text("acme", &number(n), "other")).await?;
            stream.until(&other.message_id, MessageStatus::Sent).await?;
        }
        assert_eq!(fake.ledger().taken, 4, "the others went by");
        play(&fake, silent());
        stream.until(&mine[4].message_id, MessageStatus::Sent).await?;
        let rows = fake.rows();
        let texts: Vec<&str> = rows.iter().filter(|row| row.to == number(1)).map(|row| row.text.as_str()).collect();
        assert_eq!(texts, ["0", "1", "2", "3", "4"]);
        let (_, attempts) = gateway.message(&first.message_id).await?;
        assert!(attempts.len() >= 3, "throttled at least twice, then taken");
        for one in &mine[1..] {
            let (_, attempts) = gateway.message(&one.message_id).await?;
            assert_eq!(attempts.len(), 1, "a later one does not try before the first has gone");
        }
        assert_eq!(fake.ledger().twice, Vec::<String>::new());
        gateway.stop().await?;
        Ok(())
    }

    async fn o10_conversations_keep_their_order_under_concurrency_and_retry(engine) {
        const EACH: usize = 8;
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let throttle = Action::Refuse { key: "too.many.requests".into(), reference: String::new() };
        let faults = vec![Fault::always(throttle).with_probability(0.3)];
        let fake = fake(Script { faults, latency_ms: 3, ..silent() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let senders = (0..20).map(|n| {
            let mut messaging = gateway.messaging.clone();
            tokio::spawn(async move {
                for body in 0..EACH {
                    messaging.send_message(text("acme", &number(n), &body.to_string())).await?;
                }
                anyhow::Ok(())
            })
        });
        for sent in futures::future::try_join_all(senders).await? {
            sent?;
        }
        Seen::until_all(&mut stream, 20 * EACH, MessageStatus::Sent).await?;
        let mut by_number: HashMap<String, Vec<String>> = HashMap::new();
        for row in fake.rows() {
            by_number.entry(row.to).or_default().push(row.text);
        }
        let in_order: Vec<String> = (0..EACH).map(|n| n.to_string()).collect();
        assert_eq!(by_number.len(), 20);
        for (number, texts) in by_number {
            assert_eq!(texts, in_order, "{number}");
        }
        let ledger = fake.ledger();
        assert_eq!((ledger.taken, ledger.twice.len()), (20 * EACH as u64, 0));
        assert!(ledger.seen > ledger.taken, "some were throttled: {ledger:?}");
        gateway.stop().await?;
        Ok(())
    }

    async fn a_slow_provider_has_many_calls_open_and_holds_up_no_other(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let slow = Arc::new(Provider::start().await?);
        let quick = fake(silent()).await?;
        gateway.devino_sender_at("slow", &slow.base_url()).await?;
        gateway.devino_sender("quick", &quick).await?;
        // Each send waits until the call before it is open, so that no two share a request; none is answered.
        for n in 0..8 {
            gateway.send(text("slow", &number(n), "x")).await?;
            until_open(&slow, n + 1).await?;
        }
        let other = gateway.send(text("quick", &number(1), "x")).await?;
        gateway.stream(after(&other.cursor)).await?.until(&other.message_id, MessageStatus::Sent).await?;
        let mut stream = gateway.stream(proto::StreamEventsRequest {
            start: Some(proto::stream_events_request::Start::FromBeginning(true)),
            ..Default::default()
        }).await?;
        let answering = slow.answer_all(|call| {
            let id = call.json()["messages"][0]["to"].as_str().unwrap_or_default().to_owned();
            Some(Reply::new(200, format!(r#"{{"result":[{{"code":"OK","messageId":"{id}"}}]}}"#)))
        });
        Seen::until_all(&mut stream, 9, MessageStatus::Sent).await?;
        assert_eq!(slow.count(), 8, "one request each");
        answering.abort();
        gateway.stop().await?;
        Ok(())
    }
}

async fn until_open(provider: &Provider, count: usize) -> Result<()> {
    until("another call is open", async || Ok((provider.count() >= count).then_some(()))).await
}
