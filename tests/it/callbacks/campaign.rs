//! Many callbacks to an endpoint that fails a third of the time in every way: all arrive, in order, signed.
//! How many, and who else verifies them, is said in [`super::failing`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use recado::proto::CallbackState;

use super::endpoint::Endpoint;
use super::failing::{Verifier, is_taken, misbehave, wanted};
use super::{SECRET, called_back, fits_the_schema, impatient, in_order, set_secret};
use crate::gateway::TestGateway;
use crate::on_both_databases;
use crate::tools::{count, until};

/// Statuses of each message at the sandbox.
const STATUSES: usize = 4;

on_both_databases! {
    async fn callbacks_to_an_endpoint_that_fails_in_every_way_all_arrive(engine) {
        let setup = impatient()
            .with("callbacks.retries", &["30ms"; 25].join(", "))
            .with("callbacks.post_limit", "2s");
        let mut gateway = TestGateway::start_with(engine, setup).await?;
        set_secret(&mut gateway, "sandbox", SECRET).await?;
        let verifier = Arc::new(Mutex::new(Verifier::start()?));
        let (reads, ways) = (verifier.clone(), Arc::new(Mutex::new(BTreeMap::<&str, usize>::new())));
        let (counts, mut turn) = (ways.clone(), 0);
        let endpoint = Endpoint::start(move |post| {
            turn += 1;
            let (way, answer) = misbehave(turn);
            *counts.lock().unwrap().entry(way).or_default() += 1;
            if let (true, Some(verifier)) = (is_taken(way), reads.lock().unwrap().as_mut()) {
                verifier.read(post);
            }
            answer
        }).await?;
        let messages = wanted().div_ceil(STATUSES);
        let started = Instant::now();
        let url = endpoint.url("/cb");
        for first in (0..messages).step_by(500) {
            gateway.send_all((first..messages.min(first + 500)).map(|n| called_back(n, &url))).await?;
        }
        let all = messages * STATUSES;
        let taken = endpoint.until_taken_within(all, Duration::from_secs(3_600)).await?;
        let took = started.elapsed();
        let rows = gateway.rows().await?;
        until("all is written", async || {
            Ok((count(&rows, &format!("callbacks WHERE state = {}", CallbackState::Delivered as i32)).await? == all as i64).then_some(()))
        }).await?;
        let posts = endpoint.posts();
        in_order(&posts);
        let mut bodies: HashMap<&str, &[u8]> = HashMap::new();
        for post in &posts {
            assert!(post.is_signed_by(SECRET), "{}", post.id());
            assert_eq!(*bodies.entry(post.id()).or_insert(&post.body), post.body, "the same bytes each time");
        }
        for post in taken.iter().take(500) {
            fits_the_schema(&post.json());
        }
        let events: HashSet<String> = gateway.all_events().await?.into_iter().map(|event| event.event_id).collect();
        assert!(bodies.keys().all(|id| events.contains(*id)));
        assert_eq!(bodies.len(), all, "no more than were made");
        let verified = match verifier.lock().unwrap().take() {
            Some(verifier) => verifier.end().map(|()| ", and of those taken by another implementation")?,
            None => "",
        };
        println!(
            "{engine:?}: {all} callbacks delivered in {:.1} s, signatures of {} POSTs verified{verified}; delivered twice {}; ways: {:?}",
            took.as_secs_f64(), posts.len(), taken.len() - all, ways.lock().unwrap()
        );
        gateway.stop().await?;
        Ok(())
    }
}
