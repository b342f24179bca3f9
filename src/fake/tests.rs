use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::*;

/// A callback address that keeps what is posted to it.
#[derive(Clone, Default)]
struct Sink {
    posts: Arc<Mutex<Vec<Value>>>,
    noes: Arc<Mutex<Vec<StatusCode>>>,
}

impl Sink {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let take = |State(sink): State<Sink>, body: Bytes| async move {
            if let Some(no) = sink.noes.lock().unwrap().pop() {
                return no;
            }
            sink.posts.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            StatusCode::OK
        };
        let router = Router::new().route("/hook", axum::routing::post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn posts(&self) -> Vec<Value> {
        self.posts.lock().unwrap().clone()
    }

    /// All statuses in the order they came.
    fn items(&self) -> Vec<Value> {
        self.posts().into_iter().flat_map(|post| post.as_array().unwrap().clone()).collect()
    }

    fn words(&self) -> Vec<String> {
        self.items().iter().map(|item| item["status"].as_str().unwrap().to_owned()).collect()
    }
}

async fn start(script: Script) -> FakeProvider {
    let fake = FakeProvider::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    fake.set_script(script).unwrap();
    fake
}

/// Waits until nothing is left to be posted.
async fn quiet(fake: &FakeProvider) {
    let quiet = async {
        while fake.posted().pending > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), quiet).await.unwrap();
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn messages(count: usize, url: &str) -> Value {
    let message = |n| json!({ "from": "AcmeCare", "to": format!("35191{n:07}"), "text": "hi", "callbackUrl": url, "callbackData": format!("m{n}") });
    json!({ "messages": (0..count).map(message).collect::<Vec<_>>() })
}

async fn send(fake: &FakeProvider, body: &Value) -> reqwest::Result<Value> {
    let request = client().post(fake.base_url("devino") + "/whatsapp/messages").header("authorization", "Key k");
    request.json(body).send().await?.json().await
}

fn step(status: &str, after_ms: u64) -> Step {
    Step { status: status.into(), after_ms, error_code: 0 }
}

#[tokio::test]
async fn statuses_follow_the_answer_in_arrays_of_what_is_due_together() {
    let fake = start(Script::default()).await;
    let sink = Sink::default();
    let url = sink.start().await;
    let answer = send(&fake, &messages(100, &url)).await.unwrap();
    quiet(&fake).await;
    let posts = sink.posts();
    assert_eq!(posts.iter().map(|post| post.as_array().unwrap().len()).collect::<Vec<_>>(), [100, 100]);
    let first = &posts[0][0];
    let id: u64 = answer["result"][0]["messageId"].as_str().unwrap().parse().unwrap();
    assert!(id > 1 << 53);
    assert_eq!(first["messageId"], id);
    assert_eq!(
        (&first["status"], &first["errorCode"], &first["options"]),
        (&json!("DELIVERED"), &json!(0), &json!("m0"))
    );
    assert_eq!(posts[1][99]["status"], "READ");
    assert_eq!((fake.posted().posts, fake.posted().items), (2, 200));
}

#[tokio::test]
async fn batches_are_as_large_as_the_script_says() {
    let script = Script { statuses: vec![step("DELIVERED", 0)], ..Script::default() };
    let fake = start(Script { webhooks: Webhooks { batch: 30, ..Webhooks::default() }, ..script }).await;
    let sink = Sink::default();
    let url = sink.start().await;
    send(&fake, &messages(100, &url)).await.unwrap();
    quiet(&fake).await;
    assert!(sink.posts().iter().all(|post| post.as_array().unwrap().len() <= 30));
    assert_eq!(sink.items().len(), 100);
}

#[tokio::test]
async fn what_is_not_taken_is_posted_again_until_it_is() {
    let fake = start(Script { statuses: vec![step("DELIVERED", 0)], ..Script::default() }).await;
    let sink = Sink::default();
    let noes = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::TOO_MANY_REQUESTS, StatusCode::NOT_FOUND];
    sink.noes.lock().unwrap().extend(noes);
    let url = sink.start().await;
    send(&fake, &messages(3, &url)).await.unwrap();
    quiet(&fake).await;
    assert_eq!(sink.items().len(), 3);
    assert_eq!(fake.posted().failed, 3);
}

