//! Twilio, WhatsApp over Programmable Messaging. `README.md` in this folder says what is carried, and what was assumed.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::capabilities::{Capabilities, MediaRule, TemplateRule};
use super::http::{Body, Call, CallError, HttpAnswer};
use super::lenient::text;
use super::{
    Answer, AskError, CheckOutcome, Context, Forged, HandedOver, HttpClient, MediaAddress, Outgoing, Provider, Report,
    Secret, SendError, Unreadable, Webhook, address,
};
use crate::domain::content::{MediaKind, MediaSource};
use crate::domain::pace::Rate;
use crate::domain::template::CatalogueTemplate;
use crate::domain::{DeliveryError, ErrorReason, Millis};

pub mod config;
mod errors;
mod history;
mod send;
mod signature;
mod templates;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

/// One sender at Twilio.
#[derive(Debug)]
pub struct Adapter {
    config: config::Config,
    /// Nothing when settings were stored that would not pass the check of today.
    base: Option<Url>,
    content_base: Option<Url>,
    /// Where Twilio posts; the address that signatures cover.
    webhook_url: Url,
    /// `Basic …`, as requests carry it.
    authorization: Secret,
    http: HttpClient,
    capabilities: Capabilities,
    /// Ids of templates by name and language, as the catalogue had them last.
    names: Mutex<HashMap<templates::Name, String>>,
}

impl Adapter {
    /// An adapter with settings that were checked.
    pub fn new(config: config::Config, context: Context) -> Self {
        let (user, password) = config.credentials();
        let authorization = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", password.expose())));
        Self {
            base: address::base(&config.base_url, wire::BASE_URL).ok(),
            content_base: address::base(&config.content_base_url, wire::CONTENT_BASE_URL).ok(),
            webhook_url: context.webhook_url,
            authorization: authorization.into(),
            config,
            http: context.http,
            capabilities: capabilities(),
            names: Mutex::default(),
        }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        vec![("authorization", self.authorization.expose().to_owned()), ("accept", "application/json".into())]
    }

    /// What no trace may show, in the forms in which Twilio could say it back.
    fn secrets(&self) -> Vec<&str> {
        let config = &self.config;
        let encoded = self.authorization.expose().trim_start_matches("Basic ");
        vec![encoded, config.auth_token.expose(), config.api_key_secret.expose(), config.secondary_auth_token.expose()]
    }

    /// Asks one question.
    async fn get(&self, url: Url) -> Result<HttpAnswer, CallError> {
        let call = Call { method: Method::GET, url, headers: self.headers(), body: Body::None, redact: self.secrets() };
        self.http.call(call).await.result
    }

    /// Asks one question, and wants an object.
    async fn ask(&self, url: Url) -> Result<Map<String, Value>, AskError> {
        let answer = match self.get(url).await {
            Ok(answer) => answer,
            Err(CallError::NotWritten(why) | CallError::NoAnswer(why)) => return Err(AskError::Unreachable(why)),
        };
        let said = serde_json::from_slice::<Map<String, Value>>(&answer.body).ok();
        if answer.status.is_success() {
            return said
                .ok_or_else(|| AskError::Unreachable(format!("Twilio answered {} without JSON", answer.status)));
        }
        let said = said.unwrap_or_default();
        let (code, message) = (text(&said, "code").unwrap_or_default(), text(&said, "message").unwrap_or_default());
        match errors::refusal(&answer, &code, &message).without(&self.secrets()) {
            SendError::Refused(error) => Err(AskError::Refused(error)),
            SendError::NotTaken { error, .. } => Err(AskError::Unreachable(error.provider_message)),
            SendError::InDoubt { detail } => Err(AskError::Unreachable(detail)),
        }
    }

    /// Whether a file's address is Twilio's own: only that one gets to see the credentials.
    fn is_own(&self, url: &Url) -> bool {
        let same = |base: &Url| base.origin() == url.origin();
        self.base.as_ref().is_some_and(same) || Url::parse(wire::BASE_URL).is_ok_and(|base| same(&base))
    }
}

/// The next page of a list, on the host and path that were asked: credentials go nowhere else.
fn next_page(asked: &Url, next: &str) -> Option<Url> {
    let next = asked.join(next).ok()?;
    let mut url = asked.clone();
    url.set_query(next.query());
    // Below a base with a path of its own, addresses that Twilio writes lack that path.
    asked.path().ends_with(next.path()).then_some(url)
}

