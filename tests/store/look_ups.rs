//! Turns to ask a provider: each is taken once, whoever looks, and what is answered finds its message.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use recado::domain::pace::Rate;
use recado::domain::progress::Next;
use recado::domain::{DeliveryError, ErrorReason, MessageId, MessageStatus, now_ms};
use recado::provider::StatusReport;
use recado::store::{Claim, EndedCall, LookUp, LookedUp};

use crate::claims::replicas;
use crate::{Bench, acme, on_both_databases, to};

const LEASE: Duration = Duration::from_secs(60);

/// Messages in hand, whose turn to be asked after comes at once.
async fn claimed(bench: &Bench, count: usize) -> Result<Vec<Claim>> {
    for i in 0..count {
        bench.accept(&to(i), "olá").await?;
    }
    let at_once = Some(Duration::ZERO);
    Ok(bench.writer.claim(acme(), count as u64, rand::random(), LEASE, Rate::default(), at_once).await?.claims)
}

async fn ended(bench: &Bench, claim: &Claim, next: Next) -> Result<()> {
    let Claim { seq, token, attempt, .. } = *claim;
    Ok(bench
        .writer
        .ended(EndedCall { seq, token, attempt, next, exchange: None, instead: false, of_window: None })
        .await?)
}

fn lost() -> Next {
    Next::InDoubt(DeliveryError::ours(ErrorReason::OutcomeUnknown, "lost", false))
}

/// Takes turns; the next one is an hour after the hand-over.
async fn take(bench: &Bench, limit: u64) -> Result<Vec<LookUp>> {
    let plan: Arc<[Duration]> = [Duration::ZERO, Duration::from_secs(3_600)].into();
    Ok(bench.writer.take_look_ups(plan, limit).await?)
}

fn ids(due: &[LookUp]) -> HashSet<MessageId> {
    due.iter().map(|due| due.message.message_id).collect()
}

on_both_databases! {
    async fn a_turn_is_taken_once_by_whoever_looks(engine) {
        let benches = replicas(engine).await?;
        for claim in claimed(&benches[0], 60).await? {
            ended(&benches[0], &claim, Next::Sent(Some(format!("provider-{}", claim.seq)))).await?;
        }
        let taken = join_all((0..8).map(|worker| {
            let bench = &benches[worker % benches.len()];
            async move {
                let mut taken = Vec::new();
                // A turn that another one is about to take is passed over, so an empty look does not end it.
                while bench.store.next_look_up().await?.is_some_and(|due| due <= now_ms()) {
                    taken.extend(take(bench, 7).await?);
                }
                anyhow::Ok(taken)
            }
        })).await.into_iter().collect::<Result<Vec<_>>>()?.concat();
        assert_eq!((taken.len(), ids(&taken).len()), (60, 60));
        assert!(taken.iter().all(|due| due.message.provider_message_id.as_deref().is_some_and(|id| id.starts_with("provider-"))));
        let next = benches[0].store.next_look_up().await?.unwrap();
        assert!(next > now_ms() + 3_000_000, "and each comes again by the plan");
        for bench in benches {
            bench.stop().await?;
        }
        Ok(())
    }

    async fn only_what_may_still_move_is_asked_after(engine) {
        let bench = Bench::start(engine).await?;
        let claims = claimed(&bench, 4).await?;
        let refused = DeliveryError::ours(ErrorReason::InvalidRecipient, "no", false);
        ended(&bench, &claims[0], Next::Sent(None)).await?;
        ended(&bench, &claims[1], lost()).await?;
        ended(&bench, &claims[2], Next::Failed(refused)).await?;
        let due = take(&bench, 10).await?;
        assert_eq!(ids(&due), [claims[0].message_id, claims[1].message_id].into());
        assert!(due.iter().all(|due| due.message.provider_message_id.is_none()));
        assert_eq!(take(&bench, 10).await?.len(), 0);
        // The one under way may be there next time; the failed one is done with.
        ended(&bench, &claims[3], lost()).await?;
        let plan: Arc<[Duration]> = [Duration::ZERO].into();
        assert_eq!(bench.writer.take_look_ups(plan, 10).await?.len(), 0, "an hour has not passed");
        bench.stop().await?;
        Ok(())
    }

    async fn an_answer_with_both_ids_settles_a_doubt_and_teaches_the_providers(engine) {
        let bench = Bench::start(engine).await?;
        let claim = claimed(&bench, 1).await?.remove(0);
        ended(&bench, &claim, lost()).await?;
        let report = |message_id, status, word: &str| StatusReport {
            message_id,
            provider_message_id: Some("640021".into()),
            status: Some(status),
            provider_status: word.into(),
            ..StatusReport::default()
        };
        let told = async |report| {
            let answer = LookedUp { sender: acme(), receive_at_ms: now_ms(), reports: vec![report] };
            bench.writer.looked_up(answer).await?;
            let message = bench.store.message(claim.message_id).await?.unwrap();
            anyhow::Ok((message.status, message.provider_message_id))
        };
        // Nobody knows this id yet: the report waits.
        let (status, id) = told(report(None, MessageStatus::Delivered, "delivered")).await?;
        assert_eq!((status, id), (MessageStatus::InDoubt, None));
        let (status, id) = told(report(Some(claim.message_id), MessageStatus::Sent, "sent")).await?;
        assert_eq!((status, id.as_deref()), (MessageStatus::Sent, Some("640021")));
        assert_eq!(bench.store.parked_that_match(10).await?, ["640021"]);
        bench.writer.unpark(vec!["640021".into()]).await?;
        let (status, _) = told(report(None, MessageStatus::Read, "read")).await?;
        assert_eq!(status, MessageStatus::Read);
        let message = bench.store.message(claim.message_id).await?.unwrap();
        let attempts = bench.store.attempts(&message).await?;
        assert_eq!(attempts[0].provider_message_id.as_deref(), Some("640021"));
        bench.stop().await?;
        Ok(())
    }
}
