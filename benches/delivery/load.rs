//! The load: the same calls for gateway and comparator.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use recado::proto;
use recado::proto::messaging_service_client::MessagingServiceClient;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::server::{KeyedChannel, Server};

/// The sender of all messages.
pub const SENDER: &str = "bench";
/// Connections to a server.
pub const CONNECTIONS: usize = 8;
/// A text of about the length that people get.
const BODY: &str = "Dear customer, your order 4711-0815 has left our warehouse in Matosinhos and will reach you tomorrow \
    between 9 and 13 o'clock. You can follow the parcel under the number RR123456789PT or answer this message to choose \
    another day or another address. Thank you for buying at Acme; we hope to see you again soon.";

pub type Client = MessagingServiceClient<KeyedChannel>;

/// Callers of one server.
#[derive(Debug)]
pub struct Load {
    clients: Vec<Client>,
    /// Numbers of messages: each goes to a person of its own, under a key of its own.
    next: Arc<AtomicU64>,
}

/// What a closed loop reached.
#[derive(Debug, Clone, Copy)]
pub struct Throughput {
    pub per_second: f64,
    /// The server's CPU time for each call.
    pub cpu: Duration,
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s, {} µs of CPU each", self.per_second, self.cpu.as_micros())
    }
}

/// How long calls took.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    pub p50: Duration,
    pub p99: Duration,
}

impl Latency {
    /// Of measurements in any order.
    pub fn of(mut all: Vec<Duration>) -> anyhow::Result<Self> {
        all.sort_unstable();
        let rank = |share: f64| all.get((all.len() as f64 * share).ceil() as usize - 1).copied();
        Ok(Self { p50: rank(0.5).context("nothing was measured")?, p99: rank(0.99).context("nothing was measured")? })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.2} ms, p99 {:.2} ms", millis(self.p50), millis(self.p99))
    }
}

/// For people.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The n-th message. Its number comes back in every event about it.
pub fn request(number: u64) -> proto::SendMessageRequest {
    let text = proto::Text { body: BODY.into(), preview_url: false };
    proto::SendMessageRequest {
        sender: SENDER.into(),
        to: format!("+35191{number:07}"),
        content: Some(proto::send_message_request::Content::Text(text)),
        options: Some(proto::SendOptions {
            idempotency_key: format!("order-4711-shipped-{number:012}"),
            callback_data: number.to_string(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

impl Load {
    pub async fn connect(server: &Server) -> anyhow::Result<Self> {
        let mut clients = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            clients.push(MessagingServiceClient::new(server.connect().await?));
        }
        Ok(Self { clients, next: Arc::default() })
    }

    /// Callers of another server that go on where these were, for whom all keys so far are used.
    pub async fn connect_after(server: &Server, before: &Self) -> anyhow::Result<Self> {
        let next = before.next.load(Ordering::Relaxed);
        Ok(Self { next: Arc::new(AtomicU64::new(next)), ..Self::connect(server).await? })
    }

    pub async fn send_one(&mut self) -> anyhow::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.clients[0].send_message(request(number)).await?;
        Ok(())
    }

    /// Keeps `in_flight` calls under way for some time.
    pub async fn closed_loop(
        &mut self,
        server: &Server,
        in_flight: usize,
        time: Duration,
    ) -> anyhow::Result<Throughput> {
        let (cpu, start) = (server.cpu()?, Instant::now());
        let mut callers = JoinSet::new();
        for caller in 0..in_flight {
            let (mut client, next) = (self.clients[caller % CONNECTIONS].clone(), self.next.clone());
            callers.spawn(async move {
                let mut calls = 0_u64;
                while start.elapsed() < time {
                    client.send_message(request(next.fetch_add(1, Ordering::Relaxed))).await?;
                    calls += 1;
                }
                anyhow::Ok(calls)
            });
        }
        let mut calls = 0;
        while let Some(ended) = callers.join_next().await {
            calls += ended??;
        }
        let cpu = server.cpu()? - cpu;
        Ok(Throughput { per_second: calls as f64 / start.elapsed().as_secs_f64(), cpu: cpu.div_f64(calls as f64) })
    }

    /// Sends as fast as a gate lets through, `count` messages.
    pub async fn gated(&mut self, count: usize, gate: Arc<tokio::sync::Semaphore>) -> anyhow::Result<()> {
        let (next, last) = (self.next.clone(), self.next.load(Ordering::Relaxed) + count as u64);
        let mut callers = JoinSet::new();
        for caller in 0..CONNECTIONS * 64 {
            let (mut client, next, gate) = (self.clients[caller % CONNECTIONS].clone(), next.clone(), gate.clone());
            callers.spawn(async move {
                loop {
                    gate.acquire().await?.forget();
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= last {
                        gate.add_permits(1);
                        return anyhow::Ok(());
                    }
                    client.send_message(request(number)).await?;
                }
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        next.store(last, Ordering::Relaxed);
        Ok(())
    }

    /// Calls on a fixed schedule; how long each took from its scheduled moment.
    pub async fn open_loop(&mut self, rate: u32, time: Duration) -> anyhow::Result<Latency> {
        let calls = self.paced(rate, time).await?;
        Latency::of(calls.into_iter().map(|call| call.answered - call.scheduled).collect())
    }

    /// Calls on a fixed schedule.
    pub async fn paced(&mut self, rate: u32, time: Duration) -> anyhow::Result<Vec<Call>> {
        let (answers, mut answered) = mpsc::unbounded_channel();
        let (clients, next, runtime) = (self.clients.clone(), self.next.clone(), Handle::current());
        let count = (f64::from(rate) * time.as_secs_f64()) as u32;
        // A thread of its own: the runtime's timers are good to 1 ms only, which would hide what is to be seen.
        let pacer = std::thread::spawn(move || {
            let start = Instant::now() + Duration::from_millis(5);
            for (call, client) in (0..count).zip(clients.iter().cycle()) {
                let scheduled = start + Duration::from_secs(1) * call / rate;
                std::thread::sleep(scheduled.saturating_duration_since(Instant::now()));
                let (mut client, answers) = (client.clone(), answers.clone());
                let number = next.fetch_add(1, Ordering::Relaxed);
                runtime.spawn(async move {
                    let answer = client.send_message(request(number)).await;
                    let _ = answers.send(answer.map(|_| Call { number, scheduled, answered: Instant::now() }));
                });
            }
        });
        let mut calls = Vec::with_capacity(count as usize);
        while let Some(call) = answered.recv().await {
            calls.push(call?);
        }
        pacer.join().map_err(|_| anyhow::anyhow!("the pacer panicked"))?;
        Ok(calls)
    }
}

/// One call of a schedule.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub number: u64,
    pub scheduled: Instant,
    pub answered: Instant,
}
