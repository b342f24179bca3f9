//! Infobip's wire, and what its documentation leaves open, in one place: each fact marked [assumed] is ours, and is changed
//! here and nowhere else. [docs] is what www.infobip.com/docs/api/channels/whatsapp and Infobip's public client libraries
//! say. The README of this folder lists them too.

use crate::domain::content::{MediaKind, TemplateButtonKind};
use crate::domain::{MessageId, Millis};
use crate::provider::cards::Spelling;
use crate::provider::plausible_time;

/// [docs] What an account's address looks like; each account has its own.
pub const BASE_URL_EXAMPLE: &str = "https://abc123.api.infobip.com";
/// [docs] What stands before the key.
pub const AUTH_SCHEME: &str = "App";
/// [docs] `POST`: below it, one path for each kind of content.
pub const SEND_PATH: &str = "whatsapp/1/message";
/// [docs] `GET`: seen in public client code. Its answer tells whether the key works.
pub const BALANCE_PATH: &str = "account/1/balance";
/// [assumed] Addresses of people's files lie at any of Infobip's hosts, since an account's own is one of several.
pub const OWN_HOSTS: &str = ".infobip.com";

/// [docs] `GET`: the catalogue of a number.
pub fn templates_path(from: &str) -> String {
    format!("whatsapp/2/senders/{from}/templates")
}

/// [assumed] Requests under way at the same time. [docs] Templates: 4,000 requests a second and account.
pub const IN_FLIGHT: u32 = 16;
/// [docs] Characters of a text.
pub const TEXT_MAX: usize = 4_096;
/// [assumed] Characters of a caption: WhatsApp's limit, though Infobip takes more.
pub const CAPTION_MAX: usize = 1_024;
/// [docs] Characters of a file's name.
pub const FILE_NAME_MAX: usize = 240;

const MB: u64 = 1 << 20;
/// [assumed] WhatsApp's limits, here and below.
pub const IMAGE_BYTES_MAX: u64 = 5 * MB;
pub const AUDIO_BYTES_MAX: u64 = 16 * MB;
pub const VIDEO_BYTES_MAX: u64 = 16 * MB;
pub const DOCUMENT_BYTES_MAX: u64 = 100 * MB;
pub const STICKER_BYTES_MAX: u64 = 500 << 10;
pub const IMAGE_TYPES: &[&str] = &["image/jpeg", "image/png"];
pub const AUDIO_TYPES: &[&str] = &["audio/aac", "audio/amr", "audio/mp4", "audio/mpeg", "audio/ogg"];
pub const VIDEO_TYPES: &[&str] = &["video/mp4", "video/3gpp"];
pub const STICKER_TYPES: &[&str] = &["image/webp"];
pub const CARDS_MAX: usize = 257;
pub const INTERACTIVE_HEADER_MAX: usize = 60;
pub const INTERACTIVE_FOOTER_MAX: usize = 60;
pub const BUTTONS_MAX: usize = 3;
pub const BUTTON_TITLE_MAX: usize = 20;
pub const ROWS_MAX: usize = 10;
pub const ROW_TITLE_MAX: usize = 24;
pub const ROW_DESCRIPTION_MAX: usize = 72;

/// [docs] How address-book entries are spelt, going out; [assumed] coming in as well.
pub const CARDS: Spelling = Spelling {
    name: "name",
    formatted_name: "formattedName",
    first_name: "firstName",
    last_name: "lastName",
    middle_name: "middleName",
    prefix: "namePrefix",
    suffix: "nameSuffix",
    organization: "org",
    wa_id: "waId",
    country_code: "countryCode",
};

/// [docs] The paths and words of files that go out; a voice note has none.
pub fn media_path(kind: MediaKind) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        MediaKind::Image => ("image", "IMAGE"),
        MediaKind::Audio => ("audio", "AUDIO"),
        MediaKind::Video => ("video", "VIDEO"),
        MediaKind::Document => ("document", "DOCUMENT"),
        MediaKind::Sticker => ("sticker", "STICKER"),
        MediaKind::Voice => return None,
    })
}

/// [docs] The words of files that come in.
pub fn media_kind(word: &str) -> Option<MediaKind> {
    Some(match word {
        "IMAGE" => MediaKind::Image,
        "AUDIO" => MediaKind::Audio,
        "VOICE" => MediaKind::Voice,
        "VIDEO" => MediaKind::Video,
        "DOCUMENT" => MediaKind::Document,
        "STICKER" => MediaKind::Sticker,
        _ => return None,
    })
}

