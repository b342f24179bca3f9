//! Asks providers what became of messages, where their webhooks do not tell all: on any replica, at the times of a plan.
//! What they answer is folded like what their webhooks say.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::domain::now_ms;
use crate::provider::{AskError, Report, StatusReport};
use crate::senders::Senders;
use crate::store::{LookUp, LookedUp, Store, StoreError, Writer};

/// How often the store is asked whether a turn has come.
const LOOK: Duration = Duration::from_millis(500);
/// Messages that one look brings.
const PAGE: u64 = 128;
/// Questions under way at the same time, in this process.
const AT_ONCE: usize = 16;

/// What looking up needs.
#[derive(Debug)]
pub struct LookUps {
    /// Knows whose turn it is.
    pub store: Store,
    /// Takes turns, and folds answers.
    pub writer: Writer,
    /// The providers to ask.
    pub senders: Arc<Senders>,
    /// So long after the hand-over; rising.
    pub plan: Arc<[Duration]>,
}

impl LookUps {
    /// Asks until `stop`. A question that is cut off is one that was in vain: the next time of the plan makes up for it.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            loop {
                tokio::time::sleep(LOOK).await;
                if let Err(error) = self.look().await {
                    tracing::warn!(%error, "messages could not be looked up; trying again");
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// Asks after all messages whose turn has come.
    async fn look(&self) -> Result<(), StoreError> {
        // Most gateways have no such sender, and need not ask the store.
        if !self.senders.all().iter().any(|account| account.provider.capabilities().look_up) {
            return Ok(());
        }
        while self.store.next_look_up().await?.is_some_and(|due| due <= self.store.now_ms()) {
            let due = self.writer.take_look_ups(self.plan.clone(), PAGE).await?;
            futures::stream::iter(due).for_each_concurrent(AT_ONCE, |due| self.ask(due)).await;
        }
        Ok(())
    }

    async fn ask(&self, due: LookUp) {
        let LookUp { sender, message } = due;
        let Some(account) = self.senders.get(&sender).filter(|account| account.provider.capabilities().look_up) else {
            return;
        };
        let asked = account.provider.look_up(&message).await;
        let outcome = match &asked {
            Ok(reports) if reports.is_empty() => "no_news",
            Ok(_) => "news",
            Err(_) => "in_vain",
        };
        metrics::counter!("recado_look_ups_total", "outcome" => outcome).increment(1);
        match asked {
            Ok(reports) => {
                let told = self.fold(LookedUp { sender, receive_at_ms: now_ms(), reports: statuses(reports) }).await;
                if let Err(error) = told {
                    tracing::warn!(message.id = %message.message_id, %error, "what a provider answered could not be written");
                }
            }
            Err(AskError::NotSupported) => {}
            Err(error) => {
                tracing::warn!(message.id = %message.message_id, %sender, %error, "a message could not be looked up");
            }
        }
    }

    async fn fold(&self, answer: LookedUp) -> Result<(), StoreError> {
        if answer.reports.is_empty() {
            return Ok(());
        }
        // Where our id comes with the provider's, webhooks that named only the provider's may wait for it.
        let both = answer.reports.iter().filter(|report| report.message_id.is_some());
        let ids: Vec<String> = both.filter_map(|report| report.provider_message_id.clone()).collect();
        self.writer.looked_up(answer).await?;
        match ids.is_empty() {
            true => Ok(()),
            false => self.writer.unpark(ids).await,
        }
    }
}

/// Statuses are all that is asked for.
fn statuses(reports: Vec<Report>) -> Vec<StatusReport> {
    let status = |report| match report {
        Report::Status(report) => Some(report),
        _ => None,
    };
    reports.into_iter().filter_map(status).collect()
}
