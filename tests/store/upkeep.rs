//! What retention relies on: whose turn it is, and steps that remove nothing that must stay.

use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use recado::domain::retention::Limit;
use recado::domain::{Millis, now_ms};
use recado::store::{Announced, Kind};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};

use crate::{Bench, on_both_databases, to};

const DAY: Millis = 86_400_000;

async fn rows(bench: &Bench) -> Result<DatabaseConnection> {
    bench.database.connect().await
}

fn old(before: Millis) -> Limit {
    Limit { before, surplus: 0 }
}

on_both_databases! {
    async fn one_has_the_turn_at_a_kind_and_the_next_begins_where_it_ended(engine) {
        let bench = Bench::start(engine).await?;
        let now = now_ms();
        let at_once = join_all((0..10).map(|_| bench.store.take_turn(Kind::Events, now, now + 1_000))).await;
        let taken: Vec<_> = at_once.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].place, taken[0].announced), (0, 0));
        assert!(bench.store.take_turn(Kind::Journal, now, now + 1_000).await?.is_some(), "kinds are apart");
        assert!(bench.store.take_turn(Kind::Events, now + 1_000, now + 2_000).await?.is_none());
        // Whoever died in the middle of it lets go by itself.
        assert!(bench.store.take_turn(Kind::Events, now + 1_001, now + 2_000).await?.is_some());
        bench.store.announce_trim(7, now).await?;
        bench.store.end_turn(Kind::Events, 5).await?;
        let next = bench.store.take_turn(Kind::Events, now, now + 1_000).await?.unwrap();
        assert_eq!((next.place, next.announced, next.announce_at_ms), (5, 7, now));
        assert_eq!(bench.store.announced().await?, Announced { events: 7, erasures: 0 });
        bench.store.announce_erasure().await?;
        bench.store.announce_erasure().await?;
        assert_eq!(bench.store.announced().await?, Announced { events: 7, erasures: 2 });
        bench.stop().await?;
        Ok(())
    }

    async fn a_step_done_twice_at_once_removes_each_row_once_and_the_oldest_is_found(engine) {
        let bench = Bench::start(engine).await?;
        for i in 0..50 {
            bench.accept(&to(i), "x").await?;
        }
        let now = now_ms();
        bench.store.take_turn(Kind::Events, now, now + 60_000).await?;
        let steps = join_all((0..4).map(|_| bench.store.trim_events(0, 20))).await;
        assert_eq!(steps.into_iter().sum::<Result<u64, _>>()?, 20);
        assert_eq!((bench.store.log_oldest().await?, bench.store.log_head().await?), (21, 50));
        // Rows that were removed by another hand are seen as gone as well.
        rows(&bench).await?.execute_unprepared("DELETE FROM events WHERE position <= 30").await?;
        assert_eq!(bench.store.log_oldest().await?, 31);
        assert_eq!(bench.store.trim_events(30, 50).await?, 20);
        assert_eq!((bench.store.log_oldest().await?, bench.store.log_head().await?), (51, 50));
        bench.stop().await?;
        Ok(())
    }

    async fn messages_that_wait_stay_where_they_are_and_the_walk_comes_back_to_them(engine) {
        let bench = Bench::start(engine).await?;
        let mut places = Vec::new();
        for i in 0..10 {
            places.push(bench.accept(&to(i), "x").await?);
        }
        let now = now_ms();
        let rows = rows(&bench).await?;
        // All old; every third one waits still.
        let over = "seq % 3 <> 0";
        rows.execute_unprepared("UPDATE messages SET accept_at_ms = 1, status_at_ms = 1").await?;
        rows.execute_unprepared(&format!("UPDATE messages SET status = 8, due_at_ms = NULL, lane = NULL WHERE {over}")).await?;
        let mut limit = old(now - DAY);
        let (mut after, mut removed, mut left) = (0, 0, None);
        loop {
            let step = bench.store.trim_messages(after, 4, &mut limit).await?;
            removed += step.removed;
            left = left.or(step.left);
            match step.next {
                Some(next) => after = next,
                None => break,
            }
        }
        let waiting: Vec<i64> = places.iter().copied().filter(|seq| seq % 3 == 0).collect();
        assert_eq!((removed as usize, left), (10 - waiting.len(), waiting.first().copied()));
        // In hand, they are not removed either, whatever their status.
        bench.claim(1, Duration::from_secs(60)).await?;
        rows.execute_unprepared("UPDATE messages SET status = 8, status_at_ms = 1 WHERE claim IS NOT NULL").await?;
        assert_eq!(bench.store.trim_messages(0, 100, &mut old(now - DAY)).await?.removed, 0);
        rows.execute_unprepared("UPDATE messages SET status = 8, due_at_ms = NULL, claim = NULL, lane = NULL").await?;
        assert_eq!(bench.store.trim_messages(0, 100, &mut Limit { before: 0, surplus: 2 }).await?.removed, 2, "by size");
        assert_eq!(bench.store.trim_messages(0, 100, &mut old(now)).await?.removed as usize, waiting.len() - 2);
        bench.stop().await?;
        Ok(())
    }

    async fn webhooks_that_are_not_parsed_stay(engine) {
        let bench = Bench::start(engine).await?;
        for _ in 0..5 {
            let intake = bench.journalled(Vec::new()).await?;
            if intake.journal_id % 2 == 0 {
                bench.writer.intake(intake).await?;
            }
        }
        let step = bench.store.trim_journal(0, 100, &mut old(now_ms() + DAY)).await?;
        assert_eq!((step.removed, step.left), (2, Some(1)));
        assert_eq!(bench.store.pending_webhooks(0, 10).await?.len(), 3);
        bench.stop().await?;
        Ok(())
    }

    async fn sizes_are_about_what_was_written(engine) {
        let bench = Bench::start(engine).await?;
        let body = "é".repeat(500);
        for i in 0..40 {
            bench.accept(&to(i), &body).await?;
        }
        let messages = bench.store.messages_size().await?;
        assert_eq!(messages.rows, 40);
        // Bytes, not characters: a thousand in each text, and what stands beside it.
        assert!((1_000..3_000).contains(&messages.row_bytes), "{messages:?}");
        let events = bench.store.events_size().await?;
        assert_eq!(events.rows, 40);
        assert!((200..1_000).contains(&events.row_bytes), "{events:?}");
        assert_eq!((bench.store.journal_size().await?.rows, bench.store.media_bytes().await?), (0, 0));
        bench.stop().await?;
        Ok(())
    }
}
