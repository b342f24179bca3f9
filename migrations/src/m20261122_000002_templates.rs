//! Copies of providers' catalogues of templates, and a key that repeats of reports about templates and senders stop at.

use sea_orm_migration::prelude::*;

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let name = |name: &'static str| ColumnDef::new(Alias::new(name)).not_null().take();
        let mut catalogues = Table::create();
        catalogues
            .table(Alias::new("catalogues"))
            .col(name("sender").text().primary_key())
            // When what the copies say was asked for; empty: no reading has succeeded yet.
            .col(ColumnDef::new(Alias::new("read_at_ms")).big_integer().null())
            // When it is to be read again. Whoever reads moves it ahead first, so that one replica does.
            .col(name("due_at_ms").big_integer())
            // Readings that failed since the last that did not.
            .col(name("failures").integer())
            // The sender's update_at_ms that the last reading was begun with.
            .col(name("read_of").big_integer())
            // Counts changes, for whoever keeps the copies in memory.
            .col(name("revision").big_integer());
        manager.create_table(catalogues).await?;
        let mut templates = Table::create();
        templates
            .table(Alias::new("templates"))
            .col(name("id").big_integer().primary_key().auto_increment())
            .col(name("sender").text())
            .col(name("template").text())
            .col(name("language_code").text())
            .col(name("template_id").text())
            .col(name("document").text());
        manager.create_table(templates).await?;
        for statement in INDEXES {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DROP INDEX events_report").await?;
        for table in ["templates", "catalogues"] {
            manager.drop_table(Table::drop().table(Alias::new(table)).to_owned()).await?;
        }
        Ok(())
    }
}

const INDEXES: &[&str] = &[
    "CREATE UNIQUE INDEX templates_key ON templates (sender, template, language_code, template_id)",
    // Reports about messages have `events_message`. What the gateway did itself has no key.
    "CREATE UNIQUE INDEX events_report ON events (report_key, sender) WHERE report_key IS NOT NULL AND message_id IS NULL",
];
