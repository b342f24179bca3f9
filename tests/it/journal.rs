//! The journal of webhooks, as an operator reads it and has it read again.

use anyhow::Result;
use recado::proto::event::Payload;
use recado::proto::{self, MessageStatus, WebhookDeliveryState as State};
use serde_json::json;

use crate::gateway::{TestGateway, after, text};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{count, execute, fields, number, post, reason, until};

async fn listed(
    gateway: &mut TestGateway,
    request: proto::ListWebhookDeliveriesRequest,
) -> Result<proto::ListWebhookDeliveriesResponse> {
    Ok(gateway.admin.list_webhook_deliveries(request).await?.into_inner())
}

/// All of the journal, by pages of two.
async fn all(gateway: &mut TestGateway) -> Result<Vec<proto::WebhookDelivery>> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = proto::ListWebhookDeliveriesRequest { page_size: 2, page_token, ..Default::default() };
        let page = listed(gateway, request).await?;
        found.extend(page.webhook_deliveries);
        match page.next_page_token.is_empty() {
            true => return Ok(found),
            false => page_token = page.next_page_token,
        }
    }
}

fn states(deliveries: &[proto::WebhookDelivery]) -> Vec<State> {
    deliveries.iter().map(proto::WebhookDelivery::state).collect()
}

/// Waits until everything in the journal was parsed.
async fn parsed(gateway: &TestGateway) -> Result<()> {
    let rows = gateway.rows().await?;
    until("the journal is parsed", async || {
        Ok((count(&rows, "journal WHERE pending IS NOT NULL").await? == 0).then_some(()))
    })
    .await
}

fn written(id: u64, body: &str) -> String {
    json!({ "from": "351910000001", "to": "AcmeCare", "text": body, "incomingMessageId": id }).to_string()
}

async fn incoming(gateway: &mut TestGateway) -> Result<usize> {
    let events = gateway.all_events().await?;
    Ok(events.iter().filter(|event| matches!(event.payload, Some(Payload::IncomingMessage(_)))).count())
}

