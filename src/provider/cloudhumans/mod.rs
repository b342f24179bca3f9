//! Cloud Humans' CloudChat, a fork of Chatwoot. `README.md` in this folder says what is carried, and what was assumed.

use async_trait::async_trait;
use reqwest::StatusCode;
use serde_json::{Map, Value};
use url::Url;

use self::conversations::Unfound;
use super::capabilities::{Capabilities, InteractiveRule, MediaRule, TemplateRule};
use super::lenient::text;
use super::{
    Answer, AskError, CheckOutcome, Context, Forged, HandedOver, HttpClient, Outgoing, Provider, Report, SendError,
    Unreadable, Webhook, address,
};
use crate::domain::content::{Content, MediaKind};
use crate::domain::{DeliveryError, ErrorReason, PhoneNumber};

mod attachments;
pub mod config;
mod conversations;
mod errors;
mod look_up;
mod send;
#[cfg(test)]
mod tests;
mod webhook;
mod wire;

/// One inbox at Cloud Humans.
#[derive(Debug)]
pub struct Adapter {
    config: config::Config,
    /// Nothing when settings were stored that would not pass the check of today.
    base: Option<Url>,
    http: HttpClient,
    capabilities: Capabilities,
}

impl Adapter {
    /// An adapter with settings that were checked.
    pub fn new(config: config::Config, context: Context) -> Self {
        Self {
            base: address::base(&config.base_url, wire::BASE_URL).ok(),
            capabilities: capabilities(&config),
            config,
            http: context.http,
        }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let token = self.config.api_access_token.expose().to_owned();
        vec![(wire::TOKEN_HEADER, token), ("accept", "application/json".into())]
    }

    /// What no trace may show.
    fn secrets(&self) -> Vec<&str> {
        vec![self.config.api_access_token.expose(), self.config.webhook_secret.expose()]
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
        webhook::verify(&self.config, webhook)
    }

    fn parse(&self, webhook: &Webhook) -> Vec<Result<Report, Unreadable>> {
        webhook::parse(&self.config, webhook)
    }

    /// Asks for the inbox: whether the token opens it, and whether it speaks WhatsApp.
    async fn check(&self) -> CheckOutcome {
        match self.ask(&format!("inboxes/{}", self.config.inbox_id), &[], "").await {
            Ok(inbox) => judge(&inbox),
            Err(Unfound::Closed(error) | Unfound::Unanswered(SendError::Refused(error), _)) => refused(error),
            Err(Unfound::Unanswered(SendError::NotTaken { error, .. }, _)) => {
                CheckOutcome::Unreachable { detail: error.provider_message }
            }
            Err(Unfound::Unanswered(SendError::InDoubt { detail }, _)) => CheckOutcome::Unreachable { detail },
        }
    }

    async fn look_up(&self, message: &HandedOver) -> Result<Vec<Report>, AskError> {
        self.where_it_stands(message).await
    }

    /// Whether there is a conversation that free text can go into. Where CloudChat does not answer, the hand-over judges.
    async fn admits(&self, to: &PhoneNumber, content: &Content) -> Result<(), DeliveryError> {
        if matches!(content, Content::Template(_)) {
            return Ok(());
        }
        match self.open_conversation(to).await {
            Err(Unfound::Closed(error)) => Err(error),
            Ok(_) | Err(Unfound::Unanswered(..)) => Ok(()),
        }
    }
}

fn judge(inbox: &Map<String, Value>) -> CheckOutcome {
    let channel = text(inbox, "channel_type").unwrap_or_default();
    if !channel.is_empty() && channel != wire::CHANNEL {
        let words = format!("the inbox is a {channel}, not a {}", wire::CHANNEL);
        return CheckOutcome::Refused(DeliveryError::ours(ErrorReason::InvalidSender, words, false));
    }
    CheckOutcome::Working { detail: text(inbox, "name").map(|name| format!("inbox {name}")).unwrap_or_default() }
}

/// What a person who sets the sender up can look at.
fn refused(error: DeliveryError) -> CheckOutcome {
    let hint = match error.reason {
        ErrorReason::SenderUnauthorized => {
            "; a token that is right is refused too where a proxy drops the header api_access_token for its underscores"
        }
        ErrorReason::InvalidRequest | ErrorReason::InvalidSender => "; are base_url, account_id and inbox_id right?",
        _ => "",
    };
    let reason = match error.reason {
        ErrorReason::InvalidRequest if error.provider_code == http(StatusCode::NOT_FOUND) => ErrorReason::InvalidSender,
        reason => reason,
    };
    let provider_message = format!("{}{hint}", error.provider_message).trim_start_matches("; ").to_owned();
    CheckOutcome::Refused(DeliveryError { reason, provider_message, retryable: false, ..error })
}

fn http(status: StatusCode) -> String {
    format!("HTTP {}", status.as_u16())
}

/// What CloudChat carries.
fn capabilities(config: &config::Config) -> Capabilities {
    let header = |kind, bytes_max| MediaRule {
        kind,
        mime_types: &[],
        bytes_max,
        caption_max: None,
        file_name_max: None,
        by_media_id: false,
    };
    Capabilities {
        in_flight: wire::IN_FLIGHT,
        text_max: Some(wire::TEXT_MAX),
        interactive: Some(InteractiveRule {
            body_max: wire::BUTTONS_BODY_MAX,
            header_max: None,
            footer_max: None,
            buttons_max: wire::BUTTONS_MAX,
            button_title_max: wire::BUTTON_TITLE_MAX,
            rows_max: 0,
            row_title_max: 0,
            row_description_max: 0,
            url_button: false,
        }),
        reply: true,
        template: Some(TemplateRule { positional: true, named: true, header: true, buttons: true }),
        reserved_parameters: wire::RESERVED,
        header_media: Some(vec![
            header(MediaKind::Image, wire::HEADER_IMAGE_BYTES_MAX),
            header(MediaKind::Video, wire::HEADER_FILM_BYTES_MAX),
            header(MediaKind::Document, wire::HEADER_DOCUMENT_BYTES_MAX),
        ]),
        template_language: config.ignore_language_code,
        check: true,
        look_up: true,
        admits: true,
        ..Capabilities::default()
    }
}
