//! Files that callers hand over, so that messages can name them by the provider's id.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use futures::{Stream, StreamExt as _, stream};
use recado::fake::{self, Account, Action, FakeProvider, Fault, Script};
use recado::proto;
use recado::proto::messaging_service_client::MessagingServiceClient;
use recado::proto::upload_media_request::Item;
use recado::proto::{ApiKeyScope, DeliveryErrorReason, MediaKind, MessageStatus};

use ring::digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};

use crate::access::{guarded, make_key};
use crate::gateway::{Engine, Setup, TestGateway, after, keyed, text};
use crate::meta;
use crate::on_both_databases;
use crate::refusal::{Refusal, refusal, refused};
use crate::tools::{details, silent, until};

const PERSON: &str = "+5511987654321";
const CHUNK: usize = 64 << 10;

fn info(kind: MediaKind, mime_type: &str, size: Option<usize>) -> proto::UploadInfo {
    proto::UploadInfo {
        sender: "acme".into(),
        kind: kind as i32,
        mime_type: mime_type.into(),
        file_name: "caf\u{e9} \"1\".bin".into(),
        size_bytes: size.map(|size| size as i64),
    }
}

fn request(item: Item) -> proto::UploadMediaRequest {
    proto::UploadMediaRequest { item: Some(item) }
}

fn chunk(bytes: &[u8]) -> proto::UploadMediaRequest {
    request(Item::Chunk(bytes.to_vec()))
}

/// The description, then the file in parts.
fn whole(info: proto::UploadInfo, bytes: &[u8]) -> Vec<proto::UploadMediaRequest> {
    let first = std::iter::once(request(Item::Info(info)));
    first.chain(bytes.chunks(CHUNK).map(chunk)).collect()
}

async fn send(
    gateway: &TestGateway,
    requests: impl Stream<Item = proto::UploadMediaRequest> + Send + 'static,
) -> Result<proto::UploadedMedia, Status> {
    let answer = gateway.messaging.clone().upload_media(requests).await?.into_inner();
    Ok(answer.media.expect("an answer without a file"))
}

async fn upload(gateway: &TestGateway, info: proto::UploadInfo, bytes: &[u8]) -> Result<proto::UploadedMedia, Status> {
    send(gateway, stream::iter(whole(info, bytes))).await
}

async fn no(gateway: &TestGateway, requests: Vec<proto::UploadMediaRequest>) -> Refusal {
    refused(send(gateway, stream::iter(requests)).await.map(drop))
}

/// A caller that sends as the test tells it to.
fn slow_caller()
-> (mpsc::UnboundedSender<proto::UploadMediaRequest>, UnboundedReceiverStream<proto::UploadMediaRequest>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, UnboundedReceiverStream::new(receiver))
}

/// The message that names a file of that kind by its id.
fn by_id(kind: MediaKind, media_id: &str) -> proto::Media {
    proto::Media {
        kind: kind as i32,
        source: Some(proto::media::Source::MediaId(media_id.into())),
        ..Default::default()
    }
}

fn message(media: proto::Media) -> proto::SendMessageRequest {
    let content = Some(proto::send_message_request::Content::Media(media));
    proto::SendMessageRequest { content, ..text("acme", PERSON, "") }
}

