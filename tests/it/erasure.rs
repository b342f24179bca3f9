//! EraseContact: what is gone, and what stays.

use anyhow::{Context as _, Result};
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::incoming_message::Content;
use recado::proto::{ApiKeyScope, MessageStatus};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::json;
use tonic::{Code, Status};

use crate::access::{ADMIN, guarded, make_key};
use crate::database::{Engine, TestDatabase};
use crate::gateway::{EventStream, Setup, TestGateway, after, held, keyed, text};
use crate::media::downloaded;
use crate::meta;
use crate::on_both_databases;
use crate::refusal::refused;
use crate::tools::{count, execute, fake, post, silent, until};

const RUI: &str = "351910000001";
const ANA: &str = "351910000002";

async fn erase(gateway: &mut TestGateway, contacts: &[&str]) -> Result<proto::EraseContactResponse, Status> {
    let contacts = contacts.iter().map(ToString::to_string).collect();
    let request = proto::EraseContactRequest { contacts, ..Default::default() };
    Ok(gateway.admin.erase_contact(request).await?.into_inner())
}

/// Where one of these words stands: in every text of every table, in the journal, which is sealed, as it is shown, and in
/// SQLite's files, also where nothing is.
async fn found(gateway: &TestGateway, words: &[&str]) -> Result<Vec<String>> {
    let rows = gateway.rows().await?;
    let backend = rows.get_database_backend();
    let tables = [
        ("messages", "request || peer || labels || COALESCE(error, '')"),
        ("attempts", "COALESCE(error, '') || COALESCE(exchange, '')"),
        ("events", "payload"),
        ("incoming_messages", "peer"),
        ("media", "source || file_name"),
        ("parked_reports", "report"),
    ];
    let mut found = Vec::new();
    for (table, columns) in tables {
        let query = format!("SELECT {columns} AS words FROM {table}");
        for row in rows.query_all_raw(Statement::from_string(backend, query)).await? {
            let text: String = row.try_get("", "words")?;
            found.extend(
                words.iter().filter(|word| text.contains(**word)).map(|word| format!("{word} in {table}: {text}")),
            );
        }
    }
    let request = proto::ListWebhookDeliveriesRequest { include_body: true, page_size: 1_000, ..Default::default() };
    for shown in gateway.admin.clone().list_webhook_deliveries(request).await?.into_inner().webhook_deliveries {
        let text = String::from_utf8_lossy(&shown.body);
        assert_eq!(shown.erase_time.is_some(), text.is_empty(), "{shown:?}");
        found.extend(
            words.iter().filter(|word| text.contains(**word)).map(|word| format!("{word} in a webhook: {text}")),
        );
    }
    if backend == sea_orm::DbBackend::Sqlite {
        for file in ["recado.db", "recado.db-wal"] {
            let bytes = std::fs::read(gateway.database.folder().join(file))?;
            let holds = |word: &&str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
            found.extend(words.iter().copied().filter(holds).map(|word| format!("{word} in {file}")));
        }
    }
    Ok(found)
}

fn wrote(id: u64, from: &str, text: &str) -> serde_json::Value {
    json!({ "incomingMessageId": id, "from": from, "to": "AcmeCare", "text": text })
}

async fn incoming(stream: &mut EventStream) -> Result<proto::IncomingMessage> {
    loop {
        if let Some(Payload::IncomingMessage(incoming)) = stream.next_event().await?.payload {
            return Ok(incoming);
        }
    }
}

fn files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).map(|entries| entries.filter_map(Result::ok).collect::<Vec<_>>());
    let count = |entry: std::fs::DirEntry| if entry.path().is_dir() { files(&entry.path()) } else { 1 };
    entries.unwrap_or_default().into_iter().map(count).sum()
}

