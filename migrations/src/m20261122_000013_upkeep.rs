//! How far old things were removed, what was erased on request, and who holds a subscription.

use sea_orm_migration::prelude::*;

use crate::columns::{column, optional, table};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(upkeep()).await?;
        for (table, column) in added() {
            manager.alter_table(Table::alter().table(Alias::new(table)).add_column(column).take()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in added() {
            let column = Alias::new(column.get_column_name());
            manager.alter_table(Table::alter().table(Alias::new(table)).drop_column(column).take()).await?;
        }
        manager.drop_table(Table::drop().table(Alias::new("upkeep")).to_owned()).await
    }
}

/// One row for each kind of thing that is removed by age or size, and one that counts erasures; made on first use.
fn upkeep() -> TableCreateStatement {
    table(
        "upkeep",
        vec![
            // `events`, `messages`, `incoming`, `journal`, `media`, `parked`, `erasures`.
            column("kind").text().primary_key().take(),
            // Nothing older is there: where the next look begins.
            column("place").big_integer().take(),
            // Up to where is to be removed next, and since when readers have been told so.
            column("announced").big_integer().take(),
            column("announce_at_ms").big_integer().take(),
            // Until when one replica sees to it.
            column("hold_until_ms").big_integer().take(),
        ],
    )
}

fn added() -> Vec<(&'static str, ColumnDef)> {
    vec![
        // The key and the address of the client whose stream holds it.
        ("subscriptions", optional("holder_key").text().take()),
        ("subscriptions", optional("holder_address").text().take()),
        // Set when what a person said or was told was erased.
        ("events", optional("erase_at_ms").big_integer().take()),
        ("messages", optional("erase_at_ms").big_integer().take()),
        ("journal", optional("erase_at_ms").big_integer().take()),
    ]
}
