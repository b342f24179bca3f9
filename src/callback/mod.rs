//! Callbacks: events POSTed to the addresses that messages and senders named.
//!
//! A row stands for each callback, written together with its event. One dispatcher takes endpoints that have work in hand
//! under leases, posts what is due there, and lets go of those that have nothing left; a process that dies leaves nothing
//! but leases that end. What follows a POST is decided in `domain::callback`, how the order is kept in `store::callbacks`.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::Millis;
use crate::domain::callback::{DueCallback, EndpointState, Policy, Standing};
use crate::events::Log;
use crate::guarded::Guarded;
use crate::senders::Senders;
use crate::store::{EndedPost, EndpointClaim, EndpointsWanted, Store, StoreError};

mod body;
mod post;
mod sign;

pub use sign::{CallbackSecrets, key};

/// How often due callbacks are looked for beside the wake-ups.
const LOOK: Duration = Duration::from_millis(200);
/// How often what ended long ago is forgotten.
const FORGET: Duration = Duration::from_secs(60);
/// POSTs whose ends are written in one transaction, at most.
const TOGETHER: usize = 128;
/// How long POSTs under way may go on when the process is stopped. What is cut off is posted again.
const DRAIN: Duration = Duration::from_secs(3);

/// How callbacks are posted.
#[derive(Debug, Clone)]
pub struct Config {
    /// POSTs at the same time, in this process.
    pub in_flight: usize,
    /// Of these to one host.
    pub in_flight_per_host: usize,
    /// How long one may take.
    pub post_limit: Duration,
    /// How long an endpoint belongs to who took it in hand; renewed meanwhile.
    pub lease: Duration,
    /// How long callbacks and endpoints are tried for.
    pub policy: Policy,
    /// How long what ended is kept.
    pub keep: Duration,
}

/// What the posting needs.
#[derive(Debug)]
pub struct Parts {
    /// Whose rows say what is to be posted.
    pub store: Store,
    /// Whose secrets sign it.
    pub senders: Arc<Senders>,
    /// What posts it.
    pub guarded: Guarded,
    /// Where endpoints that are given up are told.
    pub log: Log,
    /// How.
    pub config: Config,
    /// Held by whoever finds out what comes next in line, or changes it.
    pub ordering: Mutex<()>,
}

/// Wakes the posting: callbacks came.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Callbacks came.
    pub fn callbacks_came(&self) {
        self.0.notify_one();
    }
}

/// Posts callbacks, until `stop`; then lets go of all endpoints.
pub async fn run(parts: Parts, wake: Wake, stop: CancellationToken) {
    let parts = Arc::new(parts);
    let (ended, to_write) = mpsc::unbounded_channel();
    let (written, mut news) = mpsc::unbounded_channel();
    let mut helpers = JoinSet::new();
    helpers.spawn(write_down(parts.clone(), to_write, written));
    helpers.spawn(forget(parts.clone()));
    let mut office = Office { parts, ended, hands: HashMap::new(), hosts: HashMap::new(), posts: JoinSet::new() };
    let mut renewed = Instant::now();
    while !stop.is_cancelled() {
        if renewed.elapsed() >= office.parts.config.lease / 3 {
            renewed = Instant::now();
            office.renew().await;
        }
        office.take().await;
        office.look().await;
        let hurry = office.hands.values().any(|hand| hand.stale);
        tokio::select! {
            () = std::future::ready(()), if hurry => {}
            Some(first) = news.recv() => {
                office.written(first).await;
                while let Ok(next) = news.try_recv() {
                    office.written(next).await;
                }
            }
            () = wake.0.notified() => office.look_again(),
            () = tokio::time::sleep(LOOK.min(office.parts.config.lease / 3)) => office.look_again(),
            () = stop.cancelled() => {}
        }
        office.sweep();
        metrics::gauge!("recado_callbacks_in_flight").set(office.posts.len() as f64);
    }
    let drain = async {
        while office.hands.values().any(|hand| !hand.under_way.is_empty()) {
            let Some(next) = news.recv().await else { return };
            office.written(next).await;
        }
    };
    let _ = tokio::time::timeout(DRAIN, drain).await;
    office.posts.shutdown().await;
    for claim in office.hands.values().map(|hand| &hand.claim) {
        release(&office.parts, claim).await;
    }
    helpers.shutdown().await;
}

/// The end of a POST, on disk or not.
struct Written {
    endpoint: String,
    token: i64,
    position: i64,
    /// How the endpoint stands; nothing when it is no longer in hand.
    standing: Option<Standing>,
}

/// An endpoint in hand.
struct Hand {
    claim: EndpointClaim,
    /// Places of the callbacks under way.
    under_way: HashSet<i64>,
    /// There may be more to post than when it was last looked at.
    stale: bool,
}

struct Office {
    parts: Arc<Parts>,
    ended: mpsc::UnboundedSender<EndedPost>,
    hands: HashMap<String, Hand>,
    /// POSTs under way by host.
    hosts: HashMap<String, usize>,
    posts: JoinSet<()>,
}

impl Office {
    fn under_way(&self) -> usize {
        self.hosts.values().sum()
    }

