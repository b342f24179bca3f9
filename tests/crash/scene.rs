//! What every campaign needs: a database, a provider, callers, people who write, a subscriber; and the way to the verdict.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use recado::domain::{Millis, now_ms};
use recado::fake::{FakeProvider, Script, Step, Webhooks};
use recado::proto;
use recado::proto::MessageStatus;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::list_events_request::Start;
use recado::proto::messaging_service_client::MessagingServiceClient;
use serde_json::json;
use tonic::transport::Channel;

use crate::judge::{Evidence, Verdict, judge};
use crate::load::{Load, Plan};
use crate::process::{Process, channel, complaints, devino_sender, wait_for};
use crate::subscriber::Subscriber;

/// How often a campaign kills.
pub fn kills() -> usize {
    std::env::var("CRASH_KILLS").ok().map_or(6, |kills| kills.parse().expect("CRASH_KILLS is a number"))
}

/// What the choices of a run depend on; the same again with `CRASH_SEED`.
pub fn seed(name: &str) -> u64 {
    let given = std::env::var("CRASH_SEED").ok().map(|seed| seed.parse().expect("CRASH_SEED is a number"));
    let seed = given.unwrap_or_else(|| rand::random_range(0..1_000_000));
    println!("{name}: CRASH_SEED={seed}");
    seed
}

/// How long the provider's statuses take: less than any wait of the gateway, or longer than its lease and its wait for word,
/// so that doubts are settled by a status, and also before one comes.
const STATUSES_MS: [u64; 3] = [50, 500, 4_000];

/// The provider of the campaigns: slow enough that kills meet calls, with webhooks that come twice and in any order.
fn script(seed: u64, statuses_ms: u64) -> Script {
    let step = |status: &str, after_ms| Step { status: status.into(), after_ms, error_code: 0 };
    Script {
        seed,
        latency_ms: 30,
        statuses: vec![step("DELIVERED", statuses_ms), step("READ", statuses_ms + 100)],
        webhooks: Webhooks { duplicate: 0.2, reorder: true, ..Webhooks::default() },
        ..Script::default()
    }
}

/// Callers and a subscriber at work.
pub struct Scene {
    pub name: String,
    pub fake: FakeProvider,
    pub random: StdRng,
    pub load: Load,
    pub subscriber: Subscriber,
    grpc: SocketAddr,
    webhook_url: String,
    seed: u64,
    kills: Vec<Millis>,
    killed: Option<Instant>,
    /// From a kill until a caller heard OK again.
    slowest: Duration,
}

impl Scene {
    /// Makes the sender and lets the callers begin. `grpc`: where they and the subscriber go; `at_least_once`: the share of
    /// messages with that policy.
    pub async fn begin(name: &str, grpc: SocketAddr, seed: u64, at_least_once: f64) -> Result<Self> {
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        fake.set_script(script(seed, STATUSES_MS[0])).map_err(anyhow::Error::msg)?;
        let webhook_url = devino_sender(grpc, "acme", &fake).await?;
        let plan = Plan { seed, at_least_once, pause: Duration::from_millis(60) };
        Ok(Self {
            name: name.to_owned(),
            fake,
            random: StdRng::seed_from_u64(seed),
            load: Load::start(grpc, plan),
            subscriber: Subscriber::start(grpc),
            grpc,
            webhook_url,
            seed,
            kills: Vec::new(),
            killed: None,
            slowest: Duration::ZERO,
        })
    }

    /// Waits until somebody heard OK from now on, as a proof that the gateway works (again).
    pub async fn working(&mut self) -> Result<()> {
        let before = self.load.accepted();
        wait_for("an accepted message", async || Ok((self.load.accepted() > before).then_some(()))).await?;
        if let Some(killed) = self.killed.take() {
            self.slowest = self.slowest.max(killed.elapsed());
        }
        Ok(())
    }

    /// Lets time pass, up to so many milliseconds: kills are to come at any moment.
    pub async fn some_time(&mut self, most_ms: u64) {
        let pause = Duration::from_millis(self.random.random_range(0..most_ms));
        tokio::time::sleep(pause).await;
    }

    /// Kills a gateway.
    pub fn kill(&mut self, process: &mut Process) -> Result<()> {
        self.killed.get_or_insert_with(Instant::now);
        process.kill()?;
        self.kills.push(now_ms());
        Ok(())
    }

    /// How often a gateway was killed.
    pub fn killed(&self) -> usize {
        self.kills.len()
    }

    /// From now on statuses take longer, or less long.
    pub fn provider_changes_pace(&mut self) -> Result<()> {
        let statuses_ms = STATUSES_MS[self.random.random_range(0..STATUSES_MS.len())];
        self.fake.set_script(script(self.seed, statuses_ms)).map_err(anyhow::Error::msg)
    }

    /// A person writes; the provider's webhook comes until it is taken.
    pub fn somebody_writes(&mut self) {
        let text = format!("incoming message {}", self.random.random::<u64>());
        let payload = json!({ "from": "351910000001", "to": "AcmeCare", "text": text });
        let serde_json::Value::Object(payload) = payload else { unreachable!("an object, a line above") };
        self.fake.post_incoming("devino", &self.webhook_url, payload).unwrap();
        self.load.note_incoming(text);
    }

