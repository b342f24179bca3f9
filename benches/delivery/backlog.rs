//! A gateway with a million messages waiting for ten thousand senders: what it holds in memory, and how fast it hands over what is
//! new, against the same gateway with nothing waiting.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recado::callback::CallbackSecrets;
use recado::domain::content::Text;
use recado::domain::message::{InDoubtPolicy, NewMessage, Priority};
use recado::domain::pace::Rate;
use recado::domain::sender::{Limits, SenderState};
use recado::domain::{Content, Sender, SenderId, now_ms};
use recado::provider::{AnySettings, HttpClient, Settings as _, devino, sandbox};
use recado::seal::SealKey;
use recado::senders::{Senders, Surroundings};
use recado::store::{Accept, Appended, Listener, Store, Writer};
use tokio_util::sync::CancellationToken;

use super::database::{Kind, ScratchDatabase};
use super::life::{self, Life};
use super::load::{Load, SENDER};
use super::server::{MASTER_KEY, Server, devino_config};

/// Acceptances under way while the database is filled.
const FILLERS: usize = 512;
/// The background senders send so rarely that nearly all of what waits still waits at the end, and so often that all of
/// them are at work.
const BACKGROUND_RATE: f64 = 0.02;
/// Messages to one person, of the sender that is measured: what a claim must not walk over.
const HOT: usize = 20_000;
const HOT_PERSON: &str = "351920000000";

/// How much waits.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub senders: usize,
    pub messages: usize,
}

/// What was measured.
#[derive(Debug)]
pub struct Backlog {
    size: Size,
    filled_per_second: f64,
    without: Life,
    with: Life,
    /// Resident memory with nothing waiting.
    bare_mb: f64,
    /// The same with all waiting: second by second, least and most, first and last half.
    halves_mb: [(f64, f64); 2],
}

impl fmt::Display for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, filled_per_second, without, with, bare_mb, halves_mb: [first, last] } = self;
        writeln!(
            f,
            "{} messages waiting for {} senders (filled at {filled_per_second:.0}/s)",
            size.messages, size.senders
        )?;
        writeln!(f, "  RSS: {bare_mb:.0} MB with one sender and nothing waiting")?;
        writeln!(
            f,
            "  RSS with all: {:.0} to {:.0} MB in the first half, {:.0} to {:.0} in the last",
            first.0, first.1, last.0, last.1
        )?;
        writeln!(f, "  accept to READ without: {without}")?;
        writeln!(f, "  accept to READ with:    {with}")?;
        write!(f, "  ratio {:.2}", with.per_second / without.per_second)
    }
}

