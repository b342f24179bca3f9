//! Handing messages over: one POST for all of them, and what its answer means for each.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::config::Api;
use super::errors::{self, Given, Place};
use super::{Adapter, wire};
use crate::domain::content::{Content, Media, MediaKind, MediaSource, Template};
use crate::domain::message::Exchange;
use crate::domain::{DeliveryError, ErrorReason};
use crate::provider::capabilities::mime_essence;
use crate::provider::http::{Body, Call, HttpAnswer};
use crate::provider::{Answer, Outgoing, Receipt, SendError, address, whatsapp};

/// One message as Devino takes it, and what of it no answer may repeat.
struct Packed<'a> {
    form: Form<'a>,
    private: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Form<'a> {
    Classic(Box<Item<'a>>),
    Direct(Map<String, Value>),
}

/// One message as the classic API takes it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item<'a> {
    from: &'a str,
    to: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    validity: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    content_url: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    content_name: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    content_type: String,
    callback_url: &'a str,
    callback_data: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    template_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_params: Option<Parameters<'a>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    language_code: String,
}

/// `{"1": "Ana", "2": "A-1001"}`: positions as keys, in their order.
#[derive(Debug)]
pub(super) struct Parameters<'a>(Vec<(&'a str, &'a str)>);

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

#[derive(Serialize)]
struct Request<'a> {
    messages: Vec<&'a Form<'a>>,
}

/// What a request of several came to, when it was not one outcome each.
enum Verdict {
    /// One per message, in order.
    Each(Vec<Result<Receipt, SendError>>),
    /// The same for all.
    All(Result<Receipt, SendError>),
    /// Too large as a whole, but perhaps not in halves; with what it comes to when it cannot be halved.
    Split(SendError),
}

impl Verdict {
    /// The same, with secrets taken out of Devino's words: they go into errors, and errors into events.
    fn without(self, secrets: &[&str]) -> Self {
        let clean = |error: SendError| error.without(secrets);
        match self {
            Verdict::Each(outcomes) => {
                Verdict::Each(outcomes.into_iter().map(|outcome| outcome.map_err(clean)).collect())
            }
            Verdict::All(outcome) => Verdict::All(outcome.map_err(clean)),
            Verdict::Split(error) => Verdict::Split(clean(error)),
        }
    }
}

