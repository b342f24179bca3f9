//! What a restart must leave as it was.

use anyhow::{Context as _, Result, ensure};
use recado::domain::now_ms;
use recado::fake::{Action, FakeProvider, Fault, Script};
use recado::proto;
use recado::proto::event_service_client::EventServiceClient;
use recado::proto::{AttemptOutcome, MessageStatus};
use serde_json::json;
use tonic::transport::Channel;

use crate::gateway::{Engine, TestDatabase, text};
use crate::judge::millis;
use crate::on_both_databases;
use crate::process::{Addresses, Setup, channel, devino_sender, wait_for};

type Messaging = recado::proto::messaging_service_client::MessagingServiceClient<Channel>;

/// Answered with 429 once, and an hour's wait.
const LATER: &str = "351910000001";
/// Answered with 429 once, and a moment's wait.
const SOON: &str = "351910000002";

on_both_databases! {
    async fn t13_a_kill_in_the_middle_of_a_retry_schedule_keeps_count_and_time(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = Setup::new(&database.url, folder.path());
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        let throttle = |to: &str, seconds| {
            let action = Action::Throttle { retry_after_s: Some(seconds), body_only: false };
            Fault::always(action).to(to).first(1)
        };
        fake.set_script(Script { faults: vec![throttle(LATER, 3_600), throttle(SOON, 2)], ..Script::default() })
            .map_err(anyhow::Error::msg)?;
        let mut process = setup.start().await?;
        devino_sender(setup.addresses.grpc, "acme", &fake).await?;
        let mut messaging = setup.messaging();
        // Of two senders: one that is throttled waits with all its messages.
        devino_sender(setup.addresses.grpc, "other", &fake).await?;
        let later = refused_once(&mut messaging, "other", LATER).await?;
        let soon = refused_once(&mut messaging, "acme", SOON).await?;
        process.kill()?;

        let _process = setup.start().await?;
        let mut messaging = setup.messaging();
        let read = wait_for("the second try", async || {
            let found = get(&mut messaging, &soon.message_id).await?;
            let read = found.message.as_ref().is_some_and(|message| message.status() == MessageStatus::Read);
            Ok(read.then_some(found))
        });
        let outcomes: Vec<AttemptOutcome> = read.await?.attempts.iter().map(|attempt| attempt.outcome()).collect();
        assert_eq!(outcomes, [AttemptOutcome::NotTaken, AttemptOutcome::Taken]);
        let [row] = fake.rows().try_into().map_err(|rows| anyhow::anyhow!("the provider took {rows:?}"))?;
        assert_eq!((row.message_id.as_str(), row.times), (soon.message_id.as_str(), 1));
        let due = soon.next_attempt_time.map(millis).unwrap_or_default();
        ensure!(row.at_ms >= due, "tried again {} ms too early", due - row.at_ms);
        let found = get(&mut messaging, &later.message_id).await?.message;
        assert_eq!(found, Some(later));
        Ok(())
    }
}

