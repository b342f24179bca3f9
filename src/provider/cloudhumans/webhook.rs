//! What CloudChat tells us: one event in each webhook. Pure functions of bytes; only the signature looks at the clock, and
//! takes the webhook's.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::config::{Config, Signature};
use super::wire::{self, MessageType, Word};
use super::{attachments, errors};
use crate::domain::content::Text;
use crate::domain::{Contact, IncomingContent, MessageStatus, Millis};
use crate::provider::lenient::{flag, integer, list, object, text};
use crate::provider::{Forged, IncomingReport, Report, StatusReport, Unreadable, Webhook};

/// Whether a webhook is proven, in the way that the sender is set to.
pub(super) fn verify(config: &Config, webhook: &Webhook) -> Result<(), Forged> {
    let signature = webhook.header(wire::SIGNATURE_HEADER);
    match (config.webhook_signature, signature) {
        (Signature::Required | Signature::IfPresent, Some(signature)) => signed(config, webhook, signature),
        (Signature::Off | Signature::IfPresent, _) => webhook.carries(&config.webhook_secret),
        (Signature::Required | Signature::Unknown, _) => Err(Forged("the webhook is not signed")),
    }
}

fn signed(config: &Config, webhook: &Webhook, signature: &str) -> Result<(), Forged> {
    let secret = config.webhook_secret.expose();
    let timestamp = webhook.header(wire::TIMESTAMP_HEADER).ok_or(Forged("the signature has no timestamp"))?;
    let given = signature.strip_prefix("sha256=").and_then(|hex| hex::decode(hex).ok());
    let given = given.ok_or(Forged("the signature is of no known form"))?;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let content = [timestamp.as_bytes(), b".", &webhook.body].concat();
    // An empty secret is one that everybody knows.
    if secret.is_empty() || ring::hmac::verify(&key, &content, &given).is_err() {
        return Err(Forged("the signature is not of this sender's secret"));
    }
    let signed_at_ms = timestamp.parse::<Millis>().ok().and_then(|seconds| seconds.checked_mul(1_000));
    match signed_at_ms.is_some_and(|at| webhook.receive_at_ms.abs_diff(at) <= wire::TOLERANCE_MS.unsigned_abs()) {
        true => Ok(()),
        false => Err(Forged("the signature is too old, or of the future")),
    }
}

/// Reads a webhook: mostly one report, and one more for each further file of a message.
pub(super) fn parse(config: &Config, webhook: &Webhook) -> Vec<Result<Report, Unreadable>> {
    match read(config, webhook) {
        Ok(reports) => reports.into_iter().map(Ok).collect(),
        Err(why) => vec![Err(Unreadable { index: 0, why })],
    }
}

fn read(config: &Config, webhook: &Webhook) -> Result<Vec<Report>, String> {
    // serde_json's own words would quote nothing but positions and expectations, so they may be shown.
    let raw: &RawValue = serde_json::from_slice(&webhook.body).map_err(|error| format!("not JSON: {error}"))?;
    let event: Value = serde_json::from_str(raw.get()).map_err(|error| format!("cannot be read: {error}"))?;
    let Value::Object(event) = event else { return Err("not an object".into()) };
    let nothing = || Ok(vec![Report::Nothing]);
    match text(&event, "event").as_deref() {
        Some("message_created" | "message_updated") if !is_ours(config, &event) => nothing(),
        Some("message_created") => created(&event, raw, webhook.receive_at_ms),
        Some("message_updated") => Ok(vec![updated(&event)?.map_or(Report::Nothing, Report::Status)]),
        Some(
            "conversation_created"
            | "conversation_updated"
            | "conversation_status_changed"
            | "contact_created"
            | "contact_updated"
            | "conversation_typing_on"
            | "conversation_typing_off"
            | "webwidget_triggered"
            | "inbox_created"
            | "inbox_updated",
        ) => nothing(),
        Some(_) => Err("an event of no known name".into()),
        None => Err("no event's name".into()),
    }
}

/// Whether a message is of this sender's inbox: a webhook of the whole account tells of all, e-mail and web chat too. What
/// names no inbox was proven to be for this sender.
fn is_ours(config: &Config, event: &Map<String, Value>) -> bool {
    let conversation = object(event, "conversation");
    let inbox = object(event, "inbox").and_then(|inbox| wire::id_of(inbox.get("id")));
    let inbox = inbox.or_else(|| wire::id_of(conversation?.get("inbox_id")));
    let account = object(event, "account").and_then(|account| wire::id_of(account.get("id")));
    let same = |given: Option<String>, ours: &str| given.is_none_or(|given| given == ours);
    same(inbox, &config.inbox_id) && same(account, &config.account_id)
}

