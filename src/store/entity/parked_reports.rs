//! Rows of `parked_reports`; the columns are explained in the migration.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "parked_reports")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    #[sea_orm(column_type = "Text")]
    pub sender: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub provider_message_id: Option<String>,
    pub message_id: Option<Uuid>,
    #[sea_orm(column_type = "Text")]
    pub report: String,
    pub receive_at_ms: i64,
    pub orphan: bool,
    pub journal_id: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
