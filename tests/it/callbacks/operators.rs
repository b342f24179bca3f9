//! Callbacks as operators see them, and as several replicas post them.

use anyhow::Result;
use recado::proto;
use recado::proto::{ApiKeyScope, CallbackState};
use tonic::Code;

use super::endpoint::{Answer, Endpoint};
use super::{callbacks, called_back, held_back, impatient, in_order, settled};
use crate::access::{ADMIN, guarded, make_key};
use crate::gateway::{Engine, Setup, TestDatabase, TestGateway, keyed};
use crate::on_both_databases;
use crate::refusal::refused;
use crate::tools::until;

on_both_databases! {
    async fn callbacks_are_listed_by_pages_and_filters(engine) {
        let mut gateway = TestGateway::start_with(engine, impatient().with("callbacks.retries", "")).await?;
        gateway.sandbox_sender("other").await?;
        let endpoint = Endpoint::start(|post| match post.path.as_str() {
            "/fails" => Answer::Say(500),
            _ => Answer::Say(200),
        }).await?;
        let mut ids = Vec::new();
        for n in 0..8 {
            let sender = if n % 2 == 0 { "sandbox" } else { "other" };
            let path = if n < 3 { "/fails" } else { "/works" };
            ids.push(gateway.send(held_back(sender, n, &endpoint.url(path))).await?.message_id);
        }
        for (n, id) in ids.iter().enumerate() {
            settled(&gateway, id, 1, if n < 3 { CallbackState::Dead } else { CallbackState::Delivered }).await?;
        }
        let none = proto::ListCallbacksRequest::default;
        let middle = callbacks(&gateway, none()).await?[4].create_time;
        for (filter, expected) in [
            (none(), vec![7, 6, 5, 4, 3, 2, 1, 0]),
            (proto::ListCallbacksRequest { senders: vec!["other".into()], ..none() }, vec![7, 5, 3, 1]),
            (proto::ListCallbacksRequest { states: vec![CallbackState::Dead as i32], ..none() }, vec![2, 1, 0]),
            (proto::ListCallbacksRequest { states: vec![1, 3], senders: vec!["sandbox".into()], ..none() }, vec![2, 0]),
            (proto::ListCallbacksRequest { states: vec![CallbackState::Pending as i32], ..none() }, vec![]),
            (proto::ListCallbacksRequest { message_ids: vec![ids[5].clone(), ids[1].clone()], ..none() }, vec![5, 1]),
            (proto::ListCallbacksRequest { end_create_time: middle, ..none() }, vec![2, 1, 0]),
        ] {
            let found = callbacks(&gateway, filter.clone()).await?;
            let places = found.iter().map(|one| ids.iter().position(|id| *id == one.message_id).unwrap()).collect::<Vec<_>>();
            match filter.end_create_time {
                // Two may be of the same millisecond.
                Some(_) => assert!(places.ends_with(&expected) && places.len() <= 4, "{places:?}"),
                None => assert_eq!(places, expected, "{filter:?}"),
            }
        }
        let from = proto::ListCallbacksRequest { start_create_time: middle, ..none() };
        let later = callbacks(&gateway, from).await?.len();
        let before = callbacks(&gateway, proto::ListCallbacksRequest { end_create_time: middle, ..none() }).await?.len();
        assert_eq!(later + before, 8);
        let wrong = proto::ListCallbacksRequest {
            page_size: -1,
            page_token: "x".into(),
            senders: vec!["A".into()],
            states: vec![0, 9],
            message_ids: vec!["x".into()],
            start_create_time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
            ..none()
        };
        let refusal = refused(gateway.admin.list_callbacks(wrong).await);
        assert_eq!(refusal.fields, [
            "message_ids[0] INVALID", "page_size INVALID", "page_token INVALID", "senders[0] INVALID",
            "start_create_time INVALID", "states[0] INVALID", "states[1] INVALID",
        ]);
        let unknown = proto::ListCallbacksRequest { senders: vec!["nobody".into()], ..none() };
        assert_eq!(refused(gateway.admin.list_callbacks(unknown).await).reason, "SENDER_NOT_FOUND");
        gateway.stop().await?;
        Ok(())
    }

    async fn what_is_retried_must_be_named_and_be_there(engine) {
        let mut gateway = TestGateway::start_with(engine, impatient()).await?;
        let endpoint = Endpoint::start(|_| Answer::Say(200)).await?;
        let sent = gateway.send(held_back("sandbox", 1, &endpoint.url("/cb"))).await?;
        let done = settled(&gateway, &sent.message_id, 1, CallbackState::Delivered).await?.remove(0);
        let none = proto::RetryCallbacksRequest::default;
        assert_eq!(refused(gateway.admin.retry_callbacks(none()).await).fields, [" REQUIRED"]);
        let unknown = uuid::Uuid::now_v7().to_string();
        let missing = proto::RetryCallbacksRequest { callback_ids: vec![done.callback_id.clone(), unknown.clone()], ..none() };
        let refusal = refused(gateway.admin.retry_callbacks(missing).await);
        assert_eq!((refusal.is(), refusal.metadata["name"].as_str()), ((Code::NotFound, "NOT_FOUND"), unknown.as_str()));
        let many = proto::RetryCallbacksRequest { callback_ids: vec![unknown; 1_001], ..none() };
        assert_eq!(refused(gateway.admin.retry_callbacks(many).await).fields, ["callback_ids TOO_LONG"]);
        // Without ids, only the dead ones; by its id, one that was delivered goes out again.
        let of_sender = proto::RetryCallbacksRequest { senders: vec!["sandbox".into()], ..none() };
        assert_eq!(gateway.admin.retry_callbacks(of_sender).await?.into_inner().retried_count, 0);
        let by_id = proto::RetryCallbacksRequest { callback_ids: vec![done.callback_id.clone()], ..none() };
        assert_eq!(gateway.admin.retry_callbacks(by_id).await?.into_inner().retried_count, 1);
        let posts = endpoint.until_posts(2).await?;
        assert_eq!((posts[1].id(), &posts[1].body), (&*done.callback_id, &posts[0].body));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_limited_key_sees_and_retries_only_its_senders(engine) {
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        for id in ["mine", "theirs"] {
            let config = Some(proto::sender::Config::Sandbox(proto::SandboxConfig {}));
            let sender = Some(proto::Sender { sender: id.into(), config, ..Default::default() });
            gateway.admin.create_sender(keyed(proto::CreateSenderRequest { sender }, ADMIN)).await?;
        }
        let (_, mine) = make_key(&mut gateway, &[ApiKeyScope::Send, ApiKeyScope::Admin], &["mine"]).await?;
        let (_, theirs) = make_key(&mut gateway, &[ApiKeyScope::Send], &["theirs"]).await?;
        let endpoint = Endpoint::start(|_| Answer::Say(200)).await?;
        for (key, sender) in [(&mine, "mine"), (&theirs, "theirs")] {
            gateway.messaging.send_message(keyed(held_back(sender, 1, &endpoint.url("/cb")), key)).await?;
        }
        endpoint.until_taken(2).await?;
        let list = async |key: &str, senders: Vec<String>| {
            let request = proto::ListCallbacksRequest { senders, ..Default::default() };
            gateway.admin.clone().list_callbacks(keyed(request, key)).await.map(|answer| answer.into_inner().callbacks)
        };
        let all = list(ADMIN, Vec::new()).await?;
        assert_eq!(all.len(), 2);
        let own = list(&mine, Vec::new()).await?;
        assert_eq!(own.iter().map(|one| one.sender.as_str()).collect::<Vec<_>>(), ["mine"]);
        assert_eq!(refused(list(&mine, vec!["theirs".into()]).await).reason, "SENDER_NOT_FOUND");
        assert_eq!(refused(list(&theirs, Vec::new()).await).reason, "PERMISSION_DENIED");
        let of_others = all.iter().find(|one| one.sender == "theirs").unwrap().callback_id.clone();
        let request = proto::RetryCallbacksRequest { callback_ids: vec![of_others], ..Default::default() };
        let refusal = refused(gateway.admin.retry_callbacks(keyed(request, &mine)).await);
        assert_eq!(refusal.is(), (Code::NotFound, "NOT_FOUND"));
        let request = proto::RetryCallbacksRequest { states: vec![CallbackState::Delivered as i32], ..Default::default() };
        assert_eq!(gateway.admin.retry_callbacks(keyed(request, &mine)).await?.into_inner().retried_count, 1);
        gateway.stop().await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_post_each_callback_once() -> Result<()> {
    let database = TestDatabase::create(Engine::Postgres).await?;
    let mut one = TestGateway::start_on(database.clone(), Setup::default()).await?;
    let mut two = TestGateway::start_on(database, Setup::default()).await?;
    let endpoint = Endpoint::start(|_| Answer::Say(200)).await?;
    for n in 0..60 {
        let path = format!("/cb/{}", n % 7);
        one.send(called_back(n, &endpoint.url(&path))).await?;
        two.send(called_back(1_000 + n, &endpoint.url(&path))).await?;
    }
    let posts = endpoint.until_taken(480).await?;
    in_order(&posts);
    assert_eq!(posts.len(), 480, "none came twice");
    let rows = one.rows().await?;
    until("all is written", async || {
        Ok((crate::tools::count(&rows, "callbacks WHERE state = 2 AND attempts = 1").await? == 480).then_some(()))
    })
    .await?;
    one.stop().await?;
    two.stop().await?;
    Ok(())
}
