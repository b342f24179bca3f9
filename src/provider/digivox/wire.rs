//! What Digivox does not publish, in one place: each fact marked [assumed] is ours, is changed here and nowhere else, and
//! can be set otherwise by the sender's settings. [docs] is what its public pages say
//! (<https://documenter.getpostman.com/view/33375237/2sA3kd9cT5> and the collection "Smart API WhatsApp"). The fake of
//! `recado fake-provider` reads the same constants.

use crate::domain::phone::peer_of;
use crate::domain::{MessageStatus, PhoneNumber};
use crate::provider::whatsapp::Dialect;

/// What `base_url` looks like. [docs] The address of production is not published.
pub const BASE_URL_EXAMPLE: &str = "https://dcs.example.com/dcs-gateway";
/// [docs] The environment's address and `/api/v1`; [assumed] also behind `/dcs-gateway`.
pub const API_PREFIX: &str = "/api/v1";
/// [docs] The token's name; [assumed] that it is the header's too.
pub const AUTH_HEADER: &str = "access-token";
/// [docs] `whatsapp_id` is a variable of the collection; [assumed] that it stands in the path, and the path.
pub const SEND_PATH: &str = "/whatsapp/{whatsapp_id}/messages";
/// The part of `SEND_PATH` that the channel's id takes the place of.
pub const CHANNEL_PLACE: &str = "{whatsapp_id}";
/// [assumed] As at Meta, on whose message object the form of messages rests.
pub const MESSAGE_ID_FIELD: &str = "biz_opaque_callback_data";
/// [docs] Variables of the collection; [assumed] names of the members.
pub const FROM_FIELD: &str = "from";
/// Likewise.
pub const TO_FIELD: &str = "to";
/// [assumed] The language of templates sent without one: the product is Brazilian.
pub const LANGUAGE: &str = "pt_BR";
/// [assumed] Files by address only, and no more than every provider of WhatsApp's form takes.
pub const DIALECT: Dialect = Dialect { language: LANGUAGE, whole: false };

/// [assumed] WhatsApp's own limit, in characters.
pub const TEXT_MAX: usize = 4_096;
/// [assumed] WhatsApp's own limit, in characters.
pub const CAPTION_MAX: usize = 1_024;
/// [assumed] WhatsApp's own limit, in characters.
pub const FILE_NAME_MAX: usize = 240;
/// [assumed] Cards in one message.
pub const CARDS_MAX: usize = 5;
/// [assumed] Requests under way at the same time: careful, as no rate is published.
pub const IN_FLIGHT: u32 = 8;
/// [assumed] Messages per second: likewise.
pub const PER_SECOND: f64 = 10.0;

const MB: u64 = 1 << 20;
/// [assumed] WhatsApp's own limits, in bytes.
pub const IMAGE_BYTES_MAX: u64 = 5 * MB;
/// Likewise.
pub const SOUND_BYTES_MAX: u64 = 16 * MB;
/// Likewise.
pub const VIDEO_BYTES_MAX: u64 = 16 * MB;
/// Likewise.
pub const DOCUMENT_BYTES_MAX: u64 = 100 * MB;
/// [assumed] WhatsApp's own types.
pub const IMAGE_TYPES: &[&str] = &["image/jpeg", "image/png"];
/// Likewise.
pub const AUDIO_TYPES: &[&str] = &["audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"];
/// Likewise.
pub const VOICE_TYPES: &[&str] = &["audio/ogg"];
/// Likewise.
pub const VIDEO_TYPES: &[&str] = &["video/mp4", "video/3gpp"];

/// [assumed] Places of what an answer and a webhook say, as JSON pointers: the first that holds something counts.
pub mod places {
    /// Of an answer: the id of the message.
    pub const RESPONSE_ID: &[&str] = &["/id", "/messageId", "/message_id", "/messages/0/id", "/data/id"];
    /// Of a refusal: words for people.
    pub const RESPONSE_ERROR: &[&str] = &["/message", "/error/message", "/error", "/errors/0/message", "/description"];
    /// Of a refusal: a code.
    pub const RESPONSE_CODE: &[&str] = &["/error/code", "/errors/0/code", "/code"];
    /// Of an answer: what makes it a refusal although the HTTP status is a success.
    pub const RESPONSE_REFUSAL: &[&str] = &["/error", "/errors/0"];

