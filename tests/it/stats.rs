//! GetStats: what it counts is what is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use recado::fake::{Action, Fault, Script};
use recado::proto::{self, MessageStatus, SenderState};
use serde_json::json;

use crate::gateway::{Setup, TestGateway, after, held, text};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::{Seen, fake, fields, impatient, number, play, reason, silent, until};

impl TestGateway {
    async fn stats(&self, senders: &[&str]) -> Result<proto::GetStatsResponse> {
        let senders = senders.iter().map(|&sender| sender.to_owned()).collect();
        let request = proto::GetStatsRequest { senders, ..Default::default() };
        Ok(self.admin.clone().get_stats(request).await?.into_inner())
    }

    /// The numbers of one sender.
    pub async fn sender_stats(&self, sender: &str) -> Result<proto::SenderStats> {
        Ok(self.stats(&[sender]).await?.senders.remove(0))
    }
}

fn counts(stats: &proto::SenderStats) -> BTreeMap<&'static str, i64> {
    stats.statuses.iter().map(|count| (crate::tools::word(count.status()), count.count)).collect()
}

on_both_databases! {
    async fn stats_count_what_is_there_by_sender_and_status(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let lost = Fault::always(Action::DropAfterAccept).to(number(7));
        let fake = fake(Script { faults: vec![lost], ..Script::default() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.devino_sender("other", &fake).await?;
        gateway.set_state("other", SenderState::Paused).await?;
        let begin = recado::domain::now_ms();
        let sent = gateway.send_all((0..5).map(|n| text("acme", &number(n), "x"))).await?;
        let doubtful = gateway.send(text("acme", &number(7), "x")).await?;
        let waiting = gateway.send_all([text("other", &number(0), "1"), text("other", &number(0), "2")]).await?;
        gateway.send(held("other", &number(1), "later")).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        let payload = json!({ "from": number(9), "to": "AcmeCare", "text": "olá" });
        let serde_json::Value::Object(payload) = payload else { unreachable!("an object, a line above") };
        fake.post_incoming("devino", &gateway.devino_webhook("acme"), payload).map_err(anyhow::Error::msg)?;
        until("all is as it will be", async || {
            let acme = gateway.sender_stats("acme").await?;
            let well = acme.health() == proto::SenderHealth::Ok;
            Ok((counts(&acme).get("READ") == Some(&6) && acme.incoming_messages == 1 && well).then_some(()))
        }).await?;
        // One was in doubt, until its statuses came.
        Seen::until_all(&mut stream, 6, MessageStatus::Read).await?;
        let (message, _) = gateway.message(&doubtful.message_id).await?;
        assert_eq!(message.status(), MessageStatus::Read);

        let all = gateway.stats(&[]).await?;
        let [acme, other, sandbox] = &all.senders[..] else { panic!("{:?}", all.senders) };
        assert_eq!([&acme.sender, &other.sender, &sandbox.sender], ["acme", "other", "sandbox"]);
        assert_eq!(counts(acme), BTreeMap::from([("READ", 6)]));
        assert_eq!((acme.queue_depth, acme.in_flight, acme.in_doubt, acme.incoming_messages), (0, 0, 0, 1));
        assert_eq!((acme.state(), acme.health(), acme.oldest_due_time), (SenderState::Active, proto::SenderHealth::Ok, None));
        assert_eq!(counts(other), BTreeMap::from([("ACCEPTED", 2), ("SCHEDULED", 1)]));
        assert_eq!((other.queue_depth, other.state()), (3, SenderState::Paused));
        assert_eq!(other.oldest_due_time, waiting[0].accept_time, "the first that could go");
        assert_eq!((all.queue_depth, all.oldest_due_time), (3, waiting[0].accept_time));
        assert_eq!((all.pending_webhook_deliveries, all.oldest_pending_webhook_time), (0, None));
        assert_eq!(all.head_cursor, gateway.stream(Default::default()).await?.attached.head_cursor);
        let window = all.window.unwrap().seconds;
        assert!((3_600..=3_660).contains(&window), "an hour, and up to a minute more: {window}");
        assert!(all.read_time.unwrap().seconds >= begin / 1_000);

        gateway.messaging.cancel_message(proto::CancelMessageRequest { message_id: waiting[0].message_id.clone() }).await?;
        let other = gateway.sender_stats("other").await?;
        assert_eq!(counts(&other), BTreeMap::from([("ACCEPTED", 1), ("SCHEDULED", 1), ("CANCELLED", 1)]));
        assert_eq!((other.queue_depth, other.oldest_due_time), (2, waiting[1].accept_time));
        gateway.stop().await?;
        Ok(())
    }

    async fn stats_tell_what_is_in_flight_as_sending(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let slow = Arc::new(Provider::start().await?);
        gateway.devino_sender_at("acme", &slow.base_url()).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let call = slow.next().await;
        let behind = gateway.send(text("acme", &number(1), "behind it")).await?;
        let stats = gateway.sender_stats("acme").await?;
        assert_eq!(counts(&stats), BTreeMap::from([("ACCEPTED", 1), ("SENDING", 1)]));
        assert_eq!((stats.queue_depth, stats.in_flight), (1, 1));
        assert_eq!(stats.oldest_due_time, None, "nothing is held back by the sender");
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        call.answer(Reply::new(200, r#"{"result":[{"code":"OK","messageId":"1"}]}"#));
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        slow.next().await.answer(Reply::new(200, r#"{"result":[{"code":"OK","messageId":"2"}]}"#));
        stream.until(&behind.message_id, MessageStatus::Sent).await?;
        let stats = gateway.sender_stats("acme").await?;
        assert_eq!((counts(&stats), stats.in_flight), (BTreeMap::from([("SENT", 2)]), 0));
        gateway.stop().await?;
        Ok(())
    }

    async fn o3_stats_tell_how_fast_a_throttled_sender_may_go(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let hour = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
        let limits = proto::SenderLimits {
            messages_per_second: Some(100.0),
            contact_interval: hour,
            contact_burst: Some(1),
            ..Default::default()
        };
        gateway.limit("acme", limits).await?;
        let limiter = gateway.sender_stats("acme").await?.limiter.unwrap();
        let free = proto::SenderLimiter {
            messages_per_second: Some(100.0),
            effective_messages_per_second: Some(100.0),
            hold_until_time: None,
            held_contacts: 0,
        };
        assert_eq!(limiter, free);
        let throttle = Action::Throttle { retry_after_s: Some(30), body_only: false };
        play(&fake, Script { faults: vec![Fault::always(throttle)], ..silent() });
        gateway.send(text("acme", &number(1), "x")).await?;
        let throttled = until("it is known", async || {
            let limiter = gateway.sender_stats("acme").await?.limiter.unwrap();
            Ok(limiter.hold_until_time.is_some().then_some(limiter))
        }).await?;
        assert_eq!(throttled.messages_per_second, Some(100.0));
        // Half, and what has grown back since.
        let effective = throttled.effective_messages_per_second.unwrap();
        assert!((50.0..100.0).contains(&effective), "{effective}");
        assert!(throttled.hold_until_time.unwrap().seconds > recado::domain::now_ms() / 1_000);
        assert_eq!(throttled.held_contacts, 1, "who was tried has used up the allowance");
        gateway.stop().await?;
        Ok(())
    }

    async fn stats_of_what_is_not_there_are_not_found(engine) {
        let gateway = TestGateway::start(engine).await?;
        let ask = async |request| gateway.admin.clone().get_stats(request).await.unwrap_err();
        let unknown = proto::GetStatsRequest { senders: vec!["sandbox".into(), "nobody".into()], window: None };
        assert_eq!(reason(&ask(unknown).await).0, "SENDER_NOT_FOUND");
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        for window in [seconds(59), seconds(30 * 86_400 + 1), seconds(-1)] {
            let request = proto::GetStatsRequest { senders: vec!["no id".into()], window };
            assert_eq!(fields(&ask(request).await), ["window", "senders[0]"]);
        }
        gateway.stop().await?;
        Ok(())
    }
}
