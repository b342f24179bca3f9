//! What every campaign needs: a database, a provider, callers, people who write, a subscriber; and the way to the verdict.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use recado::domain::{Millis, now_ms};
use recado::fake::{Account, FakeProvider, Script, Step, Webhooks};
use recado::proto;
use recado::proto::MessageStatus;
use recado::proto::admin_service_client::AdminServiceClient;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::list_events_request::Start;
use recado::proto::messaging_service_client::MessagingServiceClient;
use serde_json::json;
use tonic::transport::Channel;

use crate::cast::{self, Cast};
use crate::judge::{Evidence, Verdict, judge};
use crate::load::{Load, Plan};
use crate::process::{Process, Setup, channel, complaints, wait_for};
use crate::subscriber::Subscriber;
use crate::table::Row;

/// A number from the environment.
pub fn size(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().map_or(otherwise, |given| given.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// How often a campaign kills.
pub fn kills() -> usize {
    size("FAULT_KILLS", 6)
}

/// How often each of the other faults comes.
pub fn rounds() -> usize {
    size("FAULT_ROUNDS", 2)
}

/// What the choices of a run depend on; the same again with `FAULT_SEED`.
pub fn seed(name: &str) -> u64 {
    let given = std::env::var("FAULT_SEED").ok().map(|seed| seed.parse().expect("FAULT_SEED is a number"));
    let seed = given.unwrap_or_else(|| rand::random_range(0..1_000_000));
    println!("{name}: FAULT_SEED={seed}");
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

/// What is played, and by whom.
pub struct Plot {
    /// The fault, as the table has it.
    pub fault: &'static str,
    /// On which database, at which provider.
    pub on: String,
    pub cast: Cast,
    /// The share of messages with AT_LEAST_ONCE.
    pub at_least_once: f64,
}

impl Plot {
    /// At Devino, where people write too.
    pub fn new(fault: &'static str, on: impl ToString) -> Self {
        Self { fault, on: on.to_string(), cast: cast::devino(), at_least_once: 0.2 }
    }
}

/// Callers and a subscriber at work.
pub struct Scene {
    plot: Plot,
    pub fake: FakeProvider,
    pub random: StdRng,
    pub seed: u64,
    pub load: Load,
    pub subscriber: Subscriber,
    grpc: SocketAddr,
    webhook_url: String,
    kills: Vec<Millis>,
    /// Faults other than kills.
    pub faults: usize,
    /// The last fault, and how many messages were accepted then, until one more is.
    broken: Option<(Instant, u64)>,
    /// From a fault until a caller heard OK again.
    slowest: Option<Duration>,
}

impl Scene {
    /// Makes the sender and lets the callers begin. `grpc`: where they and the subscriber go.
    pub async fn begin(plot: Plot, grpc: SocketAddr) -> Result<Self> {
        let seed = seed(&format!("{} ({})", plot.fault, plot.on));
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        let webhook_url = sender(grpc, &plot.cast, &fake).await?;
        let pause = Duration::from_millis(100);
        let load = Plan { seed, at_least_once: plot.at_least_once, pause, batch: size("FAULT_BATCH", 2) };
        let mut scene = Self {
            plot,
            fake,
            random: StdRng::seed_from_u64(seed),
            load: Load::start(grpc, load),
            subscriber: Subscriber::start(grpc),
            grpc,
            webhook_url,
            seed,
            kills: Vec::new(),
            faults: 0,
            broken: None,
            slowest: None,
        };
        scene.provider_changes_pace()?;
        Ok(scene)
    }

    /// Waits until somebody heard OK from now on, as a proof that the gateway works (again).
    pub async fn working(&mut self) -> Result<()> {
        let before = self.load.accepted();
        wait_for("an accepted message", async || Ok((self.load.accepted() > before).then_some(()))).await?;
        self.look_for_recovery();
        Ok(())
    }

    /// Notes when it works again after a fault.
    pub fn look_for_recovery(&mut self) {
        if let Some((at, _)) = self.broken.take_if(|(_, accepted)| self.load.accepted() > *accepted) {
            self.slowest = self.slowest.max(Some(at.elapsed()));
        }
    }

    /// Lets time pass, up to so many milliseconds: faults are to come at any moment.
    pub async fn some_time(&mut self, most_ms: u64) {
        let pause = Duration::from_millis(self.random.random_range(0..most_ms));
        tokio::time::sleep(pause).await;
    }

    /// Kills a gateway.
    pub fn kill(&mut self, process: &mut Process) -> Result<()> {
        process.kill()?;
        self.killed();
        Ok(())
    }

    /// A gateway died a moment ago.
    pub fn killed(&mut self) {
        self.kills.push(now_ms());
        self.broken();
    }

    /// A fault begins, of which callers may notice something.
    pub fn broken(&mut self) {
        self.broken = Some((Instant::now(), self.load.accepted()));
    }

    /// How often a gateway was killed.
    pub fn kill_count(&self) -> usize {
        self.kills.len()
    }

    /// From now on statuses take longer, or less long.
    pub fn provider_changes_pace(&mut self) -> Result<()> {
        let statuses_ms = STATUSES_MS[self.random.random_range(0..STATUSES_MS.len())];
        self.play(script(self.seed, statuses_ms))
    }

    /// The provider plays something else from now on.
    pub fn play(&self, mut script: Script) -> Result<()> {
        let secret = self.plot.cast.secret.map(str::to_owned);
        let account = Account { webhook_url: Some(self.webhook_url.clone()), secret };
        script.accounts.insert(self.plot.cast.provider.into(), account);
        self.fake.set_script(script).map_err(anyhow::Error::msg)
    }

    /// A person writes; Devino's webhook comes until it is taken.
    pub fn somebody_writes(&mut self) {
        let text = format!("incoming message {}", self.random.random::<u64>());
        let payload = json!({ "from": "351910000001", "to": "AcmeCare", "text": text });
        let serde_json::Value::Object(payload) = payload else { unreachable!("an object, a line above") };
        self.fake.post_incoming("devino", &self.webhook_url, payload).unwrap();
        self.load.note_incoming(text);
    }

    /// Ends the load, waits until everything has come to rest, lets a day pass, so that no doubt is left, judges, and
    /// reports. `processes` are all that run; the last one is started by `setup`, at the address that the callers know.
    pub async fn end(self, processes: Vec<Process>, setup: &Setup) -> Result<Verdict> {
        let Self { plot, fake, load, subscriber, grpc, kills, faults, slowest, .. } = self;
        let name = format!("{} ({})", plot.fault, plot.on);
        let (sent, incoming) = load.finish().await?;
        let reader = Reader {
            messaging: MessagingServiceClient::new(channel(grpc)),
            events: EventServiceClient::new(channel(grpc)),
        };
        let patient: HashSet<&str> =
            sent.iter().filter(|sent| !sent.at_least_once).map(|sent| sent.message_id.as_str()).collect();
        // What does not come to rest is for the judge to name.
        let rest = wait_for("all messages to come to rest", async || {
            let taken: HashSet<String> = fake.rows().into_iter().map(|row| row.message_id).collect();
            let moves = reader.unread().await?.into_iter().any(|(id, status)| {
                !(status == MessageStatus::InDoubt && patient.contains(id.as_str()) && !taken.contains(&id))
            });
            Ok((!moves && fake.posted().pending == 0 && subscriber.incoming() >= incoming.len()).then_some(()))
        });
        let mut troubles = Vec::from_iter(rest.await.err());
        let _process = a_day_passes(processes, setup).await?;
        let settled = wait_for("every doubt to end", async || {
            let settled = reader.unread().await?.into_values().all(|status| status == MessageStatus::Failed);
            Ok(settled.then_some(()))
        });
        troubles.extend(settled.await.err());
        let caught_up = wait_for("the subscriber to catch up", async || {
            let head = reader.head().await?;
            Ok((head == subscriber.cursor()).then_some(head))
        });
        let head = caught_up.await.unwrap_or_else(|error| {
            troubles.push(error);
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
            unanswered: fake.unanswered(),
            kills,
        };
        fake.stop().await;
        let mut verdict = judge(&evidence);
        verdict.faults.extend(troubles.into_iter().map(|error| format!("{name}: {error:#}")));
        let times = evidence.kills.len() + faults;
        Row { fault: plot.fault, on: &plot.on, times, verdict: &verdict, recovery: slowest }.report()?;
        Ok(verdict)
    }
}

/// Longer than any validity, and than the hour that AT_MOST_ONCE waits at least.
const A_DAY: &str = "+26h";

/// All processes end; the one that follows believes that it is tomorrow.
async fn a_day_passes(processes: Vec<Process>, setup: &Setup) -> Result<Process> {
    for mut process in processes {
        process.terminate().await?;
    }
    setup.clone().with_time(A_DAY).start().await
}

/// Makes a sender `acme` that speaks to the fake; gives the address to which the provider posts. Nothing limits its pace:
/// the pace has tests of its own.
async fn sender(grpc: SocketAddr, cast: &Cast, fake: &FakeProvider) -> Result<String> {
    let limits = proto::SenderLimits {
        messages_per_second: Some(5_000.0),
        contact_interval: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let sender = proto::Sender {
        sender: "acme".into(),
        config: Some((cast.config)(fake.base_url(cast.provider))),
        limits: (cast.provider != "devino").then_some(limits),
        ..Default::default()
    };
    let mut admin = AdminServiceClient::new(channel(grpc));
    let answer = admin.create_sender(proto::CreateSenderRequest { sender: Some(sender) }).await?.into_inner();
    Ok(answer.sender.context("CreateSender answered no sender")?.webhook_url + cast.webhook_suffix)
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
