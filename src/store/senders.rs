//! Senders. Each change and its event are one transaction.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect as _,
};

use super::changes::Changes;
use super::entity::{messages, senders};
use super::log::{self, Appended, NewEvent};
use super::{Store, StoreError, heads, health, templates};
use crate::domain::event::{SenderChange, SenderChanged};
use crate::domain::message::{DeliveryError, ErrorReason};
use crate::domain::opt_out::OptOutWords;
use crate::domain::sender::{Limits, SenderState};
use crate::domain::{MessageStatus, Millis, Payload, Sender, SenderId, now_ms};
use crate::provider::NAMES;

/// Waiting messages that are given up in one transaction when their sender is deleted.
const GIVE_UP: u64 = 500;

/// A sender with its provider's settings, sealed.
#[derive(Debug, Clone)]
pub struct StoredSender {
    /// The sender.
    pub sender: Sender,
    /// Its provider's settings: only the holder of the master key reads them.
    pub sealed_settings: Vec<u8>,
    /// What its callbacks are signed with, sealed likewise; nothing when there is none.
    pub sealed_callback_secrets: Option<Vec<u8>>,
}

fn row(stored: &StoredSender) -> Result<senders::ActiveModel, StoreError> {
    let sender = &stored.sender;
    let words = Some(&sender.opt_out_words).filter(|words| !words.is_empty());
    let words = words.map(serde_json::to_string).transpose().map_err(|e| StoreError::Fault(e.to_string()))?;
    Ok(senders::ActiveModel {
        id: Set(sender.id.to_string()),
        provider: Set(sender.provider.to_owned()),
        display_name: Set(sender.display_name.clone()),
        phone_number: Set(sender.phone_number.clone()),
        paused: Set(sender.state == SenderState::Paused),
        limits: Set(serde_json::to_string(&sender.limits).map_err(|e| StoreError::Fault(e.to_string()))?),
        default_language_code: Set(sender.default_language_code.clone()),
        settings: Set(stored.sealed_settings.clone()),
        incoming_callback_url: Set(Some(sender.incoming_callback_url.clone()).filter(|url| !url.is_empty())),
        callback_secrets: Set(stored.sealed_callback_secrets.clone()),
        create_at_ms: Set(sender.create_at_ms),
        update_at_ms: Set(sender.update_at_ms),
        opt_out_words: Set(words),
    })
}

fn stored(row: senders::Model) -> Result<StoredSender, StoreError> {
    let unreadable = |what: String| StoreError::Fault(format!("sender {} cannot be read: {what}", row.id));
    let limits: Limits = serde_json::from_str(&row.limits).map_err(|e| unreadable(e.to_string()))?;
    let words = row.opt_out_words.as_deref().map(serde_json::from_str).transpose();
    let words: Option<OptOutWords> = words.map_err(|e| unreadable(e.to_string()))?;
    let provider = NAMES.iter().find(|name| **name == row.provider);
    let provider = provider.ok_or_else(|| unreadable(format!("this version has no provider {}", row.provider)))?;
    Ok(StoredSender {
        sender: Sender {
            id: SenderId::trusted(row.id),
            provider,
            display_name: row.display_name,
            phone_number: row.phone_number,
            state: if row.paused { SenderState::Paused } else { SenderState::Active },
            limits,
            default_language_code: row.default_language_code,
            opt_out_words: words.unwrap_or_default(),
            incoming_callback_url: row.incoming_callback_url.unwrap_or_default(),
            create_at_ms: row.create_at_ms,
            update_at_ms: row.update_at_ms,
        },
        sealed_settings: row.settings,
        sealed_callback_secrets: row.callback_secrets,
    })
}

async fn append_change(
    transaction: &DatabaseTransaction,
    sender: &SenderId,
    change: SenderChange,
    detail: &str,
    now: Millis,
) -> Result<Appended, StoreError> {
    let event = NewEvent {
        sender: sender.clone(),
        payload: Payload::SenderChanged(SenderChanged::ours(change, detail)),
        json: None,
        occur_at_ms: None,
        receive_at_ms: now,
        report_key: None,
        callback: None,
    };
    let places = log::take_places(transaction, 1, now).await?;
    log::append(transaction, places, vec![event]).await
}

