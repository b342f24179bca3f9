//! What people write, as CloudChat posts it, and what is not theirs.

use std::path::Path;

use anyhow::{Context as _, Result};
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::incoming_message::Content;
use serde_json::{Map, Value, json};

use super::{SECRET, with_token};
use crate::gateway::{EventStream, TestGateway};
use crate::on_both_databases;
use crate::tools::{count, fake, post, silent, until};

/// A recorded payload.
fn recorded(name: &str) -> Result<Map<String, Value>> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cloudhumans").join(name).with_extension("json");
    Ok(serde_json::from_slice(&std::fs::read(&path).with_context(|| path.display().to_string())?)?)
}

async fn next_incoming(stream: &mut EventStream) -> Result<proto::IncomingMessage> {
    loop {
        if let Some(Payload::IncomingMessage(incoming)) = stream.next_event().await?.payload {
            return Ok(incoming);
        }
    }
}

fn shown(content: &Content) -> String {
    match content {
        Content::Text(text) => format!("text {}", text.body),
        Content::Media(media) => {
            let state = media.state().as_str_name();
            format!("{} {:?} {:?} {state}", media.kind().as_str_name(), media.file_name, media.caption)
        }
        Content::Location(place) => format!("place {} {} {}", place.latitude, place.longitude, place.name),
        Content::ContactCards(cards) => format!("card {}", cards.cards[0].phones[0].phone),
        Content::Unsupported(raw) => format!("unsupported {}", raw.raw.contains("message_created")),
        other => format!("{other:?}"),
    }
}

on_both_databases! {
    async fn what_was_posted_is_what_the_event_says(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans(&fake, silent()).await?;
        let webhook = gateway.cloudhumans_webhook("acme");
        let mut stream = gateway.stream(Default::default()).await?;
        for (name, expected) in [
            ("incoming_text", "text Qual o prazo? É já? 🚚"),
            ("incoming_image", r#"MEDIA_KIND_IMAGE "foto.jpg" "O recibo" MEDIA_STATE_PENDING"#),
            ("incoming_audio", r#"MEDIA_KIND_AUDIO "audio.oga" "" MEDIA_STATE_PENDING"#),
            ("incoming_video", r#"MEDIA_KIND_VIDEO "video.mp4" "" MEDIA_STATE_PENDING"#),
            ("incoming_file", r#"MEDIA_KIND_DOCUMENT "boleto nº 1.pdf" "" MEDIA_STATE_PENDING"#),
            ("incoming_location", "place -23.5614 -46.6559 Loja Acme"),
            ("incoming_contact", "card +55 11 91234-5678"),
            ("incoming_share", "unsupported true"),
            ("incoming_unsupported", "unsupported true"),
        ] {
            let payload = recorded(name)?;
            fake.post_incoming("cloudhumans", &webhook, payload.clone()).unwrap();
            let incoming = next_incoming(&mut stream).await?;
            assert_eq!(shown(incoming.content.as_ref().unwrap()), expected, "{name}");
            assert_eq!(incoming.provider_message_id, payload["id"].to_string());
            assert_eq!(incoming.profile_name, "Marina");
            let contact = incoming.contact.unwrap();
            assert_eq!((contact.phone_number.as_str(), contact.wa_id.as_str()), ("+5511987654321", "5511987654321"));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn i1_echoes_notes_other_inboxes_and_repeats_make_no_message(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans(&fake, silent()).await?;
        let webhook = with_token(&gateway.cloudhumans_webhook("acme"));
        let names = [
            "incoming_text", "echo_outgoing", "echo_template", "private_note", "other_inbox", "other_account", "edited",
            "deleted", "conversation_status_changed", "typing", "incoming_text",
        ];
        for name in names {
            assert_eq!(post(&webhook, Value::Object(recorded(name)?).to_string()).await?, 200, "{name}");
        }
        let rows = gateway.rows().await?;
        until("all were taken in", async || {
            Ok((count(&rows, "journal WHERE pending IS NULL").await? == names.len() as i64).then_some(()))
        }).await?;
        assert_eq!(count(&rows, "journal WHERE unreadable > 0").await?, 0);
        let events = gateway.all_events().await?;
        let incoming = events.iter().filter(|event| matches!(event.payload, Some(Payload::IncomingMessage(_))));
        assert_eq!(incoming.count(), 1);
        assert_eq!(count(&rows, "parked_reports").await?, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn i9_a_forged_webhook_is_refused_and_kept_nowhere(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans(&fake, silent()).await?;
        let webhook = gateway.cloudhumans_webhook("acme");
        let body = Value::Object(recorded("incoming_text")?).to_string();
        let signed = async |secret: &str, body: &str, signature: &str| -> Result<u16> {
            let timestamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs().to_string();
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
            let mac = hex::encode(ring::hmac::sign(&key, format!("{timestamp}.{signature}").as_bytes()));
            let request = reqwest::Client::builder().no_proxy().build()?.post(&webhook).body(body.to_owned());
            let request = request.header("x-chatwoot-signature", format!("sha256={mac}"));
            Ok(request.header("x-chatwoot-timestamp", timestamp).send().await?.status().as_u16())
        };
        assert_eq!(post(&webhook, body.clone()).await?, 401, "no proof");
        assert_eq!(post(&format!("{webhook}?token=another"), body.clone()).await?, 401);
        assert_eq!(signed("another", &body, &body).await?, 401);
        assert_eq!(signed(SECRET, &body.replace("prazo", "preço"), &body).await?, 401, "changed on the way");
        let rows = gateway.rows().await?;
        assert_eq!(count(&rows, "journal").await?, 0);
        assert_eq!(signed(SECRET, &body, &body).await?, 200);
        assert_eq!(post(&with_token(&webhook), json!({ "event": "inbox_updated" }).to_string()).await?, 200);
        assert_eq!(count(&rows, "journal").await?, 2);
        gateway.stop().await?;
        Ok(())
    }
}
