//! Copies of templates. A reading and the events that it causes are one transaction.

use std::collections::HashMap;

use sea_orm::sea_query::{Expr, ExprTrait as _, LockType, OnConflict, Value};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect,
};

use super::entity::{catalogues, senders, templates};
use super::log::{self, Appended, NewEvent};
use super::{Store, StoreError, rows, set};
use crate::domain::catalogue::{self, Difference, Key, TemplateCopy};
use crate::domain::template::CatalogueTemplate;
use crate::domain::{Millis, Payload, SenderId, now_ms};

/// How far the copies of one sender's templates have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueState {
    /// Whose.
    pub sender: SenderId,
    /// When what the copies say was asked for; nothing before the first reading.
    pub read_at_ms: Option<Millis>,
    /// When it is to be read again.
    pub due_at_ms: Millis,
    /// Readings that failed since the last that did not.
    pub failures: u32,
    /// The sender's `update_at_ms` that the last reading was begun with.
    pub read_of: Millis,
    /// Grows with every change.
    pub revision: i64,
}

/// What came of a reading.
#[derive(Debug, Clone)]
pub enum Saved {
    /// It is written.
    Written {
        /// How many templates there are.
        count: usize,
        /// How many are new, changed or gone.
        changed: usize,
        /// The events; none after the first reading, which changes nothing.
        appended: Appended,
    },
    /// The sender was changed or deleted meanwhile: the reading may be of another account, and nothing was written.
    SenderChanged,
}

impl From<catalogues::Model> for CatalogueState {
    fn from(row: catalogues::Model) -> Self {
        let catalogues::Model { sender, read_at_ms, due_at_ms, failures, read_of, revision } = row;
        let sender = SenderId::trusted(sender);
        Self { sender, read_at_ms, due_at_ms, failures: failures.try_into().unwrap_or_default(), read_of, revision }
    }
}

/// Locks the catalogues of some senders until the commit, always in the same order; gives those that are there.
pub(super) async fn lock(
    transaction: &DatabaseTransaction,
    senders: Vec<String>,
) -> Result<HashMap<SenderId, CatalogueState>, StoreError> {
    let mut query = catalogues::Entity::find()
        .filter(catalogues::Column::Sender.is_in(senders))
        .order_by_asc(catalogues::Column::Sender);
    if transaction.get_database_backend() == DbBackend::Postgres {
        query = query.lock(LockType::Update);
    }
    let rows = query.all(transaction).await?;
    Ok(rows.into_iter().map(CatalogueState::from).map(|state| (state.sender.clone(), state)).collect())
}

/// The copies of some senders' templates, each with the number of its row.
pub(super) async fn copies(
    database: &impl ConnectionTrait,
    senders: Vec<String>,
) -> Result<HashMap<SenderId, Vec<(i64, TemplateCopy)>>, StoreError> {
    let rows = templates::Entity::find().filter(templates::Column::Sender.is_in(senders)).all(database).await?;
    let mut copies: HashMap<SenderId, Vec<(i64, TemplateCopy)>> = HashMap::new();
    for row in rows {
        let copy = serde_json::from_str(&row.document)
            .map_err(|e| StoreError::Fault(format!("template {} cannot be read: {e}", row.id)))?;
        copies.entry(SenderId::trusted(row.sender)).or_default().push((row.id, copy));
    }
    Ok(copies)
}

/// Writes copies back.
pub(super) async fn write(
    transaction: &DatabaseTransaction,
    changed: Vec<(i64, TemplateCopy)>,
) -> Result<(), StoreError> {
    let row = |(id, copy): (i64, TemplateCopy)| Ok(vec![Value::from(id), document(&copy)?.into()]);
    let rows: Vec<Vec<Value>> = changed.into_iter().map(row).collect::<Result<_, StoreError>>()?;
    rows::update(transaction, "templates", ("id", "bigint"), &[("document", "text")], rows).await?;
    Ok(())
}

fn document(copy: &TemplateCopy) -> Result<String, StoreError> {
    serde_json::to_string(copy).map_err(|e| StoreError::Fault(e.to_string()))
}

