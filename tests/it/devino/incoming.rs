//! What people write, as Devino posts it.

use std::path::Path;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::incoming_message::Content;
use serde_json::{Map, Value, json};

use crate::gateway::{EventStream, TestGateway};
use crate::on_both_databases;
use crate::tools::{count, fake, post, silent, until};

/// A recorded payload.
fn recorded(name: &str) -> Result<Map<String, Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/devino").join(name);
    Ok(serde_json::from_slice(&std::fs::read(&path).with_context(|| path.display().to_string())?)?)
}

async fn next_incoming(stream: &mut EventStream) -> Result<(proto::Event, proto::IncomingMessage)> {
    loop {
        let mut event = stream.next_event().await?;
        if let Some(Payload::IncomingMessage(incoming)) = event.payload.take() {
            return Ok((event, incoming));
        }
    }
}

fn incoming(events: &[proto::Event]) -> Vec<&proto::IncomingMessage> {
    let one = |event| match event {
        &proto::Event { payload: Some(Payload::IncomingMessage(ref incoming)), .. } => Some(incoming),
        _ => None,
    };
    events.iter().filter_map(one).collect()
}

fn written(id: Option<u64>, text: &str) -> String {
    let mut message = json!({ "from": "351910000001", "to": "AcmeCare", "text": text });
    if let Some(id) = id {
        message["incomingMessageId"] = id.into();
    }
    message.to_string()
}

fn body(incoming: &proto::IncomingMessage) -> &str {
    match &incoming.content {
        Some(Content::Text(text)) => &text.body,
        _ => "",
    }
}

