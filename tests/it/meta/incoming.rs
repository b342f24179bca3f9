//! What people write, and to which number.

use std::path::Path;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::incoming_message::Content;
use serde_json::{Map, Value, json};

use super::{NUMBER, OTHER_NUMBER, change, envelope, post, post_with, sender_at, start, webhook, written};
use crate::gateway::{EventStream, Setup, TestGateway};
use crate::media::downloaded;
use crate::on_both_databases;
use crate::tools::{count, silent, until};

/// A recorded webhook.
fn recorded(name: &str) -> Result<Map<String, Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/meta").join(name);
    Ok(serde_json::from_slice(&std::fs::read(&path).with_context(|| path.display().to_string())?)?)
}

async fn next_incoming(stream: &mut EventStream) -> Result<(String, proto::IncomingMessage)> {
    loop {
        let event = stream.next_event().await?;
        if let Some(Payload::IncomingMessage(incoming)) = event.payload {
            return Ok((event.sender, incoming));
        }
    }
}

/// What kind of content it is, with what tells it apart.
fn told(incoming: &proto::IncomingMessage) -> String {
    match incoming.content.as_ref().unwrap() {
        Content::Text(text) => text.body.clone(),
        Content::Media(media) => format!("{:?} {}", media.kind(), media.mime_type),
        Content::Location(place) => format!("place {} {}", place.latitude, place.name),
        Content::ContactCards(cards) => format!("{} cards", cards.cards.len()),
        Content::Reaction(reaction) => format!("reaction {:?} to {}", reaction.emoji, reaction.provider_message_id),
        Content::ButtonReply(reply) => format!("button {} {}", reply.id, reply.title),
        Content::ListReply(reply) => format!("row {} {} {}", reply.id, reply.title, reply.description),
        Content::Order(order) => format!("order of {}", order.items.len()),
        Content::System(notice) => format!("{} {}{}", notice.r#type, notice.new_wa_id, notice.new_user_id),
        Content::Unsupported(other) => format!("unsupported {}", other.r#type),
    }
}

on_both_databases! {
    async fn i11_every_kind_becomes_an_event(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let cases: [(&str, &[&str]); 9] = [
            ("incoming_text.json", &["Qual o prazo? 🚚"]),
            ("incoming_media.json", &[
                "Image image/jpeg", "Video video/mp4", "Audio audio/mpeg", "Voice audio/ogg; codecs=opus",
                "Document application/pdf", "Sticker image/webp",
            ]),
            ("incoming_location.json", &["place -23.5613 Loja Centro", "place -23.5613 ", "unsupported location"]),
            ("incoming_contacts.json", &["1 cards", "1 cards", "unsupported contacts"]),
            ("incoming_replies.json", &[
                "button ok-77 Confirmo", "button no-77 Remarcar", "row h9 09:00 Loja Centro", "unsupported nfm_reply",
                "unsupported call_permission_reply", "reaction \"👍\" to wamid.HBgNOUR",
                "reaction \"\" to wamid.HBgNOUR", "reaction \"\" to wamid.HBgNOUR",
            ]),
            ("incoming_order.json", &["order of 2"]),
            ("incoming_system.json", &["user_changed_number 5511911112222", "user_changed_user_id BR.13491208655302749999"]),
            ("incoming_unsupported.json", &[
                "unsupported unsupported", "unsupported poll_creation", "unsupported unknown",
                "unsupported request_welcome", "unsupported hologram",
            ]),
            ("preferences.json", &["user_preferences ", "user_preferences ", "unsupported user_preferences"]),
        ];
        for (name, expected) in cases {
            fake.post_incoming("meta", &webhook(&gateway, "acme"), recorded(name)?).unwrap();
            for expected in expected {
                let (sender, incoming) = next_incoming(&mut stream).await?;
                assert_eq!((sender.as_str(), told(&incoming).as_str()), ("acme", *expected), "{name}");
            }
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn i13_a_file_is_looked_up_by_its_id_and_fetched_with_the_token(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup::default().with("guard.allow", "127.0.0.1")).await?;
        let fake = start(&mut gateway, silent()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let image = json!({ "from": "5511987654321", "type": "image", "image": { "id": "1479537139650973", "mime_type": "image/png" } });
        fake.post_incoming("meta", &webhook(&gateway, "acme"), image.as_object().unwrap().clone()).unwrap();
        let Some(Content::Media(media)) = next_incoming(&mut stream).await?.1.content else { panic!("no file") };
        let (_, bytes) = downloaded(&gateway, &media.media_id).await?;
        assert_eq!(bytes, b"the file 1479537139650973\n");
        gateway.stop().await?;
        Ok(())
    }

    async fn context_referral_and_product_come_along(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        fake.post_incoming("meta", &webhook(&gateway, "acme"), recorded("incoming_context.json")?).unwrap();
        let (_, ad) = next_incoming(&mut stream).await?;
        let referral = ad.referral.unwrap();
        assert_eq!((referral.source_type.as_str(), referral.click_id.as_str()), ("ad", "ARsample"));
        let (_, forwarded) = next_incoming(&mut stream).await?;
        assert_eq!((forwarded.forwarded, forwarded.frequently_forwarded), (true, false));
        let (_, forwarded) = next_incoming(&mut stream).await?;
        assert_eq!((forwarded.forwarded, forwarded.frequently_forwarded), (true, true));
        let (_, asked) = next_incoming(&mut stream).await?;
        let reply_to = asked.reply_to.unwrap();
        assert_eq!((reply_to.provider_message_id.as_str(), reply_to.product_id.as_str()), ("wamid.HBgNCAT", "SKU-1"));
        gateway.stop().await?;
        Ok(())
    }

    async fn i10_people_without_a_number_are_known_by_their_user_id(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let user_id = "BR.13491208655302741918";
        let filter = proto::EventFilter { peers: vec![user_id.into()], ..Default::default() };
        let request = proto::StreamEventsRequest { filter: Some(filter), ..Default::default() };
        let mut by_id = gateway.stream(request).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        fake.post_incoming("meta", &webhook(&gateway, "acme"), recorded("incoming_people.json")?).unwrap();
        let phone = "5511987654321";
        for (number, id, name) in [("", user_id, "Marina"), ("", user_id, "marina.s"), (phone, user_id, "Marina"), (phone, "", ""), (phone, "", "Marina"), ("", "", "")] {
            let (_, incoming) = next_incoming(&mut stream).await?;
            let contact = incoming.contact.unwrap_or_default();
            assert_eq!((&*contact.phone_number, &*contact.user_id, &*incoming.profile_name), (number, id, name));
        }
        for name in ["Marina", "marina.s"] {
            assert_eq!(next_incoming(&mut by_id).await?.1.profile_name, name);
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn i1_copies_are_one_message(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let _fake = start(&mut gateway, silent()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let url = webhook(&gateway, "acme");
        let body = |id: &str, text: &str| envelope(vec![change(NUMBER, json!({ "messages": [written(id, text)] }))]);
        let copies = (0..20).map(|_| post(&url, body("wamid.ONE", "olá")));
        assert_eq!(try_join_all(copies).await?, [200; 20]);
        assert_eq!(post(&url, body("wamid.TWO", "olá")).await?, 200);
        assert_eq!(post(&url, body("wamid.END", "fim")).await?, 200);
        let mut got = Vec::new();
        while got.last().is_none_or(|last| last != "fim") {
            got.push(told(&next_incoming(&mut stream).await?.1));
        }
        assert_eq!(got, ["olá", "olá", "fim"]);
        gateway.stop().await?;
        Ok(())
    }

    async fn i5_two_numbers_on_one_address_get_each_their_own(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        sender_at(&mut gateway, "other", &fake.base_url("meta"), OTHER_NUMBER).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let sent = gateway.send(crate::gateway::text("other", "+5511987654321", "x")).await?;
        stream.until(&sent.message_id, proto::MessageStatus::Sent).await?;
        let id = fake.rows()[0].provider_message_ids[0].clone();
        let rows = gateway.rows().await?;
        let text = |id: &str, text: &str| json!({ "messages": [written(id, text)] });
        // One POST to the one address: two numbers, messages and a status mixed, and a number of nobody's.
        let body = envelope(vec![
            change(NUMBER, text("wamid.A", "para acme")),
            change(OTHER_NUMBER, text("wamid.B", "para other")),
            change("999", text("wamid.C", "para ninguém")),
            change(OTHER_NUMBER, json!({ "statuses": [{ "id": id, "status": "read", "timestamp": "1767225600" }] })),
        ]);
        assert_eq!(post(&webhook(&gateway, "acme"), body).await?, 200);
        let mut got = Vec::new();
        let mut read = None;
        while got.len() < 2 || read.is_none() {
            let event = stream.next_event().await?;
            match event.payload {
                Some(Payload::IncomingMessage(incoming)) => got.push((event.sender, told(&incoming))),
                Some(Payload::StatusChanged(status)) => {
                    read = Some((event.sender, status.message_id.clone(), status.status()));
                }
                _ => {}
            }
        }
        got.sort();
        assert_eq!(got, [("acme".into(), "para acme".to_owned()), ("other".into(), "para other".to_owned())]);
        assert_eq!(read, Some(("other".into(), sent.message_id, proto::MessageStatus::Read)));
        // What is nobody's stays in the journal, counted, and was answered with 200.
        assert_eq!(count(&rows, "journal WHERE items = 4 AND unreadable = 1 AND problem IS NOT NULL").await?, 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn another_apps_webhook_is_not_believed_about_this_number(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        // The same provider, another app: its own secret proves nothing about `acme`.
        let config = proto::sender::Config::Meta(proto::MetaConfig {
            base_url: fake.base_url("meta"),
            access_token: "t".into(),
            phone_number_id: OTHER_NUMBER.into(),
            app_secret: "the other app's".into(),
            ..Default::default()
        });
        let sender = Some(proto::Sender { sender: "foreign".into(), config: Some(config), ..Default::default() });
        gateway.admin.create_sender(proto::CreateSenderRequest { sender }).await?;
        let body = envelope(vec![change(NUMBER, json!({ "messages": [written("wamid.F", "forged")] }))]);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"the other app's");
        let signature = format!("sha256={}", hex::encode(ring::hmac::sign(&key, body.as_bytes())));
        assert_eq!(post_with(&webhook(&gateway, "foreign"), body, Some(&signature)).await?, 200);
        let rows = gateway.rows().await?;
        until("it was taken in", async || Ok((count(&rows, "journal WHERE unreadable = 1").await? == 1).then_some(()))).await?;
        assert_eq!(count(&rows, "incoming_messages").await?, 0);
        gateway.stop().await?;
        Ok(())
    }
}
