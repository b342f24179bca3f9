//! What webhooks did not tell is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use recado::fake::{Action, Fault, Script, Step};
use recado::proto::{AttemptOutcome, MessageStatus};
use serde_json::json;

use super::{template, with_token};
use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{count, fake, impatient, number, play, post, silent, until};

/// A gateway that asks again and again.
fn curious() -> Setup {
    let plan: Vec<String> = (1..=200).map(|n| format!("{}ms", n * 300)).collect();
    Setup { settings: impatient() }.with("engine.look_up_after", &plan.join(", "))
}

/// Every message stands there by now.
fn all(word: &str) -> Script {
    Script { statuses: vec![Step { status: word.into(), after_ms: 0, error_code: 0 }], ..Script::default() }
}

/// A status of a message, as a webhook tells it.
fn told(id: &str, status: &str) -> String {
    let id: u64 = id.parse().unwrap();
    let last = json!({ "id": id, "status": status });
    json!({
        "event": "message_updated", "id": id, "message_type": "outgoing", "conversation": { "messages": [last] },
    })
    .to_string()
}

on_both_databases! {
    async fn statuses_that_no_webhook_tells_are_asked_for_until_read(engine) {
        let mut gateway = TestGateway::start_with(engine, curious()).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans_sender("acme", &fake.base_url("cloudhumans")).await?;
        let sent = gateway.accepted_template(template(&number(1), &[])).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        play(&fake, all("DELIVERED"));
        assert_eq!(stream.next_status(&sent.message_id).await?.status(), MessageStatus::Delivered);
        play(&fake, all("READ"));
        assert_eq!(stream.next_status(&sent.message_id).await?.status(), MessageStatus::Read);
        let rows = gateway.rows().await?;
        until("nothing is left to ask", async || {
            Ok((count(&rows, "messages WHERE look_up_at_ms IS NOT NULL").await? == 0).then_some(()))
        }).await?;
        assert_eq!(fake.ledger().taken, 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn o1_a_lost_answer_is_found_again_and_its_id_is_kept_for_webhooks(engine) {
        let mut gateway = TestGateway::start_with(engine, curious()).await?;
        let fake = fake(silent()).await?;
        let lost = Script { faults: vec![Fault::always(Action::DropAfterAccept)], ..silent() };
        gateway.cloudhumans_sender("acme", &fake.base_url("cloudhumans")).await?;
        play(&fake, lost);
        let sent = gateway.send(text("acme", &number(1), "Seu pedido saiu.")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "IN_DOUBT", "SENT"]);
        let id = fake.rows()[0].provider_message_ids[0].clone();
        assert_eq!(statuses[2].provider_message_id, id);
        // From here on the provider's id alone finds the message.
        assert_eq!(post(&with_token(&gateway.cloudhumans_webhook("acme")), told(&id, "delivered")).await?, 200);
        assert_eq!(stream.next_status(&sent.message_id).await?.status(), MessageStatus::Delivered);
        let (message, attempts) = gateway.message(&sent.message_id).await?;
        assert_eq!((message.provider_message_id, attempts.len()), (id.clone(), 1));
        assert_eq!((attempts[0].outcome(), &attempts[0].provider_message_id), (AttemptOutcome::InDoubt, &id));
        assert_eq!((fake.ledger().requests, fake.ledger().taken), (1, 1));
        gateway.stop().await?;
        Ok(())
    }

    async fn s7_a_status_of_an_unknown_id_waits_until_the_id_is_learnt(engine) {
        let mut gateway = TestGateway::start_with(engine, curious()).await?;
        let cloud = Arc::new(Provider::start().await?);
        gateway.cloudhumans_sender("acme", &cloud.base_url()).await?;
        let known = Arc::new(AtomicUsize::new(0));
        let answering = cloud.answer_all({
            let known = known.clone();
            move |call| {
                let path = call.path.split('?').next().unwrap_or_default().to_owned();
                let message = json!({
                    "id": 640021, "message_type": 1, "content": "Olá Marina", "status": "sent",
                    "created_at": std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(),
                });
                let items = match (call.method.as_str(), path.rsplit('/').next().unwrap_or_default()) {
                    // No body that tells anything: a success all the same.
                    ("POST", _) => return Some(Reply::new(200, "<html>")),
                    (_, "search") => json!([{ "id": 9055, "phone_number": format!("+{}", number(1)) }]),
                    (_, "conversations") => json!([{ "id": 1873, "inbox_id": 58, "status": "open" }]),
                    _ if known.load(Ordering::SeqCst) == 0 => json!([]),
                    _ => json!([message]),
                };
                Some(Reply::new(200, json!({ "payload": items }).to_string()))
            }
        });
        let sent = gateway.accepted_template(template(&number(1), &[("nome", "Marina")])).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(statuses[1].provider_message_id, "");
        assert_eq!(post(&with_token(&gateway.cloudhumans_webhook("acme")), told("640021", "delivered")).await?, 200);
        let rows = gateway.rows().await?;
        until("it is parked", async || Ok((count(&rows, "parked_reports").await? == 1).then_some(()))).await?;
        known.store(1, Ordering::SeqCst);
        let statuses = stream.until(&sent.message_id, MessageStatus::Delivered).await?;
        assert_eq!(statuses.last().unwrap().provider_message_id, "640021");
        assert_eq!(count(&rows, "parked_reports").await?, 0);
        answering.abort();
        gateway.stop().await?;
        Ok(())
    }

    async fn t13_what_is_still_to_be_asked_survives_a_restart(engine) {
        let mut gateway = TestGateway::start_with(engine, curious()).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans_sender("acme", &fake.base_url("cloudhumans")).await?;
        let sent = gateway.accepted_template(template(&number(1), &[])).await?;
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        let database = gateway.stop().await?;
        play(&fake, all("READ"));
        let mut gateway = TestGateway::start_on(database, curious()).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Read).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "READ"]);
        gateway.stop().await?;
        Ok(())
    }

    async fn other_providers_are_not_asked(engine) {
        let mut gateway = TestGateway::start_with(engine, curious()).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("dev", &fake).await?;
        let sent = gateway.send(text("dev", &number(1), "x")).await?;
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(count(&gateway.rows().await?, "messages WHERE look_up_at_ms IS NOT NULL").await?, 0);
        gateway.stop().await?;
        Ok(())
    }
}
