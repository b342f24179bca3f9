//! People who do not want to be written to, and what providers said about people and will say again for a while.

use sea_orm_migration::prelude::*;

use crate::columns::{column, optional};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let key = |last| Index::create().col(Alias::new("sender")).col(Alias::new("peer")).col(Alias::new(last)).take();
        let opt_outs = Table::create()
            .table(Alias::new("opt_outs"))
            .col(column("sender").text().take())
            // A number in its one form, or a user id.
            .col(column("peer").text().take())
            .col(column("category").small_integer().take())
            // When the person last said so: what is older does not end it.
            .col(column("last_at_ms").big_integer().take())
            .col(column("document").text().take())
            .primary_key(&mut key("category"))
            .take();
        manager.create_table(opt_outs).await?;
        let failures = Table::create()
            .table(Alias::new("known_failures"))
            .col(column("sender").text().take())
            .col(column("peer").text().take())
            .col(column("reason").integer().take())
            .col(column("expire_at_ms").big_integer().take())
            .col(column("document").text().take())
            .primary_key(&mut key("reason"))
            .take();
        manager.create_table(failures).await?;
        let index = "CREATE INDEX known_failures_expire ON known_failures (expire_at_ms)";
        manager.get_connection().execute_unprepared(index).await?;
        let words = optional("opt_out_words").text().take();
        manager.alter_table(Table::alter().table(Alias::new("senders")).add_column(words).take()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let words = Alias::new("opt_out_words");
        manager.alter_table(Table::alter().table(Alias::new("senders")).drop_column(words).take()).await?;
        for table in ["known_failures", "opt_outs"] {
            manager.drop_table(Table::drop().table(Alias::new(table)).to_owned()).await?;
        }
        Ok(())
    }
}
