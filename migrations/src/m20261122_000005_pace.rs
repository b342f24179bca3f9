//! How fast senders send: shared by all replicas.

use sea_orm_migration::prelude::*;

use crate::columns::column;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let paces = Table::create()
            .table(Alias::new("paces"))
            .col(column("sender").text().primary_key().take())
            // The next free slot, in microseconds.
            .col(column("slot_at_us").big_integer().take())
            .col(column("hold_until_ms").big_integer().take())
            .col(column("factor").double().take())
            .col(column("factor_at_ms").big_integer().take())
            .take();
        manager.create_table(paces).await?;
        // Only those who were written to a short while ago; the others are as good as not there.
        let contacts = Table::create()
            .table(Alias::new("contact_paces"))
            .col(column("sender").text().take())
            .col(column("peer").text().take())
            // When the person's allowance is whole again.
            .col(column("whole_at_ms").big_integer().take())
            // The person gets nothing before.
            .col(column("hold_until_ms").big_integer().take())
            .primary_key(Index::create().col(Alias::new("sender")).col(Alias::new("peer")))
            .take();
        manager.create_table(contacts).await?;
        let index = "CREATE INDEX contact_paces_whole ON contact_paces (whole_at_ms)";
        manager.get_connection().execute_unprepared(index).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["paces", "contact_paces"] {
            manager.drop_table(Table::drop().table(Alias::new(table)).to_owned()).await?;
        }
        Ok(())
    }
}
