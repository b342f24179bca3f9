//! What goes out, in CloudChat's form, and what does not.

use std::sync::Arc;

use recado::fake::Script;
use recado::proto;
use recado::proto::{DeliveryErrorReason, MessageStatus, SenderState};
use serde_json::json;
use tonic::Code;

use super::{template, with_token};
use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::provider::{Call, Provider, Reply};
use crate::tools::{batch, details, fake, fields, keyed, number, post, reason, silent, with};

const PERSON: &str = "+5511987654321";

/// A contact with an open conversation to whoever asks, and message 640101 to whoever writes.
fn talking(call: &Call) -> Reply {
    let answer = match (call.method.as_str(), call.path.split('?').next().unwrap_or_default().rsplit('/').next()) {
        ("GET", Some("search")) => json!({ "payload": [{ "id": 9055, "phone_number": PERSON }] }),
        ("GET", Some("conversations")) => {
            let conversation = |id, inbox, status, at| json!({ "id": id, "inbox_id": inbox, "status": status, "can_reply": true, "last_activity_at": at });
            json!({ "payload": [
                conversation(1870, 58, "open", 100), conversation(1873, 58, "pending", 300),
                conversation(1874, 58, "resolved", 400), conversation(1875, 59, "open", 500),
            ] })
        }
        ("GET", _) => json!({ "payload": [] }),
        _ => json!({ "id": 640101, "status": "sent" }),
    };
    Reply::new(200, answer.to_string())
}

/// The next call that hands something over; questions before it are answered.
async fn handed_over(provider: &Provider) -> Call {
    loop {
        let call = provider.next().await;
        if call.method == "POST" {
            return call;
        }
        let reply = talking(&call);
        call.answer(reply);
    }
}

