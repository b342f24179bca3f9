//! The direct API: contents that the classic one lacks, over the wire.

use std::sync::Arc;

use anyhow::Result;
use recado::fake::{Action, FakeProvider, Fault, Script};
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::incoming_message::Content as Came;
use recado::proto::send_message_request::Content;
use recado::proto::{DeliveryErrorReason, MessageStatus};
use serde_json::json;

use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{Seen, TOKEN, fake, fields, impatient, number, post, silent};

async fn create(gateway: &mut TestGateway, base_url: &str) -> Result<()> {
    let config = proto::DevinoConfig {
        base_url: base_url.into(),
        api_key: "test-key-0123456789".into(),
        from: "AcmeCare".into(),
        api: proto::DevinoApi::Direct as i32,
        webhook_token: TOKEN.into(),
        ..Default::default()
    };
    let sender = proto::Sender {
        sender: "acme".into(),
        config: Some(proto::sender::Config::Devino(config)),
        ..Default::default()
    };
    gateway.admin.create_sender(proto::CreateSenderRequest { sender: Some(sender) }).await?;
    Ok(())
}

fn message(content: Content) -> proto::SendMessageRequest {
    proto::SendMessageRequest { content: Some(content), ..text("acme", &number(1), "") }
}

fn place() -> Content {
    let (name, address) = ("Acme".into(), "Rua Exemplo 10".into());
    Content::Location(proto::Location { latitude: 38.72, longitude: -9.14, name, address, ..Default::default() })
}

