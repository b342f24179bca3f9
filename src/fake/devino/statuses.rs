//! What follows a message that was taken: its statuses, as the script has them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::domain::now_ms;
use crate::fake::Fake;
use crate::fake::post::Item;
use crate::fake::script::{Occasion, Step};

/// A status is never posted sooner after the answer: the answer is on its way before.
const SOONEST: Duration = Duration::from_millis(2);
/// A second copy of a status comes so much later.
const COPY_AFTER: Duration = Duration::from_millis(5);

/// A message that was taken, on its way to its statuses.
pub(super) struct Taken {
    pub url: Option<Arc<str>>,
    pub provider_id: u64,
    pub options: Option<String>,
    pub to: String,
    pub nth: u32,
    /// Fails with this code rather than playing the script's statuses.
    pub fails: Option<u32>,
}

/// Taken messages whose statuses are put in line when this is dropped: when the answer was written, or when nobody
/// waits for it any more.
pub(super) struct After {
    pub fake: Arc<Fake>,
    pub taken: Vec<Taken>,
}

impl After {
    /// The statuses of a message with their delays, as the script has them.
    fn statuses(&self, message: &Taken) -> Vec<(Duration, String)> {
        let play = self.fake.play();
        let script = &play.script;
        let occasion = Occasion { to: &message.to, nth: message.nth };
        let mut steps: Vec<Step> = match message.fails {
            None => script.statuses.clone(),
            Some(error_code) => {
                let after_ms = script.statuses.first().map_or(0, |step| step.after_ms);
                vec![Step { status: "UNDELIVERED".into(), after_ms, error_code }]
            }
        };
        let mut delays: Vec<u64> = steps.iter().map(|step| step.after_ms).collect();
        if script.webhooks.reorder {
            // Words change places, times stay: questions from far away, so that faults do not ask the same.
            for last in (1..steps.len()).rev() {
                let other = (play.chance(1_000_000 + last as u64, occasion) * (last + 1) as f64) as usize;
                steps.swap(last, other);
            }
            delays.sort_unstable();
        }
        let now = now_ms();
        let mut statuses = Vec::with_capacity(steps.len());
        for (i, (step, delay)) in steps.iter().zip(delays).enumerate() {
            let body = status(message, step, now + delay as i64);
            let delay = Duration::from_millis(delay).max(SOONEST);
            if play.chance(2_000_000 + i as u64, occasion) < script.webhooks.duplicate {
                statuses.push((delay + COPY_AFTER, body.clone()));
            }
            statuses.push((delay, body));
        }
        statuses
    }

    /// Posts all statuses now, and puts in line only what was not taken. A message leaves the list when its statuses
    /// are posted, so that none are lost when the caller goes away meanwhile.
    pub async fn post_now(&mut self) {
        self.taken.reverse();
        while let Some(message) = self.taken.last() {
            let mut statuses = self.statuses(message);
            statuses.sort_by_key(|(delay, _)| *delay);
            let bodies: Vec<String> = statuses.into_iter().map(|(_, body)| body).collect();
            let (id, url) = (message.provider_id, message.url.clone());
            if let Some(url) = url.filter(|_| !bodies.is_empty())
                && !self.fake.poster.post_now(&url, &bodies).await
            {
                for body in bodies {
                    self.fake.poster.push(&url, id, Item { due: Instant::now(), body, alone: false });
                }
            }
            self.taken.pop();
        }
    }
}

impl Drop for After {
    fn drop(&mut self) {
        let now = Instant::now();
        for message in &self.taken {
            let Some(url) = &message.url else { continue };
            for (delay, body) in self.statuses(message) {
                self.fake.poster.push(url, message.provider_id, Item { due: now + delay, body, alone: false });
            }
        }
    }
}

fn status(message: &Taken, step: &Step, ts: i64) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Status<'a> {
        message_id: u64,
        ts: i64,
        status: &'a str,
        error_code: u32,
        ip: Option<&'a str>,
        browser: Option<&'a str>,
        os: Option<&'a str>,
        user_agent: Option<&'a str>,
        options: Option<&'a str>,
    }
    let status = Status {
        message_id: message.provider_id,
        ts,
        status: &step.status,
        error_code: step.error_code,
        ip: None,
        browser: None,
        os: None,
        user_agent: None,
        options: message.options.as_deref(),
    };
    serde_json::to_string(&status).unwrap_or_default()
}
