//! Files that people sent: claimed under a lease like messages, fetched, ready or given up.

use sea_orm::sea_query::{Expr, Value};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::entity::media::{ActiveModel, Column, Entity, Model};
use super::{Store, StoreError, rows, set};
use crate::domain::content::IncomingMedia;
use crate::domain::media::{Fetched, MediaFile, MediaState, Trouble};
use crate::domain::{MediaId, MessageId, Millis, SenderId};

/// A file in hand, under the claim's own number: an outcome is written only under it.
#[derive(Debug, Clone)]
pub struct MediaClaim {
    /// The number.
    pub token: i64,
    /// The file; its try is counted already.
    pub file: MediaFile,
}

/// How a try at a file ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaOutcome {
    /// It is in the media store.
    Ready {
        /// Its type, as it is served.
        mime_type: String,
        /// What it is.
        fetched: Fetched,
    },
    /// It is tried again.
    Retry {
        /// Why it is not there.
        trouble: Trouble,
        /// The same for people.
        detail: String,
        /// When.
        at_ms: Millis,
    },
    /// It is given up.
    Failed {
        /// Why.
        trouble: Trouble,
        /// The same for people.
        detail: String,
    },
}

/// A file that is to be fetched: its row enters the store together with the event.
pub(super) fn new(
    id: MediaId,
    sender: &SenderId,
    message_id: MessageId,
    media: &IncomingMedia,
    now: Millis,
) -> Result<ActiveModel, StoreError> {
    Ok(ActiveModel {
        id: Set(id.0),
        sender: Set(sender.to_string()),
        message_id: Set(message_id.0),
        state: Set(MediaState::PENDING),
        source: Set(serde_json::to_string(&media.source).map_err(|e| StoreError::Fault(e.to_string()))?),
        mime_type: Set(media.mime_type.clone()),
        file_name: Set(media.file_name.clone()),
        create_at_ms: Set(now),
        due_at_ms: Set(Some(now)),
        tries: Set(0),
        ..Default::default()
    })
}

fn file(row: Model) -> Result<MediaFile, StoreError> {
    let unreadable = |what: String| StoreError::Fault(format!("file {} cannot be read: {what}", row.id));
    let state = match (row.state, row.size_bytes, row.sha256) {
        (MediaState::READY, Some(size), Some(sha256)) => MediaState::Ready(Fetched {
            size_bytes: size.unsigned_abs(),
            sha256: sha256.try_into().map_err(|_| unreadable("its digest is none".into()))?,
        }),
        (MediaState::FAILED, ..) => MediaState::Failed {
            trouble: row.trouble.as_deref().and_then(Trouble::from_word).unwrap_or(Trouble::Unreachable),
            detail: row.detail.unwrap_or_default(),
        },
        (MediaState::PENDING, ..) => {
            MediaState::Pending { next_try_at_ms: row.due_at_ms.filter(|_| row.claim.is_none()) }
        }
        (state, ..) => return Err(unreadable(format!("state {state}"))),
    };
    Ok(MediaFile {
        id: MediaId(row.id),
        sender: SenderId::trusted(row.sender),
        message_id: MessageId(row.message_id),
        source: serde_json::from_str(&row.source).map_err(|e| unreadable(e.to_string()))?,
        mime_type: row.mime_type,
        file_name: row.file_name,
        create_at_ms: row.create_at_ms,
        tries: row.tries,
        state,
    })
}

