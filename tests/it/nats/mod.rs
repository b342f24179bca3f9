//! The event log in NATS: a real nats-server for each test.

mod access;
mod away;
mod erased;
mod others;
mod published;
#[allow(dead_code, reason = "the tests with the real binary use the rest")]
pub mod server;

use anyhow::{Context as _, Result};
use recado::proto;

use crate::gateway::{Setup, TestGateway, until};

use server::NatsServer;

/// Settings of a gateway that publishes to a server.
fn publishing(server: &NatsServer) -> Setup {
    Setup::default().with("nats.url", &server.url())
}

/// The sink's subscription.
fn sink() -> proto::GetSubscriptionRequest {
    proto::GetSubscriptionRequest { subscription: "sink".into(), api_key_id: "nats".into() }
}

async fn subscription(gateway: &TestGateway) -> Result<proto::Subscription> {
    let answer = gateway.events.clone().get_subscription(sink()).await?;
    answer.into_inner().subscription.context("no subscription was answered")
}

/// Waits until the place of the sink is the newest of the log.
async fn caught_up(gateway: &TestGateway) -> Result<()> {
    // The sink makes its place beside the gateway's start.
    until("the sink is at the head", || async {
        Ok(subscription(gateway).await.is_ok_and(|found| found.lag_events == 0))
    })
    .await
}

/// Compares the stream with the log, once the newest event is in it.
async fn compare(gateway: &mut TestGateway, server: &NatsServer) -> Result<Vec<proto::Event>> {
    let log = gateway.all_events().await?;
    server::same(&server.messages_up_to(log.last().context("no events")?).await?, &log)?;
    Ok(log)
}