    /// Ends the load, waits until everything has come to rest, judges, and prints.
    pub async fn end(self) -> Result<Verdict> {
        let Self { name, fake, load, subscriber, grpc, kills, slowest, .. } = self;
        let (sent, incoming) = load.finish().await?;
        let patient: HashSet<String> =
            sent.iter().filter(|sent| !sent.at_least_once).map(|sent| sent.message_id.clone()).collect();
        let reader = Reader {
            messaging: MessagingServiceClient::new(channel(grpc)),
            events: EventServiceClient::new(channel(grpc)),
        };
        // What does not come to rest is for the judge to name.
        let rest = wait_for("all messages to come to rest", async || {
            let taken: HashSet<String> = fake.rows().into_iter().map(|row| row.message_id).collect();
            let moves = reader.unread().await?.into_iter().any(|(id, status)| {
                !(status == MessageStatus::InDoubt && patient.contains(&id) && !taken.contains(&id))
            });
            Ok((!moves && fake.posted().pending == 0 && subscriber.incoming() >= incoming.len()).then_some(()))
        });
        if let Err(error) = rest.await {
            println!("{name}: {error:#}");
        }
        let caught_up = wait_for("the subscriber to catch up", async || {
            let head = reader.head().await?;
            Ok((head == subscriber.cursor()).then_some(head))
        });
        let head = caught_up.await.unwrap_or_else(|error| {
            println!("{name}: {error:#}");
            String::new()
        });
        let streamed = up_to(&head, subscriber.finish().await?);
        let unread = reader.unread().await?;
        let ledger = fake.rows();
        let taken: HashSet<&str> = ledger.iter().map(|row| row.message_id.as_str()).collect();
        let mut attempts = HashMap::new();
        for sent in sent.iter().filter(|sent| !taken.contains(sent.message_id.as_str())) {
            attempts.insert(sent.message_id.clone(), reader.attempts(&sent.message_id).await?);
        }
        let status = |id: &str| unread.get(id).copied().unwrap_or(MessageStatus::Read);
        let evidence = Evidence {
            statuses: sent.iter().map(|sent| (sent.message_id.clone(), status(&sent.message_id))).collect(),
            sent,
            incoming,
            listed: up_to(&head, reader.all_events().await?),
            streamed,
            ledger,
            attempts,
            kills,
        };
        fake.stop().await;
        let verdict = judge(&evidence);
        println!(
            "\n{:<20} {:>5} {} | slowest recovery\n{name:<20} {:>5} {verdict} | {slowest:.1?}",
            "",
            "kills",
            Verdict::header(),
            evidence.kills.len(),
        );
        Ok(verdict)
    }
}

/// The events up to a place: webhooks that were answered may still be read, so the log may go on while it is compared.
fn up_to(cursor: &str, mut events: Vec<proto::Event>) -> Vec<proto::Event> {
    if let Some(place) = events.iter().position(|event| event.cursor == cursor) {
        events.truncate(place + 1);
    }
    events
}

/// Fails with what the judge found, and the gateway's last complaints.
pub fn acquit(verdict: &Verdict, log: &Path) -> Result<()> {
    let shown: Vec<&str> = verdict.faults.iter().take(20).map(String::as_str).collect();
    ensure!(
        verdict.faults.is_empty(),
        "{} faults, the first of them:\n{}\nThe last complaints of the gateway:\n{}",
        verdict.faults.len(),
        shown.join("\n"),
        complaints(log)
    );
    Ok(())
}

/// Reads what the gateway says.
struct Reader {
    messaging: MessagingServiceClient<Channel>,
    events: EventServiceClient<Channel>,
}

impl Reader {
    /// Where all messages stand that do not stand as READ.
    async fn unread(&self) -> Result<HashMap<String, MessageStatus>> {
        let statuses = (1..=12).filter(|status| *status != MessageStatus::Read as i32).collect();
        let mut request = proto::ListMessagesRequest { page_size: 1_000, statuses, ..Default::default() };
        let mut found = HashMap::new();
        loop {
            let page = self.messaging.clone().list_messages(request.clone()).await?.into_inner();
            found.extend(page.messages.into_iter().map(|message| (message.message_id.clone(), message.status())));
            if page.next_page_token.is_empty() {
                return Ok(found);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn attempts(&self, message_id: &str) -> Result<Vec<proto::Attempt>> {
        let request = proto::GetMessageRequest { message_id: message_id.to_owned() };
        Ok(self.messaging.clone().get_message(request).await?.into_inner().attempts)
    }

    /// The newest place of the log.
    async fn head(&self) -> Result<String> {
        Ok(self.events.clone().list_events(proto::ListEventsRequest::default()).await?.into_inner().next_cursor)
    }

    async fn all_events(&self) -> Result<Vec<proto::Event>> {
        let (mut start, mut events) = (Start::FromBeginning(true), Vec::new());
        loop {
            let request = proto::ListEventsRequest { start: Some(start), page_size: 1_000, ..Default::default() };
            let answer = self.events.clone().list_events(request).await.context("the log cannot be read")?.into_inner();
            events.extend(answer.events);
            if answer.caught_up {
                return Ok(events);
            }
            start = Start::AfterCursor(answer.next_cursor);
        }
    }
}
