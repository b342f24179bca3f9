//! What is published, and how the place is kept.

use std::collections::BTreeSet;

use anyhow::Result;
use prost::Message as _;
use recado::fake::FakeProvider;
use recado::proto;
use recado::proto::seek_subscription_request::To;

use super::server::{self, NatsServer, STREAM};
use super::{caught_up, compare, publishing, subscription};
use crate::database::Engine;
use crate::gateway::{Setup, TestGateway, until};
use crate::on_both_databases;

/// A stream that an operator made, which forgets ids at once.
async fn forgetful_stream(server: &NatsServer) -> Result<()> {
    let config = async_nats::jetstream::stream::Config {
        name: STREAM.into(),
        subjects: vec![format!("{}.>", server::PREFIX)],
        duplicate_window: std::time::Duration::from_millis(100),
        ..Default::default()
    };
    server.jetstream().await?.create_stream(config).await?;
    Ok(())
}

on_both_databases! {
    async fn every_event_is_in_the_stream_once_and_in_order(engine) {
        let (server, fake) = (NatsServer::start().await?, FakeProvider::start("127.0.0.1:0".parse()?).await?);
        // What was recorded before there was a stream is in it, too.
        let mut gateway = TestGateway::start(engine).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.fill(700, "").await?;
        let mut gateway = TestGateway::start_on(gateway.stop().await?, publishing(&server)).await?;
        gateway.fill(600, &"x".repeat(4_096)).await?;
        gateway.sandbox_sender("a-0-9").await?;
        let body = br#"[{"incomingMessageId":"1","from":"351910000001","to":"AcmeCare","text":"hello"}]"#;
        let url = format!("{}/webhooks/devino/acme?token=test-token-0123456789", gateway.http);
        assert_eq!(crate::bad_input::http::post(&url, body).await?, 200);
        let category = proto::OptOutCategory::All as i32;
        let opt_out = proto::OptOut { sender: "acme".into(), peer: "+351910000001".into(), category, ..Default::default() };
        gateway.opt_outs.create_opt_out(proto::CreateOptOutRequest { opt_out: Some(opt_out) }).await?;
        until("a person wrote", || {
            let mut gateway = gateway.events.clone();
            async move {
                let types = vec![proto::EventType::IncomingMessage as i32];
                let filter = Some(proto::EventFilter { types, ..Default::default() });
                let start = Some(proto::list_events_request::Start::FromBeginning(true));
                let request = proto::ListEventsRequest { start, filter, ..Default::default() };
                Ok(!gateway.list_events(request).await?.into_inner().events.is_empty())
            }
        }).await?;
        let log = compare(&mut gateway, &server).await?;
        let messages = server.messages().await?;
        let kinds: BTreeSet<&str> = messages.iter().filter_map(|m| m.subject.as_str().rsplit('.').next()).collect();
        let expected = BTreeSet::from(["contact_changed", "incoming_message", "sender_changed", "status_changed"]);
        assert_eq!(kinds, expected);
        caught_up(&gateway).await?;
        assert_eq!(subscription(&gateway).await?.cursor, log[log.len() - 1].cursor);
        assert!(subscription(&gateway).await?.holder.is_some());
        let metrics = crate::events::objects::metrics(&gateway).await?;
        let lag = r#"recado_subscription_lag_events{subscription="sink",key="nats"} 0"#;
        assert!(metrics.contains(lag), "{metrics}");
        // A stop leaves the place where it is, and nobody who holds it.
        let connection = gateway.stop().await?.connect().await?;
        let (position, holder) = place(&connection).await?;
        assert_eq!((position, holder), (log.len() as i64, false));
        connection.close().await?;
        fake.stop().await;
        Ok(())
    }

    async fn a_restart_goes_on_where_the_stream_is_not_where_the_place_was_stored(engine) {
        let server = NatsServer::start().await?;
        forgetful_stream(&server).await?;
        let mut gateway = TestGateway::start_with(engine, publishing(&server)).await?;
        gateway.fill(50, "").await?;
        compare(&mut gateway, &server).await?;
        let database = gateway.stop().await?;
        let connection = database.connect().await?;
        // As after a kill that came before the place was stored.
        sea_orm::ConnectionTrait::execute_unprepared(&connection, "UPDATE subscriptions SET position = 3").await?;
        connection.close().await?;
        let mut gateway = TestGateway::start_on(database, publishing(&server)).await?;
        gateway.fill(50, "").await?;
        compare(&mut gateway, &server).await?;
        gateway.stop().await?;
        Ok(())
    }
}

