//! Rows of `attempts`; the columns are explained in the migration.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "attempts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_seq: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    #[sea_orm(column_type = "Text")]
    pub sender: String,
    pub start_at_ms: i64,
    pub end_at_ms: i64,
    pub outcome: i16,
    #[sea_orm(column_type = "Text", nullable)]
    pub provider_message_id: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub exchange: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub next_sender: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub next_error: Option<String>,
    pub instead: Option<bool>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
