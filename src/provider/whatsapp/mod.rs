//! Messages in WhatsApp's own JSON, as Meta publishes it, for providers that take it or hand it through. What a provider
//! wraps them in, and what it carries of them, stays in its adapter.
//! <https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/text-messages/> and its siblings.

mod incoming;
mod outgoing;

pub use incoming::{Files, MEDIA_TYPES, content, media_kind, reply_to};
pub use outgoing::{Dialect, NoForm, part, private_words};

use super::capabilities::InteractiveRule;
use super::cards::Spelling;

/// How WhatsApp spells the members of an address-book entry.
pub const CARDS: Spelling = Spelling {
    name: "name",
    formatted_name: "formatted_name",
    first_name: "first_name",
    last_name: "last_name",
    middle_name: "middle_name",
    prefix: "prefix",
    suffix: "suffix",
    organization: "org",
    wa_id: "wa_id",
    country_code: "country_code",
};

/// What buttons and lists may be: WhatsApp's own limits. Buttons that open a page are not taken everywhere.
pub const INTERACTIVE: InteractiveRule = InteractiveRule {
    body_max: 1_024,
    header_max: Some(60),
    footer_max: Some(60),
    buttons_max: 3,
    button_title_max: 20,
    rows_max: 10,
    row_title_max: 24,
    row_description_max: 72,
    url_button: false,
};

/// Sections of a list, at most.
const SECTIONS_MAX: usize = 10;
/// Characters of a section's title in a list, at most.
const SECTION_TITLE_MAX: usize = 24;
/// Texts shorter than this are not looked for in answers: words like "to" stand there for themselves.
pub const QUOTABLE: usize = 8;

/// A language as WhatsApp writes it: `pt_BR` for `pt-br`; a script (`zh-Hans-CN`) is left out.
pub fn language_code(given: &str) -> Option<String> {
    let mut parts = given.trim().split(['-', '_']).filter(|part| !part.is_empty());
    let language = parts.next()?.to_lowercase();
    let region = parts.find(|part| part.len() == 2 || part.len() == 3 && part.bytes().all(|b| b.is_ascii_digit()));
    Some(match region {
        Some(region) => format!("{language}_{}", region.to_uppercase()),
        None => language,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_written_as_whatsapp_writes_them() {
        for (given, written) in [
            ("pt_BR", Some("pt_BR")),
            ("pt-br", Some("pt_BR")),
            ("EN", Some("en")),
            ("es_419", Some("es_419")),
            ("zh-Hans-CN", Some("zh_CN")),
            (" fil ", Some("fil")),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(language_code(given).as_deref(), written, "{given}");
        }
    }
}
