//! The dispatcher: which sender's messages are claimed when, and how many. It waits for nothing itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Breaker;
use super::judge::Judged;
use super::room::{Hand, Permits};
use super::{News, Parts, TICK, Wake, call, fallback, judge};
use crate::domain::SenderId;
use crate::domain::progress::Next;
use crate::domain::sender::{SenderHealth, SenderState};
use crate::senders::Account;
use crate::store::{Claim, Claimed, StoreError};

/// Messages whose slots lie so close may go in one request.
const TOGETHER: Duration = Duration::from_millis(20);
/// How often a provider's word about how much of its limit is used is taken down, for each sender.
const STRAIN: Duration = Duration::from_secs(1);

/// One sender, as the dispatcher sees it.
#[derive(Debug, Default)]
struct Line {
    /// Messages in hand.
    under_way: usize,
    /// Calls that carry them: one may carry many.
    calls: usize,
    /// A claim is on its way.
    claiming: bool,
    /// There may be more than the claim on its way brings.
    more: bool,
    /// Whether its provider takes anything.
    breaker: Breaker,
    /// What waits for it in vain is being given to fallbacks.
    passing_by: bool,
    /// Nothing is claimed before: its rate is used up, or its provider wants it to wait.
    held_until: Option<Instant>,
    /// Somebody wakes it then.
    wake_at: Option<Instant>,
    /// It waits for room in the process.
    queued: bool,
    /// When the provider last said that its limit is nearly used up.
    strained_at: Option<Instant>,
    /// Permits for the calls that it may have open.
    permits: Permits,
}

impl Line {
    fn hold(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
    }

    /// How many more messages its sender may have in hand, of a process that has so many of at most so many.
    fn room(&self, account: &Account, most: usize, under_way: usize) -> usize {
        let hand = Hand {
            calls_max: account.calls_max(),
            batch: account.provider.capabilities().batch,
            per_second: account.rate().per_second,
            calls: self.calls,
            messages: self.under_way,
            most,
            left: most.saturating_sub(under_way),
        };
        hand.room()
    }

    /// Has the dispatcher look at the sender again, once.
    fn wake_at(&mut self, at: Instant, wake: &Wake, sender: SenderId) {
        if self.wake_at != Some(at) {
            self.wake_at = Some(at);
            tokio::spawn(wake_later(wake.clone(), sender, at));
        }
    }
}

/// Knows how much is under way, and sends for more where there is room.
#[derive(Debug)]
pub(super) struct Dispatcher {
    parts: Arc<Parts>,
    lines: HashMap<SenderId, Line>,
    /// Senders that want to claim and found the process full.
    waiting: VecDeque<SenderId>,
    under_way: usize,
    /// Nothing is claimed any more.
    pub stopping: bool,
}

impl Dispatcher {
    pub fn new(parts: Arc<Parts>) -> Self {
        Self { parts, lines: HashMap::new(), waiting: VecDeque::new(), under_way: 0, stopping: false }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        let busy = |line: &Line| line.claiming || line.passing_by;
        self.under_way == 0 && !self.lines.values().any(busy)
    }

    pub fn hear(&mut self, news: News) {
        match news {
            News::Ready(sender) => self.claim(sender),
            News::Claimed { sender, asked, claimed } => self.claimed(sender, asked, claimed),
            News::PassedBy { sender, more } => {
                self.lines.entry(sender.clone()).or_default().passing_by = false;
                if more {
                    self.claim(sender);
                }
            }
            News::Held { sender, wait } => self.lines.entry(sender).or_default().hold(wait),
            News::Ended { sender, count, said } => {
                self.under_way -= count;
                let line = self.lines.entry(sender.clone()).or_default();
                line.under_way -= count;
                line.calls -= 1;
                let now = Instant::now();
                if let Some(used) = said.used.filter(|_| line.strained_at.is_none_or(|at| at + STRAIN <= now)) {
                    line.strained_at = Some(now);
                    tokio::spawn(note_strain(self.parts.clone(), sender.clone(), used));
                }
                let version = self.parts.senders.get(&sender).map(|account| account.sender.update_at_ms);
                match (said.heard, version) {
                    (Some(heard), Some(version)) => {
                        if let Some(health) = line.breaker.heard(heard, version, now) {
                            tokio::spawn(note_health(self.parts.clone(), sender.clone(), health));
                        }
                    }
                    _ => line.breaker.nothing_to_probe(),
                }
                self.claim(sender);
                self.claim_next();
            }
        }
        metrics::gauge!("recado_in_flight").set(self.under_way as f64);
    }

