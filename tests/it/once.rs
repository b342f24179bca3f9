//! Idempotency keys: the same send twice is one message.

use futures::future::try_join_all;
use recado::proto;
use recado::proto::MessageStatus;
use recado::proto::messaging_service_client::MessagingServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::gateway::{TestGateway, after, text, words};
use crate::on_both_databases;
use crate::tools::{fake, keyed, number, reason, silent, with};

on_both_databases! {
    async fn the_same_key_and_content_get_the_first_answer_again(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let request = with(text("sandbox", &number(1), "olá"), keyed("order-77"));
        let first = gateway.send(request.clone()).await?;
        assert!(!first.deduplicated);
        gateway.stream(after(&first.cursor)).await?.until(&first.message_id, MessageStatus::Read).await?;
        let again = gateway.send(request.clone()).await?;
        let expected = proto::SendMessageResponse { deduplicated: true, ..first.clone() };
        assert_eq!(again, expected);
        // A restart forgets no key.
        let database = gateway.stop().await?;
        let mut gateway = TestGateway::start_on(database, Default::default()).await?;
        assert_eq!(gateway.send(request).await?, expected);
        let events = gateway.all_events().await?;
        let accepted = events.iter().filter(|event| matches!(
            &event.payload,
            Some(proto::event::Payload::StatusChanged(status)) if status.status() == MessageStatus::Accepted
        ));
        assert_eq!(accepted.count(), 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn o6_fifty_connections_with_one_key_make_one_message(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let request = with(text("acme", &number(1), "olá"), keyed("one"));
        let endpoint = Channel::from_shared(gateway.grpc.clone())?;
        let channels = try_join_all((0..50).map(|_| endpoint.connect())).await?;
        let sends = channels.into_iter().map(|channel| {
            let request = request.clone();
            tokio::spawn(async move { MessagingServiceClient::new(channel).send_message(request).await })
        });
        let mut answers = Vec::new();
        for send in try_join_all(sends).await? {
            answers.push(send?.into_inner());
        }
        let first = answers.iter().find(|answer| !answer.deduplicated).expect("somebody was first").clone();
        assert_eq!(answers.iter().filter(|answer| !answer.deduplicated).count(), 1);
        assert!(answers.iter().all(|answer| answer.message_id == first.message_id && answer.cursor == first.cursor));
        let mut stream = gateway.stream(after(&first.cursor)).await?;
        assert_eq!(words(&stream.until(&first.message_id, MessageStatus::Sent).await?), ["ACCEPTED", "SENT"]);
        // Whatever else there were would have been handed over before this.
        let last = gateway.send(text("acme", &number(1), "last")).await?;
        assert_eq!(words(&stream.until(&last.message_id, MessageStatus::Sent).await?), ["ACCEPTED", "SENT"]);
        assert_eq!(fake.ledger().taken, 2);
        let statuses = gateway.all_events().await?.into_iter().filter(|event| {
            matches!(event.payload, Some(proto::event::Payload::StatusChanged(_)))
        });
        assert_eq!(statuses.count(), 4, "ACCEPTED and SENT of two messages");
        gateway.stop().await?;
        Ok(())
    }

    async fn o7_the_same_key_with_other_content_is_refused_and_named(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let request = with(text("sandbox", &number(1), "olá"), keyed("order-77"));
        let first = gateway.send(request.clone()).await?;
        let changed = |change: &dyn Fn(&mut proto::SendMessageRequest)| {
            let mut changed = request.clone();
            change(&mut changed);
            changed
        };
        let cases: [(proto::SendMessageRequest, &str); 4] = [
            (changed(&|r| r.content = text("", "", "adeus").content), "text.body"),
            (changed(&|r| r.to = number(2)), "to"),
            (changed(&|r| r.options.as_mut().unwrap().callback_data = "x".into()), "options.callback_data"),
            (
                changed(&|r| {
                    r.to = number(2);
                    r.options.as_mut().unwrap().priority = proto::Priority::Bulk as i32;
                }),
                "to,options.priority",
            ),
        ];
        for (request, fields) in cases {
            let error = gateway.messaging.send_message(request).await.unwrap_err();
            assert_eq!(error.code(), Code::AlreadyExists);
            let (reason, metadata) = reason(&error);
            assert_eq!(reason, "IDEMPOTENCY_KEY_REUSED");
            assert_eq!((metadata["message_id"].as_str(), metadata["fields"].as_str()), (&*first.message_id, fields));
        }
        let listed = gateway.messaging.list_messages(proto::ListMessagesRequest::default()).await?.into_inner();
        assert_eq!(listed.messages.len(), 1);
        // What the change would have been is not sent, and the message itself goes its way.
        let mut stream = gateway.stream(after(&first.cursor)).await?;
        stream.until(&first.message_id, MessageStatus::Read).await?;
        gateway.stop().await?;
        Ok(())
    }
}
