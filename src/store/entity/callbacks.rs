//! Rows of `callbacks`; the columns are explained in the migration.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "callbacks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    pub id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub sender: String,
    pub message_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub url: String,
    #[sea_orm(column_type = "Text")]
    pub endpoint: String,
    #[sea_orm(column_type = "Text")]
    pub line: String,
    pub previous_status: Option<i16>,
    pub state: i16,
    pub create_at_ms: i64,
    pub due_at_ms: Option<i64>,
    pub tries: i32,
    pub attempts: i32,
    pub end_at_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
