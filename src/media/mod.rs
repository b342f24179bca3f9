//! Files that people sent: fetched after their events, kept in the media store, and downloaded from there.
//!
//! A row in the store stands for each file, written together with the event. Whoever takes it in hand holds it under a
//! lease; a process that dies leaves nothing but a lease that ends. How long a file is tried for is in [`next`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::media::{MediaFile, MediaState, Trouble};
use crate::domain::{MediaId, Millis};
use crate::guarded::{Caps, Guarded};
use crate::senders::Senders;
use crate::store::{MediaClaim, MediaOutcome, Store, StoreError};

mod fetch;
mod next;
mod shelf;

pub use next::Patience;
use next::{Next, Setback};
pub use shelf::{Put, Shelf};

/// How often due files are looked for beside the wake-ups.
const LOOK: Duration = Duration::from_secs(1);

/// How files are fetched.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Files at the same time, in this process.
    pub in_flight: usize,
    /// How long a file belongs to who took it in hand; renewed while it is fetched.
    pub lease: Duration,
    /// What one file may take.
    pub caps: Caps,
    /// How long it is tried for.
    pub patience: Patience,
}

/// What the fetching needs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Whose rows say what is to be fetched.
    pub store: Store,
    /// Whose adapters know where files are.
    pub senders: Arc<Senders>,
    /// Where they are kept.
    pub shelf: Shelf,
    /// What fetches them.
    pub guarded: Guarded,
    /// How.
    pub config: Config,
}

/// Wakes the fetching: files came.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Files came.
    pub fn media_came(&self) {
        self.0.notify_one();
    }
}

/// Fetches files, until `stop`; then gives back what it has in hand.
pub async fn run(parts: Parts, wake: Wake, stop: CancellationToken) {
    let (hands, mut under_way) = (Hands::default(), JoinSet::new());
    tokio::select! {
        () = fetch_all(&parts, &wake, &hands, &mut under_way) => {}
        () = renew(&parts, &hands) => {}
        () = stop.cancelled() => {}
    }
    let held = hands.held();
    under_way.shutdown().await;
    if let Err(error) = parts.store.release_media(&held, parts.store.now_ms()).await {
        tracing::warn!(%error, count = held.len(), "files in hand could not be given back; their leases end by themselves");
    }
}

async fn fetch_all(parts: &Parts, wake: &Wake, hands: &Hands, under_way: &mut JoinSet<()>) {
    loop {
        let room = parts.config.in_flight - under_way.len();
        if room > 0 {
            for claim in take(parts, room).await {
                let hold = hands.take(&claim);
                let parts = parts.clone();
                under_way.spawn(async move {
                    fetch(&parts, &claim).await;
                    drop(hold);
                });
            }
        }
        tokio::select! {
            Some(ended) = under_way.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "fetching a file ended in a fault; it is tried again when its lease ends");
                }
            }
            () = wake.0.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn take(parts: &Parts, room: usize) -> Vec<MediaClaim> {
    let now = parts.store.now_ms();
    let until = now + parts.config.lease.as_millis() as Millis;
    parts.store.claim_media(room as u64, rand::random(), now, until).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "files to fetch could not be looked for");
        Vec::new()
    })
}

/// One try, and its outcome on disk.
async fn fetch(parts: &Parts, claim: &MediaClaim) {
    let MediaClaim { token, file } = claim;
    let started = Instant::now();
    let outcome = match fetch::fetch(parts, file).await {
        Ok(fetch::Arrived { mime_type, fetched }) => MediaOutcome::Ready { mime_type, fetched },
        Err(setback) => after(parts, file, setback),
    };
    log(file, &outcome, started.elapsed());
    if !write_down(parts, file.id, *token, &outcome).await {
        tracing::warn!(media.id = %file.id, "a file was taken in hand by another meanwhile, or was erased");
        drop_if_erased(parts, file.id).await;
    } else if matches!(outcome, MediaOutcome::Ready { .. }) && file.tries > 1 {
        clean(parts, file.id, file.tries).await;
    }
}

