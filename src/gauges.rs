//! Numbers of the whole gateway as metrics: what waits, and how fast senders may go. They are those of the database, the same on
//! every replica; GetStats tells them by sender whatever their number.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio_util::sync::CancellationToken;

use crate::domain::{Millis, SenderId, now_ms};
use crate::senders::{Account, Senders};
use crate::store::{SenderNumbers, Store, StoreError};

/// How often they are read.
const INTERVAL: Duration = Duration::from_secs(10);
/// Beyond so many senders, none is told by itself: each would be three series more.
const SENDERS_TOLD: usize = 200;

/// Reads them until `stop`.
pub async fn run(store: Store, senders: Arc<Senders>, stop: CancellationToken) {
    let mut told = HashSet::new();
    let work = async {
        loop {
            if let Err(error) = read(&store, &senders, &mut told).await {
                tracing::warn!(%error, "the numbers for the metrics could not be read");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

/// The sums over all senders.
#[derive(Debug, Default)]
struct Sums {
    queue_depth: i64,
    in_doubt: i64,
    throttled: i64,
    held: i64,
    held_contacts: i64,
    oldest_due_ms: Option<Millis>,
}

async fn read(store: &Store, senders: &Senders, told: &mut HashSet<SenderId>) -> Result<(), StoreError> {
    let accounts = senders.all();
    let now = now_ms();
    let ids: Vec<SenderId> = accounts.iter().map(|account| account.sender.id.clone()).collect();
    let numbers = store.stats(&ids, now, now).await?;
    let mut sums = Sums::default();
    for numbers in numbers.values() {
        let pace = numbers.pace.unwrap_or_default();
        sums.queue_depth += numbers.queue_depth();
        sums.in_doubt += numbers.in_doubt();
        sums.throttled += i64::from(pace.factor_at(now) < 1.0);
        sums.held += i64::from(pace.hold_until_ms > now);
        sums.held_contacts += numbers.held_contacts;
        sums.oldest_due_ms = sums.oldest_due_ms.into_iter().chain(numbers.oldest_due_ms).min();
    }
    gauge!("recado_queue_depth").set(sums.queue_depth as f64);
    gauge!("recado_in_doubt").set(sums.in_doubt as f64);
    gauge!("recado_oldest_due_seconds").set(sums.oldest_due_ms.map_or(0.0, |due| (now - due).max(0) as f64 / 1e3));
    gauge!("recado_senders_throttled").set(sums.throttled as f64);
    gauge!("recado_senders_held").set(sums.held as f64);
    gauge!("recado_contacts_held").set(sums.held_contacts as f64);
    let journal = store.journal_numbers().await?;
    gauge!("recado_webhooks_pending").set(journal.pending as f64);
    let lag = journal.oldest_pending_ms.map_or(0, |oldest| (now - oldest).max(0));
    gauge!("recado_webhooks_pending_seconds").set(lag as f64 / 1e3);
    by_sender(&accounts, &numbers, now, told);
    Ok(())
}

fn by_sender(
    accounts: &[Arc<Account>],
    numbers: &std::collections::HashMap<SenderId, SenderNumbers>,
    now: Millis,
    told: &mut HashSet<SenderId>,
) {
    let accounts = if accounts.len() <= SENDERS_TOLD { accounts } else { &[] };
    let mut gone = std::mem::take(told);
    for account in accounts {
        let id = &account.sender.id;
        let Some(numbers) = numbers.get(id) else { continue };
        let pace = numbers.pace.unwrap_or_default();
        let sender = id.to_string();
        gauge!("recado_sender_queue_depth", "sender" => sender.clone()).set(numbers.queue_depth() as f64);
        if let Some(rate) = account.rate().per_second {
            gauge!("recado_sender_rate", "sender" => sender.clone()).set(rate * pace.factor_at(now));
        }
        let held = (pace.hold_until_ms - now).max(0) as f64 / 1e3;
        gauge!("recado_sender_held_seconds", "sender" => sender).set(held);
        gone.remove(id);
        told.insert(id.clone());
    }
    // A series cannot be taken back.
    for sender in gone {
        for name in ["recado_sender_queue_depth", "recado_sender_rate", "recado_sender_held_seconds"] {
            gauge!(name, "sender" => sender.to_string()).set(0.0);
        }
    }
}
