//! The real store on a file of its own, whose contents can be put back to any place they were at before. What a step does is
//! tried once: the same step from the same contents at the same time is known from then on.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use recado::domain::event::StatusChanged;
use recado::domain::message::{InDoubtPolicy, NewMessage};
use recado::domain::pace::Rate;
use recado::domain::progress::Next;
use recado::domain::{DeliveryError, ErrorReason, MessageId, MessageStatus, Millis, Payload};
use recado::faults::set_clock;
use recado::provider::{Report, StatusReport};
use recado::store::{EndedCall, Intake, Item, NewJournalEntry, Parsed, Store, Writer};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement};
use tokio_util::sync::CancellationToken;

use super::world::{Answer, Bounds, LEASE, Word};
use crate::{Nobody, accept, acme, new, to};

/// When everything begins.
pub const BEGINNING: Millis = 1_767_225_600_000;
/// How long messages are valid: longer than anything else takes.
const VALIDITY_MS: Millis = 36_000_000;
const IN_DOUBT_WAIT: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);

/// Tables that the way of a message goes through; of `events`, the id is drawn at random.
const TABLES: [&str; 7] = ["log", "messages", "attempts", "events", "journal", "parked_reports", "sqlite_sequence"];

/// Contents of the database, numbered as they were first seen.
pub type Place = usize;

/// One transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    Claim { token: i64 },
    Ended { message: usize, token: i64, attempt: i32, answer: Answer, time: u8 },
    Timers,
    Journal { message: usize, time: u8, word: Word },
    TakeIn { entry: i64 },
    Cancel { message: usize },
}

/// What it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    Written,
    /// Messages and attempts.
    Claimed(Vec<(usize, i32)>),
    Cancelled(bool),
}

/// What the laws and the steps need to know of a place.
#[derive(Debug, Default)]
pub struct Facts {
    /// Where messages stand.
    pub statuses: Vec<MessageStatus>,
    /// Why, where they failed.
    pub errors: Vec<Option<ErrorReason>>,
    /// Of each message what the log says.
    pub histories: Vec<Vec<StatusChanged>>,
    /// Positions in the log.
    pub positions: Vec<i64>,
    /// Webhooks that wait, oldest first.
    pub pending: Vec<i64>,
    pub next_due: Option<Millis>,
    /// Whether anything may be claimed.
    pub ready: bool,
    /// Reports that wait for their message.
    pub parked: i64,
    pub expire_at_ms: Millis,
}

pub struct House {
    store: Store,
    writer: Writer,
    stop: CancellationToken,
    /// Beside the store, for putting contents back.
    back_door: DatabaseConnection,
    dump: String,
    messages: Vec<MessageId>,
    echoes: bool,
    /// Where the file is now.
    at: Place,
    known: HashMap<String, Place>,
    facts: Vec<Facts>,
    gone: HashMap<(Place, Millis, Op), (Place, Did)>,
    _folder: tempfile::TempDir,
}

impl House {
    pub async fn build(bounds: &Bounds) -> Result<Self> {
        set_clock(BEGINNING);
        // Nothing here outlives a failure of the machine: memory is a good disk.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
        let url = format!("sqlite://{}/recado.db", folder.path().display());
        let store = Store::open(&url).await?;
        let stop = CancellationToken::new();
        let (writer, writing) = Writer::start(store.clone(), std::sync::Arc::new(Nobody), stop.clone());
        tokio::spawn(writing);
        let mut messages = Vec::new();
        for policy in &bounds.policies {
            messages.push(writer.accept(accept(None, request(*policy))).await?.message_id);
        }
        let back_door = Database::connect(&url).await?;
        back_door.execute_unprepared("PRAGMA synchronous = OFF; ATTACH ':memory:' AS kept").await?;
        let mut dumps = Vec::new();
        for table in TABLES {
            back_door
                .execute_unprepared(&format!(
                    "CREATE TABLE kept.of_{table} AS SELECT 0 AS place, * FROM main.{table} WHERE 0"
                ))
                .await?;
            let columns = columns(&back_door, table).await?;
            let values: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
            dumps.push(format!("SELECT '{table}', {} AS row FROM {table}", values.join(" || ',' || ")));
        }
        let dump = format!("SELECT * FROM ({}) ORDER BY 1, 2", dumps.join(" UNION ALL "));
        let mut house = Self {
            store,
            writer,
            stop,
            back_door,
            dump,
            messages,
            echoes: bounds.echoes,
            at: 0,
            known: HashMap::new(),
            facts: Vec::new(),
            gone: HashMap::new(),
            _folder: folder,
        };
        house.arrive().await?;
        Ok(house)
    }

