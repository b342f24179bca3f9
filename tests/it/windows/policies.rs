//! Each policy, and each way in which a window stands.

use recado::proto;
use recado::proto::incoming_message::Content;
use recado::proto::window_policy::Action;
use recado::proto::{DeliveryErrorReason, HoldReason, MessageStatus};
use tonic::Code;

use super::{REOPEN, age, guarded, open, options, reopen};
use crate::gateway::{TestGateway, after, text, words};
use crate::meta::{self, start};
use crate::on_both_databases;
use crate::tools::{fake, fields, number, reason, silent, with};

const POLICIES: [Action; 5] =
    [Action::Unspecified, Action::Fail, Action::SendAnyway, Action::HoldUntilIncoming, Action::SendTemplate];

on_both_databases! {
    async fn each_policy_does_what_it_says_in_each_window(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let wrote_yesterday = number(1);
        open(&gateway, &fake, &wrote_yesterday).await?;
        age(&gateway).await?;
        let wrote_now = number(2);
        open(&gateway, &fake, &wrote_now).await?;
        // What follows ACCEPTED, and what the provider was given: a new gateway has heard of nobody, and can still answer.
        for (to, expected) in [
            (number(3), [("SENT", "x"), ("SENT", "x"), ("SENT", "x"), ("HELD", ""), ("SENT", REOPEN)]),
            (wrote_now, [("SENT", "x"); 5]),
            (wrote_yesterday, [("FAILED", ""), ("FAILED", ""), ("SENT", "x"), ("HELD", ""), ("SENT", REOPEN)]),
        ] {
            for (action, (word, given)) in POLICIES.into_iter().zip(expected) {
                fake.forget();
                let sent = gateway.send(guarded(&to, "x", action)).await?;
                let mut stream = gateway.stream(after(&sent.cursor)).await?;
                let statuses = [stream.next_status(&sent.message_id).await?, stream.next_status(&sent.message_id).await?];
                assert_eq!(words(&statuses), ["ACCEPTED", word], "{to} {action:?}");
                let rows = fake.rows();
                assert_eq!(rows.first().map_or("", |row| row.text.as_str()).trim(), given, "{to} {action:?}");
                let (message, attempts) = gateway.message(&sent.message_id).await?;
                // What the provider was not asked is no attempt.
                let tries = usize::from(!given.is_empty());
                assert_eq!((attempts.len(), message.attempt_count, fake.ledger().requests), (tries, tries as i32, tries as u64));
                let held = if word == "HELD" { HoldReason::WindowClosed } else { HoldReason::Unspecified };
                assert_eq!(message.hold_reason(), held);
                if word == "FAILED" {
                    assert_eq!(message.error.unwrap().reason(), DeliveryErrorReason::OutsideWindow);
                }
            }
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_template_needs_no_window_and_a_policy_is_told_again(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        open(&gateway, &fake, &number(1)).await?;
        age(&gateway).await?;
        let template = proto::SendTemplateRequest {
            sender: "acme".into(),
            to: number(1),
            template: REOPEN.into(),
            language_code: "pt_BR".into(),
            parameters: reopen().parameters,
            ..Default::default()
        };
        let sent = gateway.messaging.send_template(template.clone()).await?.into_inner();
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(gateway.message(&sent.message_id).await?.0.options.unwrap().on_window_closed, None);
        let refused = proto::SendTemplateRequest { options: Some(options(Action::HoldUntilIncoming)), ..template };
        let refusal = gateway.messaging.send_template(refused).await.unwrap_err();
        assert_eq!(fields(&refusal), ["options.on_window_closed"]);

        for action in POLICIES {
            let sent = gateway.send(guarded(&number(4), "x", action)).await?;
            let told = gateway.message(&sent.message_id).await?.0.options.unwrap().on_window_closed.unwrap();
            let in_force = if action == Action::Unspecified { Action::Fail } else { action };
            assert_eq!((told.action(), told.template), (in_force, (action == Action::SendTemplate).then(reopen)));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn o7_another_policy_is_another_message(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let keyed = |action| {
            let mut request = guarded(&number(1), "x", action);
            request.sender = "sandbox".into();
            request.options.as_mut().unwrap().idempotency_key = "one".into();
            request
        };
        gateway.send(keyed(Action::Fail)).await?;
        assert!(gateway.send(keyed(Action::Unspecified)).await?.deduplicated, "the default, said and unsaid");
        let refusal = gateway.messaging.send_message(keyed(Action::HoldUntilIncoming)).await.unwrap_err();
        let (reason, metadata) = reason(&refusal);
        assert_eq!((reason.as_str(), metadata["fields"].as_str()), ("IDEMPOTENCY_KEY_REUSED", "options.on_window_closed"));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_template_in_a_texts_place_is_checked_as_any_other(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        meta::sender_of(&mut gateway, "acme", &fake.base_url("meta"), meta::NUMBER, "102290129340398").await?;
        gateway.templates.refresh_templates(proto::RefreshTemplatesRequest { sender: "acme".into() }).await?;
        let path = "options.on_window_closed.template";
        let policy = |action: i32, template: Option<proto::TemplateContent>| {
            let policy = proto::WindowPolicy { action, template };
            with(text("acme", &number(1), "x"), proto::SendOptions { on_window_closed: Some(policy), ..Default::default() })
        };
        let named = |name: &str| proto::TemplateContent { template: name.into(), ..reopen() };
        let send_template = Action::SendTemplate as i32;
        for (given, field) in [
            (policy(99, None), "options.on_window_closed.action".to_owned()),
            (policy(send_template, None), path.to_owned()),
            (policy(Action::HoldUntilIncoming as i32, Some(reopen())), path.to_owned()),
            (policy(send_template, Some(named(""))), format!("{path}.template")),
            (policy(send_template, Some(named("no_such_template"))), format!("{path}.template")),
            (policy(0, Some(proto::TemplateContent { parameters: Default::default(), ..reopen() })), format!("{path}.parameters")),
        ] {
            let refusal = gateway.messaging.send_message(given).await.unwrap_err();
            let fields = fields(&refusal);
            assert!(fields.iter().all(|found| found.starts_with(&field)) && !fields.is_empty(), "{field}: {fields:?}");
        }
        let paused = gateway.messaging.send_message(policy(send_template, Some(named("oferta")))).await.unwrap_err();
        assert_eq!((paused.code(), reason(&paused).0.as_str()), (Code::FailedPrecondition, "TEMPLATE_NOT_APPROVED"));
        let sent = gateway.send(policy(0, Some(reopen()))).await?;
        assert!(!sent.template_unchecked);
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(fake.rows()[0].text.trim(), REOPEN);
        gateway.stop().await?;
        Ok(())
    }

    async fn the_sandbox_opens_windows_too(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let hold = |to: &str| proto::SendMessageRequest { sender: "sandbox".into(), ..guarded(to, "x", Action::HoldUntilIncoming) };
        let held = gateway.send(hold("+15005550007")).await?;
        let mut stream = gateway.stream(after(&held.cursor)).await?;
        stream.until(&held.message_id, MessageStatus::Held).await?;
        // The person answers whatever reaches them, a second later.
        let asked = gateway.send(text("sandbox", "+15005550007", "Are you there?")).await?;
        let mut answered = false;
        loop {
            match stream.next_event().await?.payload {
                Some(proto::event::Payload::IncomingMessage(incoming)) => {
                    answered = true;
                    assert!(matches!(incoming.content, Some(Content::Text(_))) && incoming.window_expire_time.is_some());
                }
                Some(proto::event::Payload::StatusChanged(status)) if status.message_id == held.message_id => {
                    assert!(answered && status.status() == MessageStatus::Sent, "{status:?}");
                    break;
                }
                other => assert!(matches!(other, Some(proto::event::Payload::StatusChanged(s)) if s.message_id == asked.message_id)),
            }
        }
        gateway.stop().await?;
        Ok(())
    }
}
