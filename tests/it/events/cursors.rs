//! Cursors that cannot be read from: each refused in words, never a silent jump.

use recado::domain::Cursor;
use recado::proto;
use tonic::Code;

use super::{after_cursor, compact, from_beginning, positions, stream};
use crate::gateway::{TestGateway, after};
use crate::on_both_databases;
use crate::refusal::{Refusal, refusal, refused};

/// What a stream, a page, an acknowledgement and a seek say to a cursor.
async fn everywhere(gateway: &mut TestGateway, cursor: &str) -> Vec<(&'static str, Refusal)> {
    let start = Some(proto::list_events_request::Start::AfterCursor(cursor.into()));
    let list = proto::ListEventsRequest { start, ..Default::default() };
    let ack = proto::AckEventsRequest { subscription: "crm".into(), cursor: cursor.into() };
    let to = Some(proto::seek_subscription_request::To::Cursor(cursor.into()));
    let seek = proto::SeekSubscriptionRequest { subscription: "crm".into(), to, ..Default::default() };
    vec![
        ("after_cursor", refused(gateway.events.stream_events(stream(after_cursor(cursor))).await)),
        ("after_cursor", refused(gateway.events.list_events(list).await)),
        ("cursor", refused(gateway.events.ack_events(ack).await)),
        ("cursor", refused(gateway.events.seek_subscription(seek).await)),
    ]
}

on_both_databases! {
    async fn a_cursor_that_is_none_of_this_log_is_refused(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(2, "").await?;
        let to = Some(proto::seek_subscription_request::To::Beginning(true));
        let seek = proto::SeekSubscriptionRequest { subscription: "crm".into(), to, ..Default::default() };
        gateway.events.seek_subscription(seek).await?;
        let good: Cursor = gateway.all_events().await?[0].cursor.parse().unwrap();

        let long = "A".repeat(100_000);
        for garbage in ["x", "42", "////", "AQAAAAAAAAAA", "\u{0}", "é", long.as_str()] {
            for (field, refusal) in everywhere(&mut gateway, garbage).await {
                assert_eq!(refusal.is(), (Code::InvalidArgument, "INVALID_REQUEST"));
                assert_eq!(refusal.fields, [format!("{field} INVALID")]);
            }
        }
        for (field, refusal) in everywhere(&mut gateway, "").await {
            assert_eq!(refusal.fields, [format!("{field} REQUIRED")]);
        }
        let others = Cursor { epoch: good.epoch ^ 1, ..good }.to_string();
        let beyond = Cursor { position: good.position + 1_000, ..good }.to_string();
        let furthest = Cursor { position: i64::MAX, ..good }.to_string();
        for cursor in [others, beyond, furthest] {
            for (_, refusal) in everywhere(&mut gateway, &cursor).await {
                assert_eq!(refusal.is(), (Code::FailedPrecondition, "LOG_EPOCH_CHANGED"));
            }
        }
        let mut elsewhere = TestGateway::start(engine).await?;
        let theirs = elsewhere.all_events().await?[0].cursor.clone();
        for (_, refusal) in everywhere(&mut gateway, &theirs).await {
            assert_eq!(refusal.is(), (Code::FailedPrecondition, "LOG_EPOCH_CHANGED"));
        }
        elsewhere.stop().await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn a_cursor_that_retention_removed_is_told_the_oldest(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(9, "").await?;
        let all = gateway.all_events().await?;
        let to = Some(proto::seek_subscription_request::To::Beginning(true));
        let seek = proto::SeekSubscriptionRequest { subscription: "crm".into(), to, ..Default::default() };
        gateway.events.seek_subscription(seek).await?;
        compact(&gateway.database, 5).await?;
        for event in &all[..4] {
            let start = Some(proto::list_events_request::Start::AfterCursor(event.cursor.clone()));
            let list = proto::ListEventsRequest { start, ..Default::default() };
            let to = Some(proto::seek_subscription_request::To::Cursor(event.cursor.clone()));
            let seek = proto::SeekSubscriptionRequest { subscription: "crm".into(), to, ..Default::default() };
            for refusal in [
                refused(gateway.events.stream_events(after(&event.cursor)).await),
                refused(gateway.events.list_events(list).await),
                refused(gateway.events.seek_subscription(seek).await),
            ] {
                assert_eq!(refusal.is(), (Code::OutOfRange, "CURSOR_COMPACTED"));
                assert_eq!(refusal.metadata["oldest_cursor"], all[4].cursor);
            }
        }
        let subscription = Some(proto::stream_events_request::Start::Subscription("crm".into()));
        let lost = refused(gateway.events.stream_events(stream(subscription)).await);
        assert_eq!(lost.is(), (Code::OutOfRange, "CURSOR_COMPACTED"), "a subscription that fell behind");

        let mut oldest = gateway.stream(after(&lost.metadata["oldest_cursor"])).await?;
        assert_eq!(oldest.events(5).await?, all[5..]);
        let mut beginning = gateway.stream(stream(from_beginning())).await?;
        assert_eq!(beginning.attached.oldest_cursor, all[4].cursor);
        assert_eq!(beginning.events(5).await?, all[5..], "the beginning is what is kept");
        let mut time = gateway.stream(stream(Some(proto::stream_events_request::Start::FromTime(
            prost_types::Timestamp { seconds: 0, nanos: 0 },
        )))).await?;
        assert_eq!(time.events(5).await?, all[5..]);

        // Everything goes: whoever stood at the head reads on.
        compact(&gateway.database, 10).await?;
        let mut head = gateway.stream(after(&all[9].cursor)).await?;
        gateway.fill(1, "").await?;
        assert_eq!(positions(&head.events(1).await?), [11]);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_reader_that_retention_overtakes_is_told_so(engine) {
        let setup = crate::gateway::Setup::default().with("events.ring", "16");
        let mut gateway = TestGateway::start_with(engine, setup).await?;
        let big = "x".repeat(4_000);
        let all = { gateway.fill(2_000, &big).await?; gateway.all_events().await? };
        let filters = [
            proto::EventFilter::default(),
            proto::EventFilter { message_ids: all.iter().skip(1).map(message_id).collect(), ..Default::default() },
        ];
        let mut open = Vec::new();
        for filter in filters {
            let request = proto::StreamEventsRequest { filter: Some(filter), ..stream(from_beginning()) };
            // 64 KiB of window, and nothing is read: the stream stands long before the end.
            let mut narrow = gateway.narrow_client().await?;
            open.push(narrow.stream_events(request).await?.into_inner());
        }
        compact(&gateway.database, 1_990).await?;
        for mut stream in open {
            let mut read = Vec::new();
            let status = loop {
                match tokio::time::timeout(std::time::Duration::from_secs(30), stream.message()).await? {
                    Ok(Some(answer)) => if let Some(proto::stream_events_response::Item::Event(event)) = answer.item {
                        read.push(event);
                    },
                    Ok(None) => panic!("the stream ended without a word after {} events", read.len()),
                    Err(status) => break refusal(&status),
                }
            };
            assert_eq!(status.is(), (Code::OutOfRange, "CURSOR_COMPACTED"));
            assert!(read.len() < 1_990, "{} events were read: nothing was overtaken", read.len());
            assert_eq!(status.metadata["oldest_cursor"], all[1_989].cursor);
        }
        gateway.stop().await?;
        Ok(())
    }
}

fn message_id(event: &proto::Event) -> String {
    match &event.payload {
        Some(proto::event::Payload::StatusChanged(status)) => status.message_id.clone(),
        other => panic!("{other:?}"),
    }
}
