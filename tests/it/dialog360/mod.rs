//! 360dialog, through the gateway: that what it passes on is read and written as Meta's.

use anyhow::{Context as _, Result};
use recado::fake::{Account, Action, FakeProvider, Fault, Script};
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::incoming_message::Content;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus};
use serde_json::json;

use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::tools::{Seen, count, impatient, number, post, silent};

const TOKEN: &str = "hook-9f2c7b1ead";
const PERSON: &str = "+5511987654321";

/// The sender `acme`, and a 360dialog that posts to it as the script says.
async fn start(gateway: &mut TestGateway, script: Script) -> Result<FakeProvider> {
    let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
    let config = proto::sender::Config::Dialog360(proto::Dialog360Config {
        base_url: fake.base_url("dialog360"),
        api_key: "key-360-0f0e".into(),
        webhook_token: TOKEN.into(),
    });
    let sender = Some(proto::Sender { sender: "acme".into(), config: Some(config), ..Default::default() });
    let made = gateway.admin.create_sender(proto::CreateSenderRequest { sender }).await?.into_inner();
    let webhook_url = made.sender.context("no sender")?.webhook_url;
    play(&fake, script, &webhook_url);
    Ok(fake)
}

fn play(fake: &FakeProvider, mut script: Script, webhook_url: &str) {
    let account = Account { webhook_url: Some(webhook_url.to_owned()), secret: Some(TOKEN.into()) };
    script.accounts.insert("dialog360".into(), account);
    fake.set_script(script).unwrap();
}

fn webhook(gateway: &TestGateway) -> String {
    format!("{}/webhooks/dialog360/acme", gateway.http)
}

on_both_databases! {
    async fn a_text_and_a_template_are_read_in_their_order(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, Script::default()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let first = gateway.send(text("acme", PERSON, "É já? 🚚")).await?;
        let named = proto::SendTemplateRequest {
            sender: "acme".into(),
            to: PERSON.into(),
            template: "boas_vindas".into(),
            language_code: "pt_BR".into(),
            parameters: [("nome".to_owned(), "Marina".to_owned()), ("plano".to_owned(), "Ouro".to_owned())].into(),
            ..Default::default()
        };
        let second = gateway.messaging.send_template(named).await?.into_inner();
        let seen = Seen::until_all(&mut stream, 2, MessageStatus::Read).await?;
        for id in [&first.message_id, &second.message_id] {
            assert_eq!(seen.words(id), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        }
        let rows = fake.rows();
        assert_eq!(rows.iter().map(|row| &row.message_id).collect::<Vec<_>>(), [&first.message_id, &second.message_id]);
        gateway.stop().await?;
        Ok(())
    }

    async fn lost_answers_throttling_and_noes_end_as_they_should(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let fake = start(&mut gateway, silent()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let with = |fault| Script { faults: vec![fault], ..silent() };
        // Lost, and settled by a status that has our id alone.
        play(&fake, with(Fault::always(Action::DropAfterAccept)), &webhook(&gateway));
        let lost = gateway.send(text("acme", &number(1), "x")).await?;
        stream.until(&lost.message_id, MessageStatus::InDoubt).await?;
        let status = json!({ "status": "delivered", "biz_opaque_callback_data": lost.message_id });
        let body = json!({ "entry": [{ "changes": [{ "field": "messages", "value": { "statuses": [status] } }] }] });
        assert_eq!(post(&format!("{}?token={TOKEN}", webhook(&gateway)), body.to_string()).await?, 200);
        stream.until(&lost.message_id, MessageStatus::Delivered).await?;
        // Throttled by the words of a 400 alone.
        let throttle = Action::Throttle { retry_after_s: None, body_only: true };
        play(&fake, with(Fault::always(throttle).first(1)), &webhook(&gateway));
        let slowed = gateway.send(text("acme", &number(2), "x")).await?;
        assert_eq!(words(&stream.until(&slowed.message_id, MessageStatus::Sent).await?), ["ACCEPTED", "SENT"]);
        let (_, attempts) = gateway.message(&slowed.message_id).await?;
        let outcomes: Vec<_> = attempts.iter().map(proto::Attempt::outcome).collect();
        assert_eq!(outcomes, [AttemptOutcome::NotTaken, AttemptOutcome::Taken]);
        // A no of Meta's, later.
        play(&fake, with(Fault::always(Action::LateFailure { error_code: 131_026 })), &webhook(&gateway));
        let failed = gateway.send(text("acme", &number(3), "x")).await?;
        let mut stream = gateway.stream(after(&failed.cursor)).await?;
        let statuses = stream.until(&failed.message_id, MessageStatus::Failed).await?;
        let error = statuses.last().and_then(|status| status.error.clone()).unwrap();
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::RecipientUnreachable, "131026"));
        assert!(fake.ledger().twice.is_empty());
        gateway.stop().await?;
        Ok(())
    }

    async fn i9_incoming_messages_come_in_with_the_token_only(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let body = r#"{"entry":[{"changes":[{"field":"messages","value":{"messages":[{"from":"5511987654321","id":"wamid.A","text":{"body":"x"}}]}}]}]}"#;
        for query in ["", "?token=", "?token=hook"] {
            assert_eq!(post(&format!("{}{query}", webhook(&gateway)), body).await?, 401, "{query}");
        }
        assert_eq!(count(&gateway.rows().await?, "journal").await?, 0);
        let mut stream = gateway.stream(Default::default()).await?;
        let payload = json!({ "from": "5511987654321", "type": "image", "image": { "id": "1479537139650973", "mime_type": "image/jpeg" } });
        fake.post_incoming("dialog360", &webhook(&gateway), payload.as_object().unwrap().clone()).unwrap();
        let event = stream.next_event().await?;
        let Some(Payload::IncomingMessage(incoming)) = event.payload else { panic!("no message") };
        assert_eq!((event.sender.as_str(), incoming.profile_name.as_str()), ("acme", "Marina"));
        assert!(matches!(incoming.content, Some(Content::Media(_))));
        gateway.stop().await?;
        Ok(())
    }
}
