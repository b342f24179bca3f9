//! What a provider said of a person and would say again is not asked for a second time.

use anyhow::Result;
use recado::fake::{Action, FakeProvider, Fault, Script, Step};
use recado::proto;
use recado::proto::{DeliveryErrorReason, MessageStatus};
use serde_json::json;

use crate::gateway::{EventStream, Setup, TestGateway, after, text};
use crate::meta;
use crate::on_both_databases;
use crate::opt_outs::{recategorised, template};
use crate::tools::{count, fake, number, play, post, silent, until, with};

/// Devino's code for a number that is not on WhatsApp.
const NOT_ON_WHATSAPP: u32 = 2305;

/// The next status of every message is that its number is not on WhatsApp.
fn unknown() -> Script {
    let late = Fault::always(Action::LateFailure { error_code: NOT_ON_WHATSAPP });
    Script { faults: vec![late], ..Script::default() }
}

fn delivered() -> Script {
    Script { statuses: vec![Step { status: "DELIVERED".into(), after_ms: 0, error_code: 0 }], ..Script::default() }
}

fn anyway() -> proto::SendOptions {
    proto::SendOptions { ignore_known_failures: true, ..Default::default() }
}

async fn start(engine: crate::gateway::Engine, setup: Setup) -> Result<(TestGateway, FakeProvider)> {
    let mut gateway = TestGateway::start_with(engine, setup).await?;
    let fake = fake(unknown()).await?;
    gateway.devino_sender("acme", &fake).await?;
    Ok((gateway, fake))
}

/// Sends, and waits until it has failed; answers the error, and the stream behind it.
async fn failed(
    gateway: &mut TestGateway,
    request: proto::SendMessageRequest,
) -> Result<(String, proto::DeliveryError, EventStream)> {
    let sent = gateway.send(request).await?;
    let mut stream = gateway.stream(after(&sent.cursor)).await?;
    let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
    let error = statuses.last().and_then(|status| status.error.clone()).unwrap();
    Ok((sent.message_id, error, stream))
}

