//! Named subscriptions: places in the log that the server keeps.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder};
use uuid::Uuid;

use super::entity::subscriptions::{self, Column};
use super::{Store, StoreError};
use crate::domain::Millis;

/// A named place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSubscription {
    /// Whose it is: empty for callers that see all senders, else the key's id.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// Up to where it was acknowledged.
    pub position: i64,
    /// When it was made.
    pub create_at_ms: Millis,
    /// When it was last acknowledged.
    pub ack_at_ms: Option<Millis>,
    /// The stream that holds it.
    pub holder: Option<Hold>,
}

/// A stream's hold on a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Which stream.
    pub stream: Uuid,
    /// Since when.
    pub since_ms: Millis,
    /// Until when, unless it is renewed.
    pub until_ms: Millis,
}

fn stored(row: subscriptions::Model) -> StoredSubscription {
    let holder = row.holder.zip(row.hold_at_ms).zip(row.hold_until_ms);
    StoredSubscription {
        owner: row.owner,
        name: row.name,
        position: row.position,
        create_at_ms: row.create_at_ms,
        ack_at_ms: row.ack_at_ms,
        holder: holder.map(|((stream, since_ms), until_ms)| Hold { stream, since_ms, until_ms }),
    }
}

fn named(owner: &str, name: &str) -> Condition {
    Condition::all().add(Column::Owner.eq(owner)).add(Column::Name.eq(name))
}

impl Store {
    /// One subscription.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn subscription(&self, owner: &str, name: &str) -> Result<Option<StoredSubscription>, StoreError> {
        let row = subscriptions::Entity::find().filter(named(owner, name)).one(self.read()).await?;
        Ok(row.map(stored))
    }

    /// All subscriptions of an owner, by name.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn subscriptions(&self, owner: &str) -> Result<Vec<StoredSubscription>, StoreError> {
        let rows = subscriptions::Entity::find()
            .filter(Column::Owner.eq(owner))
            .order_by_asc(Column::Name)
            .all(self.read())
            .await?;
        Ok(rows.into_iter().map(stored).collect())
    }

    /// Makes a subscription at a place, unless there is one of that name.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn ensure_subscription(
        &self,
        owner: &str,
        name: &str,
        position: i64,
        now: Millis,
    ) -> Result<(), StoreError> {
        let row = subscriptions::ActiveModel {
            owner: Set(owner.to_owned()),
            name: Set(name.to_owned()),
            position: Set(position),
            create_at_ms: Set(now),
            ack_at_ms: Set(None),
            holder: Set(None),
            hold_at_ms: Set(None),
            hold_until_ms: Set(None),
        };
        subscriptions::Entity::insert(row)
            .on_conflict(OnConflict::columns([Column::Owner, Column::Name]).do_nothing().to_owned())
            .exec_without_returning(&self.inner.write)
            .await?;
        Ok(())
    }

    /// Takes hold of a subscription for a stream, until a time; `false` when another stream holds it. With `takeover` it
    /// is taken from any other.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn hold_subscription(
        &self,
        owner: &str,
        name: &str,
        hold: Hold,
        takeover: bool,
    ) -> Result<bool, StoreError> {
        let free = Condition::any().add(Column::Holder.is_null()).add(Column::HoldUntilMs.lt(hold.since_ms));
        let mut update = subscriptions::Entity::update_many()
            .col_expr(Column::Holder, super::set(hold.stream))
            .col_expr(Column::HoldAtMs, super::set(hold.since_ms))
            .col_expr(Column::HoldUntilMs, super::set(hold.until_ms))
            .filter(named(owner, name));
        if !takeover {
            update = update.filter(free);
        }
        Ok(update.exec(&self.inner.write).await?.rows_affected == 1)
    }

    /// Holds on for longer, unless the hold was lost to another stream.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn renew_hold(&self, owner: &str, name: &str, stream: Uuid, until_ms: Millis) -> Result<(), StoreError> {
        subscriptions::Entity::update_many()
            .col_expr(Column::HoldUntilMs, super::set(until_ms))
            .filter(named(owner, name))
            .filter(Column::Holder.eq(stream))
            .exec(&self.inner.write)
            .await?;
        Ok(())
    }

    /// Lets go of a subscription, if this stream still holds it.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn release_subscription(&self, owner: &str, name: &str, stream: Uuid) -> Result<(), StoreError> {
        subscriptions::Entity::update_many()
            .col_expr(Column::Holder, super::set(Option::<Uuid>::None))
            .filter(named(owner, name))
            .filter(Column::Holder.eq(stream))
            .exec(&self.inner.write)
            .await?;
        Ok(())
    }

    /// Lets go of all subscriptions, whoever holds them.
    pub(super) async fn end_holds(&self) -> Result<(), StoreError> {
        subscriptions::Entity::update_many()
            .col_expr(Column::Holder, super::set(Option::<Uuid>::None))
            .filter(Column::Holder.is_not_null())
            .exec(&self.inner.write)
            .await?;
        Ok(())
    }

    /// Moves a subscription on to a place; a place behind it moves nothing. Answers the place after it, or `None` when
    /// there is no such subscription.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn ack_subscription(
        &self,
        owner: &str,
        name: &str,
        position: i64,
        now: Millis,
    ) -> Result<Option<i64>, StoreError> {
        subscriptions::Entity::update_many()
            .col_expr(Column::Position, super::set(position))
            .col_expr(Column::AckAtMs, super::set(now))
            .filter(named(owner, name))
            .filter(Column::Position.lt(position))
            .exec(&self.inner.write)
            .await?;
        Ok(self.subscription(owner, name).await?.map(|found| found.position))
    }

    /// Puts a subscription at a place, forward or back, and ends the stream that holds it; makes it if there is none.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn seek_subscription(
        &self,
        owner: &str,
        name: &str,
        position: i64,
        now: Millis,
    ) -> Result<(), StoreError> {
        self.ensure_subscription(owner, name, position, now).await?;
        subscriptions::Entity::update_many()
            .col_expr(Column::Position, super::set(position))
            .col_expr(Column::Holder, super::set(Option::<Uuid>::None))
            .filter(named(owner, name))
            .exec(&self.inner.write)
            .await?;
        Ok(())
    }

    /// Deletes a subscription; `false` when there was none.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn delete_subscription(&self, owner: &str, name: &str) -> Result<bool, StoreError> {
        let deleted = subscriptions::Entity::delete_many().filter(named(owner, name)).exec(&self.inner.write).await?;
        Ok(deleted.rows_affected > 0)
    }
}
