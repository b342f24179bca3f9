//! Rows of `events`; the columns are explained in the migration.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    pub id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub sender: String,
    pub message_id: Option<Uuid>,
    pub report_key: Option<i64>,
    pub occur_at_ms: Option<i64>,
    pub receive_at_ms: i64,
    pub record_at_ms: i64,
    #[sea_orm(column_type = "Text")]
    pub payload: String,
    pub erase_at_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
