//! The writer: one task that commits whatever queued up during its last commit, as one transaction. A lone request waits
//! for no company; under load the commits are shared.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::accept::{Accept, Accepted};
use super::batch::{Done, Effects, NotAccepted, Op, Reused};
use super::claims::{Claimed, EndedCall, Wanted};
use super::intake::Intake;
use super::journal::NewJournalEntry;
use super::log::Appended;
use super::look_ups::{LookUp, LookedUp};
use super::{Store, StoreError};
use crate::domain::event::StatusChanged;
use crate::domain::message::DeliveryError;
use crate::domain::pace::Rate;
use crate::domain::sender::SenderHealth;
use crate::domain::{Event, MessageId, MessageStatus, Millis, Payload, SenderId};
use crate::error::Error;

/// Acceptances that may wait at the same time; the next one is told to come back (RESOURCE_EXHAUSTED).
const ACCEPT_QUEUE: usize = 8_192;
/// Pieces of work in one transaction, at most.
const BATCH: usize = 256;
/// How often work that met another transaction's unique key is tried again.
const CONFLICT_TRIES: usize = 5;

/// Hears what was committed. Called by the writer between two commits: it must be quick and must not wait.
pub trait Listener: Send + Sync {
    /// Events entered the log, in this order.
    fn appended(&self, events: Appended);
    /// A sender has messages to hand over.
    fn ready(&self, sender: SenderId);
    /// The journal has webhooks to parse.
    fn journalled(&self);
    /// People sent files that are to be fetched.
    fn media_came(&self) {}
    /// Events were recorded that are to be POSTed.
    fn callbacks_came(&self) {}
}

/// A way to the writer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer {
    jobs: mpsc::UnboundedSender<Job>,
    accept_permits: Arc<Semaphore>,
}

struct Job {
    op: Op,
    reply: oneshot::Sender<Result<Done, StoreError>>,
    /// Held until the job is done, so that the queue of acceptances has an end.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Writer {
    /// Starts the writer. It ends when `stop` is cancelled and its queue is empty, or when all ways to it are gone.
    pub fn start(
        store: Store,
        listener: Arc<dyn Listener>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (jobs, queue) = mpsc::unbounded_channel();
        let writer = Self { jobs, accept_permits: Arc::new(Semaphore::new(ACCEPT_QUEUE)) };
        (writer, run(store, listener, queue, stop))
    }

    /// Accepts a message: durable, with its key and its event, when this answers `Ok`. Dropping the future does not take
    /// the message back.
    ///
    /// # Errors
    /// [`Error::Overloaded`] before anything is queued, [`Error::KeyReused`], OPTED_OUT, or the store's.
    pub async fn accept(&self, accept: Accept) -> Result<Accepted, Error> {
        let permit = self.accept_permits.clone().try_acquire_owned().map_err(|_| {
            metrics::counter!("recado_overloaded_total").increment(1);
            Error::Overloaded { what: "the queue of the store is full", retry_after: Duration::from_millis(500) }
        })?;
        match self.submit(Op::Accept(Box::new(accept)), Some(permit)).await? {
            Done::Accepted(Ok(accepted)) => Ok(accepted),
            Done::Accepted(Err(NotAccepted::Reused(Reused { key, message_id, fields }))) => {
                Err(Error::KeyReused { key, message_id: message_id.to_string(), fields })
            }
            Done::Accepted(Err(NotAccepted::OptedOut(opt_out))) => Err(opt_out.refusal()),
            other => Err(mismatch(other).into()),
        }
    }

    /// Takes up to `limit` ready messages of a sender in hand, as its rate lets them through, under a number of the caller's
    /// choice.
    /// `look_up`: when the provider is first asked what became of them, where it must be asked.
    ///
    /// # Errors
    /// When the store is away. Some messages may be in hand all the same: [`Writer::release`] undoes that.
    pub async fn claim(
        &self,
        sender: SenderId,
        limit: u64,
        token: i64,
        lease: Duration,
        rate: Rate,
        look_up: Option<Duration>,
    ) -> Result<Claimed, StoreError> {
        let wanted = Wanted { sender, limit, token, lease_ms: millis(lease), rate, look_up_ms: look_up.map(millis) };
        match self.submit(Op::Claim(wanted), None).await? {
            Done::Claimed(claimed) => Ok(claimed),
            other => Err(mismatch(other)),
        }
    }

