//! What many tests say.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use recado::fake::{FakeProvider, Script};
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::{MessageStatus, SenderState};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::gateway::{EventStream, TestGateway};

/// The token in the webhook address of `TestGateway::devino_sender`.
pub const TOKEN: &str = "test-token-0123456789";

/// How long a condition may take to come true. Nothing is expected to come near it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Asks until there is an answer.
pub async fn until<T, F>(what: &str, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let asking = async {
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.with_context(|| format!("waited in vain until {what}"))?
}

/// A fake provider with a script.
pub async fn fake(script: Script) -> Result<FakeProvider> {
    let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
    play(&fake, script);
    Ok(fake)
}

/// Another script from now on.
pub fn play(fake: &FakeProvider, script: Script) {
    fake.set_script(script).unwrap();
}

/// A script without statuses: the test posts them itself, or waits for none.
pub fn silent() -> Script {
    Script { statuses: Vec::new(), ..Script::default() }
}

/// Settings that make an engine impatient: waits that tests would have to sit through are short.
pub fn impatient() -> Vec<(&'static str, String)> {
    let settings = [
        ("engine.call_limit", "1s"),
        ("engine.lease", "3s"),
        ("engine.in_doubt_wait", "300ms"),
        ("engine.retry_first", "50ms"),
        ("engine.retry_cap", "200ms"),
    ];
    settings.into_iter().map(|(key, value)| (key, value.to_owned())).collect()
}

/// A number that nobody else in a test has.
pub fn number(n: usize) -> String {
    format!("351910{n:06}")
}

/// Options with a key.
pub fn keyed(key: &str) -> proto::SendOptions {
    proto::SendOptions { idempotency_key: key.into(), ..Default::default() }
}

/// The same request with these options.
pub fn with(request: proto::SendMessageRequest, options: proto::SendOptions) -> proto::SendMessageRequest {
    proto::SendMessageRequest { options: Some(options), ..request }
}

/// A batch of messages.
pub fn batch(messages: impl IntoIterator<Item = proto::SendMessageRequest>) -> proto::BatchSendRequest {
    let entry = |message| proto::BatchSendEntry { entry: Some(proto::batch_send_entry::Entry::Message(message)) };
    proto::BatchSendRequest { entries: messages.into_iter().map(entry).collect() }
}

/// The details of an error, which all of ours have.
pub fn details(status: &Status) -> ErrorDetails {
    status.get_error_details()
}

/// The reason of an error, and its metadata.
pub fn reason(status: &Status) -> (String, HashMap<String, String>) {
    let info = details(status).error_info().cloned().expect("every error has an ErrorInfo");
    assert_eq!(info.domain, "recado");
    (info.reason, info.metadata)
}

/// The fields of an INVALID_ARGUMENT.
pub fn fields(status: &Status) -> Vec<String> {
    details(status)
        .bad_request()
        .map_or_else(Vec::new, |bad| bad.field_violations.iter().map(|violation| violation.field.clone()).collect())
}

/// A word of a status, for comparing.
pub fn word(status: MessageStatus) -> &'static str {
    status.as_str_name().trim_start_matches("MESSAGE_STATUS_")
}

impl TestGateway {
    /// Sends, and wants an OK.
    pub async fn send(&mut self, request: proto::SendMessageRequest) -> Result<proto::SendMessageResponse> {
        Ok(self.messaging.send_message(request).await?.into_inner())
    }

    /// Sends a batch, and wants every entry accepted.
    pub async fn send_all(
        &mut self,
        messages: impl IntoIterator<Item = proto::SendMessageRequest>,
    ) -> Result<Vec<proto::SendMessageResponse>> {
        use proto::batch_send_result::Result as Outcome;
        let answer = self.messaging.batch_send(batch(messages)).await?.into_inner();
        let accepted = |result: proto::BatchSendResult| match result.result {
            Some(Outcome::Accepted(accepted)) => Ok(accepted),
            other => bail!("not accepted: {other:?}"),
        };
        answer.results.into_iter().map(accepted).collect()
    }

    /// A message as it stands, with its attempts.
    pub async fn message(&self, id: &str) -> Result<(proto::Message, Vec<proto::Attempt>)> {
        let request = proto::GetMessageRequest { message_id: id.into() };
        let answer = self.messaging.clone().get_message(request).await?.into_inner();
        Ok((answer.message.context("no message")?, answer.attempts))
    }

    /// A Devino sender that speaks to any address.
    pub async fn devino_sender_at(&mut self, id: &str, base_url: &str) -> Result<proto::Sender> {
        let sender = proto::Sender {
            sender: id.into(),
            config: Some(proto::sender::Config::Devino(proto::DevinoConfig {
                base_url: base_url.into(),
                api_key: "test-key-0123456789".into(),
                from: "AcmeCare".into(),
                api: proto::DevinoApi::Classic as i32,
                webhook_token: TOKEN.into(),
            })),
            ..Default::default()
        };
        let request = proto::CreateSenderRequest { sender: Some(sender) };
        self.admin.create_sender(request).await?.into_inner().sender.context("CreateSender answered no sender")
    }

    /// Pauses a sender, or lets it go on.
    pub async fn set_state(&mut self, sender: &str, state: SenderState) -> Result<()> {
        let sender = proto::Sender { sender: sender.into(), state: state as i32, ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["state".into()] });
        self.admin.update_sender(proto::UpdateSenderRequest { sender: Some(sender), update_mask }).await?;
        Ok(())
    }

    /// Where a Devino sender's webhooks go, with the token.
    pub fn devino_webhook(&self, sender: &str) -> String {
        format!("{}/webhooks/devino/{sender}?token={TOKEN}", self.http)
    }

    /// The database, as nobody but a test looks at it.
    pub async fn rows(&self) -> Result<DatabaseConnection> {
        Ok(Database::connect(&self.database.url).await?)
    }
}

/// Runs one statement.
pub async fn execute(database: &DatabaseConnection, sql: &str) -> Result<()> {
    database.execute_unprepared(sql).await?;
    Ok(())
}

/// Counts rows: `journal`, `parked_reports`, `journal WHERE pending IS NOT NULL`.
pub async fn count(database: &DatabaseConnection, from: &str) -> Result<i64> {
    let text = format!("SELECT COUNT(*) AS n FROM {from}");
    let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), text)).await?;
    Ok(row.context("no count")?.try_get("", "n")?)
}

/// Posts JSON, once; answers the HTTP status.
pub async fn post(url: &str, body: impl Into<reqwest::Body>) -> Result<u16> {
    let request = reqwest::Client::builder().no_proxy().build()?.post(url);
    let response = request.header("content-type", "application/json").body(body).send().await?;
    Ok(response.status().as_u16())
}

/// The statuses of an event stream by message.
#[derive(Debug, Default)]
pub struct Seen {
    pub by_message: HashMap<String, Vec<proto::MessageStatusChanged>>,
}

impl Seen {
    /// Reads on until so many messages stand at `last`.
    pub async fn until_all(stream: &mut EventStream, messages: usize, last: MessageStatus) -> Result<Self> {
        let mut seen = Self::default();
        let mut done = 0;
        while done < messages {
            if let Some(Payload::StatusChanged(status)) = stream.next_event().await?.payload {
                done += usize::from(status.status() == last);
                seen.by_message.entry(status.message_id.clone()).or_default().push(status);
            }
        }
        Ok(seen)
    }

    /// The words of a message, in the order in which they came.
    pub fn words(&self, message_id: &str) -> Vec<&'static str> {
        self.by_message.get(message_id).map(|statuses| crate::gateway::words(statuses)).unwrap_or_default()
    }
}
