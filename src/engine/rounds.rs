//! What goes round beside the dispatcher: timers, senders that wait unheard, and what may be forgotten.

use std::collections::HashSet;
use std::time::Duration;

use super::{TICK, Wake};
use crate::domain::SenderId;
use crate::store::{Store, Writer};

/// Timers that are looked at in one transaction.
const TIMERS: u64 = 256;
/// How often senders with waiting messages are looked for, beside the wake-ups: another replica may have accepted them.
const LOOK: Duration = Duration::from_secs(1);
/// How often people are forgotten whose allowance is whole again, or of whom nothing more is known, and counts that nobody
/// asks for any more.
const FORGET: Duration = Duration::from_secs(60);
/// How long counts by the minute are kept: longer than they can be asked for.
const COUNTS_KEPT_MS: i64 = 31 * 86_400_000;

/// Does what timers ask for, as they run out. What becomes ready wakes the engine through the writer's listener.
pub(super) async fn run_timers(store: Store, writer: Writer, in_doubt_wait: Duration) {
    loop {
        match store.next_due().await {
            Ok(Some(due)) if due <= store.now_ms() => match writer.timers(TIMERS, in_doubt_wait).await {
                Ok(count) if count == TIMERS as usize => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "timers could not be looked at"),
            },
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "timers could not be looked for"),
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Forgets what has run out of itself.
pub(super) async fn forget(store: Store) {
    loop {
        tokio::time::sleep(FORGET).await;
        let now = store.now_ms();
        if let Err(error) = store.forget_contact_paces(now).await {
            tracing::warn!(%error, "the allowances of people could not be forgotten");
        }
        if let Err(error) = store.forget_tallies(now - COUNTS_KEPT_MS).await {
            tracing::warn!(%error, "old counts could not be forgotten");
        }
        if let Err(error) = store.forget_known_failures(now).await {
            tracing::warn!(%error, "what was known of people and has expired could not be forgotten");
        }
    }
}

/// Wakes senders whose messages nobody here was told of.
pub(super) async fn look_for_senders(store: Store, wake: Wake) {
    loop {
        match store.ready_senders().await {
            Ok(senders) => {
                let senders: HashSet<SenderId> = senders.into_iter().collect();
                senders.into_iter().for_each(|sender| wake.ready(sender));
            }
            Err(error) => tracing::warn!(%error, "waiting messages could not be looked for"),
        }
        tokio::time::sleep(LOOK).await;
    }
}