    /// Where all messages were accepted, and no more.
    pub fn beginning(&self) -> Place {
        0
    }

    pub fn facts(&self, place: Place) -> &Facts {
        &self.facts[place]
    }

    /// Different contents, and transactions that were tried.
    pub fn size(&self) -> (usize, usize) {
        (self.facts.len(), self.gone.len())
    }

    /// What a transaction does to a place.
    pub async fn go(&mut self, from: Place, now: Millis, op: Op) -> Result<(Place, Did)> {
        if let Some(known) = self.gone.get(&(from, now, op)) {
            return Ok(known.clone());
        }
        if self.at != from {
            self.put_back(from).await?;
        }
        set_clock(now);
        let did = self.act(op, now).await.with_context(|| format!("{op:?}"))?;
        let place = self.arrive().await?;
        self.gone.insert((from, now, op), (place, did.clone()));
        Ok((place, did))
    }

    async fn act(&mut self, op: Op, now: Millis) -> Result<Did> {
        match op {
            Op::Claim { token } => {
                let claimed = self.writer.claim(acme(), 1, token, LEASE, Rate::default(), None).await?;
                let number = |id: MessageId| self.messages.iter().position(|message| *message == id);
                let claims = claimed.claims.iter().map(|claim| Some((number(claim.message_id)?, claim.attempt)));
                let claims: Option<Vec<_>> = claims.collect();
                Ok(Did::Claimed(claims.context("a message of nobody's")?))
            }
            Op::Ended { message, token, attempt, answer, time } => {
                let next = next(answer, message, time);
                let seq = message as i64 + 1;
                let call = EndedCall { seq, token, attempt, next, exchange: None, of_window: None, instead: false };
                self.writer.ended(call).await?;
                Ok(Did::Written)
            }
            Op::Timers => {
                self.writer.timers(100, IN_DOUBT_WAIT).await?;
                Ok(Did::Written)
            }
            Op::Journal { message, time, word } => {
                let body = Bytes::from(format!("{message} {time} {}", word.status().as_str()));
                let (sender, provider) = (acme(), "devino".into());
                let (headers, receive_at_ms) = ("{}".into(), now);
                self.writer.journal(NewJournalEntry { sender, provider, receive_at_ms, headers, body }).await?;
                Ok(Did::Written)
            }
            Op::TakeIn { entry } => {
                let intake = self.read(entry).await?;
                self.writer.intake(intake).await?;
                Ok(Did::Written)
            }
            Op::Cancel { message } => {
                let outcome = self.writer.cancel(self.messages[message]).await?;
                Ok(Did::Cancelled(matches!(outcome, Some(Ok(_)))))
            }
        }
    }

    /// A webhook as the intake would parse it, whether or not it is still to be taken in.
    async fn read(&self, entry: i64) -> Result<Intake> {
        let text = "SELECT CAST(body AS TEXT) AS body, receive_at_ms FROM journal WHERE id = ?";
        let statement = Statement::from_sql_and_values(DbBackend::Sqlite, text, [entry.into()]);
        let row = self.back_door.query_one_raw(statement).await?.context("no such webhook")?;
        let body: String = row.try_get("", "body")?;
        let words: Vec<&str> = body.split(' ').collect();
        let [message, time, word] = words[..] else { anyhow::bail!("{body:?} in the journal") };
        let status = [MessageStatus::Delivered, MessageStatus::Read].into_iter().find(|one| one.as_str() == word);
        let number: usize = message.parse()?;
        let report = Report::Status(StatusReport {
            message_id: self.echoes.then(|| self.messages[number]),
            provider_message_id: Some(provider_id(number, time.parse()?)),
            status,
            provider_status: word.to_owned(),
            ..StatusReport::default()
        });
        let parsed = Parsed {
            reports: vec![Item { index: 0, sender: acme(), callback_url: String::new(), report }],
            unreadable: 0,
            problem: None,
        };
        Ok(Intake { journal_id: entry, receive_at_ms: row.try_get("", "receive_at_ms")?, parsed })
    }

