//! What is kept, and what goes. Rows are made old in the database: nobody waits for a month.

use std::time::Duration;

use anyhow::Result;
use recado::proto;
use recado::proto::list_events_request::Start as From;
use recado::proto::stream_events_request::Start;
use recado::proto::stream_events_response::Item;
use tonic::Code;

use crate::database::{Engine, TestDatabase};
use crate::gateway::{EventStream, Setup, TestGateway, after, held, until};
use crate::media::downloaded;
use crate::on_both_databases;
use crate::refusal::{refusal, refused};
use crate::tools::{count, execute, fake, post, silent};

const DAY_MS: i64 = 86_400_000;

/// Looks often, and takes several steps for a handful of rows.
fn quick() -> Setup {
    Setup::default().with("retention.interval", "50ms").with("retention.step", "7")
}

/// Makes rows older: `("events", "record_at_ms", "position <= 20", 31)`.
async fn age(gateway: &TestGateway, table: &str, column: &str, which: &str, days: i64) -> Result<()> {
    let rows = gateway.rows().await?;
    execute(&rows, &format!("UPDATE {table} SET {column} = {column} - {} WHERE {which}", days * DAY_MS)).await
}

/// Waits until so many rows are left.
async fn left(gateway: &TestGateway, from: &str, expected: i64) -> Result<()> {
    let rows = gateway.rows().await?;
    until(&format!("{expected} rows of {from}"), || async { Ok(count(&rows, from).await? == expected) }).await
}

fn position(cursor: &str) -> i64 {
    cursor.parse::<recado::domain::Cursor>().unwrap().position
}

/// A stream that lets nothing through and has five minutes between two heartbeats.
fn deaf(start: Option<Start>) -> proto::StreamEventsRequest {
    proto::StreamEventsRequest {
        start,
        filter: Some(proto::EventFilter { peers: vec!["+351919999999".into()], ..Default::default() }),
        heartbeat_interval: Some(prost_types::Duration { seconds: 300, nanos: 0 }),
        ..Default::default()
    }
}

async fn list(gateway: &TestGateway, start: From) -> Result<proto::ListEventsResponse, tonic::Status> {
    let request = proto::ListEventsRequest { start: Some(start), page_size: 1_000, ..Default::default() };
    Ok(gateway.events.clone().list_events(request).await?.into_inner())
}

