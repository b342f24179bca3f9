//! Rows of `messages`; the columns are explained in the migration.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "messages")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    pub id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub sender: String,
    #[sea_orm(column_type = "Text")]
    pub peer: String,
    #[sea_orm(column_type = "Text")]
    pub caller: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub idempotency_key: Option<String>,
    #[sea_orm(column_type = "Text")]
    pub request: String,
    #[sea_orm(column_type = "Text")]
    pub labels: String,
    pub accept_at_ms: i64,
    pub expire_at_ms: i64,
    pub status: i16,
    pub status_at_ms: i64,
    pub seen: i32,
    pub attempt: i32,
    pub attempt_start_at_ms: Option<i64>,
    pub claim: Option<i64>,
    pub lane: Option<i16>,
    pub due_at_ms: Option<i64>,
    #[sea_orm(column_type = "Text", nullable)]
    pub holds: Option<String>,
    pub retries: i32,
    #[sea_orm(column_type = "Text", nullable)]
    pub provider_message_id: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error: Option<String>,
    pub hold_reason: Option<i16>,
    #[sea_orm(column_type = "Text", nullable)]
    pub asked_sender: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub next_sender: Option<String>,
    pub passed_attempt: Option<i32>,
    pub head: Option<i16>,
    pub tallied: Option<i16>,
    pub erase_at_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
