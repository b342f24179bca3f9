//! NATS is away, and comes back.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};

use super::server::{self, NatsServer};
use super::{caught_up, compare, publishing, subscription};
use crate::database::Engine;
use crate::events::compact;
use crate::gateway::{Setup, TestGateway, until};
use crate::on_both_databases;

on_both_databases! {
    async fn t9_nats_is_killed_again_and_again_and_nothing_is_missing(engine) {
        let mut server = NatsServer::start().await?;
        let mut gateway = TestGateway::start_with(engine, publishing(&server)).await?;
        let mut writer = gateway.messaging.clone();
        let writing = tokio::spawn(async move {
            for i in 0..150 {
                writer.send_message(crate::gateway::held("sandbox", "+351910000001", &format!("number {i}"))).await?;
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            anyhow::Ok(())
        });
        for round in 0..3 {
            let before = server.messages().await?.len();
            until("some more are published", || async { Ok(server.messages().await?.len() > before + 10) }).await?;
            server.kill()?;
            gateway.fill(400, "").await?;
            if round == 1 {
                // Longer than the client tries to get the connection back by itself.
                until("the gateway gives its subscription back", || async {
                    Ok(subscription(&gateway).await?.holder.is_none())
                }).await?;
            }
            server.start_again().await?;
        }
        writing.await??;
        compare(&mut gateway, &server).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn nats_is_not_there_at_the_start_and_the_gateway_serves(engine) {
        let mut server = NatsServer::prepare("")?;
        let mut gateway = TestGateway::start_with(engine, publishing(&server)).await?;
        gateway.fill(300, "").await?;
        until("the lag is told", || async { Ok(subscription(&gateway).await?.lag_events == 301) }).await?;
        server.start_again().await?;
        compare(&mut gateway, &server).await?;
        caught_up(&gateway).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn what_retention_took_meanwhile_is_skipped_and_the_rest_is_there(engine) {
        let mut server = NatsServer::start().await?;
        let mut gateway = TestGateway::start_with(engine, publishing(&server)).await?;
        gateway.fill(100, "").await?;
        let before = compare(&mut gateway, &server).await?;
        server.kill()?;
        // The ring holds only the newest, so the rest is read from the database.
        gateway.fill(200, "").await?;
        let database = gateway.stop().await?;
        compact(&database, before.len() as i64 + 150).await?;
        let mut gateway = TestGateway::start_on(database, publishing(&server)).await?;
        server.start_again().await?;
        let kept = gateway.all_events().await?;
        assert_eq!(kept.len(), 50);
        server::same(&server.messages_up_to(&kept[49]).await?, &[before, kept].concat())?;
        gateway.stop().await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_deleted_and_made_again() -> Result<()> {
    let server = NatsServer::start().await?;
    let mut gateway = TestGateway::start_with(Engine::Sqlite, publishing(&server)).await?;
    gateway.fill(200, "").await?;
    let before = compare(&mut gateway, &server).await?.len();
    caught_up(&gateway).await?;
    server.jetstream().await?.delete_stream(server::STREAM).await?;
    gateway.fill(200, "").await?;
    let log = gateway.all_events().await?;
    server::same(&server.messages_up_to(&log[log.len() - 1]).await?, &log[before..])?;
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_full_and_gets_room() -> Result<()> {
    use async_nats::jetstream::stream::{Config, DiscardPolicy};
    let server = NatsServer::start().await?;
    let config = |max_messages| Config {
        name: server::STREAM.into(),
        subjects: vec![format!("{}.>", server::PREFIX)],
        discard: DiscardPolicy::New,
        max_messages,
        ..Default::default()
    };
    let jetstream = server.jetstream().await?;
    jetstream.create_stream(config(100)).await?;
    let mut gateway = TestGateway::start_with(Engine::Sqlite, publishing(&server)).await?;
    gateway.fill(300, "").await?;
    until("it is full", || async { Ok(server.messages().await?.len() == 100) }).await?;
    until("the place follows", || async { Ok(subscription(&gateway).await?.lag_events == 201) }).await?;
    jetstream.update_stream(config(-1)).await?;
    compare(&mut gateway, &server).await?;
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_would_lose_events_gets_none() -> Result<()> {
    use async_nats::jetstream::stream::{Config, RetentionPolicy};
    let config = || Config {
        name: server::STREAM.into(),
        subjects: vec![format!("{}.>", server::PREFIX)],
        ..Default::default()
    };
    for unfit in [
        Config { retention: RetentionPolicy::Interest, ..config() },
        Config { retention: RetentionPolicy::WorkQueue, ..config() },
        Config { no_ack: true, ..config() },
    ] {
        let server = NatsServer::start().await?;
        let jetstream = server.jetstream().await?;
        jetstream.create_stream(unfit).await?;
        let mut gateway = TestGateway::start_with(Engine::Sqlite, publishing(&server)).await?;
        gateway.fill(20, "").await?;
        // Whoever asks is counted: this test, and the gateway.
        let asked = AtomicU64::new(0);
        let others = || async {
            let answer = jetstream.client().request("$JS.API.INFO", "".into()).await?;
            let info: serde_json::Value = serde_json::from_slice(&answer.payload)?;
            let total = info["api"]["total"].as_u64().with_context(|| format!("no count in {info}"))?;
            anyhow::Ok(total.saturating_sub(asked.fetch_add(1, Ordering::Relaxed)))
        };
        let before = others().await?;
        until("the gateway tried twice", || async { Ok(others().await? >= before + 2) }).await?;
        let state = jetstream.get_stream(server::STREAM).await?.cached_info().state.clone();
        assert_eq!((state.messages, state.last_sequence), (0, 0));
        assert_eq!(subscription(&gateway).await?.lag_events, 21);
        // It makes one that fits, and nothing is missing there.
        jetstream.delete_stream(server::STREAM).await?;
        compare(&mut gateway, &server).await?;
        gateway.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t9_a_server_of_a_cluster_is_killed_and_the_others_go_on() -> Result<()> {
    let mut servers = server::cluster::<3>().await?;
    let config = async_nats::jetstream::stream::Config {
        name: server::STREAM.into(),
        subjects: vec![format!("{}.>", server::PREFIX)],
        num_replicas: 3,
        ..Default::default()
    };
    let jetstream = servers[0].jetstream().await?;
    let leader = crate::tools::until("the cluster has a stream", || async {
        let stream = jetstream.get_or_create_stream(config.clone()).await.ok();
        anyhow::Ok(stream.and_then(|stream| stream.cached_info().cluster.as_ref()?.leader.clone()))
    })
    .await?;
    // It is told of one server, and hears of the others.
    let leader: usize = leader.trim_start_matches('n').parse()?;
    let setup = Setup::default().with("nats.url", &servers[leader].url());
    let mut gateway = TestGateway::start_with(Engine::Sqlite, setup).await?;
    gateway.fill(500, "").await?;
    compare(&mut gateway, &servers[leader]).await?;
    servers[leader].kill()?;
    gateway.fill(500, "").await?;
    compare(&mut gateway, &servers[(leader + 1) % 3]).await?;
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_publishes_nowhere_has_no_subscription() -> Result<()> {
    let gateway = TestGateway::start_with(Engine::Sqlite, Setup::default()).await?;
    let found = gateway.events.clone().get_subscription(super::sink()).await;
    assert_eq!(found.unwrap_err().code(), tonic::Code::NotFound);
    gateway.stop().await?;
    Ok(())
}
