//! What people wrote.

use anyhow::Result;
use recado::proto;
use recado::proto::incoming_message::Content;
use serde_json::{Map, Value, json};

use super::{fake, post, sender, webhook};
use crate::gateway::{EventStream, TestGateway};
use crate::on_both_databases;
use crate::tools::silent;

async fn next_incoming(stream: &mut EventStream) -> Result<proto::IncomingMessage> {
    loop {
        if let Some(proto::event::Payload::IncomingMessage(incoming)) = stream.next_event().await?.payload {
            return Ok(incoming);
        }
    }
}

/// The fields of a recorded webhook.
fn recorded(name: &str) -> Result<Value> {
    let path = format!("{}/tests/fixtures/twilio/{name}.form", env!("CARGO_MANIFEST_DIR"));
    let body = std::fs::read(path)?;
    let fields: Map<String, Value> =
        url::form_urlencoded::parse(&body).into_owned().map(|(name, value)| (name, value.into())).collect();
    Ok(fields.into())
}

fn media(kind: proto::MediaKind, mime_type: &str, caption: &str) -> Content {
    Content::Media(proto::IncomingMedia {
        kind: kind as i32,
        state: proto::MediaState::Pending as i32,
        mime_type: mime_type.into(),
        caption: caption.into(),
        ..Default::default()
    })
}

on_both_databases! {
    async fn what_was_posted_is_what_the_event_says(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let shop = proto::Location {
            latitude: -23.55,
            longitude: -46.63,
            name: "Loja Centro".into(),
            address: "Rua Exemplo 10, São Paulo".into(),
            url: String::new(),
        };
        let button = proto::ButtonReply { id: "confirm-77".into(), title: "Confirmar".into() };
        let row =
            proto::ListReply { id: "delivery".into(), title: "Entrega".into(), description: "Até amanhã".into() };
        let said = |body: &str| Content::Text(proto::Text { body: body.into(), preview_url: false });
        for (name, expected) in [
            ("incoming_text", Some(said("Qual o prazo? É já? 🚚 a+b & c=d"))),
            ("incoming_image", Some(media(proto::MediaKind::Image, "image/jpeg", "comprovante"))),
            ("incoming_voice", Some(media(proto::MediaKind::Audio, "audio/ogg", ""))),
            ("incoming_video", Some(media(proto::MediaKind::Video, "video/mp4", ""))),
            ("incoming_document", Some(media(proto::MediaKind::Document, "application/pdf", "fatura.pdf"))),
            ("incoming_sticker", Some(media(proto::MediaKind::Sticker, "image/webp", ""))),
            ("incoming_location", Some(Content::Location(shop))),
            ("incoming_button", Some(Content::ButtonReply(button))),
            ("incoming_list", Some(Content::ListReply(row))),
            ("incoming_order", None),
        ] {
            let payload = recorded(name)?;
            post(&fake, &webhook(&gateway, "acme"), payload.clone());
            let incoming = next_incoming(&mut stream).await?;
            assert_eq!(incoming.provider_message_id, payload["MessageSid"].as_str().unwrap(), "{name}");
            let contact = incoming.contact.clone().unwrap();
            assert_eq!((&*contact.phone_number, &*contact.wa_id), ("+5511987654321", "5511987654321"));
            assert_eq!(incoming.profile_name, "Marina");
            match (incoming.content.unwrap(), expected) {
                (content, Some(expected)) => assert_eq!(content, expected, "{name}"),
                (Content::Unsupported(raw), None) => {
                    let kept: Value = serde_json::from_str(&raw.raw)?;
                    assert_eq!((raw.r#type.as_str(), &kept["Body"]), ("order", &json!("Pedido")));
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn i1_a_copy_is_no_second_message_and_i4_the_same_words_are(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let at = webhook(&gateway, "acme");
        let written = |sid: &str| json!({ "MessageSid": sid, "From": "whatsapp:+5511987654321", "Body": "ok" });
        for sid in ["SM01", "SM01", "SM02", "SM01"] {
            post(&fake, &at, written(sid));
        }
        post(&fake, &at, json!({ "MessageSid": "SM03", "From": "whatsapp:+5511987654321", "Body": "last" }));
        let mut sids = Vec::new();
        while sids.len() < 3 {
            sids.push(next_incoming(&mut stream).await?.provider_message_id);
        }
        sids.sort();
        assert_eq!(sids, ["SM01", "SM02", "SM03"]);
        gateway.stop().await?;
        Ok(())
    }

    async fn i10_a_person_without_a_number_is_known_by_the_user_id(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        post(&fake, &webhook(&gateway, "acme"), recorded("incoming_username")?);
        let contact = next_incoming(&mut stream).await?.contact.unwrap();
        assert_eq!((&*contact.phone_number, &*contact.user_id), ("", "BR.13491208655302741918"));
        gateway.stop().await?;
        Ok(())
    }

    async fn two_files_are_two_messages_and_an_ad_is_told(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        post(&fake, &webhook(&gateway, "acme"), recorded("incoming_two_files")?);
        let files = [next_incoming(&mut stream).await?, next_incoming(&mut stream).await?];
        let [first, second] = files.map(|file| file.content.unwrap());
        assert_eq!(first, media(proto::MediaKind::Image, "image/png", "os dois"));
        assert_eq!(second, media(proto::MediaKind::Document, "application/pdf", ""));
        post(&fake, &webhook(&gateway, "acme"), recorded("incoming_referral")?);
        let referral = next_incoming(&mut stream).await?.referral.unwrap();
        assert_eq!((&*referral.headline, &*referral.source_type), ("Liquidação", "ad"));
        gateway.stop().await?;
        Ok(())
    }
}