    /// Undoes a claim of which nothing was handed over.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn release(&self, token: i64) -> Result<(), StoreError> {
        self.submit(Op::Release { token }, None).await.map(drop)
    }

    /// Makes the leases of messages in hand longer, by places and claim numbers.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn renew(&self, held: Vec<(i64, i64)>, lease: Duration) -> Result<(), StoreError> {
        self.submit(Op::Renew { held, lease_ms: millis(lease) }, None).await.map(drop)
    }

    /// Notes that a provider throttled a sender with a rate, so that all replicas go slower.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn throttled(&self, sender: SenderId, retry_after: Option<Duration>) -> Result<(), StoreError> {
        let retry_after_ms = retry_after.map(millis);
        self.submit(Op::Throttled { sender, retry_after_ms }, None).await.map(drop)
    }

    /// Notes that a provider says so much of a sender's limit is used (1 is all), so that all replicas go slower.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn strained(&self, sender: SenderId, used: f64) -> Result<(), StoreError> {
        self.submit(Op::Strained { sender, used }, None).await.map(drop)
    }

    /// Notes how a sender stands; of two replicas that find the same, one tells.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn health(&self, sender: SenderId, health: SenderHealth) -> Result<(), StoreError> {
        self.submit(Op::Health { sender, health }, None).await.map(drop)
    }

    /// Writes down how a call ended.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn ended(&self, call: EndedCall) -> Result<(), StoreError> {
        self.submit(Op::Ended(call), None).await.map(drop)
    }

    /// Does what timers that ran out ask for; tells how many had.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn timers(&self, limit: u64, in_doubt_wait: Duration) -> Result<usize, StoreError> {
        match self.submit(Op::Timers { limit, in_doubt_wait }, None).await? {
            Done::Timers(count) => Ok(count),
            other => Err(mismatch(other)),
        }
    }

    /// Cancels a message; `Err` holds the status for which it is too late, `None` says that there is no such message.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn cancel(&self, id: MessageId) -> Result<Option<Result<MessageStatus, MessageStatus>>, StoreError> {
        match self.submit(Op::Cancel(id), None).await? {
            Done::Cancelled(outcome) => Ok(outcome),
            other => Err(mismatch(other)),
        }
    }

    /// Gives up to `limit` messages that are due at a sender, and have a fallback, to that; tells how many were looked at.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn pass_by(&self, sender: SenderId, error: DeliveryError, limit: u64) -> Result<usize, StoreError> {
        match self.submit(Op::PassBy { sender, error, limit }, None).await? {
            Done::PassedBy(count) => Ok(count),
            other => Err(mismatch(other)),
        }
    }

    /// Appends a webhook to the journal: durable when this answers `Ok`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn journal(&self, entry: NewJournalEntry) -> Result<(), StoreError> {
        self.submit(Op::Journal(entry), None).await.map(drop)
    }

    /// Takes in what a webhook said, once: a second call for the same place of the journal does nothing.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn intake(&self, intake: Intake) -> Result<(), StoreError> {
        self.submit(Op::Intake(intake), None).await.map(drop)
    }

    /// Folds parked reports about these providers' ids, which match by now.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn unpark(&self, provider_ids: Vec<String>) -> Result<(), StoreError> {
        self.submit(Op::Unpark(provider_ids), None).await.map(drop)
    }

    /// Takes up to `limit` messages that a provider is to be asked after now, by the plan: so long after the hand-over.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn take_look_ups(&self, plan: Arc<[Duration]>, limit: u64) -> Result<Vec<LookUp>, StoreError> {
        match self.submit(Op::TakeLookUps { plan, limit }, None).await? {
            Done::LookUps(due) => Ok(due),
            other => Err(mismatch(other)),
        }
    }

    /// Folds what a provider answered, as if its webhooks had said it.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn looked_up(&self, answer: LookedUp) -> Result<(), StoreError> {
        self.submit(Op::LookedUp(answer), None).await.map(drop)
    }

    async fn submit(&self, op: Op, permit: Option<OwnedSemaphorePermit>) -> Result<Done, StoreError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || StoreError::Unavailable("the gateway is stopping".into());
        self.jobs.send(Job { op, reply, _permit: permit }).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX / 2)
}

