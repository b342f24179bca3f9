//! What people write, and who may say so.

use recado::proto;
use recado::proto::event::Payload;
use recado::proto::incoming_message::Content;
use serde_json::{Value, json};

use super::{CHANNEL, PERSON, config, create, next_incoming, recorded, sender, sender_with, webhook};
use crate::gateway::TestGateway;
use crate::on_both_databases;
use crate::tools::{TOKEN, count, fake, post, silent, until};

fn said(content: Option<Content>) -> String {
    match content.unwrap() {
        Content::Text(text) => format!("text {}", text.body),
        Content::Media(media) => format!("{} {}", media.kind().as_str_name(), media.caption),
        Content::Location(place) => format!("place {}", place.name),
        Content::ContactCards(cards) => format!("card {}", cards.cards[0].name.as_ref().unwrap().formatted_name),
        Content::ButtonReply(reply) => format!("button {} {}", reply.id, reply.title),
        Content::Reaction(reaction) => format!("reaction {}", reaction.emoji),
        Content::Unsupported(raw) => {
            serde_json::from_str::<Value>(&raw.raw).unwrap();
            format!("unsupported {}", raw.r#type)
        }
        other => format!("{other:?}"),
    }
}

/// A message in Digivox's envelope.
fn written(id: &str, channel: &str, body: &str) -> String {
    let message = json!({ "id": id, "from": PERSON, "type": "text", "text": { "body": body } });
    json!({ "event": "message", "channel": "whatsapp", "whatsapp_id": channel, "message": message }).to_string()
}

on_both_databases! {
    async fn what_was_posted_is_what_the_event_says(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        create(&mut gateway, sender("acme", &fake.base_url("digivox"))).await?;
        let url = webhook(&gateway, "acme");
        let mut stream = gateway.stream(Default::default()).await?;
        for (name, id, expected) in [
            ("message_text.json", "in-7001", "text Oi, cadê meu pedido? É já? 🚚"),
            ("message_location.json", "in-7015", "place Loja Acme"),
            ("message_contacts.json", "in-7016", "card Rui Melo"),
            ("message_reaction.json", "in-7017", "reaction 👍"),
            ("meta_text.json", "wamid.TEST1", "text Oi"),
        ] {
            fake.post_incoming("digivox", &url, recorded(name)?).unwrap();
            let (event, incoming) = next_incoming(&mut stream).await?;
            assert_eq!((incoming.provider_message_id.as_str(), event.sender.as_str()), (id, "acme"), "{name}");
            assert_eq!(event.occur_time.as_ref().unwrap().seconds, 1_767_225_600);
            assert_eq!(incoming.contact.as_ref().unwrap().phone_number, PERSON);
            assert_eq!(incoming.profile_name, "Maria");
            assert_eq!(said(incoming.content), expected);
        }
        for (message, expected) in [
            (json!({ "type": "image", "image": { "url": "https://media.example.test/1.jpg", "caption": "foto" } }), "MEDIA_KIND_IMAGE foto"),
            (json!({ "type": "interactive", "interactive": { "type": "button_reply", "button_reply": { "id": "c1", "title": "Sim" } } }), "button c1 Sim"),
            (json!({ "type": "image", "image": { "id": "7" } }), "unsupported image"),
            (json!({ "type": "hologram" }), "unsupported hologram"),
        ] {
            let mut payload = message.as_object().unwrap().clone();
            payload.insert("from".into(), PERSON.into());
            fake.post_incoming("digivox", &url, payload).unwrap();
            assert_eq!(said(next_incoming(&mut stream).await?.1.content), expected);
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn i9_without_the_right_token_nothing_is_kept(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        create(&mut gateway, sender("acme", "http://127.0.0.1:9")).await?;
        let open = proto::DigivoxConfig { base_url: "http://127.0.0.1:9".into(), webhook_token: String::new(), ..config() };
        create(&mut gateway, sender_with("open", open)).await?;
        let rows = gateway.rows().await?;
        let body = written("in-1", CHANNEL, "Oi");
        for at in ["acme", "acme?token=", &format!("acme?token={TOKEN}x"), &format!("acme/{}", &TOKEN[1..]), "open", "open?token="] {
            let url = format!("{}/webhooks/digivox/{at}", gateway.http);
            assert_eq!(post(&url, body.clone()).await?, 401, "{at}");
        }
        assert_eq!(count(&rows, "journal").await?, 0);
        assert_eq!(post(&webhook(&gateway, "acme"), body).await?, 200);
        assert_eq!(count(&rows, "journal").await?, 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn i1_copies_are_one_message_and_what_is_no_message_makes_no_event(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        create(&mut gateway, sender("acme", "http://127.0.0.1:9")).await?;
        let url = webhook(&gateway, "acme");
        let mut stream = gateway.stream(Default::default()).await?;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/digivox/");
        for _ in 0..3 {
            assert_eq!(post(&url, written("in-1", CHANNEL, "once")).await?, 200);
            for nothing in ["other_networks.json", "message_of_ours.json"] {
                assert_eq!(post(&url, std::fs::read(format!("{folder}{nothing}"))?).await?, 200);
            }
        }
        assert_eq!(post(&url, written("in-2", CHANNEL, "last")).await?, 200);
        let rows = gateway.rows().await?;
        until("all were taken in", async || Ok((count(&rows, "journal WHERE pending IS NULL").await? == 10).then_some(()))).await?;
        assert_eq!(said(next_incoming(&mut stream).await?.1.content), "text once");
        assert_eq!(said(next_incoming(&mut stream).await?.1.content), "text last");
        let events = gateway.all_events().await?;
        let incoming = events.iter().filter(|event| matches!(event.payload, Some(Payload::IncomingMessage(_))));
        assert_eq!(incoming.count(), 2);
        assert_eq!(count(&rows, "journal WHERE unreadable > 0").await?, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn i5_one_address_serves_the_channels_of_one_token_and_no_others(engine) {
        const SECOND: &str = "6b0c7e1a-2222-4333-8444-555566667777";
        const THIRD: &str = "7b0c7e1a-2222-4333-8444-555566667777";
        let mut gateway = TestGateway::start(engine).await?;
        let base_url = "http://127.0.0.1:9".to_owned();
        create(&mut gateway, sender("acme", &base_url)).await?;
        let second = proto::DigivoxConfig { base_url: base_url.clone(), whatsapp_id: SECOND.into(), ..config() };
        create(&mut gateway, sender_with("second", second)).await?;
        let third = proto::DigivoxConfig {
            base_url, whatsapp_id: THIRD.into(), webhook_token: "another-token".into(), ..config()
        };
        create(&mut gateway, sender_with("third", third)).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let items = [written("in-1", SECOND, "second"), written("in-2", THIRD, "third"), written("in-3", CHANNEL, "own")];
        assert_eq!(post(&webhook(&gateway, "acme"), format!("[{}]", items.join(","))).await?, 200);
        for (sender, body) in [("second", "text second"), ("acme", "text own")] {
            let (event, incoming) = next_incoming(&mut stream).await?;
            assert_eq!((event.sender.as_str(), said(incoming.content).as_str()), (sender, body));
        }
        let rows = gateway.rows().await?;
        assert_eq!(count(&rows, "journal WHERE unreadable = 1").await?, 1, "the third's token is another");
        gateway.stop().await?;
        Ok(())
    }
}
