//! Messages that go on to another sender: who has them, who was asked, and why each attempt was followed by another's.

use sea_orm_migration::prelude::*;

use crate::columns::optional;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

/// Columns of a table, all of them empty for a message that has no fallback senders.
fn columns() -> Vec<(&'static str, ColumnDef)> {
    vec![
        // `sender` is the one that has the message now. This is the one that was asked for, once that is another.
        ("messages", optional("asked_sender").text().take()),
        // The one that would take it over.
        ("messages", optional("next_sender").text().take()),
        // Attempts up to this one were made by senders before.
        ("messages", optional("passed_attempt").integer().take()),
        // The sender that took the message over after this attempt, and the error that made it do so.
        ("attempts", optional("next_sender").text().take()),
        ("attempts", optional("next_error").text().take()),
    ]
}

const INDEXES: &[(&str, &str)] = &[
    (
        "messages_next",
        "CREATE INDEX messages_next ON messages (sender, seq) WHERE next_sender IS NOT NULL AND lane IS NOT NULL",
    ),
    ("messages_asked", "CREATE INDEX messages_asked ON messages (asked_sender, seq) WHERE asked_sender IS NOT NULL"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in columns() {
            manager.alter_table(Table::alter().table(Alias::new(table)).add_column(column).take()).await?;
        }
        for (_, text) in INDEXES {
            manager.get_connection().execute_unprepared(text).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, _) in INDEXES {
            manager.get_connection().execute_unprepared(&format!("DROP INDEX {name}")).await?;
        }
        for (table, column) in columns() {
            let name = Alias::new(column.get_column_name());
            manager.alter_table(Table::alter().table(Alias::new(table)).drop_column(name).take()).await?;
        }
        Ok(())
    }
}
