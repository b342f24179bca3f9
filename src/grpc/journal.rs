//! The journal of webhooks, as operators read it.

use std::sync::Arc;

use super::page::page_size;
use super::seen::visible_senders;
use super::{Services, answer, convert};
use crate::access::Caller;
use crate::domain::{Cursor, Millis};
use crate::error::{Error, Reason, Violations};
use crate::proto;
use crate::seal::OVERHEAD;
use crate::store::{After, Delivery, DeliveryFilter, DeliveryState};

/// Bytes of bodies on a page: with the rest of it they fit into the 4 MiB that clients take.
const PAGE_BYTES: usize = 3 << 20;
/// Ids in one request, at most.
const IDS_MAX: usize = 1_000;

/// Lists webhooks.
pub(super) async fn list(
    services: &Services,
    caller: &Arc<Caller>,
    request: proto::ListWebhookDeliveriesRequest,
) -> Result<proto::ListWebhookDeliveriesResponse, Error> {
    let mut violations = Violations::default();
    let size = page_size(request.page_size, 50, 1_000, &mut violations);
    let after = page_token(&request.page_token, services.store.epoch(), &mut violations);
    let filter = Filter {
        ids: request.webhook_delivery_ids,
        senders: request.senders,
        states: request.states,
        times: [request.start_receive_time, request.end_receive_time],
    };
    let filter = filter.read(services, caller, violations).await?;
    let mut found = services.store.deliveries(&filter, after, size + 1).await?;
    let mut more = found.len() as u64 > size;
    found.truncate(size as usize);
    let mut webhook_deliveries = Vec::with_capacity(found.len());
    let mut bytes = 0;
    let mut last = None;
    for delivery in found {
        let mut answered = shown(&delivery);
        if request.include_body {
            bytes += delivery.stored_bytes as usize;
            if bytes > PAGE_BYTES && last.is_some() {
                more = true;
                break;
            }
            answered.body = body(services, &delivery).await?;
        }
        last = Some(delivery.after());
        webhook_deliveries.push(answered);
    }
    let token = last.filter(|_| more).map(|last| write_token(last, services.store.epoch()));
    let next_page_token = token.unwrap_or_default();
    Ok(proto::ListWebhookDeliveriesResponse { webhook_deliveries, next_page_token })
}

/// Has webhooks parsed again.
pub(super) async fn replay(
    services: &Services,
    caller: &Arc<Caller>,
    request: proto::ReplayWebhookDeliveriesRequest,
) -> Result<proto::ReplayWebhookDeliveriesResponse, Error> {
    let filter = Filter {
        ids: request.webhook_delivery_ids,
        senders: request.senders,
        states: request.states,
        times: [request.start_receive_time, request.end_receive_time],
    };
    if filter.is_empty() {
        let needed = "one of webhook_delivery_ids, senders, states, start_receive_time, end_receive_time is needed";
        return Err(Error::invalid("", Reason::Required, needed));
    }
    let filter = filter.read(services, caller, Violations::default()).await?;
    check_ids(services, &filter).await?;
    let replayed_count = services.store.replay(&filter).await? as i64;
    tracing::info!(replayed_count, "webhooks are parsed again");
    Ok(proto::ReplayWebhookDeliveriesResponse { replayed_count })
}

/// Whether every webhook that is named is there, and the caller's to see.
async fn check_ids(services: &Services, filter: &DeliveryFilter) -> Result<(), Error> {
    if filter.ids.is_empty() {
        return Ok(());
    }
    let named =
        DeliveryFilter { ids: filter.ids.clone(), senders: filter.senders.clone(), ..DeliveryFilter::default() };
    let found = services.store.deliveries(&named, None, IDS_MAX as u64).await?;
    match filter.ids.iter().find(|id| !found.iter().any(|delivery| delivery.id == **id)) {
        Some(missing) => Err(Error::NotFound { resource: "webhook delivery", name: missing.to_string() }),
        None => Ok(()),
    }
}

/// The filters that both requests have.
struct Filter {
    ids: Vec<String>,
    senders: Vec<String>,
    states: Vec<i32>,
    times: [Option<prost_types::Timestamp>; 2],
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.ids.is_empty()
            && self.senders.is_empty()
            && self.states.is_empty()
            && self.times.iter().all(Option::is_none)
    }

    async fn read(
        self,
        services: &Services,
        caller: &Arc<Caller>,
        mut violations: Violations,
    ) -> Result<DeliveryFilter, Error> {
        let violations = &mut violations;
        let [start, end] = self.times;
        let filter = DeliveryFilter {
            ids: ids(&self.ids, violations),
            states: states(&self.states, violations),
            from_ms: time(start, "start_receive_time", violations),
            before_ms: time(end, "end_receive_time", violations),
            senders: Vec::new(),
        };
        let senders = convert::sender_filter(self.senders, "senders", violations);
        std::mem::take(violations).into_result()?;
        Ok(DeliveryFilter { senders: visible_senders(services, caller, senders).await?, ..filter })
    }
}

