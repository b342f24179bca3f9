//! A key that is limited to some senders neither uses nor learns of others through fallbacks.

use recado::proto;
use recado::proto::event::Payload;
use recado::proto::{ApiKeyScope, SenderState};
use tonic::Code;

use super::then;
use crate::access::{ADMIN, guarded, make_key};
use crate::gateway::{TestGateway, keyed, text, until};
use crate::on_both_databases;
use crate::refusal::refused;
use crate::tools::{number, with};

on_both_databases! {
    async fn a_limited_key_neither_uses_nor_sees_the_fallbacks_of_others(engine) {
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        for id in ["mine", "theirs"] {
            let config = Some(proto::sender::Config::Sandbox(proto::SandboxConfig {}));
            let sender = Some(proto::Sender { sender: id.into(), config, ..Default::default() });
            gateway.admin.create_sender(keyed(proto::CreateSenderRequest { sender }, ADMIN)).await?;
        }
        let scopes = [ApiKeyScope::Send, ApiKeyScope::Read];
        let (_, mine) = make_key(&mut gateway, &scopes, &["mine"]).await?;
        let (_, theirs) = make_key(&mut gateway, &scopes, &["theirs"]).await?;
        let request = || with(text("mine", &number(1), "x"), then(&["theirs"]));
        let answer = gateway.messaging.send_message(keyed(request(), &mine)).await;
        assert_eq!(refused(answer).is(), (Code::NotFound, "SENDER_NOT_FOUND"));

        let state = SenderState::Paused as i32;
        let sender = Some(proto::Sender { sender: "mine".into(), state, ..Default::default() });
        let update_mask = Some(prost_types::FieldMask { paths: vec!["state".into()] });
        gateway.admin.update_sender(keyed(proto::UpdateSenderRequest { sender, update_mask }, ADMIN)).await?;
        let id = gateway.messaging.send_message(keyed(request(), ADMIN)).await?.into_inner().message_id;
        let get = |key: &str| keyed(proto::GetMessageRequest { message_id: id.clone() }, key);
        let hidden = gateway.messaging.get_message(get(&theirs)).await;
        assert_eq!(refused(hidden).is(), (Code::NotFound, "MESSAGE_NOT_FOUND"), "it is not theirs yet");
        let delete = proto::DeleteSenderRequest { sender: "mine".into() };
        gateway.admin.delete_sender(keyed(delete, ADMIN)).await?;
        until("the other sender has it", || {
            let (mut client, get) = (gateway.messaging.clone(), get(ADMIN));
            async move {
                let message = client.get_message(get).await?.into_inner().message.unwrap();
                Ok(message.attempt_count == 2 && message.status() == proto::MessageStatus::Read)
            }
        }).await?;

        for (key, own, other) in [(&mine, "mine", "theirs"), (&theirs, "theirs", "mine")] {
            let got = gateway.messaging.get_message(get(key)).await?.into_inner();
            let message = got.message.clone().unwrap();
            assert_eq!(message.sender, own);
            assert_eq!(got.attempts.iter().map(|attempt| &*attempt.sender).collect::<Vec<_>>(), [own]);
            assert!(!format!("{got:?}").contains(&format!("\"{other}\"")), "{got:?}");
            let listed = gateway.messaging.list_messages(keyed(proto::ListMessagesRequest::default(), key)).await?;
            assert_eq!(listed.into_inner().messages, [message]);

            let start = Some(proto::list_events_request::Start::FromBeginning(true));
            let list = proto::ListEventsRequest { start, ..Default::default() };
            let events = gateway.events.list_events(keyed(list, key)).await?.into_inner().events;
            let statuses = events.iter().filter(|event| matches!(event.payload, Some(Payload::StatusChanged(_))));
            assert!(statuses.clone().count() >= 3, "{events:?}");
            assert!(!format!("{events:?}").contains(&format!("\"{other}\"")), "{events:?}");
        }
        gateway.stop().await?;
        Ok(())
    }
}
