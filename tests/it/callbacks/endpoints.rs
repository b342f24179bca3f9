//! Endpoints that fail: slowed alone, out of use, in use again; and those that must not be reached at all.

use recado::proto;
use recado::proto::CallbackState;

use super::endpoint::{Answer, Endpoint};
use super::{
    SECRET, callbacks, called_back, endpoint_events, held_back, impatient, in_order, set_secret, settled, statuses,
};
use crate::gateway::{Setup, TestDatabase, TestGateway};
use crate::on_both_databases;
use crate::tools::until;

fn retry(ids: &[&str]) -> proto::RetryCallbacksRequest {
    proto::RetryCallbacksRequest { callback_ids: ids.iter().map(ToString::to_string).collect(), ..Default::default() }
}

on_both_databases! {
    async fn an_endpoint_that_hangs_holds_up_no_other(engine) {
        // What hangs would hang for longer than the test.
        let setup = Setup::default().with("callbacks.post_limit", "10m").with("callbacks.in_flight_per_host", "4");
        let mut gateway = TestGateway::start_with(engine, setup).await?;
        let stuck = Endpoint::start(|_| Answer::Hang).await?;
        let swift = Endpoint::start(|_| Answer::Say(200)).await?;
        for n in 0..30 {
            // One address each, and one for all: neither fills the process.
            gateway.send(held_back("sandbox", n, &stuck.url(&format!("/cb/{n}")))).await?;
            gateway.send(held_back("sandbox", n, &stuck.url("/cb"))).await?;
            gateway.send(called_back(n, &swift.url("/cb"))).await?;
        }
        let taken = swift.until_taken(120).await?;
        in_order(&taken);
        assert_eq!((taken.len(), stuck.taken().len()), (120, 0));
        assert!((1..=4).contains(&stuck.posts().len()), "{} at one host", stuck.posts().len());
        gateway.stop().await?;
        Ok(())
    }

    async fn an_endpoint_that_is_gone_is_left_alone_until_an_operator_says_otherwise(engine) {
        let mut gateway = TestGateway::start_with(engine, impatient()).await?;
        let endpoint = Endpoint::start(|post| match post.path.as_str() {
            "/gone?token=geheim" => Answer::Say(410),
            _ => Answer::Say(200),
        }).await?;
        let gone = gateway.send(held_back("sandbox", 1, &endpoint.url("/gone?token=geheim"))).await?;
        let callback = settled(&gateway, &gone.message_id, 1, CallbackState::Dead).await?.remove(0);
        assert_eq!(statuses(&callback), [410]);
        until("the log says so", async || Ok((!endpoint_events(&gateway).await?.is_empty()).then_some(()))).await?;
        // What comes later is given up unasked; another address of the same host is not.
        let later = gateway.send(held_back("sandbox", 2, &endpoint.url("/gone"))).await?;
        let callback = settled(&gateway, &later.message_id, 1, CallbackState::Dead).await?.remove(0);
        assert_eq!(statuses(&callback), [0; 0]);
        gateway.send(held_back("sandbox", 3, &endpoint.url("/here"))).await?;
        endpoint.until_taken(1).await?;
        assert_eq!(endpoint.posts().len(), 2);
        let events = endpoint_events(&gateway).await?;
        assert_eq!(events.len(), 1);
        assert!(events[0].0 == "disabled" && events[0].1.contains(&endpoint.url("")) && events[0].1.contains("410"), "{events:?}");
        assert!(!events[0].1.contains("gone?") && !events[0].1.contains("geheim"), "addresses hold tokens");

        endpoint.play(|_| Answer::Say(200));
        let answer = gateway.admin.retry_callbacks(retry(&[&callback.callback_id])).await?.into_inner();
        assert_eq!(answer.retried_count, 1);
        let again = settled(&gateway, &later.message_id, 1, CallbackState::Delivered).await?.remove(0);
        assert_eq!((&again.callback_id, statuses(&again)), (&callback.callback_id, vec![200]));
        assert_eq!(endpoint.taken().last().unwrap().id(), again.callback_id, "the same webhook-id");
        let words: Vec<_> = endpoint_events(&gateway).await?.into_iter().map(|(word, _)| word).collect();
        assert_eq!(words, ["disabled", "enabled"]);
        // And in use for what comes.
        gateway.send(held_back("sandbox", 4, &endpoint.url("/gone"))).await?;
        endpoint.until_taken(3).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn an_endpoint_that_fails_for_too_long_is_out_of_use_with_an_event(engine) {
        let setup = impatient().with("callbacks.disable_after", "1s");
        let mut gateway = TestGateway::start_with(engine, setup).await?;
        let endpoint = Endpoint::start(|_| Answer::Say(503)).await?;
        let url = endpoint.url("/cb");
        let mut sent = Vec::new();
        for n in 0..3 {
            sent.push(gateway.send(called_back(n, &url)).await?.message_id);
        }
        until("the log says so", async || Ok((!endpoint_events(&gateway).await?.is_empty()).then_some(()))).await?;
        for id in &sent {
            let dead = settled(&gateway, id, 4, CallbackState::Dead).await?;
            assert!(dead[1..].iter().all(|callback| callback.attempts.is_empty()), "in order: only the first was tried");
        }
        let events = endpoint_events(&gateway).await?;
        assert_eq!(events.len(), 1, "{events:?}");
        let before = endpoint.posts().len();

        // Setting its address or its secret anew has it used again; what was given up stays so until it is retried.
        endpoint.play(|_| Answer::Say(200));
        set_secret(&mut gateway, "sandbox", SECRET).await?;
        assert_eq!(endpoint_events(&gateway).await?.last().unwrap().0, "enabled");
        gateway.send(held_back("sandbox", 9, &url)).await?;
        endpoint.until_taken(1).await?;
        assert_eq!(endpoint.posts().len(), before + 1);
        let all = proto::RetryCallbacksRequest { senders: vec!["sandbox".into()], ..Default::default() };
        assert_eq!(gateway.admin.retry_callbacks(all).await?.into_inner().retried_count, 12);
        let posts = endpoint.until_taken(13).await?;
        in_order(&posts);
        gateway.stop().await?;
        Ok(())
    }

    async fn after_its_last_try_a_callback_is_dead_and_the_next_one_has_its_turn(engine) {
        let setup = impatient().with("callbacks.retries", "10ms, 10ms");
        let mut gateway = TestGateway::start_with(engine, setup).await?;
        let endpoint = Endpoint::start(|post| match post.text("status").as_str() {
            "SENT" => Answer::Say(500),
            _ => Answer::Say(200),
        }).await?;
        let sent = gateway.send(called_back(1, &endpoint.url("/cb"))).await?;
        endpoint.until_taken(3).await?;
        let filter = proto::ListCallbacksRequest { states: vec![CallbackState::Dead as i32], ..Default::default() };
        let dead = callbacks(&gateway, filter).await?;
        assert_eq!((dead.len(), statuses(&dead[0])), (1, vec![500, 500, 500]));
        let words: Vec<_> = endpoint.posts().iter().map(|post| post.text("status")).collect();
        assert_eq!(words, ["ACCEPTED", "SENT", "SENT", "SENT", "DELIVERED", "READ"]);
        endpoint.play(|_| Answer::Say(200));
        let dead_ones = proto::RetryCallbacksRequest { senders: vec!["sandbox".into()], ..Default::default() };
        assert_eq!(gateway.admin.retry_callbacks(dead_ones).await?.into_inner().retried_count, 1);
        let all = settled(&gateway, &sent.message_id, 4, CallbackState::Delivered).await?;
        assert_eq!(statuses(&all[1]), [500, 500, 500, 200]);
        gateway.stop().await?;
        Ok(())
    }

    async fn addresses_that_are_not_public_are_refused_at_once_or_never_reached(engine) {
        // Nothing is allowed here.
        let mut gateway = TestGateway::start_with(engine, impatient().with("guard.allow", "")).await?;
        let endpoint = Endpoint::start(|_| Answer::Say(200)).await?;
        for (url, reason) in [
            (endpoint.url("/cb"), "INVALID"),
            (endpoint.url("/cb").replace("127.0.0.1", "0x7f.1"), "INVALID"),
            ("http://169.254.169.254/latest/meta-data".into(), "INVALID"),
            ("http://10.0.0.1/".into(), "INVALID"),
            ("http://[::1]/".into(), "INVALID"),
            ("http://[::ffff:192.168.0.1]/".into(), "INVALID"),
            ("http://[64:ff9b::10.0.0.1]/".into(), "INVALID"),
            ("ftp://example.com/".into(), "INVALID"),
            ("example.com/cb".into(), "INVALID"),
            ("https://user:pw@example.com/".into(), "INVALID"),
            ("https://example.com/#part".into(), "INVALID"),
            (format!("https://example.com/{}", "x".repeat(2_048)), "TOO_LONG"),
        ] {
            let refusal = crate::refusal::refused(gateway.messaging.send_message(held_back("sandbox", 1, &url)).await);
            assert_eq!(refusal.fields, [format!("options.callback_url {reason}")], "{url}");
            let incoming = proto::Sender {
                sender: "sandbox".into(), incoming_callback_url: url.clone(), ..Default::default()
            };
            let request = proto::UpdateSenderRequest { sender: Some(incoming), update_mask: None };
            let refusal = crate::refusal::refused(gateway.admin.update_sender(request).await);
            assert_eq!(refusal.fields, [format!("sender.incoming_callback_url {reason}")], "{url}");
        }
        // A name says nothing until it is resolved.
        let url = endpoint.url("/cb").replace("127.0.0.1", "localhost");
        let sent = gateway.send(held_back("sandbox", 1, &url)).await?;
        let dead = settled(&gateway, &sent.message_id, 1, CallbackState::Dead).await?.remove(0);
        assert!(dead.attempts.iter().all(|attempt| attempt.http_status == 0));
        assert!(dead.attempts[0].answer.contains("forbidden address: localhost leads to"), "{dead:?}");
        assert_eq!(endpoint.connections(), 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_callback_of_a_deleted_sender_is_given_up(engine) {
        let mut gateway = TestGateway::start_with(engine, impatient().with("callbacks.retries", "1s, 1s, 1s")).await?;
        gateway.sandbox_sender("gone").await?;
        let endpoint = Endpoint::start(|_| Answer::Say(500)).await?;
        let sent = gateway.send(held_back("gone", 1, &endpoint.url("/cb"))).await?;
        endpoint.until_posts(1).await?;
        gateway.admin.delete_sender(proto::DeleteSenderRequest { sender: "gone".into() }).await?;
        let dead = settled(&gateway, &sent.message_id, 2, CallbackState::Dead).await?;
        assert!(dead[0].attempts.last().unwrap().answer.contains("sender was deleted"), "{dead:?}");
        assert!(endpoint.posts().iter().all(|post| post.text("status").is_empty() || post.text("status") == "ACCEPTED"));
        gateway.stop().await?;
        Ok(())
    }

    async fn t13_a_restart_keeps_the_place_in_the_schedule_and_the_count(engine) {
        let setup = || impatient().with("callbacks.retries", "10ms, 3s, 10ms");
        let mut gateway = TestGateway::start_with(engine, setup()).await?;
        let endpoint = Endpoint::start(|_| Answer::Say(500)).await?;
        let sent = gateway.send(held_back("sandbox", 1, &endpoint.url("/cb"))).await?;
        let filter = || proto::ListCallbacksRequest { message_ids: vec![sent.message_id.clone()], ..Default::default() };
        let twice = async |gateway: &TestGateway| {
            let found = callbacks(gateway, filter()).await?;
            Ok(found.into_iter().find(|callback| callback.attempts.len() == 2))
        };
        let before = until("it was tried twice", async || twice(&gateway).await).await?;
        let database: TestDatabase = gateway.stop().await?;
        endpoint.play(|_| Answer::Say(200));
        let gateway = TestGateway::start_on(database, setup()).await?;
        let after = settled(&gateway, &sent.message_id, 1, CallbackState::Delivered).await?.remove(0);
        assert_eq!(statuses(&after), [500, 500, 200]);
        assert_eq!(after.attempts[..2], before.attempts[..]);
        let due = before.next_attempt_time.unwrap();
        let started = after.attempts[2].start_time.unwrap();
        assert!((started.seconds, started.nanos) >= (due.seconds, due.nanos), "not before its time");
        gateway.stop().await?;
        Ok(())
    }
}