fn ids(given: &[String], violations: &mut Violations) -> Vec<i64> {
    if given.len() > IDS_MAX {
        let description = format!("{} ids; at most {IDS_MAX} go into one request", given.len());
        violations.add("webhook_delivery_ids", Reason::TooLong, description);
        return Vec::new();
    }
    let mut ids = Vec::with_capacity(given.len());
    for (i, id) in given.iter().enumerate() {
        let number = id.parse::<i64>().map_err(|_| (Reason::Invalid, "not an id of a webhook delivery".to_owned()));
        ids.extend(violations.check(format!("webhook_delivery_ids[{i}]"), number));
    }
    ids
}

fn states(given: &[i32], violations: &mut Violations) -> Vec<DeliveryState> {
    use proto::WebhookDeliveryState as Word;
    let mut states = Vec::with_capacity(given.len());
    for (i, number) in given.iter().enumerate() {
        states.push(match Word::try_from(*number) {
            Ok(Word::Pending) => DeliveryState::Pending,
            Ok(Word::Parsed) => DeliveryState::Parsed,
            Ok(Word::Unreadable) => DeliveryState::Unreadable,
            Ok(Word::Parked) => DeliveryState::Parked,
            Ok(Word::Orphaned) => DeliveryState::Orphaned,
            Ok(Word::Unspecified) | Err(_) => {
                violations.add(format!("states[{i}]"), Reason::Invalid, format!("there is no state {number}"));
                continue;
            }
        });
    }
    states
}

fn time(given: Option<prost_types::Timestamp>, field: &str, violations: &mut Violations) -> Option<Millis> {
    let millis = convert::millis(given?).ok_or((Reason::Invalid, "not a time".to_owned()));
    violations.check(field, millis)
}

fn shown(delivery: &Delivery) -> proto::WebhookDelivery {
    use proto::WebhookDeliveryState as Word;
    let state = match delivery.state {
        DeliveryState::Pending => Word::Pending,
        DeliveryState::Parsed => Word::Parsed,
        DeliveryState::Unreadable => Word::Unreadable,
        DeliveryState::Parked => Word::Parked,
        DeliveryState::Orphaned => Word::Orphaned,
    };
    proto::WebhookDelivery {
        webhook_delivery_id: delivery.id.to_string(),
        sender: delivery.sender.to_string(),
        provider: delivery.provider.clone(),
        state: state as i32,
        receive_time: Some(answer::timestamp(delivery.receive_at_ms)),
        parse_time: delivery.parse_at_ms.map(answer::timestamp),
        headers: delivery.headers.clone().into_iter().collect(),
        body: Default::default(),
        body_size_bytes: (delivery.stored_bytes - OVERHEAD as i64).max(0),
        problem: delivery.problem.clone(),
        event_count: delivery.event_count,
        erase_time: delivery.erase_at_ms.map(answer::timestamp),
    }
}

/// Empty when it is gone, or was sealed under another key: then `problem` of its parsing says so.
async fn body(services: &Services, delivery: &Delivery) -> Result<Vec<u8>, Error> {
    let Some(sealed) = services.store.delivery_body(delivery.id).await? else { return Ok(Vec::new()) };
    match services.senders.unseal_webhook(&delivery.sender, &sealed) {
        Ok(body) => Ok(body.into()),
        Err(error) => {
            tracing::warn!(journal_id = delivery.id, %error, "a webhook's body cannot be shown");
            Ok(Vec::new())
        }
    }
}

/// The place, doubled: even among what is open, odd among the others.
fn write_token(after: After, epoch: i64) -> String {
    let position = match after {
        After::Open(id) => id * 2,
        After::Settled(id) => id * 2 + 1,
    };
    Cursor { epoch, position }.to_string()
}

fn page_token(token: &str, epoch: i64, violations: &mut Violations) -> Option<After> {
    if token.is_empty() {
        return None;
    }
    let cursor = token.parse::<Cursor>().ok().filter(|cursor| cursor.epoch == epoch);
    let cursor = cursor.ok_or((Reason::Invalid, "not a page token of this list".to_owned()));
    let position = violations.check("page_token", cursor)?.position;
    Some(if position % 2 == 0 { After::Open(position / 2) } else { After::Settled(position / 2) })
}
