//! T1: positions are given in the order of commits. A reader from the beginning never steps over one.

use std::time::Duration;

use anyhow::{Result, ensure};
use recado::fake::FakeProvider;
use tokio::task::JoinSet;

use super::{from_beginning, positions, stream};
use crate::database::{Engine, TestDatabase};
use crate::gateway::{EventStream, Setup, TestGateway, held};
use crate::on_both_databases;

const WRITERS: usize = 50;
const EACH: usize = 12;

/// Half of the writers send, half are a provider that posts what people wrote; each waits at random between two.
async fn write(gateways: &[&TestGateway]) -> Result<()> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let gateway = gateways[writer % gateways.len()];
        let (mut messaging, http) = (gateway.messaging.clone(), gateway.http.clone());
        let by_webhook = writer / gateways.len() % 2 == 1;
        writers.spawn(async move {
            for i in 0..EACH {
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..15))).await;
                if by_webhook {
                    let body = format!(
                        r#"[{{"incomingMessageId":"{writer}-{i}","from":"3519100000{writer:02}","to":"AcmeCare","text":"olá"}}]"#
                    );
                    let url = format!("{http}/webhooks/devino/acme?token=test-token-0123456789");
                    let status = crate::bad_input::http::post(&url, body.as_bytes()).await?;
                    ensure!(status == 200, "the webhook was answered with {status}");
                } else {
                    let to = format!("+3519100000{writer:02}");
                    messaging.send_message(held("acme", &to, &format!("{writer} {i}"))).await?;
                }
            }
            Ok(())
        });
    }
    writers.join_all().await.into_iter().collect()
}

/// Reads all of it, and proves that nothing was stepped over.
async fn read(mut stream: EventStream, count: usize) -> Result<Vec<String>> {
    let events = stream.events(count).await?;
    ensure!(positions(&events) == (1..=count as i64).collect::<Vec<_>>(), "{:?}", positions(&events));
    Ok(events.into_iter().map(|event| event.event_id).collect())
}

on_both_databases! {
    async fn t1_fifty_writers_and_a_reader_from_the_beginning(engine) {
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        let mut gateway = TestGateway::start(engine).await?;
        gateway.devino_sender("acme", &fake).await?;
        let count = 2 + WRITERS * EACH;
        let reading = tokio::spawn(read(gateway.stream(stream(from_beginning())).await?, count));
        write(&[&gateway]).await?;
        let seen = reading.await??;
        let listed: Vec<_> = gateway.all_events().await?.into_iter().map(|event| event.event_id).collect();
        assert_eq!(seen, listed);
        gateway.stop().await?;
        fake.stop().await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_two_replicas_write_and_readers_of_both_see_the_same() -> Result<()> {
    let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
    let database = TestDatabase::create(Engine::Postgres).await?;
    let mut one = TestGateway::start_on(database.clone(), Setup::default()).await?;
    one.devino_sender("acme", &fake).await?;
    let mut two = TestGateway::start_on(database, Setup::default()).await?;
    let count = 2 + WRITERS * EACH;
    let readers = [
        tokio::spawn(read(one.stream(stream(from_beginning())).await?, count)),
        tokio::spawn(read(two.stream(stream(from_beginning())).await?, count)),
    ];
    write(&[&one, &two]).await?;
    let listed: Vec<_> = one.all_events().await?.into_iter().map(|event| event.event_id).collect();
    for reading in readers {
        let seen = reading.await??;
        assert_eq!(seen.len(), count);
        assert_eq!(seen[..listed.len()], listed, "what was listed is a part of it, in the same order");
    }
    two.stop().await?;
    one.stop().await?;
    fake.stop().await;
    Ok(())
}
