//! What the cases need of each adapter: one that speaks to a provider of the test's, genuine webhooks, and what it is not
//! asked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use recado::domain::content::Text;
use recado::domain::{Content, MessageId, PhoneNumber, SenderId};
use recado::proto;
use recado::provider::sandbox::simulator::Inbox;
use recado::provider::sandbox::{Delivery, Simulator};
use recado::provider::{AnySettings, Context, HttpClient, Outgoing, Provider as Adapter, Webhook, build};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::provider::{Provider, Reply};

/// Long enough that no test runs into it.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// One adapter and its surroundings.
pub struct Fixture {
    pub name: &'static str,
    pub adapter: Arc<dyn Adapter>,
    pub settings: AnySettings,
    /// What it speaks to.
    pub provider: Arc<Provider>,
    /// The same adapter, speaking to an address where nobody listens.
    pub away: Arc<dyn Adapter>,
    /// What must not be seen anywhere.
    pub secrets: Vec<&'static str>,
    /// Takes all messages of a request but those to [`REFUSED`].
    pub takes: fn(&crate::provider::Call) -> Reply,
    /// What the provider posts, proven to be its own; all that can be read in them is read.
    pub genuine: Vec<Webhook>,
    /// Members of a webhook's item without which it says nothing.
    pub required: &'static [&'static str],
    /// Whether the provider may write `null` for what is not there.
    pub nulls: bool,
    /// The member that holds a status word, and one such word.
    pub status: (&'static str, &'static str),
    /// Whether the proof covers the body, so that a flipped byte there is found out.
    pub signs_body: bool,
    /// What the provider posts about a message that was handed over just now.
    pub posts: Posts,
    /// Cases that this adapter cannot be asked, and why.
    pub not_applicable: &'static [(&'static str, &'static str)],
}

/// How the first status of a message reaches us.
pub enum Posts {
    /// The provider's simulator runs in this process.
    Simulated(mpsc::UnboundedReceiver<Webhook>),
    /// Made from the request that went out and the id that was answered.
    Made(fn(&Value, &str) -> Webhook),
}

/// A number that every fixture's provider refuses.
pub const REFUSED: &str = "15005550002";

impl Fixture {
    pub fn not_applicable(&self, case: &str) -> Option<&'static str> {
        self.not_applicable.iter().find(|(name, _)| *name == case).map(|(_, why)| *why)
    }
}

/// A text to a number.
pub fn text(to: &str) -> Outgoing {
    message(to, Content::Text(Text { body: "Your parcel leaves today.".into(), preview_url: false }))
}

/// Anything to a number.
pub fn message(to: &str, content: Content) -> Outgoing {
    Outgoing {
        message_id: MessageId::generate(),
        attempt: 1,
        to: PhoneNumber { given: format!("+{to}"), digits: to.into() },
        content,
        reply_to: None,
        reaction_to: None,
        validity: None,
    }
}

fn context(provider: &str, simulator: Simulator) -> Context {
    Context {
        sender: SenderId::trusted("acme".into()),
        webhook_url: format!("https://gateway.example.test/webhooks/{provider}/acme").parse().unwrap(),
        http: HttpClient::new(CALL_LIMIT).unwrap(),
        sandbox: simulator,
    }
}

/// Recorded payloads of a provider whose name begins so.
fn recorded(provider: &str, names: &[&str]) -> Vec<Bytes> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(provider);
    names.iter().map(|name| std::fs::read(folder.join(name)).unwrap().into()).collect()
}

/// Passes on what the simulator posts.
struct Letterbox(mpsc::UnboundedSender<Webhook>);

#[async_trait::async_trait]
impl Inbox for Letterbox {
    async fn post(&self, _: &SenderId, webhook: Webhook) -> bool {
        self.0.send(webhook).is_ok()
    }
}

fn run(delivery: Delivery) -> mpsc::UnboundedReceiver<Webhook> {
    let (sender, posted) = mpsc::unbounded_channel();
    tokio::spawn(delivery.run(Arc::new(Letterbox(sender)), CancellationToken::new()));
    posted
}

