//! Over real sockets: what is reached, what is not, and what is sent along.

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request};
use axum::http::header;
use axum::routing::get;
use futures::stream;
use tokio::net::TcpListener;

use super::*;

const CAPS: Caps = Caps { bytes: 1_000, total: Duration::from_secs(20), idle: Duration::from_secs(20) };

/// What a server was asked with, and an answer that is known.
#[derive(Debug, Clone, Default)]
struct Server {
    heads: Arc<Mutex<Vec<HeaderMap>>>,
    port: u16,
}

impl Server {
    /// Serves `/file` and `/size?bytes=`, drips without end at `/drip`, is silent at `/silent`, and leads on at `/to?url=`.
    async fn start(ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), ..Self::default() };
        let heads = server.heads.clone();
        type Asked = Query<std::collections::HashMap<String, String>>;
        let router = Router::new()
            .route("/file", get(|| async { "file" }).post(async |body: String| body))
            .route("/size", get(async |Query(asked): Asked| vec![b'x'; asked["bytes"].parse().unwrap()]))
            .route(
                "/unsaid",
                get(async |Query(asked): Asked| {
                    let bytes = vec![Bytes::from_static(b"x"); asked["bytes"].parse().unwrap()];
                    Body::from_stream(stream::iter(bytes.into_iter().map(Ok::<_, io::Error>)))
                }),
            )
            .route("/silent", get(async || Body::from_stream(stream::pending::<io::Result<Bytes>>())))
            .route(
                "/cut",
                get(async || {
                    let parts = [Ok(Bytes::from_static(b"half a fi")), Err(io::Error::from(io::ErrorKind::BrokenPipe))];
                    ([(header::CONTENT_LENGTH, "20")], Body::from_stream(stream::iter(parts)))
                }),
            )
            .route(
                "/to",
                axum::routing::any(async |Query(asked): Asked| {
                    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, asked["url"].clone())])
                }),
            )
            .layer(axum::middleware::map_request(move |request: Request| {
                heads.lock().unwrap().push(request.headers().clone());
                async move { request }
            }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    fn url(&self, host: &str, path: &str) -> Url {
        Url::parse(&format!("http://{host}:{}{path}", self.port)).unwrap()
    }

    /// Leads on from here to there.
    fn to(&self, host: &str, url: &Url) -> Url {
        let mut from = self.url(host, "/to");
        from.query_pairs_mut().append_pair("url", url.as_str());
        from
    }

    fn asked(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    /// For each request whether it had the key.
    fn keys(&self) -> Vec<bool> {
        self.heads.lock().unwrap().iter().map(|head| head.contains_key("authorization")).collect()
    }
}

fn guarded(allowed: &str) -> Guarded {
    Guarded::new(AllowList::parse(allowed).unwrap()).unwrap()
}

async fn read(guarded: &Guarded, url: Url, caps: Caps) -> Result<Vec<u8>, GuardError> {
    let headers = [("authorization", Secret::from("Bearer key-0f0e".to_owned()))];
    let mut opened = guarded.get(url, &headers, caps).await?;
    assert_eq!(opened.status(), StatusCode::OK);
    let mut bytes = Vec::new();
    while let Some(chunk) = opened.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn forbidden(outcome: Result<Vec<u8>, GuardError>) -> String {
    match outcome {
        Err(GuardError::Forbidden(why)) => why,
        other => panic!("{other:?} instead of a refusal"),
    }
}

#[tokio::test]
async fn i15_what_is_allowed_is_reached_and_nothing_beside_it() {
    let server = Server::start("127.0.0.1").await;
    for (allowed, host, reached) in [
        ("", "127.0.0.1", false),
        ("", "localhost", false),
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.0/8", "127.0.0.1", true),
        ("127.0.0.2", "127.0.0.1", false),
        ("localhost", "localhost", true),
        ("localhost", "127.0.0.1", false),
        ("127.0.0.1", "localhost", true),
        // The same address in other clothes.
        ("", "0x7f.1", false),
        ("", "2130706433", false),
        ("", "017700000001", false),
        ("", "[::ffff:127.0.0.1]", false),
        ("10.0.0.0/8", "[::ffff:7f00:1]", false),
        ("127.0.0.1", "[::ffff:127.0.0.1]", true),
    ] {
        let before = server.asked();
        let outcome = read(&guarded(allowed), server.url(host, "/file"), CAPS).await;
        assert_eq!(server.asked() > before, reached, "{allowed:?}, {host}: {outcome:?}");
        match reached {
            true => assert_eq!(outcome.unwrap(), b"file", "{allowed:?}, {host}"),
            false => assert!(forbidden(outcome).contains("loopback"), "{allowed:?}, {host}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_address_of_the_web_is_refused() {
    for url in ["ftp://example.test/x", "file:///etc/passwd", "data:,x", "http://user@1.1.1.1/", "http://:pw@1.1.1.1/"]
    {
        forbidden(read(&guarded(""), Url::parse(url).unwrap(), CAPS).await);
    }
}

#[tokio::test]
async fn i14_a_redirect_to_a_forbidden_address_is_not_followed() {
    let (open, inner) = (Server::start("127.0.0.1").await, Server::start("127.0.0.2").await);
    let guarded = guarded("127.0.0.1");
    let inside = inner.url("127.0.0.2", "/file");
    for there in [inside.clone(), open.to("127.0.0.1", &inside), inner.url("[::ffff:127.0.0.2]", "/file")] {
        assert!(forbidden(read(&guarded, open.to("127.0.0.1", &there), CAPS).await).contains("127.0.0.2"), "{there}");
    }
    for there in ["file:///etc/passwd", "gopher://127.0.0.1/x", "http://169.254.169.254/latest/meta-data/"] {
        forbidden(read(&guarded, open.to("127.0.0.1", &Url::parse(there).unwrap()), CAPS).await);
    }
    assert_eq!(inner.asked(), 0);
}

#[tokio::test]
async fn i14_credentials_stay_with_the_address_that_they_open() {
    let (first, second) = (Server::start("127.0.0.1").await, Server::start("127.0.0.1").await);
    let guarded = guarded("127.0.0.1, localhost");
    // Here, elsewhere, and here again, where they are not taken up again.
    let back = first.url("127.0.0.1", "/file");
    let elsewhere = second.to("127.0.0.1", &back);
    let here = first.to("127.0.0.1", &elsewhere);
    assert_eq!(read(&guarded, first.to("127.0.0.1", &here), CAPS).await.unwrap(), b"file");
    assert_eq!(first.keys(), [true, true, false]);
    assert_eq!(second.keys(), [false]);
    // Another name of the same host is another host.
    assert_eq!(read(&guarded, second.to("127.0.0.1", &second.url("localhost", "/file")), CAPS).await.unwrap(), b"file");
    assert_eq!(second.keys(), [false, true, false]);
    // And no cookie, no referer.
    let heads = first.heads.lock().unwrap();
    assert!(heads.iter().all(|head| !head.contains_key("referer") && !head.contains_key("cookie")));
}

#[tokio::test]
async fn five_redirects_are_followed_and_no_more() {
    let server = Server::start("127.0.0.1").await;
    let mut url = server.url("127.0.0.1", "/file");
    for _ in 0..5 {
        url = server.to("127.0.0.1", &url);
    }
    assert_eq!(read(&guarded("127.0.0.1"), url.clone(), CAPS).await.unwrap(), b"file");
    let outcome = read(&guarded("127.0.0.1"), server.to("127.0.0.1", &url), CAPS).await;
    assert!(matches!(&outcome, Err(GuardError::Unreachable(why)) if why.contains("redirects")), "{outcome:?}");
}

#[tokio::test]
async fn i14_files_of_one_byte_and_of_the_cap_pass_and_larger_ones_do_not() {
    let server = Server::start("127.0.0.1").await;
    let guarded = guarded("127.0.0.1");
    for path in ["/size", "/unsaid"] {
        for (bytes, passes) in [(0, true), (1, true), (1_000, true), (1_001, false), (100_000, false)] {
            let outcome = read(&guarded, server.url("127.0.0.1", &format!("{path}?bytes={bytes}")), CAPS).await;
            match passes {
                true => assert_eq!(outcome.unwrap().len(), bytes, "{path}"),
                false => assert_eq!(outcome, Err(GuardError::TooLarge { cap: 1_000 }), "{path} {bytes}"),
            }
        }
    }
}

#[tokio::test]
async fn silence_and_slowness_end_and_half_an_answer_is_none() {
    let server = Server::start("127.0.0.1").await;
    let guarded = guarded("127.0.0.1");
    let soon = Duration::from_millis(100);
    for caps in [Caps { idle: soon, ..CAPS }, Caps { total: soon, ..CAPS }] {
        let outcome = read(&guarded, server.url("127.0.0.1", "/silent"), caps).await;
        assert!(matches!(outcome, Err(GuardError::Unreachable(_))), "{outcome:?}");
    }
    let outcome = read(&guarded, server.url("127.0.0.1", "/cut"), CAPS).await;
    assert!(matches!(outcome, Err(GuardError::Unreachable(_))), "{outcome:?}");
}

/// A name server that says something else each time.
#[derive(Debug)]
struct Fickle(Mutex<VecDeque<Vec<IpAddr>>>);

#[async_trait]
impl Names for Fickle {
    async fn look_up(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(self.0.lock().unwrap().pop_front().unwrap_or_default())
    }
}

#[tokio::test]
async fn i14_a_name_that_changes_its_answer_gains_nothing() {
    let (open, inner) = (Server::start("127.0.0.1").await, Server::start("127.0.0.2").await);
    let ips = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
    let answers = VecDeque::from([
        ips(&["127.0.0.1"]),
        ips(&["127.0.0.2"]),
        // Of several only those that pass are gone to.
        ips(&["127.0.0.2", "127.0.0.1"]),
    ]);
    let names = Arc::new(Fickle(Mutex::new(answers)));
    let guarded = Guarded::with_names(AllowList::parse("127.0.0.1").unwrap(), names.clone()).unwrap();
    // First a public address, as it were; then, for the redirect to the same name, one inside.
    let url = open.to("fickle.example.test", &inner.url("fickle.example.test", "/file"));
    let why = forbidden(read(&guarded, url, CAPS).await);
    assert_eq!(why, "fickle.example.test leads to 127.0.0.2, which is loopback");
    let outcome = read(&guarded, inner.url("fickle.example.test", "/file"), CAPS).await;
    assert!(matches!(outcome, Err(GuardError::Unreachable(_))), "nobody listens there: {outcome:?}");
    assert_eq!((open.asked(), inner.asked()), (1, 0));
    assert!(names.0.lock().unwrap().is_empty(), "each was asked for");
}

#[tokio::test]
async fn a_post_goes_to_the_address_that_was_judged_and_to_no_other() {
    let (open, inner) = (Server::start("127.0.0.1").await, Server::start("127.0.0.2").await);
    let guarded = guarded("127.0.0.1");
    let headers = [("webhook-id", "1".to_owned())];
    let post = |url: Url| guarded.post(url, &headers, b"body".to_vec(), CAPS);
    let mut answer = post(open.url("127.0.0.1", "/file")).await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "body");
    assert_eq!(open.heads.lock().unwrap()[0]["webhook-id"], "1");
    // A redirect is an answer, also to where a connection might be made.
    for there in [open.url("127.0.0.1", "/file"), inner.url("127.0.0.2", "/file")] {
        let answer = post(open.to("127.0.0.1", &there)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    }
    assert_eq!(open.asked(), 3);
    for url in [inner.url("127.0.0.2", "/file"), inner.url("localhost", "/file"), inner.url("[::ffff:127.0.0.2]", "/")]
    {
        let outcome = post(url).await.map(drop);
        // `localhost` is 127.0.0.1, where nobody listens on that port.
        assert!(matches!(outcome, Err(GuardError::Forbidden(_) | GuardError::Unreachable(_))), "{outcome:?}");
    }
    assert!(matches!(post(Url::parse("file:///etc/passwd").unwrap()).await, Err(GuardError::Forbidden(_))));
    assert_eq!(inner.asked(), 0);
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_asked() {
    // The environment is read by each process once; so a child of this one gets another.
    const CHILD: &str = "RECADO_TEST_WITH_PROXY";
    let (proxy, server) = (Server::start("127.0.0.1").await, Server::start("127.0.0.1").await);
    if std::env::var_os(CHILD).is_some() {
        assert_eq!(read(&guarded("127.0.0.1"), server.url("127.0.0.1", "/file"), CAPS).await.unwrap(), b"file");
        let inside = Url::parse("http://10.0.0.1/file").unwrap();
        assert!(forbidden(read(&guarded(""), inside, CAPS).await).contains("private"));
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "guarded::tests::a_proxy_of_the_environment_is_not_asked"]).env(CHILD, "1");
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, proxy.url("127.0.0.1", "").as_str());
    }
    child.env_remove("NO_PROXY").env_remove("no_proxy");
    let output = tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    assert_eq!(proxy.asked(), 0);
}
