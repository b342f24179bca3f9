//! One call to a provider: from messages in hand to outcomes on disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::breaker::Heard;
use super::{News, Parts, Said};
use crate::domain::message::{DeliveryError, ErrorReason};
use crate::domain::progress::Next;
use crate::domain::sender::SenderHealth;
use crate::domain::{Content, MessageId, Millis, SenderId, pace};
use crate::provider::{Answer, Outgoing, Receipt, SendError};
use crate::senders::Account;
use crate::store::{Claim, EndedCall, OfWindow, StoreError};

/// After how many time limits a hand-over is given up from outside. Adapters keep the limit of each request themselves,
/// and may need several requests for one hand-over, when a provider finds a batch too large.
const LIMITS: u32 = 10;

/// A sender that was throttled is tried again after this long at the latest, however long the message itself must wait.
const HOLD_CAP: Duration = Duration::from_secs(60);

/// Hands over one request's worth of messages, as soon as their time and a permit for the call have come, and writes down what
/// came of each.
pub(super) async fn hand_over(parts: Arc<Parts>, account: Arc<Account>, claims: Vec<Claim>, permits: Arc<Semaphore>) {
    let sender = account.sender.id.clone();
    let count = claims.len();
    let mut ready = Vec::with_capacity(count);
    let mut ended = Vec::new();
    for claim in claims {
        match outgoing(&parts, &sender, &claim).await {
            Ok(message) => ready.push((claim, message)),
            Err(next) => ended.push(end(&claim, next)),
        }
    }
    let mut said = Said::default();
    if !ready.is_empty() {
        let permit = wait_for_slots(&parts, &account, &ready, &permits).await;
        let messages: Vec<Outgoing> = ready.iter().map(|(_, message)| message.clone()).collect();
        let (started, start_at_ms) = (Instant::now(), parts.store.now_ms());
        #[cfg(feature = "faults")]
        crate::faults::reach("call", "begins");
        let answers = send(&parts, &account, &messages).await;
        drop(permit);
        said.used = strain(&account, &answers);
        #[cfg(feature = "faults")]
        crate::faults::reach("call", "ended");
        said.heard = Some(heard(&answers));
        if let Some(retry_after) = throttled(&answers) {
            let wait = retry_after.map(|wait| wait.min(HOLD_CAP));
            if let Some(wait) = wait {
                // At once, before anything is written: until then more would be claimed.
                let _ = parts.wake.0.send(News::Held { sender: sender.clone(), wait });
            }
            note_throttled(&parts, &account, wait).await;
        }
        for ((claim, _), answer) in ready.into_iter().zip(answers) {
            log_attempt(&sender, &claim, &answer, started.elapsed());
            let outcome = kept_back(answer.outcome, claim.request.sender_at(claim.turn + 1).is_some());
            let next = super::next::next(outcome, claim.retries, &parts.config.backoff, rand::random());
            let refused_at_ms = refused_for_window(&claim, &next).then_some(start_at_ms);
            let next = super::next::of_window(next, claim.retries, &claim.request, &parts.config.backoff);
            ended.push(EndedCall {
                exchange: answer.exchange,
                of_window: refused_at_ms.map(|at| of_window(&claim, Some(at))),
                ..end(&claim, next)
            });
        }
    }
    join_all(ended.into_iter().map(|call| write_down(&parts, call))).await;
    let _ = parts.wake.0.send(News::Ended { sender, count, said });
}

/// The sender was deleted between the claim and the call: nothing was written to anybody.
pub(super) async fn sender_is_gone(parts: Arc<Parts>, sender: SenderId, claims: Vec<Claim>) {
    let error = DeliveryError::ours(ErrorReason::SenderDeleted, "the sender was deleted", false);
    let next = |claim: &Claim| match claim.request.sender_at(claim.turn + 1) {
        Some(_) => Next::Spared(error.clone()),
        None => Next::Failed(error.clone()),
    };
    let ended = claims.iter().map(|claim| write_down(&parts, end(claim, next(claim))));
    join_all(ended).await;
    let _ = parts.wake.0.send(News::Ended { sender, count: claims.len(), said: Said::default() });
}