fn after(parts: &Parts, file: &MediaFile, setback: Setback) -> MediaOutcome {
    let now = parts.store.now_ms();
    let age = Duration::from_millis(u64::try_from(now - file.create_at_ms).unwrap_or_default());
    let next = next::next(&setback, file.tries, age, &parts.config.patience, rand::random());
    let Setback { trouble, detail, .. } = setback;
    match next {
        Next::RetryIn(wait) => MediaOutcome::Retry { trouble, detail, at_ms: now + wait.as_millis() as Millis },
        Next::GiveUp => MediaOutcome::Failed { trouble, detail },
    }
}

fn log(file: &MediaFile, outcome: &MediaOutcome, elapsed: Duration) {
    let (word, trouble) = match outcome {
        MediaOutcome::Ready { .. } => ("ready", None),
        MediaOutcome::Retry { trouble, detail, .. } => ("retried", Some((trouble, detail))),
        MediaOutcome::Failed { trouble, detail } => ("failed", Some((trouble, detail))),
    };
    metrics::counter!("recado_media_total", "outcome" => word).increment(1);
    let MediaFile { id, sender, tries, .. } = file;
    let elapsed_ms = elapsed.as_millis() as u64;
    match trouble {
        None => tracing::info!(media.id = %id, %sender, tries, elapsed_ms, "a file was fetched"),
        Some((trouble, detail)) => {
            let cause = trouble.as_str();
            tracing::warn!(media.id = %id, %sender, tries, elapsed_ms, outcome = word, cause, detail, "a file was not fetched");
        }
    }
}

/// Writes an outcome for as long as it takes; `false` when the file is no longer in hand.
async fn write_down(parts: &Parts, id: MediaId, token: i64, outcome: &MediaOutcome) -> bool {
    let mut wait = Duration::from_millis(100);
    loop {
        match parts.store.media_ended(id, token, outcome, parts.store.now_ms()).await {
            Ok(written) => return written,
            Err(StoreError::Fault(error)) => {
                tracing::error!(error, media.id = %id, "the outcome of a file could not be written");
                return false;
            }
            Err(error) => tracing::warn!(%error, "the outcome of a file could not be written; trying again"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(2));
    }
}

/// What was fetched while its row was erased is nobody's.
async fn drop_if_erased(parts: &Parts, id: MediaId) {
    let gone = match parts.store.media(id).await {
        Ok(None) => true,
        Ok(Some(file)) => matches!(file.state, MediaState::Failed { trouble: Trouble::Erased, .. }),
        Err(_) => false,
    };
    if gone && let Err(error) = parts.shelf.remove(id).await {
        tracing::warn!(%error, media.id = %id, "an erased file could not be removed");
    }
}

async fn clean(parts: &Parts, id: MediaId, attempt: i32) {
    if let Err(error) = parts.shelf.keep_only(id, attempt).await {
        tracing::debug!(%error, media.id = %id, "what earlier tries left could not be removed");
    }
}

/// Renews the leases of all files in hand three times in a lease.
async fn renew(parts: &Parts, hands: &Hands) {
    let lease = parts.config.lease;
    loop {
        tokio::time::sleep(lease / 3).await;
        let held = hands.held();
        let until = parts.store.now_ms() + lease.as_millis() as Millis;
        if !held.is_empty()
            && let Err(error) = parts.store.renew_media(&held, until).await
        {
            tracing::warn!(%error, "leases of files could not be renewed");
        }
    }
}

/// The files in hand, with the numbers of their claims.
#[derive(Debug, Clone, Default)]
struct Hands(Arc<Mutex<HashSet<(MediaId, i64)>>>);

impl Hands {
    fn take(&self, claim: &MediaClaim) -> Hold {
        let one = (claim.file.id, claim.token);
        self.lock().insert(one);
        Hold { hands: self.clone(), one }
    }

    fn held(&self) -> Vec<(MediaId, i64)> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(MediaId, i64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One file in hand, until this is dropped: also when its fetching panics, so that nobody renews its lease for ever.
struct Hold {
    hands: Hands,
    one: (MediaId, i64),
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.hands.lock().remove(&self.one);
    }
}
