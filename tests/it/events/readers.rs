//! Readers that are slow, many, or always coming and going.

use anyhow::Result;
use recado::proto;
use recado::proto::stream_events_request::Start;
use recado::proto::stream_events_response::Item;
use tonic::Code;

use super::{from_beginning, positions, stream};
use crate::gateway::{Setup, TestGateway, after, until};
use crate::on_both_databases;
use crate::refusal::refusal;

/// Reads what is there; gives the events and how it ended.
async fn drain(
    mut stream: tonic::Streaming<proto::StreamEventsResponse>,
) -> (Vec<proto::Event>, Result<(), tonic::Status>) {
    let mut events = Vec::new();
    loop {
        match stream.message().await {
            Ok(Some(answer)) => events.extend(answer.item.and_then(|item| match item {
                Item::Event(event) => Some(event),
                _ => None,
            })),
            Ok(None) => return (events, Ok(())),
            Err(status) => return (events, Err(status)),
        }
    }
}

on_both_databases! {
    async fn t4_a_client_that_reads_nothing_is_told_when_it_reads_again(engine) {
        let setup = Setup::default().with("events.slow_consumer", "1s");
        let mut gateway = TestGateway::start_with(engine, setup).await?;
        // It holds a subscription: when that is free, the stream has ended.
        let request = stream(Some(Start::Subscription("slow".into())));
        let mut stuck = gateway.narrow_client().await?.stream_events(request).await?.into_inner();
        assert!(matches!(stuck.message().await?.unwrap().item, Some(Item::Attached(_))));
        let mut lively = gateway.stream(stream(None)).await?;

        let sent = gateway.fill(1_000, &"x".repeat(4_000)).await?;
        assert_eq!(sent.len(), 1_000, "writers do not wait for readers");
        assert_eq!(positions(&lively.events(1_000).await?), (2..=1_001).collect::<Vec<_>>());
        until("the stream has ended", || {
            let mut events = gateway.events.clone();
            let request = proto::GetSubscriptionRequest { subscription: "slow".into(), ..Default::default() };
            async move {
                Ok(events.get_subscription(request).await?.into_inner().subscription.unwrap().holder.is_none())
            }
        })
        .await?;
        // However late it comes back: three heartbeats of another stream.
        for _ in 0..3 {
            lively.next_checkpoint().await?;
        }

        let (events, end) = drain(stuck).await;
        let end = refusal(&end.expect_err("a stream that was cut off must not end as if it were whole"));
        assert_eq!(end.is(), (Code::ResourceExhausted, "SLOW_CONSUMER"));
        assert!(end.says_when_to_come_back);
        assert!(!events.is_empty() && events.len() < 1_000, "{} of 1,000 were taken", events.len());
        assert_eq!(end.metadata["cursor"], events.last().unwrap().cursor, "the cursor of what was sent last");
        let rest = gateway.stream(after(&end.metadata["cursor"])).await?.events(1_000 - events.len()).await?;
        let all: Vec<_> = events.into_iter().chain(rest).collect();
        assert_eq!(positions(&all), (2..=1_001).collect::<Vec<_>>());
        gateway.stop().await?;
        Ok(())
    }

    async fn t4_a_hundred_stopped_readers_hold_up_nobody(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let mut stopped = Vec::new();
        for _ in 0..10 {
            let mut client = gateway.narrow_client().await?;
            for _ in 0..10 {
                stopped.push(client.stream_events(stream(from_beginning())).await?.into_inner());
            }
        }
        let mut lively = gateway.stream(stream(from_beginning())).await?;
        gateway.fill(500, &"x".repeat(4_000)).await?;
        assert_eq!(positions(&lively.events(501).await?), (1..=501).collect::<Vec<_>>());
        // One of them reads after all, and finds everything.
        let mut late = stopped.pop().unwrap();
        let mut events = Vec::new();
        while events.len() < 501 {
            if let Some(Item::Event(event)) = late.message().await?.unwrap().item {
                events.push(event);
            }
        }
        assert_eq!(positions(&events), (1..=501).collect::<Vec<_>>());
        drop(stopped);
        gateway.stop().await?;
        Ok(())
    }

    async fn who_falls_out_of_the_ring_reads_the_log(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup::default().with("events.ring", "16")).await?;
        let filter = proto::EventFilter { senders: vec!["sandbox".into()], ..Default::default() };
        let mut open = Vec::new();
        for filter in [None, Some(filter)] {
            for start in [None, from_beginning()] {
                let request = proto::StreamEventsRequest { filter: filter.clone(), ..stream(start) };
                open.push(gateway.narrow_client().await?.stream_events(request).await?.into_inner());
            }
        }
        for stream in &mut open {
            assert!(matches!(stream.message().await?.unwrap().item, Some(Item::Attached(_))));
        }
        gateway.fill(1_200, &"x".repeat(1_000)).await?;
        for mut stream in open {
            let mut events = Vec::new();
            while events.last().is_none_or(|last: &proto::Event| positions(std::slice::from_ref(last)) != [1_201]) {
                match stream.message().await?.unwrap().item {
                    Some(Item::Event(event)) => events.push(event),
                    Some(Item::GoingAway(_)) | None => panic!("it ended"),
                    _ => {}
                }
            }
            let first = positions(&events[..1])[0];
            assert!(first <= 2);
            assert_eq!(positions(&events), (first..=1_201).collect::<Vec<_>>());
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn t8_a_hundred_reconnects_bring_each_event_once(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let mut cursor = gateway.all_events().await?[0].cursor.clone();
        let mut seen = Vec::new();
        for _ in 0..100 {
            // The stream before it is dropped without a word; its server side may still be there.
            let mut stream = gateway.stream(after(&cursor)).await?;
            gateway.fill(2, "").await?;
            let event = stream.next_event().await?;
            cursor = event.cursor.clone();
            seen.push(event);
        }
        let mut stream = gateway.stream(after(&cursor)).await?;
        seen.extend(stream.events(100).await?);
        assert_eq!(positions(&seen), (2..=201).collect::<Vec<_>>());
        gateway.stop().await?;
        Ok(())
    }
}
