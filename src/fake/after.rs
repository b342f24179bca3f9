//! What follows a message that was taken: its statuses, as the script has them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Fake;
use super::post::{Item, Post};
use super::script::{Occasion, Step};
use super::wire::Wire;
use crate::domain::now_ms;

/// A status is never posted sooner after the answer: the answer is on its way before.
const SOONEST: Duration = Duration::from_millis(2);
/// A second copy of a status comes so much later.
const COPY_AFTER: Duration = Duration::from_millis(5);

/// A message that was taken, on its way to its statuses.
#[derive(Debug)]
pub(super) struct Taken {
    /// Where its statuses go; nothing: nowhere.
    pub webhook_url: Option<Arc<str>>,
    /// Counts up.
    pub id: u64,
    /// The same in the wire's form.
    pub provider_id: String,
    /// Its sender's id of it; empty when it gave none.
    pub message_id: String,
    pub to: String,
    pub nth: u32,
    /// Fails with this code rather than playing the script's statuses.
    pub fails: Option<u32>,
}

/// Taken messages whose statuses are put in line when this is dropped: when the answer was written, or when nobody
/// waits for it any more.
pub(super) struct After<W: Wire> {
    pub wire: W,
    pub fake: Arc<Fake>,
    pub taken: Vec<Taken>,
}

impl<W: Wire> After<W> {
    /// The statuses of a message with their delays, as the script has them.
    fn statuses(&self, message: &Taken) -> Vec<(Duration, Post)> {
        let play = self.fake.play();
        let script = &play.script;
        let occasion = Occasion { to: &message.to, nth: message.nth };
        let mut steps: Vec<Step> = match message.fails {
            None => script.statuses.clone(),
            Some(error_code) => {
                let after_ms = script.statuses.first().map_or(0, |step| step.after_ms);
                vec![Step { status: W::FAILED.into(), after_ms, error_code }]
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
            let url = message.webhook_url.as_deref().unwrap_or_default();
            let post = self.wire.status(&self.fake, message, step, now + delay as i64);
            let post = self.wire.addressed(&self.fake, url, post);
            let delay = Duration::from_millis(delay).max(SOONEST);
            if play.chance(2_000_000 + i as u64, occasion) < script.webhooks.duplicate {
                statuses.push((delay + COPY_AFTER, post.clone()));
            }
            statuses.push((delay, post));
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
            let posts: Vec<Post> = statuses.into_iter().map(|(_, post)| post).collect();
            let (id, url) = (message.id, message.webhook_url.clone());
            if let Some(url) = url {
                for post in self.fake.poster.post_now(&url, posts).await {
                    self.fake.poster.push(&url, id, Item { due: Instant::now(), post });
                }
            }
            self.taken.pop();
        }
    }
}

impl<W: Wire> Drop for After<W> {
    fn drop(&mut self) {
        let now = Instant::now();
        for message in &self.taken {
            let Some(url) = &message.webhook_url else { continue };
            for (delay, post) in self.statuses(message) {
                self.fake.poster.push(url, message.id, Item { due: now + delay, post });
            }
        }
    }
}
