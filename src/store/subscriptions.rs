//! Named subscriptions: places in the log that the server keeps.

use sea_orm::sea_query::{OnConflict, Value};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter,
};
use uuid::Uuid;

use super::entity::subscriptions::{self, Column};
use super::{Store, StoreError, rows};
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
    /// When it was last moved.
    pub ack_at_ms: Option<Millis>,
    /// The stream that holds it.
    pub holder: Option<Hold>,
}

/// A stream's hold on a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Which stream.
    pub stream: Uuid,
    /// Since when.
    pub since_ms: Millis,
    /// Until when, unless it is renewed.
    pub until_ms: Millis,
    /// The key that opened it; empty on a gateway without keys.
    pub key: String,
    /// Address and port of its client; empty when the transport does not tell.
    pub address: String,
}

/// A named place, and how far behind it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lagging {
    /// The place.
    pub subscription: StoredSubscription,
    /// Events of the log after it, also those that are no longer kept.
    pub lag_events: i64,
    /// When the oldest event after it that is kept was recorded; `None` when there is none.
    pub next_record_at_ms: Option<Millis>,
    /// Whether events after it were removed: it cannot be read from.
    pub compacted: bool,
}

fn stored(row: subscriptions::Model) -> StoredSubscription {
    let holder = row.holder.zip(row.hold_at_ms).zip(row.hold_until_ms);
    StoredSubscription {
        owner: row.owner,
        name: row.name,
        position: row.position,
        create_at_ms: row.create_at_ms,
        ack_at_ms: row.ack_at_ms,
        holder: holder.map(|((stream, since_ms), until_ms)| Hold {
            stream,
            since_ms,
            until_ms,
            key: row.holder_key.unwrap_or_default(),
            address: row.holder_address.unwrap_or_default(),
        }),
    }
}

fn named(owner: &str, name: &str) -> Condition {
    Condition::all().add(Column::Owner.eq(owner)).add(Column::Name.eq(name))
}

