//! Callers who want each of their messages accepted once, and do not give up.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use recado::proto;
use recado::proto::InDoubtPolicy;
use recado::proto::messaging_service_client::MessagingServiceClient;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

use crate::gateway::text;
use crate::process::channel;

/// Callers at the same time.
const CALLERS: u64 = 16;
/// People each of them writes to: few enough that messages of a conversation meet.
const PEOPLE: u64 = 20;
/// A call without an answer is given up; the next one carries the same key.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// A message for which a caller heard OK.
#[derive(Debug, Clone)]
pub struct Sent {
    pub message_id: String,
    /// The idempotency key, which is the text too: the ledger shows it.
    pub key: String,
    pub to: String,
    pub at_least_once: bool,
}

/// The callers.
pub struct Load {
    callers: JoinSet<Result<Vec<Sent>>>,
    stop: CancellationToken,
    accepted: Arc<AtomicU64>,
    incoming: Arc<Mutex<Vec<String>>>,
}

/// What the callers do beside sending.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// The share of messages with AT_LEAST_ONCE.
    pub at_least_once: f64,
    /// The longest pause between two calls of a caller.
    pub pause: Duration,
}

impl Load {
    pub fn start(grpc: SocketAddr, plan: Plan) -> Self {
        let stop = CancellationToken::new();
        let accepted = Arc::new(AtomicU64::new(0));
        let mut callers = JoinSet::new();
        for number in 0..CALLERS {
            let caller = Caller {
                number,
                client: MessagingServiceClient::new(channel(grpc)),
                random: StdRng::seed_from_u64(plan.seed.wrapping_add(number)),
                plan: plan.clone(),
                accepted: accepted.clone(),
            };
            callers.spawn(caller.run(stop.clone()));
        }
        Self { callers, stop, accepted, incoming: Arc::default() }
    }

    /// How many first OKs were heard so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Notes an incoming message that the provider was told to post.
    pub fn note_incoming(&self, text: String) {
        self.incoming.lock().unwrap().push(text);
    }

    /// Lets every caller finish what it is at; gives what was accepted and what came in.
    pub async fn finish(mut self) -> Result<(Vec<Sent>, Vec<String>)> {
        self.stop.cancel();
        let mut sent = Vec::new();
        while let Some(caller) = self.callers.join_next().await {
            sent.extend(caller??);
        }
        let incoming = std::mem::take(&mut *self.incoming.lock().unwrap());
        Ok((sent, incoming))
    }
}

struct Caller {
    number: u64,
    client: MessagingServiceClient<Channel>,
    random: StdRng,
    plan: Plan,
    accepted: Arc<AtomicU64>,
}

impl Caller {
    async fn run(mut self, stop: CancellationToken) -> Result<Vec<Sent>> {
        let mut all: Vec<Sent> = Vec::new();
        while !stop.is_cancelled() {
            let sent = self.next(all.len()).await?;
            all.push(sent);
            self.accepted.fetch_add(1, Ordering::Relaxed);
            // Now and then somebody asks again for what was accepted long ago, perhaps several processes ago.
            if self.random.random_bool(0.05) {
                let earlier = &all[self.random.random_range(0..all.len())];
                let again = self.send(earlier.clone()).await?;
                ensure!(again.deduplicated, "{}: accepted again as if it were new", earlier.key);
                ensure!(again.message_id == earlier.message_id, "{}: a second message of one key", earlier.key);
            }
            let pause = self.plan.pause.mul_f64(self.random.random());
            tokio::time::sleep(pause).await;
        }
        Ok(all)
    }

    async fn next(&mut self, place: usize) -> Result<Sent> {
        let sent = Sent {
            message_id: String::new(),
            key: format!("caller {} message {place}", self.number),
            to: format!("3519100{:02}{:03}", self.number, self.random.random_range(0..PEOPLE)),
            at_least_once: self.random.random_bool(self.plan.at_least_once),
        };
        let answer = self.send(sent.clone()).await?;
        Ok(Sent { message_id: answer.message_id, ..sent })
    }

    /// Calls until the answer is OK, always with the same key.
    async fn send(&mut self, sent: Sent) -> Result<proto::SendMessageResponse> {
        let policy = if sent.at_least_once { InDoubtPolicy::AtLeastOnce } else { InDoubtPolicy::Unspecified };
        let mut request = text("acme", &format!("+{}", sent.to), &sent.key);
        request.options = Some(proto::SendOptions {
            idempotency_key: sent.key.clone(),
            in_doubt_policy: policy as i32,
            ..Default::default()
        });
        loop {
            match tokio::time::timeout(CALL_LIMIT, self.client.send_message(request.clone())).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                // Every error that a gateway answers has details; one without is the connection's.
                Ok(Err(status)) => match status.code() {
                    Code::Unavailable | Code::ResourceExhausted => {}
                    _ if status.details().is_empty() => {}
                    _ => bail!("{}: {status:?}", sent.key),
                },
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(self.random.random_range(5..30))).await;
        }
    }
}
