//! What Digivox tells us: statuses of our messages, and what people wrote. Pure functions of bytes and settings. Both its
//! own envelope, as assumed, and Meta's are taken, alone or in an array.

use serde_json::Value;
use serde_json::value::RawValue;

use super::config::{Config, Pointers};
use super::wire::{self, Word, places};
use super::{envelope, errors};
use crate::domain::content::{IncomingMedia, MediaSource, Text};
use crate::domain::{Contact, IncomingContent, Millis};
use crate::provider::lenient::{flag, items, text_of};
use crate::provider::whatsapp::{self, Files};
use crate::provider::{IncomingReport, Report, StatusReport, Unreadable, Webhook, plausible_time};

/// Reads a webhook, each item on its own.
pub(super) fn parse(config: &Config, webhook: &Webhook) -> Vec<Result<Report, Unreadable>> {
    let reader = Reader { config, receive_at_ms: webhook.receive_at_ms };
    let items = match items(&webhook.body) {
        Ok(items) => items,
        Err(why) => return vec![Err(Unreadable { index: 0, why })],
    };
    let mut reports = Vec::with_capacity(items.len());
    for raw in items {
        match envelope::open(raw) {
            Some(parts) => reports.extend(parts.iter().map(|part| part.read(reader))),
            None => reports.push(reader.item(raw)),
        }
    }
    let placed = |(index, read): (usize, Result<_, _>)| read.map_err(|why| Unreadable { index, why });
    reports.into_iter().enumerate().map(placed).collect()
}

/// The first text or number: at the place that the settings name, else at the usual ones.
pub(super) fn find(value: &Value, given: &str, usual: &[&str]) -> Option<String> {
    let given = Some(given).filter(|given| !given.is_empty());
    given.into_iter().chain(usual.iter().copied()).find_map(|place| text_of(value.pointer(place)?))
}

/// JSON that may nest too deep, or hold half a character.
pub(super) fn value(raw: &RawValue) -> Result<Value, String> {
    let value: Value = serde_json::from_str(raw.get()).map_err(|error| format!("cannot be read: {error}"))?;
    if value.is_object() { Ok(value) } else { Err("not an object".into()) }
}

/// What reading depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub config: &'a Config,
    receive_at_ms: Millis,
}