fn cards() -> Content {
    let name = proto::CardName { formatted_name: "Rui Melo".into(), first_name: "Rui".into(), ..Default::default() };
    let phones = vec![proto::CardPhone { phone: "+351910000009".into(), r#type: "CELL".into(), ..Default::default() }];
    let card = proto::ContactCard { name: Some(name), phones, ..Default::default() };
    Content::ContactCards(proto::ContactCards { cards: vec![card] })
}

fn question(action: proto::interactive::Action) -> Content {
    Content::Interactive(proto::Interactive {
        body: "Deliver today?".into(),
        action: Some(action),
        ..Default::default()
    })
}

fn buttons() -> proto::interactive::Action {
    let button = |id: &str, title: &str| proto::ReplyButton { id: id.into(), title: title.into() };
    let buttons = vec![button("yes", "Yes"), button("no", "No")];
    proto::interactive::Action::ReplyButtons(proto::ReplyButtons { buttons })
}

fn template() -> proto::SendTemplateRequest {
    proto::SendTemplateRequest {
        sender: "acme".into(),
        to: number(1),
        template: "order_ready".into(),
        language_code: "pt_PT".into(),
        parameters: [("1".to_owned(), "Ana".to_owned())].into(),
        header: Some(proto::TemplateHeader { content: Some(proto::template_header::Content::Text("A-1001".into())) }),
        ..Default::default()
    }
}

async fn started(engine: crate::gateway::Engine, script: Script) -> Result<(TestGateway, FakeProvider)> {
    let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
    let fake = fake(script).await?;
    create(&mut gateway, &fake.base_url("devino")).await?;
    Ok((gateway, fake))
}

on_both_databases! {
    async fn what_the_classic_api_lacks_is_read_in_order(engine) {
        let (mut gateway, fake) = started(engine, Script::default()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let mut ids = Vec::new();
        for content in [place(), cards(), question(buttons())] {
            ids.push(gateway.send(message(content)).await?.message_id);
        }
        ids.push(gateway.messaging.send_template(template()).await?.into_inner().message_id);
        let seen = Seen::until_all(&mut stream, 4, MessageStatus::Read).await?;
        for id in &ids {
            assert_eq!(seen.words(id), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        }
        let rows = fake.rows();
        assert_eq!(rows.iter().map(|row| &row.message_id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        assert_eq!(texts, ["Acme", "Rui Melo", "Deliver today?", "order_ready"]);
        gateway.stop().await?;
        Ok(())
    }

    async fn contents_go_out_in_whatsapps_form(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let devino = Arc::new(Provider::start().await?);
        create(&mut gateway, &devino.base_url()).await?;
        let link = proto::Text { body: "https://t.example.test/1".into(), preview_url: true };
        for (content, part) in [
            (Content::Text(link), json!({ "type": "text", "preview_url": true, "text": { "body": "https://t.example.test/1" } })),
            (place(), json!({ "type": "location", "location": {
                "latitude": 38.72, "longitude": -9.14, "name": "Acme", "address": "Rua Exemplo 10",
            } })),
            (cards(), json!({ "type": "contacts", "contacts": [{
                "name": { "formatted_name": "Rui Melo", "first_name": "Rui" },
                "phones": [{ "phone": "+351910000009", "type": "CELL" }],
            }] })),
            (question(buttons()), json!({ "type": "interactive", "interactive": {
                "type": "button", "body": { "text": "Deliver today?" }, "action": { "buttons": [
                    { "type": "reply", "reply": { "id": "yes", "title": "Yes" } },
                    { "type": "reply", "reply": { "id": "no", "title": "No" } },
                ] },
            } })),
        ] {
            let sent = gateway.send(message(content)).await?;
            let posted = devino.next().await;
            assert_eq!((posted.method.as_str(), posted.path.as_str()), ("POST", "/whatsapp/v2/messages"));
            let mut expected = json!({
                "from": "AcmeCare", "to": number(1), "callbackData": sent.message_id,
                "callbackUrl": format!("{}/webhooks/devino/acme?token={TOKEN}", gateway.http),
            });
            expected.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
            assert_eq!(posted.json(), json!({ "messages": [expected] }));
            posted.answer(Reply::new(200, r#"{"result":[{"code":"OK","messageId":"3590000000000000001"}]}"#));
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            stream.until(&sent.message_id, MessageStatus::Sent).await?;
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn what_it_lacks_too_is_refused_at_the_door(engine) {
        let (mut gateway, fake) = started(engine, silent()).await?;
        let page = proto::UrlButton { text: "Open".into(), url: "https://example.test".into() };
        let sticker = proto::Media {
            kind: proto::MediaKind::Sticker as i32,
            source: Some(proto::media::Source::Url("https://files.example.test/a.webp".into())),
            ..Default::default()
        };
        for (request, field) in [
            (text("acme", &number(1), &"é".repeat(1_001)), "text.body"),
            (message(Content::Media(sticker)), "media.kind"),
            (message(Content::Location(proto::Location { url: "https://maps.example.test".into(), ..Default::default() })), "location.url"),
            (message(question(proto::interactive::Action::UrlButton(page))), "interactive.url_button"),
        ] {
            let error = gateway.messaging.send_message(request).await.unwrap_err();
            assert_eq!(fields(&error), [field]);
        }
        assert_eq!(fake.ledger().seen, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_rejection_names_what_is_wrong_inside(engine) {
        let reject = Action::Refuse { key: "invalid".into(), reference: "messages[i].contacts[0].name".into() };
        let (mut gateway, _fake) = started(engine, Script { faults: vec![Fault::always(reject)], ..silent() }).await?;
        let sent = gateway.send(message(cards())).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
        let error = statuses.last().unwrap().error.clone().unwrap();
        assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::InvalidContent, "invalid"));
        assert!(error.provider_message.contains("messages[0].contacts[0].name"), "{}", error.provider_message);
        gateway.stop().await?;
        Ok(())
    }

    async fn o1_o3_a_lost_answer_is_settled_by_a_status_and_throttling_is_a_retry(engine) {
        let throttle = Fault::always(Action::Throttle { retry_after_s: None, body_only: false }).first(1);
        let lost = Fault::always(Action::DropAfterAccept);
        let (mut gateway, fake) = started(engine, Script { faults: vec![throttle, lost], ..silent() }).await?;
        let sent = gateway.send(message(place())).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::InDoubt).await?;
        let id: u64 = fake.rows()[0].provider_message_ids[0].parse()?;
        let status = json!([{ "messageId": id, "status": "DELIVERED", "options": sent.message_id }]).to_string();
        assert_eq!(post(&gateway.devino_webhook("acme"), status).await?, 200);
        let statuses = stream.until(&sent.message_id, MessageStatus::Delivered).await?;
        assert_eq!(words(&statuses), ["DELIVERED"]);
        assert_eq!((fake.ledger().requests, fake.ledger().taken), (2, 1));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_tapped_button_comes_back_in_either_form(engine) {
        let (mut gateway, _fake) = started(engine, silent()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let tapped = json!({
            "from": number(1), "to": "AcmeCare", "id": "wamid.D1", "timestamp": "1767225700", "type": "interactive",
            "interactive": { "type": "button_reply", "button_reply": { "id": "yes", "title": "Yes" } },
        });
        let wrapped = json!({ "messages": [tapped] });
        let classic = json!({ "incomingMessageId": 3591, "from": number(1), "to": "AcmeCare", "text": "Yes" });
        for body in [&tapped, &wrapped, &classic] {
            assert_eq!(post(&gateway.devino_webhook("acme"), body.to_string()).await?, 200);
        }
        let mut came = Vec::new();
        while came.len() < 2 {
            if let Some(Payload::IncomingMessage(incoming)) = stream.next_event().await?.payload {
                assert_eq!(incoming.contact.unwrap().phone_number, number(1));
                came.push(incoming.content.unwrap());
            }
        }
        let [Came::ButtonReply(reply), Came::Text(text)] = &came[..] else { panic!("{came:?}") };
        assert_eq!((reply.id.as_str(), reply.title.as_str(), text.body.as_str()), ("yes", "Yes", "Yes"));
        gateway.stop().await?;
        Ok(())
    }
}
