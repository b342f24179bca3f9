//! Callbacks over kills: none is lost, none is changed, and their order holds.

use std::collections::{HashMap, HashSet};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use recado::proto;
use recado::proto::admin_service_client::AdminServiceClient;
use recado::proto::event::Payload;
use recado::proto::event_service_client::EventServiceClient;

use crate::endpoint::{Answer, Endpoint};
use crate::gateway::{TestDatabase, text};
use crate::on_both_databases;
use crate::process::{Setup, channel, wait_for};
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
        let posts = endpoint.taken();
        let mut admin = AdminServiceClient::new(channel(setup.addresses.grpc));
        let states = vec![proto::CallbackState::Dead as i32];
        let dead = proto::ListCallbacksRequest { states, ..Default::default() };
        let dead = admin.list_callbacks(dead).await?.into_inner().callbacks;
        assert!(dead.is_empty(), "given up: {dead:?}");
        let mut bodies: HashMap<String, Vec<u8>> = HashMap::new();
        let (mut newest, mut repeats) = (HashMap::<String, i64>::new(), 0);
        for post in &posts {
            let known = bodies.insert(post.id().to_owned(), post.body.clone());
            assert!(known.as_ref().is_none_or(|known| *known == post.body), "{} changed", post.id());
            repeats += usize::from(known.is_some());
            let before = newest.entry(post.text("message_id")).or_default();
            // A repeat is of the last one: what comes after waits until that is known to be taken.
            assert!(post.sequence() >= *before, "{} came after {before}", post.sequence());
            *before = post.sequence();
        }
        println!("{engine:?}: {} kills, {} callbacks, {repeats} taken twice", kills(), bodies.len());
        drop(process);
        Ok(())
    }
}
