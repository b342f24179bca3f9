//! The other side of the sandbox: what would be a provider's servers. It waits and posts, so that the adapter need not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ring::hmac;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::script::{self, Answering};
use super::{MessageItem, Notice, StatusItem, provider_id};
use crate::domain::message::ErrorReason;
use crate::domain::{MessageId, MessageStatus, Millis, SenderId, now_ms};
use crate::provider::{Outgoing, Receipt, SendError, Webhook};

/// Items of one notice, at most.
const NOTICE: usize = 100;

/// A way to the simulator; cheap to clone.
#[derive(Debug, Clone)]
pub struct Simulator {
    plans: mpsc::UnboundedSender<Plan>,
    key: Arc<hmac::Key>,
}

/// Something that the simulator will post.
#[derive(Debug)]
struct Plan {
    at: Instant,
    sender: SenderId,
    item: Item,
}

#[derive(Debug)]
enum Item {
    Status { message_id: MessageId, id: String, status: MessageStatus },
    Reply { message_id: MessageId, id: String, from: String },
}

/// The simulator's task, not yet running.
#[derive(Debug)]
pub struct Delivery {
    plans: mpsc::UnboundedReceiver<Plan>,
    key: Arc<hmac::Key>,
}

/// Receives the simulator's webhooks: the same function that the HTTP server calls.
#[async_trait::async_trait]
pub trait Inbox: Send + Sync {
    /// Takes one webhook in; `false`: not stored, post it again.
    async fn post(&self, sender: &SenderId, webhook: Webhook) -> bool;
}

impl Simulator {
    /// A simulator and its task. It signs its webhooks with a key that nobody else knows and that dies with the process.
    pub fn new() -> (Self, Delivery) {
        let (plans, waiting) = mpsc::unbounded_channel();
        let secret: [u8; 32] = rand::random();
        let key = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &secret));
        (Self { plans, key: key.clone() }, Delivery { plans: waiting, key })
    }

    pub(super) fn key(&self) -> &hmac::Key {
        &self.key
    }

    /// Takes one message, as its number's script says.
    pub(super) async fn take(&self, sender: &SenderId, message: &Outgoing) -> Result<Receipt, SendError> {
        let script = script::of(&message.to.digits);
        match script.answering {
            Answering::Refuses => {
                let error = script::error(ErrorReason::NotOnWhatsapp, "404", "no such WhatsApp account", false);
                return Err(SendError::Refused(error));
            }
            Answering::ThrottlesFirst if message.attempt <= 2 => {
                let error = script::error(ErrorReason::RateLimited, "429", "too many messages", true);
                return Err(SendError::NotTaken { error, retry_after: Some(script::THROTTLED), retries: None });
            }
            Answering::TakesAfter(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            Answering::Takes | Answering::ThrottlesFirst | Answering::LosesAnswer => {}
        }
        self.resume(sender, message.message_id, message.attempt, &message.to.digits, MessageStatus::Sent);
        match script.answering {
            Answering::LosesAnswer => {
                Err(SendError::InDoubt { detail: "the sandbox took it and dropped the connection".into() })
            }
            _ => Ok(Receipt { provider_message_id: Some(provider_id(message.message_id, message.attempt)) }),
        }
    }

    /// Plays the rest of a number's script for a message that stands at `status`. The sandbox keeps nothing, so after a
    /// restart it is told of the messages that it had; one in doubt counts as taken.
    pub fn resume(&self, sender: &SenderId, message_id: MessageId, attempt: i32, to: &str, status: MessageStatus) {
        let script = script::of(to);
        let id = provider_id(message_id, attempt);
        let mut last = 0;
        for &(next, after_ms) in script.statuses {
            last = after_ms;
            if status == MessageStatus::Delivered && next == MessageStatus::Delivered {
                continue;
            }
            self.plan(sender, after_ms, Item::Status { message_id, id: id.clone(), status: next });
        }
        if script.replies {
            self.plan(sender, last + 500, Item::Reply { message_id, id, from: to.to_owned() });
        }
    }

    fn plan(&self, sender: &SenderId, after_ms: u64, item: Item) {
        let at = Instant::now() + Duration::from_millis(after_ms);
        // When the task is gone, the gateway is stopping; the statuses are planned again at the next start.
        let _ = self.plans.send(Plan { at, sender: sender.clone(), item });
    }
}

impl Delivery {
    /// Posts what is planned, when its time comes, until `stop`.
    pub async fn run(mut self, inbox: Arc<dyn Inbox>, stop: CancellationToken) {
        let mut waiting: BTreeMap<(Instant, u64), Plan> = BTreeMap::new();
        let mut number = 0;
        let mut taken = Vec::new();
        loop {
            let next = waiting.first_key_value().map(|((at, _), _)| *at);
            tokio::select! {
                count = self.plans.recv_many(&mut taken, 1_024) => {
                    if count == 0 {
                        return;
                    }
                    for plan in taken.drain(..) {
                        number += 1;
                        waiting.insert((plan.at, number), plan);
                    }
                }
                () = sleep_until(next) => {
                    let later = waiting.split_off(&(Instant::now(), u64::MAX));
                    let due = std::mem::replace(&mut waiting, later);
                    self.post(&inbox, due.into_values().collect()).await;
                }
                () = stop.cancelled() => return,
            }
        }
    }

    async fn post(&self, inbox: &Arc<dyn Inbox>, due: Vec<Plan>) {
        let mut by_sender: BTreeMap<SenderId, Vec<Item>> = BTreeMap::new();
        for plan in due {
            by_sender.entry(plan.sender).or_default().push(plan.item);
        }
        for (sender, mut items) in by_sender {
            while !items.is_empty() {
                let rest = items.split_off(items.len().min(NOTICE));
                let webhook = self.sign(notice(&std::mem::replace(&mut items, rest)));
                // A real provider posts again until it hears 2xx.
                while !inbox.post(&sender, webhook.clone()).await {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    fn sign(&self, notice: Notice) -> Webhook {
        let body = serde_json::to_vec(&notice).unwrap_or_default();
        let signature = hex::encode(hmac::sign(&self.key, &body).as_ref());
        Webhook {
            headers: vec![(super::SIGNATURE.to_owned(), signature)],
            query: Vec::new(),
            path_token: None,
            body: Bytes::from(body),
            receive_at_ms: now_ms(),
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn notice(items: &[Item]) -> Notice {
    let ts: Millis = now_ms();
    let mut notice = Notice::default();
    for item in items {
        match item {
            Item::Status { message_id, id, status } => {
                let item = StatusItem {
                    id: id.clone(),
                    message_id: *message_id,
                    status: status.as_str().to_owned(),
                    ts,
                    error: script::error_of(*status),
                };
                notice.statuses.extend(serde_json::to_value(item));
            }
            Item::Reply { message_id, id, from } => {
                let item = MessageItem {
                    id: format!("sandbox.in.{}", message_id.0.simple()),
                    from: from.clone(),
                    profile_name: "Sandbox".into(),
                    ts,
                    text: "Thanks, I have read it.".into(),
                    reply_to: Some(id.clone()),
                };
                notice.messages.extend(serde_json::to_value(item));
            }
        }
    }
    notice
}
