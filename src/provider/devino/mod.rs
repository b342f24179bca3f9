//! Devino Telecom, classic and direct API. `README.md` in this folder says what is carried, and what was assumed.

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use url::Url;

use super::capabilities::{Capabilities, MediaRule, TemplateRule};
use super::http::{Body, Call, CallError};
use super::{
    Answer, CheckOutcome, Context, Forged, HttpClient, Outgoing, Provider, Report, Secret, Unreadable, Webhook, address,
};
use crate::domain::content::MediaKind;
use crate::domain::{DeliveryError, ErrorReason};

pub mod config;
mod direct;
mod errors;
mod send;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

/// One sender at Devino.
#[derive(Debug)]
pub struct Adapter {
    config: config::Config,
    /// Nothing when settings were stored that would not pass the check of today.
    base: Option<Url>,
    /// Where statuses go; a secret, since it carries the token.
    callback_url: Secret,
    http: HttpClient,
    capabilities: Capabilities,
}

impl Adapter {
    /// An adapter with settings that were checked.
    pub fn new(config: config::Config, context: Context) -> Self {
        let mut callback_url = context.webhook_url;
        callback_url.query_pairs_mut().append_pair("token", config.webhook_token.expose());
        Self {
            base: address::base(&config.base_url, wire::BASE_URL).ok(),
            callback_url: String::from(callback_url).into(),
            http: context.http,
            capabilities: match config.api {
                config::Api::Direct => direct::capabilities(&config),
                config::Api::Classic | config::Api::Unknown => capabilities(),
            },
            config,
        }
    }

    fn authorization(&self) -> (&'static str, String) {
        ("authorization", format!("{} {}", wire::AUTH_SCHEME, self.config.api_key.expose()))
    }

    /// What no trace may show, in the forms in which Devino could say it back.
    fn secrets(&self) -> Vec<&str> {
        let encoded_token = self.callback_url.expose().rsplit_once("token=").map_or("", |(_, token)| token);
        vec![self.config.api_key.expose(), self.config.webhook_token.expose(), encoded_token]
    }
}

#[async_trait]
impl Provider for Adapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, messages: &[Outgoing]) -> Vec<Answer> {
        self.hand_over(messages).await
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
        let call = Call {
            method: Method::GET,
            url: address::below(base, wire::BALANCE_PATH),
            headers: vec![self.authorization(), ("accept", "application/json".into())],
            body: Body::None,
            redact: self.secrets(),
        };
        match self.http.call(call).await.result {
            Ok(answer) if answer.status == StatusCode::OK => CheckOutcome::Working { detail: balance(&answer.body) },
            Ok(answer) if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                let why = format!("Devino answered {} to the key", answer.status);
                CheckOutcome::Refused(DeliveryError::ours(ErrorReason::SenderUnauthorized, why, false))
            }
            Ok(answer) => CheckOutcome::Unreachable { detail: format!("Devino answered {}", answer.status) },
            Err(CallError::NotWritten(why) | CallError::NoAnswer(why)) => CheckOutcome::Unreachable { detail: why },
        }
    }
}

/// `balance 12.5`, when the answer has such a member in any case; the member's spelling is not documented.
fn balance(body: &[u8]) -> String {
    let members = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body).unwrap_or_default();
    let balance = members.iter().find(|(name, value)| name.eq_ignore_ascii_case("balance") && value.is_number());
    balance.map(|(_, value)| format!("balance {value}")).unwrap_or_default()
}

/// What the classic API carries.
fn capabilities() -> Capabilities {
    Capabilities {
        batch: wire::BATCH_MAX,
        in_flight: wire::IN_FLIGHT,
        text_max: Some(wire::TEXT_MAX),
        media: files(wire::TEXT_MAX),
        template: Some(TemplateRule { positional: true, named: false, header: false, buttons: false }),
        check: true,
        echoes_message_id: true,
        ..Capabilities::default()
    }
}

/// Files, by either API.
fn files(caption_max: usize) -> Vec<MediaRule> {
    let rule = |kind, mime_types, bytes_max, caption_max, file_name_max| MediaRule {
        kind,
        mime_types,
        bytes_max,
        caption_max,
        file_name_max,
        by_media_id: false,
    };
    let caption = Some(caption_max);
    vec![
        rule(MediaKind::Image, wire::IMAGE_TYPES, wire::IMAGE_BYTES_MAX, caption, None),
        rule(MediaKind::Audio, wire::AUDIO_TYPES, wire::AUDIO_BYTES_MAX, None, None),
        rule(MediaKind::Voice, wire::VOICE_TYPES, wire::AUDIO_BYTES_MAX, None, None),
        rule(MediaKind::Video, wire::VIDEO_TYPES, wire::VIDEO_BYTES_MAX, caption, None),
        rule(MediaKind::Document, &[], wire::DOCUMENT_BYTES_MAX, caption, Some(wire::FILE_NAME_MAX)),
    ]
}
