//! The domain into answers.

use prost_types::Timestamp;

use crate::domain::message::{
    Attempt, AttemptOutcome, DEFAULT_VALIDITY_MS, InDoubtPolicy, Message, Priority, WindowPolicy,
};
use crate::domain::opt_out::OptOut;
use crate::domain::{Contact, Content, DeliveryError, Millis, NewMessage};
use crate::proto;

mod content;
mod event;
mod incoming;

pub(crate) use event::event;
pub(super) use event::event_type;

pub(super) fn timestamp(millis: Millis) -> Timestamp {
    let seconds = millis.div_euclid(1_000);
    let nanos = millis.rem_euclid(1_000) as i32 * 1_000_000;
    Timestamp { seconds, nanos }
}

pub(super) fn duration(millis: Millis) -> prost_types::Duration {
    prost_types::Duration { seconds: millis / 1_000, nanos: (millis % 1_000) as i32 * 1_000_000 }
}

pub(super) fn message(message: &Message) -> proto::Message {
    let request = &message.request;
    let options = proto::SendOptions {
        idempotency_key: message.idempotency_key.clone().unwrap_or_default(),
        send_time: request.send_at_ms.map(timestamp),
        validity: Some(duration(request.validity_ms.unwrap_or(DEFAULT_VALIDITY_MS))),
        callback_url: request.callback_url.clone(),
        callback_data: request.callback_data.clone(),
        labels: request.labels.clone().into_iter().collect(),
        priority: priority(request.priority) as i32,
        in_doubt_policy: in_doubt_policy(request.in_doubt_policy) as i32,
        ignore_opt_out: request.ignore_opt_out,
        ignore_known_failures: request.ignore_known_failures,
        fallback_senders: request.fallback_senders.iter().map(ToString::to_string).collect(),
        on_window_closed: window_policy(request),
        ..Default::default()
    };
    let waits = message.status.is_waiting() && message.due_at_ms != Some(message.expire_at_ms);
    proto::Message {
        message_id: message.id.to_string(),
        sender: request.sender.to_string(),
        to: request.to.given.clone(),
        content: Some(content::content(&request.content)),
        reply_to_message_id: request.reply_to_message_id.map(|id| id.to_string()).unwrap_or_default(),
        options: Some(options),
        status: i32::from(message.status as i16),
        error: message.error.as_ref().map(delivery_error),
        hold_reason: message.hold.map_or(0, |reason| i32::from(reason as i16)),
        current_sender: message.sender.to_string(),
        provider_message_id: message.provider_message_id.clone().unwrap_or_default(),
        accept_time: Some(timestamp(message.accept_at_ms)),
        status_time: Some(timestamp(message.status_at_ms)),
        next_attempt_time: message.due_at_ms.filter(|_| waits).map(timestamp),
        expire_time: Some(timestamp(message.expire_at_ms)),
        attempt_count: message.attempt,
        erase_time: message.erase_at_ms.map(timestamp),
        ..Default::default()
    }
}

fn priority(priority: Priority) -> proto::Priority {
    match priority {
        Priority::Urgent => proto::Priority::Urgent,
        Priority::Normal => proto::Priority::Normal,
        Priority::Bulk => proto::Priority::Bulk,
    }
}

/// Templates have none.
fn window_policy(request: &NewMessage) -> Option<proto::WindowPolicy> {
    if matches!(request.content, Content::Template(_)) {
        return None;
    }
    let instead = match &request.on_window_closed {
        WindowPolicy::SendTemplate(template) => Some(content::template(template)),
        _ => None,
    };
    Some(proto::WindowPolicy { action: window_action(&request.on_window_closed) as i32, template: instead })
}

pub(super) fn window_action(policy: &WindowPolicy) -> proto::window_policy::Action {
    use proto::window_policy::Action;
    match policy {
        WindowPolicy::Fail => Action::Fail,
        WindowPolicy::SendAnyway => Action::SendAnyway,
        WindowPolicy::HoldUntilIncoming => Action::HoldUntilIncoming,
        WindowPolicy::SendTemplate(_) => Action::SendTemplate,
    }
}

