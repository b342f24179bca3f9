//! The sandbox when the gateway starts: a sender to try things with, and the messages that it had.

use crate::callback::CallbackSecrets;
use crate::domain::sender::{Limits, SenderState};
use crate::domain::{Sender, SenderId, now_ms};
use crate::provider::{AnySettings, sandbox};
use crate::senders::Senders;
use crate::store::Store;

/// Messages that the sandbox goes on with after a restart.
const RESUMES: u64 = 10_000;
/// Longer than any script of the sandbox takes.
const OTHERS_MS: i64 = 15_000;

/// An empty database gets a sender to try things with.
pub(super) async fn make_sender(store: &Store, senders: &Senders) -> anyhow::Result<()> {
    if !store.senders().await?.is_empty() || store.log_head().await? > 0 {
        return Ok(());
    }
    let now = now_ms();
    let sender = Sender {
        id: SenderId::trusted("sandbox".into()),
        provider: "sandbox",
        display_name: "Sandbox".into(),
        phone_number: String::new(),
        state: SenderState::Active,
        limits: Limits::default(),
        default_language_code: "en".into(),
        opt_out_words: Default::default(),
        incoming_callback_url: String::new(),
        create_at_ms: now,
        update_at_ms: now,
    };
    let settings = AnySettings::Sandbox(sandbox::config::Config::default());
    store.create_sender(&senders.seal(sender, &settings, &CallbackSecrets::default())?).await?;
    senders.refresh().await?;
    Ok(())
}

/// The sandbox keeps nothing; it is told which messages it had.
pub(super) async fn resume(store: &Store, senders: &Senders, simulator: &sandbox::Simulator) -> anyhow::Result<()> {
    let ids: Vec<SenderId> = senders
        .all()
        .iter()
        .filter(|account| account.sender.provider == "sandbox")
        .map(|account| account.sender.id.clone())
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    // Where others run beside this one, what moved a moment ago is theirs.
    let before = if store.is_exclusive() { now_ms() } else { now_ms() - OTHERS_MS };
    for message in store.unfinished(&ids, before, RESUMES).await? {
        let request = &message.request;
        simulator.resume(&message.sender, message.id, message.attempt, &request.to.digits, message.status);
    }
    Ok(())
}
