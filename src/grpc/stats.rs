//! GetStats: what is counted and what waits, in the contract's words.

use super::events::Events;
use super::{Services, answer, convert};
use crate::access::Caller;
use crate::domain::cursor::Cursor;
use crate::domain::sender::SenderHealth;
use crate::domain::{Millis, SenderId, now_ms};
use crate::error::{Error, Reason, Violations};
use crate::proto;
use crate::senders::Account;
use crate::store::{SenderNumbers, window_start};

/// Subscriptions in an answer; ListSubscriptions has all.
const SUBSCRIPTIONS_MAX: u64 = 1_000;

/// How far back is counted when nobody says.
const WINDOW_MS: Millis = 3_600_000;
const WINDOW_MIN_MS: Millis = 60_000;
/// What is counted is kept a little longer.
const WINDOW_MAX_MS: Millis = 30 * 86_400_000;

/// Answers GetStats.
pub(super) async fn stats(
    services: &Services,
    caller: &Caller,
    request: proto::GetStatsRequest,
) -> Result<proto::GetStatsResponse, Error> {
    let mut violations = Violations::default();
    let window = window(request.window, &mut violations);
    let asked = convert::sender_filter(request.senders, "senders", &mut violations);
    violations.into_result()?;
    let accounts = accounts(services, caller, asked)?;
    let store = &services.store;
    let now = now_ms();
    let from = window_start(now - window);
    let ids: Vec<SenderId> = accounts.iter().map(|account| account.sender.id.clone()).collect();
    let mut numbers = store.stats(&ids, from, now).await?;
    let health = store.sender_health().await?;
    let senders: Vec<proto::SenderStats> = accounts
        .iter()
        .map(|account| {
            let id = &account.sender.id;
            answer_sender(account, numbers.remove(id).unwrap_or_default(), health.get(id).copied(), now)
        })
        .collect();
    let oldest_due = senders.iter().filter_map(|sender| sender.oldest_due_time);
    let journal = store.journal_numbers().await?;
    let subscriptions =
        Events(services.clone()).subscriptions(caller, false, "", SUBSCRIPTIONS_MAX).await?.subscriptions;
    let (pending_callbacks, dead_callbacks) = store.callback_numbers().await?;
    let at = |position| Cursor { epoch: store.epoch(), position }.to_string();
    Ok(proto::GetStatsResponse {
        window: Some(answer::duration(now - from)),
        read_time: Some(answer::timestamp(now)),
        queue_depth: senders.iter().map(|sender| sender.queue_depth).sum(),
        oldest_due_time: oldest_due.min_by_key(|time| (time.seconds, time.nanos)),
        senders,
        pending_webhook_deliveries: journal.pending,
        oldest_pending_webhook_time: journal.oldest_pending_ms.map(answer::timestamp),
        unreadable_webhook_deliveries: journal.unreadable,
        parked_webhook_deliveries: journal.parked,
        head_cursor: at(store.log_head().await?),
        oldest_cursor: at(store.log_oldest().await? - 1),
        subscriptions,
        pending_callbacks,
        dead_callbacks,
    })
}

fn window(given: Option<prost_types::Duration>, violations: &mut Violations) -> Millis {
    let Some(given) = given else { return WINDOW_MS };
    let millis = convert::duration(given).and_then(|window| Millis::try_from(window.as_millis()).ok());
    match millis {
        Some(millis) if (WINDOW_MIN_MS..=WINDOW_MAX_MS).contains(&millis) => millis,
        _ => {
            violations.add("window", Reason::Invalid, "1 minute to 30 days");
            WINDOW_MS
        }
    }
}

/// The senders that were asked for, or all that the caller sees, by id.
fn accounts(services: &Services, caller: &Caller, asked: Vec<SenderId>) -> Result<Vec<std::sync::Arc<Account>>, Error> {
    let all = services.senders.all().into_iter().filter(|account| caller.sees(&account.sender.id));
    let missing = |id: &&SenderId| !caller.sees(id) || services.senders.get(id).is_none();
    if let Some(missing) = asked.iter().find(missing) {
        return Err(Error::NotFound { resource: "sender", name: missing.to_string() });
    }
    Ok(all.filter(|account| asked.is_empty() || asked.contains(&account.sender.id)).collect())
}

fn answer_sender(
    account: &Account,
    numbers: SenderNumbers,
    health: Option<SenderHealth>,
    now: Millis,
) -> proto::SenderStats {
    let mut statuses: Vec<proto::StatusCount> = numbers
        .accepted
        .iter()
        .map(|(status, count)| proto::StatusCount { status: *status as i32, count: *count })
        .collect();
    statuses.sort_by_key(|count| count.status);
    let rate = account.rate();
    let pace = numbers.pace.unwrap_or_default();
    let limiter = proto::SenderLimiter {
        messages_per_second: rate.per_second,
        effective_messages_per_second: rate.per_second.map(|rate| rate * pace.factor_at(now)),
        hold_until_time: Some(pace.hold_until_ms).filter(|until| *until > now).map(answer::timestamp),
        held_contacts: numbers.held_contacts,
    };
    proto::SenderStats {
        sender: account.sender.id.to_string(),
        statuses,
        incoming_messages: numbers.incoming,
        queue_depth: numbers.queue_depth(),
        in_flight: numbers.in_flight,
        in_doubt: numbers.in_doubt(),
        oldest_due_time: numbers.oldest_due_ms.map(answer::timestamp),
        state: super::sender::state_of(account) as i32,
        health: health.map_or(0, |health| health as i32),
        limiter: Some(limiter),
    }
}
