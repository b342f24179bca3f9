//! Death between a state and what follows it: whatever was committed is told, handed over, called back and read, by the next
//! process.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use recado::domain::Cursor;
use recado::fake::{Action, FakeProvider, Fault, Script};
use recado::faults::{CALLBACK_STEPS, STEPS};
use recado::proto;
use recado::proto::admin_service_client::AdminServiceClient;
use recado::proto::event::Payload;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::messaging_service_client::MessagingServiceClient;
use recado::proto::{MessageStatus, WebhookDeliveryState};
use serde_json::json;
use tokio::task::JoinSet;

use crate::cast;
use crate::endpoint::{Answer, Endpoint};
use crate::gateway::{TestDatabase, text};
use crate::judge::incoming_text;
use crate::on_both_databases;
use crate::process::{PATIENCE, Setup, channel, wait_for};
use crate::scene::{kills, seed};

/// Times at a step before the process dies there, at most.
const TIMES: u64 = 3;
/// Between two messages while a step is waited for.
const PAUSE: Duration = Duration::from_millis(40);

on_both_databases! {
    async fn t3_what_follows_a_state_follows_whatever_died_in_between(engine) {
        let mut random = StdRng::seed_from_u64(seed(&format!("outbox on {engine:?}")));
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let mut world = World::begin(&database.url, folder.path()).await?;
        // As often as the other campaigns kill, and at least once at each step.
        let steps = || STEPS.iter().chain(CALLBACK_STEPS);
        for _ in 0..kills().div_ceil(steps().count()) {
            for step in steps() {
                world.dies_at(step, random.random_range(1..=TIMES)).await?;
            }
        }
        world.comes_to_rest(&format!("{engine:?}")).await
    }
}

/// A gateway with a provider, an endpoint of callbacks, callers and people.
struct World {
    setup: Setup,
    fake: FakeProvider,
    endpoint: Endpoint,
    webhook_url: String,
    /// Callers at work: each ends with the id of a message for which it heard OK.
    callers: JoinSet<Result<String>>,
    /// What people wrote.
    written: HashSet<String>,
    deaths: usize,
}

impl World {
    async fn begin(database_url: &str, folder: &std::path::Path) -> Result<Self> {
        let waits = ["20ms"; 20].join(", ");
        let setup = Setup::new(database_url, folder).with("callbacks-retries", waits);
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        // Some calls are left without an answer, so that timers run.
        let dropped = Fault::always(Action::DropBeforeAccept).with_probability(0.2);
        fake.set_script(Script { faults: vec![dropped], ..Script::default() }).map_err(anyhow::Error::msg)?;
        let endpoint = Endpoint::start(|_| Answer::Say(200)).await?;
        let mut process = setup.start().await?;
        let cast = cast::devino();
        let sender = proto::Sender {
            sender: "acme".into(),
            incoming_callback_url: endpoint.url("/incoming"),
            config: Some((cast.config)(fake.base_url(cast.provider))),
            ..Default::default()
        };
        let mut admin = AdminServiceClient::new(channel(setup.addresses.grpc));
        let answer = admin.create_sender(proto::CreateSenderRequest { sender: Some(sender) }).await?.into_inner();
        let webhook_url = answer.sender.context("no sender")?.webhook_url + cast.webhook_suffix;
        process.kill()?;
        let (callers, written) = (JoinSet::new(), HashSet::new());
        Ok(Self { setup, fake, endpoint, webhook_url, callers, written, deaths: 0 })
    }

