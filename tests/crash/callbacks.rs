//! Callbacks over kills and restarts: none is lost, none is changed, and their order holds.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use recado::proto;
use recado::proto::admin_service_client::AdminServiceClient;
use recado::proto::event::Payload;
use recado::proto::event_service_client::EventServiceClient;

use recado::fake::{FakeProvider, Script};
use recado::proto::MessageStatus;

use crate::cast;
use crate::endpoint::{Answer, Endpoint, Post};
use crate::failing::{Verifier, is_taken, misbehave, wanted};
use crate::gateway::{Engine, TestDatabase, text};
use crate::on_both_databases;
use crate::outbox::messages;
use crate::postgres::{PostgresServer, Stop};
use crate::process::{PATIENCE, Setup, channel, wait_for};
use crate::scene::{kills, seed};

/// Messages before each kill, each with four statuses at the sandbox.
const MESSAGES: usize = 10;

/// Ids of all events of these messages' statuses.
async fn told(grpc: std::net::SocketAddr, messages: &HashSet<String>) -> anyhow::Result<HashSet<String>> {
    use proto::list_events_request::Start;
    let mut client = EventServiceClient::new(channel(grpc));
    let (mut start, mut ids) = (Start::FromBeginning(true), HashSet::new());
    loop {
        let request = proto::ListEventsRequest { start: Some(start), page_size: 1_000, ..Default::default() };
        let page = client.list_events(request).await?.into_inner();
        ids.extend(page.events.into_iter().filter_map(|event| match event.payload {
            Some(Payload::StatusChanged(status)) if messages.contains(&status.message_id) => Some(event.event_id),
            _ => None,
        }));
        if page.caught_up {
            return Ok(ids);
        }
        start = Start::AfterCursor(page.next_cursor);
    }
}

on_both_databases! {
    async fn callbacks_survive_kills(engine) {
        let seed = seed(&format!("callbacks on {engine:?}"));
        let mut random = StdRng::seed_from_u64(seed);
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = Setup::new(&database.url, folder.path())
            .with("callbacks-retries", "20ms, 20ms, 20ms, 20ms, 20ms, 20ms, 20ms, 20ms, 20ms, 20ms, 20ms, 20ms, 20ms, 20ms, 20ms");
        let mut turn = 0;
        let endpoint = Endpoint::start(move |_| {
            turn += 1;
            match turn % 5 {
                0 => Answer::Say(500),
                1 => Answer::Slow(std::time::Duration::from_millis(50)),
                _ => Answer::Say(200),
            }
        }).await?;
        let mut process = setup.start().await?;
        let mut accepted = HashSet::new();
        for _ in 0..kills() {
            // Somewhere between the first POST of these messages and their last.
            let more = endpoint.posts().len() + random.random_range(0..MESSAGES * 3);
            let mut messaging = setup.messaging();
            for n in 0..MESSAGES {
                let options = proto::SendOptions { callback_url: endpoint.url("/cb"), ..Default::default() };
                let request = proto::SendMessageRequest {
                    options: Some(options), ..text("sandbox", &format!("351910{n:06}"), "olá")
                };
                accepted.insert(messaging.send_message(request).await?.into_inner().message_id);
            }
            wait_for("some POSTs", async || Ok((endpoint.posts().len() >= more).then_some(()))).await?;
            process.kill()?;
            process = setup.start().await?;
        }
        // Whatever the log says of them; how far the sandbox gets over kills is its own affair.
        wait_for("a callback for each event", async || {
            let events = told(setup.addresses.grpc, &accepted).await?;
            let taken: HashSet<String> = endpoint.taken().iter().map(|post| post.text("event_id")).collect();
            Ok((events.len() >= 2 * accepted.len() && events.is_subset(&taken)).then_some(()))
        }).await?;
        nothing_is_given_up(setup.addresses.grpc).await?;
        let (count, repeats) = in_order_and_unchanged(&endpoint.taken());
        println!("{engine:?}: {} kills, {count} callbacks, {repeats} taken twice", kills());
        drop(process);
        Ok(())
    }
}

/// No callback is dead.
async fn nothing_is_given_up(grpc: std::net::SocketAddr) -> Result<()> {
    let states = vec![proto::CallbackState::Dead as i32];
    let dead = proto::ListCallbacksRequest { states, ..Default::default() };
    let dead = AdminServiceClient::new(channel(grpc)).list_callbacks(dead).await?.into_inner().callbacks;
    ensure!(dead.is_empty(), "given up: {dead:?}");
    Ok(())
}

/// Of POSTs that were taken: how many there are, and how many of them twice.
fn in_order_and_unchanged(posts: &[Post]) -> (usize, usize) {
    let mut bodies: HashMap<&str, &[u8]> = HashMap::new();
    let (mut newest, mut repeats) = (HashMap::<String, i64>::new(), 0);
    for post in posts {
        let known = bodies.insert(post.id(), &post.body);
        assert!(known.is_none_or(|known| known == post.body), "{} changed", post.id());
        repeats += usize::from(known.is_some());
        let before = newest.entry(post.text("message_id")).or_default();
        // A repeat is of the last one: what comes after waits until that is known to be taken.
        assert!(post.sequence() >= *before, "{} came after {before}", post.sequence());
        *before = post.sequence();
    }
    (bodies.len(), repeats)
}

