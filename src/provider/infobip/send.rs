//! Handing a message over: one POST to the path of its kind, and what the answer means.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::errors::{self, Group};
use super::{Adapter, no_base, wire};
use crate::domain::content::{
    Content, Interactive, InteractiveAction, InteractiveHeader, List, Location, Media, MediaSource, Template,
    TemplateHeader,
};
use crate::domain::{DeliveryError, ErrorReason};
use crate::provider::http::{Body, Call, HttpAnswer};
use crate::provider::lenient::{list, object, text};
use crate::provider::{Answer, Outgoing, Receipt, SendError, address, cards, whatsapp};

/// Where a message goes below `whatsapp/1/message`, and what it is there.
struct Part {
    path: &'static str,
    content: Value,
}

impl Adapter {
    pub(super) async fn hand_over(&self, message: &Outgoing) -> Answer {
        let (path, body) = match self.request(message) {
            Ok(request) => request,
            Err(error) => return Answer { outcome: Err(error), exchange: None, usage: None },
        };
        let Some(base) = &self.base else {
            return Answer { outcome: Err(SendError::Refused(no_base())), exchange: None, usage: None };
        };
        // Infobip's words could quote what they speak of.
        let mut secrets = self.secrets();
        secrets.push(&message.to.digits);
        secrets.extend(whatsapp::private_words(&message.content));
        let call = Call {
            method: Method::POST,
            url: address::below(base, &path),
            headers: vec![("authorization", self.authorization()), ("accept", "application/json".into())],
            body: Body::Json(body.to_string().into_bytes()),
            redact: secrets.clone(),
        };
        let called = self.http.call(call).await;
        let outcome = match called.result {
            Ok(answer) => judge(&answer, message),
            Err(error) => Err(error.into()),
        };
        Answer {
            outcome: outcome.map_err(|error| error.without(&secrets)),
            exchange: Some(called.exchange),
            usage: None,
        }
    }

    /// The path and the body. Lengths were judged at the door, and Infobip judges them again; what has no form at all is
    /// refused here, rather than sent in part.
    pub(super) fn request(&self, message: &Outgoing) -> Result<(String, Value), SendError> {
        if message.reply_to.is_some() {
            return Err(not_supported("quotes"));
        }
        let Part { path, content } = part(&message.content)?;
        let body = json!({
            "from": self.config.number(),
            "to": message.to.digits,
            "messageId": wire::attempt_id(message.message_id, message.attempt),
            "content": content,
            "callbackData": message.message_id.to_string(),
            "notifyUrl": self.notify_url.expose(),
        });
        let body = if path == "template" { json!({ "messages": [body] }) } else { body };
        Ok((format!("{}/{path}", wire::SEND_PATH), body))
    }
}

fn part(content: &Content) -> Result<Part, SendError> {
    let part = |path, content| Ok(Part { path, content });
    match content {
        Content::Text(text) => part("text", json!({ "text": text.body, "previewUrl": text.preview_url })),
        Content::Media(media) => {
            let (path, _) = wire::media_path(media.kind).ok_or_else(|| not_supported("voice notes"))?;
            part(path, file(media)?.into())
        }
        Content::Location(location) => part("location", place(location)?.into()),
        Content::ContactCards(list) => {
            let list: Vec<Value> = list.iter().map(|card| cards::write(card, &wire::CARDS)).collect();
            part("contact", json!({ "contacts": list }))
        }
        Content::Interactive(interactive) => of_interactive(interactive),
        Content::Template(template) => part("template", of_template(template)?),
        Content::Reaction(_) => Err(not_supported("reactions")),
    }
}

/// An object of those members that have a text.
fn texts(members: &[(&str, &String)]) -> Map<String, Value> {
    let given = members.iter().filter(|(_, text)| !text.is_empty());
    given.map(|(name, text)| ((*name).to_owned(), json!(text))).collect()
}

fn file(media: &Media) -> Result<Map<String, Value>, SendError> {
    let MediaSource::Url(url) = &media.source else { return Err(not_supported("media by id")) };
    let (path, _) = wire::media_path(media.kind).ok_or_else(|| not_supported("voice notes"))?;
    if !media.caption.is_empty() && matches!(path, "audio" | "sticker") {
        return Err(not_supported("captions of sound and stickers"));
    }
    if !media.file_name.is_empty() && path != "document" {
        return Err(not_supported("file names but of documents"));
    }
    Ok(texts(&[("mediaUrl", url), ("caption", &media.caption), ("filename", &media.file_name)]))
}

fn place(location: &Location) -> Result<Map<String, Value>, SendError> {
    if !location.url.is_empty() {
        return Err(not_supported("pages about places"));
    }
    let mut place = texts(&[("name", &location.name), ("address", &location.address)]);
    place.insert("latitude".into(), json!(location.latitude));
    place.insert("longitude".into(), json!(location.longitude));
    Ok(place)
}

