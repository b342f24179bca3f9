//! Handing a message over: one POST of a form, and what its answer means.

use std::time::Duration;

use reqwest::Method;
use serde::Serializer as _;
use serde_json::{Map, Value};

use super::{Adapter, errors, no_base, wire};
use crate::domain::content::{Content, Location, Media, MediaKind, MediaSource, Template};
use crate::domain::{DeliveryError, ErrorReason};
use crate::provider::http::{Body, Call, HttpAnswer};
use crate::provider::lenient::text;
use crate::provider::{Answer, Outgoing, Receipt, SendError, address, whatsapp};

/// Fields of a form, in the order in which they are sent.
pub(super) type Fields = Vec<(&'static str, String)>;

impl Adapter {
    /// One request; before it, and only for a template by its name, the catalogue is read.
    pub(super) async fn hand_over(&self, message: &Outgoing) -> Answer {
        let fields = match self.fields(message).await {
            Ok(fields) => fields,
            Err(error) => return Answer { outcome: Err(error), exchange: None, usage: None },
        };
        let Some(base) = &self.base else {
            return Answer { outcome: Err(SendError::Refused(no_base())), exchange: None, usage: None };
        };
        let private = private_words(message);
        let mut secrets = self.secrets();
        secrets.extend(private.iter().map(String::as_str));
        let call = Call {
            method: Method::POST,
            url: address::below(base, &wire::messages_path(&self.config.account_sid)),
            headers: self.headers(),
            body: Body::Form(fields),
            redact: secrets.clone(),
        };
        let called = self.http.call(call).await;
        let outcome = match called.result {
            Ok(answer) => judge(&answer),
            Err(error) => Err(error.into()),
        };
        Answer {
            outcome: outcome.map_err(|error| error.without(&secrets)),
            exchange: Some(called.exchange),
            usage: None,
        }
    }

    /// The message in Twilio's form. Lengths were judged at the door, and Twilio judges them again; what has no form at all
    /// is refused here, rather than sent in part.
    pub(super) async fn fields(&self, message: &Outgoing) -> Result<Fields, SendError> {
        if message.reply_to.is_some() {
            return Err(not_supported("quotes"));
        }
        let mut fields = vec![("To", format!("{}+{}", wire::CHANNEL, message.to.digits))];
        fields.extend(self.config.from_address().map(|from| ("From", from)));
        if !self.config.messaging_service_sid.is_empty() {
            fields.push(("MessagingServiceSid", self.config.messaging_service_sid.clone()));
        }
        match &message.content {
            Content::Text(text) => fields.push(("Body", text.body.clone())),
            Content::Media(media) => fields.extend(of_media(media)?),
            Content::Location(location) => fields.extend(of_location(location)?),
            Content::Template(template) => fields.extend(self.of_template(template).await?),
            other => return Err(not_supported(other.kind())),
        }
        fields.push(("StatusCallback", self.callback_url(message)));
        // Ten hours are Twilio's default, and the most there is.
        let validity = message.validity.unwrap_or(Duration::MAX).as_secs();
        if validity < wire::VALIDITY_MAX_S {
            fields.push(("ValidityPeriod", validity.max(1).to_string()));
        }
        Ok(fields)
    }

    /// Where statuses of this message go. Nothing else that Twilio takes comes back in them.
    fn callback_url(&self, message: &Outgoing) -> String {
        let mut url = self.webhook_url.clone();
        url.query_pairs_mut().append_pair(wire::MESSAGE_ID, &message.message_id.to_string());
        url.into()
    }

    async fn of_template(&self, template: &Template) -> Result<Fields, SendError> {
        if template.header.is_some() || !template.buttons.is_empty() {
            return Err(not_supported(
                "template headers and buttons: a content has one row of variables for all of it",
            ));
        }
        let mut fields = vec![("ContentSid", self.content_sid(template).await?)];
        if !template.parameters.is_empty() {
            fields.push(("ContentVariables", variables(template)?));
        }
        Ok(fields)
    }
}

/// `{"1":"Marina","2":"12/01/2026"}`: texts in their order, as JSON in a text.
fn variables(template: &Template) -> Result<String, SendError> {
    let mut json = Vec::new();
    let written = serde_json::Serializer::new(&mut json).collect_map(template.ordered_parameters());
    let words = written
        .map_err(|error| error.to_string())
        .and_then(|()| String::from_utf8(json).map_err(|error| error.to_string()));
    words.map_err(|why| SendError::Refused(DeliveryError::ours(ErrorReason::TemplateParameters, why, false)))
}

fn of_media(media: &Media) -> Result<Fields, SendError> {
    let MediaSource::Url(url) = &media.source else { return Err(not_supported("media by id")) };
    match media.kind {
        MediaKind::Voice => return Err(not_supported("voice notes")),
        MediaKind::Sticker => return Err(not_supported("stickers")),
        MediaKind::Audio | MediaKind::Document if !media.caption.is_empty() => {
            return Err(not_supported("captions of sound and documents"));
        }
        _ if !media.file_name.is_empty() => return Err(not_supported("file names")),
        _ => {}
    }
    let mut fields = vec![("MediaUrl", url.clone())];
    if !media.caption.is_empty() {
        fields.push(("Body", media.caption.clone()));
    }
    Ok(fields)
}

fn of_location(location: &Location) -> Result<Fields, SendError> {
    if !location.url.is_empty() {
        return Err(not_supported("pages about places"));
    }
    let (action, body) = wire::place(location);
    Ok(vec![("Body", body), ("PersistentAction", action)])
}

/// What Twilio could say back and nobody may read in a trace, also as the form has it.
fn private_words(message: &Outgoing) -> Vec<String> {
    let encoded = |words: &str| url::form_urlencoded::byte_serialize(words.as_bytes()).collect();
    let said = whatsapp::private_words(&message.content).into_iter();
    let said = said.flat_map(|words| [words.to_owned(), encoded(words)]);
    said.chain([message.to.digits.clone()]).collect()
}

/// What an answer means. A SID says that the message was taken, whatever the HTTP status.
pub(super) fn judge(answer: &HttpAnswer) -> Result<Receipt, SendError> {
    let said = serde_json::from_slice::<Map<String, Value>>(&answer.body).unwrap_or_default();
    let member = |name: &str| text(&said, name).unwrap_or_default();
    if let Some(sid) = text(&said, "sid").and_then(|sid| wire::canonical_id(&sid))
        && answer.status.is_success()
    {
        return match member("status").as_str() {
            "failed" | "undelivered" | "canceled" => {
                Err(SendError::Refused(errors::failure(&member("error_code"), &member("error_message")).1))
            }
            _ => Ok(Receipt { provider_message_id: Some(sid) }),
        };
    }
    let (code, message) = (member("code"), member("message"));
    if answer.status.is_success() && code.is_empty() {
        return Err(SendError::in_doubt(format!("HTTP {} without a sid", answer.status.as_u16())));
    }
    Err(errors::refusal(answer, &code, &message))
}

pub(super) fn not_supported(what: &str) -> SendError {
    SendError::not_supported("twilio", what)
}
