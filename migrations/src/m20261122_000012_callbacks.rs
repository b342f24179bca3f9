//! Callbacks: one row for each event that is POSTed, its attempts, and the endpoints that have work or stand badly.

use sea_orm_migration::prelude::*;

use crate::columns::{column, optional, table};

/// The migration.
#[derive(Debug, DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in tables() {
            manager.create_table(statement).await?;
        }
        for column in sender_columns() {
            manager.alter_table(Table::alter().table(Alias::new("senders")).add_column(column).take()).await?;
        }
        for index in INDEXES {
            manager.get_connection().execute_unprepared(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["callback_endpoints", "callback_attempts", "callbacks"] {
            manager.drop_table(Table::drop().table(Alias::new(name)).to_owned()).await?;
        }
        for name in ["incoming_callback_url", "callback_secrets"] {
            let drop = Table::alter().table(Alias::new("senders")).drop_column(Alias::new(name)).take();
            manager.alter_table(drop).await?;
        }
        Ok(())
    }
}

fn sender_columns() -> Vec<ColumnDef> {
    // The secrets are sealed.
    vec![optional("incoming_callback_url").text().take(), optional("callback_secrets").binary().take()]
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        table(
            "callbacks",
            vec![
                // The event's place in the log: what orders callbacks.
                column("position").big_integer().primary_key().take(),
                // The event's id.
                column("id").uuid().take(),
                column("sender").text().take(),
                column("message_id").uuid().take(),
                column("url").text().take(),
                // The endpoint that the address belongs to, and the message or conversation whose order is kept there.
                column("endpoint").text().take(),
                column("line").text().take(),
                // Where the message stood before the event.
                optional("previous_status").small_integer().take(),
                // The contract's number: 1 pending, 2 delivered, 3 dead.
                column("state").small_integer().take(),
                column("create_at_ms").big_integer().take(),
                // Set while it is pending: not before.
                optional("due_at_ms").big_integer().take(),
                // Attempts since it was made, or since an operator had it tried again.
                column("tries").integer().take(),
                // All attempts.
                column("attempts").integer().take(),
                // When it was delivered or given up.
                optional("end_at_ms").big_integer().take(),
            ],
        ),
        table(
            "callback_attempts",
            vec![
                column("position").big_integer().take(),
                column("number").integer().take(),
                column("start_at_ms").big_integer().take(),
                column("elapsed_ms").big_integer().take(),
                optional("http_status").integer().take(),
                column("answer").text().take(),
            ],
        )
        .primary_key(Index::create().col(Alias::new("position")).col(Alias::new("number")))
        .take(),
        // Whoever has an endpoint in hand posts its callbacks. One that has no work and stands well has no row.
        table(
            "callback_endpoints",
            vec![
                column("id").text().primary_key().take(),
                column("sender").text().take(),
                // Scheme, host and port.
                column("host").text().take(),
                // 1 in use, 2 disabled after failures, 3 gone (HTTP 410).
                column("state").small_integer().take(),
                // Failures in a row, and since when there was no success.
                column("failures").integer().take(),
                optional("failing_since_ms").big_integer().take(),
                // Nothing is posted before.
                column("hold_until_ms").big_integer().take(),
                column("change_at_ms").big_integer().take(),
                // When there is work, or the end of the lease of whoever has it in hand.
                optional("due_at_ms").big_integer().take(),
                // Set while somebody has it in hand.
                optional("claim").big_integer().take(),
            ],
        ),
    ]
}

const INDEXES: &[&str] = &[
    "CREATE UNIQUE INDEX callbacks_id ON callbacks (id)",
    "CREATE INDEX callbacks_message ON callbacks (message_id)",
    "CREATE INDEX callbacks_state ON callbacks (state, position)",
    "CREATE INDEX callbacks_due ON callbacks (endpoint, due_at_ms) WHERE due_at_ms IS NOT NULL",
    "CREATE INDEX callbacks_line ON callbacks (endpoint, line, position) WHERE due_at_ms IS NOT NULL",
    "CREATE INDEX callbacks_end ON callbacks (end_at_ms) WHERE end_at_ms IS NOT NULL",
    "CREATE INDEX callback_endpoints_due ON callback_endpoints (due_at_ms) WHERE due_at_ms IS NOT NULL",
];
