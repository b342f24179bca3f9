//! Handing messages over: a template by one POST to anybody, everything else by one POST into the person's conversation,
//! which is looked for before.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::conversations::Unfound;
use super::{Adapter, errors, wire};
use crate::domain::content::{Content, Interactive, InteractiveAction, MediaSource, Template, TemplateHeader};
use crate::domain::message::Exchange;
use crate::domain::{DeliveryError, ErrorReason};
use crate::provider::http::{Body, Call, HttpAnswer};
use crate::provider::lenient::object;
use crate::provider::{Answer, Outgoing, Receipt, SendError};

/// Texts shorter than this are not looked for in answers: words like "to" stand there for themselves.
const QUOTABLE: usize = 8;

/// What a success is read as.
type Read = fn(&HttpAnswer) -> Result<Receipt, SendError>;

impl Adapter {
    /// Hands over one message.
    pub(super) async fn hand_over(&self, message: &Outgoing) -> Answer {
        let refused = |error| Answer { outcome: Err(error), exchange: None, usage: None };
        let (path, body, read): (String, Value, Read) = match &message.content {
            Content::Template(_) if message.reply_to.is_some() => return refused(not_supported("quotes by templates")),
            Content::Template(template) => match self.template(message, template) {
                Ok(body) => (wire::PROACTIVE_PATH.to_owned(), body, started),
                Err(error) => return refused(error),
            },
            content => {
                let body = match free(content, message.reply_to.as_deref()) {
                    Ok(body) => body,
                    Err(error) => return refused(error),
                };
                match self.open_conversation(&message.to).await {
                    Ok(conversation) => (format!("conversations/{}/messages", conversation.id), body, written),
                    Err(Unfound::Closed(error)) => return refused(SendError::Refused(error)),
                    Err(Unfound::Unanswered(error, exchange)) => {
                        return Answer { outcome: Err(error), exchange, usage: None };
                    }
                }
            }
        };
        self.post(&path, &body, message, read).await
    }

    async fn post(&self, path: &str, body: &Value, message: &Outgoing, read: Read) -> Answer {
        let Some(url) = self.url(path) else { return Answer { outcome: Err(no_base()), exchange: None, usage: None } };
        let mut private = self.secrets();
        private.push(&message.to.digits);
        private.extend(texts(&message.content).into_iter().filter(|text| text.len() >= QUOTABLE));
        let call = Call {
            method: Method::POST,
            url,
            headers: self.headers(),
            body: Body::Json(body.to_string().into_bytes()),
            redact: private.clone(),
        };
        let called = self.http.call(call).await;
        let (outcome, exchange) = match called.result {
            // The answer names the person and repeats the text; a trace does with what was read in it.
            Ok(answer) if answer.status.is_success() => {
                let outcome = read(&answer);
                let exchange = Exchange { answer: told(&outcome), ..Exchange::clone(&called.exchange) };
                (outcome, Arc::new(exchange))
            }
            Ok(answer) => (Err(errors::of_answer(&answer)), called.exchange),
            Err(error) => (Err(error.into()), called.exchange),
        };
        Answer { outcome: outcome.map_err(|error| error.without(&private)), exchange: Some(exchange), usage: None }
    }

    /// The body of a template: its parameters stand beside the fixed members.
    pub(super) fn template(&self, message: &Outgoing, template: &Template) -> Result<Value, SendError> {
        let refused =
            |words: String| SendError::Refused(DeliveryError::ours(ErrorReason::InvalidRequest, words, false));
        // Judged at the door too; but what stands here would be sent to somebody else, or as something else.
        let taken: Vec<&str> =
            template.parameters.keys().map(String::as_str).filter(|name| self.capabilities.is_reserved(name)).collect();
        if !taken.is_empty() {
            return Err(refused(format!("parameters with reserved names: {}", taken.join(", "))));
        }
        if !template.language_code.is_empty() && !self.config.ignore_language_code {
            return Err(not_supported("choice of a template's language"));
        }
        let mut body = Map::new();
        let mut put = |name: &str, value: &str| drop(body.insert(name.to_owned(), Value::from(value)));
        put("inbox_id", &self.config.inbox_id);
        put("phone_number", &message.to.e164());
        put("template_name", &template.template);
        match &template.header {
            None => {}
            Some(TemplateHeader::Media(media)) => match &media.source {
                MediaSource::Url(url) if media.caption.is_empty() && media.file_name.is_empty() => {
                    put("header_attachment", url);
                }
                _ => return Err(not_supported("media by id, captions and file names in template headers")),
            },
            Some(_) => return Err(not_supported("texts and places in template headers")),
        }
        for button in &template.buttons {
            put(&format!("button_param_{}", button.index), &button.parameter);
        }
        for (name, value) in &template.parameters {
            put(name, value);
        }
        Ok(Value::Object(body))
    }
}

