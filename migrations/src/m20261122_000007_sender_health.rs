//! Whether senders can send, as all replicas found.

use sea_orm_migration::prelude::*;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let health = Table::create()
            .table(Alias::new("sender_health"))
            .col(ColumnDef::new(Alias::new("sender")).text().not_null().primary_key())
            .col(ColumnDef::new(Alias::new("health")).small_integer().not_null())
            .col(ColumnDef::new(Alias::new("change_at_ms")).big_integer().not_null())
            .take();
        manager.create_table(health).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("sender_health")).to_owned()).await
    }
}
