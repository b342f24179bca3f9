//! What goes out, and what Meta says no to.

use std::collections::HashMap;

use recado::fake::{Action, Fault, Script};
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus};
use serde_json::json;

use super::{NUMBER, TOKEN, change, envelope, play, post, sender_at, sender_of, start, webhook, written};
use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{Seen, fields, impatient, number, silent, until};

const PERSON: &str = "+5511987654321";

fn template(name: &str, parameters: &[(&str, &str)]) -> proto::SendTemplateRequest {
    proto::SendTemplateRequest {
        sender: "acme".into(),
        to: PERSON.into(),
        template: name.into(),
        language_code: "pt-BR".into(),
        parameters: parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Default::default()
    }
}

fn document() -> proto::Media {
    proto::Media {
        kind: proto::MediaKind::Document as i32,
        source: Some(proto::media::Source::Url("https://files.example.test/b/2291.pdf".into())),
        file_name: "boleto.pdf".into(),
        ..Default::default()
    }
}

on_both_databases! {
    async fn a_text_and_a_template_are_read_in_their_order(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, Script::default()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let first = gateway.send(text("acme", PERSON, "É já? 🚚")).await?;
        let boleto = proto::SendTemplateRequest {
            header: Some(proto::TemplateHeader { content: Some(proto::template_header::Content::Media(document())) }),
            buttons: vec![proto::TemplateButton { index: 0, parameter: "2291".into(), kind: 0 }],
            ..template("boleto_disponivel", &[("1", "Marina"), ("2", "12/01/2026")])
        };
        let second = gateway.messaging.send_template(boleto).await?.into_inner();
        let seen = Seen::until_all(&mut stream, 2, MessageStatus::Read).await?;
        for id in [&first.message_id, &second.message_id] {
            assert_eq!(seen.words(id), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        }
        let rows = fake.rows();
        let taken: Vec<&str> = rows.iter().map(|row| row.message_id.as_str()).collect();
        assert_eq!(taken, [&*first.message_id, &*second.message_id]);
        // WhatsApp's id of the person is told beside the number that was written to, and changes nothing.
        let delivered = &seen.by_message[&first.message_id][2];
        assert_eq!((delivered.to.as_str(), delivered.provider_message_id.clone()), (PERSON, rows[0].provider_message_ids[0].clone()));
        assert_eq!(delivered.contact.as_ref().unwrap().wa_id, "551187654321");
        let pricing = delivered.pricing.clone().unwrap();
        assert_eq!((pricing.billable, pricing.model.as_str(), pricing.category.as_str()), (Some(true), "PMP", "utility"));
        gateway.stop().await?;
        Ok(())
    }

    async fn requests_have_metas_form(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let meta = Provider::start().await?;
        sender_at(&mut gateway, "acme", &format!("{}/v23.0", meta.base_url()), NUMBER).await?;
        let named = proto::SendTemplateRequest {
            buttons: vec![proto::TemplateButton {
                index: 1,
                parameter: "stop-77".into(),
                kind: proto::TemplateButtonKind::QuickReply as i32,
            }],
            ..template("boas_vindas", &[("nome", "Marina")])
        };
        let sent = gateway.messaging.send_template(named).await?.into_inner();
        let call = meta.next().await;
        assert_eq!((call.method.as_str(), call.path.clone()), ("POST", format!("/v23.0/{NUMBER}/messages")));
        let headers: HashMap<&str, &str> = call.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(call.json(), json!({
            "messaging_product": "whatsapp", "recipient_type": "individual", "to": "5511987654321", "type": "template",
            "biz_opaque_callback_data": sent.message_id,
            "template": { "name": "boas_vindas", "language": { "code": "pt_BR" }, "components": [
                { "type": "body", "parameters": [{ "type": "text", "parameter_name": "nome", "text": "Marina" }] },
                { "type": "button", "sub_type": "quick_reply", "index": "1", "parameters": [{ "type": "payload", "payload": "stop-77" }] },
            ] },
        }));
        call.answer(Reply::new(200, r#"{"messages":[{"id":"wamid.A","message_status":"held_for_quality_assessment"}]}"#));
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!((words(&statuses), statuses[1].provider_message_id.as_str()), (vec!["ACCEPTED", "SENT"], "wamid.A"));
        gateway.stop().await?;
        Ok(())
    }

    async fn o11_a_headers_variable_goes_out_by_the_name_in_the_catalogue(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        sender_of(&mut gateway, "known", &fake.base_url("meta"), NUMBER, "102290129340398").await?;
        let header = proto::TemplateHeader { content: Some(proto::template_header::Content::Text("2291".into())) };
        let named = proto::SendTemplateRequest {
            sender: "known".into(),
            header: Some(header),
            ..template("pedido_a_caminho", &[("nome", "Marina")])
        };
        // Without a copy the name is not known: the send waits for the catalogue, whose missing parameter is then told.
        let misfit = proto::SendTemplateRequest { parameters: Default::default(), ..named.clone() };
        let refused = async || {
            let dry = proto::SendOptions { validate_only: true, ..Default::default() };
            let dry = proto::SendTemplateRequest { options: Some(dry), ..misfit.clone() };
            Ok(gateway.messaging.clone().send_template(dry).await.err())
        };
        until("the catalogue was read", refused).await?;
        let options = proto::SendOptions { idempotency_key: "pedido-2291".into(), ..Default::default() };
        let keyed = proto::SendTemplateRequest { options: Some(options), ..named };
        let sent = gateway.messaging.send_template(keyed.clone()).await?.into_inner();
        // The fake refuses a header's variable without its name, as Meta does.
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(gateway.messaging.send_template(keyed).await?.into_inner().message_id, sent.message_id);
        gateway.stop().await?;
        Ok(())
    }

    async fn o12_a_send_is_compared_with_metas_catalogue(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        sender_of(&mut gateway, "known", &fake.base_url("meta"), NUMBER, "102290129340398").await?;
        let of = |template: proto::SendTemplateRequest| proto::SendTemplateRequest { sender: "known".into(), ..template };
        let misfit = of(template("boas_vindas", &[("nome", "Marina")]));
        // Until the catalogue was read, Meta itself would have to say no.
        let refused = async || {
            let dry = proto::SendOptions { validate_only: true, ..Default::default() };
            let dry = proto::SendTemplateRequest { options: Some(dry), ..misfit.clone() };
            Ok(gateway.messaging.clone().send_template(dry).await.err())
        };
        let error = until("the catalogue was read", refused).await?;
        assert_eq!(fields(&error), [r#"parameters["plano"]"#]);
        let fits = of(template("boas_vindas", &[("nome", "Marina"), ("plano", "Ouro")]));
        let sent = gateway.messaging.send_template(fits).await?.into_inner();
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn replies_and_reactions_name_a_message_by_metas_id(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let meta = Provider::start().await?;
        sender_at(&mut gateway, "acme", &meta.base_url(), NUMBER).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let value = json!({ "messages": [written("wamid.THEIRS", "Qual o prazo?")] });
        assert_eq!(post(&webhook(&gateway, "acme"), envelope(vec![change(NUMBER, value)])).await?, 200);
        let incoming = loop {
            if let Some(Payload::IncomingMessage(incoming)) = stream.next_event().await?.payload {
                break incoming;
            }
        };
        let reply = proto::SendMessageRequest { reply_to_message_id: incoming.message_id.clone(), ..text("acme", PERSON, "Amanhã") };
        gateway.send(reply).await?;
        let call = meta.next().await;
        assert_eq!(call.json()["context"], json!({ "message_id": "wamid.THEIRS" }));
        call.answer(Reply::new(200, r#"{"messages":[{"id":"wamid.B"}]}"#));
        let reaction = proto::Reaction { message_id: incoming.message_id, emoji: "👍".into(), ..Default::default() };
        let reaction = proto::send_message_request::Content::Reaction(reaction);
        gateway.send(proto::SendMessageRequest { content: Some(reaction), ..text("acme", PERSON, "") }).await?;
        let call = meta.next().await;
        assert_eq!(call.json()["reaction"], json!({ "message_id": "wamid.THEIRS", "emoji": "👍" }));
        assert_eq!(call.json().get("context"), None);
        call.answer(Reply::new(200, r#"{"messages":[{"id":"wamid.C"}]}"#));
        gateway.stop().await?;
        Ok(())
    }

    async fn o13_what_meta_cannot_carry_is_refused_at_the_door(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let media = |kind: proto::MediaKind, mime_type: &str, caption: &str| proto::Media {
            kind: kind as i32,
            mime_type: mime_type.into(),
            caption: caption.into(),
            file_name: String::new(),
            ..document()
        };
        let message = |media| proto::SendMessageRequest {
            content: Some(proto::send_message_request::Content::Media(media)),
            ..text("acme", PERSON, "")
        };
        let button = |title: &str| proto::ReplyButton { id: title.into(), title: title.into() };
        let buttons = |titles: &[&str]| proto::Interactive {
            body: "x".into(),
            action: Some(proto::interactive::Action::ReplyButtons(proto::ReplyButtons {
                buttons: titles.iter().map(|title| button(title)).collect(),
            })),
            ..Default::default()
        };
        let menu = |menu| proto::SendMessageRequest {
            content: Some(proto::send_message_request::Content::Interactive(menu)),
            ..text("acme", PERSON, "")
        };
        for (request, field) in [
            (text("acme", PERSON, &"é".repeat(4_097)), "text.body"),
            (message(media(proto::MediaKind::Image, "image/gif", "")), "media.mime_type"),
            (message(media(proto::MediaKind::Image, "", &"é".repeat(1_025))), "media.caption"),
            (message(media(proto::MediaKind::Sticker, "", "no")), "media.caption"),
            (menu(buttons(&["a", "b", "c", "d"])), "interactive.reply_buttons.buttons"),
            (menu(buttons(&[&"é".repeat(21)])), "interactive.reply_buttons.buttons[0].title"),
        ] {
            let error = gateway.messaging.send_message(request).await.unwrap_err();
            assert_eq!(fields(&error), [field]);
        }
        let whole = gateway.send(text("acme", PERSON, &"é".repeat(4_096))).await?;
        gateway.stream(after(&whole.cursor)).await?.until(&whole.message_id, MessageStatus::Sent).await?;
        assert_eq!((fake.ledger().seen, fake.rows()[0].text.chars().count()), (1, 4_096));
        gateway.stop().await?;
        Ok(())
    }

    async fn o14_a_no_of_metas_fails_the_message_with_its_reason(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let refuse = |code: &str| Action::Refuse { key: code.into(), reference: "the details".into() };
        let cases = [
            ("131026", DeliveryErrorReason::RecipientUnreachable),
            ("131047", DeliveryErrorReason::OutsideWindow),
            ("132001", DeliveryErrorReason::TemplateNotFound),
            ("131049", DeliveryErrorReason::RecipientCapped),
            ("132015", DeliveryErrorReason::TemplatePaused),
        ];
        let faults = cases.iter().enumerate().map(|(n, (code, _))| Fault::always(refuse(code)).to(number(n))).collect();
        let fake = start(&mut gateway, Script { faults, ..silent() }).await?;
        for (n, (code, reason)) in cases.into_iter().enumerate() {
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
            let error = statuses[1].error.clone().unwrap();
            assert_eq!((error.reason(), error.provider_code.as_str()), (reason, code));
            assert!(error.provider_message.ends_with("the details"), "{error:?}");
            let (_, attempts) = gateway.message(&sent.message_id).await?;
            assert_eq!(attempts.iter().map(proto::Attempt::outcome).collect::<Vec<_>>(), [AttemptOutcome::Refused]);
        }
        assert_eq!((fake.ledger().requests, fake.ledger().taken), (5, 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_refused_token_and_a_locked_account_keep_the_message_until_they_are_mended(engine) {
        let locked = Fault::always(Action::Refuse { key: "131031".into(), reference: String::new() });
        for (script, code, reason) in [
            (Script { api_key: Some("another".into()), ..silent() }, "190", DeliveryErrorReason::SenderUnauthorized),
            (Script { faults: vec![locked], ..silent() }, "131031", DeliveryErrorReason::SenderBlocked),
        ] {
            let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
            let fake = start(&mut gateway, script).await?;
            let sent = gateway.send(text("acme", PERSON, "x")).await?;
            let refused = async || {
                let mut messaging = gateway.messaging.clone();
                let request = proto::GetMessageRequest { message_id: sent.message_id.clone() };
                let answer = messaging.get_message(request).await?.into_inner();
                let error = answer.message.and_then(|message| message.error);
                Ok(error.map(|error| (error, format!("{:?}", answer.attempts))))
            };
            let (error, attempts) = until("it was refused", refused).await?;
            assert_eq!((error.reason(), error.provider_code.as_str()), (reason, code));
            assert!(!attempts.contains(TOKEN), "{attempts}");
            let check = proto::CheckSenderRequest { sender: "acme".into() };
            let check = gateway.admin.check_sender(check).await?.into_inner();
            assert_eq!(check.ok, reason == DeliveryErrorReason::SenderBlocked, "the lock is on sending alone");
            // An operator who has mended it says so, and the message need not wait for the next probe.
            play(&gateway, &fake, silent());
            let config = proto::sender::Config::Meta(proto::MetaConfig { access_token: TOKEN.into(), ..Default::default() });
            let sender = Some(proto::Sender { sender: "acme".into(), config: Some(config), ..Default::default() });
            gateway.admin.update_sender(proto::UpdateSenderRequest { sender, update_mask: None }).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            stream.until(&sent.message_id, MessageStatus::Sent).await?;
            assert_eq!(fake.ledger().taken, 1);
            gateway.stop().await?;
        }
        Ok(())
    }
}