on_both_databases! {
    async fn o14_who_is_not_on_whatsapp_is_not_tried_again_until_they_write(engine) {
        let (mut gateway, fake) = start(engine, Setup::default()).await?;
        // Two ways to write one number of Brazil's.
        let (first, error, _) = failed(&mut gateway, text("acme", "+5531987654321", "x")).await?;
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::NotOnWhatsapp, "2305"));
        let (second, error, _) = failed(&mut gateway, text("acme", "553187654321", "x")).await?;
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::NotOnWhatsapp, ""));
        for part in ["known since", "2305", &first] {
            assert!(error.provider_message.contains(part), "{part} is not in {error:?}");
        }
        let (message, attempts) = gateway.message(&second).await?;
        assert_eq!((message.attempt_count, attempts.len()), (0, 0));
        assert_eq!(fake.ledger().requests, 1, "no provider was called");
        // What is known keeps its age and its message: it is not learnt anew from what was spared.
        let (_, third, _) = failed(&mut gateway, text("acme", "553187654321", "x")).await?;
        assert_eq!(third, error);

        // A caller who wants it tried, of this sender and no other.
        let (_, error, _) = failed(&mut gateway, with(text("acme", "553187654321", "x"), anyway())).await?;
        assert_eq!((error.provider_code.as_str(), fake.ledger().requests), ("2305", 2));
        gateway.devino_sender("other", &fake).await?;
        let (_, error, _) = failed(&mut gateway, text("other", "553187654321", "x")).await?;
        assert_eq!((error.provider_code.as_str(), fake.ledger().requests), ("2305", 3));

        play(&fake, delivered());
        let incoming = json!({ "from": "5531987654321", "to": "AcmeCare", "text": "oi", "incomingMessageId": 1 });
        assert_eq!(post(&gateway.devino_webhook("acme"), incoming.to_string()).await?, 200);
        let rows = gateway.rows().await?;
        until("it is forgotten", async || {
            Ok((count(&rows, "known_failures WHERE sender = 'acme'").await? == 0).then_some(()))
        }).await?;
        let sent = gateway.send(text("acme", "+5531987654321", "x")).await?;
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Delivered).await?;
        assert_eq!((fake.ledger().requests, count(&rows, "known_failures").await?), (4, 1), "the other sender's stays");
        gateway.stop().await?;
        Ok(())
    }

    async fn a_delivery_ends_what_was_known(engine) {
        let (mut gateway, fake) = start(engine, Setup::default()).await?;
        failed(&mut gateway, text("acme", &number(1), "x")).await?;
        failed(&mut gateway, text("acme", &number(2), "x")).await?;
        play(&fake, delivered());
        let sent = gateway.send(with(text("acme", &number(1), "x"), anyway())).await?;
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Delivered).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Delivered).await?;
        // Of nobody else.
        failed(&mut gateway, text("acme", &number(2), "x")).await?;
        assert_eq!(fake.ledger().requests, 4);
        gateway.stop().await?;
        Ok(())
    }

    async fn what_is_known_outlives_a_restart_and_not_its_lifetime(engine) {
        let (mut gateway, fake) = start(engine, Setup::default()).await?;
        failed(&mut gateway, text("acme", &number(1), "x")).await?;
        let mut gateway = TestGateway::start_on(gateway.stop().await?, Default::default()).await?;
        let (_, error, _) = failed(&mut gateway, text("acme", &number(1), "x")).await?;
        assert_eq!((error.provider_code.as_str(), fake.ledger().requests), ("", 1));
        // A day later.
        let rows = gateway.rows().await?;
        let later = "UPDATE known_failures SET expire_at_ms = 1, document = replace(document, '\"expire_at_ms\":', '\"expire_at_ms\":1,\"was\":')";
        crate::tools::execute(&rows, later).await?;
        play(&fake, delivered());
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Delivered).await?;
        assert_eq!(fake.ledger().requests, 2);
        gateway.stop().await?;
        Ok(())
    }

    async fn what_has_no_lifetime_is_asked_each_time(engine) {
        let setup = Setup::default().with("known_failures.not_on_whatsapp", "0s");
        let (mut gateway, fake) = start(engine, setup).await?;
        for requests in 1..=3 {
            let (_, error, _) = failed(&mut gateway, text("acme", &number(1), "x")).await?;
            assert_eq!((error.provider_code.as_str(), fake.ledger().requests), ("2305", requests));
        }
        assert_eq!(count(&gateway.rows().await?, "known_failures").await?, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn o14_who_gets_no_more_marketing_gets_all_else(engine) {
        let setup = Setup::default().with("known_failures.unreachable", "1h");
        let mut gateway = TestGateway::start_with(engine, setup).await?;
        let fake = gateway.meta().await?;
        let refuse = |key: &str| {
            let action = Action::Refuse { key: key.into(), reference: String::new() };
            Script { faults: vec![Fault::always(action).first(1)], ..silent() }
        };
        meta::play(&gateway, &fake, refuse("131049"));
        assert_eq!(meta::post(&meta::webhook(&gateway, "acme"), recategorised("MARKETING")).await?, 200);
        gateway.category_is(proto::TemplateCategory::Marketing).await?;

        let fails = async |request: proto::SendTemplateRequest| -> Result<proto::DeliveryError> {
            let sent = gateway.messaging.clone().send_template(request).await?.into_inner();
            let mut events = gateway.events.clone();
            let mut stream = EventStream::attach(events.stream_events(after(&sent.cursor)).await?).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
            Ok(statuses.last().and_then(|status| status.error.clone()).unwrap())
        };
        let error = fails(template(&number(1), Default::default())).await?;
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::RecipientCapped, "131049"));
        let error = fails(template(&number(1), Default::default())).await?;
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::RecipientCapped, ""));
        assert_eq!(fake.ledger().requests, 1, "no provider was called");
        let sends = |options| template(&number(1), options);
        let sent = gateway.messaging.send_template(sends(anyway())).await?.into_inner();
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;

        // Meta's 131026 says one of several things, and is remembered where an operator wants that.
        meta::play(&gateway, &fake, refuse("131026"));
        let before = fake.ledger().requests;
        for code in ["131026", ""] {
            let (_, error, _) = failed(&mut gateway, text("acme", &number(2), "x")).await?;
            assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::RecipientUnreachable, code));
        }
        assert_eq!(fake.ledger().requests, before + 1);
        gateway.stop().await?;
        Ok(())
    }
}
