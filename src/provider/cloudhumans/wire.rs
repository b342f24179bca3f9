//! What is known of CloudChat's API, in one place. [seed] and [docs] are the provider's own pages, [code] is Chatwoot, whose
//! fork it is, and [assumed] is ours: changed here and nowhere else. The README of this folder lists what is assumed.

use serde_json::{Map, Value};

use crate::domain::{MessageStatus, Millis};
use crate::provider::lenient::{object, text};
use crate::provider::plausible_time;

/// [seed] Where most accounts are; others are on other hosts.
pub const BASE_URL: &str = "https://cloudchat.cloudhumans.com";
/// [seed] The header of the token. A proxy may drop it for its underscores.
pub const TOKEN_HEADER: &str = "api_access_token";
/// [seed] Below it, the account's number and then all other paths.
pub const ACCOUNTS_PATH: &str = "api/v1/accounts";
/// [seed] `POST`: a template to anybody.
pub const PROACTIVE_PATH: &str = "conversations/create_proactive_whatsapp_conversation";
/// [code] `GET`: contacts by a part of their number.
pub const SEARCH_PATH: &str = "contacts/search";

/// [seed] for the first five, of which the last stands for all buttons. [assumed] for the others: the path's own parameters
/// and what Rails puts beside them, which a parameter of the same name could overwrite or be overwritten by.
pub const RESERVED: &[&str] = &[
    "inbox_id",
    "phone_number",
    "template_name",
    "header_attachment",
    "button_param_#",
    "account_id",
    "action",
    "api_access_token",
    "controller",
    "conversation",
    "format",
    "id",
];

/// [code] Chatwoot takes 150,000 characters; WhatsApp stops here.
pub const TEXT_MAX: usize = 4_096;
/// [assumed] Limits of WhatsApp's reply buttons, into which `input_select` is made.
pub const BUTTONS_MAX: usize = 3;
/// [assumed] Characters of the text above buttons: WhatsApp's.
pub const BUTTONS_BODY_MAX: usize = 1_024;
/// [assumed] Characters of a button's title: WhatsApp's.
pub const BUTTON_TITLE_MAX: usize = 20;
/// [assumed] Requests under way at the same time; no limit is published.
pub const IN_FLIGHT: u32 = 8;

const MB: u64 = 1 << 20;
/// [assumed] Bytes of a header's picture or film, and of its document: WhatsApp's.
pub const HEADER_FILM_BYTES_MAX: u64 = 16 * MB;
/// [assumed] The same of pictures.
pub const HEADER_IMAGE_BYTES_MAX: u64 = 5 * MB;
/// [assumed] The same of documents.
pub const HEADER_DOCUMENT_BYTES_MAX: u64 = 100 * MB;

/// [assumed] A conversation in one of these is open: the rest of Chatwoot's words is `resolved`.
pub const OPEN: &[&str] = &["open", "pending", "snoozed"];
/// [code] The channel of an inbox that speaks WhatsApp.
pub const CHANNEL: &str = "Channel::Whatsapp";

/// [code] `sha256=` and the lower-case hex of HMAC-SHA256 over the timestamp, a full stop and the body.
pub const SIGNATURE_HEADER: &str = "x-chatwoot-signature";
/// [code] Unix seconds.
pub const TIMESTAMP_HEADER: &str = "x-chatwoot-timestamp";
/// [assumed] How far the clocks may be apart.
pub const TOLERANCE_MS: Millis = 300_000;

/// [assumed] A message whose id is not known was made in this time around its hand-over: the provider's clock may be a
/// little behind ours, and the hand-over may take as long as a call may, and longer behind the provider's proxy.
pub const MADE_WITHIN_MS: (Millis, Millis) = (-5_000, 120_000);
/// Conversations of one person that are looked through, newest first.
pub const CONVERSATIONS_LOOKED_AT: usize = 3;

/// [code] Chatwoot's words for where a message stands. `sent` is what every message says from the start, before it was
/// handed over to WhatsApp: it is no news. [assumed] `progress`, of some forks, likewise.
pub enum Word {
    /// It means this to us.
    Is(MessageStatus),
    /// It says no more than that the message is there.
    NoNews,
}

