//! Digivox Cloud Service (DCS), Smart API WhatsApp. `README.md` in this folder says what is carried, and what was assumed:
//! nearly all of its wire, since little of it is published.

use async_trait::async_trait;
use ring::digest::{SHA256, digest};
use url::Url;

use super::capabilities::{Capabilities, InteractiveRule, MediaRule, TemplateRule};
use super::{Account, Answer, Context, Forged, HttpClient, Outgoing, Provider, Report, Unreadable, Webhook, whatsapp};
use crate::domain::content::MediaKind;
use crate::domain::pace::Rate;

pub mod config;
mod envelope;
mod errors;
mod send;
#[cfg(test)]
mod tests;
mod webhook;
pub(crate) mod wire;

/// One sender at Digivox.
#[derive(Debug)]
pub struct Adapter {
    config: config::Config,
    /// Nothing when settings were stored that would not pass the check of today.
    send_url: Option<Url>,
    http: HttpClient,
    capabilities: Capabilities,
}

impl Adapter {
    /// An adapter with settings that were checked.
    pub fn new(config: config::Config, context: Context) -> Self {
        Self {
            send_url: config.send_url(),
            http: context.http,
            capabilities: capabilities(config.differs.rich_contents, config.message_id_field().is_some()),
            config,
        }
    }
}

#[async_trait]
impl Provider for Adapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, messages: &[Outgoing]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            answers.push(self.hand_over(message).await);
        }
        answers
    }

    fn verify(&self, webhook: &Webhook) -> Result<(), Forged> {
        webhook.carries(&self.config.webhook_token)
    }

    fn parse(&self, webhook: &Webhook) -> Vec<Result<Report, Unreadable>> {
        webhook::parse(&self.config, webhook)
    }

    /// Answers Meta's question, for a Digivox that hands it through: by the token in the address, or as Meta's verify token.
    fn challenge(&self, webhook: &Webhook) -> Option<Result<String, Forged>> {
        let challenge = webhook.query("hub.challenge")?;
        let known = webhook.query("hub.verify_token").is_some_and(|given| self.config.webhook_token.matches(given));
        let proven = if known { Ok(()) } else { webhook.carries(&self.config.webhook_token) };
        Some(proven.map(|()| challenge.to_owned()))
    }

    /// One address may be posted to for several channels of a client.
    fn account(&self) -> Option<Account> {
        let mut proof = [0; 32];
        proof.copy_from_slice(digest(&SHA256, self.config.webhook_token.expose().as_bytes()).as_ref());
        Some(Account { id: wire::canonical_id(&self.config.whatsapp_id)?, proof })
    }
}

/// What is sent: what Digivox names, and on demand what WhatsApp knows beside that.
fn capabilities(rich_contents: bool, echoes_message_id: bool) -> Capabilities {
    let rule = |kind, mime_types, bytes_max, caption: bool, file_name: bool| MediaRule {
        kind,
        mime_types,
        bytes_max,
        caption_max: caption.then_some(wire::CAPTION_MAX),
        file_name_max: file_name.then_some(wire::FILE_NAME_MAX),
        by_media_id: false,
    };
    Capabilities {
        in_flight: wire::IN_FLIGHT,
        rate: Rate { per_second: Some(wire::PER_SECOND), ..Rate::default() },
        text_max: Some(wire::TEXT_MAX),
        media: vec![
            rule(MediaKind::Image, wire::IMAGE_TYPES, wire::IMAGE_BYTES_MAX, true, false),
            rule(MediaKind::Audio, wire::AUDIO_TYPES, wire::SOUND_BYTES_MAX, false, false),
            rule(MediaKind::Voice, wire::VOICE_TYPES, wire::SOUND_BYTES_MAX, false, false),
            rule(MediaKind::Video, wire::VIDEO_TYPES, wire::VIDEO_BYTES_MAX, true, false),
            rule(MediaKind::Document, &[], wire::DOCUMENT_BYTES_MAX, true, true),
        ],
        location: rich_contents,
        contact_cards_max: rich_contents.then_some(wire::CARDS_MAX),
        interactive: rich_contents.then_some(InteractiveRule { url_button: true, ..whatsapp::INTERACTIVE }),
        template: Some(TemplateRule { positional: true, named: false, header: true, buttons: true }),
        echoes_message_id,
        ..Capabilities::default()
    }
}
