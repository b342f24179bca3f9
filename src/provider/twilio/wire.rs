//! Twilio's wire, and what its documentation leaves open, in one place: each fact marked [assumed] is ours, and is changed
//! here and nowhere else. [docs] is what www.twilio.com/docs says. The README of this folder lists them too.

use crate::domain::Millis;
use crate::domain::content::{Location, MediaKind};

/// [docs] Where the API is. Regional hosts have the same paths.
pub const BASE_URL: &str = "https://api.twilio.com";
/// [docs] Where the Content API is, which has the templates.
pub const CONTENT_BASE_URL: &str = "https://content.twilio.com";
/// [docs] The version in front of all paths of the API.
const VERSION: &str = "2010-04-01";
/// [docs] The catalogue with what WhatsApp said to each of its templates, in pages.
pub const CATALOGUE_PATH: &str = "v1/ContentAndApprovals";
/// [docs] Templates in one page.
pub const CATALOGUE_PAGE: &str = "100";
/// [docs] A business has at most 6,000 approved templates; pages beyond that are not read.
pub const CATALOGUE_PAGES_MAX: usize = 200;

/// [docs] `POST`: messages. `GET`: a list of them.
pub fn messages_path(account_sid: &str) -> String {
    format!("{VERSION}/Accounts/{account_sid}/Messages.json")
}

/// [docs] `GET`: one message.
pub fn message_path(account_sid: &str, message_sid: &str) -> String {
    format!("{VERSION}/Accounts/{account_sid}/Messages/{message_sid}.json")
}

/// [docs] `GET`: the files of one message.
pub fn files_path(account_sid: &str, message_sid: &str) -> String {
    format!("{VERSION}/Accounts/{account_sid}/Messages/{message_sid}/Media.json")
}

/// [docs] One file: the address that webhooks give.
pub fn file_path(account_sid: &str, message_sid: &str, file_sid: &str) -> String {
    format!("{VERSION}/Accounts/{account_sid}/Messages/{message_sid}/Media/{file_sid}")
}

/// [docs] The parameter of a list that wants what was sent on a day, in UTC, or after it.
pub const SENT_SINCE: &str = "DateSent>";
/// [docs] Messages in one page of a list, at most.
pub const HISTORY_PAGE: &str = "1000";
/// Pages that are read: 50,000 messages.
pub const HISTORY_PAGES_MAX: usize = 50;

