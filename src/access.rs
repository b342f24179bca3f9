//! Who may do what: API keys in memory, by the hash of their secrets.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use ring::digest;
use secrecy::{ExposeSecret, SecretString};

use crate::domain::{Millis, SenderId, now_ms};
use crate::error::Error;
use crate::store::{Store, StoreError, StoredKey};

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Send, cancel.
    Send,
    /// Get, list, stream, download.
    Read,
    /// Senders, keys, journals.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 3] = [Scope::Send, Scope::Read, Scope::Admin];

    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Send => "send",
            Scope::Read => "read",
            Scope::Admin => "admin",
        }
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key's id; `admin` for the configured key, empty where no key is needed. Idempotency keys are the caller's own.
    pub id: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// For which senders; empty: all.
    pub senders: Vec<SenderId>,
    expire_at_ms: Option<Millis>,
    revoked: bool,
}

impl Caller {
    fn works(&self) -> bool {
        !self.revoked && self.expire_at_ms.is_none_or(|at| at > now_ms())
    }

    fn everything(id: &str) -> Self {
        Self { id: id.into(), scopes: Scope::ALL.to_vec(), senders: Vec::new(), expire_at_ms: None, revoked: false }
    }

    /// A caller that is limited to these senders.
    #[cfg(test)]
    pub(crate) fn of_senders(senders: &[&str]) -> Self {
        Self {
            senders: senders.iter().map(|id| SenderId::trusted((*id).to_owned())).collect(),
            ..Self::everything("k")
        }
    }

    /// Whether the caller may do such things.
    ///
    /// # Errors
    /// [`Error::Denied`], naming the scope.
    pub fn needs(&self, scope: Scope) -> Result<(), Error> {
        match self.scopes.contains(&scope) {
            true => Ok(()),
            false => Err(Error::Denied(format!("this key lacks the scope `{}`", scope.as_str()))),
        }
    }

    /// Whether the caller may know of a sender.
    pub fn sees(&self, sender: &SenderId) -> bool {
        self.senders.is_empty() || self.senders.contains(sender)
    }

    /// Under which name the caller's subscriptions are kept: those who see all senders share theirs.
    pub fn owner(&self) -> &str {
        if self.senders.is_empty() { "" } else { &self.id }
    }
}

/// All keys.
#[derive(Debug)]
pub struct Access {
    store: Store,
    admin: Option<[u8; 32]>,
    keys: RwLock<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    by_hash: HashMap<[u8; 32], Arc<Caller>>,
    /// Whether any key was ever made: from then on one is needed, also when all are revoked.
    any: bool,
}

/// SHA-256: enough for secrets of 256 random bits.
pub fn hash(secret: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    hash
}

impl Access {
    /// Reads the keys. `admin_key` is one that the configuration gives.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn load(store: Store, admin_key: Option<&SecretString>) -> Result<Self, StoreError> {
        let admin = admin_key.map(ExposeSecret::expose_secret).filter(|key| !key.is_empty()).map(hash);
        let access = Self { store, admin, keys: RwLock::default() };
        access.refresh().await?;
        Ok(access)
    }

    /// Reads the keys again.
    ///
    /// # Errors
    /// When the store is away; then the keys stay as they were.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let stored = self.store.api_keys().await?;
        let any = !stored.is_empty();
        let by_hash = stored.into_iter().filter_map(entry).collect();
        *self.keys.write().unwrap_or_else(|e| e.into_inner()) = Keys { by_hash, any };
        Ok(())
    }

    /// Whether calls need a key.
    pub fn needs_key(&self) -> bool {
        self.admin.is_some() || self.read().any
    }

    /// Whether some key that works may administrate; without one, only a key that may can be made.
    pub fn has_admin(&self) -> bool {
        self.admin.is_some()
            || self.read().by_hash.values().any(|caller| caller.works() && caller.scopes.contains(&Scope::Admin))
    }

    /// Who calls with this `authorization` header.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`].
    pub fn caller(&self, authorization: Option<&str>) -> Result<Arc<Caller>, Error> {
        if !self.needs_key() {
            return Ok(Arc::new(Caller::everything("")));
        }
        let authorization = authorization
            .ok_or(Error::Unauthenticated("a key is needed: metadata `authorization: Bearer <api key>`"))?;
        let (scheme, secret) = authorization.split_once(' ').unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Error::Unauthenticated("the metadata must read `authorization: Bearer <api key>`"));
        }
        let hash = hash(secret.trim());
        if self.admin == Some(hash) {
            return Ok(Arc::new(Caller::everything("admin")));
        }
        let keys = self.read();
        match keys.by_hash.get(&hash) {
            Some(caller) if caller.works() => Ok(caller.clone()),
            Some(_) => Err(Error::KeyRevoked),
            None => Err(Error::Unauthenticated("this key is not known")),
        }
    }

    /// Whether a caller's key still works: what open streams ask.
    pub fn still_works(&self, caller: &Caller) -> bool {
        match caller.id.as_str() {
            "" => !self.needs_key(),
            "admin" => self.admin.is_some(),
            id => caller.works() && self.read().by_hash.values().any(|known| known.id == id && known.works()),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Keys> {
        // No code panics while it holds the lock.
        self.keys.read().unwrap_or_else(|e| e.into_inner())
    }
}

fn entry(key: StoredKey) -> Option<([u8; 32], Arc<Caller>)> {
    let scopes = Scope::ALL.into_iter().filter(|scope| key.scopes.iter().any(|word| word == scope.as_str())).collect();
    let revoked = key.revoke_at_ms.is_some();
    let caller = Caller { id: key.id, scopes, senders: key.senders, expire_at_ms: key.expire_at_ms, revoked };
    Some((key.hash.try_into().ok()?, Arc::new(caller)))
}
