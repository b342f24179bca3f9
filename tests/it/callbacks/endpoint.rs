//! A consumer of callbacks: a real socket that answers in every way, keeps a ledger, and verifies signatures by itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One POST as it came.
#[derive(Debug, Clone)]
pub struct Post {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// Whether it was answered with 2xx.
    pub taken: bool,
}

impl Post {
    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self, field: &str) -> String {
        self.json()["data"][field].as_str().unwrap_or_default().to_owned()
    }

    pub fn sequence(&self) -> i64 {
        self.json()["data"]["sequence"].as_i64().unwrap()
    }

    /// Whether one of its signatures is that of this secret. Written by the specification, apart from the gateway's own:
    /// HMAC as RFC 2104 has it.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let Some(signatures) = self.headers.get("webhook-signature") else { return false };
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).unwrap();
        let mut content = format!("{}.{}.", self.id(), self.headers["webhook-timestamp"]).into_bytes();
        content.extend_from_slice(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(hmac_sha256(&key, &content)));
        signatures.split(' ').any(|one| one == expected)
    }
}

/// RFC 2104: H(K ^ opad, H(K ^ ipad, text)), for keys up to a block of SHA-256.
fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    assert!(key.len() <= 64);
    let padded = |with: u8| (0..64).map(|i| key.get(i).copied().unwrap_or(0) ^ with).collect::<Vec<u8>>();
    let hash = |parts: [&[u8]; 2]| digest::digest(&digest::SHA256, &parts.concat()).as_ref().to_vec();
    hash([&padded(0x5c), &hash([&padded(0x36), text])])
}

#[test]
fn the_verifier_knows_the_published_vector() {
    let mut post = Post { path: String::new(), headers: HashMap::new(), body: Vec::new(), taken: true };
    for (name, value) in [
        ("webhook-id", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
        ("webhook-timestamp", "1649367553"),
        ("webhook-signature", "v1a,x v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="),
    ] {
        post.headers.insert(name.into(), value.into());
    }
    post.body = br#"{"email":"test@example.com","username":"test_user"}"#.to_vec();
    assert!(post.is_signed_by("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"));
    post.body[2] ^= 1;
    assert!(!post.is_signed_by("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"));
}

/// What a POST is answered with.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status.
    Say(u16),
    /// A status with a header.
    With(u16, &'static str, String),
    /// 200, but not at once.
    Slow(Duration),
    /// 200 and a body without end.
    Endless,
    /// Nothing, for ever.
    Hang,
    /// The connection is closed.
    Drop,
    /// Bytes that are no HTTP.
    Garbage,
}

impl Answer {
    /// Whether it is, as soon as it came.
    fn is_taken(&self) -> bool {
        match self {
            Self::Say(status) | Self::With(status, ..) => (200..300).contains(status),
            Self::Endless => true,
            // `Slow` is taken when it is answered.
            Self::Slow(_) | Self::Hang | Self::Drop | Self::Garbage => false,
        }
    }
}

type Script = Box<dyn FnMut(&Post) -> Answer + Send>;

#[derive(Clone)]
pub struct Endpoint {
    pub port: u16,
    posts: Arc<Mutex<Vec<Post>>>,
    script: Arc<Mutex<Script>>,
    connections: Arc<Mutex<usize>>,
}

impl Endpoint {
    /// Answers each POST as the script says.
    pub async fn start(script: impl FnMut(&Post) -> Answer + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = Self {
            port: listener.local_addr()?.port(),
            posts: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(script))),
            connections: Arc::default(),
        };
        let served = endpoint.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                *served.connections.lock().unwrap() += 1;
                let endpoint = served.clone();
                // A client that goes away in the middle is the gateway's right.
                tokio::spawn(async move { drop(endpoint.serve(socket).await) });
            }
        });
        Ok(endpoint)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Another script from now on.
    pub fn play(&self, script: impl FnMut(&Post) -> Answer + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// All POSTs, also those that were not taken, or not yet.
    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    /// Those that were answered with 2xx.
    pub fn taken(&self) -> Vec<Post> {
        self.posts().into_iter().filter(|post| post.taken).collect()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// Waits until so many different events were taken; answers the POSTs.
    pub async fn until_taken(&self, count: usize) -> Result<Vec<Post>> {
        self.until_taken_within(count, Duration::from_secs(60)).await
    }

    pub async fn until_taken_within(&self, count: usize, limit: Duration) -> Result<Vec<Post>> {
        let events = || {
            let posts = self.posts.lock().unwrap();
            posts.iter().filter(|post| post.taken).map(|post| post.id().to_owned()).collect::<HashSet<_>>().len()
        };
        self.until(&format!("{count} callbacks"), limit, || events() >= count).await?;
        Ok(self.taken())
    }

    /// Waits until so many POSTs came, of any end.
    pub async fn until_posts(&self, count: usize) -> Result<Vec<Post>> {
        let came = || self.posts.lock().unwrap().len() >= count;
        self.until(&format!("{count} POSTs"), Duration::from_secs(60), came).await?;
        Ok(self.posts())
    }

    async fn until(&self, what: &str, limit: Duration, holds: impl Fn() -> bool) -> Result<()> {
        let waiting = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(limit, waiting).await;
        waited.ok().with_context(|| format!("{what} did not come; {} POSTs did", self.posts().len()))
    }

    async fn serve(&self, socket: TcpStream) -> Result<()> {
        let mut socket = BufReader::new(socket);
        loop {
            let mut post = read(&mut socket).await?;
            let answer = {
                let mut script = self.script.lock().unwrap();
                script(&post)
            };
            // In the ledger before the answer: whoever hears it finds it there. Its place is that of its coming, also when the
            // answer takes so long that a gateway killed meanwhile is back and has posted more.
            post.taken = answer.is_taken();
            let place = {
                let mut posts = self.posts.lock().unwrap();
                posts.push(post);
                posts.len() - 1
            };
            let said = match answer {
                Answer::Say(status) => format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n"),
                Answer::With(status, name, value) => {
                    format!("HTTP/1.1 {status} x\r\n{name}: {value}\r\ncontent-length: 4\r\n\r\nnope")
                }
                Answer::Slow(wait) => {
                    tokio::time::sleep(wait).await;
                    self.posts.lock().unwrap()[place].taken = true;
                    "HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\nok".to_owned()
                }
                Answer::Endless => {
                    socket.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 99999999999\r\n\r\n").await?;
                    loop {
                        socket.write_all(&[b'x'; 8_192]).await?;
                    }
                }
                Answer::Hang => std::future::pending().await,
                Answer::Drop => return Ok(()),
                Answer::Garbage => "\u{1}\u{2} this is no HTTP\r\n\r\n".to_owned(),
            };
            socket.write_all(said.as_bytes()).await?;
        }
    }
}

async fn read(socket: &mut BufReader<TcpStream>) -> Result<Post> {
    let mut line = String::new();
    ensure!(socket.read_line(&mut line).await? > 0, "closed");
    let mut words = line.split(' ');
    ensure!(words.next() == Some("POST"), "{line}");
    let path = words.next().context("no path")?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        ensure!(socket.read_line(&mut line).await? > 0, "cut off");
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length: usize = headers.get("content-length").context("no length")?.parse()?;
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    Ok(Post { path, headers, body, taken: false })
}