/// [docs] The words of template buttons; `COPY_CODE` is [assumed].
pub fn button_type(kind: TemplateButtonKind) -> &'static str {
    match kind {
        TemplateButtonKind::Url => "URL",
        TemplateButtonKind::QuickReply => "QUICK_REPLY",
        TemplateButtonKind::CopyCode => "COPY_CODE",
    }
}

/// What we call an attempt at Infobip, which makes it their id of the message, too. [docs] At most 100 characters, and
/// uniqueness is ours: [assumed] a second attempt under the same id would be taken for a duplicate, so later ones have their
/// number behind it (O8).
pub fn attempt_id(message_id: MessageId, attempt: i32) -> String {
    match attempt {
        ..=1 => message_id.to_string(),
        _ => format!("{message_id}-{attempt}"),
    }
}

/// The message that an attempt's id is of; nothing for ids that are not ours.
pub fn message_of(attempt_id: &str) -> Option<MessageId> {
    const UUID: usize = 36;
    let (id, attempt) = attempt_id.split_at_checked(UUID)?;
    let is_attempt = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let ours = attempt.is_empty() || attempt.strip_prefix('-').is_some_and(is_attempt);
    id.parse().ok().filter(|_| ours)
}

/// An id in the one form that it is compared in: without blanks around it; its letters are as given.
pub fn canonical_id(given: &str) -> Option<String> {
    let given = given.trim();
    (!given.is_empty()).then(|| given.to_owned())
}

/// [docs] `2025-12-11T05:48:20.118+0000`: no RFC 3339, since the offset has no colon. Also without milliseconds, with a
/// colon, and with `Z`; absurd times are none.
pub fn time(given: &str, now: Millis) -> Option<Millis> {
    let given = given.trim();
    let (local, offset_minutes) = match given.strip_suffix(['Z', 'z']) {
        Some(local) => (local, 0),
        None => {
            let at = given.rfind(['+', '-']).filter(|at| *at > "2025-12-11".len())?;
            let (local, offset) = given.split_at(at);
            let digits = offset[1..].replace(':', "");
            if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let minutes = digits[..2].parse::<i64>().ok()? * 60 + digits[2..].parse::<i64>().ok()?;
            (local, if offset.starts_with('-') { -minutes } else { minutes })
        }
    };
    let at = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    let millis = i64::try_from(since.as_millis()).ok()? - offset_minutes * 60_000;
    plausible_time(millis, now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn s13_times_are_read_in_every_form() {
        let now = 1_767_300_000_000;
        for (given, read) in [
            ("2025-12-11T05:48:20.118+0000", Some(1_765_432_100_118)),
            ("2025-12-11T05:48:20+0000", Some(1_765_432_100_000)),
            ("2025-12-11T02:48:20.118-0300", Some(1_765_432_100_118)),
            ("2025-12-11T07:18:20.118+01:30", Some(1_765_432_100_118)),
            ("2025-12-11T05:48:20.118Z", Some(1_765_432_100_118)),
            ("2025-12-11T05:48:20.118", None),
            ("2025-12-11", None),
            ("1970-01-01T00:00:00.000+0000", None),
            ("9999-12-31T23:59:59.999+0000", None),
            ("2025-12-11T05:48:20+00", None),
            ("+0000", None),
            ("yesterday", None),
            ("é2025-12-11T05:48:20+é", None),
            ("", None),
        ] {
            assert_eq!(time(given, now), read, "{given}");
        }
    }

    #[test]
    fn o8_attempts_have_ids_of_their_own_and_say_of_which_message_they_are() {
        let id = MessageId::generate();
        assert_eq!(attempt_id(id, 1), id.to_string());
        for attempt in [1, 2, 17] {
            assert_eq!(message_of(&attempt_id(id, attempt)), Some(id));
        }
        for other in ["", "ABGGVRGYdlQyHwIQsample", &format!("{id}x"), &format!("{id}-"), &format!("{id}-x"), "é"] {
            assert_eq!(message_of(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_none(given in ".*") {
            time(&given, 1_767_300_000_000);
            message_of(&given);
        }

        #[test]
        fn s8_canonical_ids_stay_as_they_are(given in ".*") {
            if let Some(once) = canonical_id(&given) {
                prop_assert_eq!(canonical_id(&once), Some(once));
            }
        }
    }
}