/// The meaning of a status word; nothing for one that we do not know.
pub fn word(given: &str) -> Option<Word> {
    Some(match given {
        "sent" | "progress" => Word::NoNews,
        "delivered" => Word::Is(MessageStatus::Delivered),
        "read" => Word::Is(MessageStatus::Read),
        "failed" => Word::Is(MessageStatus::Failed),
        _ => return None,
    })
}

/// [code] What kind of message: words at the root of webhooks, numbers in lists of messages and in answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageType {
    /// A person's.
    Incoming,
    /// Ours, or an agent's.
    Outgoing,
    /// Ours, by template.
    Template,
    /// "The conversation was assigned to …".
    Activity,
}

impl MessageType {
    /// The type of a message; nothing for one that we do not know.
    pub fn of(message: &Map<String, Value>) -> Option<Self> {
        Some(match text(message, "message_type")?.as_str() {
            "incoming" | "0" => Self::Incoming,
            "outgoing" | "1" => Self::Outgoing,
            "activity" | "2" => Self::Activity,
            "template" | "3" => Self::Template,
            _ => return None,
        })
    }
}

/// An id, as text or number. [assumed] Ids are whole numbers, in which zeros in front mean nothing.
pub fn id_of(value: Option<&Value>) -> Option<String> {
    let given = match value? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) if !number.is_f64() => number.to_string(),
        _ => return None,
    };
    match given.bytes().all(|b| b.is_ascii_digit()) {
        true => Some(given.trim_start_matches('0').to_owned()).filter(|digits| !digits.is_empty()),
        false => None,
    }
}

/// [code] A time: RFC 3339 at the root of webhooks, Unix seconds in lists of messages and in answers.
pub fn time_of(value: Option<&Value>, now: Millis) -> Option<Millis> {
    let number = match value? {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64))?,
        Value::String(text) => match text.trim().parse() {
            Ok(number) => number,
            Err(_) => rfc3339(text.trim())?,
        },
        _ => return None,
    };
    plausible_time(number, now)
}

fn rfc3339(text: &str) -> Option<Millis> {
    // The parser works on bytes; whatever is longer is no time.
    let time: prost_types::Timestamp = text.is_ascii().then_some(text).filter(|text| text.len() < 40)?.parse().ok()?;
    time.seconds.checked_mul(1_000)?.checked_add(i64::from(time.nanos) / 1_000_000)
}

/// The message object that a created conversation holds: as the first of its messages, or by itself.
pub fn message_in(created: &Map<String, Value>) -> Option<&Map<String, Value>> {
    object(created, "message").or_else(|| created.get("messages")?.as_array()?.first()?.as_object())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Millis = 1_767_300_000_000;

    #[test]
    fn s13_times_are_read_in_all_their_forms() {
        for (given, read) in [
            (json!("2025-12-11T05:50:02.418Z"), Some(1_765_432_202_418)),
            (json!("2025-12-11T02:50:02-03:00"), Some(1_765_432_202_000)),
            (json!(1_765_432_202), Some(1_765_432_202_000)),
            (json!(1_765_432_202.52), Some(1_765_432_202_000)),
            (json!("1765432202"), Some(1_765_432_202_000)),
            (json!(0), None),
            (json!("yesterday"), None),
            (json!("9999-99-99T99:99:99Z"), None),
            (json!("é025-12-11T05:50:02Z"), None),
            (json!(null), None),
            (json!([]), None),
        ] {
            assert_eq!(time_of(Some(&given), NOW), read, "{given}");
        }
    }

    #[test]
    fn s8_ids_are_one_text_whatever_they_came_as() {
        for (given, read) in [
            (json!(640101), Some("640101")),
            (json!("640101"), Some("640101")),
            (json!(" 0640101 "), Some("640101")),
            (json!(3_590_000_000_000_000_001_u64), Some("3590000000000000001")),
            (json!(1.5), None),
            (json!(0), None),
            (json!(-7), None),
            (json!(""), None),
            (json!("x"), None),
            (json!({}), None),
        ] {
            assert_eq!(id_of(Some(&given)).as_deref(), read, "{given}");
        }
    }
}