impl Adapter {
    /// One request for all messages; several only when Devino finds it too large, since then it took none of it.
    pub(super) async fn hand_over(&self, messages: &[Outgoing]) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = Vec::with_capacity(messages.len());
        let mut items = Vec::with_capacity(messages.len());
        let mut places = Vec::with_capacity(messages.len());
        for (place, message) in messages.iter().enumerate() {
            match self.packed(message) {
                Ok(item) => {
                    items.push(item);
                    places.push(place);
                    answers.push(None);
                }
                Err(error) => answers.push(Some(Answer { outcome: Err(error), exchange: None, usage: None })),
            }
        }
        // A stack with the first part on top: messages reach Devino in the order they were given.
        let mut parts: Vec<Range<usize>> = std::iter::once(0..items.len()).collect();
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let (verdict, exchange) = self.post(&items[part.clone()]).await;
            let outcomes = match verdict {
                Verdict::Split(_) if part.len() > 1 => {
                    let middle = part.start + part.len() / 2;
                    parts.push(middle..part.end);
                    parts.push(part.start..middle);
                    continue;
                }
                Verdict::Split(error) => vec![Err(error)],
                Verdict::All(outcome) => vec![outcome; part.len()],
                Verdict::Each(outcomes) => outcomes,
            };
            for (place, outcome) in places[part].iter().zip(outcomes) {
                answers[*place] = Some(Answer { outcome, exchange: exchange.clone(), usage: None });
            }
        }
        let unanswered =
            || Answer { outcome: Err(SendError::in_doubt("no outcome was found for it")), exchange: None, usage: None };
        answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect()
    }

    async fn post(&self, items: &[Packed<'_>]) -> (Verdict, Option<Arc<Exchange>>) {
        let Some(base) = &self.base else {
            let error =
                DeliveryError::ours(ErrorReason::InvalidSender, "the sender's base_url is not an address", false);
            return (Verdict::All(Err(SendError::Refused(error))), None);
        };
        let body = match items {
            [only] if self.config.api == Api::Direct && self.config.direct_unwrapped => serde_json::to_vec(&only.form),
            items => serde_json::to_vec(&Request { messages: items.iter().map(|item| &item.form).collect() }),
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                let error = DeliveryError::ours(ErrorReason::InvalidRequest, error.to_string(), false);
                return (Verdict::All(Err(SendError::Refused(error))), None);
            }
        };
        // Devino's descriptions could quote what they speak of.
        let mut secrets = self.secrets();
        secrets.extend(items.iter().flat_map(|item| item.private.iter().copied()));
        let path = match self.config.api {
            Api::Direct => wire::DIRECT_PATH,
            Api::Classic | Api::Unknown => wire::SEND_PATH,
        };
        let call = Call {
            method: Method::POST,
            url: address::below(base, path),
            headers: vec![self.authorization(), ("accept", "application/json".into())],
            body: Body::Json(body),
            redact: secrets.clone(),
        };
        let called = self.http.call(call).await;
        let verdict = match called.result {
            Ok(answer) => judge(&answer, items.len()),
            Err(error) => Verdict::All(Err(error.into())),
        };
        (verdict.without(&secrets), Some(called.exchange))
    }

    fn packed<'a>(&'a self, message: &'a Outgoing) -> Result<Packed<'a>, SendError> {
        let form = match self.config.api {
            Api::Direct => Form::Direct(self.direct(message)?),
            Api::Classic | Api::Unknown => Form::Classic(Box::new(self.item(message)?)),
        };
        let mut private = whatsapp::private_words(&message.content);
        private.push(&message.to.digits);
        Ok(Packed { form, private })
    }

    /// The message in the classic API's form. Lengths were judged at the door, and Devino judges them again; what has no form
    /// at all is refused here, rather than sent in part.
    pub(super) fn item<'a>(&'a self, message: &'a Outgoing) -> Result<Item<'a>, SendError> {
        let mut item = Item {
            from: &self.config.from,
            to: &message.to.digits,
            callback_url: self.callback_url.expose(),
            callback_data: message.message_id.to_string(),
            ..Item::default()
        };
        if message.reply_to.is_some() {
            return Err(not_supported("quotes"));
        }
        match &message.content {
            Content::Text(text) => item.text = &text.body,
            Content::Media(media) => fill_media(&mut item, media)?,
            Content::Template(template) => fill_template(&mut item, template, message.validity)?,
            other => return Err(not_supported(other.kind())),
        }
        Ok(item)
    }
}

fn fill_media<'a>(item: &mut Item<'a>, media: &'a Media) -> Result<(), SendError> {
    let MediaSource::Url(url) = &media.source else { return Err(not_supported("media by id")) };
    let silent = matches!(media.kind, MediaKind::Audio | MediaKind::Voice);
    if media.kind == MediaKind::Sticker || silent && !media.caption.is_empty() {
        return Err(not_supported(if silent { "captions of sound" } else { "stickers" }));
    }
    item.content_url = url;
    item.content_name = &media.file_name;
    item.text = &media.caption;
    let essence = mime_essence(&media.mime_type);
    item.content_type = match essence.as_str() {
        "" if media.file_name.is_empty() => wire::guessed_type(media.kind, url).to_owned(),
        "" => wire::guessed_type(media.kind, &media.file_name).to_owned(),
        essence => wire::spelled_right(essence).to_owned(),
    };
    Ok(())
}

fn fill_template<'a>(item: &mut Item<'a>, template: &'a Template, validity: Option<Duration>) -> Result<(), SendError> {
    if template.header.is_some() || !template.buttons.is_empty() {
        return Err(not_supported("template headers and buttons"));
    }
    item.template_id = &template.template;
    item.language_code = wire::language_code(&template.language_code);
    let parameters = template.ordered_parameters();
    item.template_params = (!parameters.is_empty()).then_some(Parameters(parameters));
    item.validity = validity.map(|v| v.as_secs()).filter(|seconds| *seconds == wire::TEMPLATE_VALIDITY_S);
    Ok(())
}

