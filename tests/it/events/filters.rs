//! Filters and pages: the same log, by stream and by list.

use anyhow::Result;
use recado::proto;
use recado::proto::EventType;

use super::{cursors, from_beginning, stream};
use crate::gateway::{TestGateway, held};
use crate::on_both_databases;

/// Labels of a message, as a test writes them.
type Labels = &'static [(&'static str, &'static str)];

fn filter() -> proto::EventFilter {
    proto::EventFilter::default()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Everything that a filter lets through, by list and by stream; they must agree.
async fn let_through(gateway: &mut TestGateway, filter: proto::EventFilter) -> Result<Vec<proto::Event>> {
    use proto::list_events_request::Start;
    let (mut start, mut listed) = (Start::FromBeginning(true), Vec::new());
    loop {
        let request = proto::ListEventsRequest { start: Some(start), filter: Some(filter.clone()), page_size: 2 };
        let answer = gateway.events.list_events(request).await?.into_inner();
        assert!(answer.events.len() <= 2);
        listed.extend(answer.events);
        if answer.caught_up {
            break;
        }
        start = Start::AfterCursor(answer.next_cursor);
    }
    let request = proto::StreamEventsRequest { filter: Some(filter), ..stream(from_beginning()) };
    let mut open = gateway.stream(request).await?;
    let mut streamed = Vec::new();
    loop {
        match open.next_item().await? {
            proto::stream_events_response::Item::Event(event) => streamed.push(event),
            proto::stream_events_response::Item::CaughtUp(_) => break,
            _ => {}
        }
    }
    assert_eq!(streamed, listed);
    Ok(listed)
}

on_both_databases! {
    async fn filters_are_and_across_and_or_within(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.sandbox_sender("other").await?;
        let mut ids = Vec::new();
        let sends: [(&str, &str, Labels); 4] = [
            ("sandbox", "+351910000001", &[("team", "a")]),
            ("sandbox", "+351910000002", &[("team", "b"), ("lang", "pt")]),
            ("other", "+351910000001", &[("team", "a"), ("lang", "pt")]),
            ("other", "+351910000003", &[("team", "a=b")]),
        ];
        for (sender, to, labels) in sends {
            let mut request = held(sender, to, "olá");
            request.options.get_or_insert_default().labels =
                labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            ids.push(gateway.messaging.send_message(request).await?.into_inner().message_id);
        }
        let statuses = || vec![EventType::StatusChanged as i32];
        let id = |i: usize| ids[i].clone();
        let table: Vec<(proto::EventFilter, &[usize])> = vec![
            (proto::EventFilter { types: statuses(), ..filter() }, &[0, 1, 2, 3]),
            (proto::EventFilter { types: vec![EventType::IncomingMessage as i32], ..filter() }, &[]),
            (proto::EventFilter { types: statuses(), senders: strings(&["other"]), ..filter() }, &[2, 3]),
            (proto::EventFilter { types: statuses(), senders: strings(&["other", "sandbox"]), ..filter() }, &[0, 1, 2, 3]),
            (proto::EventFilter { peers: strings(&["+351910000001"]), ..filter() }, &[0, 2]),
            (proto::EventFilter { peers: strings(&["351 910 000 001", "00351910000003"]), ..filter() }, &[0, 2, 3]),
            (proto::EventFilter { message_ids: vec![id(1), id(3)], ..filter() }, &[1, 3]),
            (proto::EventFilter { message_ids: vec![id(1), id(3)], senders: strings(&["other"]), ..filter() }, &[3]),
            (proto::EventFilter { labels: strings(&["team=a"]), ..filter() }, &[0, 2]),
            (proto::EventFilter { labels: strings(&["team=a", "lang=pt"]), ..filter() }, &[0, 1, 2]),
            (proto::EventFilter { labels: strings(&["team=a=b"]), ..filter() }, &[3]),
            (proto::EventFilter { labels: strings(&["team=A"]), ..filter() }, &[]),
            (
                proto::EventFilter {
                    labels: strings(&["lang=pt"]), peers: strings(&["+351910000001"]), senders: strings(&["other"]),
                    types: statuses(), message_ids: vec![id(0), id(2)],
                },
                &[2],
            ),
            (proto::EventFilter { labels: strings(&["team=b"]), senders: strings(&["other"]), ..filter() }, &[]),
        ];
        for (filter, expected) in table {
            let found = let_through(&mut gateway, filter.clone()).await?;
            let found: Vec<_> = found.iter().map(|event| match &event.payload {
                Some(proto::event::Payload::StatusChanged(status)) => status.message_id.clone(),
                other => panic!("{filter:?} let through {other:?}"),
            }).collect();
            assert_eq!(found, expected.iter().map(|i| id(*i)).collect::<Vec<_>>(), "{filter:?}");
        }
        let changed = proto::EventFilter { types: vec![EventType::SenderChanged as i32], ..filter() };
        let found = let_through(&mut gateway, changed).await?;
        let senders: Vec<_> = found.iter().map(|event| event.sender.as_str()).collect();
        assert_eq!(senders, ["sandbox", "other"]);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_page_is_no_larger_than_clients_read(engine) {
        use proto::list_events_request::Start;
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(900, &"x".repeat(4_096)).await?;
        let (mut start, mut sizes) = (Start::FromBeginning(true), Vec::new());
        loop {
            let request = proto::ListEventsRequest { start: Some(start), page_size: 1_000, ..Default::default() };
            // The client reads 4 MiB, as all do that are not told otherwise.
            let answer = gateway.events.list_events(request).await?.into_inner();
            sizes.push(answer.events.len());
            if answer.caught_up {
                break;
            }
            start = Start::AfterCursor(answer.next_cursor);
        }
        assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (2, 901), "{sizes:?}");
        let message_ids = vec![recado::domain::MessageId::generate().to_string(); 10_001];
        let filter = Some(proto::EventFilter { message_ids, ..filter() });
        let refused = gateway.events.list_events(proto::ListEventsRequest { filter, ..Default::default() }).await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
        gateway.stop().await?;
        Ok(())
    }

    async fn pages_are_the_same_log_with_the_same_cursors(engine) {
        use proto::list_events_request::Start;
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(120, "").await?;
        let streamed = gateway.stream(stream(from_beginning())).await?.events(121).await?;
        for page_size in [1, 7, 120, 121, 1_000] {
            let (mut start, mut listed) = (Start::FromBeginning(true), Vec::new());
            loop {
                let request = proto::ListEventsRequest { start: Some(start), page_size, ..Default::default() };
                let answer = gateway.events.list_events(request).await?.into_inner();
                assert!(answer.events.len() <= page_size as usize);
                listed.extend(answer.events);
                if answer.caught_up {
                    break;
                }
                start = Start::AfterCursor(answer.next_cursor);
            }
            assert_eq!(listed, streamed);
        }
        let by_default = proto::ListEventsRequest { start: Some(Start::FromBeginning(true)), ..Default::default() };
        let answer = gateway.events.list_events(by_default).await?.into_inner();
        assert_eq!(cursors(&answer.events), cursors(&streamed[..100]));
        assert!(!answer.caught_up);
        let now = gateway.events.list_events(proto::ListEventsRequest::default()).await?.into_inner();
        assert!(now.events.is_empty() && now.caught_up, "without a start a page begins now");
        assert_eq!(now.next_cursor, streamed[120].cursor);
        gateway.stop().await?;
        Ok(())
    }
}