    /// Of an item: what happened.
    pub const EVENT: &[&str] = &["/event", "/kind", "/type"];
    /// Of an item: the network.
    pub const CHANNEL: &[&str] = &["/channel"];
    /// Of an item: which channel it is about. Only the name that the collection has: what looked like a channel and was
    /// none would keep a message from its sender.
    pub const ACCOUNT: &[&str] = &["/whatsapp_id"];
    /// Of an item: the message; where there is none, the item itself is it.
    pub const MESSAGE: &[&str] = &["/message", "/data"];
    /// Of a message.
    pub const MESSAGE_ID: &[&str] = &["/id", "/messageId", "/message_id"];
    /// Of a message: the person's number.
    pub const FROM: &[&str] = &["/from"];
    /// Of a message.
    pub const TIME: &[&str] = &["/timestamp", "/ts", "/createdAt"];
    /// Of a message.
    pub const TYPE: &[&str] = &["/type"];
    /// Of a message: its text.
    pub const TEXT: &[&str] = &["/text/body", "/text", "/body"];
    /// Of a message: a file's address.
    pub const MEDIA_URL: &[&str] = &["/{type}/url", "/{type}/link"];
    /// Of a message: a file's MIME type.
    pub const MEDIA_TYPE: &[&str] = &["/{type}/mime_type"];
    /// Of a message: a file's name.
    pub const MEDIA_NAME: &[&str] = &["/{type}/filename"];
    /// Of a message: the text under a file.
    pub const MEDIA_CAPTION: &[&str] = &["/{type}/caption"];
    /// Of an item: what the person calls itself.
    pub const PROFILE_NAME: &[&str] = &["/contact/name", "/contacts/0/profile/name"];

    /// Of an item: the word of a status; without an envelope, as in Meta's, at the top.
    pub const STATUS_WORD: &[&str] = &["/status/status", "/status"];
    /// Of an item: the message that a status is about.
    pub const STATUS_ID: &[&str] = &["/status/id", "/id", "/messageId", "/message_id"];
    /// Of an item: when a status came about.
    pub const STATUS_TIME: &[&str] = &["/status/timestamp", "/timestamp", "/ts"];
    /// Of an item: the code of a failure.
    pub const STATUS_CODE: &[&str] = &["/status/error/code", "/status/errors/0/code", "/error/code", "/errors/0/code"];
    /// Of an item: the words of a failure.
    pub const STATUS_ERROR: &[&str] = &[
        "/status/error/message",
        "/status/errors/0/message",
        "/error/message",
        "/errors/0/error_data/details",
        "/errors/0/message",
        "/errors/0/title",
    ];
    /// Of an item: who was written to.
    pub const RECIPIENT: &[&str] = &["/status/recipient", "/status/recipient_id", "/recipient_id"];
}

/// What a status word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The message has come so far.
    Is(MessageStatus),
    /// It failed.
    Failed,
    /// Its time ran out.
    Expired,
}

/// [assumed] Meta's words, and Portuguese ones, as the product is Brazilian. Case does not matter.
pub const STATUS_WORDS: &[(Word, &[&str])] = &[
    (
        Word::Is(MessageStatus::Sent),
        &["queued", "accepted", "enqueued", "pending", "enfileirado", "pendente", "sent", "enviado", "enviada"],
    ),
    (Word::Is(MessageStatus::Delivered), &["delivered", "entregue"]),
    (Word::Is(MessageStatus::Read), &["read", "seen", "lido", "lida"]),
    (Word::Is(MessageStatus::Played), &["played"]),
    (Word::Failed, &["failed", "error", "undelivered", "rejected", "falha", "erro", "rejeitado"]),
    (Word::Expired, &["expired", "expirado"]),
];

/// An id in the one form that it is compared in. [assumed] Opaque; only of UUIDs the case means nothing.
pub fn canonical_id(given: &str) -> Option<String> {
    let given = given.trim();
    match uuid::Uuid::try_parse(given) {
        Ok(uuid) if given.len() == 36 => Some(uuid.hyphenated().to_string()),
        _ => (!given.is_empty()).then(|| given.to_owned()),
    }
}

/// Whether two numbers are one line, whichever way they are written.
pub fn same_line(one: &str, other: &str) -> bool {
    let line = |text: &str| PhoneNumber::digits_of(text).map(|digits| peer_of(&digits));
    line(one).is_some_and(|one| line(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn s8_ids_are_opaque_but_for_the_case_of_a_uuid() {
        for (given, id) in [
            ("0C9B8A77-1234-4ABC-9DEF-001122334455", Some("0c9b8a77-1234-4abc-9def-001122334455")),
            ("wamid.HBgMNTU4Mzk=", Some("wamid.HBgMNTU4Mzk=")),
            (" 7001 ", Some("7001")),
            ("007001", Some("007001")),
            ("0C9B8A7712344ABC9DEF001122334455", Some("0C9B8A7712344ABC9DEF001122334455")),
            ("", None),
        ] {
            assert_eq!(canonical_id(given).as_deref(), id, "{given}");
        }
    }

    #[test]
    fn i16_one_line_is_known_with_and_without_the_ninth_digit() {
        for (one, other, same) in [
            ("558390000002", "5583990000002", true),
            ("+55 83 99000-0002", "558390000002", true),
            ("558330000001", "+55 (83) 3000-0001", true),
            ("558330000001", "5583930000001", false),
            ("558390000002", "558490000002", false),
            ("558390000002", "558390000003", false),
            ("351910000001", "351910000001", true),
            ("351910000001", "351910000002", false),
            ("", "", false),
        ] {
            assert_eq!(same_line(one, other), same, "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn s8_canonical_ids_stay_as_they_are(given in ".*") {
            if let Some(once) = canonical_id(&given) {
                prop_assert_eq!(canonical_id(&once), Some(once));
            }
        }
    }
}
