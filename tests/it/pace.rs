//! How fast a sender sends: never faster than it may, and nobody waits for a contact that may get no more.

use std::time::Duration;

use recado::fake::{Action, Fault};
use recado::proto::Priority;
use recado::proto::{self, MessageStatus, SenderState};

use crate::gateway::{Engine, Setup, TestGateway, after, text};
use crate::on_both_databases;
use crate::provider::Provider;
use crate::tools::{Seen, fake, number, play, silent, until, with};

impl TestGateway {
    /// Gives a sender other limits; answers those in force.
    pub async fn limit(&mut self, sender: &str, limits: proto::SenderLimits) -> anyhow::Result<proto::SenderLimits> {
        let sender = proto::Sender { sender: sender.into(), limits: Some(limits), ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["limits".into()] });
        let request = proto::UpdateSenderRequest { sender: Some(sender), update_mask };
        Ok(self.admin.update_sender(request).await?.into_inner().sender.unwrap().limits.unwrap())
    }
}

on_both_databases! {
    async fn a_sender_never_sends_faster_than_its_rate(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let limits = proto::SenderLimits { messages_per_second: Some(40.0), ..Default::default() };
        let in_force = gateway.limit("acme", limits).await?;
        assert_eq!((in_force.messages_per_second, in_force.in_flight), (Some(40.0), Some(16)), "the rest is the provider's");
        let sent = gateway.send_all((0..60).map(|n| text("acme", &number(n), "x"))).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        Seen::until_all(&mut stream, 60, MessageStatus::Sent).await?;
        let taken: Vec<i64> = fake.rows().iter().map(|row| row.at_ms).collect();
        // A slow machine makes it slower, never faster: 59 intervals of 25 ms, of which a late first may hide one tenth.
        let span = taken.iter().max().unwrap() - taken.iter().min().unwrap();
        assert!(span >= 59 * 25 * 9 / 10, "60 messages in {span} ms");
        assert!(fake.ledger().largest_batch <= 2, "a batch would be a burst");
        gateway.stop().await?;
        Ok(())
    }

    async fn o18_a_contact_that_may_get_no_more_holds_back_nobody_else(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let hour = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
        let limits = proto::SenderLimits { contact_interval: hour, contact_burst: Some(2), ..Default::default() };
        gateway.limit("acme", limits).await?;
        gateway.set_state("acme", SenderState::Paused).await?;
        let hot = gateway.send_all((0..5).map(|n| text("acme", &number(0), &format!("hot {n}")))).await?;
        let others = gateway.send_all((1..40).map(|n| text("acme", &number(n), "x"))).await?;
        let mut stream = gateway.stream(after(&hot[0].cursor)).await?;
        gateway.set_state("acme", SenderState::Active).await?;
        let seen = Seen::until_all(&mut stream, 41, MessageStatus::Sent).await?;
        assert!(others.iter().all(|one| seen.words(&one.message_id).contains(&"SENT")));
        let texts: Vec<String> = fake.rows().into_iter().filter(|row| row.to == number(0)).map(|row| row.text).collect();
        assert_eq!(texts, ["hot 0", "hot 1"]);
        for one in &hot[2..] {
            let (message, attempts) = gateway.message(&one.message_id).await?;
            assert_eq!((message.status(), attempts.len()), (MessageStatus::Accepted, 0));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn o3_o17_a_throttled_sender_waits_as_long_as_its_provider_wants(engine) {
        for limits in [
            proto::SenderLimits::default(),
            proto::SenderLimits { messages_per_second: Some(1_000.0), ..Default::default() },
        ] {
            let mut gateway = TestGateway::start(engine).await?;
            let fake = fake(silent()).await?;
            let throttle = Action::Throttle { retry_after_s: Some(2), body_only: false };
            play(&fake, recado::fake::Script { faults: vec![Fault::always(throttle).first(1)], ..silent() });
            gateway.devino_sender("acme", &fake).await?;
            gateway.limit("acme", limits).await?;
            let first = gateway.send(text("acme", &number(1), "x")).await?;
            until("it was throttled", async || {
                let (message, _) = gateway.message(&first.message_id).await?;
                Ok(message.error.map(|_| ()))
            }).await?;
            let throttled = recado::domain::now_ms();
            let others = gateway.send_all((2..6).map(|n| text("acme", &number(n), "x"))).await?;
            let mut stream = gateway.stream(after(&first.cursor)).await?;
            Seen::until_all(&mut stream, 5, MessageStatus::Sent).await?;
            assert_eq!(others.len(), 4);
            // Seen a moment after the answer; a whole second less than asked for allows for that.
            let soonest = fake.rows().iter().map(|row| row.at_ms).min().unwrap();
            assert!(soonest - throttled >= Duration::from_secs(1).as_millis() as i64, "{soonest} {throttled}");
            gateway.stop().await?;
        }
        Ok(())
    }

    async fn an_urgent_message_overtakes_a_campaign_that_fills_the_rate(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.limit("acme", proto::SenderLimits { messages_per_second: Some(20.0), ..Default::default() }).await?;
        let lane = |priority: Priority| proto::SendOptions { priority: priority as i32, ..Default::default() };
        let campaign = (0..80).map(|n| with(text("acme", &number(n), "bulk"), lane(Priority::Bulk)));
        let first = gateway.send_all(campaign).await?.remove(0);
        until("the campaign goes", async || Ok((fake.ledger().taken > 0).then_some(()))).await?;
        let urgent = gateway.send(with(text("acme", &number(900), "urgent"), lane(Priority::Urgent))).await?;
        let mut stream = gateway.stream(after(&first.cursor)).await?;
        stream.until(&urgent.message_id, MessageStatus::Sent).await?;
        assert!(fake.ledger().taken < 80, "most of the campaign still waits");
        gateway.stop().await?;
        Ok(())
    }

    async fn a_limit_of_a_person_that_is_lifted_lets_go_what_it_held(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let hour = proto::SenderLimits { contact_interval: seconds(3_600), ..Default::default() };
        gateway.limit("acme", hour).await?;
        let sent = gateway.send_all((0..6).map(|n| text("acme", &number(1), &n.to_string()))).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        stream.until(&sent[0].message_id, MessageStatus::Sent).await?;
        until("the next is put off", async || {
            let (message, _) = gateway.message(&sent[1].message_id).await?;
            Ok(message.next_attempt_time.map(|_| ()))
        }).await?;
        assert_eq!(gateway.sender_stats("acme").await?.limiter.unwrap().held_contacts, 1);
        gateway.limit("acme", proto::SenderLimits { contact_interval: seconds(0), ..Default::default() }).await?;
        stream.until(&sent[5].message_id, MessageStatus::Sent).await?;
        let texts: Vec<String> = fake.rows().into_iter().map(|row| row.text).collect();
        assert_eq!(texts, ["0", "1", "2", "3", "4", "5"]);
        gateway.stop().await?;
        Ok(())
    }

    async fn senders_that_hang_leave_room_for_the_next(engine) {
        let setup = Setup::default().with("engine.in_flight", "16");
        let mut gateway = TestGateway::start_with(engine, setup).await?;
        let hanging = Provider::start().await?;
        for sender in ["hang-1", "hang-2", "hang-3"] {
            gateway.devino_sender_at(sender, &hanging.base_url()).await?;
            gateway.send_all((0..40).map(|n| text(sender, &number(n), "x"))).await?;
        }
        // None of these is answered.
        let mut calls = Vec::new();
        while calls.len() < 3 {
            calls.push(hanging.next().await);
        }
        let quick = fake(silent()).await?;
        gateway.devino_sender("quick", &quick).await?;
        let sent = gateway.send_all((0..20).map(|n| text("quick", &number(n), "x"))).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        Seen::until_all(&mut stream, 20, MessageStatus::Sent).await?;
        assert_eq!(quick.ledger().distinct, 20);
        let in_flight = gateway.sender_stats("hang-1").await?.in_flight;
        assert!((1..16).contains(&in_flight), "{in_flight} of 16");
        drop((calls, hanging));
        gateway.stop().await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_on_one_database_share_one_rate() -> anyhow::Result<()> {
    let mut first = TestGateway::start(Engine::Postgres).await?;
    let fake = fake(silent()).await?;
    first.devino_sender("acme", &fake).await?;
    first.limit("acme", proto::SenderLimits { messages_per_second: Some(40.0), ..Default::default() }).await?;
    let mut second = TestGateway::start_on(first.database.clone(), Setup::default()).await?;
    let begin = first.send(text("acme", &number(0), "x")).await?;
    let (ours, theirs) = tokio::join!(
        first.send_all((1..40).map(|n| text("acme", &number(n), "x"))),
        second.send_all((40..80).map(|n| text("acme", &number(n), "x"))),
    );
    assert_eq!(ours?.len() + theirs?.len(), 79);
    let mut stream = first.stream(after(&begin.cursor)).await?;
    Seen::until_all(&mut stream, 80, MessageStatus::Sent).await?;
    let taken: Vec<i64> = fake.rows().iter().map(|row| row.at_ms).collect();
    // 79 intervals of 25 ms, of which a late first may hide one tenth; two rates would take half of it.
    let span = taken.iter().max().unwrap() - taken.iter().min().unwrap();
    assert!(span >= 79 * 25 * 9 / 10, "80 messages in {span} ms");
    assert_eq!(fake.ledger().twice, Vec::<String>::new());
    second.stop().await?;
    first.stop().await?;
    Ok(())
}
