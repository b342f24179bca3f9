//! 360dialog: Meta's Cloud API behind another door. What is said there is Meta's, and read and written by [`super::meta`];
//! here is only where the door is, what opens it, and what 360dialog itself says. `README.md` in this folder lists the rest.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::lenient::{integer, list, object, text};
use super::meta::door::Door;
use super::meta::{catalogue, media, webhook, wire as metas};
use super::{
    Answer, AskError, Capabilities, CheckOutcome, Context, Forged, MediaAddress, Outgoing, Provider, Report, SendError,
    Unreadable, Upload, Uploaded, Webhook, address,
};
use crate::domain::content::MediaSource;
use crate::domain::template::CatalogueTemplate;
use crate::domain::{DeliveryError, ErrorReason};

pub mod config;
mod errors;
#[cfg(test)]
mod tests;
mod wire;

/// One sender at 360dialog: a number, and its key.
#[derive(Debug)]
pub struct Adapter {
    config: config::Config,
    door: Door,
    capabilities: Capabilities,
}

impl Adapter {
    /// An adapter with settings that were checked.
    pub fn new(config: config::Config, context: Context) -> Self {
        let door = Door {
            provider: "dialog360",
            http: context.http,
            base: address::base(&config.base_url, wire::BASE_URL).ok(),
            key: (wire::KEY_HEADER, config.api_key.clone()),
            secrets: vec![config.api_key.clone(), config.webhook_token.clone()],
            otherwise: errors::outcome,
        };
        Self { config, door, capabilities: Capabilities { catalogue: true, ..metas::capabilities() } }
    }

    /// Files of Meta's are fetched from 360dialog, and the key goes there and nowhere else.
    fn opened(&self, mut address: MediaAddress) -> MediaAddress {
        let Some(base) = &self.door.base else { return address };
        if address.url.host_str() == Some(wire::METAS_FILES) {
            let mut url = address::below(base, address.url.path());
            url.set_query(address.url.query());
            address.url = url;
        }
        match media::is_beside(&address.url, base) {
            true => media::opened(address, self.door.key.0, &self.door.key.1),
            false => address,
        }
    }
}

#[async_trait]
impl Provider for Adapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, messages: &[Outgoing]) -> Vec<Answer> {
        self.door.hand_over(wire::SEND_PATH, messages).await
    }

    /// Meta's signature comes along, but is of 360dialog's app: only the token tells, as in any header that an operator set.
    fn verify(&self, webhook: &Webhook) -> Result<(), Forged> {
        let bearer = webhook.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match bearer.is_some_and(|given| self.config.webhook_token.matches(given)) {
            true => Ok(()),
            false => webhook.carries(&self.config.webhook_token),
        }
    }

    fn parse(&self, webhook: &Webhook) -> Vec<Result<Report, Unreadable>> {
        webhook::parse(webhook, "")
    }

    async fn check(&self) -> CheckOutcome {
        let mut blocked = false;
        let outcome = self.door.check(wire::HEALTH_PATH, &[], |answer| {
            let word = object(answer, "health_status").and_then(|health| text(health, "can_send_message"));
            blocked = word.as_deref() == Some("BLOCKED");
            word.map(|word| format!("can send: {word}")).unwrap_or_default()
        });
        match outcome.await {
            CheckOutcome::Working { detail } if blocked => {
                CheckOutcome::Refused(DeliveryError::ours(ErrorReason::SenderBlocked, detail, false))
            }
            outcome => outcome,
        }
    }

    async fn templates(&self) -> Result<Vec<CatalogueTemplate>, AskError> {
        let (mut templates, mut offset) = (Vec::new(), 0);
        for _ in 0..wire::TEMPLATE_PAGES_MAX {
            let (limit, from) = (wire::TEMPLATE_PAGE.to_string(), offset.to_string());
            let page = self.door.get(wire::TEMPLATES_PATH, &[("limit", &limit), ("offset", &from)]).await?;
            let listed = list(&page, "waba_templates");
            templates.extend(listed.iter().filter_map(Value::as_object).filter_map(template));
            offset += listed.len();
            let total = integer(&page, "total").and_then(|total| usize::try_from(total).ok());
            if listed.is_empty() || total.is_some_and(|total| offset >= total) {
                return Ok(templates);
            }
        }
        Err(AskError::Unreachable("the catalogue of templates has no end".into()))
    }

    async fn upload_media(&self, upload: Upload) -> Result<Uploaded, SendError> {
        self.door.upload(wire::UPLOAD_PATH, upload).await
    }

    async fn locate_media(&self, source: &MediaSource) -> Result<MediaAddress, AskError> {
        match source {
            MediaSource::Url(url) => MediaAddress::plain(url).map(|address| self.opened(address)),
            MediaSource::MediaId(id) => {
                let looked_up = self.door.get(id, &[]).await?;
                media::address(&looked_up).map(|address| self.opened(address))
            }
        }
    }
}

/// A template of the catalogue; its id is Meta's, which webhooks have, where it is told.
fn template(listed: &Map<String, Value>) -> Option<CatalogueTemplate> {
    let template = catalogue::read(listed)?;
    match text(listed, "external_id") {
        Some(template_id) => Some(CatalogueTemplate { template_id, ..template }),
        None => Some(template),
    }
}