/// Notes that the copies of a sender are others now and, with `due_at_ms`, when to read them again.
pub(super) async fn touch(
    transaction: &DatabaseTransaction,
    sender: &SenderId,
    due_at_ms: Option<Millis>,
) -> Result<(), StoreError> {
    use catalogues::Column;
    let mut update = catalogues::Entity::update_many()
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Sender.eq(sender.as_str()));
    if let Some(due_at_ms) = due_at_ms {
        update = update.col_expr(Column::DueAtMs, set(due_at_ms));
    }
    update.exec(transaction).await?;
    Ok(())
}

/// Forgets all of a sender's templates.
pub(super) async fn forget(transaction: &DatabaseTransaction, sender: &SenderId) -> Result<(), StoreError> {
    catalogues::Entity::delete_by_id(sender.as_str()).exec(transaction).await?;
    templates::Entity::delete_many().filter(templates::Column::Sender.eq(sender.as_str())).exec(transaction).await?;
    Ok(())
}

/// Makes a sender's row, if there is none.
async fn ensure(database: &impl ConnectionTrait, sender: &SenderId) -> Result<(), StoreError> {
    let row = catalogues::ActiveModel {
        sender: Set(sender.to_string()),
        read_at_ms: Set(None),
        due_at_ms: Set(0),
        failures: Set(0),
        read_of: Set(0),
        revision: Set(0),
    };
    catalogues::Entity::insert(row)
        .on_conflict(OnConflict::column(catalogues::Column::Sender).do_nothing().to_owned())
        .exec_without_returning(database)
        .await?;
    Ok(())
}

impl Store {
    /// How far the copies of all senders have come.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn catalogues(&self) -> Result<Vec<CatalogueState>, StoreError> {
        let rows = catalogues::Entity::find().all(self.read()).await?;
        Ok(rows.into_iter().map(CatalogueState::from).collect())
    }

    /// What is known of a sender's templates, in no order; `None` while nobody has asked the provider.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn catalogue(
        &self,
        sender: &SenderId,
    ) -> Result<Option<(CatalogueState, Vec<CatalogueTemplate>)>, StoreError> {
        // The state first: copies that are newer than it only look older than they are.
        let row = catalogues::Entity::find_by_id(sender.as_str()).one(self.read()).await?;
        let Some(state) = row.map(CatalogueState::from) else { return Ok(None) };
        let refresh_at_ms = state.read_at_ms.unwrap_or_default();
        let copies = copies(self.read(), vec![sender.to_string()]).await?.remove(sender).unwrap_or_default();
        let entry = |(_, copy): (i64, TemplateCopy)| CatalogueTemplate { refresh_at_ms, ..copy.entry };
        Ok(Some((state, copies.into_iter().map(entry).collect())))
    }

    /// Takes the reading of a sender's catalogue upon this replica, when it is due or the sender was changed since (`of` is
    /// its `update_at_ms`); nobody else does until `until_ms`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn claim_catalogue(
        &self,
        sender: &SenderId,
        of: Millis,
        now: Millis,
        until_ms: Millis,
    ) -> Result<bool, StoreError> {
        use catalogues::Column;
        let transaction = self.begin().await?;
        ensure(&transaction, sender).await?;
        let claimed = catalogues::Entity::update_many()
            .col_expr(Column::DueAtMs, set(until_ms))
            .col_expr(Column::ReadOf, set(of))
            .filter(Column::Sender.eq(sender.as_str()))
            .filter(Condition::any().add(Column::DueAtMs.lte(now)).add(Column::ReadOf.ne(of)))
            .exec(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(claimed.rows_affected > 0)
    }

    /// Asks for a reading of copies that are older than `older_than`, unless the last one failed: those have their time.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn want_catalogue(&self, sender: &SenderId, now: Millis, older_than: Millis) -> Result<bool, StoreError> {
        use catalogues::Column;
        let wanted = catalogues::Entity::update_many()
            .col_expr(Column::DueAtMs, set(now))
            .filter(Column::Sender.eq(sender.as_str()))
            .filter(Column::ReadAtMs.lt(older_than))
            .filter(Column::Failures.eq(0))
            .exec(&self.inner.write)
            .await?;
        Ok(wanted.rows_affected > 0)
    }

    /// Notes that a reading failed, and when to try again.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn catalogue_failed(&self, sender: &SenderId, due_at_ms: Millis) -> Result<(), StoreError> {
        use catalogues::Column;
        catalogues::Entity::update_many()
            .col_expr(Column::Failures, Expr::col(Column::Failures).add(1))
            .col_expr(Column::DueAtMs, set(due_at_ms))
            .filter(Column::Sender.eq(sender.as_str()))
            .exec(&self.inner.write)
            .await?;
        Ok(())
    }

    /// Writes what a reading brought, with an event for each change since the one before. The first one changes nothing.
    /// `of` is the `update_at_ms` of the sender that was asked with, `read_at_ms` is when the reading began.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn save_catalogue(
        &self,
        sender: &SenderId,
        of: Millis,
        reading: Vec<CatalogueTemplate>,
        read_at_ms: Millis,
        due_at_ms: Millis,
    ) -> Result<Saved, StoreError> {
        let transaction = self.begin().await?;
        if !is_unchanged(&transaction, sender, of).await? {
            transaction.rollback().await?;
            return Ok(Saved::SenderChanged);
        }
        ensure(&transaction, sender).await?;
        let state = lock(&transaction, vec![sender.to_string()]).await?.remove(sender);
        let first = state.is_none_or(|state| state.read_at_ms.is_none());
        let before = copies(&transaction, vec![sender.to_string()]).await?.remove(sender).unwrap_or_default();
        let mut difference = catalogue::compare(before, reading, read_at_ms);
        let (count, changed) = (difference.count, difference.events.len());
        let events = std::mem::take(&mut difference.events);
        write_difference(&transaction, sender, difference).await?;
        note_reading(&transaction, sender, of, read_at_ms, due_at_ms).await?;
        let appended = match first || events.is_empty() {
            true => Appended::new(),
            false => append(&transaction, sender, events).await?,
        };
        transaction.commit().await?;
        Ok(Saved::Written { count, changed, appended })
    }
}

