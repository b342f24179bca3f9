//! Posting to the callback addresses that messages name: at least once, in order for each message, until a 2xx.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A no in 4xx is not believed at once: a gateway that starts may not know its senders yet.
const TRIES_AGAINST_4XX: u32 = 50;
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Posts under way to one address at the same time.
const LANES: u64 = 4;
/// Ids next to each other share a lane, so that what was sent together is posted together.
const IDS_IN_A_ROW: u64 = 100;

/// What became of posting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Posted {
    /// POSTs answered with 2xx.
    pub posts: u64,
    /// Statuses and incoming messages in them.
    pub items: u64,
    /// POSTs that failed and were tried again.
    pub failed: u64,
    /// Statuses and incoming messages given up after too many 4xx.
    pub given_up: u64,
    /// Statuses and incoming messages still to be posted.
    pub pending: u64,
}

/// Something to post, and when.
#[derive(Debug)]
pub(super) struct Item {
    pub due: Instant,
    pub post: Post,
}

/// Something to post.
#[derive(Debug, Clone)]
pub(super) enum Post {
    /// JSON that goes into an array with others.
    Listed(String),
    /// A body of its own.
    Alone(Whole),
}

/// A body as it is posted.
#[derive(Debug, Clone)]
pub(super) struct Whole {
    pub mime_type: &'static str,
    /// Beside the type: signatures.
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Post {
    /// JSON by itself, unsigned.
    pub fn json(body: &serde_json::Value) -> Self {
        Self::Alone(Whole::json(body.to_string()))
    }
}

impl Whole {
    fn json(body: String) -> Self {
        Self { mime_type: "application/json", headers: Vec::new(), body }
    }

    fn list(items: &[String]) -> Self {
        Self::json(format!("[{}]", items.join(",")))
    }
}

/// Posts with a few workers for each address. A worker posts one thing after the other, so a message's statuses keep
/// their order, and an address that fails holds up nobody else.
#[derive(Debug)]
pub(super) struct Poster {
    client: reqwest::Client,
    lanes: Mutex<HashMap<Lane, UnboundedSender<Item>>>,
    batch: AtomicUsize,
    counts: Counts,
    /// Lanes are opened also where a future is dropped, which may be after the runtime's context is left.
    runtime: Handle,
    stop: CancellationToken,
}

/// An address, and a number below [`LANES`].
type Lane = (Arc<str>, u64);

#[derive(Debug, Default)]
struct Counts {
    posts: AtomicU64,
    items: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    pending: AtomicU64,
}

impl Poster {
    pub fn new(stop: CancellationToken) -> anyhow::Result<Arc<Self>> {
        // A second install is refused; then the one that is there serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(CALL_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .user_agent("recado-fake-provider")
            .build()?;
        Ok(Arc::new(Self {
            client,
            lanes: Mutex::default(),
            batch: AtomicUsize::new(100),
            counts: Counts::default(),
            runtime: Handle::current(),
            stop,
        }))
    }

    /// Items in one POST, from now on.
    pub fn set_batch(&self, batch: usize) {
        self.batch.store(batch, Ordering::Relaxed);
    }

    pub fn posted(&self) -> Posted {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Posted {
            posts: read(&self.counts.posts),
            items: read(&self.counts.items),
            failed: read(&self.counts.failed),
            given_up: read(&self.counts.given_up),
            pending: read(&self.counts.pending),
        }
    }

    /// Puts something in line; `id` decides the lane.
    pub fn push(self: &Arc<Self>, url: &Arc<str>, id: u64, item: Item) {
        self.counts.pending.fetch_add(1, Ordering::Relaxed);
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry((url.clone(), id / IDS_IN_A_ROW % LANES)).or_insert_with(|| {
            let (lane, items) = unbounded_channel();
            self.runtime.spawn(self.clone().work(url.clone(), items));
            lane
        });
        // The other end is gone only when the fake is being stopped.
        let _ = lane.send(item);
    }

