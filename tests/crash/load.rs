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
    heard: Arc<Heard>,
    incoming: Arc<Mutex<Vec<String>>>,
}

/// What callers heard, in numbers.
#[derive(Debug, Default)]
struct Heard {
    accepted: AtomicU64,
    refused: AtomicU64,
}

/// What the callers do beside sending.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// The share of messages with AT_LEAST_ONCE.
    pub at_least_once: f64,
    /// The longest pause between two calls of a caller.
    pub pause: Duration,
    /// Messages in one call, at most.
    pub batch: usize,
}

impl Load {
    pub fn start(grpc: SocketAddr, plan: Plan) -> Self {
        let stop = CancellationToken::new();
        let heard = Arc::<Heard>::default();
        let mut callers = JoinSet::new();
        for number in 0..CALLERS {
            let caller = Caller {
                number,
                client: MessagingServiceClient::new(channel(grpc)),
                random: StdRng::seed_from_u64(plan.seed.wrapping_add(number)),
                plan: plan.clone(),
                heard: heard.clone(),
            };
            callers.spawn(caller.run(stop.clone()));
        }
        Self { callers, stop, heard, incoming: Arc::default() }
    }

    /// How many first OKs were heard so far.
    pub fn accepted(&self) -> u64 {
        self.heard.accepted.load(Ordering::Relaxed)
    }

    /// How often callers were told to come back later.
    pub fn refused(&self) -> u64 {
        self.heard.refused.load(Ordering::Relaxed)
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
    heard: Arc<Heard>,
}

impl Caller {
    async fn run(mut self, stop: CancellationToken) -> Result<Vec<Sent>> {
        let mut all: Vec<Sent> = Vec::new();
        while !stop.is_cancelled() {
            let batch = self.random.random_range(1..=self.plan.batch);
            let mut sent: Vec<Sent> = (0..batch).map(|i| self.next(all.len() + i)).collect();
            let answers = self.send(&sent).await?;
            for (sent, answer) in sent.iter_mut().zip(answers) {
                sent.message_id = answer.message_id;
            }
            self.heard.accepted.fetch_add(sent.len() as u64, Ordering::Relaxed);
            all.extend(sent);
            // Now and then somebody asks again for what was accepted long ago, perhaps several processes ago.
            if self.random.random_bool(0.05) {
                let earlier = &all[self.random.random_range(0..all.len())].clone();
                for again in self.send(std::slice::from_ref(earlier)).await? {
                    ensure!(again.deduplicated, "{}: accepted again as if it were new", earlier.key);
                    ensure!(again.message_id == earlier.message_id, "{}: a second message of one key", earlier.key);
                }
            }
            let pause = self.plan.pause.mul_f64(self.random.random());
            tokio::time::sleep(pause).await;
        }
        Ok(all)
    }

    fn next(&mut self, place: usize) -> Sent {
        Sent {
            message_id: String::new(),
            key: format!("caller {} message {place}", self.number),
            to: format!("3519100{:02}{:03}", self.number, self.random.random_range(0..PEOPLE)),
            at_least_once: self.random.random_bool(self.plan.at_least_once),
        }
    }

    /// Calls until the answer to each message is OK, always with the same keys; alone messages by SendMessage, others by
    /// BatchSend. What a batch did not get in goes again together with what it did.
    async fn send(&mut self, messages: &[Sent]) -> Result<Vec<proto::SendMessageResponse>> {
        let requests: Vec<proto::SendMessageRequest> = messages.iter().map(request).collect();
        loop {
            match tokio::time::timeout(CALL_LIMIT, self.call(requests.clone())).await {
                Ok(Ok(answers)) => return Ok(answers),
                Ok(Err(status)) => match Code::from_i32(status.code) {
                    Code::Unavailable | Code::ResourceExhausted => {
                        // The gateway's own word has details; without, it is the connection's.
                        self.heard.refused.fetch_add(u64::from(status.of_the_gateway), Ordering::Relaxed);
                    }
                    _ if !status.of_the_gateway => {}
                    _ => bail!("{}: {status:?}", messages[0].key),
                },
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(self.random.random_range(5..30))).await;
        }
    }

    async fn call(
        &mut self,
        mut requests: Vec<proto::SendMessageRequest>,
    ) -> Result<Vec<proto::SendMessageResponse>, No> {
        use proto::batch_send_entry::Entry;
        use proto::batch_send_result::Result::{Accepted, Error};
        if requests.len() == 1 {
            let answer = self.client.send_message(requests.remove(0)).await.map_err(|status| No::from(&status))?;
            return Ok(vec![answer.into_inner()]);
        }
        let entry = |request| proto::BatchSendEntry { entry: Some(Entry::Message(request)) };
        let batch = proto::BatchSendRequest { entries: requests.into_iter().map(entry).collect() };
        let answer = self.client.batch_send(batch).await.map_err(|status| No::from(&status))?.into_inner();
        let results = answer.results.into_iter().map(|result| match result.result {
            Some(Accepted(accepted)) => Ok(accepted),
            Some(Error(error)) => Err(No { code: error.code, of_the_gateway: true, words: error.message }),
            None => Err(No { code: Code::Internal as i32, of_the_gateway: true, words: "no result".into() }),
        });
        results.collect()
    }
}

/// What a caller heard instead of OK.
#[derive(Debug)]
struct No {
    code: i32,
    /// Every error that a gateway answers has details; one without is the connection's.
    of_the_gateway: bool,
    #[allow(dead_code, reason = "shown by Debug")]
    words: String,
}

impl From<&tonic::Status> for No {
    fn from(status: &tonic::Status) -> Self {
        let of_the_gateway = !status.details().is_empty();
        Self { code: status.code() as i32, of_the_gateway, words: status.message().to_owned() }
    }
}

fn request(sent: &Sent) -> proto::SendMessageRequest {
    let policy = if sent.at_least_once { InDoubtPolicy::AtLeastOnce } else { InDoubtPolicy::Unspecified };
    let mut request = text("acme", &format!("+{}", sent.to), &sent.key);
    request.options = Some(proto::SendOptions {
        idempotency_key: sent.key.clone(),
        in_doubt_policy: policy as i32,
        ..Default::default()
    });
    request
}
