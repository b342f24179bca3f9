//! Infobip, WhatsApp over its own API. `README.md` in this folder says what is carried, and what was assumed.

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use ring::digest;
use serde_json::{Map, Value};
use url::Url;

use super::capabilities::{Capabilities, InteractiveRule, MediaRule, TemplateRule};
use super::http::{Body, Call, CallError, HttpAnswer};
use super::lenient::text;
use super::{
    Account, Answer, AskError, CheckOutcome, Context, Forged, HttpClient, MediaAddress, Outgoing, Provider, Report,
    Secret, SendError, Unreadable, Webhook, address, whatsapp,
};
use crate::domain::content::{MediaKind, MediaSource};
use crate::domain::template::CatalogueTemplate;
use crate::domain::{DeliveryError, ErrorReason};

pub mod config;
mod errors;
mod send;
mod templates;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

/// One sender at Infobip.
#[derive(Debug)]
pub struct Adapter {
    config: config::Config,
    /// Nothing when settings were stored that would not pass the check of today.
    base: Option<Url>,
    /// Where statuses go; a secret, since it carries the token.
    notify_url: Secret,
    http: HttpClient,
    capabilities: Capabilities,
}

impl Adapter {
    /// An adapter with settings that were checked.
    pub fn new(config: config::Config, context: Context) -> Self {
        let mut notify_url = context.webhook_url;
        notify_url.query_pairs_mut().append_pair("token", config.webhook_token.expose());
        Self {
            base: address::base(&config.base_url, wire::BASE_URL_EXAMPLE).ok(),
            notify_url: String::from(notify_url).into(),
            config,
            http: context.http,
            capabilities: capabilities(),
        }
    }

    fn authorization(&self) -> String {
        format!("{} {}", wire::AUTH_SCHEME, self.config.api_key.expose())
    }

    /// What no trace may show, in the forms in which Infobip could say it back.
    fn secrets(&self) -> Vec<&str> {
        let encoded_token = self.notify_url.expose().rsplit_once("token=").map_or("", |(_, token)| token);
        vec![self.config.api_key.expose(), self.config.webhook_token.expose(), encoded_token]
    }

    /// Asks one question.
    async fn get(&self, base: &Url, path: &str) -> Result<HttpAnswer, CallError> {
        let call = Call {
            method: Method::GET,
            url: address::below(base, path),
            headers: vec![("authorization", self.authorization()), ("accept", "application/json".into())],
            body: Body::None,
            redact: self.secrets(),
        };
        self.http.call(call).await.result
    }

