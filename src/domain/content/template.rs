//! Templates that providers approved, and what fills them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Location, Media};

/// A template and what fills it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Template {
    /// The provider's name or id.
    pub template: String,
    /// BCP 47 or the provider's form. Filled in with the sender's default when the caller gave none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub language_code: String,
    /// By name or by position (`"1"`, `"2"`, …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// What fills the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<TemplateHeader>,
    /// What fills the buttons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buttons: Vec<TemplateButton>,
    /// What the header's variable is called, where the template's variables have names and the gateway has a copy of it; empty
    /// otherwise. Found, not asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub header_parameter: String,
}

/// Equal is what was asked for alike.
impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        // Every field is named: a new one has to be decided on here.
        let Self { template, language_code, parameters, header, buttons, header_parameter: _ } = self;
        (template, language_code, parameters) == (&other.template, &other.language_code, &other.parameters)
            && (header, buttons) == (&other.header, &other.buttons)
    }
}

impl Template {
    /// The parameters in order: positions as numbers (2 before 10), then names.
    pub fn ordered_parameters(&self) -> Vec<(&str, &str)> {
        let mut ordered: Vec<(&str, &str)> =
            self.parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        ordered.sort_by_key(|(key, _)| (key.parse::<u32>().unwrap_or(u32::MAX), *key));
        ordered
    }
}

/// What fills a template's header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateHeader {
    /// The header's variable.
    Text(String),
    /// The header's file.
    Media(Media),
    /// The header's place.
    Location(Location),
}

/// What fills one button of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateButton {
    /// Position in the template's list of buttons, from 0.
    pub index: u32,
    /// The button's variable.
    pub parameter: String,
    /// What the button does.
    #[serde(default, skip_serializing_if = "TemplateButtonKind::is_url")]
    pub kind: TemplateButtonKind,
}

/// What a button of a template does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TemplateButtonKind {
    /// It opens a page.
    #[default]
    Url,
    /// It answers.
    QuickReply,
    /// It copies a code.
    CopyCode,
}

impl TemplateButtonKind {
    fn is_url(&self) -> bool {
        *self == Self::Url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o12_twelve_variables_sort_as_numbers() {
        let parameters = (1..=12).map(|n| (n.to_string(), format!("v{n}"))).collect();
        let template = Template { template: "t".into(), parameters, ..Default::default() };
        let keys: Vec<_> = template.ordered_parameters().into_iter().map(|(key, _)| key.to_owned()).collect();
        assert_eq!(keys, (1..=12).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
