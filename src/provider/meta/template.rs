//! A template and what fills it, as a send has it.

use serde_json::{Value, json};

use super::send::refused;
use super::{message, wire};
use crate::domain::ErrorReason;
use crate::domain::content::{Template, TemplateHeader};
use crate::provider::{SendError, whatsapp};

/// The member `template`. What has no variables has no component.
pub(super) fn filled(provider: &'static str, template: &Template) -> Result<Value, SendError> {
    let language = wire::language_code(&template.language_code);
    if language.is_empty() {
        let why = "a template needs its language, or the sender a default one";
        return Err(refused(ErrorReason::InvalidRequest, why));
    }
    let mut components = Vec::new();
    if let Some(header) = &template.header {
        components.push(json!({ "type": "header", "parameters": [self::header(provider, header)?] }));
    }
    if !template.parameters.is_empty() {
        components.push(json!({ "type": "body", "parameters": body(template)? }));
    }
    components.extend(template.buttons.iter().map(whatsapp::template_button));
    let mut filled = json!({ "name": template.template, "language": { "code": language } });
    if !components.is_empty() {
        filled["components"] = components.into();
    }
    Ok(filled)
}

fn header(provider: &'static str, header: &TemplateHeader) -> Result<Value, SendError> {
    Ok(match header {
        TemplateHeader::Text(text) => json!({ "type": "text", "text": text }),
        TemplateHeader::Media(media) => message::header_media(provider, media)?,
        TemplateHeader::Location(place) => {
            json!({ "type": "location", "location": message::location(provider, place)? })
        }
    })
}

/// Values by position in their order, or each with its name.
fn body(template: &Template) -> Result<Vec<Value>, SendError> {
    let parameters = template.ordered_parameters();
    let positions = parameters.iter().filter(|(key, _)| key.parse::<u32>().is_ok()).count();
    let named = match positions {
        0 => true,
        all if all == parameters.len() => false,
        _ => {
            let why = "parameters go by position or by name, not by both";
            return Err(refused(ErrorReason::TemplateParameters, why));
        }
    };
    let parameter = |(key, value): (&str, &str)| match named {
        true => json!({ "type": "text", "parameter_name": key, "text": value }),
        false => json!({ "type": "text", "text": value }),
    };
    Ok(parameters.into_iter().map(parameter).collect())
}
