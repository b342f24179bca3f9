//! Many callbacks to an endpoint that fails a third of the time in every way: all arrive, in order, signed.
//!
//! `CALLBACKS` is how many (200 unless set). `CALLBACKS_VERIFIER` names a command that reads each POST that was taken as a
//! line of JSON on its standard input and ends with 0 when another implementation of Standard Webhooks verifies all of them:
//! `python examples/python/verify_callbacks.py SECRET`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use recado::proto::CallbackState;
use serde_json::json;

use super::endpoint::{Answer, Endpoint, Post};
use super::{SECRET, called_back, fits_the_schema, impatient, in_order, set_secret};
use crate::gateway::TestGateway;
use crate::on_both_databases;
use crate::tools::{count, until};

/// Statuses of each message at the sandbox.
const STATUSES: usize = 4;

fn wanted() -> usize {
    std::env::var("CALLBACKS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// A third of the POSTs fails, by turns in each way; a repeat of the same has the same chance as any other.
fn misbehave(turn: usize) -> (&'static str, Answer) {
    let failure = turn / 3;
    match (turn % 3, failure % 12, failure % 60) {
        (0 | 1, ..) if turn.is_multiple_of(20) => ("slow", Answer::Slow(Duration::from_millis(300))),
        (0 | 1, ..) => ("taken", Answer::Say(200)),
        (_, _, 7) => ("429 with Retry-After", Answer::With(429, "retry-after", "1".into())),
        (_, _, 19) => ("503 with Retry-After", Answer::With(503, "retry-after", "0".into())),
        (_, 0 | 1, _) => ("500", Answer::Say(500)),
        (_, 2, _) => ("502", Answer::Say(502)),
        (_, 3, _) => ("503", Answer::Say(503)),
        (_, 4, _) => ("404", Answer::Say(404)),
        (_, 5, _) => ("redirect", Answer::With(307, "location", "http://169.254.169.254/".into())),
        (_, 6 | 7, _) => ("dropped", Answer::Drop),
        (_, 8 | 9, _) => ("garbage", Answer::Garbage),
        (_, 10, _) => ("500 with a large header", Answer::With(500, "x-padding", "x".repeat(4_000))),
        _ => ("time out", Answer::Hang),
    }
}

/// Another implementation, that reads along.
struct Verifier(Child);

impl Verifier {
    fn start() -> Result<Option<Self>> {
        let Ok(command) = std::env::var("CALLBACKS_VERIFIER") else { return Ok(None) };
        let mut words = command.split(' ');
        let mut child = Command::new(words.next().context("no command")?);
        Ok(Some(Self(child.args(words).stdin(Stdio::piped()).spawn().context(command.clone())?)))
    }

    fn read(&mut self, post: &Post) {
        let line = json!({ "headers": post.headers, "body": String::from_utf8_lossy(&post.body) });
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn end(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        ensure!(status.success(), "the verifier ended with {status}");
        Ok(())
    }
}

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
            if let (true, Some(verifier)) = (matches!(way, "taken" | "slow"), reads.lock().unwrap().as_mut()) {
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