    /// Takes endpoints in hand, as many as could be posted to.
    async fn take(&mut self) {
        let config = &self.parts.config;
        let room = config.in_flight.saturating_sub(self.under_way().max(self.hands.len()));
        if room == 0 {
            return;
        }
        let most = config.in_flight_per_host;
        let (now, token) = (self.parts.store.now_ms(), rand::random());
        let wanted = EndpointsWanted {
            limit: room,
            per_host: most,
            // Endpoints of a slow host that cannot be posted to now would keep others out.
            full_hosts: self.full_hosts(most),
            token,
            until_ms: now + millis(config.lease),
        };
        let claims = match self.parts.store.endpoints_due(now).await {
            Ok(true) => self.parts.store.claim_endpoints(&wanted, now).await,
            Ok(false) => return,
            Err(error) => Err(error),
        };
        match claims {
            Ok(claims) => {
                for claim in claims {
                    self.hands.insert(claim.id.clone(), Hand { claim, under_way: HashSet::new(), stale: true });
                }
            }
            Err(error) => tracing::warn!(%error, "callbacks could not be looked for"),
        }
    }

    /// Hosts with as many POSTs under way, or endpoints in hand, as one may have.
    fn full_hosts(&self, most: usize) -> Vec<String> {
        let mut endpoints: HashMap<&str, usize> = HashMap::new();
        for hand in self.hands.values() {
            *endpoints.entry(&hand.claim.host).or_default() += 1;
        }
        let posts = self.hosts.iter().map(|(host, count)| (host.as_str(), *count));
        let full: HashSet<&str> = posts.chain(endpoints).filter(|(_, n)| *n >= most).map(|(host, _)| host).collect();
        full.into_iter().map(str::to_owned).collect()
    }

    /// Time has passed, or callbacks came: there may be more to post anywhere.
    fn look_again(&mut self) {
        self.hands.values_mut().for_each(|hand| hand.stale = true);
    }

    /// Posts what is due at the endpoints in hand, and lets go of those where nothing is.
    async fn look(&mut self) {
        let stale = |hand: &mut Hand| std::mem::take(&mut hand.stale).then(|| hand.claim.id.clone());
        let ids: Vec<String> = self.hands.values_mut().filter_map(stale).collect();
        for id in ids {
            match self.look_at(&id).await {
                Ok(true) => {}
                Ok(false) => {
                    if let Some(hand) = self.hands.remove(&id) {
                        release(&self.parts, &hand.claim).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "callbacks of an endpoint could not be read");
                    return;
                }
            }
        }
    }

    /// Posts what is due at one; `false` when it can be let go of.
    async fn look_at(&mut self, id: &str) -> Result<bool, StoreError> {
        let Some(hand) = self.hands.get_mut(id) else { return Ok(true) };
        let now = self.parts.store.now_ms();
        if hand.claim.standing.state != EndpointState::Active {
            // Out of use: nothing is posted, and what waits is given up.
            while self.parts.store.bury_callbacks(id, now).await? > 0 {}
            return Ok(false);
        }
        let config = &self.parts.config;
        let all: usize = self.hosts.values().sum();
        let at_host = self.hosts.get(&hand.claim.host).copied().unwrap_or_default();
        let most = config.in_flight_per_host.saturating_sub(at_host).min(config.in_flight.saturating_sub(all));
        let room = match hand.claim.standing.room(hand.under_way.len() + most, now) {
            // One at a time finds out whether it works again.
            room if room < hand.under_way.len() => 0,
            room => room - hand.under_way.len(),
        };
        if room == 0 {
            return Ok(!hand.under_way.is_empty() || (most == 0 && hand.claim.standing.room(1, now) > 0));
        }
        // Those under way are still due on disk, and come first.
        let limit = hand.under_way.len() + room;
        let ordering = self.parts.ordering.lock().await;
        let (due, more) = self.parts.store.due_callbacks(id, now, limit).await?;
        drop(ordering);
        hand.stale = more;
        let fresh: Vec<DueCallback> =
            due.into_iter().filter(|callback| !hand.under_way.contains(&callback.position)).take(room).collect();
        if !fresh.is_empty() {
            *self.hosts.entry(hand.claim.host.clone()).or_default() += fresh.len();
        }
        for callback in fresh {
            hand.under_way.insert(callback.position);
            let (parts, claim, ended) = (self.parts.clone(), hand.claim.clone(), self.ended.clone());
            self.posts.spawn(async move {
                let posting = AssertUnwindSafe(post::post(&parts, &claim, &callback)).catch_unwind();
                let post = posting.await.unwrap_or_else(|_| post::fault(&claim, &callback));
                log(&claim, &callback, &post);
                // The other end is there as long as the office is.
                let _ = ended.send(post);
            });
        }
        Ok(!hand.under_way.is_empty() || hand.stale)
    }

