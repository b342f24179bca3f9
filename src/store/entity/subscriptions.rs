//! Rows of `subscriptions`; the columns are explained in the migration.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "subscriptions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    #[sea_orm(column_type = "Text")]
    pub owner: String,
    #[sea_orm(primary_key, auto_increment = false)]
    #[sea_orm(column_type = "Text")]
    pub name: String,
    pub position: i64,
    pub create_at_ms: i64,
    pub ack_at_ms: Option<i64>,
    pub holder: Option<Uuid>,
    pub hold_at_ms: Option<i64>,
    pub hold_until_ms: Option<i64>,
    #[sea_orm(column_type = "Text", nullable)]
    pub holder_key: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub holder_address: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