/// Settings that were stored and would not pass the check of today.
fn no_base() -> DeliveryError {
    DeliveryError::ours(ErrorReason::InvalidSender, "the sender's base_url is not an address", false)
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
        let tokens = [&self.config.auth_token, &self.config.secondary_auth_token];
        signature::verify(webhook, &self.webhook_url, &tokens)
    }

    /// Our message id comes back in the address that we gave for it, and nowhere else.
    fn journalled(&self, webhook: &Webhook) -> Bytes {
        webhook::journalled(webhook)
    }

    fn parse(&self, webhook: &Webhook) -> Vec<Result<Report, Unreadable>> {
        webhook::parse(webhook)
    }

    /// Asks for the account, or, since most API keys may not see it, for one message.
    async fn check(&self) -> CheckOutcome {
        let Some(base) = &self.base else {
            return CheckOutcome::Unreachable { detail: "base_url is not an address".into() };
        };
        let sid = &self.config.account_sid;
        let url = match self.config.api_key_sid.is_empty() {
            true => address::below(base, &wire::account_path(sid)),
            false => {
                let mut url = address::below(base, &wire::messages_path(sid));
                url.query_pairs_mut().append_pair("PageSize", "1");
                url
            }
        };
        match self.get(url).await {
            Ok(answer) if answer.status == StatusCode::OK => account_state(&answer.body),
            Ok(answer) if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                let why = format!("Twilio answered {} to the credentials", answer.status);
                CheckOutcome::Refused(DeliveryError::ours(ErrorReason::SenderUnauthorized, why, false))
            }
            Ok(answer) => CheckOutcome::Unreachable { detail: format!("Twilio answered {}", answer.status) },
            Err(CallError::NotWritten(why) | CallError::NoAnswer(why)) => CheckOutcome::Unreachable { detail: why },
        }
    }

    async fn templates(&self) -> Result<Vec<CatalogueTemplate>, AskError> {
        let catalogue = self.read_catalogue().await?;
        self.remember(&catalogue);
        Ok(catalogue)
    }

    /// Files that people sent lie at Twilio behind the same credentials; it redirects to a store that must not see them.
    async fn locate_media(&self, source: &MediaSource) -> Result<MediaAddress, AskError> {
        let MediaSource::Url(url) = source else { return Err(AskError::NotSupported) };
        let mut address = MediaAddress::plain(url)?;
        if self.is_own(&address.url) {
            address.headers.push(("authorization", self.authorization.clone()));
        }
        Ok(address)
    }

    /// Reads the message as Twilio has it now: a callback that found nobody at home is not repeated for long.
    async fn look_up(&self, message: &HandedOver) -> Result<Vec<Report>, AskError> {
        let Some(base) = &self.base else { return Err(AskError::Refused(no_base())) };
        // Without Twilio's id there is nothing to ask by: lists do not say which of our messages they are of.
        let Some(id) = &message.provider_message_id else { return Ok(Vec::new()) };
        let said = self.ask(address::below(base, &wire::message_path(&self.config.account_sid, id))).await?;
        Ok(webhook::looked_up(message.message_id, &said).into_iter().collect())
    }

    async fn history(&self, since_ms: Millis) -> Result<Vec<Bytes>, AskError> {
        self.read_history(since_ms).await
    }
}

/// `active`, `suspended` or `closed`; an answer that does not say so shows at least that the credentials work.
fn account_state(body: &[u8]) -> CheckOutcome {
    let account = serde_json::from_slice::<Map<String, Value>>(body).unwrap_or_default();
    match text(&account, "status").as_deref() {
        Some("active") => CheckOutcome::Working { detail: "the account is active".into() },
        Some(status @ ("suspended" | "closed")) => {
            let why = format!("the account is {status}");
            CheckOutcome::Refused(DeliveryError::ours(ErrorReason::SenderBlocked, why, false))
        }
        _ => CheckOutcome::Working { detail: String::new() },
    }
}

/// What messages without a content of their own carry, and templates.
fn capabilities() -> Capabilities {
    let rule = |kind, mime_types, bytes_max, caption_max| MediaRule {
        kind,
        mime_types,
        bytes_max,
        caption_max,
        file_name_max: None,
        by_media_id: false,
    };
    let caption = Some(wire::TEXT_MAX);
    Capabilities {
        in_flight: wire::IN_FLIGHT,
        rate: Rate { per_second: Some(wire::PER_SECOND), ..Rate::default() },
        text_max: Some(wire::TEXT_MAX),
        media: vec![
            rule(MediaKind::Image, wire::IMAGE_TYPES, wire::IMAGE_BYTES_MAX, caption),
            rule(MediaKind::Audio, wire::AUDIO_TYPES, wire::BYTES_MAX, None),
            rule(MediaKind::Video, wire::VIDEO_TYPES, wire::BYTES_MAX, caption),
            rule(MediaKind::Document, &[], wire::BYTES_MAX, None),
        ],
        location: true,
        template: Some(TemplateRule { positional: true, named: true, header: false, buttons: false }),
        check: true,
        echoes_message_id: true,
        catalogue: true,
        look_up: true,
        history: true,
        ..Capabilities::default()
    }
}