impl Store {
    /// All senders, by id. One that this version cannot read is left out, and logged: it costs no neighbour.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn senders(&self) -> Result<Vec<StoredSender>, StoreError> {
        let rows = senders::Entity::find().order_by_asc(senders::Column::Id).all(self.read()).await?;
        let readable = |row: senders::Model| match stored(row) {
            Ok(stored) => Some(stored),
            Err(error) => {
                tracing::error!(%error, "a sender is left out");
                None
            }
        };
        Ok(rows.into_iter().filter_map(readable).collect())
    }

    /// Whether there is such a sender.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn has_sender(&self, id: &SenderId) -> Result<bool, StoreError> {
        Ok(senders::Entity::find_by_id(id.as_str()).count(self.read()).await? > 0)
    }

    /// Whether there is any sender, also one that this version cannot read.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn has_senders(&self) -> Result<bool, StoreError> {
        let first = senders::Entity::find().select_only().column(senders::Column::Id).limit(1);
        Ok(first.into_tuple::<String>().one(self.read()).await?.is_some())
    }

    /// Makes a sender; `false` when its id is taken. A paused one accepts and does not hand over.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn create_sender(&self, new: &StoredSender) -> Result<Option<Appended>, StoreError> {
        let transaction = self.begin().await?;
        match row(new)?.insert(&transaction).await.map_err(StoreError::from) {
            Ok(_) => {}
            Err(StoreError::Conflict(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
        let now = now_ms();
        let appended = append_change(&transaction, &new.sender.id, SenderChange::Created, "", now).await?;
        transaction.commit().await?;
        Ok(Some(appended))
    }

    /// Changes a sender, unless it was changed since it was read (`expect_update_at_ms`): then `None`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn update_sender(
        &self,
        changed: &StoredSender,
        expect_update_at_ms: Millis,
        change: SenderChange,
        detail: &str,
    ) -> Result<Option<Appended>, StoreError> {
        let transaction = self.begin().await?;
        let updated = senders::Entity::update_many()
            .set(row(changed)?)
            .filter(senders::Column::Id.eq(changed.sender.id.as_str()))
            .filter(senders::Column::UpdateAtMs.eq(expect_update_at_ms))
            .exec(&transaction)
            .await?;
        if updated.rows_affected == 0 {
            transaction.rollback().await?;
            return Ok(None);
        }
        let appended = append_change(&transaction, &changed.sender.id, change, detail, now_ms()).await?;
        transaction.commit().await?;
        Ok(Some(appended))
    }

    /// Deletes a sender; `None` when there is none. Its messages and events stay, the copies of its templates do not.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn delete_sender(&self, id: &SenderId) -> Result<Option<Appended>, StoreError> {
        let transaction = self.begin().await?;
        let deleted = senders::Entity::delete_by_id(id.as_str()).exec(&transaction).await?;
        if deleted.rows_affected == 0 {
            transaction.rollback().await?;
            return Ok(None);
        }
        templates::forget(&transaction, id).await?;
        health::forget(&transaction, id).await?;
        let appended = append_change(&transaction, id, SenderChange::Deleted, "", now_ms()).await?;
        transaction.commit().await?;
        Ok(Some(appended))
    }

    /// Gives up some messages that wait for a sender which is gone; `None` when none is left. Those in hand end by
    /// themselves first.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn give_up_messages_of(&self, id: &SenderId) -> Result<Option<Appended>, StoreError> {
        use sea_orm::{ConnectionTrait, QuerySelect};
        let now = now_ms();
        let transaction = self.begin().await?;
        let mut query = messages::Entity::find()
            .select_only()
            .column(messages::Column::Seq)
            .filter(messages::Column::Sender.eq(id.as_str()))
            .filter(messages::Column::DueAtMs.is_not_null())
            .filter(messages::Column::Claim.is_null())
            .filter(
                sea_orm::Condition::any().add(messages::Column::Lane.is_not_null()).add(
                    messages::Column::Status
                        .is_in(MessageStatus::ALL.into_iter().filter(|s| s.is_waiting()).map(|s| s as i16)),
                ),
            )
            .order_by_asc(messages::Column::Seq)
            .limit(GIVE_UP);
        if transaction.get_database_backend() == sea_orm::DbBackend::Postgres {
            query = query.lock(sea_orm::sea_query::LockType::Update);
        }
        let seqs: Vec<i64> = query.into_tuple().all(&transaction).await?;
        if seqs.is_empty() {
            transaction.rollback().await?;
            return Ok(None);
        }
        let mut changes = Changes::default();
        changes.load(&transaction, seqs.iter().copied().collect(), Default::default()).await?;
        let error = DeliveryError::ours(ErrorReason::SenderDeleted, "the sender was deleted", false);
        let step = |seq: i64| {
            changes
                .step(seq, now, None, |progress, terms| progress.give_up(error.clone(), terms, now).unwrap_or_default())
        };
        let events: Vec<NewEvent> = seqs.into_iter().filter_map(step).collect();
        let touched = changes.touched();
        let tallies = changes.write(&transaction).await?;
        let places = log::take_places_and_count(&transaction, events.len(), now, tallies).await?;
        heads::settle(&transaction, touched, std::iter::empty()).await?;
        let appended = log::append(&transaction, places, events).await?;
        transaction.commit().await?;
        Ok(Some(appended))
    }
}
