//! What people wrote while this gateway was away: at its start, providers that keep a list are asked for it. What they tell
//! goes through the journal like any webhook, so what came twice is known by its id (I18).

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::domain::{Millis, now_ms};
use crate::provider::AskError;
use crate::senders::{Account, Senders};
use crate::store::{NewJournalEntry, Store, StoreError, Writer};

/// Providers that are asked at the same time.
const AT_ONCE: usize = 8;
/// A provider lists what it could not deliver just before we stopped, and its clock is not ours.
const OVERLAP: Duration = Duration::from_secs(600);
/// Waits between two tries at a provider that is away: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// What catching up needs.
#[derive(Debug)]
pub struct History {
    writer: Writer,
    senders: Arc<Senders>,
    since_ms: Millis,
}

impl History {
    /// Notes when this gateway, or another on its database, was last there; so before it writes anything. `reach`: how far back
    /// to ask at most. Nothing is to be asked when there is no sender to ask for.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn open(
        store: &Store,
        writer: Writer,
        senders: Arc<Senders>,
        reach: Duration,
    ) -> Result<Option<Self>, StoreError> {
        if reach.is_zero() || !senders.all().iter().any(|account| account.provider.capabilities().history) {
            return Ok(None);
        }
        let last = store.log_record_at().await?;
        let since_ms = (last - millis(OVERLAP)).max(now_ms() - millis(reach));
        Ok(Some(Self { writer, senders, since_ms }))
    }

    /// Asks for every sender there is, each until it is answered.
    pub async fn run(self, stop: CancellationToken) {
        let accounts = self.senders.all().into_iter().filter(|account| account.provider.capabilities().history);
        let asking = futures::stream::iter(accounts).for_each_concurrent(AT_ONCE, |account| self.catch_up(account));
        tokio::select! {
            () = asking => {}
            () = stop.cancelled() => {}
        }
    }

    async fn catch_up(&self, account: Arc<Account>) {
        let sender = &account.sender.id;
        // What was written to it before it was a sender of ours is not ours.
        let since_ms = self.since_ms.max(account.sender.create_at_ms);
        let mut wait = RETRY.0;
        loop {
            match account.provider.history(since_ms).await {
                Ok(bodies) => {
                    tracing::info!(%sender, messages = bodies.len(), "the provider told what people wrote meanwhile");
                    return self.journal(&account, bodies).await;
                }
                Err(AskError::NotSupported) => return,
                Err(AskError::Refused(error)) => {
                    let why = error.provider_message;
                    tracing::warn!(%sender, why, "the provider does not tell what people wrote meanwhile");
                    return;
                }
                Err(AskError::Unreachable(why)) => {
                    tracing::warn!(%sender, why, "the provider could not tell what people wrote meanwhile; trying again");
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }

    async fn journal(&self, account: &Account, bodies: Vec<bytes::Bytes>) {
        for body in bodies {
            let body = match self.senders.seal_webhook(&account.sender.id, &body) {
                Ok(sealed) => sealed,
                Err(error) => {
                    tracing::error!(sender = %account.sender.id, %error, "what a person wrote meanwhile could not be sealed");
                    continue;
                }
            };
            let entry = NewJournalEntry {
                sender: account.sender.id.clone(),
                provider: account.sender.provider.to_owned(),
                receive_at_ms: now_ms(),
                headers: "{}".into(),
                body,
            };
            let mut wait = RETRY.0;
            while let Err(error) = self.writer.journal(entry.clone()).await {
                tracing::warn!(sender = %account.sender.id, %error, "what people wrote meanwhile could not be kept; trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY.1);
            }
        }
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX / 2)
}
