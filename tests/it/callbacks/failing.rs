//! An endpoint that fails a third of the time in every way, and another implementation of Standard Webhooks that reads along.
//!
//! `CALLBACKS` is how many are wanted (200 unless set). `CALLBACKS_VERIFIER` names a command that reads each POST that was taken
//! as a line of JSON on its standard input and ends with 0 when it verifies all of them:
//! `python examples/python/verify_callbacks.py SECRET`.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::endpoint::{Answer, Post};

/// How many callbacks.
pub fn wanted() -> usize {
    std::env::var("CALLBACKS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// Whether a way is no failure.
pub fn is_taken(way: &str) -> bool {
    matches!(way, "taken" | "slow")
}

/// A third of the POSTs fails, by turns in each way; a repeat of the same has the same chance as any other.
pub fn misbehave(turn: usize) -> (&'static str, Answer) {
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

/// The other implementation.
pub struct Verifier(Child);

impl Verifier {
    pub fn start() -> Result<Option<Self>> {
        let Ok(command) = std::env::var("CALLBACKS_VERIFIER") else { return Ok(None) };
        let mut words = command.split(' ');
        let mut child = Command::new(words.next().context("no command")?);
        Ok(Some(Self(child.args(words).stdin(Stdio::piped()).spawn().context(command.clone())?)))
    }

    pub fn read(&mut self, post: &Post) {
        let line = json!({ "headers": post.headers, "body": String::from_utf8_lossy(&post.body) });
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn end(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        ensure!(status.success(), "the verifier ended with {status}");
        Ok(())
    }
}
