//! What the sandbox carries: everything that WhatsApp has, within WhatsApp's own limits.

use crate::domain::content::MediaKind;
use crate::provider::capabilities::{Capabilities, InteractiveRule, MediaRule, TemplateRule};
use crate::provider::whatsapp;

/// As Meta's Cloud API has them, so that what passes here passes at a real provider of the larger kind.
pub(super) fn capabilities() -> Capabilities {
    let media = |kind, mime_types, bytes_max, captions: bool, file_names: bool| MediaRule {
        kind,
        mime_types,
        bytes_max,
        caption_max: captions.then_some(1_024),
        file_name_max: file_names.then_some(240),
        by_media_id: true,
    };
    Capabilities {
        batch: 1,
        in_flight: 256,
        text_max: Some(4_096),
        media: vec![
            media(MediaKind::Image, &["image/jpeg", "image/png"], 5 << 20, true, false),
            media(
                MediaKind::Audio,
                &["audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"],
                16 << 20,
                false,
                false,
            ),
            media(MediaKind::Voice, &["audio/ogg"], 16 << 20, false, false),
            media(MediaKind::Video, &["video/mp4", "video/3gpp"], 16 << 20, true, false),
            media(MediaKind::Document, &[], 100 << 20, true, true),
            media(MediaKind::Sticker, &["image/webp"], 500 << 10, false, false),
        ],
        media_upload: true,
        location: true,
        location_url: true,
        contact_cards_max: Some(5),
        interactive: Some(InteractiveRule { url_button: true, ..whatsapp::INTERACTIVE }),
        reaction: true,
        reply: true,
        template: Some(TemplateRule { positional: true, named: true, header: true, buttons: true }),
        check: true,
        echoes_message_id: true,
        catalogue: true,
        ..Capabilities::default()
    }
}