pub async fn sandbox() -> Fixture {
    let settings = AnySettings::from_proto(proto::sender::Config::Sandbox(proto::SandboxConfig {})).unwrap();
    let (simulator, delivery) = Simulator::new();
    let mut posted = run(delivery);
    let adapter = build(&settings, context("sandbox", simulator.clone()));
    // Delivered, read, and the person answers: what the sandbox can post.
    let answers = adapter.send(&[text("15005550007"), text("15005550006")]).await;
    assert!(answers.iter().all(|answer| answer.outcome.is_ok()));
    let mut genuine = Vec::new();
    let mut items = 0;
    while items < 4 {
        let webhook = posted.recv().await.unwrap();
        items += adapter.parse(&webhook).len();
        genuine.push(webhook);
    }
    Fixture {
        name: "sandbox",
        away: adapter.clone(),
        adapter,
        settings,
        provider: Arc::new(Provider::start().await.unwrap()),
        secrets: Vec::new(),
        takes: |_| Reply::new(500, ""),
        genuine,
        required: &[
            "id",
            "message_id",
            "status",
            "ts",
            "from",
            "text",
            "reason",
            "provider_code",
            "provider_message",
            "retryable",
        ],
        nulls: false, // it is our own, and leaves out what is not there
        status: ("status", "DELIVERED"),
        signs_body: true,
        posts: Posts::Simulated(posted),
        not_applicable: &[
            ("unauthorized_is_refused", "it has no credentials"),
            (
                "throttling_is_not_taken",
                "it speaks no HTTP; its scripted number +15005550003 is tested in tests/it/sandbox.rs",
            ),
            ("refused_connection_is_not_taken", "it opens no connection"),
            ("dropped_answer_is_in_doubt", "it opens no connection; +15005550004 loses answers in tests/it/sandbox.rs"),
        ],
    }
}

const DEVINO_KEY: &str = "key-0f0e0d0c0b0a";
const DEVINO_TOKEN: &str = "token-9f2c7b1ea/d";

fn devino_settings(base_url: String) -> AnySettings {
    let config = proto::DevinoConfig {
        base_url,
        api_key: DEVINO_KEY.into(),
        from: "AcmeCare".into(),
        api: 0,
        webhook_token: DEVINO_TOKEN.into(),
    };
    AnySettings::from_proto(proto::sender::Config::Devino(config)).unwrap()
}

fn devino_webhook(body: Bytes) -> Webhook {
    Webhook {
        headers: vec![("content-type".into(), "application/json".into())],
        query: vec![("token".into(), DEVINO_TOKEN.into())],
        path_token: None,
        body,
        receive_at_ms: 1_767_226_000_000,
    }
}

pub async fn devino() -> Fixture {
    let provider = Arc::new(Provider::start().await.unwrap());
    let settings = devino_settings(provider.base_url());
    let with = |settings: &AnySettings| build(settings, context("devino", Simulator::new().0));
    let names = [
        "status_array.json",
        "status_clicked.json",
        "status_object.json",
        "status_words.json",
        "incoming_text.json",
        "incoming_voice.json",
        "incoming_media.json",
        "incoming_location.json",
        "incoming_contacts.json",
        "incoming_unsupported.json",
    ];
    Fixture {
        name: "devino",
        adapter: with(&settings),
        away: with(&devino_settings(nobody_listens().await)),
        settings,
        provider,
        secrets: vec![DEVINO_KEY, DEVINO_TOKEN, "token-9f2c7b1ea%2Fd"],
        takes: |call| {
            let request = call.json();
            let messages = request["messages"].as_array().cloned().unwrap_or_default();
            let one = |(n, message): (usize, &Value)| match message["to"] == REFUSED {
                true => {
                    json!({ "code": "REJECTED", "reasons": [{ "key": "invalid", "ref": format!("messages[{n}].to") }] })
                }
                false => json!({ "code": "OK", "messageId": message["to"] }),
            };
            let result: Vec<Value> = messages.iter().enumerate().map(one).collect();
            Reply::new(200, json!({ "result": result }).to_string())
        },
        genuine: recorded("devino", &names).into_iter().map(devino_webhook).collect(),
        required: &["messageId", "status", "incomingMessageId"],
        nulls: true,
        status: ("status", "DELIVERED"),
        signs_body: false,
        posts: Posts::Made(|request, provider_id| {
            let message = &request["messages"][0];
            assert!(
                message["callbackUrl"]
                    .as_str()
                    .unwrap()
                    .starts_with("https://gateway.example.test/webhooks/devino/acme?")
            );
            let id: u64 = provider_id.parse().unwrap();
            let status = json!([{ "messageId": id, "status": "DELIVERED", "options": message["callbackData"] }]);
            devino_webhook(status.to_string().into())
        }),
        not_applicable: &[],
    }
}

/// An address that was free a moment ago.
async fn nobody_listens() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