/// A new message. Only a person's is one to us: all others are echoes of what we or agents wrote.
fn created(event: &Map<String, Value>, raw: &RawValue, now: Millis) -> Result<Vec<Report>, String> {
    let kind = MessageType::of(event).ok_or("a message of no known type")?;
    if kind != MessageType::Incoming || flag(event, "private") == Some(true) {
        return Ok(vec![Report::Nothing]);
    }
    let attributes = object(event, "content_attributes");
    let id = wire::id_of(event.get("id"));
    let conversation = object(event, "conversation");
    let sender = object(event, "sender").or_else(|| object(object(conversation?, "meta")?, "sender"));
    let reply_to = attributes.and_then(|attributes| {
        // The same number as `id` of the message quoted, be it ours or the person's.
        wire::id_of(attributes.get("in_reply_to")).or_else(|| text(attributes, "in_reply_to_external_id"))
    });
    let whole = IncomingReport {
        provider_message_id: id.clone(),
        occur_at_ms: wire::time_of(event.get("created_at"), now),
        profile_name: sender.and_then(|sender| text(sender, "name")).unwrap_or_default(),
        reply_to,
        ..IncomingReport::new(contact(sender, conversation), unsupported(event, raw))
    };
    if attributes.and_then(|attributes| flag(attributes, "is_unsupported")) == Some(true) {
        return Ok(vec![Report::Incoming(whole)]);
    }
    let body = text(event, "content");
    let files = list(event, "attachments");
    if files.is_empty() {
        let content = match body {
            Some(body) => IncomingContent::Text(Text { body, preview_url: false }),
            None => unsupported(event, raw),
        };
        return Ok(vec![Report::Incoming(IncomingReport { content, ..whole })]);
    }
    let report = |(n, file): (usize, &Value)| {
        let caption = body.clone().filter(|_| n == 0).unwrap_or_default();
        let content = attachments::content(file, caption).unwrap_or_else(|| unsupported(event, raw));
        // WhatsApp has one file in a message; should there be more, each is a message of its own here.
        let provider_message_id = id.as_ref().map(|id| if n == 0 { id.clone() } else { format!("{id}.{n}") });
        Report::Incoming(IncomingReport { content, provider_message_id, ..whole.clone() })
    };
    Ok(files.iter().enumerate().map(report).collect())
}

fn unsupported(event: &Map<String, Value>, raw: &RawValue) -> IncomingContent {
    let kind = list(event, "attachments").first().and_then(Value::as_object).and_then(|file| text(file, "file_type"));
    let kind = kind.or_else(|| text(event, "content_type")).unwrap_or_default();
    IncomingContent::Unsupported { r#type: kind, raw: raw.get().to_owned() }
}

/// Who wrote. A person who hides the number has none, and a source that is no number.
fn contact(sender: Option<&Map<String, Value>>, conversation: Option<&Map<String, Value>>) -> Contact {
    let source = conversation
        .and_then(|conversation| object(conversation, "contact_inbox"))
        .and_then(|contact_inbox| text(contact_inbox, "source_id"));
    let is_number = |source: &String| source.len() <= 15 && source.bytes().all(|b| b.is_ascii_digit());
    Contact {
        phone_number: sender.and_then(|sender| text(sender, "phone_number")),
        wa_id: source.clone().filter(is_number),
        user_id: source.filter(|source| !is_number(source)),
        ..Contact::default()
    }
}

/// What became of a message. Nothing for people's, for what was edited or taken back, and where it is not said: then
/// [`super::look_up`] asks.
fn updated(event: &Map<String, Value>) -> Result<Option<StatusReport>, String> {
    let kind = MessageType::of(event);
    if matches!(kind, Some(MessageType::Incoming | MessageType::Activity)) || flag(event, "private") == Some(true) {
        return Ok(None);
    }
    let id = wire::id_of(event.get("id")).ok_or("a status that names no message")?;
    // Upstream has no status here; newer versions do. The conversation's last message is mostly the one spoken of.
    let last = object(event, "conversation").and_then(|conversation| {
        let last = list(conversation, "messages").first()?.as_object()?;
        (wire::id_of(last.get("id")).as_deref() == Some(&id)).then_some(last)
    });
    let places = [Some(event), last];
    let told = |is_told: fn(&Map<String, Value>) -> bool| places.into_iter().flatten().find(|place| is_told(place));
    // An error stands beside the status of a message that failed; at a place without a status it tells the same.
    let place = told(|place| text(place, "status").is_some()).or_else(|| told(|place| external_error(place).is_some()));
    Ok(place.and_then(|place| status(&id, place)))
}

/// What a message object says of where it stands; nothing where that is no news.
pub(super) fn status(id: &str, message: &Map<String, Value>) -> Option<StatusReport> {
    let error = external_error(message);
    // An error stands beside `failed` and nothing else.
    let provider_status = text(message, "status").or_else(|| error.as_ref().map(|_| "failed".to_owned()))?;
    let status = match wire::word(&provider_status) {
        Some(Word::NoNews) => return None,
        Some(Word::Is(status)) => Some(status),
        None => None,
    };
    let failed = status == Some(MessageStatus::Failed);
    Some(StatusReport {
        provider_message_id: Some(id.to_owned()),
        status,
        provider_status,
        error: failed.then(|| errors::failure(&error.unwrap_or_default())),
        // No time: `created_at` is the message's. So a status that is told again is known as a repeat.
        ..StatusReport::default()
    })
}

fn external_error(message: &Map<String, Value>) -> Option<String> {
    text(object(message, "content_attributes")?, "external_error")
}

/// Whether a message object is one that we, or agents, sent to the person.
pub(super) fn is_outgoing(message: &Map<String, Value>) -> bool {
    let kind = MessageType::of(message);
    let private = flag(message, "private").unwrap_or_default() || integer(message, "private") == Some(1);
    matches!(kind, Some(MessageType::Outgoing | MessageType::Template)) && !private
}
