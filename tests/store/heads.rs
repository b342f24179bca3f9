//! Heads: the first of each conversation, and no other, can be claimed; and what is counted is what is there.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use recado::domain::message::{InDoubtPolicy, Priority};
use recado::domain::now_ms;
use recado::domain::pace::Rate;
use recado::domain::progress::Next;
use recado::domain::{DeliveryError, ErrorReason};
use recado::store::{Claim, EndedCall};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};

use crate::claims::{LEASE, replicas, sent};
use crate::{Bench, accept, acme, new, on_both_databases, to};

/// Every message that may be claimed and has nobody before it, against the heads; nothing when they are the same.
const WRONG: &str = "SELECT COUNT(*) AS n FROM messages m WHERE \
    (m.head IS NOT NULL) <> (m.lane IS NOT NULL AND NOT EXISTS (SELECT 1 FROM messages e \
      WHERE e.sender = m.sender AND e.holds IS NOT NULL AND e.holds = m.peer AND e.seq < m.seq)) \
    OR (m.head IS NOT NULL AND m.head <> m.lane)";

/// What is counted of now, and what is there: the same rows.
const COUNTED: &str = "SELECT status, count AS n FROM tallies WHERE minute = 0 AND count <> 0 ORDER BY status";
const BY_MINUTE: &str = "SELECT status, CAST(SUM(count) AS bigint) AS n FROM tallies \
    WHERE minute > 0 AND status > 0 GROUP BY status HAVING SUM(count) <> 0 ORDER BY status";
/// A claim is not counted before its call ends.
const THERE: &str = "SELECT status, COUNT(*) AS n FROM messages GROUP BY status ORDER BY status";

async fn number(database: &DatabaseConnection, text: &str) -> Result<i64> {
    let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), text)).await?;
    Ok(row.context("no row")?.try_get("", "n")?)
}

async fn by_status(database: &DatabaseConnection, text: &str) -> Result<BTreeMap<i16, i64>> {
    let rows = database.query_all_raw(Statement::from_string(database.get_database_backend(), text)).await?;
    rows.into_iter().map(|row| Ok((row.try_get("", "status")?, row.try_get("", "n")?))).collect()
}

fn ended(claim: &Claim, next: Next) -> EndedCall {
    EndedCall { next, ..sent(claim) }
}

fn error() -> DeliveryError {
    DeliveryError::ours(ErrorReason::RateLimited, "later", true)
}

on_both_databases! {
    async fn o10_the_first_of_each_conversation_is_its_head_whatever_happens(engine) {
        let benches = replicas(engine).await?;
        let database = Database::connect(&benches[0].database.url).await?;
        let working = (0..4).map(|worker: usize| {
            let bench = &benches[worker % benches.len()];
            async move {
                let mut sent_ids = Vec::new();
                for round in 0..40 {
                    let mut request = new(&to(rand::random_range(0..5)), &format!("{worker} {round}"));
                    request.priority = if round % 4 == 0 { Priority::Urgent } else { Priority::Bulk };
                    request.send_at_ms = (round % 5 == 0).then(|| now_ms() + rand::random_range(1..30));
                    request.validity_ms = (round % 7 == 0).then_some(5);
                    if round % 3 == 0 {
                        request.in_doubt_policy = InDoubtPolicy::AtLeastOnce;
                    }
                    sent_ids.push(bench.writer.accept(accept(None, request)).await?.message_id);
                    for claim in bench.claim(3, LEASE).await? {
                        let next = match rand::random_range(0..6) {
                            0 => Next::Failed(error()),
                            1 => Next::RetryIn(std::time::Duration::from_millis(rand::random_range(0..20)), error()),
                            2 => Next::InDoubt(error()),
                            3 => {
                                bench.writer.release(claim.token).await?;
                                continue;
                            }
                            _ => Next::Sent(None),
                        };
                        bench.writer.ended(ended(&claim, next)).await?;
                    }
                    bench.writer.timers(10, std::time::Duration::ZERO).await?;
                    if round % 6 == 0 {
                        bench.writer.cancel(sent_ids[rand::random_range(0..sent_ids.len())]).await?;
                    }
                }
                anyhow::Ok(())
            }
        });
        futures::future::try_join_all(working).await?;
        assert_eq!(number(&database, WRONG).await?, 0, "heads that are none, or firsts that are no heads");
        let there = by_status(&database, THERE).await?;
        assert_eq!(by_status(&database, COUNTED).await?, there, "counted, and there");
        assert_eq!(by_status(&database, BY_MINUTE).await?, there, "counted by the minute, and there");
        assert!(there.len() > 4, "every way was gone: {there:?}");
        database.close().await?;
        for bench in benches {
            bench.stop().await?;
        }
        Ok(())
    }

    async fn o10_one_whose_time_comes_goes_before_a_later_one_that_waits(engine) {
        let bench = Bench::start(engine).await?;
        let mut early = new(&to(1), "early");
        early.send_at_ms = Some(now_ms() + 50);
        let early = bench.writer.accept(accept(None, early)).await?;
        let late = bench.writer.accept(accept(None, new(&to(1), "late"))).await?;
        while bench.writer.timers(10, std::time::Duration::ZERO).await? == 0 {
            tokio::task::yield_now().await;
        }
        let [first] = bench.claim(10, LEASE).await?.try_into().unwrap();
        assert_eq!(first.message_id, early.message_id);
        bench.writer.ended(sent(&first)).await?;
        let [second] = bench.claim(10, LEASE).await?.try_into().unwrap();
        assert_eq!(second.message_id, late.message_id);
        bench.stop().await?;
        Ok(())
    }

    async fn o18_a_person_who_may_get_nothing_now_is_put_off_and_not_passed_again(engine) {
        let bench = Bench::start(engine).await?;
        let rate = Rate { contact_interval_ms: Some(3_600_000), ..Rate::default() };
        let claim = async || anyhow::Ok(bench.writer.claim(acme(), 10, rand::random(), LEASE, rate, None).await?.claims);
        for body in ["1", "2", "3"] {
            bench.accept(&to(1), body).await?;
        }
        let [first] = claim().await?.try_into().unwrap();
        bench.writer.ended(sent(&first)).await?;
        bench.accept(&to(2), "other").await?;
        let [other] = claim().await?.try_into().unwrap();
        assert_eq!(other.request.to.digits, to(2)[1..]);
        assert!(bench.store.ready_senders().await?.is_empty(), "there is nothing to look for");
        // With the limit gone, they go at once.
        bench.store.forget_contact_limits(&acme()).await?;
        while bench.writer.timers(10, std::time::Duration::ZERO).await? == 0 {
            tokio::task::yield_now().await;
        }
        let [second] = claim().await?.try_into().unwrap();
        assert_eq!(second.seq, first.seq + 1);
        bench.stop().await?;
        Ok(())
    }
}
