//! What Twilio tells us: statuses of our messages, and what people wrote. Forms, one item each. Pure functions of bytes.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{errors, wire};
use crate::domain::content::{IncomingMedia, IncomingReaction, Location, MediaKind, MediaSource, Text};
use crate::domain::event::Referral;
use crate::domain::{Contact, IncomingContent, MessageId, MessageStatus, Millis, PhoneNumber};
use crate::provider::capabilities::mime_essence;
use crate::provider::lenient::{decimal, flag, integer, text};
use crate::provider::{IncomingReport, Report, StatusReport, Unreadable, Webhook, plausible_time, whatsapp};

/// Fields by name; of a repeated name the last counts.
type Form = Map<String, Value>;

/// Files of one message that are read at most; WhatsApp sends one at a time.
const FILES_MAX: i64 = 32;

/// The body, and behind it the id of ours that the address carried.
pub(super) fn journalled(webhook: &Webhook) -> Bytes {
    let Some(id) = webhook.query(wire::MESSAGE_ID).filter(|_| !webhook.body.is_empty()) else {
        return webhook.body.clone();
    };
    let mut body = webhook.body.to_vec();
    body.push(b'&');
    let field =
        url::form_urlencoded::Serializer::new(String::new()).append_pair(wire::JOURNALLED_MESSAGE_ID, id).finish();
    body.extend_from_slice(field.as_bytes());
    body.into()
}

/// Reads a webhook: a status, or an incoming message; each file of one is a message of its own.
pub(super) fn parse(webhook: &Webhook) -> Vec<Result<Report, Unreadable>> {
    let form: Form =
        url::form_urlencoded::parse(&webhook.body).into_owned().map(|(name, value)| (name, value.into())).collect();
    let unreadable = |why: &str| vec![Err(Unreadable { index: 0, why: why.to_owned() })];
    let id = ["MessageSid", "SmsSid", "SmsMessageSid"].into_iter().find_map(|name| text(&form, name));
    let id = id.and_then(|id| wire::canonical_id(&id));
    let word = ["MessageStatus", "SmsStatus"].into_iter().find_map(|name| text(&form, name));
    match word {
        Some(word) if !matches!(word.to_ascii_lowercase().as_str(), "received" | "receiving") => {
            let message_id = text(&form, wire::JOURNALLED_MESSAGE_ID).and_then(|id| id.parse().ok());
            match message_id.is_some() || id.is_some() {
                true => vec![Ok(Report::Status(status(message_id, id, word, &form)))],
                false => unreadable("a status that names no message"),
            }
        }
        _ if id.is_some() || form.contains_key("From") => {
            incoming(id, &form, webhook.receive_at_ms).into_iter().map(|report| Ok(Report::Incoming(report))).collect()
        }
        _ => unreadable("neither a status nor an incoming message"),
    }
}

/// The status of a message that was asked after, which is JSON and has other names for the same things.
pub(super) fn looked_up(message_id: MessageId, message: &Map<String, Value>) -> Option<Report> {
    let word = text(message, "status")?;
    let id = text(message, "sid").and_then(|id| wire::canonical_id(&id));
    let names = [("ErrorCode", "error_code"), ("ErrorMessage", "error_message"), ("To", "to")];
    let form =
        names.iter().filter_map(|(form, json)| Some(((*form).to_owned(), message.get(*json)?.clone()))).collect();
    Some(Report::Status(status(Some(message_id), id, word, &form)))
}

/// What a status word means.
enum Word {
    Is(MessageStatus),
    Fails,
    Cancelled,
}

/// [docs] All words of the Messages resource. Twilio having it in a queue of its own is SENT to us: it took the message.
fn word(given: &str) -> Option<Word> {
    Some(match given.trim().to_ascii_lowercase().as_str() {
        "accepted" | "scheduled" | "queued" | "sending" | "sent" => Word::Is(MessageStatus::Sent),
        "delivered" | "partially_delivered" => Word::Is(MessageStatus::Delivered),
        "read" => Word::Is(MessageStatus::Read),
        "undelivered" | "failed" => Word::Fails,
        "canceled" => Word::Cancelled,
        _ => return None,
    })
}

