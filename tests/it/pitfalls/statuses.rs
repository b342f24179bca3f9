//! What providers report, as peers were broken by it.

use anyhow::Result;
use recado::proto::event::Payload;
use recado::proto::{self, DeliveryErrorReason, MessageStatus};
use serde_json::{Value, json};

use crate::gateway::{EventStream, Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{execute, impatient, number, post};

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

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

/// Posts a status, and reads the event that it makes.
async fn reported(
    gateway: &TestGateway,
    stream: &mut EventStream,
    message_id: &str,
    status: Value,
) -> Result<proto::MessageStatusChanged> {
    assert_eq!(post(&gateway.devino_webhook("acme"), status.to_string()).await?, 200);
    stream.next_status(message_id).await
}

/// All that the log says of a message.
async fn told(gateway: &mut TestGateway, id: &str) -> Result<Vec<proto::MessageStatusChanged>> {
    let status = |event: proto::Event| match event.payload {
        Some(Payload::StatusChanged(status)) if status.message_id == id => Some(status),
        _ => None,
    };
    Ok(gateway.all_events().await?.into_iter().filter_map(status).collect())
}

on_both_databases! {
    async fn s2_a_message_that_failed_stays_failed_whatever_weaker_word_follows(engine) {
        let (gateway, id, mut stream) = sent(engine).await?;
        let failed = json!({ "messageId": 7001, "status": "UNDELIVERED", "errorCode": 2305 });
        let failed = reported(&gateway, &mut stream, &id, failed).await?;
        assert_eq!((failed.status(), failed.current_status()), (MessageStatus::Failed, MessageStatus::Failed));
        let late = reported(&gateway, &mut stream, &id, json!({ "messageId": 7001, "status": "SENT" })).await?;
        assert_eq!((late.status(), late.current_status()), (MessageStatus::Sent, MessageStatus::Failed));
        assert!(late.duplicate || late.late || late.contradicts_final, "it is flagged");
        let (message, attempts) = gateway.message(&id).await?;
        assert_eq!((message.status(), attempts.len()), (MessageStatus::Failed, 1));
        assert_eq!(message.error.map(|error| error.reason()), Some(DeliveryErrorReason::NotOnWhatsapp));
        gateway.stop().await?;
        Ok(())
    }

    async fn s3_a_failure_beside_a_delivery_is_flagged_and_is_the_reports_not_the_messages(engine) {
        let (gateway, id, mut stream) = sent(engine).await?;
        let delivered = json!({ "messageId": 7001, "status": "DELIVERED" });
        reported(&gateway, &mut stream, &id, delivered).await?;
        let failed = json!({ "messageId": 7001, "status": "UNDELIVERED", "errorCode": 2305 });
        let failed = reported(&gateway, &mut stream, &id, failed).await?;
        assert!(failed.contradicts_final);
        assert_eq!(failed.current_status(), MessageStatus::Delivered);
        assert_eq!(failed.error.map(|error| error.reason()), Some(DeliveryErrorReason::NotOnWhatsapp));
        let (message, _) = gateway.message(&id).await?;
        assert_eq!((message.status(), message.error), (MessageStatus::Delivered, None));
        gateway.stop().await?;
        Ok(())
    }

    async fn s5_read_without_delivered_is_taken_and_nothing_is_made_up(engine) {
        let (mut gateway, id, mut stream) = sent(engine).await?;
        let read = reported(&gateway, &mut stream, &id, json!({ "messageId": 7001, "status": "READ" })).await?;
        assert_eq!((read.status(), read.late, read.duplicate), (MessageStatus::Read, false, false));
        assert_eq!(words(&told(&mut gateway, &id).await?), ["ACCEPTED", "SENT", "READ"]);
        gateway.stop().await?;
        Ok(())
    }

    async fn s9_a_status_of_day_29_still_finds_its_message(engine) {
        let (gateway, id, _) = sent(engine).await?;
        let rows = gateway.rows().await?;
        for (table, columns) in [
            ("messages", &["accept_at_ms", "expire_at_ms", "status_at_ms"][..]),
            ("attempts", &["start_at_ms", "end_at_ms"]),
            ("events", &["receive_at_ms", "record_at_ms"]),
        ] {
            let older: Vec<String> = columns.iter().map(|name| format!("{name} = {name} - {}", 29 * DAY)).collect();
            execute(&rows, &format!("UPDATE {table} SET {}", older.join(", "))).await?;
        }
        rows.close().await?;
        // A restart, so that whatever looks after old rows has had its turn.
        let mut gateway = TestGateway::start_on(gateway.stop().await?, Setup::default()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let read = reported(&gateway, &mut stream, &id, json!({ "messageId": 7001, "status": "READ" })).await?;
        assert_eq!((read.status(), read.current_status()), (MessageStatus::Read, MessageStatus::Read));
        gateway.stop().await?;
        Ok(())
    }

    async fn s11_members_that_are_missing_cost_nothing_but_themselves(engine) {
        let (gateway, id, mut stream) = sent(engine).await?;
        let whole = json!({
            "messageId": 7001, "status": "DELIVERED", "ts": 1_767_225_600_123_i64, "errorCode": 0, "options": id,
            "phone": number(1), "ip": "", "browser": "", "os": "", "userAgent": "",
        });
        let members: Vec<String> = whole.as_object().unwrap().keys().cloned().collect();
        for (n, member) in members.iter().filter(|member| *member != "status").enumerate() {
            for (turn, absent) in [None, Some(Value::Null)].into_iter().enumerate() {
                if (member.as_str(), turn) == ("ts", 1) {
                    continue; // without a time, the same word again is a copy
                }
                let mut status = whole.clone();
                status["ts"] = json!(1_767_225_600_000_i64 + (2 * n + turn) as i64);
                let status_of = status.as_object_mut().unwrap();
                match absent {
                    Some(null) => drop(status_of.insert(member.clone(), null)),
                    None => drop(status_of.remove(member)),
                }
                let event = reported(&gateway, &mut stream, &id, status).await?;
                assert_eq!(event.current_status(), MessageStatus::Delivered, "without {member}");
            }
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn s12_a_doubt_without_any_word_ends_as_failed_with_an_event(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let devino = Provider::start().await?;
        gateway.devino_sender_at("acme", &devino.base_url()).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        drop(devino.next().await);
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::InDoubt).await?;
        // Its validity, and the hour that doubt is given at the least, pass.
        let rows = gateway.rows().await?;
        let older = ["expire_at_ms", "status_at_ms", "due_at_ms"].map(|name| format!("{name} = {name} - {}", 2 * DAY));
        execute(&rows, &format!("UPDATE messages SET {}", older.join(", "))).await?;
        let failed = stream.next_status(&sent.message_id).await?;
        assert_eq!(failed.status(), MessageStatus::Failed);
        assert_eq!(failed.error.map(|error| error.reason()), Some(DeliveryErrorReason::OutcomeUnknown));
        let (_, attempts) = gateway.message(&sent.message_id).await?;
        assert_eq!((attempts.len(), devino.count()), (1, 1), "it was handed over once");
        gateway.stop().await?;
        Ok(())
    }
}