on_both_databases! {
    async fn events_go_when_they_are_old_and_whoever_stood_before_is_told_the_oldest(engine) {
        let mut gateway = TestGateway::start_with(engine, quick()).await?;
        gateway.fill(29, "").await?;
        let all = gateway.all_events().await?;
        let seek = proto::SeekSubscriptionRequest {
            subscription: "behind".into(),
            to: Some(proto::seek_subscription_request::To::Beginning(true)),
            ..Default::default()
        };
        gateway.events.seek_subscription(seek).await?;
        age(&gateway, "events", "record_at_ms", "position <= 20", 31).await?;
        left(&gateway, "events", 10).await?;
        assert_eq!(list(&gateway, From::FromBeginning(true)).await?.events, all[20..]);
        let oldest = &all[19].cursor;
        for cursor in [&all[0].cursor, &all[18].cursor] {
            for refusal in [
                refused(gateway.events.stream_events(after(cursor)).await),
                refused(list(&gateway, From::AfterCursor(cursor.clone())).await),
            ] {
                assert_eq!(refusal.is(), (Code::OutOfRange, "CURSOR_COMPACTED"));
                assert_eq!(&refusal.metadata["oldest_cursor"], oldest);
            }
        }
        // Time is what retention goes by: a subscription holds nothing up, and is never moved in silence.
        let named = proto::StreamEventsRequest { start: Some(Start::Subscription("behind".into())), ..Default::default() };
        assert_eq!(&refused(gateway.events.stream_events(named).await).metadata["oldest_cursor"], oldest);
        let mut resumed = gateway.stream(after(oldest)).await?;
        assert_eq!(resumed.attached.retention, Some(prost_types::Duration { seconds: 30 * 86_400, nanos: 0 }));
        assert_eq!(&resumed.attached.oldest_cursor, oldest);
        assert_eq!(resumed.events(10).await?, all[20..]);

        // All of it goes, and the log goes on at its place.
        age(&gateway, "events", "record_at_ms", "position <= 30", 31).await?;
        left(&gateway, "events", 0).await?;
        let mut gateway = TestGateway::start_on(gateway.stop().await?, quick()).await?;
        gateway.fill(1, "").await?;
        let kept = list(&gateway, From::AfterCursor(all[29].cursor.clone())).await?.events;
        assert_eq!(kept.iter().map(|event| position(&event.cursor)).collect::<Vec<_>>(), [31]);
        gateway.stop().await?;
        Ok(())
    }

    async fn t6_a_stream_that_lets_nothing_through_resumes_after_retention_has_passed(engine) {
        let mut gateway = TestGateway::start_with(engine, quick()).await?;
        let mut stream = gateway.stream(deaf(None)).await?;
        let start = stream.attached.start_cursor.clone();
        gateway.fill(30, "").await?;
        age(&gateway, "events", "record_at_ms", "position <= 31", 31).await?;
        // The next heartbeat is five minutes away: this one comes because its place would be gone.
        let told = stream.next_checkpoint().await?;
        left(&gateway, "events", 0).await?;
        let lost = refused(gateway.events.stream_events(after(&start)).await);
        assert_eq!(lost.is(), (Code::OutOfRange, "CURSOR_COMPACTED"));
        let mut again = gateway.stream(deaf(Some(Start::AfterCursor(told.cursor.clone())))).await?;
        assert!(matches!(again.next_item().await?, Item::CaughtUp(_)), "nothing was missed");

        // Also in a stream that has more to read than it was told of, and not again where nothing more goes.
        gateway.fill(5, "").await?;
        age(&gateway, "events", "record_at_ms", "position <= 36", 31).await?;
        for stream in [&mut stream, &mut again] {
            let checkpoint = stream.next_checkpoint().await?;
            assert_eq!((position(&checkpoint.cursor), checkpoint.lag_events), (36, 0));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn events_go_by_size_and_the_newest_stay(engine) {
        let setup = quick().with("retention.events", "").with("retention.events_bytes", "30000");
        let mut gateway = TestGateway::start_with(engine, setup).await?;
        assert_eq!(gateway.stream(deaf(None)).await?.attached.retention, None);
        gateway.fill(100, &"x".repeat(1_000)).await?;
        let rows = gateway.rows().await?;
        // About: an event of a thousand bytes has its ids and its row beside them.
        until("about 30,000 bytes", || async { Ok(count(&rows, "events").await? <= 25) }).await?;
        let kept = list(&gateway, From::FromBeginning(true)).await?.events;
        assert!(kept.len() >= 10, "{} are left", kept.len());
        let places: Vec<i64> = kept.iter().map(|event| position(&event.cursor)).collect();
        assert_eq!(places, (102 - kept.len() as i64..=101).collect::<Vec<_>>());
        gateway.stop().await?;
        Ok(())
    }

    async fn messages_go_when_they_are_over_and_old_with_attempts_and_keys(engine) {
        let mut gateway = TestGateway::start_with(engine, quick()).await?;
        let ids = gateway.fill(24, "").await?;
        let mut keyed = held("sandbox", "+351910000001", "keyed");
        keyed.options.get_or_insert_default().idempotency_key = "k1".into();
        let first = gateway.send(keyed.clone()).await?;
        assert_eq!(gateway.send(keyed.clone()).await?.message_id, first.message_id);
        let rows = gateway.rows().await?;
        // The twelve statuses, each twice: one that is 61 days old, and one of 59 days, which late reports may still reach.
        for (n, id) in ids.iter().enumerate() {
            let (status, days) = (n % 12 + 1, if n < 12 { 61 } else { 59 });
            let waits = matches!(status, 1..=5);
            let due = if waits { "due_at_ms" } else { "NULL" };
            // Before the message is of age: it may be removed from then on, and an attempt that came later would stay.
            execute(&rows, &format!(
                "INSERT INTO attempts (message_seq, number, sender, start_at_ms, end_at_ms, outcome) \
                 SELECT seq, 1, sender, 1, 2, 1 FROM messages WHERE id = {}", uuid(engine, id),
            )).await?;
            // It must not move by itself: its time is far ahead.
            execute(&rows, &format!(
                "UPDATE messages SET status = {status}, due_at_ms = {due}, accept_at_ms = accept_at_ms - {0}, \
                 status_at_ms = status_at_ms - {1}, attempt = 1 WHERE id = {2}",
                70 * DAY_MS, days * DAY_MS, uuid(engine, id),
            )).await?;
        }
        execute(&rows, &format!(
            "UPDATE messages SET status = 8, due_at_ms = NULL, accept_at_ms = 1, status_at_ms = 1 WHERE id = {}",
            uuid(engine, &first.message_id),
        )).await?;
        // Of the 61 days: ACCEPTED to IN_DOUBT stay, however old; the seven others go.
        left(&gateway, "messages", 24 - 7).await?;
        left(&gateway, "attempts", 24 - 7).await?;
        for (n, id) in ids.iter().enumerate() {
            let there = gateway.message(id).await.is_ok();
            assert_eq!(there, !(5..12).contains(&n), "number {n}");
        }
        let gone = refused(gateway.messaging.get_message(proto::GetMessageRequest { message_id: ids[11].clone() }).await);
        assert_eq!(gone.is(), (Code::NotFound, "MESSAGE_NOT_FOUND"));
        assert_eq!(count(&rows, "events").await?, 26, "their events have a time of their own");
        let second = gateway.send(keyed).await?;
        assert!(!second.deduplicated && second.message_id != first.message_id, "its key went with it");
        gateway.stop().await?;
        Ok(())
    }

    async fn webhooks_files_and_what_people_sent_go_each_by_its_own_time(engine) {
        let mut gateway = TestGateway::start_with(engine, quick()).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let mut media = Vec::new();
        let mut stream = gateway.stream(Default::default()).await?;
        for n in 0..3 {
            let body = serde_json::json!({
                "incomingMessageId": n, "from": "351910000001", "to": "AcmeCare", "text": "look",
                "contentUrl": fake.file_url("1000"), "contentType": "image/png", "contentName": "a.png",
            });
            assert_eq!(post(&gateway.devino_webhook("acme"), body.to_string()).await?, 200);
            let Some(proto::event::Payload::IncomingMessage(message)) = stream.next_event().await?.payload else {
                anyhow::bail!("no incoming message");
            };
            let Some(proto::incoming_message::Content::Media(file)) = message.content else { anyhow::bail!("no file") };
            downloaded(&gateway, &file.media_id).await?;
            media.push(file.media_id);
        }
        // A status of nobody's message is parked, and is an orphan after 30 days.
        let status = serde_json::json!([{ "messageId": 77, "status": "DELIVERED" }]);
        assert_eq!(post(&gateway.devino_webhook("acme"), status.to_string()).await?, 200);
        left(&gateway, "parked_reports", 1).await?;
        let first = uuid(engine, &media[0]);
        left(&gateway, "journal WHERE pending IS NULL", 4).await?;

        age(&gateway, "journal", "receive_at_ms", "id <= 2", 15).await?;
        left(&gateway, "journal", 2).await?;
        assert_eq!(count(&gateway.rows().await?, "media").await?, 3, "files stay longer");
        age(&gateway, "media", "create_at_ms", &format!("id = {first}"), 31).await?;
        left(&gateway, "media", 2).await?;
        let request = proto::DownloadMediaRequest { media_id: media[0].clone() };
        let gone = refused(gateway.messaging.download_media(request).await.map(drop));
        assert_eq!(gone.is(), (Code::NotFound, "NOT_FOUND"));
        downloaded(&gateway, &media[1]).await?;
        assert_eq!(files(&gateway.database.folder().join("media")), 2, "the file went with its row");

        age(&gateway, "parked_reports", "receive_at_ms", "1 = 1", 61).await?;
        execute(&gateway.rows().await?, "UPDATE parked_reports SET orphan = true").await?;
        left(&gateway, "parked_reports", 0).await?;
        assert_eq!(count(&gateway.rows().await?, "incoming_messages").await?, 3, "repeats are still known");
        gateway.stop().await?;
        Ok(())
    }

    async fn files_go_by_size_the_oldest_first(engine) {
        let setup = quick().with("retention.media", "").with("retention.media_bytes", "2500");
        let mut gateway = TestGateway::start_with(engine, setup).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        for n in 0..5 {
            let body = serde_json::json!({
                "incomingMessageId": n, "from": "351910000001", "to": "AcmeCare", "text": "look",
                "contentUrl": fake.file_url("1000"), "contentType": "image/png", "contentName": "a.png",
            });
            assert_eq!(post(&gateway.devino_webhook("acme"), body.to_string()).await?, 200);
        }
        let rows = gateway.rows().await?;
        until("two of five are left", || async {
            Ok(count(&rows, "journal WHERE pending IS NULL").await? == 5
                && count(&rows, "media").await? == 2
                && count(&rows, "media WHERE state = 2").await? == 2)
        }).await?;
        assert_eq!(files(&gateway.database.folder().join("media")), 2);
        gateway.stop().await?;
        Ok(())
    }

    async fn an_unused_subscription_goes_and_one_in_use_stays(engine) {
        let mut gateway = TestGateway::start_with(engine, quick()).await?;
        let named = |name: &str| proto::StreamEventsRequest {
            start: Some(Start::Subscription(name.into())), ..Default::default()
        };
        let attached = gateway.stream(named("attached")).await?;
        let mut was_attached = gateway.stream(named("was-attached")).await?;
        gateway.fill(1, "").await?;
        let cursor = was_attached.next_event().await?.cursor;
        drop(was_attached);
        for name in ["moved", "unused"] {
            let to = Some(proto::seek_subscription_request::To::End(true));
            let seek = proto::SeekSubscriptionRequest { subscription: name.into(), to, ..Default::default() };
            gateway.events.seek_subscription(seek).await?;
        }
        left(&gateway, "subscriptions WHERE holder IS NOT NULL", 1).await?;
        // All of them are 91 days old, but for the last sign of life of two; the attached one has none but its hold.
        for column in ["create_at_ms", "ack_at_ms"] {
            age(&gateway, "subscriptions", column, "name <> 'moved' AND name <> 'was-attached'", 91).await?;
        }
        age(&gateway, "subscriptions", "create_at_ms", "name = 'moved' OR name = 'was-attached'", 91).await?;
        left(&gateway, "subscriptions", 3).await?;
        let gone = proto::AckEventsRequest { subscription: "unused".into(), cursor };
        assert_eq!(refused(gateway.events.ack_events(gone).await).is(), (Code::NotFound, "NOT_FOUND"));
        assert!(gateway.stream(named("unused")).await?.attached.subscription_made, "whoever comes back is told");
        drop(attached);
        gateway.stop().await?;
        Ok(())
    }

    async fn trimming_under_load_loses_nothing_that_is_kept(engine) {
        // What is two seconds old goes, while it is written and read.
        let setup = Setup::default()
            .with("retention.interval", "20ms").with("retention.step", "50").with("retention.events", "2s");
        let mut gateway = TestGateway::start_with(engine, setup).await?;
        let mut live = gateway.stream(Default::default()).await?;
        let start = live.attached.start_cursor.clone();
        let writers = (0..4).map(|writer| {
            let mut messaging = gateway.messaging.clone();
            tokio::spawn(async move {
                let mut ids = Vec::new();
                let until = tokio::time::Instant::now() + Duration::from_secs(6);
                while tokio::time::Instant::now() < until {
                    let request = held("sandbox", &format!("+35191000000{writer}"), "olá");
                    ids.push(messaging.send_message(request).await?.into_inner().message_id);
                }
                Ok::<_, tonic::Status>(ids)
            })
        });
        let writers: Vec<_> = writers.collect();
        // Pages from wherever the log begins: contiguous, or told that they are not.
        let (pager, stop) = (gateway.events.clone(), tokio_util::sync::CancellationToken::new());
        let paging = tokio::spawn(pages(pager, start, stop.clone()));
        let mut written = 0;
        for writer in writers {
            written += writer.await??.len() as i64;
        }
        let events = live.events(written as usize).await?;
        let places: Vec<i64> = events.iter().map(|event| position(&event.cursor)).collect();
        assert_eq!(places, (2..=written + 1).collect::<Vec<_>>(), "the live stream has every one, in order");
        stop.cancel();
        let (read, overtaken) = paging.await??;
        assert!(read > 0, "{overtaken} times overtaken and nothing read");
        let rows = gateway.rows().await?;
        until("the last of them are gone", || async { Ok(count(&rows, "events").await? == 0) }).await?;
        assert_eq!(count(&rows, "messages").await?, written);
        gateway.stop().await?;
        Ok(())
    }
}

/// Reads pages until it is stopped; answers how many events, and how often retention was faster.
async fn pages(
    mut events: proto::event_service_client::EventServiceClient<tonic::transport::Channel>,
    mut cursor: String,
    stop: tokio_util::sync::CancellationToken,
) -> Result<(usize, usize)> {
    let (mut read, mut overtaken) = (0, 0);
    while !stop.is_cancelled() {
        let start = Some(From::AfterCursor(cursor.clone()));
        let request = proto::ListEventsRequest { start, page_size: 100, ..Default::default() };
        match events.list_events(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let places: Vec<i64> = answer.events.iter().map(|event| position(&event.cursor)).collect();
                let first = position(&cursor) + 1;
                assert_eq!(places, (first..first + places.len() as i64).collect::<Vec<_>>(), "no silent jump");
                read += places.len();
                cursor = answer.next_cursor;
            }
            Err(status) => {
                let refusal = refusal(&status);
                assert_eq!(refusal.is(), (Code::OutOfRange, "CURSOR_COMPACTED"));
                overtaken += 1;
                assert!(position(&refusal.metadata["oldest_cursor"]) > position(&cursor));
                cursor = refusal.metadata["oldest_cursor"].clone();
            }
        }
    }
    Ok((read, overtaken))
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_streams_of_every_replica_are_told_before_one_of_them_trims() -> Result<()> {
    let database = TestDatabase::create(Engine::Postgres).await?;
    let setup = || Setup::default().with("retention.interval", "500ms");
    let mut one = TestGateway::start_on(database.clone(), setup()).await?;
    let mut two = TestGateway::start_on(database, setup()).await?;
    let mut streams: Vec<EventStream> = vec![one.stream(deaf(None)).await?, two.stream(deaf(None)).await?];
    one.fill(20, "").await?;
    age(&one, "events", "record_at_ms", "position <= 21", 31).await?;
    let mut told = Vec::new();
    for stream in &mut streams {
        told.push(stream.next_checkpoint().await?.cursor);
    }
    left(&one, "events", 0).await?;
    for (gateway, cursor) in [(&mut one, &told[1]), (&mut two, &told[0])] {
        let mut again = gateway.stream(deaf(Some(Start::AfterCursor(cursor.clone())))).await?;
        assert!(matches!(again.next_item().await?, Item::CaughtUp(_)));
    }
    one.stop().await?;
    two.stop().await?;
    Ok(())
}

/// An id as the database writes it.
fn uuid(engine: Engine, id: &str) -> String {
    match engine {
        Engine::Sqlite => format!("X'{}'", id.replace('-', "")),
        Engine::Postgres => format!("'{id}'"),
    }
}

/// Files in a folder and all below it.
fn files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).map(|entries| entries.filter_map(Result::ok).collect::<Vec<_>>());
    let count = |entry: std::fs::DirEntry| if entry.path().is_dir() { files(&entry.path()) } else { 1 };
    entries.unwrap_or_default().into_iter().map(count).sum()
}
