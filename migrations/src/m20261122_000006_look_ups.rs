//! When to ask a provider next what became of a message, where its webhooks do not tell all.

use sea_orm_migration::prelude::*;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Set from the hand-over until there is nothing more to ask; empty for all providers that tell by themselves.
        let column = ColumnDef::new(Alias::new("look_up_at_ms")).big_integer().null().take();
        manager.alter_table(Table::alter().table(Alias::new("messages")).add_column(column).take()).await?;
        let index = "CREATE INDEX messages_look_up ON messages (look_up_at_ms) WHERE look_up_at_ms IS NOT NULL";
        manager.get_connection().execute_unprepared(index).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DROP INDEX messages_look_up").await?;
        let column = Alias::new("look_up_at_ms");
        manager.alter_table(Table::alter().table(Alias::new("messages")).drop_column(column).take()).await
    }
}