fn in_doubt_policy(policy: InDoubtPolicy) -> proto::InDoubtPolicy {
    match policy {
        InDoubtPolicy::AtMostOnce => proto::InDoubtPolicy::AtMostOnce,
        InDoubtPolicy::AtLeastOnce => proto::InDoubtPolicy::AtLeastOnce,
    }
}

pub(super) fn attempt(attempt: &Attempt) -> proto::Attempt {
    let outcome = match attempt.outcome {
        None => proto::AttemptOutcome::Started,
        Some(AttemptOutcome::Taken) => proto::AttemptOutcome::Taken,
        Some(AttemptOutcome::Refused) => proto::AttemptOutcome::Refused,
        Some(AttemptOutcome::NotTaken) => proto::AttemptOutcome::NotTaken,
        Some(AttemptOutcome::InDoubt) => proto::AttemptOutcome::InDoubt,
        Some(AttemptOutcome::Skipped) => proto::AttemptOutcome::Skipped,
    };
    let exchange = attempt.exchange.iter().map(|exchange| proto::Exchange {
        method: exchange.method.clone(),
        path: exchange.path.clone(),
        http_status: exchange.http_status.map_or(0, i32::from),
        answer: exchange.answer.clone(),
        elapsed: Some(duration(exchange.elapsed_ms)),
    });
    proto::Attempt {
        number: attempt.number,
        sender: attempt.sender.to_string(),
        outcome: outcome as i32,
        start_time: Some(timestamp(attempt.start_at_ms)),
        end_time: attempt.end_at_ms.map(timestamp),
        provider_message_id: attempt.provider_message_id.clone().unwrap_or_default(),
        error: attempt.error.as_ref().map(delivery_error),
        exchanges: exchange.collect(),
        next_sender: attempt.passed.as_ref().map(|(sender, _)| sender.to_string()).unwrap_or_default(),
        next_sender_error: attempt.passed.as_ref().map(|(_, error)| delivery_error(error)),
        window_template: attempt.instead,
    }
}

pub(super) fn delivery_error(error: &DeliveryError) -> proto::DeliveryError {
    proto::DeliveryError {
        reason: error.reason as i32,
        provider_code: error.provider_code.clone(),
        provider_message: error.provider_message.clone(),
        retryable: error.retryable,
    }
}

fn contact(contact: &Contact) -> proto::Contact {
    proto::Contact {
        phone_number: contact.phone_number.clone().unwrap_or_default(),
        wa_id: contact.wa_id.clone().unwrap_or_default(),
        user_id: contact.user_id.clone().unwrap_or_default(),
        number_variants: contact.number_variants(),
        username: contact.username.clone().unwrap_or_default(),
    }
}

pub(super) fn opt_out(opt_out: &OptOut) -> proto::OptOut {
    proto::OptOut {
        sender: opt_out.sender.to_string(),
        peer: opt_out.peer.clone(),
        category: opt_out.category as i32,
        note: opt_out.note.clone(),
        source: opt_out.source as i32,
        create_time: Some(timestamp(opt_out.create_at_ms)),
        message_id: opt_out.message_id.map(|id| id.to_string()).unwrap_or_default(),
        contact: Some(contact(&opt_out.contact)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::MessageStatus;
    use crate::domain::message::ErrorReason;

    #[test]
    fn our_numbers_are_the_contracts() {
        for status in MessageStatus::ALL {
            let proto = proto::MessageStatus::try_from(i32::from(status as i16)).unwrap();
            assert_eq!(proto.as_str_name(), format!("MESSAGE_STATUS_{}", status.as_str()));
        }
        for number in 1.. {
            let Ok(proto) = proto::DeliveryErrorReason::try_from(number) else { break };
            let word = proto.as_str_name().trim_start_matches("DELIVERY_ERROR_REASON_");
            let ours: ErrorReason = serde_json::from_value(word.into()).unwrap();
            assert_eq!(ours as i32, number, "{word}");
        }
    }

    #[test]
    fn times_before_1970_round_down() {
        assert_eq!(timestamp(-1), Timestamp { seconds: -1, nanos: 999_000_000 });
    }
}
