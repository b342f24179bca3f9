//! What an operator asks the journal: what came of each webhook, and what is still open.

use sea_orm_migration::prelude::*;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, DOWN).await
    }
}

/// Texts that both databases read; SQLite adds one column at a time.
const UP: &[&str] = &[
    "ALTER TABLE journal ADD COLUMN headers text NOT NULL DEFAULT '{}'",
    "ALTER TABLE journal ADD COLUMN parse_at_ms bigint",
    "ALTER TABLE journal ADD COLUMN event_count integer NOT NULL DEFAULT 0",
    // Which webhook a report is of; nothing for one that a provider was asked for.
    "ALTER TABLE parked_reports ADD COLUMN journal_id bigint",
    "CREATE INDEX journal_open ON journal (id) WHERE pending IS NOT NULL OR unreadable > 0",
    "CREATE INDEX journal_sender ON journal (sender, id)",
    "CREATE INDEX parked_journal ON parked_reports (journal_id) WHERE journal_id IS NOT NULL",
];

const DOWN: &[&str] = &[
    "DROP INDEX parked_journal",
    "DROP INDEX journal_sender",
    "DROP INDEX journal_open",
    "ALTER TABLE parked_reports DROP COLUMN journal_id",
    "ALTER TABLE journal DROP COLUMN event_count",
    "ALTER TABLE journal DROP COLUMN parse_at_ms",
    "ALTER TABLE journal DROP COLUMN headers",
];

async fn run(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    for statement in statements {
        manager.get_connection().execute_unprepared(statement).await?;
    }
    Ok(())
}
