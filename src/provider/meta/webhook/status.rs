//! Statuses of our messages.

use serde_json::{Map, Value};

use super::Change;
use super::people;
use crate::domain::event::Pricing;
use crate::domain::{Contact, DeliveryError, ErrorReason, MessageStatus};
use crate::provider::StatusReport;
use crate::provider::lenient::{flag, list, object, text};
use crate::provider::meta::errors::Said;

pub(super) fn report(change: &Change, item: &Map<String, Value>) -> Result<StatusReport, String> {
    let provider_status = text(item, "status").ok_or("a status item without a status")?;
    // The echo of our own id, when it reads as one.
    let message_id = text(item, "biz_opaque_callback_data").and_then(|data| data.trim().parse().ok());
    let provider_message_id = text(item, "id").map(|id| id.trim().to_owned());
    if message_id.is_none() && provider_message_id.is_none() {
        return Err("a status that names no message".into());
    }
    let status = word(&provider_status);
    // Members that speak of a group speak of nobody in it.
    let recipient = match text(item, "recipient_type").as_deref() {
        Some("group") => [text(item, "recipient_participant_id"), None],
        _ => [text(item, "recipient_id"), text(item, "recipient_user_id")],
    };
    Ok(StatusReport {
        account: change.account.clone(),
        message_id,
        provider_message_id,
        status,
        error: (status == Some(MessageStatus::Failed)).then(|| error(item)),
        provider_status,
        occur_at_ms: change.time(item),
        pricing: object(item, "pricing").map(pricing),
        contact: Some(people::contact(recipient)).filter(|contact| *contact != Contact::default()),
        ..StatusReport::default()
    })
}

/// Any other word (`deleted` and `warning` are of old) is kept as it came.
fn word(given: &str) -> Option<MessageStatus> {
    Some(match given.trim().to_ascii_lowercase().as_str() {
        "sent" => MessageStatus::Sent,
        "delivered" => MessageStatus::Delivered,
        "read" => MessageStatus::Read,
        "played" => MessageStatus::Played,
        "failed" => MessageStatus::Failed,
        _ => return None,
    })
}

fn error(item: &Map<String, Value>) -> DeliveryError {
    match list(item, "errors").iter().find_map(Value::as_object) {
        Some(error) => Said::read(error).failure(),
        None => DeliveryError::ours(ErrorReason::Unknown, "failed, without a reason", false),
    }
}

fn pricing(pricing: &Map<String, Value>) -> Pricing {
    let said = |member: &str| text(pricing, member).unwrap_or_default();
    Pricing {
        billable: flag(pricing, "billable").unwrap_or(false),
        pricing_model: said("pricing_model"),
        category: said("category"),
        r#type: said("type"),
    }
}