    /// Sends for more messages of a sender, as many as it has room for.
    fn claim(&mut self, sender: SenderId) {
        if self.stopping {
            return;
        }
        let Some(account) = self.parts.senders.get(&sender) else {
            self.sender_is_gone(sender);
            return;
        };
        if account.sender.state == SenderState::Paused {
            return;
        }
        let line = self.lines.entry(sender.clone()).or_default();
        if line.claiming {
            line.more = true;
            return;
        }
        let now = Instant::now();
        if let Some(until) = line.held_until.filter(|until| *until > now) {
            line.wake_at(until, &self.parts.wake, sender);
            return;
        }
        let room = line.room(&account, self.parts.config.in_flight, self.under_way);
        if room == 0 {
            // A call that ends asks again; it may be another sender's.
            if line.under_way == 0 && !line.queued {
                line.queued = true;
                self.waiting.push_back(sender);
            }
            return;
        }
        let room = match line.breaker.room(room, account.sender.update_at_ms, now) {
            Ok(room) => room,
            Err(until) => {
                if let Some(health) = line.breaker.passes_by(now).filter(|_| !line.passing_by) {
                    line.passing_by = true;
                    tokio::spawn(fallback::pass_by(self.parts.clone(), sender.clone(), health));
                }
                if let Some(until) = until {
                    line.wake_at(until, &self.parts.wake, sender);
                }
                return;
            }
        };
        line.claiming = true;
        line.more = false;
        // Taken now, so that two senders cannot both count on the same room; given back when the claim brings less.
        line.under_way += room;
        self.under_way += room;
        tokio::spawn(claim(self.parts.clone(), account, room));
    }

    /// Nothing is kept of it here, and what waits for it in the store ends.
    fn sender_is_gone(&mut self, sender: SenderId) {
        if self.lines.get(&sender).is_some_and(|line| line.under_way == 0 && !line.claiming) {
            self.lines.remove(&sender);
            self.parts.gate.forget(&sender);
        }
        tokio::spawn(give_up(self.parts.clone(), sender));
    }

    fn claimed(&mut self, sender: SenderId, asked: usize, claimed: Result<(Judged, Option<Duration>), StoreError>) {
        let (Judged { go: claims, kept_back }, room_in) = claimed.unwrap_or_else(|error| {
            // The look-around comes back to it.
            tracing::warn!(%sender, %error, "messages could not be claimed");
            Default::default()
        });
        let brought = claims.len() + kept_back.len();
        let line = self.lines.entry(sender.clone()).or_default();
        line.claiming = false;
        line.under_way -= asked - brought;
        self.under_way -= asked - brought;
        if let Some(wait) = room_in {
            line.hold(wait);
        }
        if claims.is_empty() {
            line.breaker.nothing_to_probe();
        }
        let again = line.more || brought == asked || room_in.is_some();
        if !kept_back.is_empty() {
            self.keep_back(sender.clone(), kept_back);
        }
        if !claims.is_empty() {
            match self.parts.senders.get(&sender) {
                Some(account) => self.hand_over(&account, claims),
                // Deleted in this moment. Nothing was written, but the attempt is on disk as started.
                None => self.put_back(sender.clone(), claims),
            }
        }
        if again {
            self.claim(sender);
        }
        self.claim_next();
    }

    /// Gives a sender that waits for room in the process its turn.
    fn claim_next(&mut self) {
        let Some(next) = self.waiting.pop_front() else { return };
        if let Some(line) = self.lines.get_mut(&next) {
            line.queued = false;
        }
        self.claim(next);
    }

    fn hand_over(&mut self, account: &Arc<Account>, mut claims: Vec<Claim>) {
        let batch = account.provider.capabilities().batch.max(1);
        while !claims.is_empty() {
            // What goes together goes at the time of its last, so its slots must lie close.
            let first = claims[0].wait;
            let close = claims.iter().take_while(|claim| claim.wait < first + TOGETHER || claim.wait.is_zero()).count();
            let rest = claims.split_off(close.clamp(1, batch));
            let batch = std::mem::replace(&mut claims, rest);
            self.parts.leases.add(&batch);
            let line = self.lines.entry(account.sender.id.clone()).or_default();
            line.calls += 1;
            let permits = line.permits.of(account.calls_max());
            tokio::spawn(call::hand_over(self.parts.clone(), account.clone(), batch, permits));
        }
    }

