//! Facts of Meta's wire in one place, for Meta's adapter and for those who pass its API on. [docs] is what Meta's pages and its
//! OpenAPI file say, [assumed] what they leave open: those are changed here and nowhere else. The README lists them too.

use std::time::Duration;

use crate::domain::content::MediaKind;
use crate::domain::pace::Rate;
use crate::provider::capabilities::{Capabilities, InteractiveRule, MediaRule, TemplateRule};
use crate::provider::whatsapp;

/// [docs] The version that github.com/facebook/openapi describes. Another one is another `base_url`.
pub const BASE_URL: &str = "https://graph.facebook.com/v23.0";
/// [docs] `GET /{phone_number_id}`: what is asked of a number, to check a sender.
pub const NUMBER_FIELDS: &str =
    "display_phone_number,verified_name,quality_rating,code_verification_status,throughput,name_status,platform_type";
/// [docs] `GET /{waba_id}/message_templates`: what is asked of a template.
pub const TEMPLATE_FIELDS: &str =
    "id,name,language,status,category,parameter_format,components,quality_score,rejected_reason";
/// [docs] Templates in a page.
pub const TEMPLATE_PAGE: &str = "100";
/// Pages read at most: a business account has 6,000 templates at the most.
pub const TEMPLATE_PAGES_MAX: usize = 100;

/// [assumed] Hosts that files may lie on, or below, for the token to be sent there.
pub const MEDIA_HOSTS: &[&str] = &["fbsbx.com", "facebook.com"];

/// [assumed] Requests under way at the same time: a number may send 80 messages a second, and an answer takes about 300 ms.
pub const IN_FLIGHT: u32 = 64;
/// [docs] 80 messages a second, in and out together, until Meta raises it; a message to one person in 6 s, and 45 at once.
pub const RATE: Rate = Rate { per_second: Some(80.0), contact_interval_ms: Some(6_000), contact_burst: Some(45) };
/// [docs] Characters of a text.
pub const TEXT_MAX: usize = 4_096;
/// [docs] Characters of a caption.
pub const CAPTION_MAX: usize = 1_024;
/// [assumed] Characters of a file's name; none is published.
pub const FILE_NAME_MAX: usize = 240;
/// [assumed] Cards in a message: the hard limit is higher, more than five are shown badly.
pub const CARDS_MAX: usize = 5;
/// [docs] The wait after the pair limit (131056): 4^n seconds; [assumed] up to a minute or so.
pub fn pair_wait(attempt: i32) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or_default().min(3);
    Duration::from_secs(4_u64.pow(doublings))
}

/// [docs] How long a file is kept that was uploaded.
pub const MEDIA_KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);

const MB: u64 = 1 << 20;

/// What the Cloud API carries.
pub fn capabilities() -> Capabilities {
    let rule = |kind, mime_types, bytes_max, caption_max, file_name_max| MediaRule {
        kind,
        mime_types,
        bytes_max,
        caption_max,
        file_name_max,
        by_media_id: true,
    };
    let caption = Some(CAPTION_MAX);
    Capabilities {
        batch: 1,
        in_flight: IN_FLIGHT,
        rate: RATE,
        text_max: Some(TEXT_MAX),
        // [docs] Types and sizes; spellings of the same type beside them are [assumed].
        media: vec![
            rule(MediaKind::Image, &["image/jpeg", "image/png"], 5 * MB, caption, None),
            rule(MediaKind::Audio, AUDIO_TYPES, 16 * MB, None, None),
            rule(MediaKind::Voice, &["audio/ogg"], 16 * MB, None, None),
            rule(MediaKind::Video, &["video/mp4", "video/3gpp"], 16 * MB, caption, None),
            rule(MediaKind::Document, &[], 100 * MB, caption, Some(FILE_NAME_MAX)),
            rule(MediaKind::Sticker, &["image/webp"], 500 << 10, None, None),
        ],
        media_upload: true,
        location: true,
        contact_cards_max: Some(CARDS_MAX),
        interactive: Some(InteractiveRule { url_button: true, ..whatsapp::INTERACTIVE }),
        reaction: true,
        reply: true,
        template: Some(TemplateRule { positional: true, named: true, header: true, buttons: true }),
        check: true,
        echoes_message_id: true,
        ..Capabilities::default()
    }
}

const AUDIO_TYPES: &[&str] =
    &["audio/aac", "audio/amr", "audio/mpeg", "audio/mp3", "audio/mp4", "audio/m4a", "audio/ogg"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o18_the_pair_limit_waits_longer_each_time() {
        assert_eq!(
            [1, 2, 3, 4, 5, 99, 0, i32::MIN].map(|attempt| pair_wait(attempt).as_secs()),
            [1, 4, 16, 64, 64, 64, 1, 1]
        );
    }
}