    /// Hears that the end of a POST is on disk, or will not be.
    async fn written(&mut self, Written { endpoint, token, position, standing }: Written) {
        let Some(hand) = self.hands.get_mut(&endpoint).filter(|hand| hand.claim.token == token) else { return };
        let host = hand.claim.host.clone();
        if hand.under_way.remove(&position) {
            self.give_back(&host, 1);
        }
        match standing {
            Some(standing) => {
                if let Some(hand) = self.hands.get_mut(&endpoint) {
                    hand.claim.standing = Standing { state: EndpointState::Active, ..standing };
                }
                if standing.state != EndpointState::Active {
                    self.disable(&endpoint, standing.state).await;
                }
            }
            // Another has it in hand by now, and posts what this one posted: at least once.
            None => self.drop_hand(&endpoint),
        }
        // There is room at its host again.
        self.hands.values_mut().filter(|hand| hand.claim.host == host).for_each(|hand| hand.stale = true);
    }

    fn give_back(&mut self, host: &str, count: usize) {
        if let Some(posts) = self.hosts.get_mut(host) {
            *posts = posts.saturating_sub(count);
            if *posts == 0 {
                self.hosts.remove(host);
            }
        }
    }

    async fn disable(&mut self, id: &str, state: EndpointState) {
        let Some(hand) = self.hands.get(id) else { return };
        match self.parts.store.disable_endpoint(&hand.claim, state, self.parts.store.now_ms()).await {
            Ok(appended) => {
                if let Some(appended) = appended {
                    tracing::error!(sender = %hand.claim.sender, host = hand.claim.host, ?state, "an endpoint of callbacks is out of use");
                    self.parts.log.appended(&appended);
                }
                self.drop_hand(id);
            }
            Err(error) => {
                tracing::warn!(%error, "an endpoint could not be taken out of use; its next failure tries again")
            }
        }
    }

    /// No longer has an endpoint in hand. What is under way there ends unheard.
    fn drop_hand(&mut self, id: &str) {
        if let Some(hand) = self.hands.remove(id) {
            self.give_back(&hand.claim.host, hand.under_way.len());
        }
    }

    async fn renew(&self) {
        let held: Vec<(String, i64)> =
            self.hands.values().map(|hand| (hand.claim.id.clone(), hand.claim.token)).collect();
        if held.is_empty() {
            return;
        }
        let until = self.parts.store.now_ms() + millis(self.parts.config.lease);
        if let Err(error) = self.parts.store.renew_endpoints(&held, until).await {
            tracing::warn!(%error, "leases of endpoints could not be renewed");
        }
    }

    /// Forgets tasks that ended.
    fn sweep(&mut self) {
        while self.posts.try_join_next().is_some() {}
    }
}

/// Writes down how POSTs ended, those together that end together, for as long as it takes.
async fn write_down(
    parts: Arc<Parts>,
    mut ended: mpsc::UnboundedReceiver<EndedPost>,
    written: mpsc::UnboundedSender<Written>,
) {
    let mut posts = Vec::with_capacity(TOGETHER);
    while ended.recv_many(&mut posts, TOGETHER).await > 0 {
        let standings = loop {
            let ordering = parts.ordering.lock().await;
            let ended = parts.store.posts_ended(&posts, &parts.config.policy, parts.store.now_ms()).await;
            drop(ordering);
            match ended {
                Ok(standings) => break standings,
                Err(StoreError::Fault(error)) => {
                    tracing::error!(error, "the ends of callbacks could not be written; they are posted again");
                    break vec![None; posts.len()];
                }
                Err(error) => tracing::warn!(%error, "the ends of callbacks could not be written; trying again"),
            }
            tokio::time::sleep(LOOK).await;
        };
        for (post, standing) in posts.drain(..).zip(standings) {
            let EndedPost { endpoint, token, position, .. } = post;
            // Nobody hears it when the office is closing.
            let _ = written.send(Written { endpoint, token, position, standing });
        }
    }
}

async fn release(parts: &Parts, claim: &EndpointClaim) {
    if let Err(error) = parts.store.release_endpoint(&claim.id, claim.token).await {
        tracing::warn!(%error, "an endpoint could not be let go of; its lease ends by itself");
    }
}

async fn forget(parts: Arc<Parts>) {
    loop {
        let before = parts.store.now_ms() - millis(parts.config.keep);
        match parts.store.forget_callbacks(before).await {
            Ok(0) => {}
            // In small steps, so that nobody waits long.
            Ok(_) => {
                tokio::task::yield_now().await;
                continue;
            }
            Err(error) => tracing::warn!(%error, "old callbacks could not be forgotten"),
        }
        tokio::time::sleep(FORGET).await;
    }
}

fn log(claim: &EndpointClaim, callback: &DueCallback, post: &EndedPost) {
    let EndpointClaim { sender, host, .. } = claim;
    let event = callback.event.as_ref().map(|event| event.id.to_string()).unwrap_or_default();
    let (elapsed_ms, http_status) = (post.attempt.elapsed_ms, post.attempt.http_status.unwrap_or_default());
    metrics::histogram!("recado_callback_seconds").record(elapsed_ms as f64 / 1_000.0);
    tracing::debug!(%sender, host, event.id = event, elapsed_ms, http_status, verdict = ?post.verdict, "a callback was posted");
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX / 2)
}
