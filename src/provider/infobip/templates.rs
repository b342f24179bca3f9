//! The catalogue of a number.

use serde_json::{Map, Value};

use crate::domain::template::{
    CatalogueButton, CatalogueTemplate, HeaderFormat, ParameterFormat, Quality, TemplateCategory, TemplateParameter,
    TemplateStatus,
};
use crate::provider::lenient::{list, object, text, text_of};

/// All templates of an answer; one without a name is none.
pub(super) fn read(said: &Map<String, Value>) -> Vec<CatalogueTemplate> {
    list(said, "templates").iter().filter_map(Value::as_object).filter_map(one).collect()
}

fn one(template: &Map<String, Value>) -> Option<CatalogueTemplate> {
    let name = text(template, "name")?;
    let said = |member: &str| text(template, member).unwrap_or_default();
    let none = Map::new();
    let structure = object(template, "structure").unwrap_or(&none);
    let header = object(structure, "header").unwrap_or(&none);
    let body = object(structure, "body").unwrap_or(&none);
    let body_text = text(body, "text").or_else(|| text(structure, "body")).unwrap_or_default();
    let examples: Vec<String> = list(body, "examples").iter().filter_map(text_of).collect();
    let parameters: Vec<TemplateParameter> = (1..=positions(&body_text))
        .map(|n| TemplateParameter { name: n.to_string(), example: examples.get(n - 1).cloned().unwrap_or_default() })
        .collect();
    let provider_status = said("status");
    let header_text = text(header, "text").unwrap_or_default();
    Some(CatalogueTemplate {
        template: name,
        template_id: said("id"),
        language_code: said("language"),
        status: status(&provider_status),
        provider_status,
        category: category(&said("category")),
        quality: quality(&said("quality")),
        rejected_reason: ["rejectedReason", "rejectionReason"]
            .into_iter()
            .find_map(|m| text(template, m))
            .unwrap_or_default(),
        parameter_format: (!parameters.is_empty()).then_some(ParameterFormat::Positional),
        // A text without a variable is not to be filled.
        header_format: text(header, "format")
            .and_then(|format| header_format(&format))
            .filter(|format| *format != HeaderFormat::Text || positions(&header_text) > 0),
        header_text,
        body: body_text,
        footer: object(structure, "footer").and_then(|footer| text(footer, "text")).unwrap_or_default(),
        parameters,
        buttons: list(structure, "buttons").iter().filter_map(Value::as_object).map(button).collect(),
        ..CatalogueTemplate::default()
    })
}

/// The highest position among `{{1}}`, `{{2}}`, …; Meta allows a hundred at most.
fn positions(text: &str) -> usize {
    let inside = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
    inside.filter_map(|(position, _)| position.trim().parse::<usize>().ok()).filter(|n| *n <= 100).max().unwrap_or(0)
}

fn button(button: &Map<String, Value>) -> CatalogueButton {
    let said = |member: &str| text(button, member).unwrap_or_default();
    let (r#type, url) = (said("type"), said("url"));
    // Payloads of quick replies may be left to WhatsApp; a code may not.
    let parameter_required = url.contains("{{") || r#type == "COPY_CODE";
    CatalogueButton { r#type, text: said("text"), url, parameter_required }
}

pub(super) fn status(word: &str) -> Option<TemplateStatus> {
    Some(match word.to_ascii_uppercase().as_str() {
        "APPROVED" => TemplateStatus::Approved,
        "PENDING" | "IN_REVIEW" | "SUBMITTED" => TemplateStatus::Pending,
        "REJECTED" => TemplateStatus::Rejected,
        "PAUSED" => TemplateStatus::Paused,
        "DISABLED" => TemplateStatus::Disabled,
        "IN_APPEAL" => TemplateStatus::InAppeal,
        "ARCHIVED" => TemplateStatus::Archived,
        "DELETED" | "PENDING_DELETION" => TemplateStatus::Deleted,
        _ => return None,
    })
}

pub(super) fn category(word: &str) -> Option<TemplateCategory> {
    Some(match word.to_ascii_uppercase().as_str() {
        "MARKETING" => TemplateCategory::Marketing,
        "UTILITY" => TemplateCategory::Utility,
        "AUTHENTICATION" => TemplateCategory::Authentication,
        _ => return None,
    })
}

pub(super) fn quality(word: &str) -> Option<Quality> {
    Some(match word.to_ascii_uppercase().as_str() {
        "HIGH" | "GREEN" => Quality::Green,
        "MEDIUM" | "YELLOW" => Quality::Yellow,
        "LOW" | "RED" => Quality::Red,
        _ => return None,
    })
}

fn header_format(word: &str) -> Option<HeaderFormat> {
    Some(match word.to_ascii_uppercase().as_str() {
        "TEXT" => HeaderFormat::Text,
        "IMAGE" => HeaderFormat::Image,
        "VIDEO" => HeaderFormat::Video,
        "DOCUMENT" => HeaderFormat::Document,
        "LOCATION" => HeaderFormat::Location,
        _ => return None,
    })
}
