//! The senders in memory, each with its adapter: what requests, the engine and webhooks look up.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use url::Url;

use crate::domain::pace::Rate;
use crate::domain::{Sender, SenderId};
use crate::provider::{self, AnySettings, Context, HttpClient, Provider, sandbox};
use crate::seal::{SealError, SealKey};
use crate::store::{Store, StoreError, StoredSender};

/// A sender, ready to be used.
#[derive(Debug)]
pub struct Account {
    /// The sender.
    pub sender: Sender,
    /// Its provider's settings.
    pub settings: AnySettings,
    /// Its adapter.
    pub provider: Arc<dyn Provider>,
    /// Where its provider reaches us.
    pub webhook_url: Url,
}

impl Account {
    /// How fast it sends: as it is set, and as its provider allows where nothing is.
    pub fn rate(&self) -> Rate {
        self.sender.limits.rate.or(self.provider.capabilities().rate)
    }
}

/// What every adapter is built with.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Base of webhook addresses.
    pub public_url: Url,
    /// The one client.
    pub http: HttpClient,
    /// What the built-in provider runs on.
    pub sandbox: sandbox::Simulator,
}

/// All senders.
#[derive(Debug)]
pub struct Senders {
    store: Store,
    key: SealKey,
    surroundings: Surroundings,
    accounts: RwLock<HashMap<SenderId, Arc<Account>>>,
    /// One reading at a time: an older one that ends later would take back what a newer one found.
    reading: tokio::sync::Mutex<()>,
}

/// Why the senders could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SendersError {
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The master key does not fit.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Settings that this version cannot read.
    #[error("the settings of sender {sender} cannot be read: {cause}")]
    Settings {
        /// Whose.
        sender: SenderId,
        /// Why.
        cause: serde_json::Error,
    },
}

impl Senders {
    /// Reads all senders.
    ///
    /// # Errors
    /// When the store is away or a sender was sealed under another key.
    pub async fn load(store: Store, key: SealKey, surroundings: Surroundings) -> Result<Self, SendersError> {
        let senders =
            Self { store, key, surroundings, accounts: RwLock::default(), reading: tokio::sync::Mutex::default() };
        senders.refresh().await?;
        Ok(senders)
    }

    /// Reads them again. What did not change keeps its adapter, and with it its connections.
    ///
    /// # Errors
    /// As [`Senders::load`]; then everything stays as it was.
    pub async fn refresh(&self) -> Result<(), SendersError> {
        let _reading = self.reading.lock().await;
        let mut accounts = HashMap::new();
        for stored in self.store.senders().await? {
            let known = self.get(&stored.sender.id).filter(|account| account.sender == stored.sender);
            let account = match known {
                Some(account) => account,
                None => Arc::new(self.build(stored)?),
            };
            accounts.insert(account.sender.id.clone(), account);
        }
        *self.accounts.write().unwrap_or_else(|e| e.into_inner()) = accounts;
        Ok(())
    }

    /// One sender, also when another replica made it a moment ago.
    ///
    /// # Errors
    /// When the sender is not known here and the store cannot be asked.
    pub async fn find(&self, id: &SenderId) -> Result<Option<Arc<Account>>, StoreError> {
        let known = self.get(id);
        // Whoever has the store alone knows all senders.
        if known.is_some() || self.store.is_exclusive() || !self.store.has_sender(id).await? {
            return Ok(known);
        }
        match self.refresh().await {
            Ok(()) => Ok(self.get(id)),
            Err(SendersError::Store(error)) => Err(error),
            Err(error) => Err(StoreError::Fault(error.to_string())),
        }
    }

    /// One sender, as far as it is known here.
    pub fn get(&self, id: &SenderId) -> Option<Arc<Account>> {
        self.accounts.read().unwrap_or_else(|e| e.into_inner()).get(id).cloned()
    }

    /// All of them, by id.
    pub fn all(&self) -> Vec<Arc<Account>> {
        let mut all: Vec<_> = self.accounts.read().unwrap_or_else(|e| e.into_inner()).values().cloned().collect();
        all.sort_by(|a, b| a.sender.id.cmp(&b.sender.id));
        all
    }

    /// Where a sender's provider reaches us.
    pub fn webhook_url(&self, provider: &str, sender: &SenderId) -> Url {
        let mut url = self.surroundings.public_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["webhooks", provider, sender.as_str()]);
        }
        url
    }

    /// An adapter for settings that are not stored, to check them.
    pub fn adapter(&self, sender: &SenderId, settings: &AnySettings) -> Arc<dyn Provider> {
        let context = Context {
            sender: sender.clone(),
            webhook_url: self.webhook_url(settings.provider(), sender),
            http: self.surroundings.http.clone(),
            sandbox: self.surroundings.sandbox.clone(),
        };
        provider::build(settings, context)
    }

    /// A sender as the store keeps it: its settings sealed.
    ///
    /// # Errors
    /// When they cannot be sealed.
    pub fn seal(&self, sender: Sender, settings: &AnySettings) -> Result<StoredSender, SendersError> {
        let plain = serde_json::to_vec(settings)
            .map_err(|cause| SendersError::Settings { sender: sender.id.clone(), cause })?;
        let sealed_settings = self.key.seal(&plain, &place(&sender.id))?;
        Ok(StoredSender { sender, sealed_settings })
    }

    /// A webhook's body as the journal keeps it: it holds what people wrote.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn seal_webhook(&self, sender: &SenderId, body: &[u8]) -> Result<Bytes, SealError> {
        Ok(self.key.seal(body, &place_of_webhooks(sender))?.into())
    }

    /// The body again.
    ///
    /// # Errors
    /// When it was sealed under another key, or is damaged.
    pub fn unseal_webhook(&self, sender: &SenderId, sealed: &[u8]) -> Result<Bytes, SealError> {
        Ok(self.key.unseal(sealed, &place_of_webhooks(sender))?.into())
    }

    fn build(&self, stored: StoredSender) -> Result<Account, SendersError> {
        let StoredSender { sender, sealed_settings } = stored;
        let plain = self.key.unseal(&sealed_settings, &place(&sender.id))?;
        let settings: AnySettings = serde_json::from_slice(&plain)
            .map_err(|cause| SendersError::Settings { sender: sender.id.clone(), cause })?;
        let provider = self.adapter(&sender.id, &settings);
        let webhook_url = self.webhook_url(settings.provider(), &sender.id);
        Ok(Account { sender, settings, provider, webhook_url })
    }
}

/// What a sender's settings are sealed to.
fn place(sender: &SenderId) -> String {
    format!("the settings of sender {sender}")
}

/// What the bodies of a sender's webhooks are sealed to.
fn place_of_webhooks(sender: &SenderId) -> String {
    format!("a webhook of sender {sender}")
}