/// There is no time in it: when it reached us is all that is known.
fn status(message_id: Option<MessageId>, id: Option<String>, given: String, form: &Form) -> StatusReport {
    let code = text(form, "ErrorCode").unwrap_or_default();
    let words = ["ErrorMessage", "ChannelStatusMessage"].into_iter().find_map(|name| text(form, name));
    let (status, error) = match word(&given) {
        // A code beside a positive word is a warning, no failure.
        Some(Word::Is(status)) => (Some(status), None),
        Some(Word::Fails) => {
            let (status, error) = errors::failure(&code, &words.unwrap_or_default());
            (Some(status), Some(error))
        }
        Some(Word::Cancelled) => {
            let (_, error) = errors::failure(&code, &words.unwrap_or_else(|| given.clone()));
            let error = crate::domain::DeliveryError { reason: crate::domain::ErrorReason::Cancelled, ..error };
            (Some(MessageStatus::Failed), Some(error))
        }
        None => (None, None),
    };
    StatusReport {
        message_id,
        provider_message_id: id,
        status,
        provider_status: given,
        error,
        contact: text(form, "To").map(|to| person(&to)),
        ..StatusReport::default()
    }
}

/// A person by the address that WhatsApp's channel has: a number, or the id of somebody who hides it.
fn person(address: &str) -> Contact {
    let address = wire::without_channel(address.trim());
    match PhoneNumber::digits_of(address).is_some() {
        true => Contact::of_phone(address),
        false => Contact { user_id: Some(address.to_owned()).filter(|id| !id.is_empty()), ..Contact::default() },
    }
}

/// One message, or one for each file of several: the first has the id and the text.
fn incoming(id: Option<String>, form: &Form, now: Millis) -> Vec<IncomingReport> {
    let said = |name: &str| text(form, name).unwrap_or_default();
    let mut contact = text(form, "From").map(|from| person(&from)).unwrap_or_default();
    contact.wa_id = text(form, "WaId");
    if let Some(user) = text(form, "ExternalUserId") {
        contact.user_id = Some(wire::without_channel(user.trim()).to_owned());
    }
    let first = IncomingReport {
        provider_message_id: id.clone(),
        occur_at_ms: integer(form, wire::JOURNALLED_SENT_AT).and_then(|at| plausible_time(at, now)),
        backfilled: form.contains_key(wire::JOURNALLED_SENT_AT),
        profile_name: said("ProfileName"),
        reply_to: text(form, "OriginalRepliedMessageSid").and_then(|id| wire::canonical_id(&id)),
        referral: referral(form),
        forwarded: flag(form, "Forwarded").unwrap_or_default(),
        frequently_forwarded: flag(form, "FrequentlyForwarded").unwrap_or_default(),
        ..IncomingReport::new(contact, content(form))
    };
    let mut reports = vec![first];
    for n in 1..integer(form, "NumMedia").unwrap_or_default().min(FILES_MAX) {
        let Some(file) = file(form, n) else { continue };
        let provider_message_id = id.as_ref().map(|id| format!("{id}/{n}"));
        let content = IncomingContent::Media(file);
        reports.push(IncomingReport { provider_message_id, content, referral: None, ..reports[0].clone() });
    }
    reports
}