/// A gateway whose journal holds, from old to new: an incoming message, garbage, a status that matches nothing, and one
/// that matched.
async fn filled(engine: crate::gateway::Engine) -> Result<TestGateway> {
    let mut gateway = TestGateway::start(engine).await?;
    let devino = Provider::start().await?;
    gateway.devino_sender_at("acme", &devino.base_url()).await?;
    let sent = gateway.send(text("acme", &number(1), "x")).await?;
    devino.next().await.answer(Reply::new(200, r#"{"result":[{"code":"OK","messageId":"7001"}]}"#));
    let mut stream = gateway.stream(after(&sent.cursor)).await?;
    stream.until(&sent.message_id, MessageStatus::Sent).await?;
    let webhook = gateway.devino_webhook("acme");
    let unknown = json!({ "messageId": 7999, "status": "READ", "ts": 1_767_225_600_000_i64 }).to_string();
    let known = json!({ "messageId": 7001, "status": "DELIVERED", "ts": 1_767_225_600_000_i64 }).to_string();
    for body in [written(1, "olá"), "no JSON at all".into(), unknown, known] {
        assert_eq!(post(&webhook, body).await?, 200);
        parsed(&gateway).await?;
    }
    Ok(gateway)
}

on_both_databases! {
    async fn what_is_open_comes_first_and_each_webhook_tells_what_came_of_it(engine) {
        let mut gateway = filled(engine).await?;
        let found = all(&mut gateway).await?;
        use State::{Parked, Parsed, Unreadable};
        assert_eq!(states(&found), [Unreadable, Parsed, Parked, Parsed], "open first, each part newest first");
        let events: Vec<i32> = found.iter().map(|delivery| delivery.event_count).collect();
        assert_eq!(events, [0, 1, 0, 1]);
        let garbage = &found[0];
        assert!(garbage.problem.contains("not JSON"), "{}", garbage.problem);
        assert_eq!((garbage.sender.as_str(), garbage.provider.as_str()), ("acme", "devino"));
        assert_eq!((garbage.body_size_bytes, garbage.body.len()), (14, 0));
        assert_eq!(garbage.headers["content-type"], "application/json");
        assert!(garbage.parse_time.is_some() && garbage.receive_time.is_some());

        let one = |request: proto::ListWebhookDeliveriesRequest| request;
        let parked = one(proto::ListWebhookDeliveriesRequest { states: vec![Parked as i32], ..Default::default() });
        assert_eq!(states(&listed(&mut gateway, parked).await?.webhook_deliveries), [Parked]);
        let with_body = one(proto::ListWebhookDeliveriesRequest {
            webhook_delivery_ids: vec![garbage.webhook_delivery_id.clone()],
            include_body: true,
            ..Default::default()
        });
        assert_eq!(listed(&mut gateway, with_body).await?.webhook_deliveries[0].body, b"no JSON at all");
        let later = found[1].receive_time;
        let before = one(proto::ListWebhookDeliveriesRequest { end_receive_time: later, ..Default::default() });
        assert_eq!(listed(&mut gateway, before).await?.webhook_deliveries.len(), 3);
        let from = one(proto::ListWebhookDeliveriesRequest { start_receive_time: later, ..Default::default() });
        assert_eq!(listed(&mut gateway, from).await?.webhook_deliveries.len(), 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn bodies_are_sealed_where_they_lie(engine) {
        let gateway = filled(engine).await?;
        let rows = gateway.rows().await?;
        use sea_orm::{ConnectionTrait as _, Statement};
        let statement = Statement::from_string(rows.get_database_backend(), "SELECT body FROM journal");
        for row in rows.query_all_raw(statement).await? {
            let body: Vec<u8> = row.try_get("", "body")?;
            assert!(!body.windows(4).any(|window| window == b"from" || window == b"JSON" || window == b"mess"));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn what_is_parsed_again_makes_only_what_was_missing(engine) {
        let mut gateway = filled(engine).await?;
        // As if the parser had not understood the first message, and was mended since.
        let rows = gateway.rows().await?;
        execute(&rows, "DELETE FROM incoming_messages").await?;
        execute(&rows, "UPDATE journal SET unreadable = 1, problem = 'an older parser', event_count = 0 WHERE items = 1 AND unreadable = 0").await?;
        let before = gateway.all_events().await?.len();
        let parked = count(&rows, "parked_reports").await?;
        for expected in [4, 4] {
            let since = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
            let request = proto::ReplayWebhookDeliveriesRequest { start_receive_time: since, ..Default::default() };
            let replayed = gateway.admin.replay_webhook_deliveries(request).await?.into_inner();
            assert_eq!(replayed.replayed_count, expected);
            parsed(&gateway).await?;
        }
        assert_eq!(incoming(&mut gateway).await?, 2, "the event of the older parser's time, and the one that was missing");
        assert_eq!((gateway.all_events().await?.len(), count(&rows, "parked_reports").await?), (before + 1, parked));
        use State::{Parked, Parsed, Unreadable};
        assert_eq!(states(&all(&mut gateway).await?), [Unreadable, Parsed, Parked, Parsed]);

        let unreadable = proto::ReplayWebhookDeliveriesRequest { states: vec![Unreadable as i32], ..Default::default() };
        assert_eq!(gateway.admin.replay_webhook_deliveries(unreadable).await?.into_inner().replayed_count, 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn what_cannot_be_asked_is_refused_in_words(engine) {
        let mut gateway = filled(engine).await?;
        let replay = |request| async { gateway.admin.clone().replay_webhook_deliveries(request).await };
        let error = replay(proto::ReplayWebhookDeliveriesRequest::default()).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
        let ids = |ids: &[&str]| proto::ReplayWebhookDeliveriesRequest {
            webhook_delivery_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            ..Default::default()
        };
        let error = replay(ids(&["999999"])).await.unwrap_err();
        assert_eq!((error.code(), reason(&error).0.as_str()), (tonic::Code::NotFound, "NOT_FOUND"));
        assert_eq!(fields(&replay(ids(&["x"])).await.unwrap_err()), ["webhook_delivery_ids[0]"]);
        let request = proto::ListWebhookDeliveriesRequest { page_token: "x".into(), states: vec![99], ..Default::default() };
        let error = gateway.admin.list_webhook_deliveries(request).await.unwrap_err();
        assert_eq!(fields(&error), ["page_token", "states[0]"]);
        let request = proto::ListWebhookDeliveriesRequest { senders: vec!["nobody".into()], ..Default::default() };
        let error = gateway.admin.list_webhook_deliveries(request).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::NotFound);
        gateway.stop().await?;
        Ok(())
    }
}
