//! Heads, the first message of each conversation, which alone may be claimed; and tallies, how many messages stand where.

use sea_orm_migration::prelude::*;

use crate::columns::column;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The lane of a message that is ready and has no earlier one in its conversation that is not done.
        let head = ColumnDef::new(Alias::new("head")).small_integer().null().take();
        // The status under which the message is counted: its status, but for the time of an attempt.
        let tallied = ColumnDef::new(Alias::new("tallied")).small_integer().null().take();
        for column in [head, tallied] {
            manager.alter_table(Table::alter().table(Alias::new("messages")).add_column(column).take()).await?;
        }
        let tallies = Table::create()
            .table(Alias::new("tallies"))
            .col(column("sender").text().take())
            // Of acceptance, since 1970; 0: all of them together.
            .col(column("minute").big_integer().take())
            // 0: incoming messages.
            .col(column("status").small_integer().take())
            .col(column("count").big_integer().take())
            .primary_key(Index::create().col(Alias::new("sender")).col(Alias::new("minute")).col(Alias::new("status")))
            .take();
        manager.create_table(tallies).await?;
        for statement in UP {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in DOWN {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        manager.drop_table(Table::drop().table(Alias::new("tallies")).to_owned()).await?;
        for column in ["head", "tallied"] {
            let column = Alias::new(column);
            manager.alter_table(Table::alter().table(Alias::new("messages")).drop_column(column).take()).await?;
        }
        Ok(())
    }
}

const UP: &[&str] = &[
    "UPDATE messages SET head = lane WHERE lane IS NOT NULL AND NOT EXISTS (SELECT 1 FROM messages e \
       WHERE e.sender = messages.sender AND e.holds IS NOT NULL AND e.holds = messages.peer AND e.seq < messages.seq)",
    // Claims read this one; what waits behind another message is not in it.
    "CREATE INDEX messages_head ON messages (sender, head, seq) WHERE head IS NOT NULL",
    "DROP INDEX messages_ready",
    "CREATE INDEX messages_in_hand ON messages (claim) WHERE claim IS NOT NULL",
    "UPDATE messages SET tallied = status",
    "INSERT INTO tallies (sender, minute, status, count) \
       SELECT sender, accept_at_ms / 60000, status, COUNT(*) FROM messages GROUP BY 1, 2, 3",
    "INSERT INTO tallies (sender, minute, status, count) \
       SELECT sender, 0, status, COUNT(*) FROM messages GROUP BY sender, status",
    "INSERT INTO tallies (sender, minute, status, count) \
       SELECT sender, receive_at_ms / 60000, 0, COUNT(*) FROM incoming_messages GROUP BY 1, 2",
    // Without 0: whoever asks for what stands now must go by the sender.
    "CREATE INDEX tallies_minute ON tallies (minute) WHERE minute > 0",
    "CREATE INDEX journal_unreadable ON journal (id) WHERE unreadable > 0",
];

const DOWN: &[&str] = &[
    "DROP INDEX messages_head",
    "DROP INDEX messages_in_hand",
    "DROP INDEX journal_unreadable",
    "CREATE INDEX messages_ready ON messages (sender, lane, seq) WHERE lane IS NOT NULL",
];
