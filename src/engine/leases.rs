//! Leases of the messages in hand, made longer while their calls go on.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::store::{Claim, Writer};

/// Places and claim numbers of the messages in hand.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases(Arc<Mutex<HashSet<(i64, i64)>>>);

impl Leases {
    /// Notes messages that were taken in hand.
    pub fn add<'c>(&self, claims: impl IntoIterator<Item = &'c Claim>) {
        self.held().extend(claims.into_iter().map(|claim| (claim.seq, claim.token)));
    }

    /// Forgets messages whose outcome is written.
    pub fn remove(&self, seq: i64, token: i64) {
        self.held().remove(&(seq, token));
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashSet<(i64, i64)>> {
        // No code panics while it holds the lock; if one did, the set would still be whole.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Renews all of them three times in a lease, for as long as the engine runs.
    pub async fn renew(self, writer: Writer, lease: Duration) {
        loop {
            tokio::time::sleep(lease / 3).await;
            let held: Vec<(i64, i64)> = self.held().iter().copied().collect();
            for some in held.chunks(500) {
                if let Err(error) = writer.renew(some.to_vec(), lease).await {
                    tracing::warn!(%error, "leases could not be renewed");
                }
            }
        }
    }
}