#[tokio::test]
async fn s4_statuses_may_come_before_the_answer() {
    let webhooks = Webhooks { before_answer: true, ..Webhooks::default() };
    let fake = start(Script { webhooks, latency_ms: 300, ..Script::default() }).await;
    let sink = Sink::default();
    let url = sink.start().await;
    let body = messages(1, &url);
    let sending = tokio::spawn(async move { send(&fake, &body).await.map(|_| fake) });
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(sink.words(), ["DELIVERED", "READ"]);
    assert!(!sending.is_finished());
    let fake = sending.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((sink.items().len(), fake.posted().pending), (2, 0));
}

#[tokio::test]
async fn statuses_are_repeated_and_shuffled_by_the_script() {
    let run = async || {
        let statuses = vec![step("SENT", 0), step("DELIVERED", 10), step("READ", 20)];
        let webhooks = Webhooks { duplicate: 0.5, reorder: true, ..Webhooks::default() };
        let fake = start(Script { statuses, webhooks, ..Script::default() }).await;
        let sink = Sink::default();
        let url = sink.start().await;
        send(&fake, &messages(20, &url)).await.unwrap();
        quiet(&fake).await;
        let mut words = Vec::new();
        for n in 0..20 {
            let of = format!("m{n}");
            let items = sink.items();
            let of_message = items.iter().filter(|item| item["options"] == of.as_str());
            words.push(of_message.map(|item| item["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>());
        }
        words
    };
    let words = run().await;
    assert!(words.iter().any(|words| words.first().unwrap() == "READ"), "{words:?}");
    assert!(words.iter().any(|words| words.len() > 3) && words.iter().any(|words| words.len() == 3));
    assert_eq!(words, run().await, "the same in another run");
}

#[tokio::test]
async fn a_late_failure_is_the_only_status() {
    let fault = Fault::always(Action::LateFailure { error_code: 2305 }).to("351910000001");
    let fake = start(Script { faults: vec![fault], ..Script::default() }).await;
    let sink = Sink::default();
    let url = sink.start().await;
    send(&fake, &messages(2, &url)).await.unwrap();
    quiet(&fake).await;
    let items = sink.items();
    let failed: Vec<_> = items.iter().filter(|item| item["options"] == "m1").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((&failed[0]["status"], &failed[0]["errorCode"]), (&json!("UNDELIVERED"), &json!(2305)));
    assert_eq!(items.len(), 3);
}

#[tokio::test]
async fn a_dropped_connection_gives_no_byte_and_statuses_still_follow() {
    let script = Script { faults: vec![Fault::always(Action::DropAfterAccept).first(1)], ..Script::default() };
    let fake = start(script).await;
    let sink = Sink::default();
    let url = sink.start().await;
    let error = send(&fake, &messages(1, &url)).await.unwrap_err();
    assert!(error.is_request() && !error.is_connect(), "{error:?}");
    quiet(&fake).await;
    assert_eq!(sink.words(), ["DELIVERED", "READ"]);
    send(&fake, &messages(1, &url)).await.unwrap();
    assert_eq!(fake.ledger().twice, ["m0"]);
}

#[tokio::test]
async fn all_that_is_wrong_with_a_message_is_named() {
    let fake = start(Script { senders: vec!["AcmeCare".into()], ..Script::default() }).await;
    let long = "x".repeat(1_001);
    let body = json!({ "messages": [
        { "from": "AcmeCare", "to": "351910000001", "text": "hi" },
        { "to": "+351910000001" },
        { "from": "Nobody", "to": "3519100000010000", "text": long, "contentUrl": "ftp://x", "contentType": "nonsense",
          "contentName": "", "callbackUrl": "x", "languageCode": "P", "validity": 60 },
    ] });
    let answer = send(&fake, &body).await.unwrap();
    assert_eq!(answer["result"][0]["code"], "OK");
    let reasons = |i: usize| {
        let reasons = answer["result"][i]["reasons"].as_array().unwrap().iter();
        reasons.map(|r| format!("{} {}", r["key"].as_str().unwrap(), r["ref"].as_str().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(
        reasons(1),
        ["invalid messages[1].to", "must.be.not.null messages[1].from", "must.be.not.null messages[1]"]
    );
    assert_eq!(
        reasons(2),
        [
            "length.too.long messages[2].to",
            "not.available messages[2].from",
            "length.too.long messages[2].text",
            "invalid messages[2].callbackUrl",
            "invalid messages[2].contentUrl",
            "invalid messages[2].contentType",
            "length.too.short messages[2].contentName",
            "length.too.short messages[2].languageCode",
            "invalid messages[2].validity",
        ]
    );
    for (body, key) in [
        (json!({}), "must.be.not.null"),
        (json!({ "messages": [] }), "must.be.not.null"),
        (messages(101, "http://x"), "too.many.messages"),
    ] {
        let answer = send(&fake, &body).await.unwrap();
        assert_eq!(answer["result"].as_array().unwrap().len(), 1);
        assert_eq!(answer["result"][0]["reasons"], json!([{ "key": key, "ref": "messages" }]));
    }
    assert_eq!((fake.ledger().taken, fake.ledger().refused), (1, 2));
}

#[tokio::test]
async fn keys_bodies_and_methods_are_judged_first() {
    let fake = start(Script { api_key: Some("right".into()), ..Script::default() }).await;
    let url = fake.base_url("devino") + "/whatsapp/messages";
    let status = async |key: Option<&str>, body: &'static str| {
        let mut request = client().post(&url).body(body);
        if let Some(key) = key {
            request = request.header("authorization", key);
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(None, "{}").await, 401);
    assert_eq!(status(Some("Key wrong"), "{}").await, 401);
    assert_eq!(status(Some("Bearer right"), "{}").await, 401);
    assert_eq!(status(Some("Key right"), "not JSON").await, 400);
    assert_eq!(status(Some("Key right"), r#"{"messages":[{"to":1}]}"#).await, 400);
    assert_eq!(status(Some("Key right"), "{}").await, 200);
    assert_eq!(client().get(&url).send().await.unwrap().status().as_u16(), 405);
}

#[tokio::test]
async fn the_controls_work_over_http() {
    let fake = start(Script { statuses: vec![], ..Script::default() }).await;
    let at = |path: &str| format!("http://{}/_control/{path}", fake.addr());
    send(&fake, &messages(2, "http://127.0.0.1:1")).await.unwrap();
    send(&fake, &messages(1, "http://127.0.0.1:1")).await.unwrap();
    let ledger: Value = client().get(at("ledger?full=true")).send().await.unwrap().json().await.unwrap();
    assert_eq!((&ledger["requests"], &ledger["taken"], &ledger["distinct"]), (&json!(2), &json!(3), &json!(2)));
    assert_eq!((&ledger["twice"], &ledger["largest_batch"]), (&json!(["m0"]), &json!(2)));
    assert_eq!((&ledger["rows"][0]["times"], &ledger["rows"][1]["message_id"]), (&json!(2), &json!("m1")));
    assert!(ledger["rows"][0]["provider_message_ids"][1].is_string());

    client().delete(at("ledger")).send().await.unwrap().error_for_status().unwrap();
    assert_eq!(fake.ledger(), Summary::default());

    let script = r#"{"faults":[{"action":{"throttle":{"retry_after_s":7}}}]}"#;
    client().put(at("script")).body(script).send().await.unwrap().error_for_status().unwrap();
    let script: Script = client().get(at("script")).send().await.unwrap().json().await.unwrap();
    assert_eq!(script.faults[0].action, Action::Throttle { retry_after_s: Some(7), body_only: false });
    let wrong = client().put(at("script")).body(r#"{"fault":[]}"#).send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    assert!(wrong.text().await.unwrap().contains("unknown field `fault`"));
}

#[tokio::test]
async fn incoming_messages_are_posted_as_one_object() {
    let fake = start(Script::default()).await;
    let sink = Sink::default();
    let url = sink.start().await;
    let payload = json!({ "from": "351910000001", "to": "AcmeCare", "text": "Is it here?" });
    let body = json!({ "provider": "devino", "url": url, "payload": payload });
    let control = format!("http://{}/_control/incoming", fake.addr());
    assert_eq!(client().post(control).json(&body).send().await.unwrap().status(), StatusCode::ACCEPTED);
    quiet(&fake).await;
    let posts = sink.posts();
    assert_eq!((posts.len(), &posts[0]["text"]), (1, &json!("Is it here?")));
    assert!(posts[0]["incomingMessageId"].as_u64().unwrap() > 1 << 53 && posts[0]["ts"].is_i64());
}

#[tokio::test]
async fn a_stopped_fake_refuses_connections_and_its_port_is_free() {
    let fake = start(Script::default()).await;
    let addr = fake.addr();
    send(&fake, &messages(1, "http://127.0.0.1:1")).await.unwrap();
    fake.stop().await;
    let error = client().get(format!("http://{addr}/_control/ledger")).send().await.unwrap_err();
    assert!(error.is_connect());
    FakeProvider::start(addr).await.unwrap();
}
