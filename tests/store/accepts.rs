//! Acceptance: one commit for many, one message for a key, and a bad piece that costs no neighbour.

use std::collections::HashSet;

use anyhow::Result;
use bytes::Bytes;
use futures::future::join_all;
use recado::domain::now_ms;
use recado::error::Error;
use recado::store::{NewJournalEntry, Store};

use crate::database::{Engine, TestDatabase};
use crate::{Bench, accept, acme, new, on_both_databases, to};

fn webhook(body: &str) -> NewJournalEntry {
    NewJournalEntry {
        sender: acme(),
        provider: "devino".into(),
        receive_at_ms: now_ms(),
        headers: "{}".into(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

on_both_databases! {
    async fn t2_fifty_senders_and_fifty_webhooks_meet_no_error(engine) {
        let bench = Bench::start(engine).await?;
        let accepting = join_all((0..50).map(|i| {
            let bench = &bench;
            async move {
                for n in 0..20 {
                    bench.accept(&to(i), &format!("{n}")).await?;
                }
                anyhow::Ok(())
            }
        }));
        let journalling = join_all((0..50).map(|i| {
            let bench = &bench;
            async move {
                for n in 0..20 {
                    bench.writer.journal(webhook(&format!("{i} {n}"))).await?;
                }
                anyhow::Ok(())
            }
        }));
        let claiming = join_all((0..8).map(|_| bench.claim(10, std::time::Duration::from_secs(60))));
        let (accepted, journalled, claimed) = tokio::join!(accepting, journalling, claiming);
        accepted.into_iter().chain(journalled).collect::<Result<()>>()?;
        claimed.into_iter().collect::<Result<Vec<_>, _>>()?;
        let events = bench.store.events_after(0, 10_000).await?;
        let positions: Vec<_> = events.iter().map(|event| event.position).collect();
        assert_eq!(positions, (1..=1_000).collect::<Vec<_>>());
        assert_eq!(bench.store.pending_webhooks(0, 10_000).await?.len(), 1_000);
        bench.stop().await?;
        Ok(())
    }

    async fn a_key_gives_one_message_however_many_come_at_once(engine) {
        let database = TestDatabase::create(engine).await?;
        let one = Bench::start_on(database.clone()).await?;
        // On PostgreSQL a second replica takes half of them.
        let two = match engine {
            Engine::Postgres => Some(Bench::start_on(database).await?),
            Engine::Sqlite => None,
        };
        let answers = join_all((0..200).map(|i| {
            let bench = two.as_ref().filter(|_| i % 2 == 1).unwrap_or(&one);
            let key = format!("key-{}", i % 10);
            let body = format!("body {}", i % 10);
            async move { bench.writer.accept(accept(Some(&key), new(&to(1), &body))).await }
        }))
        .await;
        let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let ids: HashSet<_> = answers.iter().map(|answer| answer.message_id).collect();
        assert_eq!(ids.len(), 10);
        assert_eq!(answers.iter().filter(|answer| !answer.deduplicated).count(), 10, "one first answer for each key");
        assert_eq!(one.store.events_after(0, 1_000).await?.len(), 10);
        // Ten requests in one breath that use a key for ten bodies: one wins, nine are told which field differs.
        let answers = join_all((0..10).map(|i| {
            let bench = two.as_ref().filter(|_| i % 2 == 1).unwrap_or(&one);
            async move { bench.writer.accept(accept(Some("other"), new(&to(1), &format!("{i}")))).await }
        }))
        .await;
        let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((taken.len(), refused.len()), (1, 9));
        for error in refused {
            assert!(matches!(&error, Err(Error::KeyReused { fields, .. }) if fields == &["text.body"]), "{error:?}");
        }
        assert_eq!(one.store.events_after(0, 1_000).await?.len(), 11);
        if let Some(two) = two {
            two.stop().await?;
        }
        one.stop().await?;
        Ok(())
    }

    async fn migrations_run_twice_and_the_log_keeps_its_epoch(engine) {
        let bench = Bench::start(engine).await?;
        bench.accept(&to(1), "olá").await?;
        let epoch = bench.store.epoch();
        let database = bench.stop().await?;
        let store = Store::open(&database.url).await?;
        assert_eq!(store.epoch(), epoch);
        assert_eq!(store.log_head().await?, 1);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_piece_of_a_shared_commit_costs_no_neighbour() -> Result<()> {
    // What one of the two databases refuses: PostgreSQL's text holds no NUL. The gateway lets none through.
    let bench = Bench::start(Engine::Postgres).await?;
    let answers = join_all((0..100).map(|i| {
        let key = if i % 10 == 0 { format!("bad \u{0} {i}") } else { format!("good {i}") };
        let bench = &bench;
        async move { (i, bench.writer.accept(accept(Some(&key), new(&to(i), "olá"))).await) }
    }))
    .await;
    for (i, answer) in &answers {
        assert_eq!(answer.is_ok(), i % 10 != 0, "{i}: {answer:?}");
    }
    let events = bench.store.events_after(0, 1_000).await?;
    assert_eq!(events.iter().map(|event| event.position).collect::<Vec<_>>(), (1..=90).collect::<Vec<_>>());
    bench.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_migrate_once() -> Result<()> {
    let database = TestDatabase::create(Engine::Postgres).await?;
    let stores = join_all((0..4).map(|_| Store::open(&database.url))).await;
    let stores = stores.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert!(stores.iter().all(|store| store.epoch() == stores[0].epoch()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sqlite_file_carries_one_process() -> Result<()> {
    let database = TestDatabase::create(Engine::Sqlite).await?;
    let store = Store::open(&database.url).await?;
    let error = Store::open(&database.url).await.unwrap_err().to_string();
    assert!(error.contains("in use by another gateway"), "{error}");
    drop(store);
    Store::open(&database.url).await?;
    Ok(())
}
