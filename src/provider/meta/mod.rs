//! Meta's Cloud API. `README.md` in this folder says what is carried, and what was assumed. What those share who pass
//! Meta's API on (`dialog360`) is open to them: [`door`], [`webhook`], [`catalogue`], [`media`] and [`wire`].

use async_trait::async_trait;
use ring::{digest, hmac};
use serde_json::{Map, Value};

use super::lenient::{object, text};
use super::{
    Account, Answer, AskError, Capabilities, CheckOutcome, Context, Forged, MediaAddress, Outgoing, Provider, Report,
    SendError, Unreadable, Upload, Uploaded, Webhook, address,
};
use crate::domain::content::MediaSource;
use crate::domain::template::CatalogueTemplate;
use door::Door;

pub(in crate::provider) mod catalogue;
pub mod config;
pub(in crate::provider) mod door;
pub(in crate::provider) mod errors;
pub(in crate::provider) mod media;
mod message;
mod send;
#[cfg(test)]
mod tests;
mod upload;
pub(in crate::provider) mod webhook;
pub(in crate::provider) mod wire;

/// One sender at Meta: a number.
#[derive(Debug)]
pub struct Adapter {
    config: config::Config,
    door: Door,
    capabilities: Capabilities,
}

impl Adapter {
    /// An adapter with settings that were checked.
    pub fn new(config: config::Config, context: Context) -> Self {
        let bearer = format!("Bearer {}", config.access_token.expose());
        let door = Door {
            provider: "meta",
            http: context.http,
            base: address::base(&config.base_url, wire::BASE_URL).ok(),
            key: ("authorization", bearer.into()),
            secrets: vec![config.access_token.clone(), config.app_secret.clone(), config.verify_token.clone()],
            otherwise: send::of_status,
        };
        let capabilities = Capabilities { catalogue: !config.waba_id.is_empty(), ..wire::capabilities() };
        Self { config, door, capabilities }
    }

    fn opened(&self, address: MediaAddress) -> MediaAddress {
        match media::is_trusted(&address.url, self.door.base.as_ref()) {
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
        self.door.hand_over(&format!("{}/messages", self.config.phone_number_id), messages).await
    }

    /// `X-Hub-Signature-256` over the bytes as they came: Meta escapes what is not ASCII, and JSON written again would not.
    fn verify(&self, webhook: &Webhook) -> Result<(), Forged> {
        if self.config.app_secret.is_empty() {
            return Err(Forged("the sender has no app_secret to check signatures with"));
        }
        let given = webhook.header("x-hub-signature-256").ok_or(Forged("the webhook carries no signature"))?;
        let wrong = Forged("the webhook's signature is not of this sender's app");
        let given = given.strip_prefix("sha256=").and_then(|hex| hex::decode(hex).ok()).ok_or(wrong)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.config.app_secret.expose().as_bytes());
        hmac::verify(&key, &webhook.body, &given).map_err(|_| wrong)
    }

    fn parse(&self, webhook: &Webhook) -> Vec<Result<Report, Unreadable>> {
        webhook::parse(webhook, &self.config.waba_id)
    }

    async fn check(&self) -> CheckOutcome {
        self.door.check(&self.config.phone_number_id, &[("fields", wire::NUMBER_FIELDS)], described).await
    }

    fn challenge(&self, webhook: &Webhook) -> Option<Result<String, Forged>> {
        if webhook.query("hub.mode") != Some("subscribe") {
            return Some(Err(Forged("it is no subscription")));
        }
        if !webhook.query("hub.verify_token").is_some_and(|given| self.config.verify_token.matches(given)) {
            return Some(Err(Forged("the verify_token is not this sender's")));
        }
        Some(webhook.query("hub.challenge").map(str::to_owned).ok_or(Forged("it has no challenge")))
    }

    /// One address serves all numbers of an app, and the app's secret proves them all.
    fn account(&self) -> Option<Account> {
        let proof = digest::digest(&digest::SHA256, self.config.app_secret.expose().as_bytes());
        let proof = proof.as_ref().try_into().ok()?;
        Some(Account { id: self.config.phone_number_id.clone(), proof })
    }

    async fn templates(&self) -> Result<Vec<CatalogueTemplate>, AskError> {
        match self.config.waba_id.as_str() {
            "" => Err(AskError::NotSupported),
            waba_id => catalogue::all(&self.door, waba_id).await,
        }
    }

    async fn upload_media(&self, upload: Upload) -> Result<Uploaded, SendError> {
        self.door.upload(&format!("{}/media", self.config.phone_number_id), upload).await
    }

    async fn locate_media(&self, source: &MediaSource) -> Result<MediaAddress, AskError> {
        match source {
            MediaSource::Url(url) => MediaAddress::plain(url).map(|address| self.opened(address)),
            MediaSource::MediaId(id) => {
                // Without `phone_number_id`: with it, Meta looks among what the number uploaded, and not among what people
                // sent (github.com/chatwoot/chatwoot/pull/13319).
                let looked_up = self.door.get(id, &[]).await?;
                media::address(&looked_up).map(|address| self.opened(address))
            }
        }
    }
}

/// `+55 11 4000-1000, Acme, quality GREEN`: as far as it was told.
fn described(number: &Map<String, Value>) -> String {
    let throughput = object(number, "throughput").and_then(|throughput| text(throughput, "level"));
    let parts = [
        text(number, "display_phone_number"),
        text(number, "verified_name"),
        text(number, "quality_rating").map(|quality| format!("quality {quality}")),
        throughput.map(|level| format!("throughput {level}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