    /// Runs a process until it dies at a step; who was not answered asks the next one.
    async fn dies_at(&mut self, step: &str, times: u64) -> Result<()> {
        let mut process = self.setup.spawn_doomed(step, times)?;
        let dying = async {
            while !process.died()? {
                self.somebody_sends();
                self.somebody_writes()?;
                tokio::time::sleep(PAUSE).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, dying).await.with_context(|| format!("{step} was not reached"))??;
        self.deaths += 1;
        Ok(())
    }

    fn somebody_sends(&mut self) {
        let key = format!("order {}", self.callers.len());
        let mut request = text("acme", &format!("+351910{:06}", self.callers.len()), &key);
        request.options = Some(proto::SendOptions {
            idempotency_key: key,
            callback_url: self.endpoint.url("/status"),
            in_doubt_policy: proto::InDoubtPolicy::AtLeastOnce as i32,
            ..Default::default()
        });
        let mut messaging = self.setup.messaging();
        self.callers.spawn(async move {
            loop {
                if let Ok(answer) = messaging.send_message(request.clone()).await {
                    return Ok(answer.into_inner().message_id);
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// Devino's webhook comes until it is taken.
    fn somebody_writes(&mut self) -> Result<()> {
        let text = format!("incoming {}", self.written.len());
        let payload = json!({ "from": "351910000001", "to": "AcmeCare", "text": text });
        let serde_json::Value::Object(payload) = payload else { unreachable!("an object, a line above") };
        self.fake.post_incoming("devino", &self.webhook_url, payload).map_err(anyhow::Error::msg)?;
        self.written.insert(text);
        Ok(())
    }

    /// Nobody dies any more. Waits until nothing is under way, and compares.
    async fn comes_to_rest(mut self, on: &str) -> Result<()> {
        let process = self.setup.start().await?;
        let mut accepted = HashSet::new();
        while let Some(caller) = self.callers.join_next().await {
            ensure!(accepted.insert(caller??), "two keys, one message");
        }
        let what_is_left = || self.left(&accepted);
        let rest = wait_for("everything to follow", async || Ok(what_is_left().await?.is_none().then_some(()))).await;
        if rest.is_err() {
            let left = what_is_left().await?;
            anyhow::bail!("{left:?} is left; complaints:\n{}", process.complaints());
        }
        let events = all_events(&self.setup).await?;
        every_state_has_its_event(&events, &accepted, &messages(&self.setup).await?)?;
        let taken: HashSet<String> = self.fake.rows().into_iter().map(|row| row.message_id).collect();
        ensure!(taken == accepted, "the provider has what was accepted, and nothing else");
        let mut read: Vec<String> = events.iter().filter_map(incoming_text).map(str::to_owned).collect();
        read.sort();
        let mut written: Vec<String> = self.written.iter().cloned().collect();
        written.sort();
        ensure!(read == written, "each webhook once: {} events of {} messages", read.len(), written.len());
        println!(
            "{on}: {} deaths between a state and what follows it: {} messages, {} webhooks of people, {} events, {} callbacks; none lost",
            self.deaths,
            accepted.len(),
            written.len(),
            events.len(),
            self.called_back().len()
        );
        Ok(())
    }

    /// Events that the endpoint took.
    fn called_back(&self) -> HashSet<String> {
        self.endpoint.taken().iter().map(|post| post.text("event_id")).collect()
    }

    /// What is still to follow, in words.
    async fn left(&self, accepted: &HashSet<String>) -> Result<Option<String>> {
        let unread = messages(&self.setup).await?.into_values().filter(|status| *status != MessageStatus::Read).count();
        let posts = self.fake.posted().pending;
        let events = all_events(&self.setup).await?;
        let called_back = self.called_back();
        let told = events.iter().filter(|event| match &event.payload {
            Some(Payload::StatusChanged(status)) => accepted.contains(&status.message_id),
            Some(Payload::IncomingMessage(_)) => true,
            _ => false,
        });
        let callbacks = told.filter(|event| !called_back.contains(&event.event_id)).count();
        let states = vec![WebhookDeliveryState::Pending as i32, WebhookDeliveryState::Parked as i32];
        let request = proto::ListWebhookDeliveriesRequest { states, ..Default::default() };
        let mut admin = AdminServiceClient::new(channel(self.setup.addresses.grpc));
        let webhooks = admin.list_webhook_deliveries(request).await?.into_inner().webhook_deliveries.len();
        let left = unread > 0 || posts > 0 || callbacks > 0 || webhooks > 0;
        Ok(left.then(|| {
            format!(
                "{unread} messages not READ, {posts} webhooks to be posted, {webhooks} unread, {callbacks} callbacks"
            )
        }))
    }
}

/// ACCEPTED first and once, what is final last, and no place is missing.
fn every_state_has_its_event(
    events: &[proto::Event],
    accepted: &HashSet<String>,
    messages: &HashMap<String, MessageStatus>,
) -> Result<()> {
    let places: Vec<i64> =
        events.iter().filter_map(|event| event.cursor.parse::<Cursor>().ok()).map(|c| c.position).collect();
    ensure!(places == (1..=events.len() as i64).collect::<Vec<_>>(), "places without a gap");
    let mut told: HashMap<&str, Vec<&proto::MessageStatusChanged>> = HashMap::new();
    for event in events {
        if let Some(Payload::StatusChanged(status)) = &event.payload {
            told.entry(&status.message_id).or_default().push(status);
        }
    }
    ensure!(messages.keys().collect::<HashSet<_>>() == accepted.iter().collect(), "the messages are those accepted");
    for (id, status) in messages {
        let told = told.get(id.as_str()).with_context(|| format!("{id} has no event"))?;
        ensure!(told[0].status() == MessageStatus::Accepted, "{id} began with {:?}", told[0]);
        let count = |wanted| told.iter().filter(|event| event.status() == wanted).count();
        ensure!(count(MessageStatus::Accepted) == 1, "{id} was accepted more than once");
        ensure!(told.last().is_some_and(|last| last.current_status() == *status), "{id} is {status:?}: {told:?}");
        ensure!(count(*status) >= 1, "nobody was told that {id} is {status:?}");
    }
    ensure!(told.len() == messages.len(), "events of messages that are not there");
    Ok(())
}

pub async fn messages(setup: &Setup) -> Result<HashMap<String, MessageStatus>> {
    let mut client = MessagingServiceClient::new(channel(setup.addresses.grpc));
    let mut request = proto::ListMessagesRequest { page_size: 1_000, ..Default::default() };
    let mut found = HashMap::new();
    loop {
        let page = client.list_messages(request.clone()).await?.into_inner();
        found.extend(page.messages.into_iter().map(|message| (message.message_id.clone(), message.status())));
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
}

/// The log, from its beginning.
pub async fn all_events(setup: &Setup) -> Result<Vec<proto::Event>> {
    use proto::list_events_request::Start;
    let mut client = EventServiceClient::new(channel(setup.addresses.grpc));
    let (mut start, mut events) = (Start::FromBeginning(true), Vec::new());
    loop {
        let request = proto::ListEventsRequest { start: Some(start), page_size: 1_000, ..Default::default() };
        let page = client.list_events(request).await?.into_inner();
        events.extend(page.events);
        if page.caught_up {
            return Ok(events);
        }
        start = Start::AfterCursor(page.next_cursor);
    }
}
