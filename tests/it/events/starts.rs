//! Where streams begin, what they say on the way, and how they end.

use anyhow::{Context as _, Result};
use recado::proto;
use recado::proto::MessageStatus;
use recado::proto::stream_events_request::Start;
use recado::proto::stream_events_response::Item;
use tonic::Code;

use super::{after_cursor, compact, cursors, from_beginning, positions, stream};
use crate::gateway::{Setup, TestGateway, after, held, text};
use crate::on_both_databases;
use crate::refusal::refused;

/// A filter that lets nothing through that these tests cause.
fn nothing() -> Option<proto::EventFilter> {
    Some(proto::EventFilter { types: vec![proto::EventType::TemplateChanged as i32], ..Default::default() })
}

on_both_databases! {
    async fn a_cursor_is_exclusive_and_the_beginning_is_everything(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(5, "").await?;
        let all = gateway.all_events().await?;
        assert_eq!(all.len(), 6, "the sandbox sender and five messages: {all:?}");
        let replayed = gateway.stream(stream(from_beginning())).await?.events(6).await?;
        assert_eq!(replayed, all);
        for (i, event) in all.iter().enumerate().take(5) {
            let mut stream = gateway.stream(after(&event.cursor)).await?;
            assert_eq!(stream.attached.start_cursor, event.cursor);
            assert_eq!(stream.events(5 - i).await?, all[i + 1..]);
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_time_begins_at_the_first_event_recorded_then_or_later(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        for _ in 0..20 {
            gateway.fill(1, "").await?;
        }
        let all = gateway.all_events().await?;
        let time = |event: &proto::Event| event.record_time.unwrap();
        for event in &all {
            let at = time(event);
            let expected: Vec<_> = all.iter().filter(|e| (time(e).seconds, time(e).nanos) >= (at.seconds, at.nanos)).collect();
            let found = gateway.stream(stream(Some(Start::FromTime(at)))).await?.events(expected.len()).await?;
            assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        }
        let ahead = prost_types::Timestamp { seconds: time(&all[20]).seconds + 3_600, nanos: 0 };
        let ahead = refused(gateway.events.stream_events(stream(Some(Start::FromTime(ahead)))).await);
        assert_eq!((ahead.code, ahead.fields), (Code::InvalidArgument, vec!["from_time INVALID".to_owned()]));
        gateway.stop().await?;
        Ok(())
    }

    async fn without_a_start_a_stream_begins_now(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(3, "").await?;
        for _ in 0..2 {
            let mut stream = gateway.stream(stream(None)).await?;
            assert_eq!(stream.attached.start_cursor, stream.attached.head_cursor);
            let id = gateway.fill(1, "").await?.remove(0);
            let Some(proto::event::Payload::StatusChanged(first)) = stream.next_event().await?.payload else {
                panic!("not a status");
            };
            assert_eq!(first.message_id, id);
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn attached_comes_first_and_caught_up_once_between_replay_and_live(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(700, "").await?;
        let all = gateway.all_events().await?;
        let filter = proto::EventFilter { senders: vec!["sandbox".into()], ..Default::default() };
        let request = proto::StreamEventsRequest { filter: Some(filter.clone()), ..stream(from_beginning()) };
        let mut stream = gateway.stream(request).await?;
        assert_eq!(stream.attached.head_cursor, all[700].cursor);
        assert_eq!(stream.attached.filter.as_ref(), Some(&filter));
        assert_eq!(stream.attached.heartbeat_interval.unwrap().seconds, 1);
        let oldest = stream.attached.oldest_cursor.clone();
        assert_eq!(gateway.stream(after(&oldest)).await?.next_event().await?, all[0]);

        let live = gateway.fill(300, "").await?;
        let (mut before, mut behind, mut caught_up) = (Vec::new(), Vec::new(), Vec::new());
        while before.len() + behind.len() < 701 + live.len() {
            match stream.next_item().await? {
                Item::Event(event) if caught_up.is_empty() => before.push(event),
                Item::Event(event) => behind.push(event),
                Item::CaughtUp(item) => caught_up.push(item),
                Item::Checkpoint(_) => {}
                other => panic!("{other:?}"),
            }
        }
        // The last events may be replay; then the word comes after them.
        while caught_up.is_empty() {
            if let Item::CaughtUp(item) = stream.next_item().await? {
                caught_up.push(item);
            }
        }
        assert_eq!(caught_up.len(), 1);
        assert_eq!(caught_up[0].cursor, before.last().unwrap().cursor);
        assert!(before.len() >= 701, "{} events before, and the head was at 701", before.len());
        before.extend(behind);
        assert_eq!(positions(&before), (1..=1_001).collect::<Vec<_>>());
        stream.next_checkpoint().await?;
        gateway.fill(1, "").await?;
        loop {
            match stream.next_item().await? {
                Item::CaughtUp(_) => panic!("caught up a second time"),
                Item::Event(_) => break,
                _ => {}
            }
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn t6_checkpoints_move_although_the_filter_lets_nothing_through(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let request = proto::StreamEventsRequest { filter: nothing(), ..stream(from_beginning()) };
        let mut idle = gateway.stream(request).await?;
        gateway.fill(40, "").await?;
        let head = gateway.all_events().await?.last().unwrap().cursor.clone();
        let checkpoint = loop {
            match idle.next_item().await? {
                Item::Checkpoint(checkpoint) if checkpoint.cursor == head => break checkpoint,
                Item::Checkpoint(_) | Item::CaughtUp(_) => {}
                other => panic!("{other:?} came through"),
            }
        };
        assert_eq!(checkpoint.lag_events, 0);
        assert_eq!(idle.next_checkpoint().await?.cursor, head, "they go on while nothing happens");

        // Retention passes; the checkpoint, which is no event's that was sent, still reads on.
        compact(&gateway.database, 41).await?;
        let more = gateway.fill(3, "").await?;
        let resumed = gateway.stream(after(&checkpoint.cursor)).await?.events(3).await?;
        assert_eq!(positions(&resumed), [42, 43, 44]);
        let request = proto::StreamEventsRequest { filter: nothing(), ..stream(after_cursor(&checkpoint.cursor)) };
        let mut idle = gateway.stream(request).await?;
        let last = resumed[more.len() - 1].cursor.clone();
        while idle.next_checkpoint().await?.cursor != last {}
        gateway.stop().await?;
        Ok(())
    }

    async fn a_stop_says_a_last_checkpoint_and_going_away_and_nothing_is_lost(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let mut stream = gateway.stream(stream(from_beginning())).await?;
        gateway.fill(30, "").await?;
        stream.events(10).await?;
        let stopping = tokio::spawn(gateway.stop());
        let (mut items, mut rest) = (Vec::new(), Vec::new());
        let going = loop {
            match stream.next_item().await? {
                Item::GoingAway(going) => break going,
                Item::Event(event) => rest.push(event),
                other => items.push(other),
            }
        };
        let Some(Item::Checkpoint(last)) = items.last() else { panic!("{items:?} before going away") };
        assert_eq!(last.cursor, going.cursor);
        assert_eq!(going.reason(), proto::GoingAwayReason::Shutdown);
        assert!(going.retry_after.is_some());
        assert!(stream.next_item().await.unwrap_err().to_string().contains("the stream ended"), "it ends well");

        let mut gateway = TestGateway::start_on(stopping.await??, Setup::default()).await?;
        let all = gateway.all_events().await?;
        let seen = 10 + rest.len();
        assert_eq!(cursors(&rest), cursors(&all[10..seen]));
        assert_eq!(going.cursor, all[seen - 1].cursor);
        gateway.fill(1, "").await?;
        let next = gateway.stream(after(&going.cursor)).await?.next_event().await?;
        assert_eq!(positions(&[next]), [seen as i64 + 1]);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_stream_after_the_cursor_of_a_send_begins_with_its_accepted(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let mut sends = tokio::task::JoinSet::new();
        for i in 0..20 {
            let (mut messaging, scheduled) = (gateway.messaging.clone(), i % 2 == 0);
            let to = format!("+3519100000{i:02}");
            let request = if scheduled { held("sandbox", &to, "olá") } else { text("sandbox", &to, "olá") };
            sends.spawn(async move { messaging.send_message(request).await });
        }
        for sent in sends.join_all().await {
            let sent = sent?.into_inner();
            let first = gateway.stream(after(&sent.cursor)).await?.next_event().await?;
            let Some(proto::event::Payload::StatusChanged(first)) = first.payload else { panic!("not a status") };
            assert_eq!((&first.message_id, first.status()), (&sent.message_id, MessageStatus::Accepted));
        }
        gateway.stop().await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn event_ids_and_cursors_are_the_same_in_every_replay() -> Result<()> {
    let mut gateway = TestGateway::start(crate::database::Engine::Sqlite).await?;
    let sent = gateway.messaging.send_message(text("sandbox", "+15005550001", "olá")).await?.into_inner();
    let mut live = gateway.stream(after(&sent.cursor)).await?;
    let mut events = Vec::new();
    let seen_live = loop {
        events.push(live.next_event().await?);
        let last = events.last().context("just pushed")?;
        if let Some(proto::event::Payload::StatusChanged(status)) = &last.payload
            && status.status() == MessageStatus::Read
        {
            break events;
        }
    };
    let replayed = gateway.stream(after(&sent.cursor)).await?.events(seen_live.len()).await?;
    assert_eq!(replayed, seen_live);
    let mut gateway = TestGateway::start_on(gateway.stop().await?, Setup::default()).await?;
    let from_disk = gateway.stream(after(&sent.cursor)).await?.events(seen_live.len()).await?;
    assert_eq!(from_disk, seen_live);
    gateway.stop().await?;
    Ok(())
}
