//! Files that people send: from the webhook to DownloadMedia.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use recado::fake::{self, FakeProvider};
use recado::proto;
use recado::proto::ApiKeyScope;
use recado::proto::download_media_response::Item;
use recado::proto::event::Payload;
use recado::proto::incoming_message::Content;
use ring::digest;
use serde_json::json;
use tonic::{Code, Status};

use crate::access::{guarded, make_key};
use crate::gateway::{Engine, EventStream, Setup, TestDatabase, TestGateway, keyed};
use crate::on_both_databases;
use crate::refusal::{refusal, refused};
use crate::tools::{count, details, fake as provider, post, silent, until};

/// What Devino posts when somebody sends a file.
fn sent(id: u64, url: &str) -> String {
    json!({
        "incomingMessageId": id, "from": "351910000001", "to": "AcmeCare", "text": "look",
        "contentUrl": url, "contentType": "image/png", "contentName": "../../leaky pipe.png",
    })
    .to_string()
}

async fn next_media(stream: &mut EventStream) -> Result<proto::IncomingMedia> {
    loop {
        if let Some(Payload::IncomingMessage(incoming)) = stream.next_event().await?.payload {
            let Some(Content::Media(media)) = incoming.content else { anyhow::bail!("{:?}", incoming.content) };
            return Ok(media);
        }
    }
}

