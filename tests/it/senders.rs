//! Senders: made, read, changed, deleted, and what the log says of it.

use anyhow::{Context as _, Result};
use recado::fake::{FakeProvider, Script};
use recado::proto;
use recado::proto::{SenderProblem, SenderState};
use tonic::Code;

use crate::gateway::{TestGateway, text, until};
use crate::on_both_databases;
use crate::refusal::refused;

fn devino(id: &str, base_url: &str, api_key: &str, webhook_token: &str) -> proto::Sender {
    proto::Sender {
        sender: id.into(),
        display_name: "Acme".into(),
        config: Some(proto::sender::Config::Devino(proto::DevinoConfig {
            base_url: base_url.into(),
            api_key: api_key.into(),
            from: "AcmeCare".into(),
            webhook_token: webhook_token.into(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() })
}

async fn get(gateway: &mut TestGateway, id: &str) -> Result<proto::Sender> {
    let request = proto::GetSenderRequest { sender: id.into() };
    gateway.admin.get_sender(request).await?.into_inner().sender.context("no sender")
}

async fn update(
    gateway: &mut TestGateway,
    sender: proto::Sender,
    paths: &[&str],
) -> Result<proto::Sender, tonic::Status> {
    let update_mask = if paths.is_empty() { None } else { mask(paths) };
    let request = proto::UpdateSenderRequest { sender: Some(sender), update_mask };
    Ok(gateway.admin.update_sender(request).await?.into_inner().sender.unwrap())
}

/// What the log says about a sender.
async fn changes(gateway: &mut TestGateway, id: &str) -> Result<Vec<&'static str>> {
    let events = gateway.all_events().await?.into_iter().filter(|event| event.sender == id);
    Ok(events
        .filter_map(|event| match event.payload {
            Some(proto::event::Payload::SenderChanged(changed)) => Some(changed.kind().as_str_name()),
            _ => None,
        })
        .map(|word| word.rsplit("KIND_").next().unwrap_or(word))
        .collect())
}

on_both_databases! {
    async fn a_sender_is_made_changed_and_deleted_and_the_log_says_so(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let create = proto::CreateSenderRequest { sender: Some(devino("acme", "http://127.0.0.1:9", "key-1", "token-1")) };
        let made = gateway.admin.create_sender(create.clone()).await?.into_inner().sender.unwrap();
        assert_eq!((made.provider.as_str(), made.state()), ("devino", SenderState::Active));
        assert!(made.webhook_url.ends_with("/webhooks/devino/acme"), "{}", made.webhook_url);
        assert!(made.create_time.is_some() && made.create_time == made.update_time);
        assert_eq!(get(&mut gateway, "acme").await?, made);
        let taken = refused(gateway.admin.create_sender(create).await);
        assert_eq!(taken.is(), (Code::AlreadyExists, "ALREADY_EXISTS"));

        // A mask takes what it names, also when it is empty; the rest stays.
        let change = proto::Sender {
            sender: "acme".into(), display_name: String::new(), phone_number: "351910000009".into(),
            default_language_code: "pt_PT".into(), ..Default::default()
        };
        let changed = update(&mut gateway, change.clone(), &["display_name", "phone_number"]).await?;
        assert_eq!((changed.display_name.as_str(), changed.phone_number.as_str()), ("", "351910000009"));
        assert_eq!(changed.default_language_code, "");
        assert_ne!(changed.update_time, made.update_time);
        assert_eq!(changed.create_time, made.create_time);
        // Without a mask, what has a value.
        let changed = update(&mut gateway, proto::Sender { phone_number: String::new(), ..change }, &[]).await?;
        assert_eq!((changed.phone_number.as_str(), changed.default_language_code.as_str()), ("351910000009", "pt_PT"));
        let paused = proto::Sender { sender: "acme".into(), state: SenderState::Paused as i32, ..Default::default() };
        assert_eq!(update(&mut gateway, paused, &["state"]).await?.state(), SenderState::Paused);
        let active = proto::Sender { sender: "acme".into(), state: SenderState::Active as i32, ..Default::default() };
        assert_eq!(update(&mut gateway, active, &["state"]).await?.state(), SenderState::Active);

        let delete = proto::DeleteSenderRequest { sender: "acme".into() };
        gateway.admin.delete_sender(delete.clone()).await?;
        assert_eq!(refused(gateway.admin.delete_sender(delete).await).is(), (Code::NotFound, "SENDER_NOT_FOUND"));
        let get = proto::GetSenderRequest { sender: "acme".into() };
        assert_eq!(refused(gateway.admin.get_sender(get).await).is(), (Code::NotFound, "SENDER_NOT_FOUND"));
        let expected = ["CREATED", "UPDATED", "UPDATED", "PAUSED", "RESUMED", "DELETED"];
        assert_eq!(changes(&mut gateway, "acme").await?, expected);
        gateway.stop().await?;
        Ok(())
    }

    async fn an_update_without_secrets_keeps_them_and_never_changes_the_provider(engine) {
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        fake.set_script(serde_json::from_str::<Script>(r#"{"api_key": "right-key"}"#)?).map_err(anyhow::Error::msg)?;
        let base = fake.base_url("devino");
        let mut gateway = TestGateway::start(engine).await?;
        let sender = Some(devino("acme", &base, "right-key", "token-1"));
        gateway.admin.create_sender(proto::CreateSenderRequest { sender }).await?;
        let check = proto::CheckSenderRequest { sender: "acme".into() };
        assert!(gateway.admin.check_sender(check.clone()).await?.into_inner().ok);

        for paths in [&[][..], &["devino"], &["devino.from"], &["*"]] {
            let kept = update(&mut gateway, devino("acme", &base, "", ""), paths).await?;
            assert_eq!(kept.stored_secrets, ["devino.api_key", "devino.webhook_token"], "{paths:?}");
            assert!(gateway.admin.check_sender(check.clone()).await?.into_inner().ok, "{paths:?}");
        }
        let http = gateway.http.clone();
        let token = async |token: &str| {
            crate::bad_input::http::post(&format!("{http}/webhooks/devino/acme?token={token}"), b"[]").await
        };
        assert_eq!((token("token-1").await?, token("token-2").await?), (200, 401));
        update(&mut gateway, devino("acme", &base, "wrong-key", "token-2"), &[]).await?;
        assert_eq!((token("token-1").await?, token("token-2").await?), (401, 200));
        let answer = gateway.admin.check_sender(check.clone()).await?.into_inner();
        assert_eq!((answer.ok, answer.problem()), (false, SenderProblem::CredentialsRefused));
        fake.stop().await;
        let answer = gateway.admin.check_sender(check).await?.into_inner();
        assert_eq!((answer.ok, answer.problem()), (false, SenderProblem::Unreachable));

        let config = Some(proto::sender::Config::Sandbox(proto::SandboxConfig {}));
        let other = proto::Sender { sender: "acme".into(), config, ..Default::default() };
        for paths in [&[][..], &["*"]] {
            let refusal = refused(update(&mut gateway, other.clone(), paths).await);
            assert_eq!((refusal.code, refusal.fields), (Code::InvalidArgument, vec!["sender.config INVALID".to_owned()]));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn senders_come_in_pages_in_the_order_of_their_ids(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let mut expected = vec!["sandbox".to_owned()];
        for i in [3, 1, 4, 2, 0, 5] {
            let id = format!("s{i}");
            gateway.sandbox_sender(&id).await?;
            expected.push(id);
        }
        expected.sort();
        for page_size in [1, 2, 3, 7, 1_000] {
            let (mut ids, mut page_token) = (Vec::new(), String::new());
            loop {
                let request = proto::ListSendersRequest { page_size, page_token };
                let answer = gateway.admin.list_senders(request).await?.into_inner();
                assert!(answer.senders.len() <= page_size as usize);
                ids.extend(answer.senders.into_iter().map(|sender| sender.sender));
                page_token = answer.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(ids, expected);
        }
        // A sender that is deleted between two pages ends no listing early.
        let first = gateway.admin.list_senders(proto::ListSendersRequest { page_size: 3, ..Default::default() }).await?.into_inner();
        let last = first.senders.last().unwrap().sender.clone();
        gateway.admin.delete_sender(proto::DeleteSenderRequest { sender: last }).await?;
        let request = proto::ListSendersRequest { page_size: 10, page_token: first.next_page_token };
        let rest = gateway.admin.list_senders(request).await?.into_inner().senders;
        assert_eq!(rest.into_iter().map(|sender| sender.sender).collect::<Vec<_>>(), expected[3..]);
        gateway.stop().await?;
        Ok(())
    }

    async fn all_that_is_wrong_with_a_sender_is_named_at_once(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let before = gateway.all_events().await?;
        let good = || devino("acme", "http://127.0.0.1:9", "key-1", "token-1");
        let long = "x".repeat(300);
        let create = async |gateway: &mut TestGateway, sender: Option<proto::Sender>| {
            refused(gateway.admin.create_sender(proto::CreateSenderRequest { sender }).await)
        };
        let refusal = create(&mut gateway, None).await;
        assert_eq!(refusal.fields, ["sender REQUIRED"]);
        let everything = proto::Sender {
            sender: "Acme!".into(), display_name: long.clone(), phone_number: "1\u{0}".into(), state: 77,
            limits: Some(proto::SenderLimits { in_flight: Some(0), ..Default::default() }),
            default_language_code: format!("{long}\n"),
            config: Some(proto::sender::Config::Devino(proto::DevinoConfig {
                base_url: "ftp://x".into(), api_key: "a\nb".into(), from: " ".into(), api: 99, webhook_token: String::new(), ..Default::default() })),
            ..Default::default()
        };
        let refusal = create(&mut gateway, Some(everything)).await;
        assert_eq!(refusal.code, Code::InvalidArgument);
        assert_eq!(refusal.fields, [
            "sender.default_language_code INVALID", "sender.default_language_code TOO_LONG", "sender.devino.api INVALID",
            "sender.devino.api_key INVALID", "sender.devino.base_url INVALID", "sender.devino.from REQUIRED",
            "sender.devino.webhook_token REQUIRED", "sender.display_name TOO_LONG", "sender.limits.in_flight INVALID",
            "sender.phone_number INVALID", "sender.sender INVALID", "sender.state INVALID",
        ]);
        let empty = create(&mut gateway, Some(proto::Sender::default())).await;
        assert_eq!(empty.fields, ["sender.config REQUIRED", "sender.sender REQUIRED"]);
        let id = create(&mut gateway, Some(proto::Sender { sender: "a".repeat(64), ..good() })).await;
        assert_eq!(id.fields, ["sender.sender TOO_LONG"]);
        for in_flight in [-1, 10_001] {
            let limits = Some(proto::SenderLimits { in_flight: Some(in_flight), ..Default::default() });
            let refusal = create(&mut gateway, Some(proto::Sender { limits, ..good() })).await;
            assert_eq!(refusal.fields, ["sender.limits.in_flight INVALID"]);
        }
        for messages_per_second in [0.0, -1.0, f64::NAN, f64::INFINITY, 100_001.0] {
            let limits = Some(proto::SenderLimits { messages_per_second: Some(messages_per_second), ..Default::default() });
            let refusal = create(&mut gateway, Some(proto::Sender { limits, ..good() })).await;
            assert_eq!(refusal.fields, ["sender.limits.messages_per_second INVALID"], "{messages_per_second}");
        }
        let duration = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        for (contact_interval, contact_burst) in
            [(duration(-1, 0), None), (duration(i64::MAX, 0), None), (duration(0, -1), None), (None, Some(0)), (None, Some(-1))]
        {
            let limits = Some(proto::SenderLimits { contact_interval, contact_burst, ..Default::default() });
            let refusal = create(&mut gateway, Some(proto::Sender { limits, ..good() })).await;
            let field = if contact_burst.is_some() { "contact_burst" } else { "contact_interval" };
            assert_eq!(refusal.fields, [format!("sender.limits.{field} INVALID")]);
        }
        let callbacks = proto::Sender {
            incoming_callback_url: "http://10.0.0.1/".into(),
            callback_secret: "whsec_x".into(),
            ..good()
        };
        let refusal = create(&mut gateway, Some(callbacks)).await;
        assert_eq!(refusal.fields, ["sender.callback_secret INVALID", "sender.incoming_callback_url INVALID"]);
        assert_eq!(gateway.all_events().await?, before, "nothing of it was stored");

        gateway.admin.create_sender(proto::CreateSenderRequest { sender: Some(good()) }).await?;
        let wrong = refused(update(&mut gateway, good(), &["display_name", "provider", "nonsense.x"]).await);
        assert_eq!(wrong.fields, ["update_mask INVALID", "update_mask INVALID"]);
        let missing = refused(update(&mut gateway, devino("nobody", "", "", ""), &[]).await);
        assert_eq!(missing.is(), (Code::NotFound, "SENDER_NOT_FOUND"));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_paused_sender_accepts_and_hands_over_once_it_is_resumed(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let state = |state: SenderState| proto::Sender { sender: "sandbox".into(), state: state as i32, ..Default::default() };
        update(&mut gateway, state(SenderState::Paused), &["state"]).await?;
        let sent = gateway.messaging.send_message(text("sandbox", "+351910000001", "olá")).await?.into_inner();
        let resumed = update(&mut gateway, state(SenderState::Active), &["state"]).await?;
        let mut stream = gateway.stream(crate::gateway::after(&sent.cursor)).await?;
        let mut order = Vec::new();
        while order.len() < 3 {
            match stream.next_event().await?.payload {
                Some(proto::event::Payload::StatusChanged(status)) => order.push(status.status().as_str_name()),
                Some(proto::event::Payload::SenderChanged(changed)) => order.push(changed.kind().as_str_name()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(order, ["MESSAGE_STATUS_ACCEPTED", "SENDER_CHANGE_KIND_RESUMED", "MESSAGE_STATUS_SENT"], "{resumed:?}");
        gateway.stop().await?;
        Ok(())
    }

    async fn a_deleted_sender_gives_up_what_waits(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.sandbox_sender("gone").await?;
        let mut ids = Vec::new();
        for i in 0..5 {
            let request = crate::gateway::held("gone", "+351910000001", &format!("number {i}"));
            ids.push(gateway.messaging.send_message(request).await?.into_inner().message_id);
        }
        gateway.admin.delete_sender(proto::DeleteSenderRequest { sender: "gone".into() }).await?;
        for id in ids {
            until("it failed", || {
                let (mut messaging, message_id) = (gateway.messaging.clone(), id.clone());
                async move {
                    let answer = messaging.get_message(proto::GetMessageRequest { message_id }).await?.into_inner();
                    let message = answer.message.unwrap();
                    Ok(message.status() == proto::MessageStatus::Failed
                        && message.error.is_some_and(|error| error.reason() == proto::DeliveryErrorReason::SenderDeleted))
                }
            }).await?;
        }
        gateway.stop().await?;
        Ok(())
    }
}
