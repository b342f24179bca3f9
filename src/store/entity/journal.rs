//! Rows of `journal`; the columns are explained in the migration.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "journal")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    #[sea_orm(column_type = "Text")]
    pub sender: String,
    #[sea_orm(column_type = "Text")]
    pub provider: String,
    pub receive_at_ms: i64,
    pub body: Vec<u8>,
    pub pending: Option<bool>,
    pub items: i32,
    pub unreadable: i32,
    #[sea_orm(column_type = "Text", nullable)]
    pub problem: Option<String>,
    pub erase_at_ms: Option<i64>,
    #[sea_orm(column_type = "Text")]
    pub headers: String,
    pub parse_at_ms: Option<i64>,
    pub event_count: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