async fn send(parts: &Parts, account: &Account, messages: &[Outgoing]) -> Vec<Answer> {
    let in_doubt = |detail: &str| {
        let answer =
            || Answer { outcome: Err(SendError::InDoubt { detail: detail.to_owned() }), exchange: None, usage: None };
        messages.iter().map(|_| answer()).collect::<Vec<_>>()
    };
    let limit = parts.config.call_limit * LIMITS;
    match tokio::time::timeout(limit, account.provider.send(messages)).await {
        Ok(answers) if answers.len() == messages.len() => answers,
        Ok(answers) => {
            let (got, sent) = (answers.len(), messages.len());
            tracing::error!(sender = %account.sender.id, got, sent, "an adapter answered another number of messages");
            in_doubt("the adapter answered another number of messages than it was given")
        }
        Err(_) => in_doubt("the adapter gave no answer"),
    }
}

/// What the adapter is given. A quoted message must have an id at the provider by now.
async fn outgoing(parts: &Parts, sender: &SenderId, claim: &Claim) -> Result<Outgoing, Next> {
    let request = &claim.request;
    let reaction = match &request.content {
        Content::Reaction(reaction) => reaction.message_id,
        _ => None,
    };
    let validity_ms = match claim.turn {
        0 => request.validity_ms,
        // What the senders before have left of it.
        _ => request.validity_ms.map(|_| (claim.expire_at_ms - parts.store.now_ms()).max(1_000)),
    };
    Ok(Outgoing {
        message_id: claim.message_id,
        attempt: claim.attempt,
        to: request.to.clone(),
        content: request.content.clone(),
        reply_to: provider_id(parts, sender, claim.turn, request.reply_to_message_id).await?,
        reaction_to: provider_id(parts, sender, claim.turn, reaction).await?,
        validity: validity_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
    })
}

async fn provider_id(
    parts: &Parts,
    sender: &SenderId,
    turn: usize,
    quoted: Option<MessageId>,
) -> Result<Option<String>, Next> {
    let Some(id) = quoted else { return Ok(None) };
    let refused = |why: &str| {
        let error = DeliveryError::ours(ErrorReason::InvalidRequest, why, false);
        // Another sender's conversation holds what is quoted, which is never left out in silence.
        if turn > 0 { Next::Spared(error) } else { Next::Failed(error) }
    };
    match parts.store.find_message(id).await {
        Ok(Some(found)) if found.sender == *sender && found.provider_message_id.is_some() => {
            Ok(found.provider_message_id)
        }
        Ok(_) => Err(refused("the message that it refers to has no id at the provider")),
        Err(error) => {
            tracing::warn!(%error, "a quoted message could not be looked up");
            let error = DeliveryError::ours(ErrorReason::ProviderUnavailable, "the store is away", true);
            Err(Next::RetryIn(Duration::from_secs(1), error))
        }
    }
}

/// Until the time of the last: together they go no sooner than any of them may.
async fn wait_for_slots<'p>(
    parts: &Parts,
    account: &Account,
    ready: &[(Claim, Outgoing)],
    permits: &'p Semaphore,
) -> Option<SemaphorePermit<'p>> {
    let rate = account.rate();
    if let (Some(_), Some(wait)) = (rate.per_second, ready.iter().map(|(claim, _)| claim.wait).max()) {
        tokio::time::sleep(wait).await;
    }
    // Nobody closes it.
    let permit = permits.acquire().await.ok();
    if let Some(per_second) = rate.per_second {
        parts.gate.pass(&account.sender.id, ready.len(), per_second * pace::CATCH_UP).await;
    }
    permit
}

/// How much of its limit the provider says is used, where it is so much that the sender should go slower.
fn strain(account: &Account, answers: &[Answer]) -> Option<f64> {
    account.rate().per_second?;
    let used = answers.iter().filter_map(|answer| answer.usage).map(|usage| usage.used);
    used.filter(|used| *used > pace::STRAINED).max_by(f64::total_cmp)
}

/// Whether the provider throttled the sender as a whole, which it says to all messages of a request; and how long it wants
/// it to wait, when it says so.
fn throttled(answers: &[Answer]) -> Option<Option<Duration>> {
    let mut wait = None;
    for answer in answers {
        match &answer.outcome {
            Err(SendError::NotTaken { error, retry_after, .. }) if error.reason == ErrorReason::RateLimited => {
                wait = wait.max(*retry_after);
            }
            _ => return None,
        }
    }
    Some(wait)
}

