//! The store by itself, on both databases: what the rest of the house relies on.
#![allow(missing_docs, clippy::unwrap_used, dead_code, reason = "tests")]

#[path = "../it/database.rs"]
mod database;

mod accepts;
mod claims;
mod explore;
mod heads;
mod intakes;
mod look_ups;
mod media;
mod people;
mod templates;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use recado::domain::content::Text;
use recado::domain::message::{InDoubtPolicy, NewMessage, Priority};
use recado::domain::pace::Rate;
use recado::domain::{Content, SenderId, now_ms};
use recado::store::{Accept, Appended, Claim, Listener, Store, Writer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::database::{Engine, TestDatabase};

/// Hears everything and does nothing.
struct Nobody;

impl Listener for Nobody {
    fn appended(&self, _events: Appended) {}
    fn ready(&self, _sender: SenderId) {}
    fn journalled(&self) {}
}

/// A store with its writer at work.
struct Bench {
    store: Store,
    writer: Writer,
    stop: CancellationToken,
    writing: JoinHandle<()>,
    database: TestDatabase,
}

impl Bench {
    async fn start(engine: Engine) -> Result<Self> {
        Self::start_on(TestDatabase::create(engine).await?).await
    }

    async fn start_on(database: TestDatabase) -> Result<Self> {
        let store = Store::open(&database.url).await?;
        let stop = CancellationToken::new();
        let (writer, writing) = Writer::start(store.clone(), Arc::new(Nobody), stop.clone());
        Ok(Self { store, writer, stop, writing: tokio::spawn(writing), database })
    }

    async fn stop(self) -> Result<TestDatabase> {
        self.stop.cancel();
        self.writing.await?;
        Ok(self.database)
    }

    /// Takes messages in hand, under a number of its own.
    async fn claim(&self, limit: u64, lease: Duration) -> Result<Vec<Claim>> {
        Ok(self.writer.claim(acme(), limit, rand::random(), lease, Rate::default(), None).await?.claims)
    }

    /// Accepts a text; answers the place of its ACCEPTED event.
    async fn accept(&self, to: &str, body: &str) -> Result<i64> {
        Ok(self.writer.accept(accept(None, new(to, body))).await?.position)
    }
}

fn acme() -> SenderId {
    SenderId::trusted("acme".into())
}

fn new(to: &str, body: &str) -> NewMessage {
    NewMessage {
        sender: acme(),
        to: to.parse().unwrap(),
        content: Content::Text(Text { body: body.into(), preview_url: false }),
        reply_to_message_id: None,
        send_at_ms: None,
        validity_ms: None,
        callback_url: String::new(),
        callback_data: String::new(),
        labels: BTreeMap::new(),
        priority: Priority::Normal,
        in_doubt_policy: InDoubtPolicy::AtMostOnce,
        ignore_opt_out: false,
        ignore_known_failures: false,
        template_category: None,
        fallback_senders: Vec::new(),
        on_window_closed: Default::default(),
    }
}

fn accept(key: Option<&str>, request: NewMessage) -> Accept {
    Accept::new("caller", key.map(str::to_owned), request, now_ms()).unwrap()
}

fn to(i: usize) -> String {
    format!("+351910{i:06}")
}
