//! The direct API, v2: messages in WhatsApp's own form, with Devino's own members beside it.
//! <https://docs.devino.online/en/http/direct_wa_api/> names the members of a message; what stands inside `text`, `image`
//! and the others could not be read there, and is WhatsApp's [assumed].

use serde_json::{Map, Value};

use super::config::Config;
use super::send::not_supported;
use super::{Adapter, files, wire};
use crate::domain::content::Content;
use crate::provider::capabilities::{Capabilities, TemplateRule};
use crate::provider::{Outgoing, SendError, whatsapp};

/// What the direct API carries.
pub(super) fn capabilities(config: &Config) -> Capabilities {
    let text_max = config.text_max();
    Capabilities {
        batch: if config.direct_unwrapped { 1 } else { wire::BATCH_MAX },
        in_flight: wire::IN_FLIGHT,
        text_max: Some(text_max),
        media: files(text_max.min(wire::DIRECT_CAPTION_MOST)),
        location: true,
        contact_cards_max: Some(wire::DIRECT_CARDS_MAX),
        interactive: Some(whatsapp::INTERACTIVE),
        template: Some(TemplateRule { positional: true, named: false, header: true, buttons: true }),
        check: true,
        echoes_message_id: true,
        ..Capabilities::default()
    }
}

impl Adapter {
    /// The message in the direct API's form. The type is always told, though a text may go without.
    pub(super) fn direct(&self, message: &Outgoing) -> Result<Map<String, Value>, SendError> {
        if message.reply_to.is_some() {
            return Err(not_supported("quotes"));
        }
        let (kind, part) = whatsapp::part(message, wire::DIRECT).map_err(|error| error.refused("devino"))?;
        if kind == "sticker" || part.get("type").is_some_and(|kind| kind == "cta_url") {
            return Err(not_supported(if kind == "sticker" { "stickers" } else { "url buttons" }));
        }
        let mut form = Map::new();
        let mut put = |member: &str, value: Value| form.insert(member.to_owned(), value);
        put("from", self.config.from.as_str().into());
        put("to", message.to.digits.as_str().into());
        put("callbackUrl", self.callback_url.expose().into());
        put("callbackData", message.message_id.to_string().into());
        if matches!(&message.content, Content::Text(text) if text.preview_url) {
            // Beside the text, not in it as at Meta.
            put("preview_url", true.into());
        }
        put("type", kind.into());
        put(kind, part);
        Ok(form)
    }
}