fn new(owner: &str, name: &str, position: i64, now: Millis) -> subscriptions::ActiveModel {
    subscriptions::ActiveModel {
        owner: Set(owner.to_owned()),
        name: Set(name.to_owned()),
        position: Set(position),
        create_at_ms: Set(now),
        ack_at_ms: Set(None),
        holder: Set(None),
        hold_at_ms: Set(None),
        hold_until_ms: Set(None),
        holder_key: Set(None),
        holder_address: Set(None),
    }
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

    /// One subscription and how far behind it is.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn lagging(&self, owner: &str, name: &str) -> Result<Option<Lagging>, StoreError> {
        let values = vec![owner.into(), name.into()];
        Ok(self.lag("WHERE s.owner = $1 AND s.name = $2", values).await?.pop())
    }

    /// Up to `limit` subscriptions of an owner after a name, or of all owners after an owner and a name, in that order.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn lagging_page(
        &self,
        owner: Option<&str>,
        after: (&str, &str),
        limit: u64,
    ) -> Result<Vec<Lagging>, StoreError> {
        match owner {
            Some(owner) => {
                let rest = format!("WHERE s.owner = $1 AND s.name > $2 ORDER BY s.name LIMIT {limit}");
                self.lag(&rest, vec![owner.into(), after.1.into()]).await
            }
            None => {
                let rest = format!("WHERE (s.owner, s.name) > ($1, $2) ORDER BY s.owner, s.name LIMIT {limit}");
                self.lag(&rest, vec![after.0.into(), after.1.into()]).await
            }
        }
    }

    /// The subscriptions that are furthest behind, and how many there are in all: for the metrics.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn furthest_behind(&self, limit: u64) -> Result<(Vec<Lagging>, i64), StoreError> {
        let rest = format!("ORDER BY s.position, s.owner, s.name LIMIT {limit}");
        let found = self.lag(&rest, Vec::new()).await?;
        let text = "SELECT COUNT(*) AS n FROM subscriptions";
        let backend = self.read().get_database_backend();
        let row = self.read().query_one_raw(rows::statement(backend, text, [])).await?;
        Ok((found, row.map(|row| row.try_get("", "n")).transpose()?.unwrap_or_default()))
    }

    async fn lag(&self, rest: &str, values: Vec<Value>) -> Result<Vec<Lagging>, StoreError> {
        let backend = self.read().get_database_backend();
        let later = if backend == DbBackend::Postgres { "GREATEST" } else { "MAX" };
        let (head, oldest) = (self.log_head().await?, self.log_oldest().await?);
        let text = format!(
            "SELECT s.*, e.record_at_ms AS next_record_at_ms FROM subscriptions s \
             LEFT JOIN events e ON e.position = {later}(s.position + 1, {oldest}) {rest}"
        );
        let found = self.read().query_all_raw(rows::statement(backend, &text, values)).await?;
        let lagging = |row| -> Result<Lagging, StoreError> {
            let subscription = stored(subscriptions::Model::from_query_result(&row, "")?);
            let position = subscription.position;
            Ok(Lagging {
                subscription,
                lag_events: (head - position).max(0),
                next_record_at_ms: row.try_get("", "next_record_at_ms")?,
                compacted: position + 1 < oldest,
            })
        };
        found.into_iter().map(lagging).collect()
    }

    /// Makes a subscription at a place, unless there is one of that name; tells whether it was made.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn ensure_subscription(
        &self,
        owner: &str,
        name: &str,
        position: i64,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let made = subscriptions::Entity::insert(new(owner, name, position, now))
            .on_conflict(OnConflict::columns([Column::Owner, Column::Name]).do_nothing().to_owned())
            .exec_without_returning(&self.inner.write)
            .await?;
        Ok(made > 0)
    }

    /// Takes hold of a subscription for a stream, until a time, and answers its place; `None` when another stream holds it,
    /// or there is none of that name. With `takeover` it is taken from any other.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn hold_subscription(
        &self,
        owner: &str,
        name: &str,
        hold: Hold,
        takeover: bool,
    ) -> Result<Option<i64>, StoreError> {
        let free = Condition::any().add(Column::Holder.is_null()).add(Column::HoldUntilMs.lt(hold.since_ms));
        let mut update = subscriptions::Entity::update_many()
            .col_expr(Column::Holder, super::set(hold.stream))
            .col_expr(Column::HoldAtMs, super::set(hold.since_ms))
            .col_expr(Column::HoldUntilMs, super::set(hold.until_ms))
            .col_expr(Column::HolderKey, super::set(hold.key))
            .col_expr(Column::HolderAddress, super::set(hold.address))
            .filter(named(owner, name));
        if !takeover {
            update = update.filter(free);
        }
        // Whoever moves it later ends this hold, so its place is of the same moment.
        let held = update.exec_with_returning(&self.inner.write).await?;
        Ok(held.first().map(|row| row.position))
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

    /// Holds on for longer and, with a place, puts the subscription there, forward or back; `false` when it is not held by
    /// this stream any more, and then nothing is changed.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn keep_subscription(
        &self,
        owner: &str,
        name: &str,
        stream: Uuid,
        place: Option<i64>,
        now: Millis,
        until_ms: Millis,
    ) -> Result<bool, StoreError> {
        let mut update = subscriptions::Entity::update_many()
            .col_expr(Column::HoldUntilMs, super::set(until_ms))
            .filter(named(owner, name))
            .filter(Column::Holder.eq(stream));
        if let Some(position) = place {
            update = update.col_expr(Column::Position, super::set(position)).col_expr(Column::AckAtMs, super::set(now));
        }
        Ok(update.exec(&self.inner.write).await?.rows_affected > 0)
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
        let row = subscriptions::ActiveModel { ack_at_ms: Set(Some(now)), ..new(owner, name, position, now) };
        let moved = [Column::Position, Column::AckAtMs, Column::Holder];
        subscriptions::Entity::insert(row)
            .on_conflict(OnConflict::columns([Column::Owner, Column::Name]).update_columns(moved).to_owned())
            .exec_without_returning(&self.inner.write)
            .await?;
        Ok(())
    }

    /// Deletes subscriptions that no stream has held and nobody has moved since `before`; tells how many.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn expire_subscriptions(&self, before: Millis, now: Millis) -> Result<u64, StoreError> {
        let not_since = |column: Column| Condition::any().add(column.is_null()).add(column.lt(before));
        let held = Condition::all().add(Column::Holder.is_not_null()).add(Column::HoldUntilMs.gte(now));
        let deleted = subscriptions::Entity::delete_many()
            .filter(Column::CreateAtMs.lt(before))
            .filter(not_since(Column::AckAtMs))
            .filter(not_since(Column::HoldUntilMs))
            .filter(held.not())
            .exec(&self.inner.write)
            .await?;
        Ok(deleted.rows_affected)
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