impl Reader<'_> {
    fn pointers(&self) -> &Pointers {
        &self.config.differs.pointers
    }

    /// An item in Digivox's envelope.
    fn item(self, raw: &RawValue) -> Result<Report, String> {
        let item = value(raw)?;
        let pointers = self.pointers();
        let channel = find(&item, &pointers.channel_pointer, places::CHANNEL).unwrap_or_default();
        let event = find(&item, &pointers.event_pointer, places::EVENT).unwrap_or_default().to_lowercase();
        // Comments, and what other networks bring, come to the same address.
        if event.contains("comment") || !channel.is_empty() && !channel.to_lowercase().contains("whatsapp") {
            return Ok(Report::Nothing);
        }
        let account = find(&item, &pointers.account_pointer, places::ACCOUNT);
        let account = account.as_deref().and_then(wire::canonical_id);
        let wrapped = || {
            let given = Some(pointers.message_pointer.as_str()).filter(|place| !place.is_empty());
            let mut places = given.into_iter().chain(places::MESSAGE.iter().copied());
            places.find_map(|place| item.pointer(place).filter(|message| message.is_object()))
        };
        let has_status = find(&item, &pointers.status_word_pointer, places::STATUS_WORD).is_some();
        let message = match wrapped() {
            _ if event.contains("status") || item.get("status").is_some_and(Value::is_object) => None,
            Some(message) => Some(message),
            None if has_status => None,
            None => Some(&item).filter(|item| find(item, &pointers.message_from_pointer, places::FROM).is_some()),
        };
        match message {
            Some(message) => {
                let profile_name = find(&item, &pointers.profile_name_pointer, places::PROFILE_NAME);
                Ok(self.incoming(message, raw.get(), account, profile_name))
            }
            None if has_status || event.contains("status") => self.status(&item, account).map(Report::Status),
            None => Err("neither a status nor an incoming message".into()),
        }
    }

    /// A status: in Digivox's envelope, or the object itself, as in Meta's.
    pub fn status(self, item: &Value, account: Option<String>) -> Result<StatusReport, String> {
        let pointers = self.pointers();
        let word = find(item, &pointers.status_word_pointer, places::STATUS_WORD);
        let provider_status = word.ok_or("a status item without a status")?;
        let echo =
            |field| ["/status/", "/"].iter().find_map(|place| text_of(item.pointer(&format!("{place}{field}"))?));
        let message_id = self.config.message_id_field().and_then(echo).and_then(|echo| echo.trim().parse().ok());
        let id = find(item, &pointers.status_id_pointer, places::STATUS_ID);
        let provider_message_id = id.as_deref().and_then(wire::canonical_id);
        if message_id.is_none() && provider_message_id.is_none() {
            return Err("a status that names no message".into());
        }
        let code = find(item, &pointers.status_code_pointer, places::STATUS_CODE).unwrap_or_default();
        let words = find(item, &pointers.status_error_pointer, places::STATUS_ERROR).unwrap_or_default();
        let (status, error) = match self.config.status_word(&provider_status) {
            Some(Word::Is(status)) => (Some(status), None),
            Some(failing) => errors::failure(failing, &provider_status, code.trim(), &words).unzip(),
            None => (None, None),
        };
        Ok(StatusReport {
            account,
            message_id,
            provider_message_id,
            status,
            provider_status,
            occur_at_ms: self.time(find(item, &pointers.status_time_pointer, places::STATUS_TIME)),
            error,
            contact: find(item, "", places::RECIPIENT).map(Contact::of_phone),
            ..StatusReport::default()
        })
    }

    /// A message, in whichever envelope it came. What we sent ourselves comes back too, and says nothing new.
    pub fn incoming(self, message: &Value, raw: &str, account: Option<String>, profile_name: Option<String>) -> Report {
        let pointers = self.pointers();
        let from = find(message, &pointers.message_from_pointer, places::FROM);
        if from.as_deref().is_some_and(|from| wire::same_line(from, &self.config.whatsapp_from)) {
            return Report::Nothing;
        }
        let id = find(message, &pointers.message_id_pointer, places::MESSAGE_ID);
        // A message of nobody cannot be answered, but is no reason to lose it.
        let contact = from.map(Contact::of_phone).unwrap_or_default();
        Report::Incoming(IncomingReport {
            account,
            provider_message_id: id.as_deref().and_then(wire::canonical_id),
            occur_at_ms: self.time(find(message, &pointers.message_time_pointer, places::TIME)),
            profile_name: profile_name.unwrap_or_default(),
            reply_to: message.as_object().and_then(whatsapp::reply_to).as_deref().and_then(wire::canonical_id),
            ..IncomingReport::new(contact, self.content(message, raw))
        })
    }

    /// Texts and files by the places that the settings may name; all else as WhatsApp has it.
    fn content(self, message: &Value, raw: &str) -> IncomingContent {
        let pointers = self.pointers();
        let word = find(message, &pointers.message_type_pointer, places::TYPE).unwrap_or_default();
        if matches!(word.as_str(), "text" | "")
            && let Some(body) = find(message, &pointers.message_text_pointer, places::TEXT)
        {
            return IncomingContent::Text(Text { body, preview_url: false });
        }
        if whatsapp::MEDIA_TYPES.contains(&word.as_str())
            && let Some(media) = self.media(message, &word)
        {
            return IncomingContent::Media(media);
        }
        match message.as_object() {
            Some(message) => whatsapp::content(message, raw, Files::ByAddress),
            None => IncomingContent::Unsupported { r#type: word, raw: raw.to_owned() },
        }
    }

    fn media(self, message: &Value, word: &str) -> Option<IncomingMedia> {
        let pointers = self.pointers();
        let find = |given: &str, usual: &[&str]| {
            let usual: Vec<String> = usual.iter().map(|place| place.replace("{type}", word)).collect();
            let usual: Vec<&str> = usual.iter().map(String::as_str).collect();
            find(message, &given.replace("{type}", word), &usual)
        };
        let url = find(&pointers.media_url_pointer, places::MEDIA_URL)?;
        let mime_type = find(&pointers.media_type_pointer, places::MEDIA_TYPE).unwrap_or_default();
        let voice = message.get(word).and_then(Value::as_object).and_then(|file| flag(file, "voice"));
        Some(IncomingMedia {
            kind: whatsapp::media_kind(word, &mime_type, voice),
            source: MediaSource::Url(url),
            mime_type,
            file_name: find(&pointers.media_name_pointer, places::MEDIA_NAME).unwrap_or_default(),
            caption: find(&pointers.media_caption_pointer, places::MEDIA_CAPTION).unwrap_or_default(),
        })
    }

    /// Seconds, milliseconds, either as a text, or RFC 3339: which one is not documented.
    fn time(self, given: Option<String>) -> Option<Millis> {
        let given = given?;
        let given = given.trim();
        let millis = given.parse::<i64>().ok().or_else(|| {
            let time: prost_types::Timestamp = given.parse().ok()?;
            time.seconds.checked_mul(1_000)?.checked_add(i64::from(time.nanos) / 1_000_000)
        });
        plausible_time(millis?, self.receive_at_ms)
    }
}