    /// Whether a file's address is Infobip's own: only that one gets to see the key.
    fn is_own(&self, url: &Url) -> bool {
        let at_infobip = url.scheme() == "https" && url.host_str().is_some_and(|host| host.ends_with(wire::OWN_HOSTS));
        at_infobip || self.base.as_ref().is_some_and(|base| base.origin() == url.origin())
    }
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
        webhook.carries(&self.config.webhook_token)
    }

    fn parse(&self, webhook: &Webhook) -> Vec<Result<Report, Unreadable>> {
        webhook::parse(webhook)
    }

    /// Asks for the account's balance, which needs nothing but a key that works.
    async fn check(&self) -> CheckOutcome {
        let Some(base) = &self.base else {
            return CheckOutcome::Unreachable { detail: "base_url is not an address".into() };
        };
        match self.get(base, wire::BALANCE_PATH).await {
            Ok(answer) if answer.status == StatusCode::OK => CheckOutcome::Working { detail: balance(&answer.body) },
            Ok(answer) if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                let why = format!("Infobip answered {} to the key", answer.status);
                CheckOutcome::Refused(DeliveryError::ours(ErrorReason::SenderUnauthorized, why, false))
            }
            Ok(answer) => CheckOutcome::Unreachable { detail: format!("Infobip answered {}", answer.status) },
            Err(CallError::NotWritten(why) | CallError::NoAnswer(why)) => CheckOutcome::Unreachable { detail: why },
        }
    }

    /// Webhooks of several numbers of an account may come to one address; each names its number.
    fn account(&self) -> Option<Account> {
        let token = &self.config.webhook_token;
        let digest = digest::digest(&digest::SHA256, format!("infobip {}", token.expose()).as_bytes());
        let proof = digest.as_ref().try_into().ok().filter(|_| !token.is_empty())?;
        Some(Account { id: self.config.number().to_owned(), proof })
    }

    async fn templates(&self) -> Result<Vec<CatalogueTemplate>, AskError> {
        let Some(base) = &self.base else { return Err(AskError::Refused(no_base())) };
        let answer = match self.get(base, &wire::templates_path(self.config.number())).await {
            Ok(answer) => answer,
            Err(CallError::NotWritten(why) | CallError::NoAnswer(why)) => return Err(AskError::Unreachable(why)),
        };
        let said = serde_json::from_slice::<Map<String, Value>>(&answer.body);
        if answer.status.is_success() {
            let words = |_| AskError::Unreachable(format!("Infobip answered {} without JSON", answer.status));
            return said.map(|said| templates::read(&said)).map_err(words);
        }
        match errors::refused(&answer, &said.unwrap_or_default()).without(&self.secrets()) {
            SendError::Refused(error) => Err(AskError::Refused(error)),
            SendError::NotTaken { error, .. } => Err(AskError::Unreachable(error.provider_message)),
            SendError::InDoubt { detail } => Err(AskError::Unreachable(detail)),
        }
    }

    /// Files that people sent lie at Infobip behind the same key.
    async fn locate_media(&self, source: &MediaSource) -> Result<MediaAddress, AskError> {
        let MediaSource::Url(url) = source else { return Err(AskError::NotSupported) };
        let mut address = MediaAddress::plain(url)?;
        if self.is_own(&address.url) {
            address.headers.push(("authorization", self.authorization().into()));
        }
        Ok(address)
    }
}

/// `balance 12.5 EUR`, when the answer says so.
fn balance(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Map<String, Value>>(body).unwrap_or_default();
    let words = [text(&said, "balance"), text(&said, "currency")].into_iter().flatten();
    let words: Vec<String> = words.collect();
    if words.is_empty() { String::new() } else { format!("balance {}", words.join(" ")) }
}

/// What the API carries.
fn capabilities() -> Capabilities {
    let rule = |kind, mime_types, bytes_max, caption_max, file_name_max| MediaRule {
        kind,
        mime_types,
        bytes_max,
        caption_max,
        file_name_max,
        by_media_id: false,
    };
    let caption = Some(wire::CAPTION_MAX);
    Capabilities {
        in_flight: wire::IN_FLIGHT,
        text_max: Some(wire::TEXT_MAX),
        media: vec![
            rule(MediaKind::Image, wire::IMAGE_TYPES, wire::IMAGE_BYTES_MAX, caption, None),
            rule(MediaKind::Audio, wire::AUDIO_TYPES, wire::AUDIO_BYTES_MAX, None, None),
            rule(MediaKind::Video, wire::VIDEO_TYPES, wire::VIDEO_BYTES_MAX, caption, None),
            rule(MediaKind::Document, &[], wire::DOCUMENT_BYTES_MAX, caption, Some(wire::FILE_NAME_MAX)),
            rule(MediaKind::Sticker, wire::STICKER_TYPES, wire::STICKER_BYTES_MAX, None, None),
        ],
        location: true,
        contact_cards_max: Some(wire::CARDS_MAX),
        interactive: Some(InteractiveRule {
            body_max: whatsapp::INTERACTIVE.body_max,
            header_max: Some(wire::INTERACTIVE_HEADER_MAX),
            footer_max: Some(wire::INTERACTIVE_FOOTER_MAX),
            buttons_max: wire::BUTTONS_MAX,
            button_title_max: wire::BUTTON_TITLE_MAX,
            rows_max: wire::ROWS_MAX,
            row_title_max: wire::ROW_TITLE_MAX,
            row_description_max: wire::ROW_DESCRIPTION_MAX,
            url_button: true,
        }),
        template: Some(TemplateRule { positional: true, named: false, header: true, buttons: true }),
        check: true,
        echoes_message_id: true,
        catalogue: true,
        ..Capabilities::default()
    }
}
