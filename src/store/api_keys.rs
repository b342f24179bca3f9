//! API keys: hashed at rest. A key has 256 random bits, so one round of SHA-256 is as good as a slow hash.

use sea_orm::{ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use super::entity::api_keys;
use super::{Store, StoreError};
use crate::domain::{Millis, SenderId};

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Its public id.
    pub id: String,
    /// For people.
    pub display_name: String,
    /// SHA-256 of the secret.
    pub hash: Vec<u8>,
    /// What it may do: `send`, `read`, `admin`.
    pub scopes: Vec<String>,
    /// For which senders; empty: all.
    pub senders: Vec<SenderId>,
    /// When it was made.
    pub create_at_ms: Millis,
    /// When it stops working by itself.
    pub expire_at_ms: Option<Millis>,
    /// When it was revoked.
    pub revoke_at_ms: Option<Millis>,
}

fn stored(row: api_keys::Model) -> StoredKey {
    let words = |text: &str| text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    StoredKey {
        scopes: words(&row.scopes),
        senders: words(&row.senders).into_iter().map(SenderId::trusted).collect(),
        id: row.id,
        display_name: row.display_name,
        hash: row.hash,
        create_at_ms: row.create_at_ms,
        expire_at_ms: row.expire_at_ms,
        revoke_at_ms: row.revoke_at_ms,
    }
}

impl Store {
    /// All keys, also the revoked ones, newest first.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn api_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let rows = api_keys::Entity::find()
            .order_by_desc(api_keys::Column::CreateAtMs)
            .order_by_asc(api_keys::Column::Id)
            .all(self.read())
            .await?;
        Ok(rows.into_iter().map(stored).collect())
    }

    /// Keeps a new key.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn create_api_key(&self, key: &StoredKey) -> Result<(), StoreError> {
        let senders: Vec<&str> = key.senders.iter().map(SenderId::as_str).collect();
        let row = api_keys::ActiveModel {
            id: Set(key.id.clone()),
            display_name: Set(key.display_name.clone()),
            hash: Set(key.hash.clone()),
            scopes: Set(key.scopes.join(" ")),
            senders: Set(senders.join(" ")),
            create_at_ms: Set(key.create_at_ms),
            expire_at_ms: Set(key.expire_at_ms),
            revoke_at_ms: Set(key.revoke_at_ms),
        };
        row.insert(&self.inner.write).await?;
        Ok(())
    }

    /// Stops a key from working; `None` when there is none. A second time changes nothing.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn revoke_api_key(&self, id: &str, now: Millis) -> Result<Option<StoredKey>, StoreError> {
        api_keys::Entity::update_many()
            .col_expr(api_keys::Column::RevokeAtMs, super::set(now))
            .filter(api_keys::Column::Id.eq(id))
            .filter(api_keys::Column::RevokeAtMs.is_null())
            .exec(&self.inner.write)
            .await?;
        let row = api_keys::Entity::find_by_id(id).one(&self.inner.write).await?;
        Ok(row.map(stored))
    }
}