/// The body of a message in a conversation.
pub(super) fn free(content: &Content, reply_to: Option<&str>) -> Result<Value, SendError> {
    let mut attributes = Map::new();
    if let Some(id) = reply_to {
        let id: u64 = id.parse().map_err(|_| not_supported("quotes of messages without a number"))?;
        attributes.insert("in_reply_to".into(), id.into());
    }
    let mut body = json!({ "message_type": "outgoing", "private": false });
    match content {
        Content::Text(text) => body["content"] = text.body.as_str().into(),
        Content::Interactive(interactive) => {
            body["content"] = interactive.body.as_str().into();
            body["content_type"] = "input_select".into();
            attributes.insert("items".into(), buttons(interactive)?);
        }
        other => return Err(not_supported(other.kind())),
    }
    if !attributes.is_empty() {
        body["content_attributes"] = Value::Object(attributes);
    }
    Ok(body)
}

fn buttons(interactive: &Interactive) -> Result<Value, SendError> {
    match &interactive.action {
        InteractiveAction::ReplyButtons(buttons) if interactive.header.is_none() && interactive.footer.is_empty() => {
            Ok(buttons.iter().map(|button| json!({ "title": button.title, "value": button.id })).collect())
        }
        // Four and more items become a list, but none of its own words would: the button's, sections, small print.
        _ => Err(not_supported("interactive messages other than a text with reply buttons")),
    }
}

/// All that a message says, for keeping it out of traces.
fn texts(content: &Content) -> Vec<&str> {
    match content {
        Content::Text(text) => vec![&text.body],
        Content::Interactive(interactive) => vec![&interactive.body],
        Content::Template(template) => {
            let buttons = template.buttons.iter().map(|button| button.parameter.as_str());
            template.parameters.values().map(String::as_str).chain(buttons).collect()
        }
        _ => Vec::new(),
    }
}

/// [assumed] Any 2xx to a template is a success, whatever its body: none is documented. The id of the message, where there
/// is one, saves looking for it later.
fn started(answer: &HttpAnswer) -> Result<Receipt, SendError> {
    let created = serde_json::from_slice::<Map<String, Value>>(&answer.body).unwrap_or_default();
    let within = |of: &Map<String, Value>| {
        wire::id_of(of.get("message_id")).or_else(|| wire::id_of(wire::message_in(of)?.get("id")))
    };
    let provider_message_id = within(&created).or_else(|| within(object(&created, "conversation")?));
    Ok(Receipt { provider_message_id })
}

/// A message in a conversation is answered with itself. Anything else under 2xx is somebody else's answer: a proxy's, or a
/// page to log in.
fn written(answer: &HttpAnswer) -> Result<Receipt, SendError> {
    let message = serde_json::from_slice::<Map<String, Value>>(&answer.body).unwrap_or_default();
    match wire::id_of(message.get("id")) {
        Some(id) => Ok(Receipt { provider_message_id: Some(id) }),
        None => Err(SendError::in_doubt(format!("HTTP {} without a message", answer.status.as_u16()))),
    }
}

fn told(outcome: &Result<Receipt, SendError>) -> String {
    match outcome {
        Ok(Receipt { provider_message_id: Some(id) }) => format!("taken as message {id}"),
        Ok(_) => "taken without an id".to_owned(),
        Err(_) => "an answer that names no message".to_owned(),
    }
}

/// Settings were stored that would not pass the check of today.
pub(super) fn no_base() -> SendError {
    let words = "the sender's base_url is not an address";
    SendError::Refused(DeliveryError::ours(ErrorReason::InvalidSender, words, false))
}

fn not_supported(what: &str) -> SendError {
    SendError::not_supported("cloudhumans", what)
}
