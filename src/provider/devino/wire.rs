//! What Devino's documentation leaves open, in one place: each fact marked [assumed] is ours, and is changed here and
//! nowhere else. [docs] is what docs.devino.online/pt/http/whatsapp/ says. The README of this folder lists them too.

use crate::provider::whatsapp::Dialect;

/// [docs] Where the API is.
pub const BASE_URL: &str = "https://api.devino.online";
/// [docs] `POST`: messages of the classic API.
pub const SEND_PATH: &str = "whatsapp/messages";
/// [docs] `POST`: messages of the direct API (docs.devino.online/en/http/direct_wa_api/).
pub const DIRECT_PATH: &str = "whatsapp/v2/messages";
/// [assumed] `GET`: seen in public client code only. Its answer tells whether the key works.
pub const BALANCE_PATH: &str = "billing-api/companies/current/account";
/// [docs] The key is sent as it was issued: it looks like base64, but is opaque.
pub const AUTH_SCHEME: &str = "Key";

/// [assumed] Messages in one request: a limit exists (`too.many.messages`), its number is not published. The legacy
/// platform had 100.
pub const BATCH_MAX: usize = 100;
/// [assumed] Requests under way at the same time.
pub const IN_FLIGHT: u32 = 16;
/// [docs] "1,000 UTF-8 characters"; [assumed] characters, not bytes. Captions travel in the same field.
pub const TEXT_MAX: usize = 1_000;
/// [assumed] WhatsApp's own limit, above which no setting raises the direct API's; its own is not published.
pub const DIRECT_TEXT_MOST: usize = 4_096;
/// [assumed] WhatsApp's own limit of captions, for the direct API where texts may be as long.
pub const DIRECT_CAPTION_MOST: usize = 1_024;
/// [assumed] Cards in one message of the direct API.
pub const DIRECT_CARDS_MAX: usize = 5;
/// [assumed] The language of templates of the direct API sent without one: the classic API's, in WhatsApp's form.
pub const DIRECT_LANGUAGE: &str = "en";
/// [assumed] Files by address only, and no more than every provider of WhatsApp's form takes.
pub const DIRECT: Dialect = Dialect { language: DIRECT_LANGUAGE, whole: false };
/// [docs] Characters of `contentName`.
pub const FILE_NAME_MAX: usize = 100;

/// [docs] How the members of an address-book entry are spelt.
pub const CARDS: crate::provider::cards::Spelling = crate::provider::cards::Spelling {
    name: "contactName",
    formatted_name: "formattedName",
    first_name: "firstName",
    last_name: "lastName",
    middle_name: "middleName",
    prefix: "namePrefix",
    suffix: "nameSuffix",
    organization: "contactCompany",
    wa_id: "waId",
    country_code: "countryCode",
};

const MB: u64 = 1 << 20;
/// [assumed] The documentation prints 16 MB, but its code 2303 refuses images from 5 MB, as WhatsApp does.
pub const IMAGE_BYTES_MAX: u64 = 5 * MB;
/// [docs] As printed, though WhatsApp itself takes 16 MB.
pub const VIDEO_BYTES_MAX: u64 = 5 * MB;
/// [docs] Sound files and recordings.
pub const AUDIO_BYTES_MAX: u64 = 16 * MB;
/// [docs] Any other file.
pub const DOCUMENT_BYTES_MAX: u64 = 100 * MB;

/// [docs] Pictures.
pub const IMAGE_TYPES: &[&str] = &["image/jpeg", "image/png"];
/// [docs] Films.
pub const VIDEO_TYPES: &[&str] = &["video/mp4", "video/3gpp"];
/// [docs] Sound files: the right spellings, and the misprints of the documentation that callers may have copied.
pub const AUDIO_TYPES: &[&str] =
    &["audio/aac", "audio/mp4", "audio/amr", "audio/mpeg", "audio/ogg", "audio/acc", "auidio/ogg"];
/// [docs] Recordings: likewise.
pub const VOICE_TYPES: &[&str] = &["audio/ogg", "auidio/ogg"];

/// [assumed] The right spelling of a type that the documentation misprints: that is what is sent.
pub fn spelled_right(essence: &str) -> &str {
    match essence {
        "auidio/ogg" => "audio/ogg",
        "audio/acc" => "audio/aac",
        other => other,
    }
}

/// [assumed] The only `validity` mentioned is "one day", without a unit: taken for seconds, and for templates only.
pub const TEMPLATE_VALIDITY_S: u64 = 86_400;

/// [docs] The language when none is given.
pub const DEFAULT_LANGUAGE: &str = "EN";

/// [assumed] Devino's form of a language: the documentation has upper case (`EN`, `PT`) and says nothing of regions, so
/// `pt_BR` and `pt-br` become `PT_BR`, and a script (`zh-Hans-CN`) is left out.
pub fn language_code(given: &str) -> String {
    let mut parts = given.trim().split(['-', '_']).filter(|part| !part.is_empty());
    let Some(language) = parts.next() else { return DEFAULT_LANGUAGE.to_owned() };
    let region = parts.find(|part| part.len() == 2 || part.len() == 3 && part.bytes().all(|b| b.is_ascii_digit()));
    match region {
        Some(region) => format!("{language}_{region}").to_uppercase(),
        None => language.to_uppercase(),
    }
}