    /// Notes the contents, and what is to be known of them, when they are new.
    async fn arrive(&mut self) -> Result<Place> {
        let rows = self.back_door.query_all_raw(Statement::from_string(DbBackend::Sqlite, &self.dump)).await?;
        let mut contents = String::new();
        for row in rows {
            contents.push_str(&row.try_get_by_index::<String>(0)?);
            contents.push_str(&row.try_get_by_index::<String>(1)?);
            contents.push('\n');
        }
        if let Some(&place) = self.known.get(&contents) {
            self.at = place;
            return Ok(place);
        }
        let place = self.facts.len();
        let keep: Vec<String> = TABLES
            .iter()
            .map(|table| format!("INSERT INTO kept.of_{table} SELECT {place}, * FROM main.{table};"))
            .collect();
        self.back_door.execute_unprepared(&keep.concat()).await?;
        self.known.insert(contents, place);
        let facts = self.look().await?;
        self.facts.push(facts);
        self.at = place;
        Ok(place)
    }

    async fn put_back(&mut self, place: Place) -> Result<()> {
        let mut text = String::from("BEGIN IMMEDIATE;");
        for table in TABLES {
            let columns = all_columns(&self.back_door, table).await?.join(", ");
            text.push_str(&format!(
                "DELETE FROM main.{table}; INSERT INTO main.{table} SELECT {columns} FROM kept.of_{table} WHERE place = {place};"
            ));
        }
        text.push_str("COMMIT");
        self.back_door.execute_unprepared(&text).await?;
        self.at = place;
        Ok(())
    }

    async fn look(&self) -> Result<Facts> {
        let mut facts = Facts::default();
        for id in &self.messages {
            let message = self.store.message(*id).await?.context("a message is gone")?;
            facts.statuses.push(message.status);
            facts.errors.push(message.error.map(|error| error.reason));
            facts.expire_at_ms = message.expire_at_ms;
        }
        facts.histories = vec![Vec::new(); self.messages.len()];
        for event in self.store.events_after(0, 1_000).await? {
            facts.positions.push(event.position);
            let Payload::StatusChanged(status) = event.payload else { continue };
            let number =
                self.messages.iter().position(|id| *id == status.message_id).context("an event of nobody's")?;
            facts.histories[number].push(status);
        }
        facts.pending = self.store.pending_webhooks(0, 100).await?.iter().map(|entry| entry.id).collect();
        facts.next_due = self.store.next_due().await?;
        facts.ready = !self.store.ready_senders().await?.is_empty();
        let statement = Statement::from_string(DbBackend::Sqlite, "SELECT count(*) AS n FROM parked_reports");
        let row = self.back_door.query_one_raw(statement).await?.context("no count")?;
        facts.parked = row.try_get("", "n")?;
        Ok(facts)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn request(policy: InDoubtPolicy) -> NewMessage {
    NewMessage { in_doubt_policy: policy, validity_ms: Some(VALIDITY_MS), ..new(&to(1), "olá") }
}

fn provider_id(message: usize, time: u8) -> String {
    format!("p{message}-{time}")
}

/// What a replica makes of an answer; `time`: which time that was at the provider.
fn next(answer: Answer, message: usize, time: u8) -> Next {
    match answer {
        Answer::Taken => Next::Sent(Some(provider_id(message, time))),
        Answer::Lost | Answer::Dropped => {
            Next::InDoubt(DeliveryError::ours(ErrorReason::OutcomeUnknown, "the answer was lost", false))
        }
        Answer::Throttled => Next::RetryIn(RETRY, DeliveryError::ours(ErrorReason::RateLimited, "later", true)),
    }
}

async fn all_columns(database: &DatabaseConnection, table: &str) -> Result<Vec<String>> {
    let text = format!("SELECT name FROM pragma_table_info('{table}')");
    let rows = database.query_all_raw(Statement::from_string(DbBackend::Sqlite, text)).await?;
    let names: Result<Vec<String>, _> = rows.into_iter().map(|row| row.try_get("", "name")).collect();
    let names = names?;
    ensure!(!names.is_empty(), "no table {table}");
    Ok(names)
}

/// Those that tell contents apart.
async fn columns(database: &DatabaseConnection, table: &str) -> Result<Vec<String>> {
    let mut names = all_columns(database, table).await?;
    names.retain(|name| ![("events", "id"), ("log", "epoch")].contains(&(table, name)));
    Ok(names)
}
