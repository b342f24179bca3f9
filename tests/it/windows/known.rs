//! Whose window it is, and how it is known.

use recado::proto::event::Payload;
use recado::proto::window_policy::Action;
use recado::proto::{DeliveryErrorReason, MessageStatus};
use serde_json::json;

use super::{age, guarded, open, said, wrote};
use crate::gateway::{TestGateway, after, words};
use crate::meta::{NUMBER, change, envelope, post, start, webhook};
use crate::on_both_databases;
use crate::tools::{number, silent};

const HOLD: Action = Action::HoldUntilIncoming;
const USER_ID: &str = "BR.13491208655302741918";

on_both_databases! {
    async fn i16_a_window_is_the_persons_however_the_number_is_written(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        for (to, from) in [("+5531987654321", "553187654321"), ("+541123456789", "5491123456789"), ("+525512345678", "5215512345678")] {
            let held = gateway.send(guarded(to, "x", HOLD)).await?;
            let mut stream = gateway.stream(after(&held.cursor)).await?;
            stream.until(&held.message_id, MessageStatus::Held).await?;
            wrote(&gateway, &fake, said(from));
            stream.until(&held.message_id, MessageStatus::Sent).await?;
            assert_eq!(fake.rows().last().unwrap().to, to.trim_start_matches('+'), "and the number given is called");
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn i10_who_hides_the_number_later_opens_the_window_of_the_number(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let _fake = start(&mut gateway, silent()).await?;
        let url = webhook(&gateway, "acme");
        let person = |id: &str, from: Option<&str>| {
            let now = (recado::domain::now_ms() / 1_000).to_string();
            let mut message = json!({ "id": id, "timestamp": now, "type": "text", "text": { "body": "Olá" }, "from_user_id": USER_ID });
            let mut contact = json!({ "profile": { "name": "Marina" }, "user_id": USER_ID });
            if let Some(from) = from {
                message["from"] = from.into();
                contact["wa_id"] = from.into();
            }
            envelope(vec![change(NUMBER, json!({ "contacts": [contact], "messages": [message] }))])
        };
        let mut stream = gateway.stream(Default::default()).await?;
        // Nobody knows yet whose id it is: nobody's message is woken.
        let held = gateway.send(guarded(&number(1), "x", HOLD)).await?;
        stream.until(&held.message_id, MessageStatus::Held).await?;
        assert_eq!(post(&url, person("wamid.A", None)).await?, 200);
        let incoming = stream.next_event().await?.payload;
        let Some(Payload::IncomingMessage(incoming)) = incoming else { panic!("{incoming:?}") };
        assert_eq!(incoming.contact.unwrap().user_id, USER_ID);
        assert!(incoming.window_expire_time.is_some());
        assert_eq!(gateway.message(&held.message_id).await?.0.status(), MessageStatus::Held);
        // Once with the number, the id stands for it.
        assert_eq!(post(&url, person("wamid.B", Some(&number(1)))).await?, 200);
        stream.until(&held.message_id, MessageStatus::Sent).await?;
        age(&gateway).await?;
        let held = gateway.send(guarded(&number(1), "y", HOLD)).await?;
        stream.until(&held.message_id, MessageStatus::Held).await?;
        assert_eq!(post(&url, person("wamid.C", None)).await?, 200);
        stream.until(&held.message_id, MessageStatus::Sent).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn i1_a_webhook_that_comes_again_or_late_opens_nothing_anew(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let url = webhook(&gateway, "acme");
        let text = |id: &str, hours_ago: i64| {
            let at = (recado::domain::now_ms() / 1_000 - hours_ago * 3_600).to_string();
            let message = json!({ "from": number(1), "id": id, "timestamp": at, "type": "text", "text": { "body": "Olá" } });
            envelope(vec![change(NUMBER, json!({ "messages": [message] }))])
        };
        let first = text("wamid.ONE", 0);
        assert_eq!(post(&url, first.clone()).await?, 200);
        open(&gateway, &fake, &number(2)).await?;
        age(&gateway).await?;
        let held = gateway.send(guarded(&number(1), "x", HOLD)).await?;
        gateway.stream(after(&held.cursor)).await?.until(&held.message_id, MessageStatus::Held).await?;
        // The same once more, and one that Meta kept back for two days.
        assert_eq!(post(&url, first).await?, 200);
        assert_eq!(post(&url, text("wamid.OLD", 48)).await?, 200);
        assert_eq!(post(&url, text("wamid.OLDER", 49)).await?, 200);
        let mut stream = gateway.stream(recado::proto::StreamEventsRequest {
            start: Some(recado::proto::stream_events_request::Start::FromBeginning(true)),
            ..Default::default()
        }).await?;
        let mut seen = Vec::new();
        while seen.last().is_none_or(|id| id != "wamid.OLDER") {
            if let Some(Payload::IncomingMessage(incoming)) = stream.next_event().await?.payload {
                seen.push(incoming.provider_message_id);
            }
        }
        assert_eq!(gateway.message(&held.message_id).await?.0.hold_reason, 1, "what is over wakes nobody");
        let sent = gateway.send(guarded(&number(1), "x", Action::Fail)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "FAILED"]);
        assert_eq!(statuses[1].error.as_ref().unwrap().reason(), DeliveryErrorReason::OutsideWindow);
        gateway.stop().await?;
        Ok(())
    }
}
