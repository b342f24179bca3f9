//! Rows of `senders`; the columns are explained in the migration.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "senders")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    #[sea_orm(column_type = "Text")]
    pub id: String,
    #[sea_orm(column_type = "Text")]
    pub provider: String,
    #[sea_orm(column_type = "Text")]
    pub display_name: String,
    #[sea_orm(column_type = "Text")]
    pub phone_number: String,
    pub paused: bool,
    #[sea_orm(column_type = "Text")]
    pub limits: String,
    #[sea_orm(column_type = "Text")]
    pub default_language_code: String,
    pub settings: Vec<u8>,
    #[sea_orm(column_type = "Text", nullable)]
    pub incoming_callback_url: Option<String>,
    pub callback_secrets: Option<Vec<u8>>,
    pub create_at_ms: i64,
    pub update_at_ms: i64,
    #[sea_orm(column_type = "Text", nullable)]
    pub opt_out_words: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