/// Whether the sender is still what it was; it stays so until the commit.
async fn is_unchanged(transaction: &DatabaseTransaction, sender: &SenderId, of: Millis) -> Result<bool, StoreError> {
    let mut query = senders::Entity::find_by_id(sender.as_str());
    if transaction.get_database_backend() == DbBackend::Postgres {
        query = query.lock(LockType::Share);
    }
    Ok(query.one(transaction).await?.is_some_and(|row| row.update_at_ms == of))
}

async fn write_difference(
    transaction: &DatabaseTransaction,
    sender: &SenderId,
    difference: Difference,
) -> Result<(), StoreError> {
    for list in rows::lists(difference.gone) {
        templates::Entity::delete_many().filter(templates::Column::Id.is_in(list)).exec(transaction).await?;
    }
    write(transaction, difference.changed).await?;
    let mut models = Vec::with_capacity(difference.new.len());
    for copy in difference.new {
        let Key { template, language_code, template_id } = copy.key();
        models.push(templates::ActiveModel {
            sender: Set(sender.to_string()),
            template: Set(template),
            language_code: Set(language_code),
            template_id: Set(template_id),
            document: Set(document(&copy)?),
            ..Default::default()
        });
    }
    rows::insert(transaction, models).await?;
    Ok(())
}

async fn note_reading(
    transaction: &DatabaseTransaction,
    sender: &SenderId,
    of: Millis,
    read_at_ms: Millis,
    due_at_ms: Millis,
) -> Result<(), StoreError> {
    use catalogues::Column;
    catalogues::Entity::update_many()
        .col_expr(Column::ReadAtMs, set(read_at_ms))
        .col_expr(Column::DueAtMs, set(due_at_ms))
        .col_expr(Column::Failures, set(0))
        .col_expr(Column::ReadOf, set(of))
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Sender.eq(sender.as_str()))
        .exec(transaction)
        .await?;
    Ok(())
}

async fn append(
    transaction: &DatabaseTransaction,
    sender: &SenderId,
    events: Vec<crate::domain::event::TemplateChanged>,
) -> Result<Appended, StoreError> {
    let now = now_ms();
    let event = |changed| NewEvent {
        sender: sender.clone(),
        payload: Payload::TemplateChanged(changed),
        json: None,
        occur_at_ms: None,
        receive_at_ms: now,
        report_key: None,
        callback: None,
    };
    let places = log::take_places(transaction, events.len(), now).await?;
    log::append(transaction, places, events.into_iter().map(event).collect()).await
}