async fn place(connection: &sea_orm::DatabaseConnection) -> Result<(i64, bool)> {
    use sea_orm::ConnectionTrait as _;
    let text = "SELECT position, holder IS NOT NULL AS held FROM subscriptions WHERE owner = 'nats'";
    let statement = sea_orm::Statement::from_string(connection.get_database_backend(), text);
    let row = connection.query_one_raw(statement).await?.expect("the sink has a place");
    Ok((row.try_get("", "position")?, row.try_get("", "held")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_the_stream_keeps_its_place() -> Result<()> {
    let server = NatsServer::start().await?;
    let config = async_nats::jetstream::stream::Config {
        name: STREAM.into(),
        subjects: vec![format!("{}.>", server::PREFIX)],
        max_message_size: 3_000,
        ..Default::default()
    };
    server.jetstream().await?.create_stream(config).await?;
    let mut gateway = TestGateway::start_with(Engine::Sqlite, publishing(&server)).await?;
    gateway.fill(3, &"x".repeat(4_096)).await?;
    let log = gateway.all_events().await?;
    let messages = server.messages_up_to(&log[3]).await?;
    assert_eq!((messages.len(), log.len()), (4, 4));
    for (n, (message, event)) in messages.iter().zip(&log).enumerate() {
        let told = proto::Event::decode(message.payload.clone())?;
        let part = proto::Event { payload: event.payload.clone().filter(|_| n == 0), ..event.clone() };
        assert_eq!((told, message.headers.get("Recado-Payload-Left-Out").is_some()), (part, n > 0));
    }
    caught_up(&gateway).await?;
    let metrics = crate::events::objects::metrics(&gateway).await?;
    assert!(metrics.contains("recado_nats_left_out_total 3"), "{metrics}");
    gateway.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn its_subscription_cannot_be_moved() -> Result<()> {
    let server = NatsServer::start().await?;
    let mut gateway = TestGateway::start_with(Engine::Sqlite, publishing(&server)).await?;
    gateway.fill(50, "").await?;
    compare(&mut gateway, &server).await?;
    let (subscription, api_key_id) = ("sink".into(), "nats".into());
    let request = proto::SeekSubscriptionRequest { subscription, api_key_id, to: Some(To::Beginning(true)) };
    let refused = gateway.events.seek_subscription(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused:?}");
    gateway.fill(50, "").await?;
    compare(&mut gateway, &server).await?;
    gateway.stop().await?;
    Ok(())
}

/// What docs/operations.md says.
#[tokio::test(flavor = "multi_thread")]
async fn all_is_published_again_without_the_stream_and_the_subscription() -> Result<()> {
    let server = NatsServer::start().await?;
    let mut gateway = TestGateway::start_with(Engine::Sqlite, publishing(&server)).await?;
    gateway.fill(50, "").await?;
    compare(&mut gateway, &server).await?;
    let database = gateway.stop().await?;
    server.jetstream().await?.delete_stream(STREAM).await?;
    let mut gateway = TestGateway::start_on(database, Setup::default()).await?;
    let (subscription, api_key_id) = ("sink".into(), "nats".into());
    gateway.events.delete_subscription(proto::DeleteSubscriptionRequest { subscription, api_key_id }).await?;
    let mut gateway = TestGateway::start_on(gateway.stop().await?, publishing(&server)).await?;
    compare(&mut gateway, &server).await?;
    gateway.stop().await?;
    Ok(())
}
