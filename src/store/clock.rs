//! One clock for all replicas: PostgreSQL's. Leases, retries and send times are compared across processes; by each one's own
//! clock, a replica that is a minute ahead would take a neighbour's calls for abandoned while they go on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::{Store, StoreError};
use crate::domain::{Millis, now_ms};

/// An answer that takes longer says too little about the time.
const TOO_LONG: Duration = Duration::from_secs(1);

impl Store {
    /// Unix time in milliseconds by the database's clock, as it was last compared; with SQLite, which has none, by ours.
    pub fn now_ms(&self) -> Millis {
        now_ms() + self.inner.ahead_ms.load(Ordering::Relaxed)
    }

    /// Compares our clock with the database's.
    ///
    /// # Errors
    /// When the store is away; what was found before holds on.
    pub async fn compare_clocks(&self) -> Result<(), StoreError> {
        if self.is_exclusive() {
            return Ok(());
        }
        let text = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now";
        let (asked, began) = (now_ms(), std::time::Instant::now());
        let row = self.read().query_one_raw(Statement::from_string(DbBackend::Postgres, text)).await?;
        let took = began.elapsed();
        if let Some(row) = row.filter(|_| took < TOO_LONG) {
            let theirs: Millis = row.try_get("", "now")?;
            #[cfg(feature = "faults")]
            let theirs = crate::faults::time(theirs);
            let ours = asked + took.as_millis() as Millis / 2;
            self.inner.ahead_ms.store(theirs - ours, Ordering::Relaxed);
        }
        Ok(())
    }
}
