//! The first tables: senders, messages, attempts, events, the webhook journal, parked reports, subscriptions, keys.

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
        for statement in INDEXES {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in tables() {
            if let Some(table) = statement.get_table_name() {
                manager.drop_table(Table::drop().table(table.clone()).to_owned()).await?;
            }
        }
        Ok(())
    }
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        // One row: the head of the event log. Its row lock is what gives positions in the order of commits, without gaps:
        // whoever appends holds it until the commit.
        table(
            "log",
            vec![
                column("id").integer().primary_key().take(),
                column("epoch").big_integer().take(),
                column("head").big_integer().take(),
                column("record_at_ms").big_integer().take(),
            ],
        ),
        table(
            "senders",
            vec![
                column("id").text().primary_key().take(),
                column("provider").text().take(),
                column("display_name").text().take(),
                column("phone_number").text().take(),
                column("paused").boolean().take(),
                column("limits").text().take(),
                column("default_language_code").text().take(),
                column("settings").binary().take(), // sealed
                column("create_at_ms").big_integer().take(),
                column("update_at_ms").big_integer().take(),
            ],
        ),
        table(
            "messages",
            vec![
                // Position of the ACCEPTED event: the order of acceptance.
                column("seq").big_integer().primary_key().take(),
                column("id").uuid().take(),
                column("sender").text().take(),
                column("peer").text().take(),
                column("caller").text().take(),
                optional("idempotency_key").text().take(),
                column("request").text().take(),
                column("labels").text().take(),
                column("accept_at_ms").big_integer().take(),
                column("expire_at_ms").big_integer().take(),
                column("status").small_integer().take(),
                column("status_at_ms").big_integer().take(),
                column("seen").integer().take(),
                column("attempt").integer().take(),
                optional("attempt_start_at_ms").big_integer().take(),
                optional("claim").big_integer().take(),
                // Set while the message may be claimed: its priority.
                optional("lane").small_integer().take(),
                // Set while a timer runs.
                optional("due_at_ms").big_integer().take(),
                // Set while later messages of the conversation must wait: the peer.
                optional("holds").text().take(),
                column("retries").integer().take(),
                optional("provider_message_id").text().take(),
                optional("error").text().take(),
            ],
        ),
        table(
            "attempts",
            vec![
                column("message_seq").big_integer().take(),
                column("number").integer().take(),
                column("sender").text().take(),
                column("start_at_ms").big_integer().take(),
                column("end_at_ms").big_integer().take(),
                column("outcome").small_integer().take(),
                optional("provider_message_id").text().take(),
                optional("error").text().take(),
                optional("exchange").text().take(),
            ],
        )
        .primary_key(Index::create().col(Alias::new("message_seq")).col(Alias::new("number")))
        .take(),
        table(
            "incoming_messages",
            vec![
                column("id").uuid().primary_key().take(),
                column("sender").text().take(),
                // `id:` and the provider's id, or `journal:` and the place in the journal where the provider gives none.
                column("dedupe_key").text().take(),
                column("peer").text().take(),
                column("receive_at_ms").big_integer().take(),
            ],
        ),
        table(
            "events",
            vec![
                column("position").big_integer().primary_key().take(),
                column("id").uuid().take(),
                column("sender").text().take(),
                optional("message_id").uuid().take(),
                // What exact repeats of a provider's report are known by.
                optional("report_key").big_integer().take(),
                optional("occur_at_ms").big_integer().take(),
                column("receive_at_ms").big_integer().take(),
                column("record_at_ms").big_integer().take(),
                column("payload").text().take(),
            ],
        ),
        table(
            "journal",
            vec![
                column("id").big_integer().primary_key().auto_increment().take(),
                column("sender").text().take(),
                column("provider").text().take(),
                column("receive_at_ms").big_integer().take(),
                column("body").binary().take(),
                // Set until it is parsed.
                optional("pending").boolean().take(),
                column("items").integer().take(),
                column("unreadable").integer().take(),
                optional("problem").text().take(),
            ],
        ),
        table(
            "parked_reports",
            vec![
                column("id").big_integer().primary_key().auto_increment().take(),
                column("sender").text().take(),
                optional("provider_message_id").text().take(),
                optional("message_id").uuid().take(),
                column("report").text().take(),
                column("receive_at_ms").big_integer().take(),
                // Set when nothing matched for 30 days.
                column("orphan").boolean().take(),
            ],
        ),
        table(
            "subscriptions",
            vec![
                column("owner").text().take(),
                column("name").text().take(),
                column("position").big_integer().take(),
                column("create_at_ms").big_integer().take(),
                optional("ack_at_ms").big_integer().take(),
                optional("holder").uuid().take(),
                optional("hold_at_ms").big_integer().take(),
                optional("hold_until_ms").big_integer().take(),
            ],
        )
        .primary_key(Index::create().col(Alias::new("owner")).col(Alias::new("name")))
        .take(),
        table(
            "api_keys",
            vec![
                column("id").text().primary_key().take(),
                column("display_name").text().take(),
                column("hash").binary().take(),
                column("scopes").text().take(),
                column("senders").text().take(),
                column("create_at_ms").big_integer().take(),
                optional("expire_at_ms").big_integer().take(),
                optional("revoke_at_ms").big_integer().take(),
            ],
        ),
    ]
}

/// Partial indexes hold only the rows that wait for something, so what is done costs nothing. `IS NOT NULL` is the one
/// condition that both planners prove from a query with bound values.
const INDEXES: &[&str] = &[
    "CREATE UNIQUE INDEX messages_id ON messages (id)",
    "CREATE UNIQUE INDEX messages_key ON messages (idempotency_key, caller) WHERE idempotency_key IS NOT NULL",
    "CREATE INDEX messages_ready ON messages (sender, lane, seq) WHERE lane IS NOT NULL",
    "CREATE INDEX messages_due ON messages (due_at_ms) WHERE due_at_ms IS NOT NULL",
    "CREATE INDEX messages_holds ON messages (sender, holds, seq) WHERE holds IS NOT NULL",
    "CREATE INDEX messages_peer ON messages (peer, seq)",
    "CREATE INDEX attempts_provider_id ON attempts (provider_message_id, sender) WHERE provider_message_id IS NOT NULL",
    "CREATE UNIQUE INDEX incoming_dedupe ON incoming_messages (dedupe_key, sender)",
    "CREATE UNIQUE INDEX events_message ON events (message_id, report_key) WHERE message_id IS NOT NULL",
    "CREATE INDEX journal_pending ON journal (id) WHERE pending IS NOT NULL",
    "CREATE INDEX parked_provider_id ON parked_reports (provider_message_id, sender) WHERE provider_message_id IS NOT NULL",
    "CREATE INDEX parked_message_id ON parked_reports (message_id) WHERE message_id IS NOT NULL",
    "CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash)",
];