/// What an answer means. `result` is believed whatever the HTTP status, which Devino does not document.
fn judge(answer: &HttpAnswer, sent: usize) -> Verdict {
    let results = read(&answer.body);
    // An empty list under a failing status says no more than the status does.
    match results {
        Some(results) if answer.status.is_success() || !results.is_empty() => judge_results(&results, sent),
        _ if answer.status.is_success() => Verdict::All(Err(SendError::in_doubt(format!(
            "HTTP {} without a result that can be read",
            answer.status.as_u16()
        )))),
        _ => judge_status(answer),
    }
}

/// The results of an answer; a single one may stand without the list, and without `result` when it says OK or REJECTED.
fn read(body: &[u8]) -> Option<Vec<Value>> {
    let mut answer = serde_json::from_slice::<Map<String, Value>>(body).ok()?;
    match answer.remove("result") {
        Some(Value::Array(results)) => Some(results),
        Some(result @ Value::Object(_)) => Some(vec![result]),
        Some(_) => None,
        None => {
            let answer = Value::Object(answer);
            let code = text(&answer, "code").trim();
            let is_result = ["OK", "REJECTED"].iter().any(|word| code.eq_ignore_ascii_case(word));
            is_result.then(|| vec![answer])
        }
    }
}

fn judge_results(results: &[Value], sent: usize) -> Verdict {
    if let [only] = results
        && let Some(reasons) = whole_request(only)
    {
        let error = errors::rejection(&reasons, text(only, "description"));
        return match reasons.iter().any(|given| given.key == errors::TOO_MANY) {
            true => Verdict::Split(error),
            false => Verdict::All(Err(error)),
        };
    }
    if results.len() != sent {
        let detail = format!("{} results to {sent} messages", results.len());
        return Verdict::All(Err(SendError::in_doubt(detail)));
    }
    Verdict::Each(results.iter().map(judge_result).collect())
}

/// The reasons of a result that speaks of the request as a whole.
fn whole_request(result: &Value) -> Option<Vec<Given>> {
    let reasons = reasons(result);
    let whole = !text(result, "code").eq_ignore_ascii_case("OK")
        && reasons.iter().any(|given| Place::of(&given.reference) == Place::Request);
    whole.then_some(reasons)
}

fn judge_result(result: &Value) -> Result<Receipt, SendError> {
    let id = wire::id_of(result.get("messageId"));
    let code = text(result, "code").trim();
    if code.eq_ignore_ascii_case("OK") {
        return Ok(Receipt { provider_message_id: id });
    }
    let reasons = reasons(result);
    let rejected = code.eq_ignore_ascii_case("REJECTED");
    // A word that is not documented is a no when it comes with reasons and without an id; else nobody knows.
    match rejected || id.is_none() && !reasons.is_empty() {
        true => {
            let description = text(result, "description");
            let description = if rejected { description.to_owned() } else { format!("{code}: {description}") };
            Err(errors::rejection(&reasons, &description))
        }
        false => {
            Err(SendError::in_doubt(format!("a result with code {:?}", code.chars().take(50).collect::<String>())))
        }
    }
}

/// `reasons`: an array of objects, one object, or words alone, as pages of the same family have it.
fn reasons(result: &Value) -> Vec<Given> {
    let one = |value: &Value| match value {
        Value::String(key) => Some(Given { key: key.clone(), reference: String::new() }),
        Value::Object(_) => {
            Some(Given { key: text(value, "key").to_owned(), reference: text(value, "ref").to_owned() })
        }
        _ => None,
    };
    match result.get("reasons") {
        Some(Value::Array(list)) => list.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// [assumed], all of it: no HTTP status is documented.
fn judge_status(answer: &HttpAnswer) -> Verdict {
    let said = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    let error = SendError::of_status(answer, "", text(&said, "description"));
    match answer.status {
        StatusCode::PAYLOAD_TOO_LARGE => Verdict::Split(error),
        _ => Verdict::All(Err(error)),
    }
}

pub(super) fn not_supported(what: &str) -> SendError {
    SendError::not_supported("devino", what)
}
