//! What becomes of a message, as Digivox reports it.

use recado::fake::{Action, Fault, Script, Webhooks};
use recado::proto::{DeliveryErrorReason, MessageStatus};
use serde_json::json;

use super::{PERSON, create, sender, webhook, with_fake};
use crate::gateway::{TestGateway, after, text, words};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{Seen, count, fake, number, post, until};

on_both_databases! {
    async fn s4_a_status_that_comes_before_the_answer_finds_its_message(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let digivox = Provider::start().await?;
        create(&mut gateway, sender("acme", &digivox.base_url())).await?;
        let sent = gateway.send(text("acme", PERSON, "x")).await?;
        let call = digivox.next().await;
        let rows = gateway.rows().await?;
        let status = json!({ "status": { "id": "wamid.A", "status": "delivered", "biz_opaque_callback_data": sent.message_id } });
        assert_eq!(post(&webhook(&gateway, "acme"), status.to_string()).await?, 200);
        until("it is withheld", async || Ok((count(&rows, "parked_reports").await? == 1).then_some(()))).await?;
        call.answer(Reply::new(200, r#"{"messages":[{"id":"wamid.A"}]}"#));
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Delivered).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "DELIVERED"]);
        gateway.stop().await?;
        Ok(())
    }

    async fn s1_duplicates_and_any_order_end_alike(engine) {
        const MESSAGES: usize = 40;
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(Script::default()).await?;
        let webhooks = Webhooks { duplicate: 0.5, reorder: true, ..Default::default() };
        with_fake(&mut gateway, &fake, Script { webhooks, ..Script::default() }).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let sent = gateway.send_all((0..MESSAGES).map(|n| text("acme", &number(n), "x"))).await?;
        Seen::until_all(&mut stream, MESSAGES, MessageStatus::Read).await?;
        until("all was posted", async || Ok((fake.posted().pending == 0).then_some(()))).await?;
        for one in &sent {
            assert_eq!(gateway.message(&one.message_id).await?.0.status(), MessageStatus::Read);
        }
        assert_eq!((fake.ledger().distinct, fake.ledger().twice.len()), (MESSAGES as u64, 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_late_failure_and_an_unknown_word_are_kept_with_what_was_said(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(Script::default()).await?;
        let late = Fault::always(Action::LateFailure { error_code: 131_026 }).to(number(1));
        with_fake(&mut gateway, &fake, Script { faults: vec![late], ..Script::default() }).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "FAILED"]);
        let error = statuses[2].error.clone().unwrap();
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::RecipientUnreachable, "131026"));
        let id = &fake.rows()[0].provider_message_ids[0];
        let unknown = json!({ "event": "status", "status": { "id": id, "status": "teleported" } }).to_string();
        assert_eq!(post(&webhook(&gateway, "acme"), unknown).await?, 200);
        let event = stream.next_status(&sent.message_id).await?;
        assert_eq!((event.status(), event.current_status()), (MessageStatus::Unspecified, MessageStatus::Failed));
        assert_eq!(event.provider_status, "teleported");
        gateway.stop().await?;
        Ok(())
    }

    async fn metas_envelope_settles_a_message_as_well(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let digivox = Provider::start().await?;
        create(&mut gateway, sender("acme", &digivox.base_url())).await?;
        let sent = gateway.send(text("acme", PERSON, "x")).await?;
        digivox.next().await.answer(Reply::new(200, r#"{"messages":[{"id":"wamid.A"}]}"#));
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        let envelope = json!({ "object": "whatsapp_business_account", "entry": [{ "changes": [{
            "field": "messages", "value": {
                "metadata": { "display_phone_number": "558330000001", "phone_number_id": "2" },
                "statuses": [
                    { "id": "wamid.A", "status": "delivered", "timestamp": "1767225600", "recipient_id": PERSON },
                    { "id": "wamid.A", "status": "read", "timestamp": "1767225601", "recipient_id": PERSON },
                ],
            },
        }] }] });
        assert_eq!(post(&webhook(&gateway, "acme"), envelope.to_string()).await?, 200);
        let statuses = stream.until(&sent.message_id, MessageStatus::Read).await?;
        assert_eq!(words(&statuses), ["DELIVERED", "READ"]);
        gateway.stop().await?;
        Ok(())
    }
}