impl Store {
    /// A file; `None` when there is none of that id.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn media(&self, id: MediaId) -> Result<Option<MediaFile>, StoreError> {
        Entity::find_by_id(id.0).one(self.read()).await?.map(file).transpose()
    }

    /// Takes up to `limit` due files in hand, under a number of the caller's choice, until the lease ends. Oldest first.
    ///
    /// # Errors
    /// When the store is away. Some files may be in hand all the same, until their lease ends.
    pub async fn claim_media(
        &self,
        limit: u64,
        token: i64,
        now: Millis,
        until_ms: Millis,
    ) -> Result<Vec<MediaClaim>, StoreError> {
        let backend = self.inner.write.get_database_backend();
        let postgres = backend == DbBackend::Postgres;
        let skip_locked = if postgres { "FOR UPDATE SKIP LOCKED" } else { "" };
        let text = format!(
            "UPDATE media SET claim = $1, due_at_ms = $2, tries = tries + 1 WHERE id IN ( \
               SELECT id FROM media WHERE due_at_ms IS NOT NULL AND due_at_ms <= $3 \
               ORDER BY due_at_ms LIMIT $4 {skip_locked}) \
             RETURNING *"
        );
        let values: [Value; 4] = [token.into(), until_ms.into(), now.into(), (limit as i64).into()];
        let found = self.inner.write.query_all_raw(rows::statement(backend, &text, values)).await?;
        let mut claims = Vec::with_capacity(found.len());
        for row in found {
            match file(Model::from_query_result(&row, "")?) {
                Ok(file) => claims.push(MediaClaim { token, file }),
                Err(error) => tracing::error!(%error, "a file is left out"),
            }
        }
        Ok(claims)
    }

    /// Makes leases longer, of files by the numbers under which they were taken in hand.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn renew_media(&self, held: &[(MediaId, i64)], until_ms: Millis) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::DueAtMs, set(until_ms))
            .filter(Column::Id.is_in(held.iter().map(|(id, _)| id.0)))
            .filter(Column::Claim.is_in(held.iter().map(|(_, token)| *token)))
            .exec(&self.inner.write)
            .await?;
        Ok(())
    }

    /// Writes down how a try ended; `false` when the file is no longer in hand under this number.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn media_ended(
        &self,
        id: MediaId,
        token: i64,
        outcome: &MediaOutcome,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let nothing = || set(Option::<i64>::None);
        let columns = match outcome {
            MediaOutcome::Ready { mime_type, fetched } => vec![
                (Column::State, set(MediaState::READY)),
                (Column::DueAtMs, nothing()),
                (Column::EndAtMs, set(now)),
                (Column::MimeType, set(mime_type.as_str())),
                (Column::SizeBytes, set(i64::try_from(fetched.size_bytes).unwrap_or(i64::MAX))),
                (Column::Sha256, set(fetched.sha256.to_vec())),
            ],
            MediaOutcome::Retry { trouble, detail, at_ms } => {
                vec![
                    (Column::DueAtMs, set(*at_ms)),
                    (Column::Trouble, set(trouble.as_str())),
                    (Column::Detail, text(detail)),
                ]
            }
            MediaOutcome::Failed { trouble, detail } => vec![
                (Column::State, set(MediaState::FAILED)),
                (Column::DueAtMs, nothing()),
                (Column::EndAtMs, set(now)),
                (Column::Trouble, set(trouble.as_str())),
                (Column::Detail, text(detail)),
            ],
        };
        let update = Entity::update_many().col_expr(Column::Claim, nothing());
        let update = columns.into_iter().fold(update, |update, (column, value)| update.col_expr(column, value));
        let ended = update.filter(Column::Id.eq(id.0)).filter(Column::Claim.eq(token)).exec(&self.inner.write).await?;
        Ok(ended.rows_affected == 1)
    }

    /// Gives files back that were taken in hand and not tried to the end: they are due at once.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn release_media(&self, held: &[(MediaId, i64)], now: Millis) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::DueAtMs, set(now))
            .col_expr(Column::Claim, set(Option::<i64>::None))
            .filter(Column::Id.is_in(held.iter().map(|(id, _)| id.0)))
            .filter(Column::Claim.is_in(held.iter().map(|(_, token)| *token)))
            .exec(&self.inner.write)
            .await?;
        Ok(())
    }

    /// Up to `limit` of the oldest files, but for those that are still to be fetched, and when their events were.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn oldest_media(&self, limit: u64) -> Result<Vec<(MediaId, Millis, u64)>, StoreError> {
        let rows = Entity::find()
            .filter(Column::State.ne(MediaState::PENDING))
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(self.read())
            .await?;
        let size = |row: &Model| row.size_bytes.unwrap_or_default().unsigned_abs();
        Ok(rows.into_iter().map(|row| (MediaId(row.id), row.create_at_ms, size(&row))).collect())
    }

    /// Bytes of all files that are in the media store.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn media_bytes(&self) -> Result<u64, StoreError> {
        let text = "SELECT CAST(COALESCE(SUM(size_bytes), 0) AS bigint) AS n FROM media";
        let row = self.read().query_one_raw(rows::statement(self.read().get_database_backend(), text, [])).await?;
        let bytes: i64 = row.map(|row| row.try_get("", "n")).transpose()?.unwrap_or_default();
        Ok(bytes.unsigned_abs())
    }

    /// Notes that files are there no longer, before they are removed from the media store: whoever asks for one hears that
    /// it is gone. Nobody fetches them any more.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn give_up_media(&self, ids: &[MediaId], trouble: Trouble, now: Millis) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::State, set(MediaState::FAILED))
            .col_expr(Column::DueAtMs, set(Option::<i64>::None))
            .col_expr(Column::Claim, set(Option::<i64>::None))
            .col_expr(Column::EndAtMs, set(now))
            .col_expr(Column::Trouble, set(trouble.as_str()))
            .col_expr(Column::Detail, set(trouble.as_str()))
            .filter(Column::Id.is_in(ids.iter().map(|id| id.0)))
            .exec(&self.inner.write)
            .await?;
        Ok(())
    }

    /// Forgets files that are in the media store no longer; tells how many.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn forget_media(&self, ids: &[MediaId]) -> Result<u64, StoreError> {
        let deleted = Entity::delete_many().filter(Column::Id.is_in(ids.iter().map(|id| id.0)));
        Ok(deleted.exec(&self.inner.write).await?.rows_affected)
    }

    /// Ends every lease at once: for a process that has the database alone, all of them are its dead predecessor's.
    pub(super) async fn end_media_leases(&self, now: Millis) -> Result<(), StoreError> {
        Entity::update_many()
            .col_expr(Column::DueAtMs, set(now))
            .col_expr(Column::Claim, set(Option::<i64>::None))
            .filter(Column::DueAtMs.is_not_null())
            .filter(Column::Claim.is_not_null())
            .exec(&self.inner.write)
            .await?;
        Ok(())
    }
}

/// PostgreSQL holds no NUL.
fn text(words: &str) -> Expr {
    set(words.replace('\0', " "))
}