on_both_databases! {
    async fn what_was_posted_is_what_the_event_says(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let webhook = gateway.devino_webhook("acme");
        let mut stream = gateway.stream(Default::default()).await?;
        let voice = proto::IncomingMedia {
            kind: proto::MediaKind::Voice as i32,
            state: proto::MediaState::Pending as i32,
            mime_type: "audio/ogg; codecs=opus".into(),
            file_name: "aa11.ogg".into(),
            ..Default::default()
        };
        let shop = proto::Location {
            latitude: 38.7223,
            longitude: -9.1393,
            name: "Acme shop".into(),
            address: "Rua Exemplo 10".into(),
            url: "https://maps.example.test/acme".into(),
        };
        let cases = [
            ("incoming_text.json", Some(Content::Text(proto::Text {
                body: "Is it here yet? É já? 🚚".into(),
                preview_url: false,
            }))),
            ("incoming_voice.json", Some(Content::Media(voice))),
            ("incoming_location.json", Some(Content::Location(shop))),
            ("incoming_contacts.json", None),
            ("incoming_unsupported.json", None),
        ];
        for (name, expected) in cases {
            let payload = recorded(name)?;
            fake.post_incoming("devino", &webhook, payload.clone()).unwrap();
            let (event, incoming) = next_incoming(&mut stream).await?;
            assert_eq!(incoming.provider_message_id, payload["incomingMessageId"].to_string());
            assert_eq!(event.sender, "acme");
            let ts = payload["ts"].as_i64().unwrap();
            let millis = |time: Option<prost_types::Timestamp>| {
                time.map(|time| time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000)
            };
            assert_eq!(millis(event.occur_time), Some(ts));
            assert_eq!(millis(incoming.window_expire_time), Some(ts + 86_400_000));
            assert_eq!(incoming.contact.as_ref().unwrap().phone_number, "351910000001");
            let profile = payload.get("profileName").and_then(Value::as_str).unwrap_or_default();
            assert_eq!(incoming.profile_name, profile);
            match (incoming.content.clone().unwrap(), expected) {
                (Content::Media(media), Some(expected)) => {
                    media.media_id.parse::<uuid::Uuid>()?;
                    let media = proto::IncomingMedia { media_id: String::new(), ..media };
                    assert_eq!(Content::Media(media), expected);
                }
                (content, Some(expected)) => assert_eq!(content, expected),
                (Content::ContactCards(cards), None) => is_rui(&cards.cards),
                (Content::Unsupported(raw), None) => {
                    let raw: Value = serde_json::from_str(&raw.raw)?;
                    assert_eq!(raw, Value::Object(payload), "the whole of it, for whoever understands it");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn i1_i2_a_hundred_copies_at_once_and_one_later_are_one_message(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.devino_sender("other", &fake).await?;
        let webhook = gateway.devino_webhook("acme");
        let mut stream = gateway.stream(Default::default()).await?;
        let copies = (0..100).map(|_| post(&webhook, written(Some(3_591), "olá")));
        assert_eq!(try_join_all(copies).await?, [200; 100]);
        assert_eq!(body(&next_incoming(&mut stream).await?.1), "olá");
        // The same id under another sender is another message: ids are a provider's account's.
        assert_eq!(post(&gateway.devino_webhook("other"), written(Some(3_591), "other")).await?, 200);
        assert_eq!(body(&next_incoming(&mut stream).await?.1), "other");
        // A restart has no memory but the store.
        let database = gateway.stop().await?;
        let mut gateway = TestGateway::start_on(database, Default::default()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let webhook = gateway.devino_webhook("acme");
        assert_eq!(post(&webhook, written(Some(3_591), "olá")).await?, 200);
        assert_eq!(post(&webhook, written(Some(3_592), "last")).await?, 200);
        assert_eq!(body(&next_incoming(&mut stream).await?.1), "last");
        let events = gateway.all_events().await?;
        assert_eq!(incoming(&events).into_iter().map(body).collect::<Vec<_>>(), ["olá", "other", "last"]);
        gateway.stop().await?;
        Ok(())
    }

    async fn i4_the_same_words_twice_are_two_messages(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let webhook = gateway.devino_webhook("acme");
        let mut stream = gateway.stream(Default::default()).await?;
        for id in [Some(1), Some(2), None, None] {
            assert_eq!(post(&webhook, written(id, "ok")).await?, 200);
        }
        // And both of one webhook.
        assert_eq!(post(&webhook, format!("[{},{}]", written(None, "ok"), written(None, "ok"))).await?, 200);
        let mut ids = std::collections::HashSet::new();
        for _ in 0..6 {
            let (_, incoming) = next_incoming(&mut stream).await?;
            assert_eq!(body(&incoming), "ok");
            ids.insert(incoming.message_id);
        }
        assert_eq!(ids.len(), 6);
        gateway.stop().await?;
        Ok(())
    }

    async fn i6_one_malformed_of_fifty_costs_no_other(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let webhook = gateway.devino_webhook("acme");
        let mut items: Vec<String> = (0..50).map(|n| written(Some(n), &n.to_string())).collect();
        items[17] = r#"{"incomingMessageId":17,"from":"351910000001","to":"AcmeCare","text":"half a \ud800 character"}"#.into();
        assert_eq!(post(&webhook, format!("[{}]", items.join(","))).await?, 200);
        let rows = gateway.rows().await?;
        until("it was taken in", async || Ok((count(&rows, "journal WHERE pending IS NULL").await? == 1).then_some(()))).await?;
        let events = gateway.all_events().await?;
        let texts: Vec<&str> = incoming(&events).into_iter().map(body).collect();
        let expected: Vec<String> = (0..50).filter(|n| *n != 17).map(|n| n.to_string()).collect();
        assert_eq!(texts, expected);
        assert_eq!(count(&rows, "journal WHERE items = 50 AND unreadable = 1 AND problem IS NOT NULL").await?, 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn i12_ten_first_messages_at_once_are_ten_of_one_contact(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let webhook = gateway.devino_webhook("acme");
        let mut stream = gateway.stream(proto::StreamEventsRequest {
            filter: Some(proto::EventFilter { peers: vec!["+351910000001".into()], ..Default::default() }),
            ..Default::default()
        }).await?;
        let texts: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        let posts = texts.iter().enumerate().map(|(n, text)| post(&webhook, written(Some(n as u64), text)));
        assert_eq!(try_join_all(posts).await?, [200; 10]);
        let mut got = Vec::new();
        for _ in 0..10 {
            let (_, incoming) = next_incoming(&mut stream).await?;
            assert_eq!(incoming.contact.as_ref().unwrap().phone_number, "351910000001");
            got.push(body(&incoming).to_owned());
        }
        got.sort();
        assert_eq!(got, texts);
        gateway.stop().await?;
        Ok(())
    }
}

/// The card of `incoming_contacts.json`.
fn is_rui(cards: &[proto::ContactCard]) {
    let [card] = cards else { panic!("{cards:?}") };
    let name = card.name.as_ref().unwrap();
    assert_eq!((&*name.formatted_name, &*name.first_name, &*name.last_name), ("Rui Melo", "Rui", "Melo"));
    let phone = &card.phones[0];
    assert_eq!((&*phone.phone, &*phone.wa_id, &*phone.r#type), ("+351 910 000 009", "351910000009", "CELL"));
    assert_eq!((&*card.emails[0].email, &*card.urls[0].url), ("rui@example.test", "https://example.test"));
    let address = &card.addresses[0];
    assert_eq!((&*address.street, &*address.city, &*address.zip), ("Rua B 2", "Porto", "4000-000"));
    let company = card.organization.as_ref().unwrap();
    assert_eq!((&*company.company, &*company.title, &*card.birthday), ("Acme", "Driver", "1990-02-01"));
}
