//! ListCallbacks and RetryCallbacks.

use prost::Message as _;

use super::page::{page_size, page_token};
use super::seen::visible_senders;
use super::{Services, answer, convert};
use crate::access::Caller;
use crate::domain::callback::{Callback, CallbackAttempt, CallbackState};
use crate::domain::{Cursor, EventId, MessageId, Millis, now_ms};
use crate::error::{Error, Reason, Violations};
use crate::proto;
use crate::store::CallbackFilter;

/// Callbacks on a page when the request does not say, and at most.
const PAGE: (i32, i32) = (50, 1_000);
/// Ids that one request may name.
const IDS_MAX: usize = 1_000;
/// Bytes of a page: below what clients take by default, 4 MiB.
const PAGE_BYTES: usize = 3 << 20;

pub(super) async fn list(
    services: &Services,
    caller: &Caller,
    request: proto::ListCallbacksRequest,
) -> Result<proto::ListCallbacksResponse, Error> {
    let mut violations = Violations::default();
    let size = page_size(request.page_size, PAGE.0, PAGE.1, &mut violations);
    let before = page_token(&request.page_token, services.store.epoch(), &mut violations);
    let senders = convert::sender_filter(request.senders, "senders", &mut violations);
    let mut filter = CallbackFilter {
        states: states(&request.states, &mut violations),
        message_ids: ids(&request.message_ids, "message_ids", &mut violations),
        create_from_ms: time(request.start_create_time, "start_create_time", &mut violations),
        create_before_ms: time(request.end_create_time, "end_create_time", &mut violations),
        ..CallbackFilter::default()
    };
    violations.into_result()?;
    filter.senders = visible_senders(services, caller, senders).await?;
    let found = services.store.callbacks(&filter, before, size + 1).await?;
    let (mut callbacks, mut bytes, mut last) = (Vec::new(), 0, None);
    for callback in found.iter().take(size as usize) {
        let one = answer_callback(callback);
        bytes += one.encoded_len();
        if bytes > PAGE_BYTES && !callbacks.is_empty() {
            break;
        }
        last = Some(callback.position);
        callbacks.push(one);
    }
    let next = last.filter(|_| found.len() > callbacks.len());
    let token = |position: i64| Cursor { epoch: services.store.epoch(), position }.to_string();
    Ok(proto::ListCallbacksResponse { callbacks, next_page_token: next.map(token).unwrap_or_default() })
}

pub(super) async fn retry(
    services: &Services,
    caller: &Caller,
    request: proto::RetryCallbacksRequest,
) -> Result<proto::RetryCallbacksResponse, Error> {
    let mut violations = Violations::default();
    let filters = [
        request.callback_ids.is_empty(),
        request.senders.is_empty(),
        request.states.is_empty(),
        request.start_create_time.is_none(),
        request.end_create_time.is_none(),
    ];
    if filters.into_iter().all(|empty| empty) {
        violations.add("", Reason::Required, "at least one filter is needed: callback_ids, senders, states or a time");
    }
    let ids: Vec<EventId> = ids(&request.callback_ids, "callback_ids", &mut violations);
    let senders = convert::sender_filter(request.senders, "senders", &mut violations);
    let mut filter = CallbackFilter {
        states: states(&request.states, &mut violations),
        create_from_ms: time(request.start_create_time, "start_create_time", &mut violations),
        create_before_ms: time(request.end_create_time, "end_create_time", &mut violations),
        ..CallbackFilter::default()
    };
    violations.into_result()?;
    filter.senders = visible_senders(services, caller, senders).await?;
    let known = services.store.known_callbacks(&ids, &caller.senders).await?;
    if let Some(unknown) = ids.iter().find(|id| !known.contains(id)) {
        return Err(Error::NotFound { resource: "callback", name: unknown.to_string() });
    }
    if filter.states.is_empty() && ids.is_empty() {
        filter.states.push(CallbackState::Dead);
    }
    filter.ids = ids;
    // What is retried is made before now, so what comes meanwhile is none of it.
    let (now, mut after, mut retried_count) = (now_ms(), 0, 0);
    while let Some((count, last, appended)) = services.store.retry_callbacks(&filter, after, now).await? {
        services.appended(&appended);
        retried_count += count as i64;
        after = last;
    }
    services.callbacks.callbacks_came();
    Ok(proto::RetryCallbacksResponse { retried_count })
}

fn ids<T>(given: &[String], path: &str, violations: &mut Violations) -> Vec<T>
where
    T: std::str::FromStr<Err = (Reason, String)>,
{
    if given.len() > IDS_MAX {
        violations.add(path, Reason::TooLong, format!("{} ids; a request names at most {IDS_MAX}", given.len()));
        return Vec::new();
    }
    let read = given.iter().enumerate();
    read.filter_map(|(i, id)| violations.check(format!("{path}[{i}]"), id.parse())).collect()
}

fn states(numbers: &[i32], violations: &mut Violations) -> Vec<CallbackState> {
    let mut states = Vec::with_capacity(numbers.len());
    for (i, number) in numbers.iter().enumerate() {
        match CallbackState::from_number(*number) {
            Some(state) => states.push(state),
            None => violations.add(format!("states[{i}]"), Reason::Invalid, "a state is PENDING, DELIVERED or DEAD"),
        }
    }
    states
}

fn time(time: Option<prost_types::Timestamp>, path: &str, violations: &mut Violations) -> Option<Millis> {
    let millis = convert::millis(time?).ok_or((Reason::Invalid, "not a time".to_owned()));
    violations.check(path, millis)
}

fn answer_callback(callback: &Callback) -> proto::Callback {
    let MessageId(message_id) = callback.message_id;
    proto::Callback {
        callback_id: callback.id.to_string(),
        message_id: message_id.to_string(),
        sender: callback.sender.to_string(),
        url: callback.url.clone(),
        state: callback.state as i32,
        create_time: Some(answer::timestamp(callback.create_at_ms)),
        next_attempt_time: callback.next_at_ms.map(answer::timestamp),
        attempts: callback.attempts.iter().map(answer_attempt).collect(),
    }
}

fn answer_attempt(attempt: &CallbackAttempt) -> proto::CallbackAttempt {
    proto::CallbackAttempt {
        number: attempt.number,
        start_time: Some(answer::timestamp(attempt.start_at_ms)),
        elapsed: Some(answer::duration(attempt.elapsed_ms)),
        http_status: attempt.http_status.map_or(0, i32::from),
        answer: attempt.answer.clone(),
    }
}