fn mismatch(done: Done) -> StoreError {
    StoreError::Fault(format!("the writer answered another question: {done:?}"))
}

async fn run(
    store: Store,
    listener: Arc<dyn Listener>,
    mut queue: mpsc::UnboundedReceiver<Job>,
    stop: CancellationToken,
) {
    let mut jobs = Vec::with_capacity(BATCH);
    loop {
        let taken = tokio::select! {
            biased;
            taken = queue.recv_many(&mut jobs, BATCH) => taken,
            () = stop.cancelled() => {
                queue.close();
                queue.recv_many(&mut jobs, BATCH).await
            }
        };
        if taken == 0 {
            return;
        }
        metrics::histogram!("recado_commit_batch_size").record(taken as f64);
        let (ops, replies): (Vec<_>, Vec<_>) = jobs.drain(..).map(|job| (job.op, (job.reply, job._permit))).unzip();
        let done = commit(&store, listener.as_ref(), ops).await;
        for ((reply, _permit), done) in replies.into_iter().zip(done) {
            // Whoever asked may have gone; what was committed stays committed.
            let _ = reply.send(done);
        }
    }
}

/// Commits the work together; if that fails for a reason of one piece, each by itself, so that a bad one costs no
/// neighbour.
async fn commit(store: &Store, listener: &dyn Listener, ops: Vec<Op>) -> Vec<Result<Done, StoreError>> {
    let count = ops.len();
    let mut tries = 0;
    loop {
        tries += 1;
        match store.write_batch(&ops, store.now_ms()).await {
            Ok((done, effects)) => {
                tell(listener, effects);
                return done.into_iter().map(Ok).collect();
            }
            Err(StoreError::Unavailable(why)) => {
                return (0..count).map(|_| Err(StoreError::Unavailable(why.clone()))).collect();
            }
            // Whoever it gave way to has committed by now.
            Err(StoreError::GaveWay(why)) if tries < CONFLICT_TRIES => tracing::debug!(why, count, "a commit gave way"),
            Err(error) => {
                tracing::debug!(%error, count, "a shared commit failed; each part is tried by itself");
                break;
            }
        }
    }
    let mut results = Vec::with_capacity(count);
    for op in ops {
        results.push(commit_alone(store, listener, op).await);
    }
    results
}

async fn commit_alone(store: &Store, listener: &dyn Listener, op: Op) -> Result<Done, StoreError> {
    let ops = [op];
    let mut tries = 0;
    loop {
        tries += 1;
        match store.write_batch(&ops, store.now_ms()).await {
            Ok((mut done, effects)) => {
                tell(listener, effects);
                return done.pop().ok_or_else(|| StoreError::Fault("the batch answered nothing".into()));
            }
            Err(StoreError::Conflict(_) | StoreError::GaveWay(_)) if tries < CONFLICT_TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

fn tell(listener: &dyn Listener, effects: Effects) {
    metrics::counter!("recado_messages_accepted_total").increment(effects.accepted);
    for event in &effects.appended {
        if let Payload::StatusChanged(StatusChanged { status: Some(status), duplicate: false, .. }) = &event.payload {
            metrics::counter!("recado_statuses_total", "status" => status.as_str()).increment(1);
        }
    }
    let has_media = |event: &Event| matches!(&event.payload, Payload::IncomingMessage(m) if m.media_id.is_some());
    let media_came = effects.appended.iter().any(|event| has_media(event));
    if !effects.appended.is_empty() {
        listener.appended(effects.appended);
    }
    for sender in effects.ready {
        listener.ready(sender);
    }
    if effects.journalled {
        listener.journalled();
    }
    if media_came {
        listener.media_came();
    }
    if effects.callbacks {
        listener.callbacks_came();
    }
}
