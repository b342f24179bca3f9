//! What goes out, and what comes of it.

use std::sync::Arc;

use recado::fake::{Action, Fault, Script};
use recado::proto;
use recado::proto::send_message_request::Content;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus};
use serde_json::json;

use super::{CHANNEL, PERSON, config, create, replay, sender, sender_with, webhook, with_fake};
use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{Seen, fake, fields, impatient, number, post, silent, until};

fn template(parameters: usize) -> proto::SendTemplateRequest {
    proto::SendTemplateRequest {
        sender: "acme".into(),
        to: PERSON.into(),
        template: "order_out".into(),
        language_code: "pt-br".into(),
        parameters: (1..=parameters).map(|n| (n.to_string(), format!("v{n}"))).collect(),
        buttons: vec![proto::TemplateButton { index: 0, parameter: "A-1001".into(), kind: 0 }],
        ..Default::default()
    }
}

fn message(content: Content) -> proto::SendMessageRequest {
    proto::SendMessageRequest { content: Some(content), ..text("acme", PERSON, "") }
}

on_both_databases! {
    async fn a_text_a_file_and_a_template_are_read_in_order(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(Script::default()).await?;
        with_fake(&mut gateway, &fake, Script::default()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let media = proto::Media {
            kind: proto::MediaKind::Document as i32,
            source: Some(proto::media::Source::Url("https://files.example.test/nf-10.pdf".into())),
            file_name: "nf-10.pdf".into(),
            caption: "Nota fiscal".into(),
            ..Default::default()
        };
        let first = gateway.send(text("acme", PERSON, "Seu pedido saiu para entrega.")).await?.message_id;
        let second = gateway.send(message(Content::Media(media))).await?.message_id;
        let third = gateway.messaging.send_template(template(12)).await?.into_inner().message_id;
        let seen = Seen::until_all(&mut stream, 3, MessageStatus::Read).await?;
        for id in [&first, &second, &third] {
            assert_eq!(seen.words(id), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        }
        let rows = fake.rows();
        assert_eq!(rows.iter().map(|row| row.message_id.as_str()).collect::<Vec<_>>(), [&first, &second, &third]);
        assert_eq!(rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>(), [
            "Seu pedido saiu para entrega.", "Nota fiscal", "order_out",
        ]);
        let (sent, _) = gateway.message(&first).await?;
        assert_eq!(sent.provider_message_id, rows[0].provider_message_ids[0]);
        gateway.stop().await?;
        Ok(())
    }

    async fn o12_requests_have_the_assumed_form(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let digivox = Arc::new(Provider::start().await?);
        create(&mut gateway, sender("acme", &digivox.base_url())).await?;
        let sent = gateway.messaging.send_template(template(12)).await?.into_inner();
        let posted = digivox.next().await;
        let path = format!("/api/v1/whatsapp/{CHANNEL}/messages");
        assert_eq!((posted.method.as_str(), posted.path.as_str()), ("POST", path.as_str()));
        let token = posted.headers.iter().find(|(name, _)| name == "access-token").unwrap();
        assert_eq!(token.1, "test-key-0123456789");
        let texts: Vec<_> = (1..=12).map(|n| json!({ "type": "text", "text": format!("v{n}") })).collect();
        assert_eq!(posted.json(), json!({
            "from": "558330000001", "to": PERSON, "type": "template", "biz_opaque_callback_data": sent.message_id,
            "template": { "name": "order_out", "language": { "code": "pt_BR" }, "components": [
                { "type": "body", "parameters": texts },
                { "type": "button", "sub_type": "url", "index": "0", "parameters": [{ "type": "text", "text": "A-1001" }] },
            ] },
        }));
        posted.answer(Reply::new(201, r#"{"id":"0C9B8A77-1234-4ABC-9DEF-001122334455","status":"queued"}"#));
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(statuses[1].provider_message_id, "0c9b8a77-1234-4abc-9def-001122334455");
        gateway.stop().await?;
        Ok(())
    }

    async fn a_deployment_that_differs_is_a_matter_of_settings(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let digivox = Arc::new(Provider::start().await?);
        create(&mut gateway, sender_with("acme", proto::DigivoxConfig {
            base_url: digivox.base_url(),
            api_prefix: Some(String::new()),
            auth_header: "authorization".into(),
            auth_scheme: "Bearer".into(),
            send_path: "/send/{whatsapp_id}".into(),
            message_id_field: Some("reference".into()),
            response_id_pointer: "/result/key".into(),
            status_word_pointer: "/state".into(),
            status_id_pointer: "/of".into(),
            status_words: "concluido=DELIVERED".into(),
            ..config()
        })).await?;
        let sent = gateway.send(text("acme", PERSON, "Oi")).await?;
        let posted = digivox.next().await;
        assert_eq!(posted.path, format!("/send/{CHANNEL}"));
        let token = posted.headers.iter().find(|(name, _)| name == "authorization").unwrap();
        assert_eq!(token.1, "Bearer test-key-0123456789");
        assert_eq!(posted.json()["reference"], json!(sent.message_id));
        posted.answer(Reply::new(200, r#"{"result":{"key":"k-1"}}"#));
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        let status = json!({ "state": "CONCLUIDO", "of": "k-1" }).to_string();
        assert_eq!(post(&webhook(&gateway, "acme"), status).await?, 200);
        stream.until(&sent.message_id, MessageStatus::Delivered).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn what_digivox_cannot_carry_is_refused_at_the_door(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        create(&mut gateway, sender("acme", &fake.base_url("digivox"))).await?;
        let rich = proto::DigivoxConfig { base_url: fake.base_url("digivox"), rich_contents: true, ..config() };
        create(&mut gateway, sender_with("rich", rich)).await?;
        let sticker = proto::Media {
            kind: proto::MediaKind::Sticker as i32,
            source: Some(proto::media::Source::Url("https://files.example.test/a.webp".into())),
            ..Default::default()
        };
        let place = proto::Location { latitude: -7.1, longitude: -34.8, ..Default::default() };
        for (request, field) in [
            (text("acme", PERSON, &"é".repeat(4_097)), "text.body"),
            (message(Content::Media(sticker)), "media.kind"),
            (message(Content::Location(place.clone())), "location"),
        ] {
            let error = gateway.messaging.send_message(request).await.unwrap_err();
            assert_eq!(fields(&error), [field]);
        }
        let mut named = template(0);
        named.parameters.insert("name".into(), "Maria".into());
        let error = gateway.messaging.send_template(named).await.unwrap_err();
        assert_eq!(fields(&error), ["parameters[\"name\"]"]);
        let request = proto::SendMessageRequest { sender: "rich".into(), ..message(Content::Location(place)) };
        let sent = gateway.send(request).await?;
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(fake.ledger().seen, 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_refusal_fails_the_message_with_its_reason(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let refuse = |key: &str, n| Fault::always(Action::Refuse { key: key.into(), reference: String::new() }).to(number(n));
        let faults = vec![refuse("to: invalid number", 1), refuse("131047", 2)];
        let fake = fake(Script::default()).await?;
        with_fake(&mut gateway, &fake, Script { faults, ..silent() }).await?;
        for (n, reason, code) in [
            (1, DeliveryErrorReason::InvalidRequest, "HTTP 400"),
            (2, DeliveryErrorReason::OutsideWindow, "131047"),
        ] {
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
            let error = statuses.last().unwrap().error.clone().unwrap();
            assert_eq!((error.reason(), error.provider_code.as_str()), (reason, code));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_message_whose_token_is_refused_waits_and_shows_no_secret(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(Script { api_key: Some("another".into()), ..silent() }).await?;
        create(&mut gateway, sender("acme", &fake.base_url("digivox"))).await?;
        let sent = gateway.send(text("acme", PERSON, "x")).await?;
        let refused = async || {
            let (message, attempts) = gateway.message(&sent.message_id).await?;
            Ok((!attempts.is_empty() && message.error.is_some()).then_some((message, attempts)))
        };
        let (message, attempts) = until("it was refused", refused).await?;
        assert_eq!(attempts[0].outcome(), AttemptOutcome::NotTaken);
        assert_eq!(message.error.unwrap().reason(), DeliveryErrorReason::SenderUnauthorized);
        assert_eq!(attempts[0].exchanges[0].http_status, 401);
        assert!(!format!("{attempts:?}").contains("test-key-0123456789"), "{attempts:?}");
        gateway.stop().await?;
        Ok(())
    }

    async fn o1_a_lost_answer_is_in_doubt_until_a_status_settles_it(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let fake = fake(Script::default()).await?;
        with_fake(&mut gateway, &fake, silent()).await?;
        let lost = [Action::DropAfterAccept, Action::ErrorAfterAccept { status: 500 }, Action::Garbage];
        for (n, action) in lost.into_iter().enumerate() {
            replay(&gateway, &fake, Script { faults: vec![Fault::always(action.clone())], ..silent() });
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            stream.until(&sent.message_id, MessageStatus::InDoubt).await?;
            let provider_id = fake.rows()[n].provider_message_ids[0].clone();
            let status = json!({ "event": "status", "status": {
                "id": provider_id, "status": "entregue", "biz_opaque_callback_data": sent.message_id,
            } });
            assert_eq!(post(&webhook(&gateway, "acme"), status.to_string()).await?, 200);
            let statuses = stream.until(&sent.message_id, MessageStatus::Delivered).await?;
            assert_eq!(statuses.last().unwrap().provider_message_id, provider_id, "{action:?}");
            let (_, attempts) = gateway.message(&sent.message_id).await?;
            assert_eq!(attempts.iter().map(proto::Attempt::outcome).collect::<Vec<_>>(), [AttemptOutcome::InDoubt]);
        }
        assert_eq!((fake.ledger().requests, fake.ledger().taken, fake.ledger().twice.len()), (3, 3, 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn o3_throttling_is_a_retry(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let fake = fake(Script::default()).await?;
        let throttle = Fault::always(Action::Throttle { retry_after_s: None, body_only: false }).first(2);
        with_fake(&mut gateway, &fake, Script { faults: vec![throttle], ..silent() }).await?;
        let sent = gateway.send(text("acme", PERSON, "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT"]);
        let (_, attempts) = gateway.message(&sent.message_id).await?;
        use AttemptOutcome::{NotTaken, Taken};
        assert_eq!(attempts.iter().map(proto::Attempt::outcome).collect::<Vec<_>>(), [NotTaken, NotTaken, Taken]);
        assert_eq!(attempts[0].error.as_ref().unwrap().reason(), DeliveryErrorReason::RateLimited);
        assert_eq!((fake.ledger().requests, fake.ledger().taken), (3, 1));
        gateway.stop().await?;
        Ok(())
    }
}
