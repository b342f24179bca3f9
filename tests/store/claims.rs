//! Claims: each message in one hand, conversations in order, and leases that run out.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use recado::domain::message::Priority;
use recado::domain::pace::Rate;
use recado::domain::progress::Next;
use recado::domain::{DeliveryError, ErrorReason, MessageStatus};
use recado::store::{Claim, EndedCall};

use crate::database::{Engine, TestDatabase};
use crate::{Bench, accept, acme, new, on_both_databases, to};

const LEASE: Duration = Duration::from_secs(60);

fn sent(claim: &Claim) -> EndedCall {
    let next = Next::Sent(Some(format!("provider-{}", claim.seq)));
    EndedCall { seq: claim.seq, token: claim.token, attempt: claim.attempt, next, exchange: None }
}

/// Two replicas on PostgreSQL, one process on SQLite.
pub async fn replicas(engine: Engine) -> Result<Vec<Bench>> {
    let database = TestDatabase::create(engine).await?;
    let mut benches = vec![Bench::start_on(database.clone()).await?];
    if engine == Engine::Postgres {
        benches.push(Bench::start_on(database).await?);
    }
    Ok(benches)
}

async fn status(bench: &Bench, claim: &Claim) -> Result<MessageStatus> {
    Ok(bench.store.message(claim.message_id).await?.unwrap().status)
}

on_both_databases! {
    async fn eight_workers_take_every_message_once(engine) {
        let benches = replicas(engine).await?;
        join_all((0..300).map(|i| { let bench = &benches[0]; async move { bench.accept(&to(i), "olá").await } }))
            .await.into_iter().collect::<Result<Vec<_>>>()?;
        let taken = join_all((0..8).map(|worker| {
            let bench = &benches[worker % benches.len()];
            async move {
                let mut taken = Vec::new();
                loop {
                    let claims = bench.claim(7, LEASE).await?;
                    if claims.is_empty() {
                        return anyhow::Ok(taken);
                    }
                    taken.extend(claims.into_iter().map(|claim| claim.message_id));
                }
            }
        })).await.into_iter().collect::<Result<Vec<_>>>()?.concat();
        assert_eq!(taken.len(), 300);
        assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 300);
        for bench in benches {
            bench.stop().await?;
        }
        Ok(())
    }

    async fn o10_a_claim_never_passes_an_earlier_message_of_its_conversation(engine) {
        let benches = replicas(engine).await?;
        // Five conversations of twelve messages each, the later ones more urgent.
        for n in 0..12 {
            for conversation in 0..5 {
                let mut request = new(&to(conversation), &format!("{n}"));
                request.priority = if n % 3 == 2 { Priority::Urgent } else { Priority::Bulk };
                benches[0].writer.accept(accept(None, request)).await?;
            }
        }
        let handed = join_all((0..8).map(|worker| {
            let bench = &benches[worker % benches.len()];
            async move {
                let mut handed = Vec::new();
                while handed.len() < 60 {
                    let claims = bench.claim(10, LEASE).await?;
                    let conversations: HashSet<_> = claims.iter().map(|claim| &claim.request.to.digits).collect();
                    anyhow::ensure!(conversations.len() == claims.len(), "two of one conversation in one claim");
                    if claims.is_empty() && bench.store.ready_senders().await?.is_empty() {
                        break;
                    }
                    for claim in claims {
                        handed.push((claim.request.to.digits.clone(), claim.seq, std::time::Instant::now()));
                        tokio::time::sleep(Duration::from_millis(rand::random_range(0..4))).await;
                        bench.writer.ended(sent(&claim)).await?;
                    }
                }
                anyhow::Ok(handed)
            }
        })).await.into_iter().collect::<Result<Vec<_>>>()?.concat();
        assert_eq!(handed.len(), 60);
        let mut by_conversation: BTreeMap<String, Vec<(std::time::Instant, i64)>> = BTreeMap::new();
        for (conversation, seq, at) in handed {
            by_conversation.entry(conversation).or_default().push((at, seq));
        }
        for (conversation, mut handed) in by_conversation {
            handed.sort();
            assert!(handed.windows(2).all(|pair| pair[0].1 < pair[1].1), "{conversation}: {handed:?}");
        }
        for bench in benches {
            bench.stop().await?;
        }
        Ok(())
    }

    async fn a_rate_is_one_for_all_replicas(engine) {
        let benches = replicas(engine).await?;
        for i in 0..200 {
            benches[0].accept(&to(i), "olá").await?;
        }
        let rate = Rate { per_second: Some(50.0), ..Rate::default() };
        let started = std::time::Instant::now();
        let (mut taken, mut refused) = (0, 0);
        for round in 0..40 {
            let bench = &benches[round % benches.len()];
            let claimed = bench.writer.claim(acme(), 100, rand::random(), LEASE, rate, None).await?;
            taken += claimed.claims.len();
            refused += usize::from(claimed.claims.is_empty());
            assert!(claimed.claims.is_sorted_by_key(|claim| claim.wait));
            assert!(claimed.room_in.is_some(), "there are more than it lets through");
        }
        // What passed by now, what is ahead, and the first.
        let most = started.elapsed().as_secs_f64() * 50.0 + 0.2 * 50.0 + 1.0;
        assert!(taken as f64 <= most, "{taken} of at most {most}");
        assert!(taken > 0 && refused > 0);
        for bench in benches {
            bench.stop().await?;
        }
        Ok(())
    }

    async fn o5_a_lease_that_is_renewed_lasts_and_one_that_runs_out_leaves_in_doubt_and_a_late_word_settles_it(engine) {
        let bench = Bench::start(engine).await?;
        for i in 0..3 {
            bench.accept(&to(i), "olá").await?;
        }
        // Two leases are over as soon as they begin; the third is renewed in time.
        let claims = bench.claim(3, Duration::ZERO).await?;
        assert_eq!(claims.len(), 3);
        assert!(bench.claim(3, LEASE).await?.is_empty());
        bench.writer.renew(vec![(claims[2].seq, claims[2].token)], LEASE).await?;
        bench.writer.renew(vec![(claims[1].seq, claims[1].token + 1)], LEASE).await?;
        assert_eq!(bench.writer.timers(100, LEASE).await?, 2, "another's number renews nothing");
        let now: Vec<_> = [status(&bench, &claims[0]).await?, status(&bench, &claims[1]).await?, status(&bench, &claims[2]).await?].into();
        assert_eq!(now, [MessageStatus::InDoubt, MessageStatus::InDoubt, MessageStatus::Sending]);
        assert!(bench.claim(3, LEASE).await?.is_empty(), "what is in doubt is not sent again");

        // An outcome under a number that is nobody's changes nothing.
        let error = || DeliveryError::ours(ErrorReason::Unknown, "a test's", true);
        for next in [Next::Failed(error()), Next::RetryIn(Duration::ZERO, error()), Next::InDoubt(error())] {
            let stranger = EndedCall { token: claims[2].token ^ 1, next, ..sent(&claims[2]) };
            bench.writer.ended(stranger).await?;
            assert_eq!(status(&bench, &claims[2]).await?, MessageStatus::Sending);
        }
        // A receipt is the provider's word, and is believed from whoever lost the lease.
        bench.writer.ended(sent(&claims[0])).await?;
        assert_eq!(status(&bench, &claims[0]).await?, MessageStatus::Sent);
        bench.writer.ended(sent(&claims[2])).await?;
        assert_eq!(status(&bench, &claims[2]).await?, MessageStatus::Sent);
        bench.stop().await?;
        Ok(())
    }
}
