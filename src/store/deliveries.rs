//! The journal as operators read it: what came, what was made of it, and what is to be read again.

use std::collections::BTreeMap;

use bytes::Bytes;
use sea_orm::sea_query::Value;
use sea_orm::{ConnectionTrait, QueryResult};

use super::{Store, StoreError, rows};
use crate::domain::{Millis, SenderId};

/// Webhooks that are marked in one transaction, so that a replay of very many holds nobody up.
const STEP: u64 = 500;

/// What was made of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Not parsed yet.
    Pending,
    /// Understood.
    Parsed,
    /// Something in it was not understood.
    Unreadable,
    /// A status in it matches no message yet.
    Parked,
    /// No message came for a status in it.
    Orphaned,
}

impl DeliveryState {
    /// All of them, each before those that it outranks.
    const ALL: [Self; 5] = [Self::Pending, Self::Unreadable, Self::Parked, Self::Orphaned, Self::Parsed];

    /// What holds for a row `j` of the journal in this state, and for none in a state before it.
    fn condition(self) -> &'static str {
        match self {
            Self::Pending => "j.pending IS NOT NULL",
            Self::Unreadable => "j.unreadable > 0",
            Self::Parked => {
                "EXISTS (SELECT 1 FROM parked_reports p WHERE p.journal_id IS NOT NULL AND p.journal_id = j.id \
                 AND p.orphan = FALSE)"
            }
            Self::Orphaned => {
                "EXISTS (SELECT 1 FROM parked_reports p WHERE p.journal_id IS NOT NULL AND p.journal_id = j.id)"
            }
            Self::Parsed => "TRUE",
        }
    }

    /// The place among [`DeliveryState::ALL`] of the state that a row is in.
    fn case() -> String {
        let when = |(place, state): (usize, &Self)| format!("WHEN {} THEN {place} ", state.condition());
        format!("CASE {}END", Self::ALL.iter().enumerate().map(when).collect::<String>())
    }
}

/// Which webhooks: AND across, OR within; an empty list lets everything through.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// At these places.
    pub ids: Vec<i64>,
    /// For these senders.
    pub senders: Vec<SenderId>,
    /// In these states.
    pub states: Vec<DeliveryState>,
    /// Received then or later.
    pub from_ms: Option<Millis>,
    /// Received earlier than then.
    pub before_ms: Option<Millis>,
}

impl DeliveryFilter {
    /// As a condition on `journal j`, its values behind those that are there.
    fn condition(&self, values: &mut Vec<Value>) -> String {
        let mut all = vec!["TRUE".to_owned()];
        let mut mark = |value: Value| {
            values.push(value);
            format!("${}", values.len())
        };
        if !self.ids.is_empty() {
            let marks: Vec<String> = self.ids.iter().map(|id| mark((*id).into())).collect();
            all.push(format!("j.id IN ({})", marks.join(", ")));
        }
        if !self.senders.is_empty() {
            let marks: Vec<String> = self.senders.iter().map(|sender| mark(sender.as_str().into())).collect();
            all.push(format!("j.sender IN ({})", marks.join(", ")));
        }
        all.extend(self.from_ms.map(|from| format!("j.receive_at_ms >= {}", mark(from.into()))));
        all.extend(self.before_ms.map(|before| format!("j.receive_at_ms < {}", mark(before.into()))));
        if !self.states.is_empty() {
            let places = DeliveryState::ALL.iter().enumerate().filter(|(_, state)| self.states.contains(state));
            let places: Vec<String> = places.map(|(place, _)| place.to_string()).collect();
            all.push(format!("({}) IN ({})", DeliveryState::case(), places.join(", ")));
        }
        all.join(" AND ")
    }
}

/// Where a page goes on: what is open comes first, each part newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Among those that wait or were not understood, behind this place.
    Open(i64),
    /// Among the others, behind this place.
    Settled(i64),
}

/// A webhook of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its place.
    pub id: i64,
    /// For which sender.
    pub sender: SenderId,
    /// From which provider.
    pub provider: String,
    /// What was made of it.
    pub state: DeliveryState,
    /// When it was committed.
    pub receive_at_ms: Millis,
    /// When it was last parsed.
    pub parse_at_ms: Option<Millis>,
    /// The headers that were kept.
    pub headers: BTreeMap<String, String>,
    /// Bytes of its body, as it is stored.
    pub stored_bytes: i64,
    /// What was not understood.
    pub problem: String,
    /// How many events came of it.
    pub event_count: i32,
    /// When its body was dropped, as it named a person who was erased.
    pub erase_at_ms: Option<Millis>,
}

impl Delivery {
    /// Where the page behind it begins.
    pub fn after(&self) -> After {
        match self.state {
            DeliveryState::Pending | DeliveryState::Unreadable => After::Open(self.id),
            _ => After::Settled(self.id),
        }
    }
}

