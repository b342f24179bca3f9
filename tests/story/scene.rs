//! What happens, the same with every provider.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use recado::proto::admin_service_client::AdminServiceClient;
use recado::proto::download_media_response::Item;
use recado::proto::event::Payload;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::incoming_message::Content;
use recado::proto::messaging_service_client::MessagingServiceClient;
use recado::proto::stream_events_response::Item as Streamed;
use recado::proto::{self, MessageStatus};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::cast::{Cast, PERSON};
use crate::processes::Process;

/// Generous: the machine may be busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
/// The picture, as the fake has it.
const PICTURE: &str = "/files/48211";

/// Plays the story of one provider.
pub async fn play(cast: Cast) -> Result<()> {
    // A second install is refused; then the one that is there serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir()?;
    let told = tokio::time::timeout(PATIENCE, tell(&cast, folder.path())).await;
    let told = told.unwrap_or_else(|_| bail!("nothing happened any more"));
    told.with_context(|| {
        let log = std::fs::read_to_string(folder.path().join("serve.log")).unwrap_or_default();
        format!("the story of {}; the gateway said:\n{log}", cast.provider)
    })
}

async fn tell(cast: &Cast, folder: &std::path::Path) -> Result<()> {
    let provider = cast.provider;
    let fake = Process::start(&["fake-provider"], folder).await?.with_addr("addr")?;
    let arguments = ["serve", "--grpc-addr=127.0.0.1:0", "--http-addr=127.0.0.1:0", "--guard-allow=127.0.0.0/8"];
    let gateway = Process::start(&arguments, folder).await?;
    let (grpc, http) = (gateway.addr("grpc_addr")?, gateway.addr("http_addr")?);
    println!("\n# {provider}\n");
    println!("A gateway runs on {grpc}, its webhooks come in on {http}; {provider} is played on {}.", fake.addr);
    let channel = Channel::from_shared(format!("http://{grpc}"))?.connect().await?;

    let config = (cast.config)(format!("http://{}/{provider}", fake.addr));
    let sender = proto::Sender { sender: "acme".into(), config: Some(config), ..Default::default() };
    let request = proto::CreateSenderRequest { sender: Some(sender) };
    let made = AdminServiceClient::new(channel.clone()).create_sender(request).await?.into_inner().sender;
    let webhook_url = made.context("no sender in the answer")?.webhook_url + cast.webhook_suffix;
    fake.control("script", &json!({ "accounts": { provider: { "webhook_url": webhook_url, "secret": cast.secret } } }))
        .await?;
    println!("The operator makes the sender acme, and gives {provider} its webhook address.\n");

    let stream = EventServiceClient::new(channel.clone()).stream_events(proto::StreamEventsRequest::default()).await?;
    let mut events = Events(stream.into_inner());
    let mut messaging = MessagingServiceClient::new(channel);
    let template = (cast.template)();
    println!("A service sends the template {:?} to +{PERSON}.", template.template);
    let sent = messaging.send_template(template).await?.into_inner();
    events.until_read(&sent.message_id).await?;

    println!("\nThe person answers with a picture.");
    let picture = (cast.picture)(&format!("http://{}{PICTURE}", fake.addr));
    fake.control("incoming", &json!({ "provider": provider, "payload": picture })).await?;
    let (incoming, media) = events.picture().await?;
    let name = if incoming.profile_name.is_empty() { "Somebody".to_owned() } else { incoming.profile_name.clone() };
    println!("  {name} sent an image, {:?}: {}", media.caption, media.media_id);
    let (info, bytes) = download(&mut messaging, &media.media_id).await?;
    println!("  The service downloads it: {}, {} bytes, SHA-256 {}…", info.mime_type, bytes.len(), &info.sha256[..12]);
    if !cast.keeps_files {
        let right = reqwest::get(format!("http://{}{PICTURE}", fake.addr)).await?.bytes().await?;
        ensure!(bytes == right, "other bytes than the provider has");
    }
    ensure!(!bytes.is_empty(), "an empty file");
    ensure!(
        info.sha256 == hex::encode(ring::digest::digest(&ring::digest::SHA256, &bytes))
            && info.size_bytes == bytes.len() as i64,
        "{info:?}"
    );

    println!("\nThe window is open, and the service answers with a free text.");
    let text = proto::send_message_request::Content::Text(proto::Text {
        body: "Yes, that is the one. See you at nine!".into(),
        ..Default::default()
    });
    let request = proto::SendMessageRequest {
        sender: "acme".into(),
        to: format!("+{PERSON}"),
        content: Some(text),
        ..Default::default()
    };
    let sent = messaging.send_message(request).await?.into_inner();
    events.until_read(&sent.message_id).await?;

    let ledger: Value = reqwest::get(format!("http://{}/_control/ledger", fake.addr)).await?.json().await?;
    println!(
        "\n{provider} was handed {} messages, {} of them twice.",
        ledger["taken"],
        ledger["twice"].as_array().map_or(0, Vec::len)
    );
    ensure!((&ledger["taken"], &ledger["distinct"]) == (&json!(2), &json!(2)), "{ledger}");
    Ok(())
}

