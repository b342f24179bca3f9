//! What goes out, what goes wrong on the way, and what becomes of it.

use recado::fake::{Action, Fault, Script, Step, Webhooks};
use recado::proto;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, InDoubtPolicy, MessageStatus};
use serde_json::json;

use super::{TOKEN, next_send, sender, sender_at, webhook};
use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{Seen, count, fake, fields, impatient, number, play, post, silent, until, with};

fn template(to: &str) -> proto::SendTemplateRequest {
    let header = proto::Media {
        kind: proto::MediaKind::Document as i32,
        source: Some(proto::media::Source::Url("https://files.example.test/b/2291.pdf".into())),
        file_name: "boleto.pdf".into(),
        ..Default::default()
    };
    proto::SendTemplateRequest {
        sender: "acme".into(),
        to: to.into(),
        template: "boleto_disponivel".into(),
        language_code: "pt-BR".into(),
        parameters: [("1", "Marina"), ("2", "12/01/2026")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        header: Some(proto::TemplateHeader { content: Some(proto::template_header::Content::Media(header)) }),
        buttons: vec![proto::TemplateButton { index: 0, parameter: "2291".into(), kind: 0 }],
        ..Default::default()
    }
}

on_both_databases! {
    async fn a_text_and_a_template_are_read_in_order(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(Script::default()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let first = gateway.send(text("acme", &number(1), "É já? 🚚")).await?;
        let second = gateway.messaging.send_template(template(&number(1))).await?.into_inner();
        for sent in [&first, &proto::SendMessageResponse { message_id: second.message_id.clone(), cursor: second.cursor.clone(), ..Default::default() }] {
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Read).await?;
            assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
            let (message, _) = gateway.message(&sent.message_id).await?;
            assert_eq!(message.provider_message_id, sent.message_id, "they know it under our id");
        }
        let taken: Vec<_> = fake.rows().into_iter().map(|row| (row.message_id, row.text)).collect();
        assert_eq!(
            taken,
            [(first.message_id, "É já? 🚚".to_owned()), (second.message_id, "boleto_disponivel".to_owned())],
        );
        gateway.stop().await?;
        Ok(())
    }

    async fn a_template_goes_out_with_its_header_and_buttons(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let infobip = Provider::start().await?;
        sender_at(&mut gateway, "acme", "+551140001000", &infobip.base_url()).await?;
        let sent = gateway.messaging.send_template(template("+351910000001")).await?.into_inner();
        let posted = next_send(&infobip).await;
        assert_eq!((posted.method.as_str(), posted.path.as_str()), ("POST", "/whatsapp/1/message/template"));
        let authorization = posted.headers.iter().find(|(name, _)| name == "authorization").unwrap();
        assert_eq!(authorization.1, "App key-0f0e0d0c0b0a");
        let expected = json!({ "messages": [{
            "from": "551140001000", "to": "351910000001", "messageId": sent.message_id, "callbackData": sent.message_id,
            "notifyUrl": webhook(&gateway, "acme"),
            "content": {
                "templateName": "boleto_disponivel", "language": "pt_BR",
                "templateData": {
                    "body": { "placeholders": ["Marina", "12/01/2026"] },
                    "header": { "type": "DOCUMENT", "mediaUrl": "https://files.example.test/b/2291.pdf", "filename": "boleto.pdf" },
                    "buttons": [{ "type": "URL", "parameter": "2291" }],
                },
            },
        }] });
        assert_eq!(posted.json(), expected);
        let status = json!({ "groupId": 1, "groupName": "PENDING", "name": "PENDING_ENROUTE" });
        let result = json!({ "messageId": sent.message_id, "status": status });
        posted.answer(Reply::new(200, json!({ "messages": [result], "bulkId": "bk-1" }).to_string()));
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn refusals_fail_the_message_with_their_reason(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let refuse = |key: &str| Fault::always(Action::Refuse { key: key.into(), reference: "is wrong".into() });
        let faults = vec![
            refuse("to").to(number(1)),
            refuse("REJECTED_NOT_ENOUGH_CREDITS").to(number(2)),
            refuse("REJECTED_BRAND_NEW").to(number(3)),
        ];
        let fake = fake(Script { faults, ..silent() }).await?;
        sender(&mut gateway, "acme", &fake).await?;
        for (n, code, reason) in [
            (1, "BAD_REQUEST", DeliveryErrorReason::InvalidRecipient),
            (2, "REJECTED_NOT_ENOUGH_CREDITS", DeliveryErrorReason::Billing),
            (3, "REJECTED_BRAND_NEW", DeliveryErrorReason::Unknown),
        ] {
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Failed).await?;
            let (message, attempts) = gateway.message(&sent.message_id).await?;
            let error = message.error.unwrap();
            assert_eq!((error.reason(), error.provider_code.as_str()), (reason, code));
            assert_eq!((attempts.len(), attempts[0].outcome()), (1, AttemptOutcome::Refused));
            let shown = format!("{attempts:?}");
            assert!(!shown.contains("key-0f0e0d0c0b0a") && !shown.contains(TOKEN), "{shown}");
        }
        let named = proto::SendTemplateRequest {
            parameters: [("name".to_owned(), "Ana".to_owned())].into(),
            ..template(&number(4))
        };
        let error = gateway.messaging.send_template(named).await.unwrap_err();
        assert!(fields(&error).contains(&"parameters[\"name\"]".to_owned()), "{error:?}");
        assert_eq!(fake.ledger().taken, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn o1_a_lost_answer_is_in_doubt_until_a_report_settles_it(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let lost = [Action::DropAfterAccept, Action::ErrorAfterAccept { status: 500 }, Action::Garbage];
        for (n, action) in lost.into_iter().enumerate() {
            play(&fake, Script { faults: vec![Fault::always(action)], ..silent() });
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            stream.until(&sent.message_id, MessageStatus::InDoubt).await?;
            // A seen report, which has nothing of ours but the id that we gave.
            let seen = json!({ "results": [{ "messageId": sent.message_id, "from": "551140001000",
                "seenAt": "2025-12-11T05:49:02.003+0000" }] });
            assert_eq!(post(&webhook(&gateway, "acme"), seen.to_string()).await?, 200);
            let statuses = stream.until(&sent.message_id, MessageStatus::Read).await?;
            assert_eq!(statuses[0].provider_message_id, sent.message_id);
        }
        assert_eq!((fake.ledger().taken, fake.ledger().twice.len()), (3, 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn o8_a_second_attempt_has_an_id_of_its_own(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let infobip = Provider::start().await?;
        sender_at(&mut gateway, "acme", "551140001000", &infobip.base_url()).await?;
        let options =
            proto::SendOptions { in_doubt_policy: InDoubtPolicy::AtLeastOnce as i32, ..Default::default() };
        let sent = gateway.send(with(text("acme", &number(1), "x"), options)).await?;
        let first = next_send(&infobip).await;
        assert_eq!(first.json()["messageId"], sent.message_id.as_str());
        drop(first);
        let second = next_send(&infobip).await;
        let id = format!("{}-2", sent.message_id);
        assert_eq!(second.json()["messageId"], id.as_str());
        second.answer(Reply::new(200, json!({ "messageId": id, "status": { "groupId": 1 } }).to_string()));
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        let report = json!({ "results": [{ "messageId": id, "status": { "groupName": "DELIVERED" } }] });
        assert_eq!(post(&webhook(&gateway, "acme"), report.to_string()).await?, 200);
        let delivered = stream.next_status(&sent.message_id).await?;
        assert_eq!((delivered.status(), delivered.attempt), (MessageStatus::Delivered, 2));
        gateway.stop().await?;
        Ok(())
    }

    async fn o3_a_throttled_message_is_sent_again(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let throttle = Action::Throttle { retry_after_s: None, body_only: false };
        let fake = fake(Script { faults: vec![Fault::always(throttle).first(1)], ..Script::default() }).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Read).await?;
        let (_, attempts) = gateway.message(&sent.message_id).await?;
        let outcomes: Vec<_> = attempts.iter().map(proto::Attempt::outcome).collect();
        assert_eq!(outcomes, [AttemptOutcome::NotTaken, AttemptOutcome::Taken]);
        gateway.stop().await?;
        Ok(())
    }

    async fn s1_repeated_and_reordered_reports_end_alike(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let step = |status: &str, after_ms| Step { status: status.into(), after_ms, error_code: 0 };
        let statuses = vec![step("PENDING_ACCEPTED", 0), step("DELIVERED_TO_HANDSET", 5), step("READ", 10)];
        let webhooks = Webhooks { duplicate: 1.0, reorder: true, ..Default::default() };
        let fake = fake(Script { webhooks, statuses, ..Script::default() }).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let sent = gateway.send_all((0..20).map(|n| text("acme", &number(n), "x"))).await?;
        until("all copies were posted", async || {
            let posted = fake.posted();
            Ok((posted.items == 20 * 6 && posted.pending == 0).then_some(()))
        })
        .await?;
        let rows = gateway.rows().await?;
        until("all were taken in", async || Ok((count(&rows, "journal WHERE pending IS NOT NULL").await? == 0).then_some(()))).await?;
        for one in &sent {
            let (message, _) = gateway.message(&one.message_id).await?;
            assert_eq!(message.status(), MessageStatus::Read);
        }
        assert_eq!(count(&rows, "journal WHERE unreadable > 0").await?, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn s4_a_provider_that_reports_before_it_answers_loses_nothing(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let webhooks = Webhooks { before_answer: true, ..Default::default() };
        let fake = fake(Script { webhooks, ..Script::default() }).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let sent = gateway.send_all((0..20).map(|n| text("acme", &number(n), "x"))).await?;
        let seen = Seen::until_all(&mut stream, 20, MessageStatus::Read).await?;
        for one in &sent {
            assert_eq!(seen.words(&one.message_id), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_late_failure_fails_the_message_with_its_reason(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let late = Fault::always(Action::LateFailure { error_code: 7_001 });
        let fake = fake(Script { faults: vec![late], ..Script::default() }).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "FAILED"]);
        let error = statuses[2].error.clone().unwrap();
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::RecipientUnreachable, "EC_7001"));
        gateway.stop().await?;
        Ok(())
    }
}
