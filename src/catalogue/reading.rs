//! Reads catalogues from providers: in the background, and when somebody asks.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Catalogues;
use crate::domain::template::CatalogueTemplate;
use crate::domain::{Millis, SenderId, now_ms};
use crate::provider::AskError;
use crate::senders::Account;
use crate::store::{CatalogueState, Saved, StoreError};

/// How often the background looks for what is due, beside the wake-ups.
const LOOK: Duration = Duration::from_secs(1);
/// Longest time that a reading may take, with all its pages.
const LIMIT: Duration = Duration::from_secs(120);
/// A reading in the background belongs to one replica for so long.
const LEASE_MS: Millis = 150_000;
/// Readings under way at the same time.
const AT_ONCE: usize = 4;
/// Wait after the first reading that failed; it doubles with each further one, up to the interval.
const RETRY: Duration = Duration::from_secs(30);
/// How often a reading is begun anew because its sender was changed meanwhile.
const TRIES: usize = 3;

/// What a reading found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refreshed {
    /// How many templates there are.
    pub count: usize,
    /// How many are new, changed or gone.
    pub changed: usize,
    /// When the reading began.
    pub read_at_ms: Millis,
}

/// Why a catalogue could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// The provider's.
    #[error(transparent)]
    Provider(#[from] AskError),
    /// The sender was deleted meanwhile, or changed again and again.
    #[error("the sender was changed while its templates were read")]
    SenderChanged,
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// When to try again after so many failures.
fn retry_after(failures: u32, interval: Duration) -> Duration {
    RETRY.saturating_mul(1 << failures.min(10)).min(interval)
}

impl Catalogues {
    /// Reads what is due, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut readings = JoinSet::new();
        let work = async {
            loop {
                if let Err(error) = self.look(&slots, &mut readings).await {
                    tracing::warn!(%error, "the copies of templates could not be looked at");
                }
                while readings.try_join_next().is_some() {}
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// Begins the readings that are due and that no other replica has begun.
    async fn look(self: &Arc<Self>, slots: &Arc<Semaphore>, readings: &mut JoinSet<()>) -> Result<(), StoreError> {
        let states = self.store.catalogues().await?;
        self.forget_old(&states);
        let states: HashMap<&SenderId, &CatalogueState> = states.iter().map(|state| (&state.sender, state)).collect();
        for account in self.senders.all() {
            let (id, of) = (&account.sender.id, account.sender.update_at_ms);
            let now = now_ms();
            let is_due = |state: &&CatalogueState| state.due_at_ms <= now || state.read_of != of;
            if !account.provider.capabilities().catalogue || !states.get(id).is_none_or(is_due) {
                continue;
            }
            // What finds no slot is found again by the next look.
            let Ok(slot) = slots.clone().try_acquire_owned() else { return Ok(()) };
            if !self.store.claim_catalogue(id, of, now, now + LEASE_MS).await? {
                continue;
            }
            let catalogues = self.clone();
            readings.spawn(async move {
                let _slot = slot;
                // A failure was logged where it happened.
                let _ = catalogues.refresh(&account).await;
            });
        }
        Ok(())
    }

    /// Reads a sender's templates from its provider now. When this answers `Ok`, the copies and an event for each change are
    /// committed; otherwise the copies are as they were.
    ///
    /// # Errors
    /// [`ReadingError`].
    pub async fn refresh(&self, account: &Arc<Account>) -> Result<Refreshed, ReadingError> {
        let sender = &account.sender.id;
        let turn = {
            let mut readings = self.readings.lock().unwrap_or_else(|e| e.into_inner());
            // Whoever still waits for a turn holds it.
            readings.retain(|_, turn| Arc::strong_count(turn) > 1);
            readings.entry(sender.clone()).or_default().clone()
        };
        let _turn = turn.lock().await;
        let read = self.read(account.clone()).await;
        let outcome = if read.is_ok() { "read" } else { "failed" };
        metrics::counter!("recado_catalogues_total", "outcome" => outcome).increment(1);
        match &read {
            Ok(Refreshed { count, changed, .. }) => {
                tracing::info!(%sender, count, changed, "the provider's templates were read");
            }
            Err(error) => tracing::warn!(%sender, %error, "the provider's templates could not be read"),
        }
        read
    }

    async fn read(&self, account: Arc<Account>) -> Result<Refreshed, ReadingError> {
        let mut account = account;
        for _ in 0..TRIES {
            let (sender, of) = (&account.sender.id, account.sender.update_at_ms);
            let read_at_ms = now_ms();
            let templates = match ask(&account).await {
                Ok(templates) => templates,
                Err(error) => {
                    self.failed(sender).await?;
                    return Err(error.into());
                }
            };
            let due_at_ms = read_at_ms + millis(self.interval);
            match self.store.save_catalogue(sender, of, templates, read_at_ms, due_at_ms).await? {
                Saved::Written { count, changed, appended } => {
                    self.forget(sender);
                    self.log.appended(&appended);
                    return Ok(Refreshed { count, changed, read_at_ms });
                }
                Saved::SenderChanged => {
                    let refreshed = self.senders.refresh().await;
                    refreshed.map_err(|error| StoreError::Fault(error.to_string()))?;
                    let again = self.senders.get(sender).ok_or(ReadingError::SenderChanged)?;
                    account = again;
                }
            }
        }
        Err(ReadingError::SenderChanged)
    }

    async fn failed(&self, sender: &SenderId) -> Result<(), StoreError> {
        let states = self.store.catalogues().await?;
        let failures = states.iter().find(|state| state.sender == *sender).map_or(0, |state| state.failures);
        self.store.catalogue_failed(sender, now_ms() + millis(retry_after(failures, self.interval))).await
    }
}

/// Asks the provider. An adapter that panics is a fault of ours and costs only this reading.
async fn ask(account: &Account) -> Result<Vec<CatalogueTemplate>, AskError> {
    let asking = AssertUnwindSafe(account.provider.templates()).catch_unwind();
    match tokio::time::timeout(LIMIT, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(AskError::Unreachable("the adapter panicked".into())),
        Err(_) => Err(AskError::Unreachable(format!("no whole answer within {} s", LIMIT.as_secs()))),
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_retried_ever_later_up_to_the_interval() {
        let waits: Vec<u64> =
            (0..6).map(|failures| retry_after(failures, Duration::from_secs(600)).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 600]);
        assert_eq!(retry_after(u32::MAX, Duration::from_secs(5)).as_secs(), 5);
    }
}
