//! Input of every wrong kind: the right code, every violation by name, the gateway unharmed.

mod fields;
pub mod http;
mod lists;
mod many;
mod wire;

use anyhow::Result;
use recado::proto;

use crate::gateway::{TestGateway, text};

/// Asserts that bad input left nothing behind, and that the next message is served.
async fn unharmed(gateway: &mut TestGateway, before: &[proto::Event]) -> Result<()> {
    assert_eq!(gateway.all_events().await?, before, "bad input left something in the log");
    let sent = gateway.messaging.send_message(text("sandbox", "+351910000001", "olá")).await?.into_inner();
    let mut stream = gateway.stream(crate::gateway::after(&sent.cursor)).await?;
    stream.until(&sent.message_id, proto::MessageStatus::Read).await?;
    Ok(())
}
