//! Requests into the domain: parsed once, all violations in one answer.

use url::Url;

use crate::domain::content::{Content, Template, TemplateButton, TemplateButtonKind, TemplateHeader};
use crate::domain::message::{NewMessage, WindowPolicy};
use crate::domain::template::TemplateCategory;
use crate::domain::{MessageId, Millis, PhoneNumber, SenderId};
use crate::error::{Reason, Violations};
use crate::guarded::Guarded;
use crate::proto;

mod content;
mod filters;
mod options;
mod window;

pub(super) use content::upload;
use content::{location, media, message_content};
pub(super) use filters::{label_filter, peer_filter, sender_filter};
use options::{Options, read_options};
pub(super) use options::{duration, millis};
pub(super) use window::TEMPLATE;

/// What no provider needs more of: a bound for texts whose own limit the capabilities know.
const TEXT_MAX: usize = 65_536;
/// Bytes of an address, at most.
const URL_MAX: usize = 2_048;

/// A send that was read: what to store, and under which key.
#[derive(Debug)]
pub(super) struct ReadSend {
    pub request: NewMessage,
    pub key: Option<String>,
    pub validate_only: bool,
}

/// A send as far as it could be read; all that is wrong is in the violations.
pub(super) struct SendParts {
    pub sender: Option<SenderId>,
    pub content: Option<Content>,
    pub to: Option<PhoneNumber>,
    pub reply_to_message_id: Option<MessageId>,
    /// What a template is for, by the gateway's copy of it.
    pub template_category: Option<TemplateCategory>,
    pub options: Options,
}

impl SendParts {
    /// Who sends when the sender before cannot, as far as they could be read.
    pub fn fallback_senders(&self) -> &[SenderId] {
        &self.options.fallback_senders
    }

    /// Where its statuses are to be POSTed, as far as that is an address.
    pub fn callback_url(&self) -> Option<&str> {
        Some(self.options.callback_url.as_str()).filter(|url| !url.is_empty())
    }

    /// The whole, once nothing is wrong.
    pub fn build(self) -> Option<ReadSend> {
        let options = self.options;
        let request = NewMessage {
            sender: self.sender?,
            to: self.to?,
            content: self.content?,
            reply_to_message_id: self.reply_to_message_id,
            send_at_ms: options.send_at_ms,
            validity_ms: options.validity_ms,
            callback_url: options.callback_url,
            callback_data: options.callback_data,
            labels: options.labels,
            priority: options.priority,
            in_doubt_policy: options.in_doubt_policy,
            ignore_opt_out: options.ignore_opt_out,
            ignore_known_failures: options.ignore_known_failures,
            template_category: self.template_category,
            fallback_senders: options.fallback_senders,
            on_window_closed: options.on_window_closed,
        };
        Some(ReadSend { request, key: options.key, validate_only: options.validate_only })
    }
}

/// Reads a SendMessageRequest.
pub(super) fn message(request: proto::SendMessageRequest, now: Millis, violations: &mut Violations) -> SendParts {
    let sender = violations.check("sender", request.sender.parse());
    let to = violations.check("to", request.to.parse());
    let content = match request.content {
        Some(content) => message_content(content, violations),
        None => {
            let kinds = "one of text, media, location, contact_cards, interactive, reaction is needed";
            violations.add("content", Reason::Required, kinds);
            None
        }
    };
    let reply_to_message_id = match request.reply_to_message_id.as_str() {
        "" => None,
        id => violations.check("reply_to_message_id", id.parse()),
    };
    if reply_to_message_id.is_some() && matches!(content, Some(Content::Reaction(_))) {
        violations.add("reply_to_message_id", Reason::NotSupported, "a reaction cannot quote a message");
    }
    let options = read_options(request.options, sender.as_ref(), now, violations);
    if options.ignore_opt_out {
        let description = "only templates may go to somebody who opted out";
        violations.add("options.ignore_opt_out", Reason::NotSupported, description);
    }
    SendParts { sender, content, to, reply_to_message_id, template_category: None, options }
}

/// Reads a SendTemplateRequest.
///
/// # Errors
/// As [`message`].
pub(super) fn template(request: proto::SendTemplateRequest, now: Millis, violations: &mut Violations) -> SendParts {
    let sender = violations.check("sender", request.sender.parse());
    let to = violations.check("to", request.to.parse());
    let content = proto::TemplateContent {
        template: request.template,
        language_code: request.language_code,
        parameters: request.parameters,
        header: request.header,
        buttons: request.buttons,
    };
    let content = template_content(content, violations).map(Content::Template);
    let options = read_options(request.options, sender.as_ref(), now, violations);
    if options.on_window_closed != WindowPolicy::Fail {
        violations.add("options.on_window_closed", Reason::NotSupported, "a template needs no open window");
    }
    SendParts { sender, content, to, reply_to_message_id: None, template_category: None, options }
}

/// A template and what fills it; paths are those of SendTemplateRequest.
fn template_content(request: proto::TemplateContent, violations: &mut Violations) -> Option<Template> {
    let name = violations.check("template", text(request.template, 1, 512, "a template's name or id"));
    let language_code = violations.check("language_code", language(request.language_code));
    for (key, value) in &request.parameters {
        let path = format!("parameters[{key:?}]");
        if key.is_empty() || key.chars().count() > 100 {
            violations.add(&path, Reason::Invalid, "a parameter's name has 1 to 100 characters");
        }
        violations.check(&path, text(value.clone(), 1, 4_096, "a parameter's value"));
    }
    let positions = request.parameters.keys().filter(|key| key.parse::<u32>().is_ok()).count();
    if positions != 0 && positions != request.parameters.len() {
        violations.add("parameters", Reason::Invalid, "parameters go by position or by name, not by both");
    }
    let header = request.header.and_then(|header| template_header(header, violations));
    let buttons = template_buttons(request.buttons, violations);
    let (template, language_code) = name.zip(language_code)?;
    let parameters = request.parameters.into_iter().collect();
    Some(Template { template, language_code, parameters, header, buttons, header_parameter: String::new() })
}