fn of_interactive(interactive: &Interactive) -> Result<Part, SendError> {
    let (path, action) = match &interactive.action {
        InteractiveAction::ReplyButtons(buttons) => {
            let button =
                |b: &crate::domain::content::ReplyButton| json!({ "type": "REPLY", "id": b.id, "title": b.title });
            let buttons: Vec<Value> = buttons.iter().map(button).collect();
            ("interactive/buttons", json!({ "buttons": buttons }))
        }
        InteractiveAction::List(list) => {
            ("interactive/list", json!({ "title": list.button, "sections": sections(list) }))
        }
        InteractiveAction::UrlButton { text, url } => {
            ("interactive/url-button", json!({ "displayText": text, "url": url }))
        }
    };
    let mut content = json!({ "body": { "text": interactive.body }, "action": action });
    match &interactive.header {
        None => {}
        Some(InteractiveHeader::Text(text)) => content["header"] = json!({ "type": "TEXT", "text": text }),
        Some(InteractiveHeader::Media(_)) if path == "interactive/list" => {
            return Err(not_supported("files above lists"));
        }
        Some(InteractiveHeader::Media(media)) => content["header"] = header_file(media)?.into(),
    }
    if !interactive.footer.is_empty() {
        content["footer"] = json!({ "text": interactive.footer });
    }
    Ok(Part { path, content })
}

fn sections(list: &List) -> Vec<Value> {
    let row = |row: &crate::domain::content::ListRow| {
        texts(&[("id", &row.id), ("title", &row.title), ("description", &row.description)])
    };
    let section = |section: &crate::domain::content::ListSection| {
        let mut written = texts(&[("title", &section.title)]);
        written.insert("rows".into(), section.rows.iter().map(row).map(Value::Object).collect());
        written.into()
    };
    list.sections.iter().map(section).collect()
}

/// A picture, a film or a document above a text.
fn header_file(media: &Media) -> Result<Map<String, Value>, SendError> {
    let word = match wire::media_path(media.kind) {
        Some((_, word @ ("IMAGE" | "VIDEO" | "DOCUMENT"))) => word,
        _ => return Err(not_supported("sound and stickers in headers")),
    };
    if !media.caption.is_empty() {
        return Err(not_supported("captions in headers"));
    }
    let mut header = file(media)?;
    header.insert("type".into(), json!(word));
    Ok(header)
}

fn of_template(template: &Template) -> Result<Value, SendError> {
    let Some(language) = whatsapp::language_code(&template.language_code) else {
        let words = "Infobip wants the template's language: give language_code, or the sender a default";
        return Err(SendError::Refused(DeliveryError::ours(ErrorReason::InvalidRequest, words, false)));
    };
    let placeholders: Vec<&str> = template.ordered_parameters().into_iter().map(|(_, value)| value).collect();
    let mut data = json!({ "body": { "placeholders": placeholders } });
    match &template.header {
        None => {}
        Some(TemplateHeader::Text(text)) => data["header"] = json!({ "type": "TEXT", "placeholder": text }),
        Some(TemplateHeader::Media(media)) => data["header"] = header_file(media)?.into(),
        Some(TemplateHeader::Location(location)) => {
            let mut header = place(location)?;
            header.insert("type".into(), json!("LOCATION"));
            data["header"] = header.into();
        }
    }
    if !template.buttons.is_empty() {
        let mut buttons: Vec<_> = template.buttons.iter().collect();
        buttons.sort_by_key(|button| button.index);
        let button = |button: &&crate::domain::content::TemplateButton| json!({ "type": wire::button_type(button.kind), "parameter": button.parameter });
        data["buttons"] = buttons.iter().map(button).collect();
    }
    Ok(json!({ "templateName": template.template, "templateData": data, "language": language }))
}

/// What an answer means: one object, or for templates a list of one.
pub(super) fn judge(answer: &HttpAnswer, message: &Outgoing) -> Result<Receipt, SendError> {
    let said = serde_json::from_slice::<Map<String, Value>>(&answer.body).unwrap_or_default();
    if !answer.status.is_success() {
        return Err(errors::refused(answer, &said));
    }
    let result = list(&said, "messages").first().and_then(Value::as_object).unwrap_or(&said);
    let id = text(result, "messageId").and_then(|id| wire::canonical_id(&id));
    match object(result, "status").map(|status| (Group::of(status), status)) {
        Some((Some(group @ (Group::Rejected | Group::Undeliverable | Group::Expired)), status)) => {
            Err(errors::refused_inside(group, status))
        }
        // Without an id of theirs it is known under ours, which they were given as theirs.
        Some((Some(Group::Pending | Group::Delivered), _)) => {
            let ours = || wire::attempt_id(message.message_id, message.attempt);
            Ok(Receipt { provider_message_id: Some(id.unwrap_or_else(ours)) })
        }
        _ if id.is_some() => Ok(Receipt { provider_message_id: id }),
        _ if said.contains_key("requestError") || said.contains_key("errorCode") => Err(errors::refused(answer, &said)),
        _ => Err(SendError::in_doubt(format!("HTTP {} without a message id", answer.status.as_u16()))),
    }
}

fn not_supported(what: &str) -> SendError {
    SendError::not_supported("infobip", what)
}
