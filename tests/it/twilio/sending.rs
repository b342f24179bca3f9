//! What goes out, and what goes wrong on the way.

use anyhow::Result;
use recado::fake::{Action, Fault, Script};
use recado::proto;
use recado::proto::send_message_request::Content;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus};
use serde_json::json;

use super::{TOKEN, callback, fake, next_send, post, sender, sender_at, signing};
use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{fields, impatient, number, play, silent, until};

fn template(name: &str, to: &str) -> proto::SendTemplateRequest {
    proto::SendTemplateRequest {
        sender: "acme".into(),
        to: to.into(),
        template: name.into(),
        language_code: "pt_BR".into(),
        parameters: [("1", "Marina"), ("2", "12/01/2026")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..Default::default()
    }
}

on_both_databases! {
    async fn a_text_and_a_template_are_read_in_order(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(Script::default()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let first = gateway.send(text("acme", &number(1), "É já? 🚚 1+1")).await?;
        let second = gateway.messaging.send_template(template("boleto_disponivel", &number(1))).await?.into_inner();
        let mut stream = gateway.stream(after(&first.cursor)).await?;
        let statuses = stream.until(&first.message_id, MessageStatus::Read).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        let mut stream = gateway.stream(after(&second.cursor)).await?;
        let statuses = stream.until(&second.message_id, MessageStatus::Read).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        let rows = fake.rows();
        let taken: Vec<_> = rows.iter().map(|row| (row.message_id.as_str(), row.text.as_str())).collect();
        assert_eq!(
            taken,
            [
                (first.message_id.as_str(), "É já? 🚚 1+1"),
                (second.message_id.as_str(), "HX11112222333344445555666677778888"),
            ],
        );
        let (message, _) = gateway.message(&first.message_id).await?;
        assert_eq!(message.provider_message_id, rows[0].provider_message_ids[0]);
        gateway.stop().await?;
        Ok(())
    }

    async fn contents_go_out_as_forms_with_the_credentials(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let twilio = Provider::start().await?;
        sender_at(&mut gateway, "acme", &twilio.base_url()).await?;
        let picture = proto::Media {
            kind: proto::MediaKind::Image as i32,
            source: Some(proto::media::Source::Url("https://files.example.test/a?sig=1".into())),
            caption: "Fatura É-77".into(),
            ..Default::default()
        };
        let place = proto::Location { latitude: -23.55, longitude: -46.63, name: "Loja".into(), ..Default::default() };
        let message = |content| proto::SendMessageRequest { content: Some(content), ..text("acme", "+351910000001", "") };
        for (request, wire) in [
            (text("acme", "+351910000001", "a+b"), json!({ "Body": "a+b" })),
            (
                message(Content::Media(picture)),
                json!({ "MediaUrl": "https://files.example.test/a?sig=1", "Body": "Fatura É-77" }),
            ),
            (
                message(Content::Location(place)),
                json!({ "Body": "Loja", "PersistentAction": "geo:-23.55,-46.63|Loja" }),
            ),
        ] {
            let sent = gateway.send(request).await?;
            let posted = next_send(&twilio).await;
            let path = "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages.json";
            assert_eq!((posted.method.as_str(), posted.path.as_str()), ("POST", path));
            let header = |name: &str| posted.headers.iter().find(|(given, _)| given == name).unwrap().1.clone();
            assert_eq!(header("content-type"), "application/x-www-form-urlencoded");
            assert!(header("authorization").starts_with("Basic QUMwMTIz"));
            let mut expected = json!({
                "To": "whatsapp:+351910000001", "From": "whatsapp:+14155550100",
                "StatusCallback": callback(&gateway, "acme", &sent.message_id),
            });
            expected.as_object_mut().unwrap().extend(wire.as_object().unwrap().clone());
            assert_eq!(posted.form(), expected);
            posted.answer(Reply::new(201, r#"{"sid":"SM0f0e0d0c0b0a09080706050403020100","status":"accepted"}"#));
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
            assert_eq!(statuses[1].provider_message_id, "SM0f0e0d0c0b0a09080706050403020100");
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn what_twilio_cannot_carry_is_refused_at_the_door(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let message = |content| proto::SendMessageRequest { content: Some(content), ..text("acme", &number(1), "") };
        let media = |kind: proto::MediaKind, caption: &str| {
            message(Content::Media(proto::Media {
                kind: kind as i32,
                source: Some(proto::media::Source::Url("https://files.example.test/a".into())),
                caption: caption.into(),
                ..Default::default()
            }))
        };
        for (request, field) in [
            (text("acme", &number(1), &"é".repeat(1_601)), "text.body"),
            (media(proto::MediaKind::Sticker, ""), "media.kind"),
            (media(proto::MediaKind::Document, "x"), "media.caption"),
        ] {
            let error = gateway.messaging.send_message(request).await.unwrap_err();
            assert_eq!(fields(&error), [field]);
        }
        let whole = gateway.send(text("acme", &number(1), &"é".repeat(1_600))).await?;
        gateway.stream(after(&whole.cursor)).await?.until(&whole.message_id, MessageStatus::Sent).await?;
        assert_eq!((fake.ledger().seen, fake.rows()[0].text.chars().count()), (1, 1_600));
        gateway.stop().await?;
        Ok(())
    }

    async fn refusals_fail_the_message_with_their_reason(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let refuse = |code: &str| Fault::always(Action::Refuse { key: code.into(), reference: String::new() });
        let faults = vec![refuse("21610").to(number(1)), refuse("63007").to(number(2)), refuse("21999").to(number(3))];
        let fake = fake(Script { faults, ..silent() }).await?;
        sender(&mut gateway, "acme", &fake).await?;
        for (n, code, reason) in [
            (1, "21610", DeliveryErrorReason::RecipientOptedOut),
            (2, "63007", DeliveryErrorReason::InvalidSender),
            (3, "21999", DeliveryErrorReason::InvalidRequest),
        ] {
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Failed).await?;
            let (message, attempts) = gateway.message(&sent.message_id).await?;
            let error = message.error.unwrap();
            assert_eq!((error.reason(), error.provider_code.as_str()), (reason, code));
            assert_eq!((attempts.len(), attempts[0].outcome()), (1, AttemptOutcome::Refused));
        }
        assert_eq!(fake.ledger().taken, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn o1_a_lost_answer_is_in_doubt_until_a_status_settles_it(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let lost = [Action::DropAfterAccept, Action::ErrorAfterAccept { status: 500 }, Action::Garbage];
        for (n, action) in lost.into_iter().enumerate() {
            play(&fake, signing(Script { faults: vec![Fault::always(action)], ..silent() }));
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            stream.until(&sent.message_id, MessageStatus::InDoubt).await?;
            // By our own id alone, which only the address has: Twilio's is not known to us.
            let sid = fake.rows()[n].provider_message_ids[0].clone();
            let status = json!({ "MessageSid": sid, "MessageStatus": "delivered" });
            post(&fake, &callback(&gateway, "acme", &sent.message_id), status);
            let statuses = stream.until(&sent.message_id, MessageStatus::Delivered).await?;
            assert_eq!(statuses[0].provider_message_id, sid);
        }
        let ledger = fake.ledger();
        assert_eq!((ledger.requests, ledger.taken, ledger.twice.len()), (3, 3, 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn o3_a_throttled_message_is_sent_again_and_only_once_taken(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let throttle = Action::Throttle { retry_after_s: None, body_only: false };
        let fake = fake(Script { faults: vec![Fault::always(throttle).first(2)], ..Script::default() }).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Read).await?;
        let (_, attempts) = gateway.message(&sent.message_id).await?;
        let outcomes: Vec<_> = attempts.iter().map(proto::Attempt::outcome).collect();
        assert_eq!(outcomes, [AttemptOutcome::NotTaken, AttemptOutcome::NotTaken, AttemptOutcome::Taken]);
        assert_eq!((fake.ledger().taken, fake.ledger().requests), (1, 3));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_refusal_of_the_token_is_told_without_it(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(Script { api_key: Some("another".into()), ..silent() }).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let refused = async || {
            let (message, attempts) = gateway.message(&sent.message_id).await?;
            Ok((!attempts.is_empty() && message.error.is_some()).then_some((message, attempts)))
        };
        let (message, attempts) = until("it was refused", refused).await?;
        let error = message.error.unwrap();
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::SenderUnauthorized, "20003"));
        assert_eq!((attempts[0].outcome(), attempts[0].exchanges[0].http_status), (AttemptOutcome::NotTaken, 401));
        assert!(!format!("{attempts:?}").contains(TOKEN));
        let check = gateway.admin.check_sender(proto::CheckSenderRequest { sender: "acme".into() }).await?.into_inner();
        assert_eq!((check.ok, check.problem()), (false, proto::SenderProblem::CredentialsRefused));
        gateway.stop().await?;
        Ok(())
    }
}

#[tokio::test]
async fn settings_that_could_not_work_are_refused_and_secrets_not_answered() -> Result<()> {
    let mut gateway = TestGateway::start(crate::gateway::Engine::Sqlite).await?;
    let config = proto::TwilioConfig { account_sid: "1".into(), ..Default::default() };
    let config = Some(proto::sender::Config::Twilio(config));
    let sender = Some(proto::Sender { sender: "acme".into(), config, ..Default::default() });
    let error = gateway.admin.create_sender(proto::CreateSenderRequest { sender }).await.unwrap_err();
    assert_eq!(fields(&error), ["sender.twilio.account_sid", "sender.twilio.auth_token", "sender.twilio.from"]);
    let made = sender_at(&mut gateway, "acme", "http://127.0.0.1:1").await?;
    assert_eq!(made.stored_secrets, ["twilio.auth_token"]);
    let Some(proto::sender::Config::Twilio(config)) = made.config else { panic!("{:?}", made.config) };
    assert_eq!((config.auth_token.as_str(), config.from.as_str()), ("", "+14155550100"));
    gateway.stop().await?;
    Ok(())
}
