//! Callbacks over real HTTP: what is posted, how it is signed, in which order, and what becomes of those that are not taken.

mod campaign;
mod endpoint;
mod endpoints;
mod failing;
mod operators;
mod posts;
mod settings;

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use recado::proto;
use recado::proto::CallbackState;
use serde_json::Value;

use crate::gateway::{Setup, TestGateway, held, text};
use crate::tools::{until, with};
use endpoint::Post;

pub const SECRET: &str = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
pub const OTHER_SECRET: &str = "whsec_ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A=";

/// Waits that a test need not sit through.
pub fn impatient() -> Setup {
    Setup::default()
        .with("callbacks.retries", "20ms, 20ms, 20ms, 20ms, 50ms, 50ms, 100ms, 100ms, 200ms, 200ms, 200ms, 200ms")
        .with("callbacks.post_limit", "3s")
        .with("engine.lease", "40s")
}

/// A text to somebody whose statuses are posted.
pub fn called_back(n: usize, url: &str) -> proto::SendMessageRequest {
    let options =
        proto::SendOptions { callback_url: url.into(), callback_data: format!("order-{n}"), ..Default::default() };
    with(text("sandbox", &crate::tools::number(n), "olá"), options)
}

/// The same, with one event only: it waits for an hour.
pub fn held_back(sender: &str, n: usize, url: &str) -> proto::SendMessageRequest {
    let mut request = held(sender, &crate::tools::number(n), "later");
    request.options.get_or_insert_default().callback_url = url.into();
    request
}

/// Gives a sender a secret.
pub async fn set_secret(gateway: &mut TestGateway, sender: &str, secret: &str) -> Result<proto::Sender> {
    let sender = proto::Sender { sender: sender.into(), callback_secret: secret.into(), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["callback_secret".into()] });
    let request = proto::UpdateSenderRequest { sender: Some(sender), update_mask };
    Ok(gateway.admin.update_sender(request).await?.into_inner().sender.unwrap())
}

/// All callbacks that pass, by small pages, newest first.
pub async fn callbacks(gateway: &TestGateway, filter: proto::ListCallbacksRequest) -> Result<Vec<proto::Callback>> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = proto::ListCallbacksRequest { page_size: 3, page_token, ..filter.clone() };
        let answer = gateway.admin.clone().list_callbacks(request).await?.into_inner();
        assert!(answer.callbacks.len() <= 3);
        all.extend(answer.callbacks);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

/// Waits until all of a message's callbacks stand there; answers them, oldest first.
pub async fn settled(
    gateway: &TestGateway,
    message_id: &str,
    count: usize,
    state: CallbackState,
) -> Result<Vec<proto::Callback>> {
    let filter = proto::ListCallbacksRequest { message_ids: vec![message_id.into()], ..Default::default() };
    until("the callbacks ended", async || {
        let mut found = callbacks(gateway, filter.clone()).await?;
        found.reverse();
        let there = found.len() == count && found.iter().all(|callback| callback.state() == state);
        Ok(there.then_some(found))
    })
    .await
}

/// HTTP statuses of the attempts.
pub fn statuses(callback: &proto::Callback) -> Vec<i32> {
    let numbers: Vec<i32> = callback.attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (1..=numbers.len() as i32).collect::<Vec<_>>());
    callback.attempts.iter().map(|attempt| attempt.http_status).collect()
}

/// Nothing of a message is posted before what comes before it was taken.
pub fn in_order(posts: &[Post]) {
    let sequences = |post: &Post| (post.text("message_id"), post.sequence());
    let mut all: HashMap<String, HashSet<i64>> = HashMap::new();
    for (message, sequence) in posts.iter().map(sequences) {
        all.entry(message).or_default().insert(sequence);
    }
    let mut taken: HashSet<(String, i64)> = HashSet::new();
    for post in posts {
        let (message, sequence) = sequences(post);
        for earlier in all[&message].iter().filter(|one| **one < sequence) {
            assert!(taken.contains(&(message.clone(), *earlier)), "{sequence} of {message} came before {earlier}");
        }
        if post.taken {
            taken.insert((message, sequence));
        }
    }
}

/// The body is what docs/callback.schema.json says.
pub fn fits_the_schema(body: &Value) {
    static SCHEMA: std::sync::LazyLock<jsonschema::Validator> = std::sync::LazyLock::new(|| {
        let schema: Value = serde_json::from_str(include_str!("../../../docs/callback.schema.json")).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    });
    let errors: Vec<String> =
        SCHEMA.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path)).collect();
    assert!(errors.is_empty(), "{errors:?} in {body:#}");
}

/// What the log says of the endpoints of a sender.
pub async fn endpoint_events(gateway: &TestGateway) -> Result<Vec<(&'static str, String)>> {
    use proto::SenderChangeKind as Kind;
    use proto::list_events_request::Start;
    let filter = proto::EventFilter { types: vec![proto::EventType::SenderChanged as i32], ..Default::default() };
    let start = Some(Start::FromBeginning(true));
    let request = proto::ListEventsRequest { start, filter: Some(filter), page_size: 1_000 };
    let events = gateway.events.clone().list_events(request).await?.into_inner().events;
    let events = events.into_iter().filter_map(|event| match event.payload {
        Some(proto::event::Payload::SenderChanged(changed)) => match changed.kind() {
            Kind::CallbacksDisabled => Some(("disabled", changed.detail)),
            Kind::CallbacksEnabled => Some(("enabled", changed.detail)),
            _ => None,
        },
        _ => None,
    });
    Ok(events.collect())
}
