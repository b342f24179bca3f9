//! Who may do what: keys, scopes, senders, and what never leaves the gateway.

use std::time::Duration;

use anyhow::{Context as _, Result};
use recado::app::App;
use recado::fake::FakeProvider;
use recado::proto;
use recado::proto::ApiKeyScope;
use sea_orm::{ConnectionTrait as _, Statement};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::database::{Engine, TestDatabase};
use crate::gateway::{EventStream, Setup, TestGateway, held, keyed, text, until};
use crate::on_both_databases;
use crate::refusal::{refusal, refused};

/// How long a stop may take. Nothing is expected to come near it.
const PATIENCE: Duration = Duration::from_secs(30);

pub const ADMIN: &str = "admin-key-0f0e0d0c0b0a09080706050403020100";

/// Every call needs a key.
pub fn guarded() -> Setup {
    Setup::default().with("admin_key", ADMIN)
}

/// Makes a key; answers it and its secret.
pub async fn make_key(
    gateway: &mut TestGateway,
    scopes: &[ApiKeyScope],
    senders: &[&str],
) -> Result<(proto::ApiKey, String)> {
    let api_key = proto::ApiKey {
        display_name: "of a test".into(),
        scopes: scopes.iter().map(|scope| *scope as i32).collect(),
        senders: senders.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let request = proto::CreateApiKeyRequest { api_key: Some(api_key) };
    let answer = gateway.admin.create_api_key(keyed(request, ADMIN)).await?.into_inner();
    Ok((answer.api_key.context("no key")?, answer.secret))
}

async fn revoke(gateway: &mut TestGateway, id: &str) -> Result<(), Status> {
    let request = proto::RevokeApiKeyRequest { api_key_id: id.into() };
    gateway.admin.revoke_api_key(keyed(request, ADMIN)).await.map(drop)
}

/// Calls every rpc with an empty request; answers the name, the scope it asks for, and what came of it.
async fn every_rpc(gateway: &TestGateway, key: Option<&str>) -> Vec<(&'static str, ApiKeyScope, Result<(), Status>)> {
    let (mut messaging, mut events, mut admin) =
        (gateway.messaging.clone(), gateway.events.clone(), gateway.admin.clone());
    let mut opt_outs = gateway.opt_outs.clone();
    let mut templates = proto::template_service_client::TemplateServiceClient::new(gateway.channel.clone());
    macro_rules! call {
        ($($client:ident.$method:ident($request:ident) $scope:ident,)+) => { vec![$({
            let request = proto::$request::default();
            let request = match key {
                Some(key) => keyed(request, key),
                None => tonic::Request::new(request),
            };
            (stringify!($method), ApiKeyScope::$scope, $client.$method(request).await.map(drop))
        }),+] };
    }
    let mut answers = call! {
        messaging.send_message(SendMessageRequest) Send,
        messaging.send_template(SendTemplateRequest) Send,
        messaging.batch_send(BatchSendRequest) Send,
        messaging.plan_send(PlanSendRequest) Send,
        messaging.cancel_message(CancelMessageRequest) Send,
        messaging.get_message(GetMessageRequest) Read,
        messaging.list_messages(ListMessagesRequest) Read,
        messaging.download_media(DownloadMediaRequest) Read,
        events.stream_events(StreamEventsRequest) Read,
        events.list_events(ListEventsRequest) Read,
        events.ack_events(AckEventsRequest) Read,
        events.get_subscription(GetSubscriptionRequest) Read,
        events.list_subscriptions(ListSubscriptionsRequest) Read,
        events.seek_subscription(SeekSubscriptionRequest) Read,
        events.delete_subscription(DeleteSubscriptionRequest) Read,
        templates.list_templates(ListTemplatesRequest) Read,
        templates.get_template(GetTemplateRequest) Read,
        templates.refresh_templates(RefreshTemplatesRequest) Read,
        opt_outs.create_opt_out(CreateOptOutRequest) Send,
        opt_outs.list_opt_outs(ListOptOutsRequest) Read,
        opt_outs.delete_opt_out(DeleteOptOutRequest) Admin,
        admin.create_sender(CreateSenderRequest) Admin,
        admin.get_sender(GetSenderRequest) Admin,
        admin.list_senders(ListSendersRequest) Admin,
        admin.update_sender(UpdateSenderRequest) Admin,
        admin.delete_sender(DeleteSenderRequest) Admin,
        admin.check_sender(CheckSenderRequest) Admin,
        admin.create_api_key(CreateApiKeyRequest) Admin,
        admin.list_api_keys(ListApiKeysRequest) Admin,
        admin.revoke_api_key(RevokeApiKeyRequest) Admin,
        admin.list_webhook_deliveries(ListWebhookDeliveriesRequest) Admin,
        admin.replay_webhook_deliveries(ReplayWebhookDeliveriesRequest) Admin,
        admin.list_callbacks(ListCallbacksRequest) Admin,
        admin.retry_callbacks(RetryCallbacksRequest) Admin,
        admin.get_stats(GetStatsRequest) Admin,
        admin.erase_contact(EraseContactRequest) Admin,
    };
    let nothing = futures::stream::empty::<proto::UploadMediaRequest>();
    let upload = match key {
        Some(key) => messaging.upload_media(keyed(nothing, key)).await,
        None => messaging.upload_media(nothing).await,
    };
    answers.push(("upload_media", ApiKeyScope::Send, upload.map(drop)));
    answers
}

on_both_databases! {
    async fn every_rpc_asks_for_a_key_and_its_scope(engine) {
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        for key in [None, Some("wrong"), Some(""), Some(&ADMIN[1..])] {
            for (name, _, answer) in every_rpc(&gateway, key).await {
                assert_eq!(refused(answer).is(), (Code::Unauthenticated, "UNAUTHENTICATED"), "{name}");
            }
        }
        for (name, _, answer) in every_rpc(&gateway, Some(ADMIN)).await {
            if let Err(status) = answer {
                assert!(![Code::Unauthenticated, Code::PermissionDenied].contains(&status.code()), "{name}: {status:?}");
            }
        }
        for scope in [ApiKeyScope::Send, ApiKeyScope::Read, ApiKeyScope::Admin] {
            let (_, secret) = make_key(&mut gateway, &[scope], &[]).await?;
            for (name, needed, answer) in every_rpc(&gateway, Some(&secret)).await {
                let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
                assert_ne!(code, Code::Unauthenticated, "{name}");
                assert_eq!(code == Code::PermissionDenied, needed != scope, "{name} with {scope:?}: {answer:?}");
                if needed != scope {
                    assert_eq!(refused(answer).reason, "PERMISSION_DENIED", "{name}");
                }
            }
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_key_of_some_senders_sees_and_sends_only_theirs(engine) {
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        for id in ["mine", "theirs"] {
            let config = Some(proto::sender::Config::Sandbox(proto::SandboxConfig {}));
            let sender = Some(proto::Sender { sender: id.into(), config, ..Default::default() });
            gateway.admin.create_sender(keyed(proto::CreateSenderRequest { sender }, ADMIN)).await?;
        }
        let all = [ApiKeyScope::Send, ApiKeyScope::Read, ApiKeyScope::Admin];
        let (own, key) = make_key(&mut gateway, &all, &["mine"]).await?;
        let mut ids = Vec::new();
        for (i, sender) in ["theirs", "mine", "theirs", "mine"].into_iter().enumerate() {
            let request = held(sender, "+351910000001", &format!("number {i}"));
            ids.push(gateway.messaging.send_message(keyed(request, ADMIN)).await?.into_inner().message_id);
        }

        let not_found = |answer: Result<(), Status>, reason: &str| {
            assert_eq!(refused(answer).is(), (Code::NotFound, reason));
        };
        let sent = gateway.messaging.send_message(keyed(held("theirs", "+351910000001", "x"), &key)).await;
        not_found(sent.map(drop), "SENDER_NOT_FOUND");
        gateway.messaging.send_message(keyed(held("mine", "+351910000002", "x"), &key)).await?;
        for (id, visible) in ids.iter().zip([false, true, false, true]) {
            let get = keyed(proto::GetMessageRequest { message_id: id.clone() }, &key);
            let got = gateway.messaging.get_message(get).await;
            let mut quoting = held("mine", "+351910000001", "x");
            quoting.reply_to_message_id = id.clone();
            let quoted = gateway.messaging.send_message(keyed(quoting, &key)).await;
            let cancelled = match visible {
                true => Ok(()),
                false => {
                    let cancel = keyed(proto::CancelMessageRequest { message_id: id.clone() }, &key);
                    gateway.messaging.cancel_message(cancel).await.map(drop)
                }
            };
            for answer in [got.map(drop), quoted.map(drop), cancelled] {
                match visible {
                    true => answer?,
                    false => not_found(answer, "MESSAGE_NOT_FOUND"),
                }
            }
        }
        let list = keyed(proto::ListMessagesRequest::default(), &key);
        let listed = gateway.messaging.list_messages(list).await?.into_inner().messages;
        assert!(!listed.is_empty() && listed.iter().all(|message| message.sender == "mine"), "{listed:?}");
        let senders = vec!["theirs".to_owned()];
        let list = keyed(proto::ListMessagesRequest { senders: senders.clone(), ..Default::default() }, &key);
        not_found(gateway.messaging.list_messages(list).await.map(drop), "SENDER_NOT_FOUND");

        let start = Some(proto::list_events_request::Start::FromBeginning(true));
        let list = keyed(proto::ListEventsRequest { start, ..Default::default() }, &key);
        let events = gateway.events.list_events(list).await?.into_inner().events;
        assert!(events.len() > 2 && events.iter().all(|event| event.sender == "mine"), "{events:?}");
        let start = Some(proto::stream_events_request::Start::FromBeginning(true));
        let request = keyed(proto::StreamEventsRequest { start, ..Default::default() }, &key);
        let mut stream = EventStream::attach(gateway.events.stream_events(request).await?).await?;
        assert_eq!(stream.attached.filter.as_ref().unwrap().senders, ["mine"], "the filter as it works");
        assert_eq!(stream.events(events.len()).await?, events);
        let filter = Some(proto::EventFilter { senders, ..Default::default() });
        let request = keyed(proto::StreamEventsRequest { filter, ..Default::default() }, &key);
        not_found(gateway.events.stream_events(request).await.map(drop), "SENDER_NOT_FOUND");

        let list = |sender: &str| keyed(proto::ListTemplatesRequest { sender: sender.into(), ..Default::default() }, &key);
        gateway.templates.list_templates(list("mine")).await?;
        not_found(gateway.templates.list_templates(list("theirs")).await.map(drop), "SENDER_NOT_FOUND");
        let (sender, template) = ("theirs".to_owned(), "opening_hours".to_owned());
        let get = proto::GetTemplateRequest { sender: sender.clone(), template, ..Default::default() };
        not_found(gateway.templates.get_template(keyed(get, &key)).await.map(drop), "SENDER_NOT_FOUND");
        let refresh = keyed(proto::RefreshTemplatesRequest { sender }, &key);
        not_found(gateway.templates.refresh_templates(refresh).await.map(drop), "SENDER_NOT_FOUND");

        let get = |sender: &str| keyed(proto::GetSenderRequest { sender: sender.into() }, &key);
        gateway.admin.get_sender(get("mine")).await?;
        not_found(gateway.admin.get_sender(get("theirs")).await.map(drop), "SENDER_NOT_FOUND");
        let list = keyed(proto::ListSendersRequest::default(), &key);
        let senders = gateway.admin.list_senders(list).await?.into_inner().senders;
        assert_eq!(senders.iter().map(|sender| sender.sender.as_str()).collect::<Vec<_>>(), ["mine"]);
        let delete = keyed(proto::DeleteSenderRequest { sender: "theirs".into() }, &key);
        not_found(gateway.admin.delete_sender(delete).await.map(drop), "SENDER_NOT_FOUND");
        let sender = Some(proto::Sender { sender: "theirs".into(), display_name: "x".into(), ..Default::default() });
        let update = keyed(proto::UpdateSenderRequest { sender, update_mask: None }, &key);
        not_found(gateway.admin.update_sender(update).await.map(drop), "SENDER_NOT_FOUND");

        // It makes no keys, sees none but itself, and revokes none but itself.
        let api_key = Some(proto::ApiKey { scopes: vec![ApiKeyScope::Admin as i32], ..Default::default() });
        let create = keyed(proto::CreateApiKeyRequest { api_key }, &key);
        assert_eq!(refused(gateway.admin.create_api_key(create).await).code, Code::PermissionDenied);
        let (other, _) = make_key(&mut gateway, &all, &["theirs"]).await?;
        let list = keyed(proto::ListApiKeysRequest::default(), &key);
        let keys = gateway.admin.list_api_keys(list).await?.into_inner().api_keys;
        assert_eq!(keys.iter().map(|key| &key.api_key_id).collect::<Vec<_>>(), [&own.api_key_id]);
        let revoke = keyed(proto::RevokeApiKeyRequest { api_key_id: other.api_key_id }, &key);
        not_found(gateway.admin.revoke_api_key(revoke).await.map(drop), "NOT_FOUND");
        gateway.stop().await?;
        Ok(())
    }

    async fn a_revoked_key_ends_its_streams_and_all_later_calls(engine) {
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        let (key, secret) = make_key(&mut gateway, &[ApiKeyScope::Read], &[]).await?;
        let (_, other) = make_key(&mut gateway, &[ApiKeyScope::Read], &[]).await?;
        let request = |secret: &str| {
            // The longest heartbeat: a stream must not go on until it comes.
            let heartbeat_interval = Some(prost_types::Duration { seconds: 300, nanos: 0 });
            keyed(proto::StreamEventsRequest { heartbeat_interval, ..Default::default() }, secret)
        };
        let mut ended = EventStream::attach(gateway.events.stream_events(request(&secret)).await?).await?;
        let mut kept = EventStream::attach(gateway.events.stream_events(request(&other)).await?).await?;
        revoke(&mut gateway, &key.api_key_id).await?;
        revoke(&mut gateway, &key.api_key_id).await?;
        assert_eq!(refusal(&ended.end().await?).is(), (Code::Unauthenticated, "KEY_REVOKED"));
        for (name, _, answer) in every_rpc(&gateway, Some(&secret)).await {
            assert_eq!(refused(answer).code, Code::Unauthenticated, "{name}");
        }
        let sent = gateway.messaging.send_message(keyed(held("sandbox", "+351910000001", "x"), ADMIN)).await?;
        kept.next_status(&sent.into_inner().message_id).await?;
        for (include_revoked, count) in [(false, 1), (true, 2)] {
            let list = keyed(proto::ListApiKeysRequest { include_revoked, ..Default::default() }, ADMIN);
            let keys = gateway.admin.list_api_keys(list).await?.into_inner().api_keys;
            assert_eq!(keys.len(), count);
            assert_eq!(keys.iter().filter(|key| key.revoke_time.is_some()).count(), count - 1);
        }
        assert_eq!(refused(revoke(&mut gateway, "000000000000").await).code, Code::NotFound);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_key_stops_when_it_expires_and_so_does_its_stream(engine) {
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        let expire = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
        let api_key = proto::ApiKey {
            scopes: vec![ApiKeyScope::Read as i32],
            expire_time: Some(expire.into()),
            ..Default::default()
        };
        let create = keyed(proto::CreateApiKeyRequest { api_key: Some(api_key) }, ADMIN);
        let secret = gateway.admin.create_api_key(create).await?.into_inner().secret;
        let heartbeat_interval = Some(prost_types::Duration { seconds: 300, nanos: 0 });
        let request = keyed(proto::StreamEventsRequest { heartbeat_interval, ..Default::default() }, &secret);
        let mut stream = EventStream::attach(gateway.events.stream_events(request).await?).await?;
        assert_eq!(refusal(&stream.end().await?).is(), (Code::Unauthenticated, "KEY_REVOKED"));
        let list = keyed(proto::ListEventsRequest::default(), &secret);
        assert_eq!(refused(gateway.events.list_events(list).await).code, Code::Unauthenticated);
        gateway.stop().await?;
        Ok(())
    }

    async fn keys_come_in_pages_also_when_one_is_revoked_between_two(engine) {
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        let mut made = Vec::new();
        for _ in 0..7 {
            made.push(make_key(&mut gateway, &[ApiKeyScope::Read], &[]).await?.0.api_key_id);
        }
        let (mut listed, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = proto::ListApiKeysRequest { page_size: 2, page_token, ..Default::default() };
            let answer = gateway.admin.list_api_keys(keyed(request, ADMIN)).await?.into_inner();
            listed.extend(answer.api_keys.into_iter().map(|key| key.api_key_id));
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                break;
            }
            let last = listed.last().cloned().unwrap_or_default();
            revoke(&mut gateway, &last).await?;
        }
        listed.sort();
        made.sort();
        assert_eq!(listed, made);
        gateway.stop().await?;
        Ok(())
    }

    async fn without_keys_loopback_is_open_and_the_first_key_closes_it(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let mut open = gateway.stream(proto::StreamEventsRequest::default()).await?;
        gateway.fill(1, "").await?;
        let key = |scopes: &[ApiKeyScope]| {
            let scopes = scopes.iter().map(|scope| *scope as i32).collect();
            proto::CreateApiKeyRequest { api_key: Some(proto::ApiKey { scopes, ..Default::default() }) }
        };
        let first = refused(gateway.admin.create_api_key(key(&[ApiKeyScope::Send, ApiKeyScope::Read])).await);
        assert_eq!(first.is(), (Code::FailedPrecondition, "NO_ADMIN_KEY"));
        let secret = gateway.admin.create_api_key(key(&[ApiKeyScope::Admin])).await?.into_inner().secret;
        for (name, _, answer) in every_rpc(&gateway, None).await {
            assert_eq!(refused(answer).code, Code::Unauthenticated, "{name}");
        }
        assert_eq!(refusal(&open.end().await?).reason, "KEY_REVOKED", "a stream without a key ends, too");
        gateway.admin.create_api_key(keyed(key(&[ApiKeyScope::Send]).clone(), &secret)).await?;

        // A restart remembers it, and a key that was revoked opens nothing again.
        let mut gateway = TestGateway::start_on(gateway.stop().await?, Setup::default()).await?;
        assert_eq!(refused(gateway.admin.list_senders(proto::ListSendersRequest::default()).await).code, Code::Unauthenticated);
        let list = gateway.admin.list_api_keys(keyed(proto::ListApiKeysRequest::default(), &secret)).await?;
        // Newest first: the one that revokes goes last.
        for key in list.into_inner().api_keys {
            let request = proto::RevokeApiKeyRequest { api_key_id: key.api_key_id };
            gateway.admin.revoke_api_key(keyed(request, &secret)).await?;
        }
        assert_eq!(refused(gateway.admin.list_senders(proto::ListSendersRequest::default()).await).code, Code::Unauthenticated);
        gateway.stop().await?;
        Ok(())
    }

    async fn t11_no_secret_is_answered_logged_as_an_event_or_kept_in_the_clear(engine) {
        const API_KEY: &str = "devino-api-key-5c1d8a7be2f94036";
        const TOKEN: &str = "webhook-token-91b3e7d25f60c84a";
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        let devino = |api_key: &str, webhook_token: &str| proto::Sender {
            sender: "acme".into(),
            config: Some(proto::sender::Config::Devino(proto::DevinoConfig {
                base_url: fake.base_url("devino"),
                api_key: api_key.into(),
                from: "AcmeCare".into(),
                webhook_token: webhook_token.into(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let mut answers = Vec::new();
        let create = proto::CreateSenderRequest { sender: Some(devino(API_KEY, TOKEN)) };
        answers.push(format!("{:?}", gateway.admin.create_sender(keyed(create, ADMIN)).await?.into_inner()));
        let again = proto::CreateSenderRequest { sender: Some(devino(API_KEY, TOKEN)) };
        answers.push(format!("{:?}", gateway.admin.create_sender(keyed(again, ADMIN)).await.unwrap_err()));
        let mut wrong = devino(&format!("{API_KEY}\n"), TOKEN);
        wrong.sender = "wrong".into();
        let wrong = proto::CreateSenderRequest { sender: Some(wrong) };
        answers.push(format!("{:?}", gateway.admin.create_sender(keyed(wrong, ADMIN)).await.unwrap_err()));
        let update = proto::UpdateSenderRequest { sender: Some(devino("", TOKEN)), update_mask: None };
        answers.push(format!("{:?}", gateway.admin.update_sender(keyed(update, ADMIN)).await?.into_inner()));
        let get = proto::GetSenderRequest { sender: "acme".into() };
        answers.push(format!("{:?}", gateway.admin.get_sender(keyed(get, ADMIN)).await?.into_inner()));
        let list = proto::ListSendersRequest::default();
        answers.push(format!("{:?}", gateway.admin.list_senders(keyed(list, ADMIN)).await?.into_inner()));
        let check = proto::CheckSenderRequest { sender: "acme".into() };
        answers.push(format!("{:?}", gateway.admin.check_sender(keyed(check, ADMIN)).await?.into_inner()));
        let (key, secret) = make_key(&mut gateway, &[ApiKeyScope::Read], &[]).await?;
        assert!(secret.len() > 40);
        answers.push(format!("{key:?}"));
        let list = proto::ListApiKeysRequest { include_revoked: true, ..Default::default() };
        answers.push(format!("{:?}", gateway.admin.list_api_keys(keyed(list, ADMIN)).await?.into_inner()));

        // A message that was really sent, so that its trace is there.
        let sent = gateway.messaging.send_message(keyed(text("acme", "+351910000001", "olá"), ADMIN)).await?.into_inner();
        until("the message is handed over", || {
            let (mut messaging, id) = (gateway.messaging.clone(), sent.message_id.clone());
            async move {
                let get = proto::GetMessageRequest { message_id: id };
                let answer = messaging.get_message(keyed(get, ADMIN)).await?.into_inner();
                Ok(answer.attempts.iter().any(|attempt| attempt.end_time.is_some()))
            }
        }).await?;
        let get = proto::GetMessageRequest { message_id: sent.message_id };
        let answer = gateway.messaging.get_message(keyed(get, ADMIN)).await?.into_inner();
        assert!(!answer.attempts[0].exchanges.is_empty(), "no trace to look at: {answer:?}");
        answers.push(format!("{answer:?}"));
        let start = Some(proto::list_events_request::Start::FromBeginning(true));
        let list = proto::ListEventsRequest { start, page_size: 1_000, ..Default::default() };
        answers.push(format!("{:?}", gateway.events.list_events(keyed(list, ADMIN)).await?.into_inner()));

        let secrets = [API_KEY, TOKEN, ADMIN, secret.as_str(), secret.splitn(3, '_').last().unwrap()];
        for answer in &answers {
            for hidden in secrets {
                assert!(!answer.contains(hidden), "{hidden} is in {answer}");
            }
        }
        assert!(answers[0].contains("devino.api_key") && answers[0].contains("devino.webhook_token"), "{}", answers[0]);
        let database = gateway.stop().await?;
        let stored = all_bytes(engine, &database).await?;
        assert!(contains(&stored, b"AcmeCare") || contains(&stored, b"acme"), "the scan finds what is there");
        for hidden in secrets {
            assert!(!contains(&stored, hidden.as_bytes()), "{hidden} is in the database");
            assert!(!contains(&stored, hex::encode(hidden).as_bytes()), "{hidden} is in the database, as hex");
        }
        fake.stop().await;
        Ok(())
    }

    async fn another_master_key_refuses_to_start_and_says_why(engine) {
        let gateway = TestGateway::start(engine).await?;
        let database = gateway.stop().await?;
        let setup = Setup::default().with("master_key", &"80".repeat(32));
        let error = format!("{:#}", App::start(setup.config(&database)?).await.unwrap_err());
        assert!(error.contains("master key") && error.contains("sandbox"), "{error}");
        TestGateway::start_on(database, Setup::default()).await?.stop().await?;
        Ok(())
    }

    async fn health_tells_each_service_and_says_when_it_stops(engine) {
        let gateway = TestGateway::start_with(engine, guarded()).await?;
        let mut health = HealthClient::new(gateway.channel.clone());
        let names = ["MessagingService", "EventService", "TemplateService", "OptOutService", "AdminService"];
        let services = std::iter::once(String::new()).chain(names.map(|name| format!("recado.v1.{name}")));
        let mut watched = Vec::new();
        for service in services {
            let request = HealthCheckRequest { service: service.clone() };
            assert_eq!(health.check(request.clone()).await?.into_inner().status(), ServingStatus::Serving, "{service}");
            let mut watch = health.watch(request).await?.into_inner();
            assert_eq!(watch.message().await?.unwrap().status(), ServingStatus::Serving);
            watched.push(watch);
        }
        let unknown = HealthCheckRequest { service: "recado.v1.NoService".into() };
        assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
        let stopping = tokio::spawn(gateway.stop());
        for mut watch in watched {
            assert_eq!(watch.message().await?.unwrap().status(), ServingStatus::NotServing);
            // A watch that went on would hold the stop up.
            let end = timeout(PATIENCE, watch.message()).await.context("the watch goes on")?.unwrap_err();
            assert_eq!(refusal(&end).is(), (Code::Unavailable, "GOING_AWAY"));
        }
        stopping.await??;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t11_an_open_address_needs_a_key() -> Result<()> {
    let database = TestDatabase::create(Engine::Sqlite).await?;
    let open = || Setup::default().with("grpc_addr", "0.0.0.0:0");
    let error = App::start(open().config(&database)?).await.unwrap_err().to_string();
    assert!(error.contains("refusing to listen on 0.0.0.0") && error.contains("RECADO_ADMIN_KEY"), "{error}");
    let app = App::start(open().with("admin_key", ADMIN).config(&database)?).await?;
    assert!(app.grpc_addr().ip().is_unspecified());
    app.run(std::future::ready(())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_of_both_versions_needs_no_key() -> Result<()> {
    let gateway = TestGateway::start_with(Engine::Sqlite, guarded()).await?;
    macro_rules! list {
        ($version:ident) => {{
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
            let mut client = ServerReflectionClient::new(gateway.channel.clone());
            let ask = |question: MessageRequest| tonic_reflection::pb::$version::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(question),
            };
            let questions = [
                ask(MessageRequest::ListServices(String::new())),
                ask(MessageRequest::FileContainingSymbol("recado.v1.SendMessageRequest".into())),
            ];
            // More could follow.
            let questions = tokio_stream::iter(questions).chain(tokio_stream::pending());
            let mut answers = client.server_reflection_info(questions).await?.into_inner();
            let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await?.unwrap().message_response
            else {
                panic!("no list")
            };
            let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            for name in ["MessagingService", "EventService", "TemplateService", "OptOutService", "AdminService"] {
                assert!(names.contains(&format!("recado.v1.{name}")), "{names:?}");
            }
            assert!(names.contains(&"grpc.health.v1.Health".to_owned()), "{names:?}");
            let answer = answers.message().await?.unwrap().message_response;
            assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
            answers
        }};
    }
    let (mut one, mut other) = (list!(v1), list!(v1alpha));
    let stopping = tokio::spawn(gateway.stop());
    assert_eq!(timeout(PATIENCE, one.message()).await.context("it goes on")??, None);
    assert_eq!(timeout(PATIENCE, other.message()).await.context("it goes on")??, None);
    stopping.await??;
    Ok(())
}

/// All that a database holds, as bytes: an SQLite file with what lies beside it, or every row of every table.
async fn all_bytes(engine: Engine, database: &TestDatabase) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match engine {
        Engine::Sqlite => {
            for entry in std::fs::read_dir(database.folder())? {
                let path = entry?.path();
                if path.is_file() {
                    bytes.extend(std::fs::read(path)?);
                }
            }
        }
        Engine::Postgres => {
            let connection = database.connect().await?;
            let backend = connection.get_database_backend();
            let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'";
            for table in connection.query_all_raw(Statement::from_string(backend, tables)).await? {
                let table: String = table.try_get("", "table_name")?;
                // Text as it is; binary columns as hex, and once more as the text that they may be.
                let rows = format!("SELECT row_to_json(t)::text AS row FROM \"{table}\" t");
                for row in connection.query_all_raw(Statement::from_string(backend, rows)).await? {
                    let row: String = row.try_get("", "row")?;
                    bytes.extend(row.bytes());
                    bytes.push(b'\n');
                }
            }
            connection.close().await?;
        }
    }
    Ok(bytes)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_missing_is_said_and_no_other_is_made() -> Result<()> {
    let unset = || Setup::default().with("master_key", "");
    let database = TestGateway::start_with(Engine::Sqlite, unset()).await?.stop().await?;
    let (key, elsewhere) = (database.folder().join("recado.db.key"), database.folder().join("elsewhere"));
    std::fs::rename(&key, &elsewhere)?;
    let error = format!("{:#}", App::start(unset().config(&database)?).await.unwrap_err());
    assert!(error.contains("the master key is missing") && error.contains("recado.db.key"), "{error}");
    assert!(!key.exists(), "another key was made");
    std::fs::rename(&elsewhere, &key)?;
    TestGateway::start_on(database, unset()).await?.stop().await?;
    Ok(())
}
