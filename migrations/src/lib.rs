//! The tables of Recado. Every migration runs on SQLite and on PostgreSQL, and none is changed once it has landed.
//!
//! Times are Unix milliseconds (`…_at_ms`, `bigint`), so that both databases order and compare them alike. Documents
//! (`request`, `payload`, …) are JSON in text columns: read by the gateway, readable by an operator.

pub use sea_orm_migration::prelude::MigratorTrait;
use sea_orm_migration::prelude::{MigrationTrait, async_trait};

mod columns;
mod m20261122_000001_first;
mod m20261122_000002_templates;
mod m20261122_000003_media;
mod m20261122_000005_pace;
mod m20261122_000006_look_ups;
mod m20261122_000007_sender_health;
mod m20261122_000008_windows;
mod m20261122_000009_fallbacks;
mod m20261122_000010_opt_outs;
mod m20261122_000011_heads;
mod m20261122_000012_callbacks;
mod m20261122_000013_upkeep;
mod m20261122_000014_journal;

/// All migrations, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_first::Migration),
            Box::new(m20261122_000002_templates::Migration),
            Box::new(m20261122_000003_media::Migration),
            Box::new(m20261122_000005_pace::Migration),
            Box::new(m20261122_000006_look_ups::Migration),
            Box::new(m20261122_000007_sender_health::Migration),
            Box::new(m20261122_000008_windows::Migration),
            Box::new(m20261122_000009_fallbacks::Migration),
            Box::new(m20261122_000010_opt_outs::Migration),
            Box::new(m20261122_000011_heads::Migration),
            Box::new(m20261122_000012_callbacks::Migration),
            Box::new(m20261122_000013_upkeep::Migration),
            Box::new(m20261122_000014_journal::Migration),
        ]
    }
}
