//! Asking what became of a message: CloudChat's webhooks are sent once and never again, and may say nothing of statuses.

use serde_json::{Map, Value};

use super::conversations::{Conversation, Unfound, payload};
use super::{Adapter, webhook, wire};
use crate::domain::{Content, MessageStatus, now_ms};
use crate::provider::lenient::text;
use crate::provider::{AskError, HandedOver, Report, SendError, StatusReport};

impl Adapter {
    /// Looks for the message in the person's newest conversations, and reads where it stands.
    pub(super) async fn where_it_stands(&self, message: &HandedOver) -> Result<Vec<Report>, AskError> {
        let conversations = self.conversations(&message.to).await.map_err(asked_in_vain)?.unwrap_or_default();
        let newest = conversations.into_iter().take(wire::CONVERSATIONS_LOOKED_AT);
        let report = match message.provider_message_id.as_deref().and_then(|id| Some((id, id.parse::<u64>().ok()?))) {
            Some((id, number)) => self.by_id(message, id, number, newest).await?,
            None => self.by_content(message, newest).await?,
        };
        Ok(report.map(Report::Status).into_iter().collect())
    }

    async fn by_id(
        &self,
        message: &HandedOver,
        id: &str,
        number: u64,
        conversations: impl Iterator<Item = Conversation>,
    ) -> Result<Option<StatusReport>, AskError> {
        let before = number.saturating_sub(1).to_string();
        for conversation in conversations {
            let found = self.messages(message, &conversation, &[("after", &before)]).await?;
            let the_one = |one: &&Map<String, Value>| wire::id_of(one.get("id")).as_deref() == Some(id);
            if let Some(one) = found.iter().find(the_one) {
                return Ok(webhook::status(id, one));
            }
        }
        Ok(None)
    }

    /// The answer that would have told its id was lost, or had none. Whatever leaves a doubt about which one it is leaves
    /// the message as it is: to take another's statuses for its own would be worse.
    async fn by_content(
        &self,
        message: &HandedOver,
        conversations: impl Iterator<Item = Conversation>,
    ) -> Result<Option<StatusReport>, AskError> {
        let mut candidates = Vec::new();
        for conversation in conversations {
            let found = self.messages(message, &conversation, &[]).await?;
            candidates.extend(found.into_iter().filter(|one| could_be(one, message)));
        }
        let [one] = &candidates[..] else { return Ok(None) };
        let Some(id) = wire::id_of(one.get("id")) else { return Ok(None) };
        let there = StatusReport {
            provider_message_id: Some(id.clone()),
            status: Some(MessageStatus::Sent),
            provider_status: "sent".into(),
            ..StatusReport::default()
        };
        let report = webhook::status(&id, one).unwrap_or(there);
        Ok(Some(StatusReport { message_id: Some(message.message_id), ..report }))
    }

    async fn messages(
        &self,
        message: &HandedOver,
        conversation: &Conversation,
        query: &[(&str, &str)],
    ) -> Result<Vec<Map<String, Value>>, AskError> {
        let path = format!("conversations/{}/messages", conversation.id);
        let answer = self.ask(&path, query, &message.to.digits).await.map_err(asked_in_vain)?;
        Ok(payload(&answer).iter().filter_map(|one| one.as_object().cloned()).collect())
    }
}

/// Whether a message that is there may be the one that was handed over: ours, made about then, with the same words.
/// [assumed] A template's text, once filled, holds all of its parameters.
fn could_be(one: &Map<String, Value>, message: &HandedOver) -> bool {
    let (earliest, latest) = wire::MADE_WITHIN_MS;
    let made = wire::time_of(one.get("created_at"), now_ms());
    let around = made.is_some_and(|made| {
        let after = made - message.attempt_start_at_ms;
        (earliest..=latest).contains(&after)
    });
    let words = text(one, "content").unwrap_or_default();
    let same = match &message.content {
        Content::Text(text) => words.trim() == text.body.trim(),
        Content::Interactive(interactive) => words.trim() == interactive.body.trim(),
        Content::Template(template) => template.parameters.values().all(|value| words.contains(value.trim())),
        _ => false,
    };
    webhook::is_outgoing(one) && around && same
}

fn asked_in_vain(unfound: Unfound) -> AskError {
    match unfound {
        Unfound::Closed(error) | Unfound::Unanswered(SendError::Refused(error), _) => AskError::Refused(error),
        Unfound::Unanswered(SendError::NotTaken { error, .. }, _) => AskError::Unreachable(error.provider_message),
        Unfound::Unanswered(SendError::InDoubt { detail }, _) => AskError::Unreachable(detail),
    }
}
