//! The 24-hour window of a conversation, and what a message does while it is closed.

use anyhow::Result;
use recado::fake::FakeProvider;
use recado::proto;
use recado::proto::window_policy::Action;
use sea_orm::ConnectionTrait as _;
use serde_json::{Map, Value, json};

use crate::gateway::{TestGateway, text};
use crate::meta;
use crate::tools::{until, with};

mod held;
mod known;
mod policies;
mod refused;

/// The template that goes in a text's place.
pub const REOPEN: &str = "order_ready_v2";

pub fn reopen() -> proto::TemplateContent {
    proto::TemplateContent {
        template: REOPEN.into(),
        language_code: "pt_BR".into(),
        parameters: [("1".to_owned(), "Marina".to_owned())].into(),
        ..Default::default()
    }
}

pub fn options(action: Action) -> proto::SendOptions {
    let template = (action == Action::SendTemplate).then(reopen);
    let policy = proto::WindowPolicy { action: action as i32, template };
    proto::SendOptions { on_window_closed: Some(policy), ..Default::default() }
}

/// A text of the sender `acme` with a policy.
pub fn guarded(to: &str, body: &str, action: Action) -> proto::SendMessageRequest {
    with(text("acme", to, body), options(action))
}

/// What a person wrote to the sender `acme` at Meta, as Meta writes it; now, unless it says otherwise.
fn wrote(gateway: &TestGateway, fake: &FakeProvider, payload: Value) {
    let Value::Object(payload): Value = payload else { unreachable!("an object") };
    let payload: Map<String, Value> = payload;
    fake.post_incoming("meta", &meta::webhook(gateway, "acme"), payload).unwrap();
}

fn said(from: &str) -> Value {
    json!({ "from": from, "type": "text", "text": { "body": "Olá" } })
}

/// Has a person write, and waits until the window is on disk.
pub async fn open(gateway: &TestGateway, fake: &FakeProvider, from: &str) -> Result<()> {
    wrote(gateway, fake, said(from));
    let rows = gateway.rows().await?;
    let heard = format!("windows WHERE peer = '{from}' AND heard_at_ms IS NOT NULL");
    until("the person was heard", async || Ok((crate::tools::count(&rows, &heard).await? == 1).then_some(()))).await
}

/// Makes all windows as old as if nobody had written for a day.
pub async fn age(gateway: &TestGateway) -> Result<()> {
    const DAY_MS: i64 = 86_400_000;
    let sql = format!(
        "UPDATE windows SET heard_at_ms = heard_at_ms - {DAY_MS}, expire_at_ms = expire_at_ms - {DAY_MS}, \
         refused_at_ms = refused_at_ms - {DAY_MS}"
    );
    gateway.rows().await?.execute_unprepared(&sql).await?;
    Ok(())
}