/// The `contentType` of a file whose caller gave none: by its extension, else the usual one of its kind.
pub fn guessed_type(kind: crate::domain::content::MediaKind, name_or_url: &str) -> &'static str {
    use crate::domain::content::MediaKind;
    let path = name_or_url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    match (kind, extension.as_str()) {
        (MediaKind::Image | MediaKind::Sticker, "png") => "image/png",
        (MediaKind::Image | MediaKind::Sticker, _) => "image/jpeg",
        (MediaKind::Audio, "ogg" | "oga" | "opus") => "audio/ogg",
        (MediaKind::Audio, "mp4" | "m4a" | "mp4a") => "audio/mp4",
        (MediaKind::Audio, "amr") => "audio/amr",
        (MediaKind::Audio, "aac" | "acc") => "audio/aac",
        (MediaKind::Audio, _) => "audio/mpeg",
        (MediaKind::Voice, _) => "audio/ogg",
        (MediaKind::Video, "3gp" | "3g2" | "3gpp") => "video/3gpp",
        (MediaKind::Video, _) => "video/mp4",
        (MediaKind::Document, "pdf") => "application/pdf",
        (MediaKind::Document, "doc") => "application/msword",
        (MediaKind::Document, "xls") => "application/vnd.ms-excel",
        (MediaKind::Document, "ppt") => "application/vnd.ms-powerpoint",
        (MediaKind::Document, "docx") => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        (MediaKind::Document, "xlsx") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        (MediaKind::Document, "pptx") => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        (MediaKind::Document, "odt") => "application/vnd.oasis.opendocument.text",
        (MediaKind::Document, "ods") => "application/vnd.oasis.opendocument.spreadsheet",
        (MediaKind::Document, "csv") => "text/csv",
        (MediaKind::Document, "txt") => "text/plain",
        (MediaKind::Document, "zip") => "application/zip",
        (MediaKind::Document, _) => "application/octet-stream",
    }
}

/// An id in the one form that it is compared in: the answer to a send has it as a string, a webhook as a number.
/// [assumed] Of a decimal number, zeros in front and a plus mean nothing.
pub fn canonical_id(given: &str) -> Option<String> {
    let given = given.trim();
    let digits = given.strip_prefix('+').unwrap_or(given);
    let decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match decimal {
        true => match digits.trim_start_matches('0') {
            "" => Some("0".to_owned()),
            significant => Some(significant.to_owned()),
        },
        false => (!given.is_empty()).then(|| given.to_owned()),
    }
}

/// The same of a JSON value: string or whole number, never by way of a floating-point number, which would round it.
pub fn id_of(value: Option<&serde_json::Value>) -> Option<String> {
    match value? {
        serde_json::Value::String(text) => canonical_id(text),
        serde_json::Value::Number(number) => {
            number.as_u64().map(|id| id.to_string()).or_else(|| number.as_i64().map(|id| id.to_string()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::content::MediaKind;

    #[test]
    fn languages_take_devinos_form() {
        for (given, sent) in [
            ("pt_BR", "PT_BR"),
            ("pt-br", "PT_BR"),
            ("PT", "PT"),
            ("en", "EN"),
            ("", "EN"),
            ("fil", "FIL"),
            ("zh-Hans-CN", "ZH_CN"),
            ("es-419", "ES_419"),
        ] {
            assert_eq!(language_code(given), sent, "{given}");
        }
    }

    #[test]
    fn types_are_guessed_by_extension_then_kind() {
        for (kind, name, guessed) in [
            (MediaKind::Image, "https://f.example.test/a.PNG?sig=x.jpg", "image/png"),
            (MediaKind::Image, "https://f.example.test/a", "image/jpeg"),
            (MediaKind::Audio, "note.ogg", "audio/ogg"),
            (MediaKind::Audio, "https://f.example.test/song", "audio/mpeg"),
            (MediaKind::Voice, "note.mp3", "audio/ogg"),
            (MediaKind::Video, "clip.3gp#t=1", "video/3gpp"),
            (MediaKind::Document, "invoice-77.pdf", "application/pdf"),
            (MediaKind::Document, "what.ever", "application/octet-stream"),
        ] {
            assert_eq!(guessed_type(kind, name), guessed, "{name}");
        }
    }

    #[test]
    fn s8_ids_of_the_answer_and_of_the_webhook_are_equal() {
        for (value, id) in [
            (json!("3590000000000000001"), Some("3590000000000000001")),
            (json!(3590000000000000001_u64), Some("3590000000000000001")),
            (json!(18446744073709551615_u64), Some("18446744073709551615")),
            (json!(" +0042 "), Some("42")),
            (json!("000"), Some("0")),
            (json!(-5), Some("-5")),
            (json!(""), None),
            (json!(1.5), None),
            (json!(null), None),
            (json!({}), None),
        ] {
            assert_eq!(id_of(Some(&value)).as_deref(), id, "{value}");
        }
    }

    proptest! {
        #[test]
        fn s8_canonical_ids_stay_as_they_are(given in ".*") {
            if let Some(once) = canonical_id(&given) {
                prop_assert_eq!(canonical_id(&once), Some(once));
            }
        }

        #[test]
        fn s8_zeros_and_plus_make_no_other_id(id: u64, zeros in 0_usize..5, plus: bool) {
            let given = format!("{}{}{id}", if plus { "+" } else { "" }, "0".repeat(zeros));
            prop_assert_eq!(canonical_id(&given), Some(id.to_string()));
        }
    }
}
