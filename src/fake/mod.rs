//! A provider that does what a script says, over real HTTP, and keeps a ledger of what it was really handed: for our
//! tests and benchmarks, and as `recado fake-provider` for yours. `README.md` in this folder is its manual.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::serve::ListenerExt as _;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::now_ms;

mod after;
mod cloudhumans;
mod control;
mod devino;
mod dialog360;
mod digivox;
mod files;
mod infobip;
mod ledger;
mod meta;
mod post;
mod script;
#[cfg(test)]
mod tests;
mod twilio;
mod uploads;
mod wire;

pub use files::file;
pub use ledger::{Row, Summary};
pub use post::Posted;
pub use script::{Account, Action, Fault, Script, Step, Webhooks};
pub use uploads::{Counts, Kept};
use wire::Wire as _;

/// How long answers under way may take once the fake is stopped.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// A fake provider that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct FakeProvider {
    fake: Arc<Fake>,
    addr: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl FakeProvider {
    /// Starts one on the address; port 0 lets the system choose.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(addr: SocketAddr) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(addr).await.with_context(|| format!("the fake provider cannot listen on {addr}"))?;
        let addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let fake = Arc::new(Fake {
            play: RwLock::new(Arc::new(script::Play::new(Script::default()))),
            ledger: Mutex::default(),
            poster: post::Poster::new(stop.clone())?,
            ids: AtomicU64::new(first_id()),
            files: files::Asked::default(),
            uploads: uploads::Uploads::default(),
            written: Mutex::default(),
        });
        let router =
            providers().nest("/_control", control::router()).nest("/files", files::router()).with_state(fake.clone());
        let listener = listener.tap_io(|stream| {
            // Without it, small answers wait for acknowledgements.
            let _ = stream.set_nodelay(true);
        });
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "the fake provider ended");
            }
        });
        Ok(Self { fake, addr, stop, serving })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a sender's `base_url` is to be: `http://127.0.0.1:9000/devino` for `devino`.
    pub fn base_url(&self, provider: &str) -> String {
        format!("http://{}/{provider}", self.addr)
    }

    /// Plays a script from now on; faults count from the beginning.
    ///
    /// # Errors
    /// In words, what cannot be played.
    pub fn set_script(&self, script: Script) -> Result<(), String> {
        self.fake.set_script(script)
    }

    /// The address of a file that it serves; `path` is one of README.md's, such as `1000` or `late/1000?missing=2`.
    pub fn file_url(&self, path: &str) -> String {
        format!("http://{}/files/{path}", self.addr)
    }

    /// How often that file was asked for.
    pub fn file_asked(&self, path: &str) -> u64 {
        self.fake.files.times(&format!("/{path}"))
    }

    /// The ledger in numbers.
    pub fn ledger(&self) -> Summary {
        self.fake.ledger().summary()
    }

    /// All messages that were taken, in their order.
    pub fn rows(&self) -> Vec<Row> {
        self.fake.ledger().rows()
    }

    /// The files that were handed over to be kept, in their order.
    pub fn uploads(&self) -> Vec<Kept> {
        self.fake.uploads.all()
    }

    /// How many of them there were, also of those that were not kept.
    pub fn upload_counts(&self) -> Counts {
        self.fake.uploads.counts()
    }

    /// Empties the ledger.
    pub fn forget(&self) {
        self.fake.forget();
    }

    /// What became of posting statuses and incoming messages.
    pub fn posted(&self) -> Posted {
        self.fake.poster.posted()
    }

    /// Posts an incoming message as a provider does, to an address, until it is taken. Ids and times that are missing are
    /// filled in.
    ///
    /// # Errors
    /// In words, when it plays no such provider.
    pub fn post_incoming(&self, provider: &str, url: &str, payload: Map<String, Value>) -> Result<(), String> {
        self.fake.post_incoming(provider, url, payload)
    }

    /// Stops listening and posting; then connections are refused, as of a provider that is away.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_GRACE, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Lists the providers that it plays, once.
macro_rules! providers {
    ($($module:ident)+) => {
        /// Names of all providers that the fake plays.
        pub const PROVIDERS: &[&str] = &[$(stringify!($module)),+];

        fn providers() -> Router<Arc<Fake>> {
            Router::new()$(.nest(concat!("/", stringify!($module)), $module::router()))+
        }

        /// An incoming message as a provider posts it there; nothing for one that is not played.
        fn incoming(provider: &str, fake: &Fake, url: &str, payload: Map<String, Value>) -> Option<post::Post> {
            match provider {
                $(stringify!($module) => {
                    let post = $module::WIRE.incoming(fake, payload);
                    Some($module::WIRE.addressed(fake, url, post))
                })+
                _ => None,
            }
        }
    };
}

providers! { cloudhumans devino dialog360 digivox infobip meta twilio }

/// What the handlers share.
#[derive(Debug)]
struct Fake {
    play: RwLock<Arc<script::Play>>,
    ledger: Mutex<ledger::Ledger>,
    poster: Arc<post::Poster>,
    ids: AtomicU64,
    files: files::Asked,
    uploads: uploads::Uploads,
    /// What people wrote, oldest first, whether or not it could be posted; for providers that list it.
    written: Mutex<VecDeque<(&'static str, Map<String, Value>)>>,
}

/// Messages of people that are kept to be listed.
const WRITTEN_MAX: usize = 10_000;

impl Fake {
    /// Keeps what a person wrote, as `provider` lists it.
    fn keep_written(&self, provider: &'static str, message: Map<String, Value>) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() == WRITTEN_MAX {
            written.pop_front();
        }
        written.push_back((provider, message));
    }

    /// What people wrote at `provider`, newest first.
    fn written(&self, provider: &str) -> Vec<Map<String, Value>> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.iter().rev().filter(|(at, _)| *at == provider).map(|(_, message)| message.clone()).collect()
    }

    fn play(&self) -> Arc<script::Play> {
        self.play.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_script(&self, script: Script) -> Result<(), String> {
        script.check()?;
        self.poster.set_batch(script.webhooks.batch);
        *self.play.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(script::Play::new(script));
        Ok(())
    }

    fn ledger(&self) -> MutexGuard<'_, ledger::Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        *self.ledger() = ledger::Ledger::default();
        self.uploads.forget();
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a request with this key passes.
    fn accepts(&self, key: Option<&str>) -> bool {
        key.is_some_and(|given| self.play().script.api_key.as_deref().map_or(!given.is_empty(), |right| right == given))
    }

    /// What the script says of a provider's account.
    fn account(&self, provider: &str) -> Account {
        self.play().script.accounts.get(provider).cloned().unwrap_or_default()
    }

    fn post_incoming(&self, provider: &str, url: &str, payload: Map<String, Value>) -> Result<(), String> {
        let post = incoming(provider, self, url, payload)
            .ok_or_else(|| format!("provider is {:?}; it is one of {}", provider, PROVIDERS.join(", ")))?;
        self.poster.push(&url.into(), self.next_id(), post::Item { due: Instant::now(), post });
        Ok(())
    }
}

/// Above 2^53, so that whoever reads ids as floating-point numbers is found out; later for a fake that starts later, so
/// that a restarted one gives none twice; and a multiple of 100, so that the first
/// hundred share a lane of the poster.
fn first_id() -> u64 {
    3_590_000_000_000_000_000 + now_ms() as u64 * 100_000
}
