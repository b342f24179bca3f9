//! What is to be sent against what the provider has approved: a pure function.

use super::{Copies, in_language, languages};
use crate::domain::content::{MediaKind, Template, TemplateHeader};
use crate::domain::template::{CatalogueButton, CatalogueTemplate, HeaderFormat, TemplateCategory, TemplateStatus};
use crate::error::{Error, Reason, Violations};

/// What stands against a template that is to be sent.
#[derive(Debug, Default)]
pub struct Judgement {
    /// Everything about it that does not fit; paths are those of SendTemplateRequest.
    pub violations: Violations,
    /// Why it cannot be sent just now, whatever it is filled with.
    pub standing: Option<Error>,
    /// The language that was meant, where none was given and there is only one.
    pub language_code: Option<String>,
    /// What the header's variable is called, where it has a name.
    pub header_parameter: Option<String>,
    /// What the template is for, where the copies tell.
    pub category: Option<TemplateCategory>,
    /// Nothing was compared: the sender's provider publishes no templates, or they were not read yet.
    pub unchecked: bool,
}

impl Judgement {
    /// Whether nothing stands against it.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.standing.is_none()
    }

    /// What stands against it: what is wrong with the request before what is wrong with the template.
    pub fn into_error(self) -> Option<Error> {
        self.violations.into_result().err().or(self.standing)
    }

    /// The same for a template that stands below the request's root.
    pub fn add_below(self, path: &str, violations: &mut Violations) {
        let mut own = Violations::default();
        for known in violations.iter() {
            if let Some(field) = known.field.strip_prefix(path).and_then(|rest| rest.strip_prefix('.')) {
                own.add(field, known.reason, &known.description);
            }
        }
        let known = own.iter().count();
        self.add_to(&mut own);
        violations.nest(path, own.into_vec().split_off(known).into());
    }

    /// Adds what is wrong to what is known to be wrong. A field that could not be read, or that the provider cannot carry,
    /// is not judged twice.
    pub fn add_to(self, violations: &mut Violations) {
        let known: Vec<String> = violations.iter().map(|violation| violation.field.clone()).collect();
        for violation in self.violations.into_vec() {
            if !known.iter().any(|known| is_about_the_same(known, &violation.field)) {
                violations.add(violation.field, violation.reason, violation.description);
            }
        }
    }
}

/// Whether two paths are of one field. Each parameter is a field of its own; headers and buttons were read as a whole.
fn is_about_the_same(a: &str, b: &str) -> bool {
    let root = |path: &str| path.split(['.', '[']).next().unwrap_or_default().to_owned();
    let one_parameter = |path: &str| path.starts_with("parameters[");
    a == b || root(a) == root(b) && !(one_parameter(a) && one_parameter(b))
}

/// Compares a template with the copies. Its language is filled in already, when the caller or the sender has one.
pub fn judge(copies: &Copies, template: &Template) -> Judgement {
    let mut judgement = Judgement::default();
    let Some(entry) = find(copies, template, &mut judgement.violations) else { return judgement };
    if template.language_code.is_empty() {
        judgement.language_code = Some(entry.language_code.clone());
    }
    parameters(entry, template, &mut judgement.violations);
    header(entry, template.header.as_ref(), &mut judgement.violations);
    buttons(entry, template, &mut judgement.violations);
    judgement.header_parameter = named_variable(&entry.header_text).map(str::to_owned);
    judgement.standing = standing(entry);
    judgement.category = entry.category;
    judgement
}

/// The name in `Olá {{nome}}`; nothing for a position, `{{1}}`, or no variable.
fn named_variable(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("{{")?;
    let (name, _) = rest.split_once("}}")?;
    Some(name.trim()).filter(|name| !name.is_empty() && name.parse::<u32>().is_err())
}

fn find<'a>(copies: &'a Copies, template: &Template, violations: &mut Violations) -> Option<&'a CatalogueTemplate> {
    let named = copies.named(&template.template);
    let code = &template.language_code;
    match named.as_slice() {
        [] => {
            let description = "the sender has no such template; ListTemplates shows those that it has";
            violations.add("template", Reason::NotAvailable, description);
            None
        }
        [only] if code.is_empty() => Some(only),
        several if code.is_empty() => {
            let description = format!("a language is needed; there are {}", languages(several));
            violations.add("language_code", Reason::Required, description);
            None
        }
        several => {
            let found = in_language(several, code);
            if found.is_none() {
                let description = format!("the template is not there in {code}; there are {}", languages(several));
                violations.add("language_code", Reason::NotAvailable, description);
            }
            found
        }
    }
}