fn language(code: String) -> Result<String, (Reason, String)> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match code.len() {
        0 => Ok(code),
        2..=20 if code.chars().all(fits) => Ok(code),
        _ => Err((Reason::Invalid, "a language code is BCP 47 (`pt-BR`) or the provider's form (`pt_BR`)".into())),
    }
}

fn template_header(header: proto::TemplateHeader, violations: &mut Violations) -> Option<TemplateHeader> {
    use proto::template_header::Content as Header;
    match header.content {
        Some(Header::Text(value)) => {
            let value = violations.check("header.text", text(value, 1, TEXT_MAX, "a header's text"));
            value.map(TemplateHeader::Text)
        }
        Some(Header::Media(value)) => media(value, "header.media", violations).map(TemplateHeader::Media),
        Some(Header::Location(value)) => location(value, "header.location", violations).map(TemplateHeader::Location),
        None => {
            violations.add("header", Reason::Required, "one of text, media, location is needed");
            None
        }
    }
}

fn template_buttons(buttons: Vec<proto::TemplateButton>, violations: &mut Violations) -> Vec<TemplateButton> {
    let mut read: Vec<TemplateButton> = Vec::with_capacity(buttons.len());
    for (i, button) in buttons.into_iter().enumerate() {
        let path = format!("buttons[{i}]");
        let index = u32::try_from(button.index).ok().filter(|index| *index < 10);
        match index {
            Some(index) if read.iter().any(|other| other.index == index) => {
                violations.add(format!("{path}.index"), Reason::Invalid, format!("index {index} is there twice"));
            }
            Some(index) => {
                let parameter = text(button.parameter, 1, 2_000, "a button's parameter");
                let parameter = violations.check(format!("{path}.parameter"), parameter);
                let kind = violations.check(format!("{path}.kind"), template_button_kind(button.kind));
                read.extend(parameter.zip(kind).map(|(parameter, kind)| TemplateButton { index, parameter, kind }));
            }
            None => violations.add(format!("{path}.index"), Reason::Invalid, "an index is 0 to 9"),
        }
    }
    read
}

fn template_button_kind(kind: i32) -> Result<TemplateButtonKind, (Reason, String)> {
    use proto::TemplateButtonKind as Kind;
    match Kind::try_from(kind) {
        Ok(Kind::Unspecified | Kind::Url) => Ok(TemplateButtonKind::Url),
        Ok(Kind::QuickReply) => Ok(TemplateButtonKind::QuickReply),
        Ok(Kind::CopyCode) => Ok(TemplateButtonKind::CopyCode),
        Err(_) => Err((Reason::Invalid, format!("there is no kind {kind}"))),
    }
}

/// A text between two lengths, in characters. Control characters other than line breaks and tabs are no text.
fn text(value: String, min: usize, max: usize, what: &str) -> Result<String, (Reason, String)> {
    let length = value.chars().count();
    if min > 0 && value.trim().is_empty() {
        return Err((Reason::Required, format!("{what} is needed; blanks are none")));
    }
    if length < min {
        return Err((Reason::TooShort, format!("{length} characters; {what} has at least {min}")));
    }
    if length > max {
        return Err((Reason::TooLong, format!("{length} characters; {what} has at most {max}")));
    }
    if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err((Reason::Invalid, format!("{what} holds a control character")));
    }
    Ok(value)
}

/// An address that callbacks can be POSTed to, as far as its form says.
pub(in crate::grpc) fn callback_url(value: &str) -> Result<String, (Reason, String)> {
    let url = http_url(value)?;
    if url.fragment().is_some() {
        return Err((Reason::Invalid, "an address to POST to has no fragment".into()));
    }
    Ok(value.to_owned())
}

/// Whether callbacks may go to an address, as far as that can be said before its name is resolved.
pub(in crate::grpc) fn allowed_url(value: &str, guarded: &Guarded) -> Result<(), (Reason, String)> {
    let Ok(url) = Url::parse(value) else { return Ok(()) };
    guarded.check(&url).map_err(|error| (Reason::Invalid, format!("{error}; an address must be public")))
}

/// An http or https address without credentials in it.
pub(in crate::grpc) fn http_url(value: &str) -> Result<Url, (Reason, String)> {
    if value.is_empty() {
        return Err((Reason::Required, "an address is needed".into()));
    }
    if value.len() > URL_MAX {
        return Err((Reason::TooLong, format!("{} bytes; an address has at most {URL_MAX}", value.len())));
    }
    let url = Url::parse(value).map_err(|error| (Reason::Invalid, format!("not an address: {error}")))?;
    match url.scheme() {
        "http" | "https" if url.username().is_empty() && url.password().is_none() => Ok(url),
        "http" | "https" => Err((Reason::Invalid, "an address must not hold a user or a password".into())),
        other => Err((Reason::Invalid, format!("an address begins with http:// or https://, not {other}:"))),
    }
}
