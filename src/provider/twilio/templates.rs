//! The catalogue of the Content API. A content has one id, one language and one row of variables for all of its parts.

use std::collections::HashMap;
use std::sync::PoisonError;

use serde_json::{Map, Value};

use super::{Adapter, no_base, wire};
use crate::domain::content::Template;
use crate::domain::template::{
    CatalogueButton, CatalogueTemplate, ParameterFormat, TemplateCategory, TemplateParameter, TemplateStatus,
};
use crate::domain::{DeliveryError, ErrorReason};
use crate::provider::lenient::{list, object, text};
use crate::provider::{AskError, SendError, address};

/// A template's name and its language, both in lower case and with `_`.
pub(super) type Name = (String, String);

fn key(name: &str, language_code: &str) -> Name {
    (name.trim().to_lowercase(), language_code.trim().replace('-', "_").to_lowercase())
}

impl Adapter {
    /// The id of a template: given as one, or found by its name and language in the catalogue. That is read when the name
    /// was not in it before.
    pub(super) async fn content_sid(&self, template: &Template) -> Result<String, SendError> {
        if wire::is_content_sid(template.template.trim()) {
            return Ok(template.template.trim().to_owned());
        }
        if let Some(sid) = self.known(template) {
            return Ok(sid);
        }
        let catalogue = self.read_catalogue().await.map_err(|error| match error {
            AskError::Refused(error) => SendError::Refused(error),
            error => {
                let error = DeliveryError::ours(ErrorReason::ProviderUnavailable, error.to_string(), true);
                SendError::not_taken(error, None)
            }
        })?;
        self.remember(&catalogue);
        self.known(template).ok_or_else(|| {
            let words = "Twilio has no content of that name in that language; it can also be given by its SID, HX…";
            SendError::Refused(DeliveryError::ours(ErrorReason::TemplateNotFound, words, false))
        })
    }

    fn known(&self, template: &Template) -> Option<String> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(&key(&template.template, &template.language_code)).cloned()
    }

    /// Keeps the ids of a catalogue. Of several contents with the same name and language the approved one counts.
    pub(super) fn remember(&self, catalogue: &[CatalogueTemplate]) {
        let mut names = HashMap::new();
        for template in catalogue {
            let approved = template.status == Some(TemplateStatus::Approved);
            let key = key(&template.template, &template.language_code);
            if approved || !names.contains_key(&key) {
                names.insert(key, template.template_id.clone());
            }
        }
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Reads all pages.
    pub(super) async fn read_catalogue(&self) -> Result<Vec<CatalogueTemplate>, AskError> {
        let Some(base) = &self.content_base else { return Err(AskError::Refused(no_base())) };
        let mut url = address::below(base, wire::CATALOGUE_PATH);
        url.query_pairs_mut().append_pair("PageSize", wire::CATALOGUE_PAGE);
        let mut catalogue = Vec::new();
        for _ in 0..wire::CATALOGUE_PAGES_MAX {
            let page = self.ask(url.clone()).await?;
            catalogue.extend(list(&page, "contents").iter().filter_map(read));
            let next = object(&page, "meta").and_then(|meta| text(meta, "next_page_url"));
            match next.and_then(|next| super::next_page(&url, &next)) {
                Some(next) if next != url => url = next,
                _ => break,
            }
        }
        Ok(catalogue)
    }
}

/// One content; nothing for one without an id.
fn read(content: &Value) -> Option<CatalogueTemplate> {
    let content = content.as_object()?;
    let template_id = text(content, "sid")?;
    let none = Map::new();
    let approval = object(content, "approval_requests").unwrap_or(&none);
    let provider_status = text(approval, "status").unwrap_or_default();
    // One content mostly has one form; further ones are for channels that cannot show the first.
    let forms = object(content, "types").unwrap_or(&none);
    let form = forms.values().find_map(Value::as_object).unwrap_or(&none);
    let parameters = parameters(object(content, "variables").unwrap_or(&none));
    let positional = parameters.iter().all(|parameter| parameter.name.parse::<u32>().is_ok());
    let parameter_format = if positional { ParameterFormat::Positional } else { ParameterFormat::Named };
    Some(CatalogueTemplate {
        template: text(content, "friendly_name").unwrap_or_else(|| template_id.clone()),
        template_id,
        language_code: text(content, "language").unwrap_or_default(),
        status: status(&provider_status),
        provider_status,
        category: text(approval, "category").and_then(|category| self::category(&category)),
        rejected_reason: text(approval, "rejection_reason").unwrap_or_default(),
        parameter_format: (!parameters.is_empty()).then_some(parameter_format),
        header_text: ["header_text", "title"].into_iter().find_map(|name| text(form, name)).unwrap_or_default(),
        body: text(form, "body").unwrap_or_default(),
        footer: ["footer", "subtitle"].into_iter().find_map(|name| text(form, name)).unwrap_or_default(),
        parameters,
        buttons: list(form, "actions").iter().filter_map(Value::as_object).map(button).collect(),
        ..CatalogueTemplate::default()
    })
}

/// Names with their samples, positions as numbers (2 before 10).
fn parameters(variables: &Map<String, Value>) -> Vec<TemplateParameter> {
    let parameter =
        |name: &String| TemplateParameter { name: name.clone(), example: text(variables, name).unwrap_or_default() };
    let mut parameters: Vec<_> = variables.keys().map(parameter).collect();
    parameters.sort_by_key(|parameter| (parameter.name.parse::<u32>().unwrap_or(u32::MAX), parameter.name.clone()));
    parameters
}

/// Variables of buttons are among those of the content, so a button itself wants none.
fn button(action: &Map<String, Value>) -> CatalogueButton {
    CatalogueButton {
        r#type: text(action, "type").unwrap_or_default(),
        text: text(action, "title").unwrap_or_default(),
        url: text(action, "url").unwrap_or_default(),
        parameter_required: false,
    }
}

/// [docs] The words of approval. `unsubmitted` is none of ours: inside the window it can be sent all the same.
fn status(word: &str) -> Option<TemplateStatus> {
    Some(match word.to_ascii_lowercase().as_str() {
        "approved" => TemplateStatus::Approved,
        "received" | "pending" => TemplateStatus::Pending,
        "rejected" => TemplateStatus::Rejected,
        "paused" => TemplateStatus::Paused,
        "disabled" => TemplateStatus::Disabled,
        _ => return None,
    })
}

fn category(word: &str) -> Option<TemplateCategory> {
    Some(match word.to_ascii_uppercase().as_str() {
        "MARKETING" => TemplateCategory::Marketing,
        "UTILITY" => TemplateCategory::Utility,
        "AUTHENTICATION" => TemplateCategory::Authentication,
        _ => return None,
    })
}