on_both_databases! {
    async fn a_template_and_a_text_go_from_accepted_to_read(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans(&fake, Script::default()).await?;
        let sent = gateway.accepted_template(template(PERSON, &[("nome", "Marina")])).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Read).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        let row = fake.rows().remove(0);
        assert_eq!((row.to.as_str(), row.text.as_str()), ("5511987654321", "boleto_disponivel Marina"));
        assert!(statuses[1..].iter().all(|status| status.provider_message_id == row.provider_message_ids[0]));

        let sent = gateway.send(text("acme", PERSON, "Seu pedido saiu.")).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Read).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        assert_eq!((fake.ledger().taken, fake.rows()[1].text.as_str()), (2, "Seu pedido saiu."));
        gateway.stop().await?;
        Ok(())
    }

    async fn everything_of_a_template_stands_at_the_root(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let cloud = Arc::new(Provider::start().await?);
        gateway.cloudhumans_sender("acme", &cloud.base_url()).await?;
        let media = proto::Media {
            kind: proto::MediaKind::Document as i32,
            source: Some(proto::media::Source::Url("https://files.example.test/b/2291.pdf".into())),
            ..Default::default()
        };
        let request = proto::SendTemplateRequest {
            header: Some(proto::TemplateHeader { content: Some(proto::template_header::Content::Media(media)) }),
            buttons: vec![proto::TemplateButton { index: 1, parameter: "2291".into(), kind: 0 }],
            ..template(PERSON, &[("nome", "Marina"), ("vencimento", "12/01/2026")])
        };
        let sent = gateway.accepted_template(request).await?;
        let call = cloud.next().await;
        assert_eq!(
            (call.method.as_str(), call.path.as_str()),
            ("POST", "/api/v1/accounts/42/conversations/create_proactive_whatsapp_conversation")
        );
        assert!(call.headers.contains(&("api_access_token".into(), "test-token-0123456789".into())));
        assert_eq!(call.json(), json!({
            "inbox_id": "58", "phone_number": PERSON, "template_name": "boleto_disponivel",
            "header_attachment": "https://files.example.test/b/2291.pdf", "button_param_1": "2291",
            "nome": "Marina", "vencimento": "12/01/2026",
        }));
        call.answer(Reply::new(200, r#"{"id":1873,"messages":[{"id":640021}]}"#));
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(statuses[1].provider_message_id, "640021");
        gateway.stop().await?;
        Ok(())
    }

    async fn a_text_goes_into_the_newest_open_conversation_and_quotes(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let cloud = Arc::new(Provider::start().await?);
        gateway.cloudhumans_sender("acme", &cloud.base_url()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let written = json!({
            "event": "message_created", "id": 640077, "message_type": "incoming", "content": "Qual o prazo?",
            "sender": { "phone_number": PERSON },
        });
        assert_eq!(post(&with_token(&gateway.cloudhumans_webhook("acme")), written.to_string()).await?, 200);
        let quoted = loop {
            if let Some(proto::event::Payload::IncomingMessage(incoming)) = stream.next_event().await?.payload {
                break incoming.message_id;
            }
        };
        let request = proto::SendMessageRequest { reply_to_message_id: quoted, ..text("acme", PERSON, "Dois dias.") };
        let answering = cloud.answer_all(|call| Some(talking(call)));
        let accepted = gateway.send(request).await;
        answering.abort();
        let accepted = accepted?;
        let call = handed_over(&cloud).await;
        assert_eq!(call.path, "/api/v1/accounts/42/conversations/1873/messages");
        assert_eq!(call.json(), json!({
            "content": "Dois dias.", "message_type": "outgoing", "private": false,
            "content_attributes": { "in_reply_to": 640077 },
        }));
        let reply = talking(&call);
        call.answer(reply);
        let statuses = stream.until(&accepted.message_id, MessageStatus::Sent).await?;
        assert_eq!(statuses.last().unwrap().provider_message_id, "640101");
        gateway.stop().await?;
        Ok(())
    }

    async fn reserved_names_are_refused_at_the_door_with_the_list(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans(&fake, silent()).await?;
        let names = [("inbox_id", "59"), ("nome", "Marina"), ("button_param_0", "x"), ("template_name", "outro"), ("id", "1")];
        let error = gateway.messaging.send_template(template(PERSON, &names)).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        let mut named = fields(&error);
        named.sort();
        assert_eq!(named, ["button_param_0", "id", "inbox_id", "template_name"].map(|name| format!("parameters[{name:?}]")));
        let violations = details(&error).bad_request().unwrap().field_violations.clone();
        for reserved in ["inbox_id", "phone_number", "template_name", "header_attachment", "button_param_#"] {
            assert!(violations[0].description.contains(reserved), "{}", violations[0].description);
        }
        let spoken = proto::SendTemplateRequest { language_code: "pt_BR".into(), ..template(PERSON, &[]) };
        let error = gateway.messaging.send_template(spoken).await.unwrap_err();
        assert_eq!(fields(&error), ["language_code"]);
        assert_eq!(fake.ledger().requests, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn without_an_open_conversation_a_text_is_refused_before_it_is_accepted(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans(&fake, Script::default()).await?;
        for (to, words) in [
            ("+5511987650404", "no such contact"),
            ("+5511987650403", "older than 24 hours"),
            ("+5511987650402", "resolved"),
        ] {
            for validate_only in [false, true] {
                let options = proto::SendOptions { validate_only, ..Default::default() };
                let error = gateway.messaging.send_message(with(text("acme", to, "x"), options)).await.unwrap_err();
                assert_eq!(error.code(), Code::FailedPrecondition);
                let (reason, metadata) = reason(&error);
                assert_eq!((reason.as_str(), metadata["sender"].as_str()), ("OUTSIDE_WINDOW", "acme"));
                assert!(error.message().contains(words), "{}", error.message());
            }
            gateway.accepted_template(template(to, &[])).await?;
        }
        let list = gateway.messaging.list_messages(proto::ListMessagesRequest::default()).await?.into_inner();
        assert_eq!(list.messages.len(), 3, "the templates, and nothing else");

        // What goes out later is judged later.
        gateway.set_state("acme", SenderState::Paused).await?;
        let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
        let options = proto::SendOptions { send_time: Some(soon.into()), ..Default::default() };
        let sent = gateway.send(with(text("acme", "+5511987650404", "x"), options)).await?;
        gateway.set_state("acme", SenderState::Active).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
        let error = statuses.last().unwrap().error.clone().unwrap();
        assert_eq!(error.reason(), DeliveryErrorReason::OutsideWindow);
        gateway.stop().await?;
        Ok(())
    }

    async fn one_refused_entry_costs_no_other_of_a_batch(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans(&fake, Script::default()).await?;
        let to = |n: usize| if n == 17 { "+5511987650404".to_owned() } else { number(n) };
        let entries = batch((0..40).map(|n| text("acme", &to(n), "x")));
        let answer = gateway.messaging.batch_send(entries).await?.into_inner();
        for (n, result) in answer.results.into_iter().enumerate() {
            match result.result.unwrap() {
                proto::batch_send_result::Result::Accepted(_) => assert_ne!(n, 17),
                proto::batch_send_result::Result::Error(error) => {
                    assert_eq!((n, error.code), (17, Code::FailedPrecondition as i32));
                }
            }
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_provider_that_does_not_say_in_time_is_asked_again_at_the_hand_over(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup::default().with("engine.admit_limit", "100ms")).await?;
        let cloud = Arc::new(Provider::start().await?);
        gateway.cloudhumans_sender("acme", &cloud.base_url()).await?;
        let sent = gateway.send(text("acme", PERSON, "x")).await?;
        let unanswered = cloud.next().await;
        // The number is looked for in both its forms.
        for _ in 0..2 {
            cloud.next().await.answer(Reply::new(200, r#"{"payload":[]}"#));
        }
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "FAILED"]);
        assert_eq!(statuses[1].error.as_ref().unwrap().reason(), DeliveryErrorReason::OutsideWindow);
        drop(unanswered);
        gateway.stop().await?;
        Ok(())
    }

    async fn o6_a_repeated_key_gets_the_first_answer_though_the_window_has_closed(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let cloud = Arc::new(Provider::start().await?);
        gateway.cloudhumans_sender("acme", &cloud.base_url()).await?;
        let request = || with(text("acme", PERSON, "x"), keyed("order-7"));
        let answering = cloud.answer_all(|call| Some(talking(call)));
        let first = gateway.send(request()).await?;
        let mut stream = gateway.stream(after(&first.cursor)).await?;
        stream.until(&first.message_id, MessageStatus::Sent).await?;
        answering.abort();
        let closed = cloud.answer_all(|_| Some(Reply::new(200, r#"{"payload":[]}"#)));
        let again = gateway.send(request()).await?;
        assert_eq!((again.message_id, again.deduplicated), (first.message_id, true));
        let error = gateway.messaging.send_message(text("acme", PERSON, "x")).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition);
        closed.abort();
        gateway.stop().await?;
        Ok(())
    }
}