on_both_databases! {
    async fn t13_a_scheduled_message_goes_at_its_time_and_not_before_whatever_was_killed(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = Setup::new(&database.url, folder.path());
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        let mut process = setup.start().await?;
        devino_sender(setup.addresses.grpc, "acme", &fake).await?;
        let mut messaging = setup.messaging();
        let send_at = |millis: i64| {
            let at = now_ms() + millis;
            prost_types::Timestamp { seconds: at / 1_000, nanos: (at % 1_000) as i32 * 1_000_000 }
        };
        let mut schedule = async |to: &str, after_ms| {
            let time = send_at(after_ms);
            let options = Some(proto::SendOptions { send_time: Some(time), ..Default::default() });
            let request = proto::SendMessageRequest { options, ..text("acme", to, to) };
            anyhow::Ok((messaging.send_message(request).await?.into_inner().message_id, millis(time)))
        };
        // One whose time comes while nobody is there, one later, and one that is cancelled.
        let (missed, _) = schedule("+351910000001", 100).await?;
        let (later, later_at) = schedule("+351910000002", 4_000).await?;
        let (cancelled, _) = schedule("+351910000003", 4_000).await?;
        let mut messaging = setup.messaging();
        messaging.cancel_message(proto::CancelMessageRequest { message_id: cancelled.clone() }).await?;
        process.kill()?;
        ensure!(fake.ledger().distinct <= 1, "before its time: {:?}", fake.rows());

        let _process = setup.start().await?;
        let mut messaging = setup.messaging();
        for id in [&missed, &later] {
            wait_for("READ", async || {
                let message = get(&mut messaging, id).await?.message.context("no message")?;
                Ok((message.status() == MessageStatus::Read).then_some(()))
            }).await?;
        }
        let rows = fake.rows();
        let row = rows.iter().find(|row| row.message_id == later).context("it was not handed over")?;
        ensure!(row.at_ms >= later_at, "handed over {} ms early", later_at - row.at_ms);
        assert_eq!((rows.len(), fake.ledger().twice.len()), (2, 0));
        let message = get(&mut messaging, &cancelled).await?.message.context("no message")?;
        assert_eq!(message.status(), MessageStatus::Cancelled);
        Ok(())
    }

    async fn o15_a_validity_that_ended_while_nobody_was_there_is_no_call(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = Setup::new(&database.url, folder.path());
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        // Refused until the end of its validity; its retries are still to come when the gateway is killed.
        let throttle = Action::Throttle { retry_after_s: Some(3), body_only: false };
        fake.set_script(Script { faults: vec![Fault::always(throttle).first(1)], ..Script::default() })
            .map_err(anyhow::Error::msg)?;
        let mut process = setup.start().await?;
        devino_sender(setup.addresses.grpc, "acme", &fake).await?;
        let mut messaging = setup.messaging();
        let validity = Some(prost_types::Duration { seconds: 2, nanos: 0 });
        let options = Some(proto::SendOptions { validity, ..Default::default() });
        let request = proto::SendMessageRequest { options, ..text("acme", "+351910000001", "olá") };
        let id = messaging.send_message(request).await?.into_inner().message_id;
        let expire = wait_for("a first try", async || {
            let message = get(&mut messaging, &id).await?.message.context("no message")?;
            Ok(message.error.is_some().then(|| message.expire_time.map(millis)).flatten())
        }).await?;
        process.kill()?;
        wait_for("the end of its validity", async || Ok((now_ms() > expire).then_some(()))).await?;

        let _process = setup.start().await?;
        let mut messaging = setup.messaging();
        let found = wait_for("EXPIRED", async || {
            let found = get(&mut messaging, &id).await?;
            let expired = found.message.as_ref().is_some_and(|message| message.status() == MessageStatus::Expired);
            Ok(expired.then_some(found))
        }).await?;
        assert_eq!((found.attempts.len(), fake.ledger().requests), (1, 1), "one try, before the kill");
        Ok(())
    }

    async fn a_kill_in_the_middle_of_a_file_costs_nothing_but_the_try(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = Setup::new(&database.url, folder.path());
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        let mut process = setup.start().await?;
        let webhook_url = devino_sender(setup.addresses.grpc, "acme", &fake).await?;
        // The first fetching never ends by itself.
        let path = "stuck/300000?times=1";
        let payload = json!({ "from": "351910000001", "to": "AcmeCare", "contentUrl": fake.file_url(path) });
        let serde_json::Value::Object(payload) = payload else { unreachable!("an object, a line above") };
        fake.post_incoming("devino", &webhook_url, payload).map_err(anyhow::Error::msg)?;
        wait_for("the file being fetched", async || Ok((fake.file_asked(path) == 1).then_some(()))).await?;
        process.kill()?;

        let _process = setup.start().await?;
        let mut events = EventServiceClient::new(channel(setup.addresses.grpc));
        let start = Some(proto::list_events_request::Start::FromBeginning(true));
        let request = proto::ListEventsRequest { start, page_size: 1_000, ..Default::default() };
        let events = events.list_events(request).await?.into_inner().events;
        let media_ids: Vec<String> = events.into_iter().filter_map(media_id).collect();
        let [media_id] = media_ids.try_into().map_err(|ids| anyhow::anyhow!("files {ids:?}"))?;
        let mut messaging = setup.messaging();
        let bytes = wait_for("the file", async || download(&mut messaging, &media_id).await).await?;
        ensure!(bytes == recado::fake::file(300_000), "{} bytes that are not the file's", bytes.len());
        assert_eq!(fake.file_asked(path), 2);
        Ok(())
    }
}