on_both_databases! {
    async fn a_person_is_gone_from_every_place_and_the_bare_history_stays(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let webhook = gateway.devino_webhook("acme");
        // What Rui is told, and Ana.
        let mut request = text("acme", "+351910000001", "your code is 4711");
        let options = request.options.get_or_insert_default();
        options.callback_data = "order of Rui".into();
        options.labels.insert("name".into(), "Rui".into());
        options.idempotency_key = "k1".into();
        let told = gateway.send(request.clone()).await?;
        stream.until(&told.message_id, MessageStatus::Sent).await?;
        let to_ana = gateway.send(text("acme", ANA, "hello Ana")).await?;
        stream.until(&to_ana.message_id, MessageStatus::Sent).await?;
        let waiting = gateway.send(held("acme", RUI, "see you, Rui")).await?;
        // What they say: a webhook of its own with a file, and one that both share.
        let file = json!({
            "incomingMessageId": 1, "from": RUI, "to": "AcmeCare", "text": "my passport",
            "contentUrl": fake.file_url("1000"), "contentType": "image/png", "contentName": "passport of Rui.png",
        });
        assert_eq!(post(&webhook, file.to_string()).await?, 200);
        let Some(Content::Media(passport)) = incoming(&mut stream).await?.content else { anyhow::bail!("no file") };
        downloaded(&gateway, &passport.media_id).await?;
        let both = json!([wrote(2, RUI, "Rui's surprise"), wrote(3, ANA, "Ana's words")]).to_string();
        assert_eq!(post(&webhook, both.clone()).await?, 200);
        incoming(&mut stream).await?;
        incoming(&mut stream).await?;
        assert_eq!(post(&webhook, wrote(4, ANA, "Ana alone").to_string()).await?, 200);
        incoming(&mut stream).await?;
        let rows = gateway.rows().await?;
        execute(&rows, &format!(
            "INSERT INTO parked_reports (sender, report, receive_at_ms, orphan) VALUES \
             ('acme', '{{\"contact\":{{\"wa_id\":\"{RUI}\"}}}}', 1, false), \
             ('acme', '{{\"contact\":{{\"wa_id\":\"{ANA}\"}}}}', 1, false)"
        )).await?;
        let before = gateway.all_events().await?;
        let ana = |events: &[proto::Event]| -> Vec<proto::Event> {
            events.iter().filter(|event| format!("{event:?}").contains(ANA)).cloned().collect()
        };

        let erased = erase(&mut gateway, &["+351 910 000 001"]).await?;
        assert_eq!(erased, proto::EraseContactResponse {
            contacts: vec![RUI.into()],
            message_count: 2,
            cancelled_message_count: 1,
            left_message_count: 0,
            incoming_message_count: 2,
            // ACCEPTED and SENT, ACCEPTED and CANCELLED, and two that Rui wrote.
            event_count: 6,
            media_count: 1,
            webhook_delivery_count: 2,
            left_webhook_delivery_count: 0,
            parked_report_count: 1,
        });
        // What has no body any more is not parsed again.
        let all = proto::ReplayWebhookDeliveriesRequest { senders: vec!["acme".into()], ..Default::default() };
        assert_eq!(gateway.admin.replay_webhook_deliveries(all).await?.into_inner().replayed_count, 1);
        until("it was parsed again", async || {
            Ok((count(&rows, "journal WHERE pending IS NOT NULL").await? == 0).then_some(()))
        }).await?;
        let words = [RUI, "Rui", "4711", "passport", "surprise"];
        assert_eq!(found(&gateway, &words).await?, [] as [&str; 0]);
        assert_eq!(files(&gateway.database.folder().join("media")), 0);
        let request_media = proto::DownloadMediaRequest { media_id: passport.media_id };
        let gone = refused(gateway.messaging.download_media(request_media).await.map(drop));
        assert_eq!((&*gone.reason, &*gone.metadata["cause"]), ("MEDIA_FAILED", "ERASED"));

        // The log has every place, and Ana every word; also what is read from memory.
        let events = gateway.all_events().await?;
        assert_eq!(events.len(), before.len() + 1, "one more: CANCELLED");
        for (now, then) in events.iter().zip(&before) {
            assert_eq!((&now.cursor, &now.event_id, now.record_time), (&then.cursor, &then.event_id, then.record_time));
        }
        assert_eq!(ana(&events), ana(&before));
        let bare: Vec<&proto::Event> = events.iter().filter(|event| event.erase_time.is_some()).collect();
        assert_eq!(bare.len(), 6);
        let kinds = bare.iter().map(|event| match &event.payload {
            Some(Payload::StatusChanged(status)) => {
                assert_eq!((&*status.to, &*status.callback_data, status.labels.len()), ("", "", 0));
                status.status().as_str_name().trim_start_matches("MESSAGE_STATUS_").to_owned()
            }
            Some(Payload::IncomingMessage(incoming)) => {
                let Some(Content::Unsupported(left)) = &incoming.content else { panic!("{incoming:?}") };
                assert_eq!(incoming.contact, Some(proto::Contact::default()));
                left.r#type.clone()
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(kinds.collect::<Vec<_>>(), ["ACCEPTED", "SENT", "ACCEPTED", "erased", "erased", "CANCELLED"]);
        let (message, attempts) = gateway.message(&told.message_id).await?;
        assert_eq!((message.status(), &*message.to, attempts.len()), (MessageStatus::Sent, "", 1));
        assert!(message.erase_time.is_some() && attempts[0].exchanges.is_empty());
        assert_eq!(gateway.message(&waiting.message_id).await?.0.status(), MessageStatus::Cancelled);
        assert_eq!(fake.ledger().distinct, 2, "what was cancelled was not handed over");

        // Again: nothing. A repeat of the webhook brings nobody back, a status comes without the person, and the key sends
        // nothing twice.
        let again = erase(&mut gateway, &[RUI]).await?;
        assert_eq!(again, proto::EraseContactResponse { contacts: vec![RUI.into()], ..Default::default() });
        assert_eq!(post(&webhook, both).await?, 200);
        let status = json!([{ "messageId": message.provider_message_id, "status": "DELIVERED" }]);
        assert_eq!(post(&webhook, status.to_string()).await?, 200);
        let mut later = gateway.stream(after(&events.last().unwrap().cursor)).await?;
        let delivered = later.next_status(&told.message_id).await?;
        assert_eq!((delivered.status(), &*delivered.to, delivered.contact), (MessageStatus::Delivered, "", None));
        assert_eq!(gateway.all_events().await?.len(), events.len() + 1);
        let reused = refused(gateway.messaging.send_message(request).await);
        assert_eq!(reused.is(), (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_person_is_found_by_number_variants_and_by_the_id_beside_a_number(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let _fake = meta::start(&mut gateway, silent()).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let user_id = "BR.13491208655302741918";
        // Without the ninth digit; with a user id beside it; with nothing but the user id; and somebody else.
        for (n, (number, user)) in [("553187654321", ""), ("5531987654321", user_id), ("", user_id), ("5531987654322", "BR.2")]
            .into_iter().enumerate()
        {
            let mut message = meta::written(&format!("wamid.{n}"), &format!("secret {n}"));
            let mut person = json!({ "profile": { "name": format!("name {n}") } });
            message.as_object_mut().context("an object")?.remove("from");
            for (value, in_message, in_person) in [(number, "from", "wa_id"), (user, "from_user_id", "user_id")] {
                if !value.is_empty() {
                    message[in_message] = value.into();
                    person[in_person] = value.into();
                }
            }
            let value = json!({ "messages": [message], "contacts": [person] });
            let body = meta::envelope(vec![meta::change(meta::NUMBER, value)]);
            assert_eq!(meta::post(&meta::webhook(&gateway, "acme"), body).await?, 200);
            incoming(&mut stream).await?;
        }
        let erased = erase(&mut gateway, &["+5531987654321"]).await?;
        assert_eq!(erased.contacts, ["5531987654321", user_id]);
        assert_eq!((erased.incoming_message_count, erased.event_count, erased.webhook_delivery_count), (3, 3, 3));
        let gone = ["secret 0", "secret 1", "secret 2", "name 0", "name 1", "name 2", "553187654321", "5531987654321", user_id];
        let left = found(&gateway, &gone).await?;
        assert!(left.is_empty(), "{left:?}");
        let left = found(&gateway, &["secret 3", "5531987654322"]).await?;
        assert!(left.len() >= 3, "the other person is as before: {left:?}");
        gateway.stop().await?;
        Ok(())
    }

    async fn only_what_the_senders_have_that_are_named_and_the_key_may_see(engine) {
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        for id in ["one", "two", "three"] {
            let config = Some(proto::sender::Config::Sandbox(proto::SandboxConfig {}));
            let sender = Some(proto::Sender { sender: id.into(), config, ..Default::default() });
            gateway.admin.create_sender(keyed(proto::CreateSenderRequest { sender }, ADMIN)).await?;
        }
        let (_, admin_of_two) = make_key(&mut gateway, &[ApiKeyScope::Admin, ApiKeyScope::Read], &["one", "two"]).await?;
        let mut ids = Vec::new();
        for sender in ["one", "two", "three"] {
            let sent = gateway.messaging.send_message(keyed(held(sender, RUI, "olá"), ADMIN)).await?;
            ids.push(sent.into_inner().message_id);
        }
        let request = |senders: &[&str]| proto::EraseContactRequest {
            contacts: vec![RUI.into()], senders: senders.iter().map(ToString::to_string).collect(),
        };
        let hidden = refused(gateway.admin.erase_contact(keyed(request(&["three"]), &admin_of_two)).await);
        assert_eq!(hidden.is(), (Code::NotFound, "SENDER_NOT_FOUND"));
        let mut erased = Vec::new();
        for (key, senders) in [(ADMIN, &["one"][..]), (&admin_of_two, &[]), (ADMIN, &[])] {
            let answer = gateway.admin.erase_contact(keyed(request(senders), key)).await?.into_inner();
            assert_eq!(answer.message_count, 1, "{senders:?}");
            let mut gone = Vec::new();
            for id in &ids {
                let request = proto::GetMessageRequest { message_id: id.clone() };
                let message = gateway.messaging.get_message(keyed(request, ADMIN)).await?.into_inner().message;
                gone.push(message.context("no message")?.erase_time.is_some());
            }
            erased.push(gone);
        }
        assert_eq!(erased, [[true, false, false], [true, true, false], [true, true, true]]);
        gateway.stop().await?;
        Ok(())
    }

    async fn what_is_under_way_is_left_and_goes_when_asked_again(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let in_doubt = gateway.send(held("sandbox", RUI, "in doubt")).await?;
        let pending = gateway.send(held("sandbox", RUI, "waits")).await?;
        let rows = gateway.rows().await?;
        let doubt = |status: i32, due: &str| format!(
            "UPDATE messages SET status = {status}, due_at_ms = {due} WHERE request LIKE '%in doubt%'"
        );
        execute(&rows, &doubt(5, "due_at_ms")).await?;
        let erased = erase(&mut gateway, &[RUI]).await?;
        assert_eq!((erased.message_count, erased.cancelled_message_count, erased.left_message_count), (1, 1, 1));
        let (message, _) = gateway.message(&in_doubt.message_id).await?;
        assert_eq!((&*message.to, message.erase_time), (RUI, None), "it may have to be sent again");
        assert!(gateway.message(&pending.message_id).await?.0.erase_time.is_some());
        execute(&rows, &doubt(10, "NULL")).await?;
        let erased = erase(&mut gateway, &[RUI]).await?;
        assert_eq!((erased.message_count, erased.cancelled_message_count, erased.left_message_count), (1, 0, 0));
        assert_eq!(found(&gateway, &[RUI, "in doubt"]).await?, [] as [&str; 0]);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_wrong_request_erases_nobody(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(1, "").await?;
        for (contacts, expected) in [
            (vec![], "contacts REQUIRED"),
            (vec![RUI.to_owned(); 21], "contacts TOO_LONG"),
            (vec![" ".into()], "contacts[0] REQUIRED"),
            (vec![RUI.into(), "a\u{0}b".into()], "contacts[1] INVALID"),
        ] {
            let request = proto::EraseContactRequest { contacts, ..Default::default() };
            let refusal = refused(gateway.admin.erase_contact(request).await);
            assert_eq!((refusal.code, refusal.fields), (Code::InvalidArgument, vec![expected.to_owned()]));
        }
        assert_eq!(count(&gateway.rows().await?, "messages WHERE erase_at_ms IS NOT NULL").await?, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_file_that_is_being_fetched_is_not_kept(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        // It is not there for a while, so it is between two tries or in hand.
        let file = json!({
            "incomingMessageId": 1, "from": RUI, "to": "AcmeCare", "text": "x",
            "contentUrl": fake.file_url("late/1000?missing=3"), "contentType": "image/png", "contentName": "Rui.png",
        });
        assert_eq!(post(&gateway.devino_webhook("acme"), file.to_string()).await?, 200);
        incoming(&mut stream).await?;
        assert_eq!(erase(&mut gateway, &[RUI]).await?.media_count, 1);
        let rows = gateway.rows().await?;
        let folder = gateway.database.folder().join("media");
        // A try that was under way ends in nothing.
        until("no file is kept", async || {
            let at_rest = count(&rows, "media WHERE claim IS NULL AND due_at_ms IS NULL AND state = 3").await? == 1;
            Ok((at_rest && files(&folder) == 0).then_some(()))
        }).await?;
        assert_eq!(found(&gateway, &["Rui"]).await?, [] as [&str; 0]);
        gateway.stop().await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_replica_has_in_memory_is_erased_too() -> Result<()> {
    let database = TestDatabase::create(Engine::Postgres).await?;
    let mut one = TestGateway::start_on(database.clone(), Setup::default()).await?;
    let mut two = TestGateway::start_on(database, Setup::default()).await?;
    let mut live = two.stream(Default::default()).await?;
    one.send(held("sandbox", RUI, "olá")).await?;
    live.events(1).await?;
    assert_eq!(erase(&mut one, &[RUI]).await?.event_count, 2);
    assert!(one.all_events().await?.iter().all(|event| !format!("{event:?}").contains(RUI)));
    let events = std::sync::Arc::new(tokio::sync::Mutex::new(two));
    until("the other one reads it anew", async || {
        let all = events.lock().await.all_events().await?;
        Ok(all.iter().all(|event| !format!("{event:?}").contains(RUI)).then_some(()))
    })
    .await?;
    one.stop().await?;
    std::sync::Arc::into_inner(events).context("one holder")?.into_inner().stop().await?;
    Ok(())
}