/// Fills a database, and runs the gateway on it.
pub async fn measure(kind: Kind, size: Size, lives: usize, watch: Duration) -> anyhow::Result<Backlog> {
    let fake = Server::fake_provider().await?;
    // The first message to the one person is throttled again and again, so all others wait behind it.
    let throttled = serde_json::json!([{ "to": HOT_PERSON, "action": { "refuse": { "key": "too.many.requests" } } }]);
    let statuses = serde_json::json!([{ "status": "DELIVERED" }, { "status": "READ" }]);
    fake.play(&serde_json::json!({ "statuses": statuses, "faults": throttled })).await?;
    let database = ScratchDatabase::create(kind).await?;
    let gateway = Server::gateway(&database).await?;
    gateway.make_devino_sender(SENDER, &fake).await?;
    let mut load = Load::connect(&gateway).await?;
    life::measure(&gateway, &mut load, lives / 4).await?;
    let without = life::measure(&gateway, &mut load, lives).await?;
    let bare_mb = gateway.resident_mb()?;
    drop(gateway);
    let started = Instant::now();
    fill(&database.url, &fake, size).await?;
    let filled_per_second = size.messages as f64 / started.elapsed().as_secs_f64();
    eprintln!("{kind}: {} messages filled in at {filled_per_second:.0}/s", size.messages);

    let gateway = Server::gateway(&database).await?;
    let mut load = Load::connect_after(&gateway, &load).await?;
    life::measure(&gateway, &mut load, lives / 4).await?;
    let with = life::measure(&gateway, &mut load, lives).await?;
    let mut resident = Vec::new();
    let until = Instant::now() + watch;
    while Instant::now() < until {
        resident.push(gateway.resident_mb()?);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let extremes =
        |part: &[f64]| part.iter().fold((f64::MAX, 0.0_f64), |(least, most), mb| (least.min(*mb), most.max(*mb)));
    let (first, last) = resident.split_at(resident.len() / 2);
    let halves_mb = [extremes(first), extremes(last)];
    drop((gateway, fake));
    database.drop().await?;
    Ok(Backlog { size, filled_per_second, without, with, bare_mb, halves_mb })
}

/// Hears everything and does nothing.
struct Nobody;

impl Listener for Nobody {
    fn appended(&self, _events: Appended) {}
    fn ready(&self, _sender: SenderId) {}
    fn journalled(&self) {}
}

/// Through the store's own way of accepting, with no gateway in between.
async fn fill(url: &str, fake: &Server, size: Size) -> anyhow::Result<()> {
    let store = Store::open(url).await?;
    let surroundings = Surroundings {
        public_url: "http://127.0.0.1:1".parse()?,
        http: HttpClient::new(Duration::from_secs(1))?,
        sandbox: sandbox::Simulator::new().0,
    };
    let senders = Senders::load(store.clone(), SealKey::parse(&MASTER_KEY.repeat(32))?, surroundings).await?;
    let settings = AnySettings::Devino(devino::config::Config::from_proto(devino_config(fake)?));
    for n in 0..size.senders {
        store.create_sender(&senders.seal(sender(n), &settings, &CallbackSecrets::default())?).await?;
    }
    let stop = CancellationToken::new();
    let (writer, writing) = Writer::start(store.clone(), Arc::new(Nobody), stop.clone());
    let writing = tokio::spawn(writing);
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let filling = (0..FILLERS).map(|_| {
        let (writer, next) = (writer.clone(), next.clone());
        tokio::spawn(async move {
            loop {
                let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if n >= size.messages + HOT {
                    return anyhow::Ok(());
                }
                let message = message(n, size)?;
                writer.accept(Accept::new("bench", None, message, now_ms())?).await?;
            }
        })
    });
    for filled in futures::future::try_join_all(filling).await? {
        filled?;
    }
    stop.cancel();
    Ok(writing.await?)
}

fn background(n: usize) -> SenderId {
    format!("background-{n}").parse().unwrap_or_else(|_| unreachable!("an id"))
}

fn sender(n: usize) -> Sender {
    let rate = Rate { per_second: Some(BACKGROUND_RATE), ..Rate::default() };
    Sender {
        incoming_callback_url: String::new(),
        opt_out_words: Default::default(),
        id: background(n),
        provider: "devino",
        display_name: String::new(),
        phone_number: String::new(),
        state: SenderState::Active,
        limits: Limits { rate, in_flight: None },
        default_language_code: String::new(),
        create_at_ms: now_ms(),
        update_at_ms: now_ms(),
    }
}

/// The last ones go to one person, from the sender that is measured; all others to people of their own.
fn message(n: usize, size: Size) -> anyhow::Result<NewMessage> {
    let hot = n >= size.messages;
    let (sender, to) = match hot {
        true => (SENDER.parse().map_err(|_| anyhow::anyhow!("no id"))?, format!("+{HOT_PERSON}")),
        false => (background(n % size.senders), format!("+35193{:07}", n / size.senders * 7 + n % 7)),
    };
    Ok(NewMessage {
        callback_url: String::new(),
        fallback_senders: Vec::new(),
        ignore_opt_out: false,
        ignore_known_failures: false,
        template_category: None,
        on_window_closed: Default::default(),
        sender,
        to: to.parse().map_err(|error| anyhow::anyhow!("{error:?}"))?,
        content: Content::Text(Text { body: "Your order is on its way.".into(), preview_url: false }),
        reply_to_message_id: None,
        send_at_ms: None,
        validity_ms: None,
        callback_data: String::new(),
        labels: Default::default(),
        priority: if hot { Priority::Bulk } else { Priority::Normal },
        in_doubt_policy: InDoubtPolicy::AtMostOnce,
    })
}