fn delivery(row: &QueryResult) -> Result<Delivery, StoreError> {
    let place: i32 = row.try_get("", "state")?;
    let headers: String = row.try_get("", "headers")?;
    Ok(Delivery {
        id: row.try_get("", "id")?,
        sender: SenderId::trusted(row.try_get("", "sender")?),
        provider: row.try_get("", "provider")?,
        state: DeliveryState::ALL.get(place as usize).copied().unwrap_or(DeliveryState::Parsed),
        receive_at_ms: row.try_get("", "receive_at_ms")?,
        parse_at_ms: row.try_get("", "parse_at_ms")?,
        headers: serde_json::from_str(&headers).unwrap_or_default(),
        stored_bytes: row.try_get("", "stored_bytes")?,
        problem: row.try_get::<Option<String>>("", "problem")?.unwrap_or_default(),
        event_count: row.try_get("", "event_count")?,
        erase_at_ms: row.try_get("", "erase_at_ms")?,
    })
}

impl Store {
    /// Webhooks that pass: first those that wait or were not understood, then the others, each part newest first.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<After>,
        limit: u64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut found = Vec::new();
        if !matches!(after, Some(After::Settled(_))) {
            let before = if let Some(After::Open(id)) = after { Some(id) } else { None };
            let open = "(j.pending IS NOT NULL OR j.unreadable > 0)";
            found = self.deliveries_where(filter, open, before, limit).await?;
        }
        if (found.len() as u64) < limit {
            let before = if let Some(After::Settled(id)) = after { Some(id) } else { None };
            let settled = "j.pending IS NULL AND j.unreadable = 0";
            found.extend(self.deliveries_where(filter, settled, before, limit - found.len() as u64).await?);
        }
        Ok(found)
    }

    async fn deliveries_where(
        &self,
        filter: &DeliveryFilter,
        part: &str,
        before: Option<i64>,
        limit: u64,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut values = vec![Value::from(before.unwrap_or(i64::MAX)), Value::from(limit as i64)];
        let text = format!(
            "SELECT j.id, j.sender, j.provider, j.receive_at_ms, j.parse_at_ms, j.headers, j.problem, j.event_count, j.erase_at_ms, \
             CAST(length(j.body) AS bigint) AS stored_bytes, {} AS state \
             FROM journal j WHERE {part} AND j.id < $1 AND {} ORDER BY j.id DESC LIMIT $2",
            DeliveryState::case(),
            filter.condition(&mut values),
        );
        let rows =
            self.read().query_all_raw(rows::statement(self.read().get_database_backend(), &text, values)).await?;
        rows.iter().map(delivery).collect()
    }

    /// A webhook's body as it is stored.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn delivery_body(&self, id: i64) -> Result<Option<Bytes>, StoreError> {
        let backend = self.read().get_database_backend();
        let statement = rows::statement(backend, "SELECT body FROM journal WHERE id = $1", [id.into()]);
        let row = self.read().query_one_raw(statement).await?;
        row.map(|row| Ok(row.try_get::<Vec<u8>>("", "body")?.into())).transpose()
    }

    /// Has webhooks that pass parsed again, as if they had just come; tells how many. Those that wait anyway are not counted,
    /// nor are those that have no body any more.
    ///
    /// # Errors
    /// When the store is away. Some may be marked all the same; marking them again does no harm.
    pub async fn replay(&self, filter: &DeliveryFilter) -> Result<u64, StoreError> {
        let (mut after, mut count) = (i64::MIN, 0);
        // What comes while this runs is parsed anyway.
        let end = self.newest_delivery().await?;
        loop {
            let marked = self.replay_step(filter, after, end).await?;
            count += marked.len() as u64;
            match marked.iter().max() {
                Some(last) if marked.len() as u64 == STEP => after = *last,
                _ => return Ok(count),
            }
        }
    }

    async fn newest_delivery(&self) -> Result<i64, StoreError> {
        let text = "SELECT id FROM journal ORDER BY id DESC LIMIT 1";
        let statement = rows::statement(self.read().get_database_backend(), text, []);
        let row = self.read().query_one_raw(statement).await?;
        row.map_or(Ok(0), |row| Ok(row.try_get("", "id")?))
    }

    async fn replay_step(&self, filter: &DeliveryFilter, after: i64, end: i64) -> Result<Vec<i64>, StoreError> {
        let transaction = self.begin().await?;
        let backend = transaction.get_database_backend();
        let mut values = vec![Value::from(after), Value::from(end), Value::from(STEP as i64)];
        let text = format!(
            "UPDATE journal SET pending = TRUE WHERE id IN (SELECT j.id FROM journal j \
             WHERE j.pending IS NULL AND j.erase_at_ms IS NULL AND j.id > $1 AND j.id <= $2 AND {} ORDER BY j.id LIMIT $3) RETURNING id",
            filter.condition(&mut values),
        );
        let rows = transaction.query_all_raw(rows::statement(backend, &text, values)).await?;
        let marked = rows.iter().map(|row| Ok(row.try_get("", "id")?)).collect::<Result<Vec<i64>, StoreError>>()?;
        // What they parked would be parked once more.
        for list in rows::lists(marked.clone()) {
            let marks: Vec<String> = (1..=list.len()).map(|n| format!("${n}")).collect();
            let text = format!(
                "DELETE FROM parked_reports WHERE journal_id IS NOT NULL AND journal_id IN ({})",
                marks.join(", ")
            );
            transaction.execute_raw(rows::statement(backend, &text, list.into_iter().map(Value::from))).await?;
        }
        transaction.commit().await?;
        Ok(marked)
    }
}
