//! Somebody else is in the stream: another writer, another replica, another database.

use std::time::Duration;

use anyhow::{Context as _, Result};
use recado::proto;
use sea_orm::ConnectionTrait as _;

use super::server::{self, NatsServer, PREFIX};
use super::{compare, publishing, subscription};
use crate::database::{Engine, TestDatabase};
use crate::gateway::{TestGateway, until};

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_others_neither_stop_it_nor_make_a_gap() -> Result<()> {
    let server = NatsServer::start().await?;
    let mut gateway = TestGateway::start_with(Engine::Sqlite, publishing(&server)).await?;
    gateway.fill(10, "").await?;
    compare(&mut gateway, &server).await?;
    let jetstream = server.jetstream().await?;
    let others = tokio::spawn(async move {
        // In bursts and one by one, so that conditions fail in the middle of many publishes, and right after each look.
        for i in 0..1_500 {
            let ack = jetstream.publish(format!("{PREFIX}.somebody.else"), "not ours".into()).await?;
            if i % 3 == 0 {
                ack.await?;
                tokio::time::sleep(Duration::from_micros(i % 700)).await;
            }
        }
        anyhow::Ok(jetstream.client().flush().await?)
    });
    while !others.is_finished() {
        gateway.fill(100, "").await?;
    }
    others.await??;
    gateway.fill(100, "").await?;
    let log = gateway.all_events().await?;
    let messages = server.messages_up_to(log.last().context("no events")?).await?;
    let (ours, theirs): (Vec<_>, Vec<_>) =
        messages.into_iter().partition(|message| message.headers.get("Recado-Cursor").is_some());
    server::same(&ours, &log)?;
    assert!(theirs.len() == 1_500, "{} of theirs", theirs.len());
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_follows_behind_the_first_from_its_beginning() -> Result<()> {
    let server = NatsServer::start().await?;
    let mut first = TestGateway::start_with(Engine::Sqlite, publishing(&server)).await?;
    first.fill(100, "").await?;
    let one = compare(&mut first, &server).await?;
    first.stop().await?;
    let mut second = TestGateway::start_with(Engine::Sqlite, publishing(&server)).await?;
    second.fill(50, "").await?;
    let two = second.all_events().await?;
    let newest = two.last().context("no events")?;
    server::same(&server.messages_up_to(newest).await?, &[one, two.clone()].concat())?;
    second.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_put_back_goes_on_with_other_events_at_the_same_places() -> Result<()> {
    let server = NatsServer::start().await?;
    let mut gateway = TestGateway::start_with(Engine::Sqlite, publishing(&server)).await?;
    gateway.fill(50, "").await?;
    let kept = compare(&mut gateway, &server).await?;
    let database = gateway.stop().await?;
    let [file, backup] = ["recado.db", "backup.db"].map(|name| database.folder().join(name));
    let connection = database.connect().await?;
    connection.execute_unprepared(&format!("VACUUM INTO '{}'", backup.display())).await?;
    connection.close().await?;
    let mut gateway = TestGateway::start_on(database, publishing(&server)).await?;
    gateway.fill(30, "").await?;
    let all = compare(&mut gateway, &server).await?;
    let database = gateway.stop().await?;
    std::fs::rename(backup, &file)?;
    for beside in ["recado.db-wal", "recado.db-shm"] {
        let _ = std::fs::remove_file(database.folder().join(beside));
    }
    // It grows past the place where the stream is before the sink looks.
    let mut gateway = TestGateway::start_on(database, crate::gateway::Setup::default()).await?;
    gateway.fill(80, "").await?;
    let mut gateway = TestGateway::start_on(gateway.stop().await?, publishing(&server)).await?;
    let log = gateway.all_events().await?;
    assert_eq!(log[..kept.len()], kept);
    let expected = [&all, &log[kept.len()..]].concat();
    server::same(&server.messages_up_to(log.last().context("no events")?).await?, &expected)?;
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_replicas_publishes_and_the_other_goes_on_when_it_stops() -> Result<()> {
    let server = NatsServer::start().await?;
    let database = TestDatabase::create(Engine::Postgres).await?;
    let mut one = TestGateway::start_on(database.clone(), publishing(&server)).await?;
    one.fill(100, "").await?;
    let mut two = TestGateway::start_on(database, publishing(&server)).await?;
    two.fill(100, "").await?;
    compare(&mut two, &server).await?;
    let holder = |gateway: &TestGateway| {
        let mut events = gateway.events.clone();
        async move { anyhow::Ok(events.get_subscription(super::sink()).await?.into_inner().subscription) }
    };
    let before = holder(&two).await?.and_then(|found| found.holder).context("nobody publishes")?;
    one.stop().await?;
    two.fill(100, "").await?;
    compare(&mut two, &server).await?;
    until("the other one holds it", || async {
        let now: Option<proto::SubscriptionHolder> = subscription(&two).await?.holder;
        Ok(now.is_some_and(|now| now.attach_time != before.attach_time))
    })
    .await?;
    two.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_nats_refuses_leaves_the_publishing_to_the_other() -> Result<()> {
    let server = NatsServer::start_with(&format!(
        "authorization {{ users: [\n{{ user: recado, password: right }}\n\
         {{ user: reader, password: right, permissions: {{ publish: {{ deny: [\"{PREFIX}.>\"] }} }} }}\n] }}\n\
         no_auth_user: recado"
    ))
    .await?;
    let publishing = |user| publishing(&server).with("nats.user", user).with("nats.password", "right");
    let database = TestDatabase::create(Engine::Postgres).await?;
    let mut refused = TestGateway::start_on(database.clone(), publishing("reader")).await?;
    refused.fill(100, "").await?;
    until("it is refused", || async { Ok(server.violations() > 0) }).await?;
    let mut other = TestGateway::start_on(database, publishing("recado")).await?;
    other.fill(100, "").await?;
    compare(&mut other, &server).await?;
    // It serves callers meanwhile, and what they send is published.
    refused.fill(100, "").await?;
    compare(&mut refused, &server).await?;
    // Alone again it holds nothing up: what is recorded meanwhile follows when somebody may publish.
    let database = other.stop().await?;
    let before = server.violations();
    refused.fill(100, "").await?;
    until("it tries again", || async { Ok(server.violations() > before) }).await?;
    let mut other = TestGateway::start_on(database, self::publishing(&server)).await?;
    compare(&mut other, &server).await?;
    other.stop().await?;
    refused.stop().await?;
    Ok(())
}