fn boleto(media: proto::Media) -> proto::SendTemplateRequest {
    proto::SendTemplateRequest {
        sender: "acme".into(),
        to: PERSON.into(),
        template: "boleto_disponivel".into(),
        language_code: "pt_BR".into(),
        parameters: [("1", "Marina"), ("2", "12/01/2026")].map(|(key, value)| (key.into(), value.into())).into(),
        header: Some(proto::TemplateHeader { content: Some(proto::template_header::Content::Media(media)) }),
        buttons: vec![proto::TemplateButton { index: 0, parameter: "2291".into(), kind: 0 }],
        ..Default::default()
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// The sender `acme` at 360dialog.
async fn at_360dialog(gateway: &mut TestGateway) -> Result<FakeProvider> {
    let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
    let config = proto::sender::Config::Dialog360(proto::Dialog360Config {
        base_url: fake.base_url("dialog360"),
        api_key: "key-360-0f0e".into(),
        webhook_token: "hook-9f2c7b1ead".into(),
    });
    let sender = Some(proto::Sender { sender: "acme".into(), config: Some(config), ..Default::default() });
    let made = gateway.admin.create_sender(proto::CreateSenderRequest { sender }).await?.into_inner();
    let webhook_url = Some(made.sender.context("no sender")?.webhook_url);
    let account = Account { webhook_url, secret: Some("hook-9f2c7b1ead".into()) };
    let accounts = [("dialog360".to_owned(), account)].into();
    fake.set_script(Script { accounts, ..silent() }).map_err(anyhow::Error::msg)?;
    Ok(fake)
}

/// Uploads, sends by the id, as a message and in a template's header; and another id, which nobody has.
async fn kept_and_sent(gateway: &mut TestGateway, fake: &FakeProvider) -> Result<()> {
    let mut sent = Vec::new();
    // Told and not told beforehand, over several parts and in a part of one byte.
    let cases = [
        (MediaKind::Image, "image/jpeg", 300_000, true),
        (MediaKind::Document, "application/pdf", 1, false),
        (MediaKind::Document, "application/pdf", 6_000_000, false),
        (MediaKind::Voice, "audio/ogg; codecs=opus", CHUNK, true),
    ];
    for (n, (kind, mime_type, size, told)) in cases.into_iter().enumerate() {
        let bytes = fake::file(size);
        let kept = upload(gateway, info(kind, mime_type, told.then_some(size)), &bytes).await?;
        let ledger = fake.uploads()[n].clone();
        assert!(ledger.bytes == bytes, "{size} bytes came as {}", ledger.bytes.len());
        assert_eq!((ledger.media_id.as_str(), ledger.mime_type.as_str()), (kept.media_id.as_str(), mime_type));
        assert_eq!((ledger.file_name.as_str(), ledger.announced), ("café %221%22.bin", told));
        assert_eq!((kept.sender.as_str(), kept.size_bytes, kept.sha256), ("acme", size as i64, sha256(&bytes)));
        let day = Duration::from_secs(24 * 3_600);
        let expires = SystemTime::try_from(kept.expire_time.context("no expire_time")?)?;
        assert!(expires > SystemTime::now() + 29 * day && expires <= SystemTime::now() + 30 * day);
        sent.push(gateway.send(message(by_id(kind, &kept.media_id))).await?);
        if kind == MediaKind::Document {
            let header = boleto(by_id(kind, &kept.media_id));
            let template = gateway.messaging.send_template(header).await?.into_inner();
            let (message_id, cursor) = (template.message_id, template.cursor);
            sent.push(proto::SendMessageResponse { message_id, cursor, ..Default::default() });
        }
    }
    for message in &sent {
        let mut stream = gateway.stream(after(&message.cursor)).await?;
        stream.until(&message.message_id, MessageStatus::Sent).await?;
    }
    let unknown = gateway.send(message(by_id(MediaKind::Image, "1479537139650973"))).await?;
    let mut stream = gateway.stream(after(&unknown.cursor)).await?;
    let statuses = stream.until(&unknown.message_id, MessageStatus::Failed).await?;
    let error = statuses.last().and_then(|status| status.error.clone()).context("no error")?;
    assert_eq!((error.reason(), error.provider_code.as_str()), (DeliveryErrorReason::InvalidRequest, "100"));
    assert_eq!(fake.ledger().taken, sent.len() as u64);
    Ok(())
}

/// A gateway with a sender `acme` at Meta.
async fn scene(engine: Engine, setup: Setup) -> Result<(TestGateway, FakeProvider)> {
    let mut gateway = TestGateway::start_with(engine, setup).await?;
    let fake = meta::start(&mut gateway, silent()).await?;
    Ok((gateway, fake))
}

on_both_databases! {
    async fn a_file_is_kept_by_meta_and_sent_by_its_id(engine) {
        let (mut gateway, fake) = scene(engine, Setup::default()).await?;
        kept_and_sent(&mut gateway, &fake).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn a_file_is_kept_by_360dialog_and_sent_by_its_id(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = at_360dialog(&mut gateway).await?;
        kept_and_sent(&mut gateway, &fake).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn the_sandbox_keeps_files_too_and_who_takes_addresses_only_says_so(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        gateway.devino_sender("acme", &fake).await?;
        let image = info(MediaKind::Image, "image/jpeg", None);
        let refusal = no(&gateway, whole(image.clone(), b"x")).await;
        assert_eq!(refusal.is(), (Code::Unimplemented, "NOT_IMPLEMENTED"), "{refusal:?}");
        let kept = upload(&gateway, proto::UploadInfo { sender: "sandbox".into(), ..image }, b"x").await?;
        let media = message(by_id(MediaKind::Image, &kept.media_id));
        let sent = gateway.send(proto::SendMessageRequest { sender: "sandbox".into(), ..media }).await?;
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn o13_what_is_too_large_is_refused_as_soon_as_it_is_known(engine) {
        let (gateway, fake) = scene(engine, Setup::default()).await?;
        const MOST: usize = 5 << 20;
        // By its description, before a byte; by its bytes, though the caller would go on for ever.
        let announced = request(Item::Info(info(MediaKind::Image, "image/png", Some(MOST + 1))));
        let silence = stream::iter([announced]).chain(stream::pending());
        let refusal = refused(send(&gateway, silence).await.map(drop));
        assert_eq!((refusal.is(), &*refusal.fields), ((Code::InvalidArgument, "INVALID_REQUEST"), &["info.size_bytes TOO_LONG".to_owned()][..]));
        assert!(refusal.message.contains("5242880"), "{}", refusal.message);
        assert_eq!(fake.upload_counts().begun, 0);
        let first = request(Item::Info(info(MediaKind::Image, "image/png", None)));
        let endless = stream::iter([first]).chain(stream::repeat(chunk(&fake::file(CHUNK))));
        let refusal = refused(send(&gateway, endless).await.map(drop));
        assert_eq!((refusal.is(), &*refusal.fields), ((Code::InvalidArgument, "INVALID_REQUEST"), &["chunk TOO_LONG".to_owned()][..]));
        assert!(refusal.message.contains("5242880"), "{}", refusal.message);
        until("the provider noticed", async || Ok((fake.upload_counts().broken == 1).then_some(()))).await?;
        // The largest that fits.
        upload(&gateway, info(MediaKind::Image, "image/png", None), &fake::file(MOST)).await?;
        assert_eq!(fake.uploads().len(), 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn what_is_wrong_with_a_description_is_named_at_once(engine) {
        let (gateway, fake) = scene(engine, Setup::default()).await?;
        let fields = async |info| no(&gateway, whole(info, b"x")).await.fields;
        assert_eq!(fields(Default::default()).await, ["info.kind REQUIRED", "info.mime_type REQUIRED", "info.sender REQUIRED"]);
        let odd = proto::UploadInfo { kind: 99, size_bytes: Some(0), ..info(MediaKind::Image, "image", None) };
        assert_eq!(fields(odd).await, ["info.kind INVALID", "info.mime_type INVALID", "info.size_bytes INVALID"]);
        for mime_type in ["image/gif", "application/pdf"] {
            assert_eq!(fields(info(MediaKind::Image, mime_type, None)).await, ["info.mime_type NOT_SUPPORTED"]);
        }
        let header = "image/png; a=b\r\nX-Evil: 1";
        assert_eq!(fields(info(MediaKind::Image, header, None)).await, ["info.mime_type INVALID"]);
        let long = proto::UploadInfo { file_name: "é".repeat(1_025), ..info(MediaKind::Image, "image/png", None) };
        assert_eq!(fields(long).await, ["info.file_name TOO_LONG"]);
        assert_eq!(fake.upload_counts().begun, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_stream_that_is_no_file_is_refused(engine) {
        let (gateway, fake) = scene(engine, Setup::default()).await?;
        let image = |size| request(Item::Info(info(MediaKind::Image, "image/png", size)));
        for (requests, field) in [
            (vec![], "info REQUIRED"),
            (vec![chunk(b"x")], "info REQUIRED"),
            (vec![proto::UploadMediaRequest { item: None }], "item REQUIRED"),
            (vec![image(None)], "chunk REQUIRED"),
            (vec![image(None), chunk(b""), chunk(b"")], "chunk REQUIRED"),
            (vec![image(None), chunk(b"x"), image(None), chunk(b"x")], "info INVALID"),
            (vec![image(None), chunk(b"x"), proto::UploadMediaRequest { item: None }], "item REQUIRED"),
            (vec![image(Some(3)), chunk(b"xx")], "info.size_bytes INVALID"),
            (vec![image(Some(3)), chunk(b"xx"), chunk(b"xx")], "info.size_bytes INVALID"),
        ] {
            let refusal = no(&gateway, requests.clone()).await;
            assert_eq!((refusal.is(), &*refusal.fields), ((Code::InvalidArgument, "INVALID_REQUEST"), &[field.to_owned()][..]), "{requests:?}");
        }
        assert_eq!(fake.uploads(), []);
        gateway.stop().await?;
        Ok(())
    }

    async fn what_the_provider_says_is_answered_and_nothing_is_in_doubt(engine) {
        let (mut gateway, fake) = scene(engine, Setup::default()).await?;
        let play = |script| meta::play(&gateway, &fake, script);
        let image = || info(MediaKind::Image, "image/png", Some(1));
        // A type that Meta does not keep, a size that it does not keep of that type, a token that it does not know.
        for (given, size, script, reason, code) in [
            (info(MediaKind::Document, "application/zip", None), 1, silent(), "INVALID_MEDIA", "100"),
            (info(MediaKind::Document, "image/webp", None), 600_000, silent(), "INVALID_MEDIA", "HTTP 413"),
            (image(), 1, Script { api_key: Some("another".into()), ..silent() }, "SENDER_UNAUTHORIZED", "190"),
            (image(), 1, Script { senders: vec!["1".into()], ..silent() }, "INVALID_SENDER", "100"),
        ] {
            play(script);
            let refusal = no(&gateway, whole(given, &fake::file(size))).await;
            assert_eq!(refusal.is(), (Code::FailedPrecondition, reason), "{refusal:?}");
            assert_eq!((&*refusal.metadata["sender"], &*refusal.metadata["provider_code"]), ("acme", code));
            assert!(!format!("{refusal:?}").contains("EAAsample"), "{refusal:?}");
        }
        // Lost, cut off, out of order, throttled: to be done again, and never in doubt.
        let throttle = Action::Throttle { retry_after_s: Some(7), body_only: false };
        for (action, wait) in [
            (throttle, 7),
            (Action::DropBeforeAccept, 5),
            (Action::DropAfterAccept, 5),
            (Action::ErrorBeforeAccept { status: 503 }, 5),
            (Action::Garbage, 5),
        ] {
            play(Script { faults: vec![Fault::always(action.clone()).first(1)], ..silent() });
            let status = send(&gateway, stream::iter(whole(image(), b"x"))).await.unwrap_err();
            assert_eq!(refusal(&status).is(), (Code::Unavailable, "PROVIDER_UNAVAILABLE"), "{action:?}: {status:?}");
            let retry_delay = details(&status).retry_info().and_then(|info| info.retry_delay);
            assert_eq!(retry_delay, Some(Duration::from_secs(wait)), "{action:?}");
            upload(&gateway, image(), b"x").await?;
        }
        fake.stop().await;
        assert_eq!(no(&gateway, whole(image(), b"x")).await.is(), (Code::Unavailable, "PROVIDER_UNAVAILABLE"));
        // It is not what tells whether the sender can send.
        let sender = gateway.admin.get_sender(proto::GetSenderRequest { sender: "acme".into() }).await?.into_inner();
        assert_eq!(sender.sender.context("no sender")?.health(), proto::SenderHealth::Unspecified);
        gateway.stop().await?;
        Ok(())
    }

    async fn only_who_may_send_from_a_sender_may_upload_to_it(engine) {
        let (gateway, fake) = scene(engine, Setup::default()).await?;
        let mut gateway = TestGateway::start_on(gateway.stop().await?, guarded()).await?;
        let (_, sender) = make_key(&mut gateway, &[ApiKeyScope::Send], &["acme"]).await?;
        let (_, reader) = make_key(&mut gateway, &[ApiKeyScope::Read], &["acme"]).await?;
        let (_, other) = make_key(&mut gateway, &[ApiKeyScope::Send], &["sandbox"]).await?;
        let image = info(MediaKind::Image, "image/png", None);
        let ask = async |key: &str, info: &proto::UploadInfo| {
            let requests = stream::iter(whole(info.clone(), b"x"));
            gateway.messaging.clone().upload_media(keyed(requests, key)).await.map(drop)
        };
        let nobody = proto::UploadInfo { sender: "nobody".into(), ..image.clone() };
        for (key, info, code, why) in [
            (&reader, &image, Code::PermissionDenied, "PERMISSION_DENIED"),
            (&other, &image, Code::NotFound, "SENDER_NOT_FOUND"),
            (&sender, &nobody, Code::NotFound, "SENDER_NOT_FOUND"),
        ] {
            assert_eq!(refused(ask(key, info).await).is(), (code, why));
        }
        assert_eq!(fake.upload_counts().begun, 0);
        ask(&sender, &image).await?;
        assert_eq!(fake.uploads().len(), 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_caller_that_goes_away_leaves_nothing_behind(engine) {
        let (gateway, fake) = scene(engine, Setup::default()).await?;
        for told in [None, Some(1_000_000)] {
            fake.forget();
            let (caller, requests) = slow_caller();
            caller.send(request(Item::Info(info(MediaKind::Image, "image/png", told))))?;
            caller.send(chunk(&fake::file(1_000)))?;
            // A process of its own, as far as the gateway can tell: what ends with its runtime are its sockets.
            let process = tokio::runtime::Runtime::new()?;
            let address = gateway.grpc.clone();
            process.spawn(async move { MessagingServiceClient::connect(address).await.unwrap().upload_media(requests).await });
            until("it is being passed on", async || Ok((fake.upload_counts().begun == 1).then_some(()))).await?;
            process.shutdown_background();
            until("the provider noticed", async || Ok((fake.upload_counts().broken == 1).then_some(()))).await?;
            assert_eq!(fake.uploads(), []);
        }
        upload(&gateway, info(MediaKind::Image, "image/png", None), b"x").await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn a_caller_that_falls_silent_is_sent_away(engine) {
        let (gateway, fake) = scene(engine, Setup::default().with("media.idle_limit", "200ms")).await?;
        for first in [vec![], vec![request(Item::Info(info(MediaKind::Image, "image/png", None))), chunk(b"x")]] {
            let status = send(&gateway, stream::iter(first).chain(stream::pending())).await.unwrap_err();
            assert_eq!(refusal(&status).is(), (Code::DeadlineExceeded, "UPLOAD_TOO_SLOW"), "{status:?}");
        }
        until("the provider noticed", async || Ok((fake.upload_counts().broken == 1).then_some(()))).await?;
        assert_eq!(fake.uploads(), []);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_gateway_that_stops_says_so_to_who_uploads(engine) {
        let (gateway, fake) = scene(engine, Setup::default()).await?;
        let (caller, requests) = slow_caller();
        caller.send(request(Item::Info(info(MediaKind::Image, "image/png", None))))?;
        caller.send(chunk(b"x"))?;
        let mut messaging = gateway.messaging.clone();
        let call = tokio::spawn(async move { messaging.upload_media(requests).await.map(drop) });
        until("it is being passed on", async || Ok((fake.upload_counts().begun == 1).then_some(()))).await?;
        gateway.stop().await?;
        let refusal = refused(call.await?);
        assert_eq!(refusal.is(), (Code::Unavailable, "GOING_AWAY"));
        assert!(refusal.says_when_to_come_back);
        assert_eq!(fake.uploads(), []);
        Ok(())
    }
}
