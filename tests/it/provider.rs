//! A provider that answers what a test tells it to, when it tells it to: for what the fake provider does not show, which
//! is the very bytes of a request, and calls that are open at the same time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// What is answered to one request.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// One request, as it came, and the way to answer it. Dropping it closes the connection without an answer.
#[derive(Debug)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    reply: oneshot::Sender<Reply>,
}

impl Call {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The fields of a form, as an object of texts; a name that is repeated has its last value.
    pub fn form(&self) -> serde_json::Value {
        let fields = url::form_urlencoded::parse(self.body.as_bytes()).into_owned();
        serde_json::Value::Object(fields.map(|(name, value)| (name, value.into())).collect())
    }

    /// What the body says, whichever of the two it is.
    pub fn fields(&self) -> serde_json::Value {
        let is_form = |(name, value): &(String, String)| name == "content-type" && value.contains("form-urlencoded");
        if self.headers.iter().any(is_form) { self.form() } else { self.json() }
    }

    pub fn answer(self, reply: Reply) {
        // Whoever asked may have gone.
        let _ = self.reply.send(reply);
    }
}

/// Requests that came and were not taken yet, and how many came in all.
#[derive(Debug, Default)]
struct Desk {
    calls: Mutex<VecDeque<Call>>,
    count: watch::Sender<usize>,
}

/// A provider whose requests wait until the test answers them.
#[derive(Debug)]
pub struct Provider {
    desk: Arc<Desk>,
    addr: SocketAddr,
    serving: JoinHandle<()>,
}

impl Provider {
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let desk = Arc::new(Desk::default());
        let router = Router::new().fallback(take).with_state(desk.clone());
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { desk, addr, serving })
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Requests so far, answered or not.
    pub fn count(&self) -> usize {
        *self.desk.count.borrow()
    }

    /// The next request that was not taken yet.
    pub async fn next(&self) -> Call {
        let mut seen = self.desk.count.subscribe();
        loop {
            seen.borrow_and_update();
            if let Some(call) = self.desk.calls.lock().unwrap().pop_front() {
                return call;
            }
            let _ = seen.changed().await;
        }
    }

    /// Answers all requests from now on, until the returned task is dropped or aborted.
    pub fn answer_all(self: &Arc<Self>, reply: impl Fn(&Call) -> Option<Reply> + Send + 'static) -> JoinHandle<()> {
        let provider = self.clone();
        tokio::spawn(async move {
            loop {
                let call = provider.next().await;
                if let Some(reply) = reply(&call) {
                    call.answer(reply);
                }
            }
        })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(desk): State<Arc<Desk>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let (reply, answered) = oneshot::channel();
    let call = Call {
        method: method.to_string(),
        path: uri.to_string(),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
        reply,
    };
    desk.calls.lock().unwrap().push_back(call);
    desk.count.send_modify(|count| *count += 1);
    let Ok(reply) = answered.await else {
        // The head is written together with the body's first part: this one fails at once, and the connection closes.
        let broken = async { Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionAborted)) };
        return axum::body::Body::from_stream(futures::stream::once(broken)).into_response();
    };
    let mut response = (StatusCode::from_u16(reply.status).unwrap(), reply.body).into_response();
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