/// A sender with a rate goes slower in all replicas; one without is only held for as long as the provider wants.
async fn note_throttled(parts: &Parts, account: &Account, wait: Option<Duration>) {
    metrics::counter!("recado_throttled_total").increment(1);
    if account.rate().per_second.is_some()
        && let Err(error) = parts.writer.throttled(account.sender.id.clone(), wait).await
    {
        tracing::warn!(sender = %account.sender.id, %error, "a throttling could not be noted");
    }
}

/// What the answers show about the sender as a whole.
fn heard(answers: &[Answer]) -> Heard {
    if let Some(health) = answers.iter().find_map(|answer| refuses_sender(&answer.outcome)) {
        return Heard::Refused(health);
    }
    let failing = |answer: &Answer| match &answer.outcome {
        Err(SendError::NotTaken { error, .. }) => error.reason == ErrorReason::ProviderUnavailable,
        Err(SendError::InDoubt { .. }) => true,
        Ok(_) | Err(SendError::Refused(_)) => false,
    };
    if answers.iter().all(failing) { Heard::Failing } else { Heard::Fine }
}

/// Whether the provider refuses not this message but whoever sends it.
fn refuses_sender(outcome: &Result<Receipt, SendError>) -> Option<SenderHealth> {
    let Err(SendError::Refused(error)) = outcome else { return None };
    match error.reason {
        ErrorReason::SenderUnauthorized => Some(SenderHealth::CredentialsRefused),
        ErrorReason::SenderBlocked => Some(SenderHealth::Blocked),
        _ => None,
    }
}

/// A message is not to blame for its sender: it was not taken, and waits within its validity for the sender to be mended,
/// unless another sender is to take it then.
fn kept_back(outcome: Result<Receipt, SendError>, has_next: bool) -> Result<Receipt, SendError> {
    match (refuses_sender(&outcome), outcome) {
        (Some(_), Err(SendError::Refused(error))) if !has_next => {
            Err(SendError::not_taken(DeliveryError { retryable: true, ..error }, None))
        }
        (_, outcome) => outcome,
    }
}

pub(super) fn end(claim: &Claim, next: Next) -> EndedCall {
    let of_window = matches!(next, Next::Held { .. }).then(|| of_window(claim, None));
    EndedCall {
        seq: claim.seq,
        token: claim.token,
        attempt: claim.attempt,
        next,
        exchange: None,
        instead: claim.instead,
        of_window,
    }
}

fn of_window(claim: &Claim, refused_at_ms: Option<Millis>) -> OfWindow {
    let sender = claim.request.sender_at(claim.turn).unwrap_or(&claim.request.sender).clone();
    OfWindow { sender, peer: claim.request.to.peer(), refused_at_ms }
}

/// Whether the provider says that the window is closed, of something that needs one.
fn refused_for_window(claim: &Claim, next: &Next) -> bool {
    let refused = matches!(next, Next::Failed(error) if error.reason == ErrorReason::OutsideWindow);
    refused && !matches!(claim.request.content, Content::Template(_))
}

/// Writes an outcome down, for as long as it takes: without it the message would fall in doubt. A claim that ran out
/// meanwhile is no obstacle; a receipt is believed even then.
pub(super) async fn write_down(parts: &Parts, call: EndedCall) {
    let (seq, token) = (call.seq, call.token);
    let mut wait = Duration::from_millis(100);
    while let Err(error) = parts.writer.ended(call.clone()).await {
        tracing::warn!(%error, "an outcome could not be written; trying again");
        if let StoreError::Fault(_) = error {
            break;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(2));
    }
    parts.leases.remove(seq, token);
}

fn log_attempt(sender: &SenderId, claim: &Claim, answer: &Answer, elapsed: Duration) {
    let (outcome, reason) = match &answer.outcome {
        Ok(_) => ("taken", ""),
        Err(SendError::Refused(error)) => ("refused", error.reason.as_str()),
        Err(SendError::NotTaken { error, .. }) => ("not_taken", error.reason.as_str()),
        Err(SendError::InDoubt { .. }) => ("in_doubt", ""),
    };
    metrics::counter!("recado_attempts_total", "outcome" => outcome).increment(1);
    tracing::info!(
        message.id = %claim.message_id,
        sender = %sender,
        attempt = claim.attempt,
        outcome,
        reason,
        elapsed_ms = elapsed.as_millis() as u64,
        "a message was handed over"
    );
}
