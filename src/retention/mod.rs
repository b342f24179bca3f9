//! Removes what was kept long enough, in small steps between which writers have the database for most of the time.
//!
//! Each kind of thing has a limit by age and one by size, and a turn of its own that one replica has at a time
//! ([`crate::store::Turn`]). A step is harmless when it is done twice, so a replica that dies or stalls in the middle of
//! one costs nothing but the time until its turn ends. What goes is decided in [`crate::domain::retention`].
//!
//! Events are removed in two stages. What is to go is announced first, to all replicas; they send a checkpoint to each
//! stream whose last word lies before it. It is removed when they have had the time.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::config;
use crate::domain::retention::rest;
use crate::domain::{Millis, now_ms};
use crate::events::Log;
use crate::media::Shelf;
use crate::store::{Kind, Store, StoreError, Turn};

mod steps;

/// How long one turn works at most; what is left waits for the next.
const WORK: Duration = Duration::from_secs(30);
/// How long a turn is held: longer than its work and its last step take.
const HOLD_MS: Millis = 120_000;
/// Announcements of other replicas are heard at least so often.
const HEAR: Duration = Duration::from_secs(1);

/// What the retention needs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Where things are removed from.
    pub store: Store,
    /// Whose streams must hear of it first.
    pub log: Log,
    /// Where files are removed from.
    pub shelf: Shelf,
    /// How long what is kept.
    pub kept: config::Retention,
}

impl Retention {
    /// Removes what is to go, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        // A turn is ended, not cut off: another replica would wait for it.
        tokio::select! {
            () = self.look(&stop) => {}
            () = self.hear() => {}
        }
    }

    /// Puts what was announced, here or at another replica, before the streams of this one.
    async fn hear(&self) {
        loop {
            match self.store.announced().await {
                Ok(announced) => self.log.hear(announced),
                Err(error) => tracing::debug!(%error, "what is to be removed could not be asked for"),
            }
            tokio::time::sleep(self.kept.interval.min(HEAR)).await;
        }
    }

    async fn look(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.kept.interval) => {}
                () = stop.cancelled() => return,
            }
            for kind in [
                Kind::Events,
                Kind::Messages,
                Kind::Incoming,
                Kind::Journal,
                Kind::Parked,
                Kind::Media,
                Kind::Subscriptions,
            ] {
                if stop.is_cancelled() {
                    return;
                }
                if let Err(error) = self.turn(kind, stop).await {
                    tracing::warn!(%error, kind = kind.word(), "what is old could not be removed; trying again");
                }
            }
        }
    }

    async fn turn(&self, kind: Kind, stop: &CancellationToken) -> Result<(), StoreError> {
        let now = now_ms();
        let Some(turn) = self.store.take_turn(kind, now, now + HOLD_MS).await? else { return Ok(()) };
        let mut work = Work { turn, removed: 0, until: Instant::now() + WORK, stop };
        let done = self.steps(kind, &mut work, now).await;
        if work.removed > 0 {
            metrics::counter!("recado_removed_total", "kind" => kind.word()).increment(work.removed);
            tracing::info!(kind = kind.word(), count = work.removed, "old things were removed");
        }
        self.store.end_turn(kind, work.turn.place).await?;
        done
    }
}

/// A turn, and what was done in it.
#[derive(Debug)]
struct Work<'s> {
    turn: Turn,
    removed: u64,
    until: Instant,
    stop: &'s CancellationToken,
}

impl Work<'_> {
    /// Counts a step that took so long, and rests; `false` when there is no time for another.
    async fn goes_on(&mut self, removed: u64, took: Duration) -> bool {
        self.removed += removed;
        tokio::time::sleep(rest(took)).await;
        !self.stop.is_cancelled() && Instant::now() < self.until
    }
}