/// [docs] Times of lists: `Thu, 11 Dec 2025 05:48:20 +0000`, always in UTC.
pub fn sent_at(given: &str) -> Option<Millis> {
    let at = httpdate::parse_http_date(&format!("{} GMT", given.trim().strip_suffix(" +0000")?)).ok()?;
    Millis::try_from(at.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// [docs] `GET`: the account.
pub fn account_path(account_sid: &str) -> String {
    format!("{VERSION}/Accounts/{account_sid}.json")
}

/// [docs] What stands before numbers of WhatsApp.
pub const CHANNEL: &str = "whatsapp:";

/// An address of WhatsApp without its prefix, which may be missing.
pub fn without_channel(address: &str) -> &str {
    address.strip_prefix(CHANNEL).unwrap_or(address)
}

/// [assumed] Requests under way at the same time; Twilio limits them by account and answers 429.
pub const IN_FLIGHT: u32 = 64;
/// [assumed] Messages a second from one sender, as at Meta; an older page has 10, and up to 50 on request.
pub const PER_SECOND: f64 = 80.0;
/// [docs] Characters of `Body` (error 21617), although WhatsApp takes 4,096. [assumed] Unicode scalars.
pub const TEXT_MAX: usize = 1_600;
/// [docs] Seconds for which a message may wait in Twilio's queue.
pub const VALIDITY_MAX_S: u64 = 36_000;

const MB: u64 = 1 << 20;
/// [docs] Pictures.
pub const IMAGE_BYTES_MAX: u64 = 5 * MB;
/// [docs] Any other file.
pub const BYTES_MAX: u64 = 16 * MB;
/// [docs] Pictures. WebP is left out: it arrives as a sticker.
pub const IMAGE_TYPES: &[&str] = &["image/jpeg", "image/png"];
/// [docs] Sound files.
pub const AUDIO_TYPES: &[&str] = &["audio/ogg", "audio/amr", "audio/3gpp", "audio/aac", "audio/mpeg"];
/// [docs] Films.
pub const VIDEO_TYPES: &[&str] = &["video/mp4"];

/// [assumed] The parameter of the callback's address that carries our message id, and comes back in it.
pub const MESSAGE_ID: &str = "message_id";
/// The field under which the journal keeps it: no name of Twilio's.
pub const JOURNALLED_MESSAGE_ID: &str = "RecadoMessageId";
/// The field under which the journal keeps when a message was sent that no webhook brought: no name of Twilio's.
pub const JOURNALLED_SENT_AT: &str = "RecadoSentAt";

/// [docs] The header of the signature, in lower case.
pub const SIGNATURE: &str = "x-twilio-signature";
/// [docs] The parameter of an address to which JSON is posted: the SHA-256 of the body, in hex.
pub const BODY_SHA256: &str = "bodySHA256";

/// [docs] `PersistentAction` of a place, `geo:-23.55,-46.63|Rua Exemplo 10`, and [assumed] the `Body` that names it, which
/// Twilio wants: its name, else its address, else its degrees.
pub fn place(location: &Location) -> (String, String) {
    let degrees = format!("{},{}", location.latitude, location.longitude);
    let label = if location.address.is_empty() { &location.name } else { &location.address };
    let action = match label.is_empty() {
        true => format!("geo:{degrees}"),
        false => format!("geo:{degrees}|{label}"),
    };
    let body = [&location.name, &location.address].into_iter().find(|text| !text.is_empty());
    (action, body.cloned().unwrap_or(degrees))
}

/// Whether it is the id of a content: [docs] `HX` and 32 hexadecimal digits.
pub fn is_content_sid(template: &str) -> bool {
    is_sid("HX", template)
}

/// [docs] Two letters that say of what, and 32 hexadecimal digits.
pub fn is_sid(prefix: &str, sid: &str) -> bool {
    sid.strip_prefix(prefix).is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// [docs] The words of `MessageType` for files; `voice` is [assumed].
pub fn media_kind(message_type: &str) -> Option<MediaKind> {
    Some(match message_type {
        "image" => MediaKind::Image,
        "audio" => MediaKind::Audio,
        "voice" => MediaKind::Voice,
        "video" => MediaKind::Video,
        "document" => MediaKind::Document,
        "sticker" => MediaKind::Sticker,
        _ => return None,
    })
}

/// An id in the one form that it is compared in: [assumed] without blanks around it; its letters are as given.
pub fn canonical_id(given: &str) -> Option<String> {
    let given = given.trim();
    (!given.is_empty()).then(|| given.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_have_a_name_whatever_is_missing() {
        let place = |name: &str, address: &str| {
            let location = Location {
                latitude: -23.55,
                longitude: -46.63,
                name: name.into(),
                address: address.into(),
                url: String::new(),
            };
            super::place(&location)
        };
        for (name, address, action, body) in [
            ("Loja Centro", "Rua Exemplo 10", "geo:-23.55,-46.63|Rua Exemplo 10", "Loja Centro"),
            ("Loja Centro", "", "geo:-23.55,-46.63|Loja Centro", "Loja Centro"),
            ("", "Rua Exemplo 10", "geo:-23.55,-46.63|Rua Exemplo 10", "Rua Exemplo 10"),
            ("", "", "geo:-23.55,-46.63", "-23.55,-46.63"),
        ] {
            assert_eq!(place(name, address), (action.to_owned(), body.to_owned()));
        }
    }

    #[test]
    fn s13_times_of_lists_are_read() {
        for (given, read) in [
            ("Thu, 11 Dec 2025 05:48:20 +0000", Some(1_765_432_100_000)),
            (" Thu, 11 Dec 2025 05:48:20 +0000 ", Some(1_765_432_100_000)),
            ("Thu, 11 Dec 2025 05:48:20 -0300", None),
            ("2025-12-11T05:48:20Z", None),
            ("", None),
        ] {
            assert_eq!(sent_at(given), read, "{given}");
        }
    }

    #[test]
    fn sids_are_known_by_their_form() {
        assert!(is_content_sid("HX11112222333344445555666677778888"));
        for other in
            ["", "HX", "boleto_disponivel", "HX1111222233334444555566667777888g", "SM11112222333344445555666677778888"]
        {
            assert!(!is_content_sid(other), "{other}");
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
