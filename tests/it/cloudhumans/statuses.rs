//! What becomes of a message, as webhooks tell it: by the provider's id alone.

use recado::fake::{Action, Fault, Script, Webhooks};
use recado::proto;
use recado::proto::{DeliveryErrorReason, MessageStatus};
use serde_json::json;

use super::{template, with_token};
use crate::gateway::{TestGateway, after, text, words};
use crate::on_both_databases;
use crate::tools::{Seen, count, fake, number, post, silent, until};

on_both_databases! {
    async fn s4_statuses_that_come_before_the_answer_wait_for_it(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        let webhooks = Webhooks { before_answer: true, ..Webhooks::default() };
        gateway.cloudhumans(&fake, Script { webhooks, ..Script::default() }).await?;
        let sent = gateway.accepted_template(template(&number(1), &[])).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Read).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        assert_eq!(count(&gateway.rows().await?, "parked_reports").await?, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn s1_s6_repeats_are_told_once_and_any_order_ends_at_read(engine) {
        const MESSAGES: usize = 30;
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        let webhooks = Webhooks { duplicate: 1.0, reorder: true, ..Webhooks::default() };
        gateway.cloudhumans(&fake, Script { webhooks, ..Script::default() }).await?;
        let sent = gateway.send_all((0..MESSAGES).map(|n| text("acme", &number(n), "x"))).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        Seen::until_all(&mut stream, MESSAGES, MessageStatus::Read).await?;
        until("all reports came", async || Ok((fake.posted().pending == 0).then_some(()))).await?;
        let rows = gateway.rows().await?;
        until("they were taken in", async || Ok((count(&rows, "journal WHERE pending IS NOT NULL").await? == 0).then_some(()))).await?;
        for one in &sent {
            let (message, _) = gateway.message(&one.message_id).await?;
            assert_eq!(message.status(), MessageStatus::Read);
        }
        let statuses = gateway.all_events().await?.into_iter().filter(|event| {
            matches!(event.payload, Some(proto::event::Payload::StatusChanged(_)))
        });
        assert_eq!(statuses.count(), 4 * MESSAGES, "ACCEPTED, SENT, DELIVERED and READ of each, once");
        gateway.stop().await?;
        Ok(())
    }

    async fn a_late_failure_has_metas_code(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        let late = Fault::always(Action::LateFailure { error_code: 131_026 });
        gateway.cloudhumans(&fake, Script { faults: vec![late], ..Script::default() }).await?;
        let sent = gateway.accepted_template(template(&number(1), &[])).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "FAILED"]);
        let error = statuses[2].error.clone().unwrap();
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::RecipientUnreachable, "131026"));
        gateway.stop().await?;
        Ok(())
    }

    async fn s7_s10_what_agents_sent_is_parked_and_unknown_words_change_nothing(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans(&fake, silent()).await?;
        let sent = gateway.accepted_template(template(&number(1), &[])).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        let id: u64 = fake.rows()[0].provider_message_ids[0].parse()?;
        let webhook = with_token(&gateway.cloudhumans_webhook("acme"));
        let updated = |id: u64, status: &str| json!({
            "event": "message_updated", "id": id, "message_type": "outgoing", "inbox": { "id": 58 },
            "conversation": { "messages": [{ "id": id, "status": status }] },
        });
        for (id, word) in [(7, "read"), (id, "teleported"), (id, "delivered")] {
            assert_eq!(post(&webhook, updated(id, word).to_string()).await?, 200);
        }
        let unknown = stream.next_status(&sent.message_id).await?;
        assert_eq!((unknown.status(), unknown.current_status()), (MessageStatus::Unspecified, MessageStatus::Sent));
        assert_eq!(unknown.provider_status, "teleported");
        assert_eq!(stream.next_status(&sent.message_id).await?.status(), MessageStatus::Delivered);
        assert_eq!(count(&gateway.rows().await?, "parked_reports").await?, 1);
        gateway.stop().await?;
        Ok(())
    }
}