/// The fake provider's process.
struct Fake {
    addr: std::net::SocketAddr,
    _process: Process,
}

impl Process {
    fn with_addr(self, name: &str) -> Result<Fake> {
        Ok(Fake { addr: self.addr(name)?, _process: self })
    }
}

impl Fake {
    async fn control(&self, what: &str, body: &Value) -> Result<()> {
        let url = format!("http://{}/_control/{what}", self.addr);
        let request = match what {
            "script" => reqwest::Client::new().put(url),
            _ => reqwest::Client::new().post(url),
        };
        let answer = request.json(body).send().await?;
        ensure!(answer.status().is_success(), "{what}: {}", answer.text().await?);
        Ok(())
    }
}

/// What the subscriber sees, told as it comes.
struct Events(Streaming<proto::StreamEventsResponse>);

impl Events {
    async fn next(&mut self) -> Result<proto::Event> {
        loop {
            if let Some(Streamed::Event(event)) = self.0.message().await?.context("the stream ended")?.item {
                return Ok(event);
            }
        }
    }

    /// All statuses of a message, in order, to READ.
    async fn until_read(&mut self, message_id: &str) -> Result<()> {
        let mut expected =
            vec![MessageStatus::Accepted, MessageStatus::Sent, MessageStatus::Delivered, MessageStatus::Read];
        while !expected.is_empty() {
            let Some(Payload::StatusChanged(status)) = self.next().await?.payload else { continue };
            // Some providers say again that they sent it.
            if status.message_id != message_id || status.duplicate {
                continue;
            }
            let word = status.status().as_str_name().trim_start_matches("MESSAGE_STATUS_");
            match status.provider_message_id.as_str() {
                "" => println!("  {word}"),
                id => println!("  {word}  as {id}"),
            }
            ensure!(status.status() == expected.remove(0), "{status:?}");
        }
        Ok(())
    }

    async fn picture(&mut self) -> Result<(proto::IncomingMessage, proto::IncomingMedia)> {
        loop {
            let Some(Payload::IncomingMessage(incoming)) = self.next().await?.payload else { continue };
            let Some(Content::Media(media)) = incoming.content.clone() else { bail!("{incoming:?}") };
            return Ok((incoming, media));
        }
    }
}

/// The whole file, as soon as the gateway has fetched it.
async fn download(
    messaging: &mut MessagingServiceClient<Channel>,
    media_id: &str,
) -> Result<(proto::MediaInfo, Vec<u8>)> {
    loop {
        let request = proto::DownloadMediaRequest { media_id: media_id.to_owned() };
        let mut stream = match messaging.download_media(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) if matches!(status.code(), Code::Unavailable | Code::FailedPrecondition) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(status) => return Err(status.into()),
        };
        let Some(Item::Info(info)) = stream.message().await?.context("nothing came")?.item else {
            bail!("no description")
        };
        let mut bytes = Vec::new();
        while let Some(part) = stream.message().await? {
            let Some(Item::Chunk(chunk)) = part.item else { bail!("{part:?}") };
            bytes.extend(chunk);
        }
        return Ok((info, bytes));
    }
}
