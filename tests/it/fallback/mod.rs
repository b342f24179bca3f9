//! Fallback senders: `acme` at Devino is asked for, `backup` at Meta takes over, and `sandbox` after it.

use anyhow::Result;
use recado::fake::{Action, FakeProvider, Fault, Script};
use recado::proto;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, InDoubtPolicy, MessageStatus, SenderState};
use serde_json::json;

use crate::database::Engine;
use crate::gateway::{EventStream, Setup, TestGateway, after, text};
use crate::meta;
use crate::tools::{fake, impatient, number, play, post, silent, with};

mod access;
mod away;
mod between;
mod doubt;
mod refused;
mod reported;

pub struct Stage {
    pub gateway: TestGateway,
    pub devino: FakeProvider,
    pub meta: FakeProvider,
}

pub fn refuse(key: &str) -> Fault {
    Fault::always(Action::Refuse { key: key.into(), reference: String::new() })
}

pub fn faulty(fault: Fault) -> Script {
    Script { faults: vec![fault], ..silent() }
}

/// Options with these fallbacks.
pub fn then(fallbacks: &[&str]) -> proto::SendOptions {
    let fallback_senders = fallbacks.iter().map(ToString::to_string).collect();
    proto::SendOptions { fallback_senders, ..Default::default() }
}

/// The same, to be sent again when in doubt.
pub fn at_least_once(fallbacks: &[&str]) -> proto::SendOptions {
    proto::SendOptions { in_doubt_policy: InDoubtPolicy::AtLeastOnce as i32, ..then(fallbacks) }
}

pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// What an attempt came to: its sender, its outcome, who followed and why.
pub type Line<'a> = (&'a str, AttemptOutcome, &'a str, DeliveryErrorReason);

pub fn lines(attempts: &[proto::Attempt]) -> Vec<Line<'_>> {
    let numbers: Vec<i32> = attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (1..=attempts.len() as i32).collect::<Vec<_>>(), "attempts are counted over all senders");
    let reason = |attempt: &proto::Attempt| match &attempt.next_sender_error {
        Some(error) => error.reason(),
        None => DeliveryErrorReason::Unspecified,
    };
    attempts
        .iter()
        .map(|attempt| (&*attempt.sender, attempt.outcome(), &*attempt.next_sender, reason(attempt)))
        .collect()
}

pub const NONE: DeliveryErrorReason = DeliveryErrorReason::Unspecified;

impl Stage {
    /// A Devino of a script, and a Meta that takes everything and says nothing.
    pub async fn set(engine: Engine, script: Script) -> Result<Self> {
        Self::set_on(TestGateway::start_with(engine, Setup { settings: impatient() }).await?, script).await
    }

    pub async fn set_on(mut gateway: TestGateway, script: Script) -> Result<Self> {
        let devino = fake(script).await?;
        gateway.devino_sender("acme", &devino).await?;
        let meta = fake(silent()).await?;
        meta::sender_at(&mut gateway, "backup", &meta.base_url("meta"), meta::NUMBER).await?;
        Ok(Self { gateway, devino, meta })
    }

    /// Sends to somebody new through `acme`; answers the id, and a stream from there.
    pub async fn send(&mut self, n: usize, options: proto::SendOptions) -> Result<(String, EventStream)> {
        self.send_content(with(text("acme", &number(n), "x"), options)).await
    }

    pub async fn send_content(&mut self, request: proto::SendMessageRequest) -> Result<(String, EventStream)> {
        let sent = self.gateway.send(request).await?;
        let stream = self.gateway.stream(after(&sent.cursor)).await?;
        Ok((sent.message_id, stream))
    }

    /// Whether `backup` hands over.
    pub async fn backup(&mut self, state: SenderState) -> Result<()> {
        self.gateway.set_state("backup", state).await
    }

    /// Devino's plan for the messages from now on.
    pub fn devino_plays(&self, script: Script) {
        play(&self.devino, script);
    }

    /// Devino posts a status of a message that it has taken; by its own id, and ours where it is given.
    pub async fn devino_says(&self, provider_id: &str, word: &str, code: u32, ours: Option<&str>) -> Result<()> {
        let mut item = json!({ "messageId": provider_id.parse::<u64>()?, "status": word, "ts": 1_767_225_600_000_u64 });
        if code != 0 {
            item["errorCode"] = code.into();
        }
        if let Some(id) = ours {
            item["options"] = id.into();
        }
        assert_eq!(post(&self.gateway.devino_webhook("acme"), json!([item]).to_string()).await?, 200);
        Ok(())
    }

    /// Meta posts a status of a message that it has taken.
    pub async fn meta_says(&self, provider_id: &str, word: &str) -> Result<()> {
        let status =
            json!({ "id": provider_id, "status": word, "timestamp": "1767225601", "recipient_id": "351910000001" });
        let webhook = meta::webhook(&self.gateway, "backup");
        assert_eq!(meta::post(&webhook, meta::status(status)).await?, 200);
        Ok(())
    }

    pub async fn message(&self, id: &str) -> Result<(proto::Message, Vec<proto::Attempt>)> {
        self.gateway.message(id).await
    }

    /// The event by which a message goes on.
    pub async fn passed(&self, stream: &mut EventStream, id: &str) -> Result<proto::MessageStatusChanged> {
        let statuses = stream.until(id, MessageStatus::Sending).await?;
        Ok(statuses.into_iter().next_back().unwrap_or_default())
    }
}
