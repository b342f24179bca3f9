//! Who sees to what must be removed, how far it has come, and what readers were told about it: shared by all replicas.

use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, DbBackend, DbErr};

use super::{Store, StoreError, rows};
use crate::domain::Millis;

/// Kinds of things that are removed; each has a row of its own, made on first use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The event log.
    Events,
    /// Messages and their attempts.
    Messages,
    /// What incoming messages are known by.
    Incoming,
    /// Webhooks as they came.
    Journal,
    /// Files that people sent.
    Media,
    /// Reports that matched nothing.
    Parked,
    /// Named subscriptions that nobody uses.
    Subscriptions,
}

impl Kind {
    /// The word that is stored, and the label of metrics.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Events => "events",
            Kind::Messages => "messages",
            Kind::Incoming => "incoming",
            Kind::Journal => "journal",
            Kind::Media => "media",
            Kind::Parked => "parked",
            Kind::Subscriptions => "subscriptions",
        }
    }
}

/// The row that counts erasures.
const ERASURES: &str = "erasures";

/// A turn at one kind: nobody else sees to it until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Nothing older is there.
    pub place: i64,
    /// Up to where readers know that it will be removed.
    pub announced: i64,
    /// Since when.
    pub announce_at_ms: Millis,
}

/// What all replicas hear of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Announced {
    /// Events up to this place will be removed.
    pub events: i64,
    /// How often something was erased from the log.
    pub erasures: i64,
}

impl Store {
    /// Takes the turn at a kind, until a time; `None` while another replica has it.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn take_turn(&self, kind: Kind, now: Millis, until_ms: Millis) -> Result<Option<Turn>, StoreError> {
        make(&self.inner.write, kind.word()).await?;
        let text = "UPDATE upkeep SET hold_until_ms = $2 WHERE kind = $1 AND hold_until_ms < $3 \
                    RETURNING place, announced, announce_at_ms";
        let values: [Value; 3] = [kind.word().into(), until_ms.into(), now.into()];
        let backend = self.inner.write.get_database_backend();
        let row = self.inner.write.query_one_raw(rows::statement(backend, text, values)).await?;
        let turn = |row: sea_orm::QueryResult| -> Result<Turn, DbErr> {
            Ok(Turn {
                place: row.try_get("", "place")?,
                announced: row.try_get("", "announced")?,
                announce_at_ms: row.try_get("", "announce_at_ms")?,
            })
        };
        Ok(row.map(turn).transpose()?)
    }

    /// Ends a turn, with the place up to which nothing is left.
    ///
    /// # Errors
    /// When the store is away; then the turn ends by itself.
    pub async fn end_turn(&self, kind: Kind, place: i64) -> Result<(), StoreError> {
        let text = "UPDATE upkeep SET hold_until_ms = 0, place = $2 WHERE kind = $1";
        self.write_upkeep(text, [kind.word().into(), place.into()]).await
    }

    /// Tells all replicas that events up to a place will be removed.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn announce_trim(&self, position: i64, now: Millis) -> Result<(), StoreError> {
        let text = "UPDATE upkeep SET announced = $2, announce_at_ms = $3 WHERE kind = $1";
        self.write_upkeep(text, [Kind::Events.word().into(), position.into(), now.into()]).await
    }

    /// What was announced last.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn announced(&self) -> Result<Announced, StoreError> {
        let backend = self.read().get_database_backend();
        let text = "SELECT kind, place, announced FROM upkeep WHERE kind IN ($1, $2)";
        let values: [Value; 2] = [Kind::Events.word().into(), ERASURES.into()];
        let mut told = Announced::default();
        for row in self.read().query_all_raw(rows::statement(backend, text, values)).await? {
            match row.try_get::<String>("", "kind")?.as_str() {
                ERASURES => told.erasures = row.try_get("", "place")?,
                _ => told.events = row.try_get("", "announced")?,
            }
        }
        Ok(told)
    }

    async fn write_upkeep<const N: usize>(&self, text: &str, values: [Value; N]) -> Result<(), StoreError> {
        let backend = self.inner.write.get_database_backend();
        self.inner.write.execute_raw(rows::statement(backend, text, values)).await?;
        Ok(())
    }
}

async fn make(database: &impl ConnectionTrait, kind: &str) -> Result<(), DbErr> {
    let text = "INSERT INTO upkeep (kind, place, announced, announce_at_ms, hold_until_ms) VALUES ($1, 0, 0, 0, 0) \
                ON CONFLICT (kind) DO NOTHING";
    let backend: DbBackend = database.get_database_backend();
    database.execute_raw(rows::statement(backend, text, [kind.into()])).await.map(drop)
}
