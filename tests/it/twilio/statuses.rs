//! What becomes of a message, as Twilio reports it, and who may report.

use recado::fake::{Action, Fault, Script, Step, Webhooks};
use recado::proto::{DeliveryErrorReason, MessageStatus};
use serde_json::json;

use super::{TOKEN, callback, fake, post, sender, webhook};
use crate::gateway::{TestGateway, after, text, words};
use crate::on_both_databases;
use crate::tools::{Seen, count, number, silent, until};

on_both_databases! {
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

    async fn s1_repeated_and_reordered_statuses_end_alike(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let step = |status: &str, after_ms| Step { status: status.into(), after_ms, error_code: 0 };
        let statuses = vec![step("sent", 0), step("delivered", 5), step("read", 10)];
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
        // A copy says nothing new and makes no event: acceptance, our SENT, and each of the three words once.
        let events = gateway.all_events().await?;
        for one in &sent {
            let mine = events.iter().filter(|event| match &event.payload {
                Some(recado::proto::event::Payload::StatusChanged(status)) => status.message_id == one.message_id,
                _ => false,
            });
            assert_eq!(mine.count(), 5, "{}", one.message_id);
        }
        assert_eq!(count(&rows, "journal WHERE unreadable > 0").await?, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_closed_window_fails_the_message_late(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let late = Fault::always(Action::LateFailure { error_code: 63_016 });
        let fake = fake(Script { faults: vec![late], ..Script::default() }).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "FAILED"]);
        let error = statuses[2].error.clone().unwrap();
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::OutsideWindow, "63016"));
        gateway.stop().await?;
        Ok(())
    }

    async fn s10_an_unknown_word_is_kept_raw_and_a_warning_is_no_failure(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        let sid = fake.rows()[0].provider_message_ids[0].clone();
        // By Twilio's id alone.
        let at = webhook(&gateway, "acme");
        post(&fake, &at, json!({ "MessageSid": sid, "MessageStatus": "teleported" }));
        let unknown = stream.next_status(&sent.message_id).await?;
        assert_eq!((unknown.status(), unknown.provider_status.as_str()), (MessageStatus::Unspecified, "teleported"));
        assert_eq!(unknown.current_status(), MessageStatus::Sent);
        post(&fake, &at, json!({ "MessageSid": sid, "MessageStatus": "delivered", "ErrorCode": "63032" }));
        let delivered = stream.next_status(&sent.message_id).await?;
        assert_eq!((delivered.status(), delivered.error), (MessageStatus::Delivered, None));
        gateway.stop().await?;
        Ok(())
    }

    async fn i9_what_is_not_signed_for_this_address_is_kept_nowhere(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        sender(&mut gateway, "other", &fake).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let sid = fake.rows()[0].provider_message_ids[0].clone();
        let body = format!("MessageSid={sid}&MessageStatus=delivered&Body=%C3%A9");
        let at = callback(&gateway, "acme", &sent.message_id);
        let right = signature(&format!("{at}Body\u{e9}MessageSid{sid}MessageStatusdelivered"));
        let answered = async |url: &str, signature: Option<&str>, body: &str| -> anyhow::Result<u16> {
            let request = client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body.to_owned());
            let request = match signature {
                Some(signature) => request.header("x-twilio-signature", signature),
                None => request,
            };
            Ok(request.send().await?.status().as_u16())
        };
        let forged_body = body.replace("delivered", "read");
        for (url, signature, body) in [
            (at.clone(), None, &body),
            (at.clone(), Some(""), &body),
            (at.clone(), Some(&right[1..]), &body),
            (at.clone(), Some(&*right.to_lowercase()), &body),
            (at.clone(), Some(&*right), &forged_body),
            (format!("{at}0"), Some(&*right), &body),
            (webhook(&gateway, "acme"), Some(&*right), &body),
            (callback(&gateway, "other", &sent.message_id), Some(&*right), &body),
        ] {
            assert_eq!(answered(&url, signature, body).await?, 401, "{url} {signature:?} {body}");
        }
        let rows = gateway.rows().await?;
        assert_eq!(count(&rows, "journal").await?, 0);
        assert_eq!(answered(&at, Some(&right), &body).await?, 200);
        assert_eq!(stream.next_status(&sent.message_id).await?.status(), MessageStatus::Delivered);
        gateway.stop().await?;
        Ok(())
    }
}

/// Of a string that the test has written out: address, names and values.
fn signature(signed: &str) -> String {
    use base64::Engine as _;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, TOKEN.as_bytes());
    base64::prelude::BASE64_STANDARD.encode(ring::hmac::sign(&key, signed.as_bytes()))
}