    fn keep_back(&mut self, sender: SenderId, kept_back: Vec<(Claim, Next)>) {
        self.parts.leases.add(kept_back.iter().map(|(claim, _)| claim));
        self.lines.entry(sender.clone()).or_default().calls += 1;
        tokio::spawn(judge::keep_back(self.parts.clone(), sender, kept_back));
    }

    fn put_back(&mut self, sender: SenderId, claims: Vec<Claim>) {
        self.parts.leases.add(&claims);
        self.lines.entry(sender.clone()).or_default().calls += 1;
        tokio::spawn(call::sender_is_gone(self.parts.clone(), sender, claims));
    }
}

/// Claims messages of a sender, and tells the dispatcher what it brought.
async fn claim(parts: Arc<Parts>, account: Arc<Account>, room: usize) {
    let sender = account.sender.id.clone();
    let look_up = parts.config.look_up_first.filter(|_| account.provider.capabilities().look_up);
    let (token, lease) = (rand::random(), parts.config.lease);
    let claimed = parts.writer.claim(sender.clone(), room as u64, token, lease, account.rate(), look_up).await;
    let claimed = match claimed {
        Ok(Claimed { claims, room_in }) => judged(&parts, &account, claims).await.map(|judged| (judged, room_in)),
        Err(error) => Err(error),
    };
    if claimed.is_err() {
        tokio::spawn(release(parts.clone(), token));
    }
    let _ = parts.wake.0.send(News::Claimed { sender, asked: room, claimed });
}

/// Parts a claim by what its sender can carry and by what is known of the people.
async fn judged(parts: &Parts, account: &Account, claims: Vec<Claim>) -> Result<Judged, StoreError> {
    let (fit, misfits) = fallback::fitting(parts, account, claims).await?;
    let mut judged = judge::judge(parts, account, fit).await?;
    judged.kept_back.extend(misfits);
    // What goes in a message's place must fit a fallback sender too.
    let (instead, go) = judged.go.into_iter().partition(|claim| claim.instead && claim.turn > 0);
    judged.go = go;
    let (fit, misfits) = fallback::fitting(parts, account, instead).await?;
    judged.go.extend(fit);
    judged.kept_back.extend(misfits);
    Ok(judged)
}

async fn wake_later(wake: Wake, sender: SenderId, at: Instant) {
    tokio::time::sleep_until(at).await;
    wake.ready(sender);
}

/// Messages wait for a sender that this process does not know: another replica may have made it a moment ago.
async fn give_up(parts: Arc<Parts>, sender: SenderId) {
    if let Err(error) = parts.senders.refresh().await {
        tracing::warn!(%error, "the senders could not be read");
        return;
    }
    if parts.senders.get(&sender).is_some() {
        parts.wake.ready(sender);
        return;
    }
    match parts.store.give_up_messages_of(&sender).await {
        Ok(Some(_)) => tracing::info!(%sender, "messages of a deleted sender were given up"),
        Ok(None) => {}
        Err(error) => tracing::warn!(%sender, %error, "messages of a deleted sender could not be given up"),
    }
}

/// Whether a claim that failed was committed is not known; if it was, its messages must not wait until they fall in doubt.
async fn release(parts: Arc<Parts>, token: i64) {
    let until = Instant::now() + parts.config.lease;
    while let Err(error) = parts.writer.release(token).await {
        if Instant::now() > until {
            tracing::warn!(%error, "a failed claim could not be undone; its messages fall in doubt with its lease");
            return;
        }
        tokio::time::sleep(TICK).await;
    }
}

async fn note_health(parts: Arc<Parts>, sender: SenderId, health: SenderHealth) {
    match health {
        SenderHealth::Ok => tracing::info!(%sender, "the sender works"),
        other => tracing::error!(%sender, health = ?other, "the sender cannot send; its messages wait"),
    }
    if let Err(error) = parts.writer.health(sender.clone(), health).await {
        tracing::warn!(%sender, %error, "that could not be written");
    }
}

/// A provider says that its limit is nearly used up.
async fn note_strain(parts: Arc<Parts>, sender: SenderId, used: f64) {
    if let Err(error) = parts.writer.strained(sender.clone(), used).await {
        tracing::warn!(%sender, %error, "how much of a limit is used could not be noted");
    }
}