on_both_databases! {
    async fn a_held_message_survives_a_kill_and_goes_when_the_person_writes(engine) {
        let database = TestDatabase::create(engine).await?;
        let folder = tempfile::tempdir()?;
        let setup = Setup::new(&database.url, folder.path());
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        let mut process = setup.start().await?;
        let webhook_url = devino_sender(setup.addresses.grpc, "acme", &fake).await?;
        let mut messaging = setup.messaging();
        let hold = proto::window_policy::Action::HoldUntilIncoming as i32;
        let policy = proto::WindowPolicy { action: hold, template: None };
        let options = proto::SendOptions { on_window_closed: Some(policy), ..Default::default() };
        let request = proto::SendMessageRequest { options: Some(options), ..text("acme", "+351910000001", "olá") };
        let sent = messaging.send_message(request).await?.into_inner();
        let held = wait_for("HELD", async || {
            let message = get(&mut messaging, &sent.message_id).await?.message.context("no message")?;
            Ok((message.status() == MessageStatus::Held).then_some(message))
        });
        let held = held.await?;
        process.kill()?;

        let _process = setup.start().await?;
        let mut messaging = setup.messaging();
        assert_eq!(get(&mut messaging, &sent.message_id).await?.message, Some(held));
        let payload = json!({ "from": "351910000001", "to": "AcmeCare", "text": "Olá" });
        let serde_json::Value::Object(payload) = payload else { unreachable!("an object, a line above") };
        fake.post_incoming("devino", &webhook_url, payload).map_err(anyhow::Error::msg)?;
        let read = wait_for("READ", async || {
            let found = get(&mut messaging, &sent.message_id).await?;
            let read = found.message.as_ref().is_some_and(|message| message.status() == MessageStatus::Read);
            Ok(read.then_some(found))
        });
        let outcomes: Vec<AttemptOutcome> = read.await?.attempts.iter().map(|attempt| attempt.outcome()).collect();
        assert_eq!((outcomes, fake.ledger().requests), (vec![AttemptOutcome::Taken], 1));
        Ok(())
    }
}

fn media_id(event: proto::Event) -> Option<String> {
    use proto::incoming_message::Content;
    match event.payload {
        Some(proto::event::Payload::IncomingMessage(proto::IncomingMessage {
            content: Some(Content::Media(media)),
            ..
        })) => Some(media.media_id),
        _ => None,
    }
}

/// A file's bytes; nothing while it is being fetched.
async fn download(messaging: &mut Messaging, media_id: &str) -> Result<Option<Vec<u8>>> {
    let request = proto::DownloadMediaRequest { media_id: media_id.to_owned() };
    let mut answers = match messaging.download_media(request).await {
        Ok(answers) => answers.into_inner(),
        Err(status) if status.code() == tonic::Code::Unavailable => return Ok(None),
        Err(status) => return Err(status.into()),
    };
    let mut bytes = Vec::new();
    while let Some(answer) = answers.message().await? {
        if let Some(proto::download_media_response::Item::Chunk(chunk)) = answer.item {
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(Some(bytes))
}

/// Sends to a number that is answered with 429; gives the message as it stands when it waits for its second try.
async fn refused_once(messaging: &mut Messaging, sender: &str, to: &str) -> Result<proto::Message> {
    let sent = messaging.send_message(text(sender, &format!("+{to}"), "olá")).await?.into_inner();
    wait_for("a first try", async || {
        let message = get(messaging, &sent.message_id).await?.message.context("no message")?;
        let waits = message.error.is_some() && message.next_attempt_time.is_some();
        ensure!(!waits || message.attempt_count == 1, "after one try: {message:?}");
        Ok(waits.then_some(message))
    })
    .await
}

async fn get(messaging: &mut Messaging, message_id: &str) -> Result<proto::GetMessageResponse> {
    Ok(messaging.get_message(proto::GetMessageRequest { message_id: message_id.to_owned() }).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_on_one_sqlite_file_refuses_to_start_and_harms_nothing() -> Result<()> {
    let database = TestDatabase::create(Engine::Sqlite).await?;
    let folder = tempfile::tempdir()?;
    let setup = Setup::new(&database.url, folder.path()).with("engine-call-limit", "20s").with("engine-lease", "60s");
    let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
    let slow = Fault::always(Action::Slow { ms: 1_500 });
    fake.set_script(Script { faults: vec![slow], ..Script::default() }).map_err(anyhow::Error::msg)?;
    let _process = setup.start().await?;
    devino_sender(setup.addresses.grpc, "acme", &fake).await?;
    let mut messaging = setup.messaging();
    let sent = messaging.send_message(text("acme", "+351910000001", "olá")).await?.into_inner();
    wait_for("the call", async || Ok((fake.ledger().taken == 1).then_some(()))).await?;

    let second = Setup { addresses: Addresses::choose(), log: folder.path().join("second.log"), ..setup };
    let mut second_process = second.spawn()?;
    let status = second_process.end().await?;
    ensure!(status.code().is_some_and(|code| code != 0), "the second gateway ended with {status}");
    let words = second_process.complaints();
    ensure!(words.contains("in use by another gateway") && words.contains("PostgreSQL"), "it said {words:?}");

    // The call under way at the first one was nobody else's to end.
    let read = wait_for("READ", async || {
        let found = get(&mut messaging, &sent.message_id).await?;
        let read = found.message.as_ref().is_some_and(|message| message.status() == MessageStatus::Read);
        Ok(read.then_some(found))
    });
    let outcomes: Vec<AttemptOutcome> = read.await?.attempts.iter().map(|attempt| attempt.outcome()).collect();
    assert_eq!(outcomes, [AttemptOutcome::Taken]);
    Ok(())
}
