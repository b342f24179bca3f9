//! What became of templates, of numbers and of the account. The shapes of all but the template's status are [assumed].

use serde_json::{Map, Value};

use super::{Change, inside};
use crate::domain::event::SenderChange;
use crate::domain::{ErrorReason, Millis};
use crate::provider::lenient::{list, text};
use crate::provider::meta::catalogue::{category, quality, status};
use crate::provider::meta::errors::Said;
use crate::provider::{Report, SenderReport, TemplateReport};

type Item = Map<String, Value>;

/// Reads the value of a change of any field that is not about messages.
pub(super) fn report(field: &str, value: &Item, occur_at_ms: Option<Millis>) -> Result<Report, String> {
    Ok(match field {
        "message_template_status_update"
        | "message_template_quality_update"
        | "template_category_update"
        | "message_template_components_update" => Report::Template(template(field, value, occur_at_ms)),
        "phone_number_quality_update" => Report::Sender(quality_of_number(value, occur_at_ms)),
        "account_update"
        | "account_alerts"
        | "account_review_update"
        | "business_capability_update"
        | "phone_number_name_update" => Report::Sender(account(field, value, occur_at_ms)),
        _ => return Err("a change of a field that has no reader".into()),
    })
}

fn said(value: &Item, member: &str) -> String {
    text(value, member).unwrap_or_default()
}

fn template(field: &str, value: &Item, occur_at_ms: Option<Millis>) -> TemplateReport {
    let event = said(value, "event");
    let status = status(&event);
    // A word without a status of ours (FLAGGED) is told in words.
    let word = if status.is_none() { event } else { String::new() };
    let changed = if field == "message_template_components_update" { "its text was changed" } else { "" };
    let reason = said(value, "reason");
    let disabled = match inside(value, "disable_info", "disable_date") {
        date if date.is_empty() => date,
        date => format!("disabled on {date}"),
    };
    let reasons = [
        word,
        changed.to_owned(),
        if reason == "NONE" { String::new() } else { reason },
        inside(value, "other_info", "title"),
        inside(value, "other_info", "description"),
        disabled,
    ];
    let category_now = ["new_category", "message_template_category"].into_iter().find_map(|member| text(value, member));
    TemplateReport {
        template: said(value, "message_template_name"),
        template_id: said(value, "message_template_id"),
        language_code: said(value, "message_template_language"),
        occur_at_ms,
        status,
        category: category_now.and_then(|word| category(&word)),
        previous_category: category(&said(value, "previous_category")),
        quality: quality(&said(value, "new_quality_score")),
        previous_quality: quality(&said(value, "previous_quality_score")),
        reason: sentence(reasons),
    }
}

/// Parts that are there, in one line.
fn sentence<const N: usize>(parts: [String; N]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// [assumed] FLAGGED is a quality that fell, UNFLAGGED one that rose again; the rest are about how many people may be
/// written to. It names the number as people do, not by its id.
fn quality_of_number(value: &Item, occur_at_ms: Option<Millis>) -> SenderReport {
    let event = said(value, "event");
    let (change, quality) = match event.as_str() {
        "FLAGGED" => (SenderChange::Quality, Some(crate::domain::template::Quality::Red)),
        "UNFLAGGED" => (SenderChange::Quality, Some(crate::domain::template::Quality::Green)),
        _ => (SenderChange::Limits, None),
    };
    let limit =
        ["current_limit", "max_daily_conversations_per_business"].into_iter().find_map(|member| text(value, member));
    let number = said(value, "display_phone_number");
    SenderReport {
        account: None,
        phone_number: number.clone(),
        change,
        occur_at_ms,
        quality,
        messaging_limit: limit.clone().unwrap_or_default(),
        detail: sentence([number, event.clone(), limit.unwrap_or_default()]),
        provider_code: event,
    }
}

fn account(field: &str, value: &Item, occur_at_ms: Option<Millis>) -> SenderReport {
    let event =
        ["event", "alert_type", "decision"].into_iter().find_map(|member| text(value, member)).unwrap_or_default();
    let ban = inside(value, "ban_info", "waba_ban_state");
    let limit = ["max_daily_conversations_per_business", "max_daily_conversation_per_phone"];
    let limit = limit.into_iter().find_map(|member| text(value, member)).unwrap_or_default();
    let restrictions = list(value, "restriction_info").iter().filter_map(Value::as_object);
    let restrictions: Vec<String> =
        restrictions.filter_map(|restriction| text(restriction, "restriction_type")).collect();
    let change = match event.as_str() {
        _ if ban == "REINSTATE" => SenderChange::Recovered,
        "ACCOUNT_RESTRICTION" | "DISABLED_UPDATE" | "ACCOUNT_DELETED" | "ACCOUNT_OFFBOARDED" | "PARTNER_REMOVED" => {
            SenderChange::Blocked
        }
        "ACCOUNT_RECONNECTED" => SenderChange::Recovered,
        _ if field == "business_capability_update" => SenderChange::Limits,
        _ => SenderChange::Updated,
    };
    let detail = [
        field.to_owned(),
        event.clone(),
        ban,
        restrictions.join(", "),
        inside(value, "violation_info", "violation_type"),
        said(value, "alert_description"),
        said(value, "display_phone_number"),
        limit.clone(),
    ];
    SenderReport {
        account: None,
        phone_number: said(value, "display_phone_number"),
        change,
        occur_at_ms,
        quality: None,
        messaging_limit: limit,
        detail: sentence(detail),
        provider_code: event,
    }
}

/// An error about no message: news when it says that the sender cannot send.
pub(super) fn error(change: &Change, error: &Item) -> Result<Report, String> {
    let failure = Said::read(error).failure();
    let kind = match failure.reason {
        ErrorReason::SenderUnauthorized => SenderChange::CredentialsRefused,
        ErrorReason::SenderBlocked | ErrorReason::InvalidSender | ErrorReason::Billing => SenderChange::Blocked,
        ErrorReason::RateLimited | ErrorReason::Spam => SenderChange::Limits,
        _ => return Err(format!("an error about no message: {}", failure.provider_code)),
    };
    Ok(Report::Sender(SenderReport {
        account: change.account.clone(),
        phone_number: String::new(),
        change: kind,
        occur_at_ms: None,
        quality: None,
        messaging_limit: String::new(),
        detail: failure.provider_message,
        provider_code: failure.provider_code,
    }))
}