/// All that DownloadMedia answers.
async fn download(gateway: &TestGateway, media_id: &str) -> Result<(proto::MediaInfo, Vec<u8>), Status> {
    let mut messaging = gateway.messaging.clone();
    let request = proto::DownloadMediaRequest { media_id: media_id.into() };
    let mut stream = messaging.download_media(request).await?.into_inner();
    let first = stream.message().await?.and_then(|answer| answer.item);
    let Some(Item::Info(info)) = first else { panic!("the first answer is {first:?}") };
    let mut bytes = Vec::new();
    while let Some(answer) = stream.message().await? {
        let Some(Item::Chunk(chunk)) = answer.item else { panic!("{:?} among the bytes", answer.item) };
        assert!((1..=64 << 10).contains(&chunk.len()), "{} bytes in one answer", chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    Ok((info, bytes))
}

/// Asks until the file is there.
pub async fn downloaded(gateway: &TestGateway, media_id: &str) -> Result<(proto::MediaInfo, Vec<u8>)> {
    until("the file was fetched", async || match download(gateway, media_id).await {
        Ok(file) => Ok(Some(file)),
        Err(status) => not_ready(&status).map(|()| None),
    })
    .await
}

/// Asks until the file is given up; answers the cause.
async fn given_up(gateway: &TestGateway, media_id: &str) -> Result<String> {
    until("the file was given up", async || match download(gateway, media_id).await {
        Ok((info, _)) => anyhow::bail!("it was fetched: {info:?}"),
        Err(status) if status.code() == Code::FailedPrecondition => {
            let refusal = refusal(&status);
            assert_eq!(refusal.reason, "MEDIA_FAILED");
            Ok(Some(refusal.metadata["cause"].clone()))
        }
        Err(status) => not_ready(&status).map(|()| None),
    })
    .await
}

fn not_ready(status: &Status) -> Result<()> {
    ensure!(status.code() == Code::Unavailable, "{status:?}");
    assert_eq!(refusal(status).reason, "MEDIA_NOT_READY");
    let wait = details(status).retry_info().and_then(|info| info.retry_delay).context("no RetryInfo")?;
    assert!((Duration::from_secs(1)..=Duration::from_secs(60)).contains(&wait), "{wait:?}");
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A gateway with a sender `acme`, a stream, and a provider that keeps files.
async fn scene(engine: Engine, setup: Setup) -> Result<(TestGateway, FakeProvider, EventStream)> {
    let mut gateway = TestGateway::start_with(engine, setup).await?;
    let fake = provider(silent()).await?;
    gateway.devino_sender("acme", &fake).await?;
    let stream = gateway.stream(Default::default()).await?;
    Ok((gateway, fake, stream))
}

/// Somebody sends the file of that address to `acme`; answers its event's words about it.
async fn send(gateway: &TestGateway, stream: &mut EventStream, id: u64, url: &str) -> Result<proto::IncomingMedia> {
    assert_eq!(post(&gateway.devino_webhook("acme"), sent(id, url)).await?, 200);
    next_media(stream).await
}

on_both_databases! {
    async fn a_file_is_fetched_after_its_event_and_downloaded_as_it_was(engine) {
        let (mut gateway, fake, mut stream) = scene(engine, Setup::default()).await?;
        for (id, size) in [(1, 1), (2, 1_000), (3, 300_000), (4, 11_000_000)] {
            let media = send(&gateway, &mut stream, id, &fake.file_url(&size.to_string())).await?;
            assert_eq!(media.state(), proto::MediaState::Pending);
            assert_eq!((&*media.mime_type, &*media.file_name), ("image/png", "../../leaky pipe.png"));
            assert_eq!((&*media.caption, media.kind()), ("look", proto::MediaKind::Image));
            let (info, bytes) = downloaded(&gateway, &media.media_id).await?;
            assert!(bytes == fake::file(size), "{size} bytes came as {}", bytes.len());
            assert_eq!(info, proto::MediaInfo {
                media_id: media.media_id,
                mime_type: "image/png".into(),
                file_name: "../../leaky pipe.png".into(),
                size_bytes: size as i64,
                sha256: sha256(&bytes),
            });
            assert_eq!(fake.file_asked(&size.to_string()), 1);
        }
        // Events stay as they were recorded.
        let events = gateway.all_events().await?;
        let states = events.iter().filter_map(|event| match &event.payload {
            Some(Payload::IncomingMessage(incoming)) => match &incoming.content {
                Some(Content::Media(media)) => Some(media.state()),
                _ => None,
            },
            _ => None,
        });
        assert_eq!(states.collect::<Vec<_>>(), [proto::MediaState::Pending; 4]);
        gateway.stop().await?;
        Ok(())
    }

    async fn i13_a_file_that_is_not_there_yet_is_asked_for_again(engine) {
        let (gateway, fake, mut stream) = scene(engine, Setup::default()).await?;
        let media = send(&gateway, &mut stream, 1, &fake.file_url("late/1000?missing=2")).await?;
        let (_, bytes) = downloaded(&gateway, &media.media_id).await?;
        assert!(bytes == fake::file(1_000));
        assert_eq!(fake.file_asked("late/1000?missing=2"), 3);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_no_that_stays_is_believed_after_ten_tries(engine) {
        let setup = Setup::default().with("media.retry_first", "1ms").with("media.retry_cap", "5ms");
        let (gateway, fake, mut stream) = scene(engine, setup).await?;
        let media = send(&gateway, &mut stream, 1, &fake.file_url("late/1000?missing=99")).await?;
        assert_eq!(given_up(&gateway, &media.media_id).await?, "GONE");
        assert_eq!(fake.file_asked("late/1000?missing=99"), 10);
        gateway.stop().await?;
        Ok(())
    }

    async fn i14_files_over_the_cap_are_given_up_at_once(engine) {
        let (gateway, fake, mut stream) = scene(engine, Setup::default().with("media.bytes_max", "1000")).await?;
        let fits = send(&gateway, &mut stream, 1, &fake.file_url("1000")).await?;
        assert_eq!(downloaded(&gateway, &fits.media_id).await?.1.len(), 1_000);
        // Announced, and only found out on the way.
        for (id, path) in [(2, "1001"), (3, "slow/1001"), (4, "endless")] {
            let media = send(&gateway, &mut stream, id, &fake.file_url(path)).await?;
            assert_eq!(given_up(&gateway, &media.media_id).await?, "TOO_LARGE", "{path}");
            assert_eq!(fake.file_asked(path), 1);
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn i14_addresses_inside_the_network_are_never_asked(engine) {
        let (gateway, fake, mut stream) = scene(engine, Setup::default()).await?;
        let forbidden = fake.file_url("1000").replace("127.0.0.1", "127.0.0.2");
        let redirect = format!("redirect?to={forbidden}");
        let urls = [forbidden, fake.file_url(&redirect), "http://169.254.169.254/latest/meta-data/".into()];
        for (id, url) in urls.iter().enumerate() {
            let media = send(&gateway, &mut stream, id as u64, url).await?;
            assert_eq!(given_up(&gateway, &media.media_id).await?, "FORBIDDEN_ADDRESS", "{url}");
        }
        assert_eq!((fake.file_asked(&redirect), fake.file_asked("1000")), (1, 0));
        // One that is allowed may lead to another.
        let redirect = fake.file_url(&format!("redirect?to={}", fake.file_url("1000")));
        let media = send(&gateway, &mut stream, 9, &redirect).await?;
        assert_eq!(downloaded(&gateway, &media.media_id).await?.1, fake::file(1_000));
        gateway.stop().await?;
        Ok(())
    }

    async fn what_is_no_address_and_what_nobody_answers_is_given_up_in_its_time(engine) {
        let setup = Setup::default().with("media.retry_first", "1ms").with("media.retry_cap", "5ms");
        let setup = setup.with("media.give_up_after", "500ms").with("media.idle_limit", "100ms");
        let (gateway, fake, mut stream) = scene(engine, setup).await?;
        let silent = fake.file_url("stuck/100000?times=99");
        for (id, url, cause) in [(1, "ftp://x/y", "GONE"), (2, "http://127.0.0.1:1/x", "UNREACHABLE"), (3, &silent, "UNREACHABLE")] {
            let media = send(&gateway, &mut stream, id, url).await?;
            assert_eq!(given_up(&gateway, &media.media_id).await?, cause, "{url}");
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn i8_a_file_that_takes_long_holds_up_nobody(engine) {
        let (gateway, fake, mut stream) = scene(engine, Setup::default()).await?;
        let slow = send(&gateway, &mut stream, 1, &fake.file_url("stuck/100000?times=99")).await?;
        until("it is being fetched", async || Ok((fake.file_asked("stuck/100000?times=99") == 1).then_some(()))).await?;
        let quick = send(&gateway, &mut stream, 2, &fake.file_url("1000")).await?;
        assert_eq!(downloaded(&gateway, &quick.media_id).await?.1, fake::file(1_000));
        let status = download(&gateway, &slow.media_id).await.unwrap_err();
        not_ready(&status)?;
        gateway.stop().await?;
        Ok(())
    }

    async fn a_stop_in_the_middle_of_a_file_costs_nothing_but_the_try(engine) {
        let (mut gateway, fake, mut stream) = scene(engine, Setup::default()).await?;
        let path = "stuck/20000?times=1";
        let media = send(&gateway, &mut stream, 1, &fake.file_url(path)).await?;
        until("it is being fetched", async || Ok((fake.file_asked(path) == 1).then_some(()))).await?;
        not_ready(&download(&gateway, &media.media_id).await.unwrap_err())?;
        let database = gateway.stop().await?;
        // What one replica has given back, any other takes at once: the lease was a minute's.
        gateway = TestGateway::start_on(database, Setup::default()).await?;
        assert_eq!(downloaded(&gateway, &media.media_id).await?.1, fake::file(20_000));
        assert_eq!(fake.file_asked(path), 2);
        gateway.stop().await?;
        Ok(())
    }

    async fn i1_copies_are_one_file_and_each_sender_has_its_own(engine) {
        let (mut gateway, fake, mut stream) = scene(engine, Setup::default()).await?;
        gateway.devino_sender("other", &fake).await?;
        let url = fake.file_url("1000");
        let mut ids = Vec::new();
        for sender in ["acme", "acme", "other"] {
            assert_eq!(post(&gateway.devino_webhook(sender), sent(1, &url)).await?, 200);
        }
        for _ in 0..2 {
            ids.push(next_media(&mut stream).await?.media_id);
        }
        for id in &ids {
            assert_eq!(downloaded(&gateway, id).await?.1, fake::file(1_000));
        }
        assert_ne!(ids[0], ids[1]);
        assert_eq!(count(&gateway.rows().await?, "media").await?, 2);
        assert_eq!(fake.file_asked("1000"), 2);
        gateway.stop().await?;
        Ok(())
    }

    async fn only_who_may_read_a_sender_may_have_its_files(engine) {
        let (mut gateway, fake, mut stream) = scene(engine, Setup::default()).await?;
        gateway.devino_sender("other", &fake).await?;
        let media = send(&gateway, &mut stream, 1, &fake.file_url("1000")).await?;
        downloaded(&gateway, &media.media_id).await?;
        let mut gateway = TestGateway::start_on(gateway.stop().await?, guarded()).await?;
        let (_, reader) = make_key(&mut gateway, &[ApiKeyScope::Read], &["acme"]).await?;
        let (_, sender) = make_key(&mut gateway, &[ApiKeyScope::Send], &["acme"]).await?;
        let (_, other) = make_key(&mut gateway, &[ApiKeyScope::Read], &["other"]).await?;
        let mut ask = async |key: &str, media_id: &str| {
            let request = proto::DownloadMediaRequest { media_id: media_id.into() };
            gateway.messaging.download_media(keyed(request, key)).await.map(drop)
        };
        let unknown = "01999999-0000-7000-8000-000000000000";
        for (key, id, code, why) in [
            (&sender, &*media.media_id, Code::PermissionDenied, "PERMISSION_DENIED"),
            (&other, &media.media_id, Code::NotFound, "NOT_FOUND"),
            (&reader, unknown, Code::NotFound, "NOT_FOUND"),
            (&reader, "", Code::InvalidArgument, "INVALID_REQUEST"),
            (&reader, "../../etc/passwd", Code::InvalidArgument, "INVALID_REQUEST"),
        ] {
            let refusal = refused(ask(key, id).await);
            assert_eq!(refusal.is(), (code, why), "{id:?}");
            assert_eq!(refusal.fields.len(), usize::from(code == Code::InvalidArgument), "{refusal:?}");
        }
        ask(&reader, &media.media_id).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn a_file_of_a_deleted_sender_is_given_up(engine) {
        let (mut gateway, fake, mut stream) = scene(engine, Setup::default()).await?;
        let media = send(&gateway, &mut stream, 1, &fake.file_url("late/1000?missing=5")).await?;
        until("it was asked for", async || Ok((fake.file_asked("late/1000?missing=5") > 0).then_some(()))).await?;
        gateway.admin.delete_sender(proto::DeleteSenderRequest { sender: "acme".into() }).await?;
        assert_eq!(given_up(&gateway, &media.media_id).await?, "SENDER_DELETED");
        gateway.stop().await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_fetch_each_file_once() -> Result<()> {
    let database = TestDatabase::create(Engine::Postgres).await?;
    let mut one = TestGateway::start_on(database.clone(), Setup::default()).await?;
    let two = TestGateway::start_on(database, Setup::default()).await?;
    let fake = provider(silent()).await?;
    one.devino_sender("acme", &fake).await?;
    let mut stream = one.stream(Default::default()).await?;
    let files: Vec<String> = (0..30).map(|n| sent(n, &fake.file_url(&format!("slow/{}", 1_000 + n)))).collect();
    assert_eq!(post(&one.devino_webhook("acme"), format!("[{}]", files.join(","))).await?, 200);
    for n in 0..30 {
        let media = next_media(&mut stream).await?;
        assert_eq!(downloaded(&two, &media.media_id).await?.1, fake::file(1_000 + n));
    }
    for n in 0..30 {
        assert_eq!(fake.file_asked(&format!("slow/{}", 1_000 + n)), 1, "{n}");
    }
    one.stop().await?;
    two.stop().await?;
    Ok(())
}
