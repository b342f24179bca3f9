//! The 24-hour windows of conversations, and messages that are held until something happens.

use sea_orm_migration::prelude::*;

use crate::columns::{column, optional};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let windows = Table::create()
            .table(Alias::new("windows"))
            .col(column("sender").text().take())
            // A number in its one form, or a user id.
            .col(column("peer").text().take())
            // When the person's last message reached us.
            .col(optional("heard_at_ms").big_integer().take())
            // When the window that it opened closes.
            .col(optional("expire_at_ms").big_integer().take())
            // The provider said that it is closed, about a hand-over that began then.
            .col(optional("refused_at_ms").big_integer().take())
            // Of a user id: the number that was last seen with it.
            .col(optional("number").text().take())
            .primary_key(Index::create().col(Alias::new("sender")).col(Alias::new("peer")))
            .take();
        manager.create_table(windows).await?;
        // Set while a message waits for something else than its time.
        let hold = optional("hold_reason").small_integer().take();
        manager.alter_table(Table::alter().table(Alias::new("messages")).add_column(hold).take()).await?;
        // Set when a template went in the place of what was asked for.
        let instead = optional("instead").boolean().take();
        manager.alter_table(Table::alter().table(Alias::new("attempts")).add_column(instead).take()).await?;
        let index = "CREATE INDEX messages_held ON messages (peer, sender, seq) WHERE hold_reason IS NOT NULL";
        manager.get_connection().execute_unprepared(index).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DROP INDEX messages_held").await?;
        let instead = Alias::new("instead");
        manager.alter_table(Table::alter().table(Alias::new("attempts")).drop_column(instead).take()).await?;
        let hold = Alias::new("hold_reason");
        manager.alter_table(Table::alter().table(Alias::new("messages")).drop_column(hold).take()).await?;
        manager.drop_table(Table::drop().table(Alias::new("windows")).to_owned()).await
    }
}
