//! What goes out: in Devino's form, several in one request when several wait.

use std::sync::Arc;

use recado::fake::{Action, Fault, Script};
use recado::proto;
use recado::proto::send_message_request::Content;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus, SenderState};
use serde_json::{Value, json};

use crate::gateway::{TestGateway, after, text, words};
use crate::on_both_databases;
use crate::provider::{Call, Provider, Reply};
use crate::tools::{Seen, TOKEN, fake, fields, number, silent, until};

/// Takes every message of a request.
pub fn take_all(call: &Call) -> Reply {
    let messages = call.json()["messages"].as_array().map_or(0, Vec::len);
    let result: Vec<Value> =
        (0..messages).map(|n| json!({ "code": "OK", "messageId": (7_001 + n).to_string() })).collect();
    Reply::new(200, json!({ "result": result }).to_string())
}

on_both_databases! {
    async fn contents_go_out_in_devinos_form(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let devino = Arc::new(Provider::start().await?);
        gateway.devino_sender_at("acme", &devino.base_url()).await?;
        let callback = format!("{}/webhooks/devino/acme?token={TOKEN}", gateway.http);
        let media = proto::Media {
            kind: proto::MediaKind::Document as i32,
            source: Some(proto::media::Source::Url("https://files.example.test/a?sig=1".into())),
            mime_type: "application/pdf".into(),
            file_name: "invoice-77.pdf".into(),
            caption: "Fatura É-77".into(),
        };
        let message = |content| proto::SendMessageRequest { content: Some(content), ..text("acme", "+351910000001", "") };
        let cases = [
            (
                message(Content::Text(proto::Text { body: "É já? 🚚".into(), preview_url: false })),
                json!({ "text": "É já? 🚚" }),
            ),
            (
                message(Content::Media(media)),
                json!({
                    "text": "Fatura É-77", "contentUrl": "https://files.example.test/a?sig=1",
                    "contentName": "invoice-77.pdf", "contentType": "application/pdf",
                }),
            ),
        ];
        for (request, wire) in cases {
            let sent = gateway.send(request).await?;
            let posted = devino.next().await;
            assert_eq!((posted.method.as_str(), posted.path.as_str()), ("POST", "/whatsapp/messages"));
            let authorization = posted.headers.iter().find(|(name, _)| name == "authorization").unwrap();
            assert_eq!(authorization.1, "Key test-key-0123456789");
            let mut expected = json!({
                "from": "AcmeCare", "to": "351910000001", "callbackUrl": callback, "callbackData": sent.message_id,
            });
            expected.as_object_mut().unwrap().extend(wire.as_object().unwrap().clone());
            assert_eq!(posted.json(), json!({ "messages": [expected] }));
            posted.answer(Reply::new(200, r#"{"result":[{"code":"OK","messageId":"0003590000000000000001"}]}"#));
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
            assert_eq!(words(&statuses), ["ACCEPTED", "SENT"]);
            assert_eq!(statuses[1].provider_message_id, "3590000000000000001");
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn o12_twelve_parameters_go_out_by_position(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let devino = Arc::new(Provider::start().await?);
        gateway.devino_sender_at("acme", &devino.base_url()).await?;
        let request = proto::SendTemplateRequest {
            sender: "acme".into(),
            to: "351910000001".into(),
            template: "order_ready_v2".into(),
            language_code: "pt-br".into(),
            parameters: (1..=12).map(|n| (n.to_string(), format!("v{n}"))).collect(),
            options: Some(proto::SendOptions {
                validity: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let sent = gateway.messaging.send_template(request).await?.into_inner();
        let posted = devino.next().await;
        let in_order: Vec<String> = (1..=12).map(|n| format!(r#""{n}":"v{n}""#)).collect();
        let in_order = format!(r#""templateParams":{{{}}}"#, in_order.join(","));
        assert!(posted.body.contains(&in_order), "{}", posted.body);
        let message = &posted.json()["messages"][0];
        assert_eq!((&message["templateId"], &message["languageCode"]), (&json!("order_ready_v2"), &json!("PT_BR")));
        assert_eq!((&message["validity"], &message["text"]), (&json!(86_400), &Value::Null));
        let reply = take_all(&posted);
        posted.answer(reply);
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn o13_what_devino_cannot_carry_is_refused_at_the_door(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let message = |content| proto::SendMessageRequest { content: Some(content), ..text("acme", &number(1), "") };
        let sticker = proto::Media {
            kind: proto::MediaKind::Sticker as i32,
            source: Some(proto::media::Source::Url("https://files.example.test/a.webp".into())),
            ..Default::default()
        };
        let interactive = proto::Interactive {
            body: "x".into(),
            action: Some(proto::interactive::Action::UrlButton(proto::UrlButton {
                text: "x".into(),
                url: "https://example.test".into(),
            })),
            ..Default::default()
        };
        for (request, field) in [
            (text("acme", &number(1), &"é".repeat(1_001)), "text.body"),
            (message(Content::Location(Default::default())), "location"),
            (message(Content::Media(sticker)), "media.kind"),
            (message(Content::Interactive(interactive)), "interactive"),
        ] {
            let error = gateway.messaging.send_message(request).await.unwrap_err();
            assert_eq!(fields(&error), [field]);
        }
        let whole = gateway.send(text("acme", &number(1), &"é".repeat(1_000))).await?;
        gateway.stream(after(&whole.cursor)).await?.until(&whole.message_id, MessageStatus::Sent).await?;
        assert_eq!((fake.ledger().seen, fake.rows()[0].text.chars().count()), (1, 1_000));
        gateway.stop().await?;
        Ok(())
    }

    async fn o9_several_that_wait_share_a_request_and_one_rejected_inside_of_200_costs_no_other(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let refuse = |key: &str, reference: &str| Action::Refuse { key: key.into(), reference: reference.into() };
        let faults = vec![
            Fault::always(refuse("invalid", "messages[i].to")).to(number(3)),
            Fault::always(refuse("billing.error", "")).to(number(7)),
        ];
        let fake = fake(Script { faults, ..Script::default() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.set_state("acme", SenderState::Paused).await?;
        let sent = gateway.send_all((0..40).map(|n| text("acme", &number(n), "x"))).await?;
        gateway.set_state("acme", SenderState::Active).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        let seen = Seen::until_all(&mut stream, 38, MessageStatus::Read).await?;
        for (n, one) in sent.iter().enumerate() {
            let expected: &[&str] = match n {
                3 | 7 => &["ACCEPTED", "FAILED"],
                _ => &["ACCEPTED", "SENT", "DELIVERED", "READ"],
            };
            assert_eq!(seen.words(&one.message_id), expected, "{n}");
        }
        for (n, reason, code) in [
            (3, DeliveryErrorReason::InvalidRecipient, "invalid"),
            (7, DeliveryErrorReason::Billing, "billing.error"),
        ] {
            let (message, attempts) = gateway.message(&sent[n].message_id).await?;
            let error = message.error.unwrap();
            assert_eq!((error.reason(), error.provider_code.as_str()), (reason, code));
            assert_eq!((attempts.len(), attempts[0].outcome()), (1, AttemptOutcome::Refused));
        }
        let ledger = fake.ledger();
        assert_eq!((ledger.taken, ledger.distinct, ledger.refused), (38, 38, 2));
        assert!(ledger.largest_batch > 1 && ledger.requests < 40, "{ledger:?}");
        gateway.stop().await?;
        Ok(())
    }

    async fn what_a_refusal_of_the_key_shows_holds_no_secret(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(Script { api_key: Some("another".into()), ..silent() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let refused = async || {
            let (message, attempts) = gateway.message(&sent.message_id).await?;
            Ok((!attempts.is_empty() && message.error.is_some()).then_some((message, attempts)))
        };
        let (message, attempts) = until("it was refused", refused).await?;
        assert_eq!((message.status(), attempts[0].outcome()), (MessageStatus::Sending, AttemptOutcome::NotTaken));
        assert_eq!(message.error.unwrap().reason(), DeliveryErrorReason::SenderUnauthorized);
        assert_eq!(attempts[0].exchanges[0].http_status, 401);
        let shown = format!("{attempts:?}");
        assert!(!shown.contains("test-key-0123456789") && !shown.contains(TOKEN), "{shown}");
        let check = gateway.admin.check_sender(proto::CheckSenderRequest { sender: "acme".into() }).await?.into_inner();
        assert_eq!((check.ok, check.problem()), (false, proto::SenderProblem::CredentialsRefused));
        gateway.stop().await?;
        Ok(())
    }
}
