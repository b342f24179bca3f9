//! What is noted about people: exact across replicas, bounded, and forgotten in steps.

use std::time::Duration;

use recado::domain::known_failure::Lifetimes;
use recado::domain::opt_out::{OptOut, OptOutCategory, OptOutSource};
use recado::domain::progress::Next;
use recado::domain::{Contact, DeliveryError, ErrorReason, now_ms};
use recado::store::{Claim, EndedCall, OptOutFilter};

use crate::claims::replicas;
use crate::{Bench, acme, new, on_both_databases, to};

const LEASE: Duration = Duration::from_secs(60);

fn opt_out(peer: &str) -> OptOut {
    OptOut {
        sender: acme(),
        peer: peer.into(),
        category: OptOutCategory::All,
        source: OptOutSource::Api,
        create_at_ms: now_ms(),
        message_id: None,
        contact: Contact::of_phone(peer),
        note: String::new(),
    }
}

fn ended(claim: &Claim, next: Next) -> EndedCall {
    EndedCall {
        seq: claim.seq,
        token: claim.token,
        attempt: claim.attempt,
        next,
        exchange: None,
        of_window: None,
        instead: false,
    }
}

fn unknown() -> DeliveryError {
    DeliveryError { provider_code: "2305".into(), ..DeliveryError::ours(ErrorReason::NotOnWhatsapp, "no", false) }
}

on_both_databases! {
    async fn a_claim_knows_at_once_what_another_replica_noted(engine) {
        let benches = replicas(engine).await?;
        let (here, there) = (&benches[0], benches.last().unwrap());
        for i in 0..3 {
            here.accept(&to(i), "olá").await?;
        }
        there.store.create_opt_out(opt_out(new(&to(1), "").to.peer().as_str())).await?;
        // What was read of the senders a moment ago does not know of it, and the claim does.
        let noted: Vec<bool> = here.claim(10, LEASE).await?.iter().map(|claim| claim.noted).collect();
        assert_eq!(noted, [false, true, false]);
        let known = here.store.known(&acme(), &[new(&to(1), "").to.peer(), new(&to(2), "").to.peer()]).await?;
        assert_eq!((known[&new(&to(1), "").to.peer()].opt_outs.len(), known.len()), (1, 2));
        assert!(known[&new(&to(2), "").to.peer()].opt_outs.is_empty());
        // Acceptance learns of it within seconds.
        here.store.refresh_noted().await?;
        assert!(here.store.has_opt_outs(&acme()));
        assert!(here.accept(&to(1), "olá").await.is_err());
        here.store.delete_opt_out(&acme(), &new(&to(1), "").to.peer(), OptOutCategory::All).await?.unwrap();
        here.store.refresh_noted().await?;
        assert!(!here.store.has_opt_outs(&acme()), "and asks nothing any more");
        here.accept(&to(1), "olá").await?;
        for bench in benches {
            bench.stop().await?;
        }
        Ok(())
    }

    async fn two_replicas_that_note_the_same_make_one_event(engine) {
        let benches = replicas(engine).await?;
        let creating = (0..16).map(|i| benches[i % benches.len()].store.create_opt_out(opt_out("351910000001")));
        let events: usize = futures::future::try_join_all(creating).await?.iter().map(|(_, appended)| appended.len()).sum();
        assert_eq!(events, 1);
        let filter = OptOutFilter::default();
        assert_eq!(benches[0].store.opt_outs(&acme(), &filter, 10).await?.len(), 1);
        for bench in benches {
            bench.stop().await?;
        }
        Ok(())
    }

    async fn t10_what_is_known_is_one_row_a_person_and_is_deleted_when_it_expires(engine) {
        let bench = Bench::start(engine).await?;
        let day = Duration::from_secs(86_400);
        bench.store.remember_failures(Lifetimes { not_on_whatsapp: day, capped: day, unreachable: Duration::ZERO });
        let people = 700;
        for _ in 0..2 {
            futures::future::try_join_all((0..people).map(|i| { let bench = &bench; async move { bench.accept(&to(i), "x").await } })).await?;
            loop {
                let claims = bench.claim(200, LEASE).await?;
                if claims.is_empty() {
                    break;
                }
                let ending = claims.iter().map(|claim| bench.writer.ended(ended(claim, Next::Failed(unknown()))));
                futures::future::try_join_all(ending).await?;
            }
        }
        let peer = new(&to(7), "").to.peer();
        let known = bench.store.known(&acme(), std::slice::from_ref(&peer)).await?;
        assert_eq!(known[&peer].failures.len(), 1, "two failures are one row");
        assert_eq!(known[&peer].failures[0].provider_code, "2305");
        assert_eq!(bench.store.forget_known_failures(now_ms()).await?, 0);
        assert_eq!(bench.store.forget_known_failures(now_ms() + 86_400_000 + 1).await?, people as u64);
        assert!(bench.store.known(&acme(), std::slice::from_ref(&peer)).await?[&peer].failures.is_empty());
        bench.stop().await?;
        Ok(())
    }
}
