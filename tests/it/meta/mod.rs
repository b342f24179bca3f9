//! Meta's Cloud API, through the gateway.

use anyhow::{Context as _, Result};
use recado::fake::{Account, FakeProvider, Script};
use recado::proto;
use ring::hmac;
use serde_json::{Value, json};

use crate::gateway::TestGateway;

mod faults;
mod incoming;
mod pace;
mod sending;
mod statuses;
mod webhooks;

pub const NUMBER: &str = "106540352242922";
pub const OTHER_NUMBER: &str = "106540352242999";
const SECRET: &str = "sample-app-secret-0001";
const VERIFY: &str = "vt-sample-9f2c";
const TOKEN: &str = "EAAsample-token-0f0e";

/// A sender that speaks to any address, without a business account: nobody asks for its templates.
pub async fn sender_at(gateway: &mut TestGateway, id: &str, base_url: &str, number: &str) -> Result<proto::Sender> {
    sender_of(gateway, id, base_url, number, "").await
}

/// The same, of a business account.
pub async fn sender_of(
    gateway: &mut TestGateway,
    id: &str,
    base_url: &str,
    number: &str,
    waba_id: &str,
) -> Result<proto::Sender> {
    let sender = proto::Sender {
        sender: id.into(),
        config: Some(proto::sender::Config::Meta(proto::MetaConfig {
            base_url: base_url.into(),
            access_token: TOKEN.into(),
            phone_number_id: number.into(),
            waba_id: waba_id.into(),
            app_secret: SECRET.into(),
            verify_token: VERIFY.into(),
        })),
        ..Default::default()
    };
    let request = proto::CreateSenderRequest { sender: Some(sender) };
    gateway.admin.create_sender(request).await?.into_inner().sender.context("CreateSender answered no sender")
}

/// The sender `acme`, and a Meta that posts to it as the script says.
pub async fn start(gateway: &mut TestGateway, script: Script) -> Result<FakeProvider> {
    let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
    sender_at(gateway, "acme", &fake.base_url("meta"), NUMBER).await?;
    play(gateway, &fake, script);
    Ok(fake)
}

/// Another script for the same account.
pub fn play(gateway: &TestGateway, fake: &FakeProvider, mut script: Script) {
    let account = Account { webhook_url: Some(webhook(gateway, "acme")), secret: Some(SECRET.into()) };
    script.accounts.insert("meta".into(), account);
    fake.set_script(script).unwrap();
}

/// Where a sender's webhooks go.
pub fn webhook(gateway: &TestGateway, sender: &str) -> String {
    format!("{}/webhooks/meta/{sender}", gateway.http)
}

/// Posts what Meta would have signed so, once; answers the HTTP status.
pub async fn post(url: &str, body: impl Into<String>) -> Result<u16> {
    let body: String = body.into();
    let signature = hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), body.as_bytes()));
    post_with(url, body, Some(&format!("sha256={signature}"))).await
}

/// Posts with any signature, or with none.
pub async fn post_with(url: &str, body: String, signature: Option<&str>) -> Result<u16> {
    let mut request =
        reqwest::Client::builder().no_proxy().build()?.post(url).header("content-type", "application/json");
    if let Some(signature) = signature {
        request = request.header("x-hub-signature-256", signature);
    }
    Ok(request.body(body).send().await?.status().as_u16())
}

/// A change about a number: `statuses`, `messages`, and what else its value has.
pub fn change(number: &str, value: Value) -> Value {
    let mut value = value;
    value["metadata"] = json!({ "display_phone_number": "551140001000", "phone_number_id": number });
    json!({ "field": "messages", "value": value })
}

/// An envelope of changes.
pub fn envelope(changes: Vec<Value>) -> String {
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "102290129340398", "changes": changes }] })
        .to_string()
}

/// An envelope with one status.
pub fn status(status: Value) -> String {
    envelope(vec![change(NUMBER, json!({ "statuses": [status] }))])
}

/// A text that a person wrote just now.
pub fn written(id: &str, text: &str) -> Value {
    let now = (recado::domain::now_ms() / 1_000).to_string();
    json!({ "from": "5511987654321", "id": id, "timestamp": now, "type": "text", "text": { "body": text } })
}
