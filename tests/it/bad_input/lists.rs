//! Fields of what reads: streams, lists, ids, keys; and text that a database might not like.

use recado::proto;
use recado::proto::stream_events_request::Start;
use tonic::Code;

use super::unharmed;
use crate::gateway::TestGateway;
use crate::on_both_databases;
use crate::refusal::refused;

fn filter() -> (proto::EventFilter, Vec<String>) {
    let filter = proto::EventFilter {
        senders: vec!["sandbox".into(), "NO".into(), "x".repeat(64)],
        types: vec![1, 77],
        peers: vec!["+351910000001".into(), " ".into()],
        message_ids: vec!["x".into(), String::new()],
        labels: vec!["a=b".into(), "nothing".into(), "Team=x".into()],
    };
    let wrong = [
        "labels[1] INVALID",
        "labels[2] INVALID",
        "message_ids[0] INVALID",
        "message_ids[1] REQUIRED",
        "peers[1] REQUIRED",
        "senders[1] INVALID",
        "senders[2] TOO_LONG",
        "types[1] INVALID",
    ];
    (filter, wrong.iter().map(|field| format!("filter.{field}")).collect())
}

fn bad_time() -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: i64::MIN, nanos: 5 }
}

on_both_databases! {
    async fn every_wrong_field_of_a_stream_and_a_list_is_named(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let before = gateway.all_events().await?;
        let default = proto::StreamEventsRequest::default;
        let heartbeat = |seconds, nanos| proto::StreamEventsRequest {
            heartbeat_interval: Some(prost_types::Duration { seconds, nanos }), ..default()
        };
        let start = |start| proto::StreamEventsRequest { start: Some(start), ..default() };
        let mut table = vec![
            (start(Start::AfterCursor(String::new())), vec!["after_cursor REQUIRED".to_owned()]),
            (start(Start::FromBeginning(false)), vec!["from_beginning INVALID".into()]),
            (start(Start::FromTime(bad_time())), vec!["from_time INVALID".into()]),
            (start(Start::Subscription(String::new())), vec!["subscription REQUIRED".into()]),
            (start(Start::Subscription("CRM".into())), vec!["subscription INVALID".into()]),
            (start(Start::Subscription("a\u{0}".into())), vec!["subscription INVALID".into()]),
            (start(Start::Subscription("x".repeat(64))), vec!["subscription INVALID".into()]),
            (proto::StreamEventsRequest { takeover: true, ..default() }, vec!["takeover INVALID".into()]),
        ];
        for (seconds, nanos) in [(0, 0), (0, 999_999_999), (-1, 0), (300, 1), (i64::MAX, i32::MAX), (i64::MIN, i32::MIN)] {
            table.push((heartbeat(seconds, nanos), vec!["heartbeat_interval INVALID".into()]));
        }
        let (wrong, mut fields) = filter();
        table.push((proto::StreamEventsRequest { filter: Some(wrong.clone()), ..default() }, fields.clone()));
        fields.extend(["heartbeat_interval INVALID".to_owned(), "takeover INVALID".to_owned()]);
        fields.push("after_cursor INVALID".into());
        fields.sort();
        table.push((
            proto::StreamEventsRequest {
                start: Some(Start::AfterCursor("x".into())), filter: Some(wrong.clone()), takeover: true, ..heartbeat(0, 0)
            },
            fields,
        ));
        for (request, expected) in table {
            let refusal = refused(gateway.events.stream_events(request.clone()).await);
            assert_eq!((refusal.code, refusal.fields), (Code::InvalidArgument, expected), "{request:?}");
        }
        let (wrong, mut fields) = filter();
        fields.extend(["from_time INVALID".to_owned(), "page_size INVALID".to_owned()]);
        fields.sort();
        let request = proto::ListEventsRequest {
            start: Some(proto::list_events_request::Start::FromTime(bad_time())), filter: Some(wrong), page_size: -1,
        };
        assert_eq!(refused(gateway.events.list_events(request).await).fields, fields);

        let request = proto::ListMessagesRequest {
            page_size: i32::MIN, page_token: "x".into(), senders: vec![String::new()], statuses: vec![0, 1, 99, -1],
            peers: vec![String::new()], labels: vec!["=".into()], start_accept_time: Some(bad_time()),
            end_accept_time: Some(bad_time()),
        };
        assert_eq!(refused(gateway.messaging.list_messages(request).await).fields, [
            "end_accept_time INVALID", "labels[0] INVALID", "page_size INVALID", "page_token INVALID", "peers[0] REQUIRED",
            "senders[0] REQUIRED", "start_accept_time INVALID", "statuses[0] INVALID", "statuses[2] INVALID",
            "statuses[3] INVALID",
        ]);
        unharmed(&mut gateway, &before).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn every_wrong_id_is_refused(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let before = gateway.all_events().await?;
        for (id, reason) in [("", "REQUIRED"), ("42", "INVALID"), ("\u{0}", "INVALID"), ("../../etc/passwd", "INVALID")] {
            let get = proto::GetMessageRequest { message_id: id.into() };
            let cancel = proto::CancelMessageRequest { message_id: id.into() };
            for refusal in [
                refused(gateway.messaging.get_message(get).await),
                refused(gateway.messaging.cancel_message(cancel).await),
            ] {
                assert_eq!((refusal.code, refusal.fields), (Code::InvalidArgument, vec![format!("message_id {reason}")]));
            }
            let get = proto::GetSenderRequest { sender: id.into() };
            let delete = proto::DeleteSenderRequest { sender: id.into() };
            let check = proto::CheckSenderRequest { sender: id.into() };
            // "42" may be a sender's id.
            for refusal in [
                refused(gateway.admin.get_sender(get).await),
                refused(gateway.admin.delete_sender(delete).await),
                refused(gateway.admin.check_sender(check).await),
            ] {
                match id {
                    "42" => assert_eq!(refusal.is(), (Code::NotFound, "SENDER_NOT_FOUND")),
                    _ => assert_eq!((refusal.code, refusal.fields), (Code::InvalidArgument, vec![format!("sender {reason}")])),
                }
            }
            let get = proto::GetSubscriptionRequest { subscription: id.into(), ..Default::default() };
            let delete = proto::DeleteSubscriptionRequest { subscription: id.into(), ..Default::default() };
            for refusal in [
                refused(gateway.events.get_subscription(get).await),
                refused(gateway.events.delete_subscription(delete).await),
            ] {
                match id {
                    "42" => assert_eq!(refusal.code, Code::NotFound),
                    _ => assert_eq!((refusal.code, refusal.fields), (Code::InvalidArgument, vec![format!("subscription {reason}")])),
                }
            }
        }
        let unknown = uuid::Uuid::now_v7().to_string();
        let get = proto::GetMessageRequest { message_id: unknown.clone() };
        assert_eq!(refused(gateway.messaging.get_message(get).await).is(), (Code::NotFound, "MESSAGE_NOT_FOUND"));
        let cancel = proto::CancelMessageRequest { message_id: unknown };
        assert_eq!(refused(gateway.messaging.cancel_message(cancel).await).is(), (Code::NotFound, "MESSAGE_NOT_FOUND"));
        for page_size in [-1, i32::MIN] {
            let list = proto::ListSendersRequest { page_size, ..Default::default() };
            assert_eq!(refused(gateway.admin.list_senders(list).await).fields, ["page_size INVALID"]);
            let list = proto::ListApiKeysRequest { page_size, ..Default::default() };
            assert_eq!(refused(gateway.admin.list_api_keys(list).await).fields, ["page_size INVALID"]);
            let list = proto::ListSubscriptionsRequest { page_size, ..Default::default() };
            assert_eq!(refused(gateway.events.list_subscriptions(list).await).fields, ["page_size INVALID"]);
        }
        let seek = proto::SeekSubscriptionRequest::default();
        assert_eq!(refused(gateway.events.seek_subscription(seek).await).fields, ["subscription REQUIRED", "to REQUIRED"]);
        let ack = proto::AckEventsRequest::default();
        assert_eq!(refused(gateway.events.ack_events(ack).await).fields, ["cursor REQUIRED", "subscription REQUIRED"]);
        unharmed(&mut gateway, &before).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn every_wrong_field_of_a_key_is_named(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let create = async |gateway: &mut TestGateway, api_key| {
            refused(gateway.admin.create_api_key(proto::CreateApiKeyRequest { api_key }).await).fields
        };
        assert_eq!(create(&mut gateway, None).await, ["api_key REQUIRED"]);
        assert_eq!(create(&mut gateway, Some(proto::ApiKey::default())).await, ["api_key.scopes REQUIRED"]);
        let wrong = proto::ApiKey {
            display_name: "a\u{0}".into(), scopes: vec![3, 0, 99], senders: vec!["NO".into(), "nobody".into()],
            expire_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }), ..Default::default()
        };
        assert_eq!(create(&mut gateway, Some(wrong)).await, [
            "api_key.display_name INVALID", "api_key.expire_time INVALID", "api_key.scopes[1] INVALID",
            "api_key.scopes[2] INVALID", "api_key.senders[0] INVALID", "api_key.senders[1] NOT_AVAILABLE",
        ]);
        assert_eq!(refused(gateway.admin.revoke_api_key(proto::RevokeApiKeyRequest::default()).await).fields, ["api_key_id REQUIRED"]);
        let list = gateway.admin.list_api_keys(proto::ListApiKeysRequest::default()).await?;
        assert!(list.into_inner().api_keys.is_empty(), "none of them was made, and no key is needed still");
        gateway.stop().await?;
        Ok(())
    }

    /// PostgreSQL's text holds no NUL; what reaches a query must not become a fault of the gateway's.
    async fn a_nul_is_never_a_fault_of_the_gateway(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        for text in ["\u{0}", "a\u{0}b", "'; DROP TABLE events; --", "%", "\u{feff}\u{202e}"] {
            let list = proto::ListMessagesRequest { peers: vec![text.into()], ..Default::default() };
            match gateway.messaging.list_messages(list).await {
                Ok(answer) => assert!(answer.into_inner().messages.is_empty()),
                Err(status) => assert_eq!(crate::refusal::refusal(&status).fields, ["peers[0] INVALID"], "{text:?}"),
            }
            let filter = Some(proto::EventFilter { peers: vec![text.into()], ..Default::default() });
            match gateway.events.list_events(proto::ListEventsRequest { filter, ..Default::default() }).await {
                Ok(answer) => assert!(answer.into_inner().events.is_empty()),
                Err(status) => assert_eq!(crate::refusal::refusal(&status).fields, ["filter.peers[0] INVALID"], "{text:?}"),
            }
            let revoke = proto::RevokeApiKeyRequest { api_key_id: text.into() };
            let refusal = refused(gateway.admin.revoke_api_key(revoke).await);
            assert!(matches!(refusal.code, Code::NotFound | Code::InvalidArgument), "{text:?}: {refusal:?}");
            for page_token in [text.to_owned()] {
                let list = proto::ListSendersRequest { page_token: page_token.clone(), ..Default::default() };
                gateway.admin.list_senders(list).await?;
                let list = proto::ListApiKeysRequest { page_token: page_token.clone(), ..Default::default() };
                gateway.admin.list_api_keys(list).await?;
                gateway.events.list_subscriptions(proto::ListSubscriptionsRequest { page_token, ..Default::default() }).await?;
            }
        }
        // Where a NUL may stand, it comes back.
        let mut request = crate::gateway::held("sandbox", "+351910000001", "olá");
        request.options.get_or_insert_default().callback_data = "a\u{0}b".into();
        let sent = gateway.messaging.send_message(request).await?.into_inner();
        let mut stream = gateway.stream(crate::gateway::after(&sent.cursor)).await?;
        assert_eq!(stream.next_status(&sent.message_id).await?.callback_data, "a\u{0}b");
        gateway.stop().await?;
        Ok(())
    }
}
