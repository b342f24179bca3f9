//! A person is erased while NATS is slow to say what it took.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use recado::domain::Cursor;
use recado::proto;
use recado::proto::batch_send_entry::Entry;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::caught_up;
use super::server::{self, NatsServer};
use crate::gateway::{Setup, TestGateway, held, until};
use crate::on_both_databases;

/// Who is erased.
const RUI: &str = "+351910000001";
/// Publishes under way, at most.
const WINDOW: usize = 256;
/// How long some answers are held up together, so that a window takes a good second: long for the sink, and below what it
/// waits.
const DELAY: Duration = Duration::from_millis(150);
/// How many bytes of answers are held up together: some thirty of them.
const TOGETHER: usize = 4_096;

/// When answers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    AtOnce,
    Late,
    /// Not yet.
    Held,
}

/// Carries one side's bytes.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut come: watch::Receiver<Answers>) {
    let mut buffer = vec![0; TOGETHER];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if *come.borrow() != Answers::AtOnce {
            // This proxy is slow; nobody waits for anything here.
            tokio::time::sleep(DELAY).await;
        }
        if come.wait_for(|come| *come != Answers::Held).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// An address behind which the server takes everything at once, and answers as it is told to.
async fn behind(server: &NatsServer, come: watch::Receiver<Answers>) -> Result<String> {
    let (listener, backend) = (TcpListener::bind("127.0.0.1:0").await?, server.addr);
    let url = format!("nats://{}", listener.local_addr()?);
    tokio::spawn(async move {
        // Nobody holds up what the gateway says.
        let (_taken, taken) = watch::channel(Answers::AtOnce);
        while let Ok((client, _)) = listener.accept().await {
            let (come, taken) = (come.clone(), taken.clone());
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(backend).await else { return };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::select! {
                    () = carry(from_client, to_server, taken) => {}
                    () = carry(from_server, to_client, come) => {}
                }
            });
        }
    });
    Ok(url)
}

/// Accepts messages that wait, every fourth of them to the one who will be erased.
async fn send(gateway: &mut TestGateway, count: usize) -> Result<()> {
    for first in (0..count).step_by(500) {
        let entries = (first..count.min(first + 500)).map(|i| {
            let to = if i % 4 == 0 { RUI } else { "+351910000002" };
            let entry = Some(Entry::Message(held("sandbox", to, &format!("number {i}"))));
            proto::BatchSendEntry { entry }
        });
        let request = proto::BatchSendRequest { entries: entries.collect() };
        gateway.messaging.batch_send(request).await?;
    }
    Ok(())
}

/// Waits for what was let through in the last moment: nothing tells when that is all, but that nothing more comes.
async fn stands_still(server: &NatsServer) -> Result<()> {
    let mut count = server.messages().await?.len();
    loop {
        tokio::time::sleep(DELAY).await;
        let now = server.messages().await?.len();
        if now == std::mem::replace(&mut count, now) {
            return Ok(());
        }
    }
}

fn position(event: &proto::Event) -> Result<i64> {
    Ok(event.cursor.parse::<Cursor>().ok().context("a cursor")?.position)
}

on_both_databases! {
    async fn an_erasure_leaves_each_event_in_its_place_while_answers_are_slow(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        send(&mut gateway, 3_000).await?;
        let before: BTreeMap<i64, proto::Event> =
            gateway.all_events().await?.into_iter().map(|event| Ok((position(&event)?, event))).collect::<Result<_>>()?;
        let database = gateway.stop().await?;
        // Only now, so that what is sent and read takes nothing from the time that the sink is slow.
        let server = NatsServer::start().await?;
        let (come, seen) = watch::channel(Answers::Late);
        let setup = Setup::default().with("nats.url", &behind(&server, seen).await?).with("events.ring", "64");
        let mut gateway = TestGateway::start_on(database, setup).await?;
        until("some answers came", || async { Ok(server.messages().await?.len() > WINDOW + 20) }).await?;
        // Its window is full and stays so: what it has read and not published is of before the erasure.
        come.send_replace(Answers::Held);
        stands_still(&server).await?;
        let contacts = vec![RUI.to_owned()];
        let request = proto::EraseContactRequest { contacts, ..Default::default() };
        let erased = gateway.admin.erase_contact(request).await?.into_inner();
        let published = server.messages().await?.len();
        // ACCEPTED and CANCELLED of each.
        assert_eq!((erased.cancelled_message_count, erased.event_count), (750, 1_500));
        assert!(published < before.len(), "{published} were published when the erasure was over");
        come.send_replace(Answers::AtOnce);
        gateway.fill(100, "").await?;
        let log = gateway.all_events().await?;
        let messages = server.messages_up_to(log.last().context("no events")?).await?;
        let found = server::events(&messages)?;
        assert_eq!(found.len(), log.len());
        let mut as_it_was = 0;
        for (n, (found, event)) in found.iter().zip(&log).enumerate() {
            if found == event {
                continue;
            }
            // What was published before the erasure was over is as it was then, and nothing else.
            assert!(n < published, "event {n} came after the erasure as {found:?}");
            assert_eq!(Some(found), before.get(&position(event)?), "event {n}");
            as_it_was += 1;
        }
        assert!(as_it_was > 0, "nothing was published before the erasure, so nothing was tried");
        caught_up(&gateway).await?;
        let database = gateway.stop().await?;
        // The next run takes up behind what it finds.
        let setup = Setup::default().with("nats.url", &server.url());
        let mut gateway = TestGateway::start_on(database, setup).await?;
        gateway.fill(10, "").await?;
        let log = gateway.all_events().await?;
        let ids = |events: &[proto::Event]| events.iter().map(|event| event.event_id.clone()).collect::<Vec<_>>();
        let messages = server.messages_up_to(log.last().context("no events")?).await?;
        assert_eq!(ids(&server::events(&messages)?), ids(&log));
        gateway.stop().await?;
        Ok(())
    }
}