/// Whether the template can be sent at all. A status in a word that we do not know is left to the provider.
fn standing(entry: &CatalogueTemplate) -> Option<Error> {
    let CatalogueTemplate { template, language_code, .. } = entry;
    let of = |reason, message: String, status: Option<TemplateStatus>| {
        let mut metadata = vec![("template", template.clone()), ("language_code", language_code.clone())];
        metadata.extend(status.map(|status| ("status", status.as_str().to_owned())));
        Error::Precondition { reason, message, metadata }
    };
    match entry.status {
        Some(status) if status != TemplateStatus::Approved => {
            let word = status.as_str();
            let message =
                format!("template {template:?} ({language_code}) is {word}; only an APPROVED one can be sent");
            Some(of("TEMPLATE_NOT_APPROVED", message, Some(status)))
        }
        _ if !entry.unsupported_reason.is_empty() => {
            let why = &entry.unsupported_reason;
            let message = format!("template {template:?} ({language_code}) cannot be sent by this gateway: {why}");
            Some(of("TEMPLATE_NOT_SUPPORTED", message, None))
        }
        _ => None,
    }
}

/// Every variable has a value, and every value a variable. A catalogue that tells no text tells no variables either.
fn parameters(entry: &CatalogueTemplate, template: &Template, violations: &mut Violations) {
    if entry.body.is_empty() && entry.parameters.is_empty() {
        return;
    }
    let names: Vec<&str> = entry.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    for name in names.iter().filter(|name| !template.parameters.contains_key(**name)) {
        let description = format!("the template has a variable {name:?}, which needs a value");
        violations.add(format!("parameters[{name:?}]"), Reason::Required, description);
    }
    for key in template.parameters.keys().filter(|key| !names.contains(&key.as_str())) {
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let description = format!("the template has no such variable; it has {there}");
        violations.add(format!("parameters[{key:?}]"), Reason::NotAvailable, description);
    }
}

fn header(entry: &CatalogueTemplate, given: Option<&TemplateHeader>, violations: &mut Violations) {
    let file = |kind: MediaKind| match given {
        Some(TemplateHeader::Media(media)) if media.kind == kind => None,
        Some(TemplateHeader::Media(_)) => Some(("header.media.kind", Reason::Invalid, format!("a {}", kind.as_str()))),
        Some(_) => Some(("header", Reason::Invalid, format!("media of kind {}", kind.as_str()))),
        None => Some(("header", Reason::Required, format!("media of kind {}", kind.as_str()))),
    };
    let wrong = match (entry.header_format, given) {
        (None, None) => None,
        (None, Some(_)) => Some(("header", Reason::NotAvailable, "nothing: it has none".to_owned())),
        (Some(HeaderFormat::Image), _) => file(MediaKind::Image),
        (Some(HeaderFormat::Video), _) => file(MediaKind::Video),
        (Some(HeaderFormat::Document), _) => file(MediaKind::Document),
        (Some(HeaderFormat::Location), Some(TemplateHeader::Location(_))) => None,
        (Some(HeaderFormat::Location), Some(_)) => Some(("header", Reason::Invalid, "a location".to_owned())),
        (Some(HeaderFormat::Location), None) => Some(("header", Reason::Required, "a location".to_owned())),
        (Some(HeaderFormat::Text), given) => {
            let text = || format!("a text, for {:?}", entry.header_text);
            match (entry.header_text.contains("{{"), given) {
                (true, Some(TemplateHeader::Text(_))) | (false, None) => None,
                (true, Some(_)) => Some(("header", Reason::Invalid, text())),
                (true, None) => Some(("header", Reason::Required, text())),
                (false, Some(_)) => Some(("header", Reason::NotAvailable, "nothing: its text is fixed".to_owned())),
            }
        }
    };
    if let Some((field, reason, takes)) = wrong {
        violations.add(field, reason, format!("the template's header takes {takes}"));
    }
}

fn buttons(entry: &CatalogueTemplate, template: &Template, violations: &mut Violations) {
    let shown = |button: &CatalogueButton| format!("{} {:?}", button.r#type, button.text);
    for (i, given) in template.buttons.iter().enumerate() {
        match entry.buttons.get(given.index as usize) {
            None => {
                let description = format!("the template has {} buttons, counted from 0", entry.buttons.len());
                violations.add(format!("buttons[{i}].index"), Reason::NotAvailable, description);
            }
            // A quick reply may be given a payload and other kinds have rules of their own; these two are known to take none.
            Some(button) if !button.parameter_required && matches!(button.r#type.as_str(), "URL" | "PHONE_NUMBER") => {
                let description = format!("button {} ({}) is fixed and takes none", given.index, shown(button));
                violations.add(format!("buttons[{i}].parameter"), Reason::NotAvailable, description);
            }
            Some(_) => {}
        }
    }
    for (index, button) in entry.buttons.iter().enumerate().filter(|(_, button)| button.parameter_required) {
        if !template.buttons.iter().any(|given| given.index as usize == index) {
            let description = format!("button {index} ({}) needs a parameter", shown(button));
            violations.add("buttons", Reason::Required, description);
        }
    }
}

#[cfg(test)]
mod tests;