/// `MessageType` tells where it is given; without it, what is there does.
fn content(form: &Form) -> IncomingContent {
    let r#type = text(form, "MessageType").unwrap_or_default().to_ascii_lowercase();
    let said = |name: &str| text(form, name).unwrap_or_default();
    let has = |name: &str| text(form, name).is_some();
    match r#type.as_str() {
        // What they hold besides is not documented, so it is kept whole.
        "unsupported" | "order" | "system" => {}
        // [assumed] The emoji is the text, and the message reacted to stands where a quoted one does.
        "reaction" if has("OriginalRepliedMessageSid") => {
            return IncomingContent::Reaction(IncomingReaction {
                provider_message_id: said("OriginalRepliedMessageSid"),
                message_id: None,
                emoji: said("Body"),
            });
        }
        "reaction" => {}
        // Flows answer with a form of their own.
        _ if has("FlowData") || has("InteractiveData") => {}
        _ => {
            if let Some(content) = known(form) {
                return content;
            }
        }
    }
    let ours = [wire::JOURNALLED_MESSAGE_ID, wire::JOURNALLED_SENT_AT];
    let raw = form.iter().filter(|(name, _)| !ours.contains(&name.as_str()));
    let raw: Form = raw.map(|(name, value)| (name.clone(), value.clone())).collect();
    IncomingContent::Unsupported { r#type, raw: Value::Object(raw).to_string() }
}

fn known(form: &Form) -> Option<IncomingContent> {
    let said = |name: &str| text(form, name).unwrap_or_default();
    if let (Some(latitude), Some(longitude)) = (decimal(form, "Latitude"), decimal(form, "Longitude")) {
        let (name, address) = (said("Label"), said("Address"));
        return Some(IncomingContent::Location(Location { latitude, longitude, name, address, url: String::new() }));
    }
    if let Some(id) = text(form, "ListId") {
        let title = text(form, "ListTitle").unwrap_or_else(|| said("Body"));
        return Some(IncomingContent::ListReply { id, title, description: said("ListDescription") });
    }
    if text(form, "ButtonPayload").is_some() || text(form, "ButtonText").is_some() {
        let title = text(form, "ButtonText").unwrap_or_else(|| said("Body"));
        return Some(IncomingContent::ButtonReply { id: said("ButtonPayload"), title });
    }
    if let Some(file) = file(form, 0) {
        return Some(IncomingContent::Media(IncomingMedia { caption: said("Body"), ..file }));
    }
    text(form, "Body").map(|body| IncomingContent::Text(Text { body, preview_url: false }))
}

fn file(form: &Form, n: i64) -> Option<IncomingMedia> {
    let url = text(form, &format!("MediaUrl{n}"))?;
    let mime_type = text(form, &format!("MediaContentType{n}")).unwrap_or_default();
    let r#type = text(form, "MessageType").unwrap_or_default().to_ascii_lowercase();
    Some(IncomingMedia {
        kind: wire::media_kind(&r#type).unwrap_or_else(|| kind_of(&mime_type)),
        source: MediaSource::Url(url),
        mime_type,
        file_name: String::new(),
        caption: String::new(),
    })
}

/// By the MIME type alone, for accounts without `MessageType`. Contact cards come as `text/vcard`: documents.
fn kind_of(mime_type: &str) -> MediaKind {
    whatsapp::media_kind(mime_essence(mime_type).split('/').next().unwrap_or_default(), mime_type, None)
}

/// The ad that brought the person; nothing when there was none.
fn referral(form: &Form) -> Option<Referral> {
    let said = |name: &str| text(form, name).unwrap_or_default();
    let media_type = said("ReferralMediaContentType");
    let media_url = said("ReferralMediaUrl");
    let is_video = mime_essence(&media_type).starts_with("video/");
    let (image_url, video_url) = if is_video { (String::new(), media_url) } else { (media_url, String::new()) };
    let referral = Referral {
        source_url: said("ReferralSourceUrl"),
        source_id: said("ReferralSourceId"),
        source_type: said("ReferralSourceType"),
        headline: said("ReferralHeadline"),
        body: said("ReferralBody"),
        media_type: mime_essence(&media_type).split('/').next().unwrap_or_default().to_owned(),
        image_url,
        video_url,
        click_id: said("ReferralCtwaClid"),
        ..Referral::default()
    };
    (referral != Referral::default()).then_some(referral)
}
