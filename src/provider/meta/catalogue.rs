//! Templates as the catalogue has them.

use serde_json::{Map, Value};

use super::door::Door;
use super::wire;
use crate::domain::template::{
    CatalogueButton, CatalogueTemplate, HeaderFormat, ParameterFormat, Quality, TemplateCategory, TemplateParameter,
    TemplateStatus,
};
use crate::provider::AskError;
use crate::provider::lenient::{list, object, text};

/// Reads all pages. Only the cursor of the next page is taken from the answer, never an address.
pub(super) async fn all(door: &Door, waba_id: &str) -> Result<Vec<CatalogueTemplate>, AskError> {
    let path = format!("{waba_id}/message_templates");
    let (mut templates, mut after) = (Vec::new(), None::<String>);
    for _ in 0..wire::TEMPLATE_PAGES_MAX {
        let mut query = vec![("fields", wire::TEMPLATE_FIELDS), ("limit", wire::TEMPLATE_PAGE)];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page = door.get(&path, &query).await?;
        templates.extend(list(&page, "data").iter().filter_map(Value::as_object).filter_map(read));
        let next = next(&page);
        if next.is_none() {
            return Ok(templates);
        }
        if next == after {
            break;
        }
        after = next;
    }
    Err(AskError::Unreachable("the catalogue of templates has no end".into()))
}

fn next(page: &Map<String, Value>) -> Option<String> {
    let paging = object(page, "paging")?;
    text(paging, "next")?;
    text(object(paging, "cursors")?, "after")
}

/// One template; nothing for one without a name.
pub(in crate::provider) fn read(template: &Map<String, Value>) -> Option<CatalogueTemplate> {
    let said = |member: &str| text(template, member).unwrap_or_default();
    let provider_status = said("status");
    let mut read = CatalogueTemplate {
        template: text(template, "name")?,
        template_id: said("id"),
        language_code: said("language"),
        status: status(&provider_status),
        provider_status,
        category: category(&said("category")),
        quality: object(template, "quality_score").and_then(|score| quality(&text(score, "score")?)),
        rejected_reason: Some(said("rejected_reason")).filter(|reason| reason != "NONE").unwrap_or_default(),
        ..CatalogueTemplate::default()
    };
    for component in list(template, "components").iter().filter_map(Value::as_object) {
        self::component(&mut read, component);
    }
    let named = said("parameter_format").eq_ignore_ascii_case("NAMED")
        || read.parameters.iter().any(|parameter| parameter.name.parse::<u32>().is_err());
    read.parameter_format = Some(if named { ParameterFormat::Named } else { ParameterFormat::Positional });
    Some(read)
}

fn component(template: &mut CatalogueTemplate, component: &Map<String, Value>) {
    let said = |member: &str| text(component, member).unwrap_or_default();
    match said("type").to_ascii_uppercase().as_str() {
        "HEADER" => {
            template.header_text = said("text");
            match header_format(&said("format")) {
                Some(format) => template.header_format = Some(format),
                None => unsupported(template, &format!("a header of {}", said("format"))),
            }
        }
        "BODY" => {
            template.body = said("text");
            template.parameters = parameters(&template.body, component);
        }
        "FOOTER" => template.footer = said("text"),
        "BUTTONS" => {
            for button in list(component, "buttons").iter().filter_map(Value::as_object) {
                let button = self::button(button);
                if matches!(button.r#type.as_str(), "MPM" | "SPM" | "CATALOG") {
                    unsupported(template, &format!("a button of type {}", button.r#type));
                }
                template.buttons.push(button);
            }
        }
        other => unsupported(template, &format!("a component of type {other}")),
    }
}

/// The first reason stands.
fn unsupported(template: &mut CatalogueTemplate, what: &str) {
    if template.unsupported_reason.is_empty() {
        template.unsupported_reason = format!("the gateway cannot fill {what}");
    }
}

fn button(button: &Map<String, Value>) -> CatalogueButton {
    let said = |member: &str| text(button, member).unwrap_or_default();
    let (kind, url) = (said("type").to_ascii_uppercase(), said("url"));
    let parameter_required = match kind.as_str() {
        "URL" => url.contains("{{"),
        "COPY_CODE" | "OTP" => true,
        _ => false,
    };
    CatalogueButton { r#type: kind, text: said("text"), url, parameter_required }
}

/// The variables of a text, each once: positions as numbers, names as they come; with the examples that the component gives.
fn parameters(body: &str, component: &Map<String, Value>) -> Vec<TemplateParameter> {
    let mut names: Vec<&str> = Vec::new();
    for name in body.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(name, _)| name.trim()) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| name.parse::<u32>().unwrap_or(u32::MAX));
    let example = object(component, "example");
    let positional = example.map(|example| list(example, "body_text")).unwrap_or_default();
    let positional = positional.first().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let named = example.map(|example| list(example, "body_text_named_params")).unwrap_or_default();
    let example_of = |(place, name): (usize, &str)| {
        let by_name =
            named.iter().filter_map(Value::as_object).find(|given| text(given, "param_name").as_deref() == Some(name));
        let by_place = || positional.get(place).and_then(Value::as_str).map(str::to_owned);
        by_name.and_then(|given| text(given, "example")).or_else(by_place).unwrap_or_default()
    };
    let one =
        |(place, name): (usize, &str)| TemplateParameter { name: name.to_owned(), example: example_of((place, name)) };
    names.into_iter().enumerate().map(one).collect()
}

/// Meta's words for a template's status; those who pass its API on write them in lower case.
pub(super) fn status(word: &str) -> Option<TemplateStatus> {
    Some(match word.trim().to_ascii_uppercase().as_str() {
        "APPROVED" | "REINSTATED" | "UNARCHIVED" => TemplateStatus::Approved,
        "PENDING" | "SUBMITTED" | "CREATED" => TemplateStatus::Pending,
        "REJECTED" => TemplateStatus::Rejected,
        "PAUSED" => TemplateStatus::Paused,
        "DISABLED" => TemplateStatus::Disabled,
        "IN_APPEAL" => TemplateStatus::InAppeal,
        "ARCHIVED" => TemplateStatus::Archived,
        "DELETED" | "PENDING_DELETION" => TemplateStatus::Deleted,
        _ => return None,
    })
}

/// Meta's words for what a template is for.
pub(super) fn category(word: &str) -> Option<TemplateCategory> {
    Some(match word.trim().to_ascii_uppercase().as_str() {
        "MARKETING" => TemplateCategory::Marketing,
        "UTILITY" => TemplateCategory::Utility,
        "AUTHENTICATION" => TemplateCategory::Authentication,
        _ => return None,
    })
}

/// Meta's words for quality.
pub(super) fn quality(word: &str) -> Option<Quality> {
    Some(match word.trim().to_ascii_uppercase().as_str() {
        "GREEN" | "HIGH" => Quality::Green,
        "YELLOW" | "MEDIUM" => Quality::Yellow,
        "RED" | "LOW" => Quality::Red,
        _ => return None,
    })
}

fn header_format(word: &str) -> Option<HeaderFormat> {
    Some(match word.trim().to_ascii_uppercase().as_str() {
        "TEXT" => HeaderFormat::Text,
        "IMAGE" => HeaderFormat::Image,
        "VIDEO" => HeaderFormat::Video,
        "DOCUMENT" => HeaderFormat::Document,
        "LOCATION" => HeaderFormat::Location,
        _ => return None,
    })
}
