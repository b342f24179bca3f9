//! What is looked at again and again, because others may have changed it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::senders::Senders;
use crate::store::Store;
use crate::telemetry::Metrics;

/// How often keys and senders are read again, for what other replicas changed.
const REFRESH: Duration = Duration::from_secs(2);

/// Reads keys, senders and whose people opted out again, which another replica may have changed, compares clocks, and keeps
/// the metrics small.
pub(super) async fn run(
    store: Store,
    access: Arc<Access>,
    senders: Arc<Senders>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            () = stop.cancelled() => return,
        }
        metrics.upkeep();
        if let Err(error) = store.compare_clocks().await {
            tracing::warn!(%error, "the database could not be asked for the time");
        }
        if let Err(error) = access.refresh().await {
            tracing::warn!(%error, "the keys could not be read again");
        }
        if let Err(error) = senders.refresh().await {
            tracing::warn!(%error, "the senders could not be read again");
        }
        if let Err(error) = store.refresh_noted().await {
            tracing::warn!(%error, "whose people opted out could not be read again");
        }
    }
}
