//! What people wrote, for which of our numbers, and who may say so.

use anyhow::Result;
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::incoming_message::Content;
use serde_json::{Value, json};

use super::{TOKEN, sender, sender_at, webhook};
use crate::gateway::{EventStream, TestGateway};
use crate::on_both_databases;
use crate::tools::{count, fake, post, silent, until};

/// The next message of a person, and the sender that it is for.
async fn next_incoming(stream: &mut EventStream) -> Result<(String, proto::IncomingMessage)> {
    loop {
        let event = stream.next_event().await?;
        if let Some(Payload::IncomingMessage(incoming)) = event.payload {
            return Ok((event.sender, incoming));
        }
    }
}

fn recorded(name: &str) -> Result<String> {
    Ok(std::fs::read_to_string(format!("{}/tests/fixtures/infobip/{name}.json", env!("CARGO_MANIFEST_DIR")))?)
}

on_both_databases! {
    async fn what_was_posted_is_what_the_event_says(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let media = |kind: proto::MediaKind, caption: &str| {
            Content::Media(proto::IncomingMedia {
                kind: kind as i32,
                state: proto::MediaState::Pending as i32,
                caption: caption.into(),
                ..Default::default()
            })
        };
        let button = |id: &str, title: &str| Content::ButtonReply(proto::ButtonReply { id: id.into(), title: title.into() });
        let said = |body: &str| Content::Text(proto::Text { body: body.into(), preview_url: false });
        let shop = proto::Location {
            latitude: -23.55,
            longitude: -46.63,
            name: "Loja Centro".into(),
            address: "Rua Exemplo 10".into(),
            url: String::new(),
        };
        let row =
            proto::ListReply { id: "delivery".into(), title: "Entrega".into(), description: "Até amanhã".into() };
        for (name, expected) in [
            ("incoming_text", vec![said("Qual o prazo? É já? 🚚")]),
            (
                "incoming_media",
                vec![
                    media(proto::MediaKind::Image, "comprovante"),
                    media(proto::MediaKind::Voice, ""),
                    media(proto::MediaKind::Document, "fatura.pdf"),
                    media(proto::MediaKind::Video, ""),
                    media(proto::MediaKind::Audio, ""),
                    media(proto::MediaKind::Sticker, ""),
                ],
            ),
            ("incoming_location", vec![Content::Location(shop)]),
        ] {
            assert_eq!(post(&webhook(&gateway, "acme"), recorded(name)?).await?, 200);
            for expected in expected {
                let (_, incoming) = next_incoming(&mut stream).await?;
                assert_eq!(incoming.contact.as_ref().unwrap().phone_number, "5511987654321");
                assert_eq!((incoming.profile_name.as_str(), incoming.content.unwrap()), ("Marina", expected), "{name}");
            }
        }
        assert_eq!(post(&webhook(&gateway, "acme"), recorded("incoming_replies")?).await?, 200);
        for expected in [
            button("confirm-77", "Confirmar"),
            button("yes", "Sim"),
            Content::ListReply(row),
            said("Este aqui"),
        ] {
            assert_eq!(next_incoming(&mut stream).await?.1.content.unwrap(), expected);
        }
        let Content::Reaction(reaction) = next_incoming(&mut stream).await?.1.content.unwrap() else { panic!("a reaction") };
        assert_eq!(reaction.emoji, "👍");
        assert_eq!(post(&webhook(&gateway, "acme"), recorded("incoming_contacts")?).await?, 200);
        let Content::ContactCards(cards) = next_incoming(&mut stream).await?.1.content.unwrap() else { panic!("cards") };
        assert_eq!(cards.cards[0].phones[0].wa_id, "351910000009");
        assert_eq!(post(&webhook(&gateway, "acme"), recorded("incoming_unsupported")?).await?, 200);
        for word in ["ORDER", "UNSUPPORTED", "IMAGE", ""] {
            let (_, incoming) = next_incoming(&mut stream).await?;
            let Content::Unsupported(kept) = incoming.content.unwrap() else { panic!("{word}") };
            let raw: Value = serde_json::from_str(&kept.raw)?;
            assert_eq!((kept.r#type.as_str(), &raw["messageId"]), (word, &json!(incoming.provider_message_id)));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn i5_one_address_may_get_the_messages_of_several_numbers(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        sender_at(&mut gateway, "other", "551140009999", &fake.base_url("infobip")).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        assert_eq!(post(&webhook(&gateway, "acme"), recorded("mixed")?).await?, 200);
        for (sender, body) in [("acme", "um"), ("other", "de outro")] {
            let (of, incoming) = next_incoming(&mut stream).await?;
            let Content::Text(text) = incoming.content.unwrap() else { panic!("a text") };
            assert_eq!((of.as_str(), text.body.as_str()), (sender, body));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn i1_a_copy_is_no_second_message_and_i4_the_same_words_are(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        for id in ["A1", "A1", "A2", "A1", "A3"] {
            let payload = json!({ "from": "5511987654321", "messageId": id, "message": { "type": "TEXT", "text": "ok" } });
            let Value::Object(payload) = payload else { panic!("an object") };
            fake.post_incoming("infobip", &webhook(&gateway, "acme"), payload).unwrap();
        }
        for id in ["A1", "A2", "A3"] {
            assert_eq!(next_incoming(&mut stream).await?.1.provider_message_id, id);
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn i9_without_the_right_token_nothing_is_kept(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let rows = gateway.rows().await?;
        let at = |query: &str| format!("{}/webhooks/infobip/acme{query}", gateway.http);
        for query in ["", "?token=", &format!("?token={}", &TOKEN[1..]), &format!("?token={TOKEN}x"), "/wrong"] {
            assert_eq!(post(&at(query), recorded("incoming_text")?).await?, 401, "{query}");
        }
        assert_eq!(count(&rows, "journal").await?, 0);
        assert_eq!(post(&at(&format!("/{TOKEN}")), recorded("report_some_bad")?).await?, 200);
        until("it was taken in", async || Ok((count(&rows, "journal WHERE pending IS NULL").await? == 1).then_some(()))).await?;
        assert_eq!(count(&rows, "journal WHERE items = 6 AND unreadable = 4").await?, 1);
        gateway.stop().await?;
        Ok(())
    }
}
