//! The built-in provider: answers like a real one, reports statuses, and plays what can go wrong to certain numbers.
//!
//! The table of numbers is [`script::SCRIPTS`]; the README beside this file tells it to users.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use ring::hmac;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Answer, AskError, Capabilities, CheckOutcome, Context, Forged, IncomingReport, Outgoing, Provider, Receipt, Report,
    SendError, StatusReport, Unreadable, Upload, Uploaded, Webhook,
};
use crate::domain::content::Text;
use crate::domain::message::Exchange;
use crate::domain::template::CatalogueTemplate;
use crate::domain::{Contact, DeliveryError, IncomingContent, MessageId, MessageStatus, Millis};

mod catalogue;
pub mod config;
mod rules;
pub mod script;
pub mod simulator;

pub use simulator::{Delivery, Simulator};

/// Carries the signature of a webhook that the simulator made.
const SIGNATURE: &str = "x-sandbox-signature";
/// How long it says that it keeps files: as Meta does.
const MEDIA_KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What the simulator posts: like a real provider's webhook, statuses and messages mixed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Notice {
    /// Statuses of messages of ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<serde_json::Value>,
    /// What people wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<serde_json::Value>,
}

/// One status of a [`Notice`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusItem {
    /// The sandbox's id.
    pub id: String,
    /// Our id.
    pub message_id: MessageId,
    /// `DELIVERED`, `READ` or `FAILED`.
    pub status: String,
    /// Unix milliseconds.
    pub ts: Millis,
    /// Only with `FAILED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DeliveryError>,
}

/// One message of a [`Notice`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MessageItem {
    /// The sandbox's id.
    pub id: String,
    /// Who wrote: digits.
    pub from: String,
    /// What the person calls itself.
    #[serde(default)]
    pub profile_name: String,
    /// Unix milliseconds.
    pub ts: Millis,
    /// What was written.
    pub text: String,
    /// The sandbox's id of the message answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
}

/// A sandbox sender.
#[derive(Debug)]
pub struct Adapter {
    context: Context,
    capabilities: Capabilities,
}

impl Adapter {
    /// One value is one sender.
    pub fn new(_: config::Config, context: Context) -> Self {
        Self { context, capabilities: rules::capabilities() }
    }
}

/// The sandbox's id of a message: made from ours, so that it is the same after a restart.
pub fn provider_id(message: MessageId, attempt: i32) -> String {
    format!("sandbox.{}.{attempt}", message.0.simple())
}

#[async_trait]
impl Provider for Adapter {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, messages: &[Outgoing]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            let outcome = self.context.sandbox.take(&self.context.sender, message).await;
            answers.push(Answer { exchange: Some(exchange(&outcome).into()), outcome });
        }
        answers
    }

    fn verify(&self, webhook: &Webhook) -> Result<(), Forged> {
        let given = webhook.header(SIGNATURE).and_then(|hex| hex::decode(hex).ok());
        let given = given.ok_or(Forged("no signature: only the sandbox itself posts here"))?;
        hmac::verify(self.context.sandbox.key(), &webhook.body, &given)
            .map_err(|_| Forged("the signature does not fit"))
    }

    fn parse(&self, webhook: &Webhook) -> Vec<Result<Report, Unreadable>> {
        let notice: Notice = match serde_json::from_slice(&webhook.body) {
            Ok(notice) => notice,
            Err(error) => {
                return vec![Err(Unreadable { index: 0, why: error.to_string() })];
            }
        };
        let statuses = notice.statuses.into_iter().map(|item| serde_json::from_value(item).map(status));
        let messages = notice.messages.into_iter().map(|item| serde_json::from_value(item).map(incoming));
        statuses
            .chain(messages)
            .enumerate()
            .map(|(index, item)| item.map_err(|error| Unreadable { index, why: error.to_string() }))
            .collect()
    }

    async fn check(&self) -> CheckOutcome {
        CheckOutcome::Working { detail: "the sandbox is built in".into() }
    }

    /// Reads the file to its end and forgets it: any id can be sent.
    async fn upload_media(&self, mut upload: Upload) -> Result<Uploaded, SendError> {
        while let Some(part) = upload.bytes.next().await {
            part.map_err(|error| SendError::in_doubt(error.to_string()))?;
        }
        Ok(Uploaded { media_id: format!("sandbox.{}", Uuid::now_v7().simple()), kept_for: Some(MEDIA_KEPT) })
    }

    async fn templates(&self) -> Result<Vec<CatalogueTemplate>, AskError> {
        Ok(catalogue::templates())
    }
}

fn status(item: StatusItem) -> Report {
    let known = [MessageStatus::Delivered, MessageStatus::Read, MessageStatus::Failed];
    Report::Status(StatusReport {
        message_id: Some(item.message_id),
        provider_message_id: Some(item.id),
        status: known.into_iter().find(|status| status.as_str() == item.status),
        provider_status: item.status,
        occur_at_ms: Some(item.ts),
        error: item.error,
        ..StatusReport::default()
    })
}

fn incoming(item: MessageItem) -> Report {
    let content = IncomingContent::Text(Text { body: item.text, preview_url: false });
    Report::Incoming(IncomingReport {
        provider_message_id: Some(item.id),
        occur_at_ms: Some(item.ts),
        profile_name: item.profile_name,
        reply_to: item.reply_to,
        ..IncomingReport::new(Contact::of_phone(item.from), content)
    })
}

/// What a request to a real provider would have left.
fn exchange(outcome: &Result<Receipt, SendError>) -> Exchange {
    let (http_status, answer) = match outcome {
        Ok(receipt) => (Some(200), format!("taken as {}", receipt.provider_message_id.as_deref().unwrap_or_default())),
        Err(SendError::Refused(error)) => (Some(400), error.provider_message.clone()),
        Err(SendError::NotTaken { error, .. }) => (Some(429), error.provider_message.clone()),
        Err(SendError::InDoubt { detail }) => (None, detail.clone()),
    };
    Exchange { method: "POST".into(), path: "/sandbox/messages".into(), http_status, answer, elapsed_ms: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i6_one_bad_item_costs_no_neighbour() {
        let (simulator, _) = Simulator::new();
        let context = Context {
            sender: crate::domain::SenderId::trusted("sandbox".into()),
            webhook_url: "http://127.0.0.1/webhooks/sandbox/sandbox".parse().unwrap(),
            http: super::super::HttpClient::new(std::time::Duration::from_secs(1)).unwrap(),
            sandbox: simulator,
        };
        let adapter = Adapter::new(config::Config::default(), context);
        let id = MessageId::generate();
        let body = serde_json::json!({
            "statuses": [
                {"id": "a", "message_id": id, "status": "READ", "ts": 1},
                {"id": 7},
                {"id": "b", "message_id": id, "status": "PONDERED", "ts": 1},
            ],
            "messages": [{"id": "c", "from": "351910000001", "ts": 1, "text": "olá"}],
        });
        let webhook = Webhook {
            headers: vec![],
            query: vec![],
            path_token: None,
            body: body.to_string().into(),
            receive_at_ms: 1,
        };
        let reports = adapter.parse(&webhook);
        assert_eq!(reports.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
        assert!(adapter.verify(&webhook).is_err());
    }
}
