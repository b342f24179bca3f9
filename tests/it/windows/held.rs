//! Messages that wait for the person to write.

use recado::proto;
use recado::proto::event::Payload;
use recado::proto::window_policy::Action;
use recado::proto::{DeliveryErrorReason, MessageStatus, SenderState};
use serde_json::json;

use super::{guarded, said, wrote};
use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::meta::{play, start};
use crate::on_both_databases;
use crate::tools::{Seen, fake, number, post, silent};

const HOLD: Action = Action::HoldUntilIncoming;

on_both_databases! {
    async fn held_messages_go_in_their_order_when_the_person_writes_and_hold_back_no_other(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let (person, other) = (number(1), number(2));
        let mut held = Vec::new();
        for n in 0..5 {
            held.push(gateway.send(guarded(&person, &format!("held {n}"), HOLD)).await?.message_id);
        }
        let stranger = gateway.send(guarded(&other, "to another", HOLD)).await?.message_id;
        Seen::until_all(&mut stream, 6, MessageStatus::Held).await?;
        let anyway = gateway.send(guarded(&person, "goes on", Action::SendAnyway)).await?;
        stream.until(&anyway.message_id, MessageStatus::Sent).await?;
        assert_eq!(gateway.message(&held[0]).await?.0.status(), MessageStatus::Held);

        wrote(&gateway, &fake, said(&person));
        let seen = Seen::until_all(&mut stream, 5, MessageStatus::Sent).await?;
        assert!(held.iter().all(|id| seen.words(id) == ["SENT"]));
        let texts: Vec<String> = fake.rows().into_iter().map(|row| row.text).collect();
        assert_eq!(texts, ["goes on", "held 0", "held 1", "held 2", "held 3", "held 4"]);
        let (message, attempts) = gateway.message(&held[4]).await?;
        assert_eq!((message.hold_reason, message.attempt_count, attempts.len()), (0, 1, 1));
        assert_eq!(gateway.message(&stranger).await?.0.status(), MessageStatus::Held);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_held_message_survives_a_restart(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let held = gateway.send(guarded(&number(1), "x", HOLD)).await?;
        gateway.stream(after(&held.cursor)).await?.until(&held.message_id, MessageStatus::Held).await?;
        let before = gateway.message(&held.message_id).await?;
        let database = gateway.stop().await?;
        let mut gateway = TestGateway::start_on(database, Setup::default()).await?;
        play(&gateway, &fake, silent());
        assert_eq!(gateway.message(&held.message_id).await?, before);
        let mut stream = gateway.stream(after(&held.cursor)).await?;
        wrote(&gateway, &fake, said(&number(1)));
        assert_eq!(words(&stream.until(&held.message_id, MessageStatus::Sent).await?), ["ACCEPTED", "HELD", "SENT"]);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_held_message_can_be_cancelled_and_expires_like_any_other(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let mut short = guarded(&number(1), "expires", HOLD);
        short.options.as_mut().unwrap().validity = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let expires = gateway.send(short).await?;
        let mut stream = gateway.stream(after(&expires.cursor)).await?;
        let cancelled = gateway.send(guarded(&number(1), "cancelled", HOLD)).await?;
        let seen = Seen::until_all(&mut stream, 2, MessageStatus::Held).await?;
        assert_eq!(seen.words(&cancelled.message_id), ["ACCEPTED", "HELD"]);
        let request = proto::CancelMessageRequest { message_id: cancelled.message_id.clone() };
        let message = gateway.messaging.cancel_message(request).await?.into_inner().message.unwrap();
        assert_eq!((message.status(), message.hold_reason), (MessageStatus::Cancelled, 0));
        let ends = Seen::until_all(&mut stream, 1, MessageStatus::Expired).await?;
        let [end] = &ends.by_message[&expires.message_id][..] else { panic!("{ends:?}") };
        assert_eq!(end.error.as_ref().unwrap().reason(), DeliveryErrorReason::Expired);
        // What is over is not woken.
        wrote(&gateway, &fake, said(&number(1)));
        let last = gateway.send(text("acme", &number(1), "last")).await?;
        stream.until(&last.message_id, MessageStatus::Sent).await?;
        assert_eq!((fake.ledger().requests, fake.rows()[0].text.as_str()), (1, "last"));
        gateway.stop().await?;
        Ok(())
    }

    async fn only_what_a_person_says_wakes_a_held_message(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let from = |n: usize, kind: &str, part: serde_json::Value| json!({ "from": number(n), "type": kind, kind: part });
        let changed = json!({ "body": "User changed number", "wa_id": number(99), "type": "user_changed_number" });
        for (n, payload, opens) in [
            (1, from(1, "system", changed), false),
            (2, from(2, "reaction", json!({ "message_id": "wamid.HBgNOUR", "emoji": "👍" })), true),
            (3, from(3, "button", json!({ "payload": "ok", "text": "Confirmo" })), true),
            (4, from(4, "hologram", json!({})), true),
        ] {
            let held = gateway.send(guarded(&number(n), "x", HOLD)).await?;
            stream.until(&held.message_id, MessageStatus::Held).await?;
            wrote(&gateway, &fake, payload);
            let incoming = loop {
                if let Some(Payload::IncomingMessage(incoming)) = stream.next_event().await?.payload {
                    break incoming;
                }
            };
            assert_eq!(incoming.window_expire_time.is_some(), opens, "{incoming:?}");
            if !opens {
                assert_eq!(gateway.message(&held.message_id).await?.0.hold_reason, 1);
                wrote(&gateway, &fake, said(&number(n)));
            }
            stream.until(&held.message_id, MessageStatus::Sent).await?;
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_message_is_never_held_past_the_person_who_writes_in_that_moment(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let webhook = gateway.devino_webhook("acme");
        let mut stream = gateway.stream(Default::default()).await?;
        let people: Vec<String> = (0..60).map(number).collect();
        gateway.set_state("acme", SenderState::Paused).await?;
        gateway.send_all(people.iter().map(|to| guarded(to, "x", HOLD))).await?;
        // Everybody writes while all of them are judged.
        gateway.set_state("acme", SenderState::Active).await?;
        let writes = people.iter().enumerate().map(|(n, from)| {
            let incoming = json!({ "incomingMessageId": format!("in-{n}"), "from": from, "to": "AcmeCare", "text": "Olá" });
            post(&webhook, incoming.to_string())
        });
        assert!(futures::future::try_join_all(writes).await?.iter().all(|status| *status == 200));
        let seen = Seen::until_all(&mut stream, people.len(), MessageStatus::Sent).await?;
        assert_eq!(seen.by_message.len(), people.len());
        assert_eq!((fake.ledger().taken, fake.ledger().twice.len()), (60, 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_deleted_sender_takes_its_held_messages_along(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let _fake = start(&mut gateway, silent()).await?;
        let held = gateway.send(guarded(&number(1), "x", HOLD)).await?;
        let mut stream = gateway.stream(after(&held.cursor)).await?;
        stream.until(&held.message_id, MessageStatus::Held).await?;
        gateway.admin.delete_sender(proto::DeleteSenderRequest { sender: "acme".into() }).await?;
        let last = stream.next_status(&held.message_id).await?;
        assert_eq!(last.error.unwrap().reason(), DeliveryErrorReason::SenderDeleted);
        assert_eq!(crate::tools::count(&gateway.rows().await?, "windows").await?, 0);
        gateway.stop().await?;
        Ok(())
    }
}