    /// Posts at once, each in one try, what is listed in one array; gives back what got no 2xx.
    pub async fn post_now(&self, url: &str, posts: Vec<Post>) -> Vec<Post> {
        let (mut listed, mut missed) = (Vec::new(), Vec::new());
        for post in posts {
            match post {
                Post::Listed(item) => listed.push(item),
                Post::Alone(whole) if self.posted_now(url, whole.clone(), 1).await => {}
                Post::Alone(whole) => missed.push(Post::Alone(whole)),
            }
        }
        if !listed.is_empty() && !self.posted_now(url, Whole::list(&listed), listed.len()).await {
            missed.extend(listed.into_iter().map(Post::Listed));
        }
        missed
    }

    async fn posted_now(&self, url: &str, whole: Whole, items: usize) -> bool {
        let taken = matches!(self.try_post(url, whole).await, Ok(status) if status.is_success());
        if taken {
            self.count_taken(items);
        }
        taken
    }

    async fn work(self: Arc<Self>, url: Arc<str>, mut items: UnboundedReceiver<Item>) {
        let stop = self.stop.clone();
        let work = async {
            let mut waiting = Waiting::default();
            loop {
                while let Ok(item) = items.try_recv() {
                    waiting.push(item);
                }
                let next = match waiting.next_due() {
                    Some(due) if due <= Instant::now() => {
                        let (body, count) = waiting.take(Instant::now(), self.batch.load(Ordering::Relaxed));
                        self.post(&url, body, count).await;
                        continue;
                    }
                    next => next,
                };
                tokio::select! {
                    item = items.recv() => match item {
                        Some(item) => waiting.push(item),
                        None => return,
                    },
                    () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    async fn post(&self, url: &str, body: Whole, count: usize) {
        let mut pause = FIRST_PAUSE;
        let mut noes = 0;
        loop {
            match self.try_post(url, body.clone()).await {
                Ok(status) if status.is_success() => {
                    self.count_taken(count);
                    break;
                }
                Ok(status) if status.is_client_error() && !matches!(status.as_u16(), 408 | 429) => {
                    noes += 1;
                    if noes == TRIES_AGAINST_4XX {
                        self.counts.given_up.fetch_add(count as u64, Ordering::Relaxed);
                        break;
                    }
                }
                _ => {}
            }
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.counts.pending.fetch_sub(count as u64, Ordering::Relaxed);
    }

    fn count_taken(&self, items: usize) {
        self.counts.posts.fetch_add(1, Ordering::Relaxed);
        self.counts.items.fetch_add(items as u64, Ordering::Relaxed);
    }

    async fn try_post(&self, url: &str, whole: Whole) -> reqwest::Result<reqwest::StatusCode> {
        let mut request = self.client.post(url).header("content-type", whole.mime_type);
        for (name, value) in whole.headers {
            request = request.header(name, value);
        }
        let request = request.body(whole.body);
        let response = request.send().await?;
        let status = response.status();
        // A connection is used again only when the answer was read.
        response.bytes().await?;
        Ok(status)
    }
}

/// What waits in a lane, by its time, and by its place where times are equal.
#[derive(Debug, Default)]
struct Waiting {
    heap: BinaryHeap<Reverse<Placed>>,
    places: u64,
}

#[derive(Debug)]
struct Placed {
    place: u64,
    item: Item,
}

impl Placed {
    fn key(&self) -> (Instant, u64) {
        (self.item.due, self.place)
    }
}

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Placed {}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl Waiting {
    fn push(&mut self, item: Item) {
        self.places += 1;
        self.heap.push(Reverse(Placed { place: self.places, item }));
    }

    fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(placed)| placed.item.due)
    }

    /// The next POST and how much it holds: what is due, up to a batch, or one that goes alone.
    fn take(&mut self, now: Instant, batch: usize) -> (Whole, usize) {
        let mut items = Vec::new();
        while items.len() < batch && self.heap.peek().is_some_and(|Reverse(placed)| placed.item.due <= now) {
            let alone = |Reverse(placed): &Reverse<Placed>| matches!(placed.item.post, Post::Alone(_));
            if !items.is_empty() && self.heap.peek().is_some_and(alone) {
                break;
            }
            match self.heap.pop() {
                Some(Reverse(Placed { item: Item { post: Post::Alone(whole), .. }, .. })) => return (whole, 1),
                Some(Reverse(Placed { item: Item { post: Post::Listed(item), .. }, .. })) => items.push(item),
                None => break,
            }
        }
        (Whole::list(&items), items.len())
    }
}
