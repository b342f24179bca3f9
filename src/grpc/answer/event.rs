//! Events into answers.

use super::incoming::incoming_message;
use super::{contact, delivery_error, opt_out, timestamp};
use crate::domain::event::{
    ClientInfo, ContactChanged, Event, EventType, Pricing, SenderChange, StatusChanged, TemplateChanged,
};
use crate::domain::template::{Quality, TemplateCategory, TemplateStatus};
use crate::domain::{Cursor, Payload};
use crate::proto;

/// An event as a key that may read all of it is told.
pub(crate) fn event(event: &Event, epoch: i64) -> proto::Event {
    use proto::event::Payload as Answer;
    let payload = match &event.payload {
        Payload::StatusChanged(status) => Answer::StatusChanged(status_changed(status)),
        Payload::IncomingMessage(incoming) => Answer::IncomingMessage(incoming_message(incoming)),
        Payload::TemplateChanged(changed) => Answer::TemplateChanged(template_changed(changed)),
        Payload::SenderChanged(changed) => Answer::SenderChanged(proto::SenderChanged {
            kind: sender_change(changed.change) as i32,
            health: changed.health.map_or(0, |health| health as i32),
            quality: changed.quality.map_or(0, |quality| quality as i32),
            messaging_limit: changed.messaging_limit.clone(),
            detail: changed.detail.clone(),
            provider_code: changed.provider_code.clone(),
            ..Default::default()
        }),
        Payload::ContactChanged(changed) => Answer::ContactChanged(contact_changed(changed)),
    };
    proto::Event {
        cursor: Cursor { epoch, position: event.position }.to_string(),
        event_id: event.id.to_string(),
        occur_time: Some(timestamp(event.occur_at_ms.unwrap_or(event.receive_at_ms))),
        receive_time: Some(timestamp(event.receive_at_ms)),
        record_time: Some(timestamp(event.record_at_ms)),
        sender: event.sender.to_string(),
        payload: Some(payload),
        erase_time: event.erase_at_ms.map(timestamp),
    }
}

fn contact_changed(changed: &ContactChanged) -> proto::ContactChanged {
    proto::ContactChanged {
        kind: changed.kind as i32,
        opt_out: Some(opt_out(&changed.opt_out)),
        source: changed.source as i32,
        message_id: changed.message_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}

fn sender_change(change: SenderChange) -> proto::SenderChangeKind {
    match change {
        SenderChange::Created => proto::SenderChangeKind::Created,
        SenderChange::Updated => proto::SenderChangeKind::Updated,
        SenderChange::Paused => proto::SenderChangeKind::Paused,
        SenderChange::Resumed => proto::SenderChangeKind::Resumed,
        SenderChange::Deleted => proto::SenderChangeKind::Deleted,
        SenderChange::Quality => proto::SenderChangeKind::Quality,
        SenderChange::Limits => proto::SenderChangeKind::Limits,
        SenderChange::CredentialsRefused => proto::SenderChangeKind::CredentialsRefused,
        SenderChange::Unreachable => proto::SenderChangeKind::Unreachable,
        SenderChange::Recovered => proto::SenderChangeKind::Recovered,
        SenderChange::Blocked => proto::SenderChangeKind::Blocked,
        SenderChange::CallbacksDisabled => proto::SenderChangeKind::CallbacksDisabled,
        SenderChange::CallbacksEnabled => proto::SenderChangeKind::CallbacksEnabled,
    }
}

fn template_changed(changed: &TemplateChanged) -> proto::TemplateChanged {
    let status = |status: Option<TemplateStatus>| status.map_or(0, |status| status as i32);
    let category = |category: Option<TemplateCategory>| category.map_or(0, |category| category as i32);
    let quality = |quality: Option<Quality>| quality.map_or(0, |quality| quality as i32);
    proto::TemplateChanged {
        template: changed.template.clone(),
        template_id: changed.template_id.clone(),
        language_code: changed.language_code.clone(),
        status: status(changed.status),
        previous_status: status(changed.previous_status),
        category: category(changed.category),
        previous_category: category(changed.previous_category),
        quality: quality(changed.quality),
        previous_quality: quality(changed.previous_quality),
        reason: changed.reason.clone(),
    }
}

fn status_changed(status: &StatusChanged) -> proto::MessageStatusChanged {
    proto::MessageStatusChanged {
        message_id: status.message_id.to_string(),
        status: status.status.map_or(0, |status| i32::from(status as i16)),
        current_status: i32::from(status.current_status as i16),
        late: status.late,
        duplicate: status.duplicate,
        contradicts_final: status.contradicts_final,
        to: status.to.clone(),
        provider_message_id: status.provider_message_id.clone().unwrap_or_default(),
        attempt: status.attempt,
        error: status.error.as_ref().map(delivery_error),
        callback_data: status.callback_data.clone(),
        labels: status.labels.clone().into_iter().collect(),
        pricing: status.pricing.as_ref().map(pricing),
        client_info: status.client_info.as_ref().map(client_info),
        contact: status.contact.as_ref().map(contact),
        provider_status: status.provider_status.clone(),
        via_sender: status.via_sender.as_ref().map(ToString::to_string).unwrap_or_default(),
        next_sender: status.next_sender.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn pricing(pricing: &Pricing) -> proto::Pricing {
    proto::Pricing {
        billable: Some(pricing.billable),
        model: pricing.pricing_model.clone(),
        category: pricing.category.clone(),
        r#type: pricing.r#type.clone(),
        ..Default::default()
    }
}

fn client_info(info: &ClientInfo) -> proto::ClientInfo {
    proto::ClientInfo {
        ip: info.ip.clone(),
        browser: info.browser.clone(),
        os: info.os.clone(),
        user_agent: info.user_agent.clone(),
    }
}

/// The contract's number of an event type.
pub(in crate::grpc) fn event_type(number: i32) -> Option<EventType> {
    match proto::EventType::try_from(number) {
        Ok(proto::EventType::StatusChanged) => Some(EventType::StatusChanged),
        Ok(proto::EventType::IncomingMessage) => Some(EventType::IncomingMessage),
        Ok(proto::EventType::TemplateChanged) => Some(EventType::TemplateChanged),
        Ok(proto::EventType::SenderChanged) => Some(EventType::SenderChanged),
        Ok(proto::EventType::ContactChanged) => Some(EventType::ContactChanged),
        Ok(proto::EventType::Unspecified) | Err(_) => None,
    }
}
