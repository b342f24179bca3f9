//! Files that people sent: where each is, and how far its fetching has come.

use sea_orm_migration::prelude::*;

use crate::columns::{column, optional, table};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(media()).await?;
        manager.get_connection().execute_unprepared(DUE).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("media")).to_owned()).await
    }
}

fn media() -> TableCreateStatement {
    table(
        "media",
        vec![
            column("id").uuid().primary_key().take(),
            column("sender").text().take(),
            // The incoming message that it came with.
            column("message_id").uuid().take(),
            // The contract's number: 1 pending, 2 ready, 3 failed.
            column("state").small_integer().take(),
            // Where the provider keeps it.
            column("source").text().take(),
            // As the provider told; when ready, as it is served.
            column("mime_type").text().take(),
            column("file_name").text().take(),
            column("create_at_ms").big_integer().take(),
            // Set while it is pending: the next try, or the end of the lease of the one under way.
            optional("due_at_ms").big_integer().take(),
            // Set while somebody fetches it.
            optional("claim").big_integer().take(),
            // Tries begun; when ready, the last one's number is part of its key in the media store.
            column("tries").integer().take(),
            // What went wrong last: a word, and a sentence.
            optional("trouble").text().take(),
            optional("detail").text().take(),
            // Set when it is ready.
            optional("size_bytes").big_integer().take(),
            optional("sha256").binary().take(),
            // When it became ready, or was given up.
            optional("end_at_ms").big_integer().take(),
        ],
    )
}

const DUE: &str = "CREATE INDEX media_due ON media (due_at_ms) WHERE due_at_ms IS NOT NULL";