const SECRET: &str = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
/// ACCEPTED, SENT, DELIVERED, READ.
const STATUSES: usize = 4;

/// How long so many callbacks may take, a few at a time.
fn long() -> Duration {
    PATIENCE + Duration::from_millis(100) * wanted() as u32
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_that_fail_in_every_way_survive_a_restart_on_sqlite() -> Result<()> {
    let database = TestDatabase::create(Engine::Sqlite).await?;
    let folder = tempfile::tempdir()?;
    restarted("SQLite", Setup::new(&database.url, folder.path()), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_that_fail_in_every_way_survive_restarts_on_postgres() -> Result<()> {
    let server = tokio::task::spawn_blocking(PostgresServer::start).await??;
    let folder = tempfile::tempdir()?;
    restarted("PostgreSQL", Setup::new(&server.url(server.addr), folder.path()), Some(server)).await
}

/// The gateway is killed when a third has arrived, and PostgreSQL when it is two thirds.
async fn restarted(on: &str, setup: Setup, server: Option<PostgresServer>) -> Result<()> {
    let setup = setup.with("callbacks-retries", ["30ms"; 25].join(", ")).with("callbacks-post-limit", "2s");
    let verifier = Arc::new(Mutex::new(Verifier::start()?));
    let (reads, mut turn) = (verifier.clone(), 0);
    let endpoint = Endpoint::start(move |post| {
        turn += 1;
        let (way, answer) = misbehave(turn);
        if let (true, Some(verifier)) = (is_taken(way), reads.lock().unwrap().as_mut()) {
            verifier.read(post);
        }
        answer
    })
    .await?;
    let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
    fake.set_script(Script::default()).map_err(anyhow::Error::msg)?;
    let mut process = setup.start().await?;
    let cast = cast::devino();
    let config = Some((cast.config)(fake.base_url(cast.provider)));
    let sender = proto::Sender { sender: "acme".into(), callback_secret: SECRET.into(), config, ..Default::default() };
    let mut admin = AdminServiceClient::new(channel(setup.addresses.grpc));
    admin.create_sender(proto::CreateSenderRequest { sender: Some(sender) }).await?;
    let started = Instant::now();
    let sending = tokio::spawn(send(setup.clone(), endpoint.url("/cb"), wanted().div_ceil(STATUSES)));

    endpoint.until_taken_within(wanted() / 3, long()).await?;
    process.kill()?;
    process = setup.start().await?;
    endpoint.until_taken_within(wanted() * 2 / 3, long()).await?;
    if let Some(server) = &server {
        tokio::task::block_in_place(|| {
            server.stop(Stop::Immediate)?;
            server.start_again()
        })?;
    }
    let accepted = sending.await??;
    let waiting = async {
        loop {
            let read =
                messages(&setup).await.is_ok_and(|all| all.values().all(|status| *status == MessageStatus::Read));
            if let (true, Ok(events)) = (read, told(setup.addresses.grpc, &accepted).await) {
                let taken: HashSet<String> = endpoint.taken().iter().map(|post| post.text("event_id")).collect();
                if events.is_subset(&taken) {
                    return events.len();
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let events = tokio::time::timeout(long(), waiting).await.context("not all arrived")?;
    nothing_is_given_up(setup.addresses.grpc).await?;
    let (count, repeats) = in_order_and_unchanged(&endpoint.taken());
    ensure!(count == events, "{count} callbacks of {events} events");
    let posts = endpoint.posts();
    ensure!(posts.iter().all(|post| post.is_signed_by(SECRET)), "one was not signed");
    let verified = match verifier.lock().unwrap().take() {
        Some(verifier) => verifier.end().map(|()| ", and of those taken by another implementation")?,
        None => "",
    };
    println!(
        "{on}: {count} callbacks of {} messages over {} POSTs, {repeats} taken twice, signatures verified{verified}; {:.0} s",
        accepted.len(),
        posts.len(),
        started.elapsed().as_secs_f64()
    );
    drop(process);
    Ok(())
}

/// Sends messages, each accepted once whatever happens to the gateway; gives their ids.
async fn send(setup: Setup, url: String, count: usize) -> Result<HashSet<String>> {
    let mut messaging = setup.messaging();
    let mut ids = HashSet::new();
    for n in 0..count {
        let mut request = text("acme", &format!("351910{n:06}"), "olá");
        request.options = Some(proto::SendOptions {
            idempotency_key: format!("order {n}"),
            callback_url: url.clone(),
            in_doubt_policy: proto::InDoubtPolicy::AtLeastOnce as i32,
            ..Default::default()
        });
        let answer = loop {
            match messaging.send_message(request.clone()).await {
                Ok(answer) => break answer.into_inner(),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        ids.insert(answer.message_id);
    }
    Ok(ids)
}
