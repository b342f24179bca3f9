//! The contract over gRPC: requests in, answers out. An rpc is convert, call, answer.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::callback;
use crate::catalogue::Catalogues;
use crate::events::Log;
use crate::guarded::Guarded;
use crate::media::Shelf;
use crate::senders::Senders;
use crate::store::{Appended, Store, Writer};

pub mod admin;
mod answer;
pub mod auth;
mod callbacks;
mod convert;
mod download;
mod erase;
pub mod events;
mod fit;
mod follow;
pub mod health;
mod journal;
pub mod messaging;
pub mod opt_outs;
mod page;
mod plan;
mod seen;
mod sender;
pub mod server;
mod stats;
pub mod status;
mod stream;
mod subscriptions;
pub mod templates;
pub mod upload;
mod wire;

pub(crate) use answer::event;
pub use wire::{MAX_REQUEST, WireLayer};

/// The soonest that anybody is asked to come back: to a gateway that stops, or for what takes a moment.
const SOON: Duration = Duration::from_secs(1);

/// What the services share; cheap to clone.
#[derive(Debug, Clone)]
pub struct Services {
    /// Reads.
    pub store: Store,
    /// Writes.
    pub writer: Writer,
    /// Senders and their adapters.
    pub senders: Arc<Senders>,
    /// Copies of templates.
    pub catalogues: Arc<Catalogues>,
    /// Keys.
    pub access: Arc<Access>,
    /// The event log.
    pub log: Log,
    /// Cancelled when the gateway stops: streams say so and end.
    pub stop: CancellationToken,
    /// The open streams, which are waited for.
    pub streams: TaskTracker,
    /// How long a provider is asked before a message is accepted.
    pub admit_limit: Duration,
    /// How long events are kept; `None`: for ever.
    pub retention: Option<Duration>,
    /// A stream that takes nothing for this long ends.
    pub slow_consumer: Duration,
    /// Wakes the engine for a sender whose state changed.
    pub wake: crate::engine::Wake,
    /// The files that people sent.
    pub shelf: Shelf,
    /// Judges addresses that callers give.
    pub guarded: Guarded,
    /// Wakes the posting of callbacks.
    pub callbacks: callback::Wake,
    /// How long a file may take on its way to a provider.
    pub upload_limits: upload::Limits,
}

impl Services {
    /// Puts events of an operator's change before the live subscribers.
    fn appended(&self, events: &Appended) {
        self.log.appended(events);
    }
}
