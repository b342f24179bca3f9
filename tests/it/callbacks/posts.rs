//! What is posted: the body, the signature, the order.

use std::time::Duration;

use anyhow::Result;
use recado::proto;
use recado::proto::CallbackState;
use serde_json::json;

use super::endpoint::{Answer, Endpoint};
use super::{
    OTHER_SECRET, SECRET, called_back, fits_the_schema, held_back, impatient, in_order, set_secret, settled, statuses,
};
use crate::gateway::{Setup, TestGateway, text};
use crate::on_both_databases;
use crate::tools::{fake, post, silent, until, with};

on_both_databases! {
    async fn each_status_is_posted_signed_and_in_order(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let endpoint = Endpoint::start(|_| Answer::Say(204)).await?;
        set_secret(&mut gateway, "sandbox", SECRET).await?;
        let url = endpoint.url("/cb?order=77");
        let mut request = called_back(1, &url);
        request.options.as_mut().unwrap().labels.insert("campaign".into(), "boleto".into());
        let sent = gateway.send(request).await?;
        let posts = endpoint.until_taken(4).await?;
        let words: Vec<_> = posts.iter().map(|post| post.text("status")).collect();
        assert_eq!(words, ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
        in_order(&posts);
        let events = gateway.all_events().await?;
        let events: Vec<_> = events.iter().filter(|event| {
            matches!(&event.payload, Some(proto::event::Payload::StatusChanged(s)) if s.message_id == sent.message_id)
        }).collect();
        assert_eq!(posts.len(), events.len());
        for (post, event) in posts.iter().zip(events) {
            assert_eq!((post.id(), post.text("event_id")), (&*event.event_id, event.event_id.clone()));
            assert_eq!((post.path.as_str(), post.headers["content-type"].as_str()), ("/cb?order=77", "application/json"));
            assert!(post.is_signed_by(SECRET) && !post.is_signed_by(OTHER_SECRET));
            assert_eq!((post.text("message_id"), post.text("messageId")), (sent.message_id.clone(), sent.message_id.clone()));
            assert_eq!((post.text("callback_data"), post.text("options")), ("order-1".into(), "order-1".into()));
            fits_the_schema(&post.json());
        }
        insta::assert_json_snapshot!("status", posts[1].json(), {
            ".timestamp" => "[time]", ".data.event_id" => "[id]", ".data.message_id" => "[id]", ".data.messageId" => "[id]",
            ".data.occur_time" => "[time]", ".data.receive_time" => "[time]", ".data.ts" => "[ms]",
            ".data.provider_message_id" => "[id]", ".data.sequence" => "[n]",
        });
        for callback in settled(&gateway, &sent.message_id, 4, CallbackState::Delivered).await? {
            assert_eq!((statuses(&callback), callback.sender.as_str()), (vec![204], "sandbox"));
            assert_eq!((callback.url.as_str(), callback.next_attempt_time), (url.as_str(), None));
        }
        let (message, _) = gateway.message(&sent.message_id).await?;
        assert_eq!(message.options.unwrap().callback_url, url);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_failure_says_why_in_the_callback_too(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let endpoint = Endpoint::start(|_| Answer::Say(200)).await?;
        let request = proto::SendMessageRequest { to: "+15005550002".into(), ..called_back(1, &endpoint.url("/cb")) };
        gateway.send(request).await?;
        let posts = endpoint.until_taken(2).await?;
        let failed = posts.iter().find(|post| post.text("status") == "FAILED").unwrap().json();
        fits_the_schema(&failed);
        assert_eq!(failed["data"]["current_status"], "FAILED");
        assert!(failed["data"]["error"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{failed}");
        // Nobody gave the sender a secret.
        assert!(posts.iter().all(|post| !post.headers.contains_key("webhook-signature")));
        gateway.stop().await?;
        Ok(())
    }

    async fn what_people_write_is_posted_in_the_order_of_each_conversation(engine) {
        let mut gateway = TestGateway::start_with(engine, impatient()).await?;
        // Each is refused once.
        let mut refused = std::collections::HashSet::new();
        let endpoint = Endpoint::start(move |post| match refused.insert(post.id().to_owned()) {
            true => Answer::Say(500),
            false => Answer::Say(200),
        }).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let sender = proto::Sender {
            sender: "acme".into(),
            incoming_callback_url: endpoint.url("/incoming"),
            callback_secret: SECRET.into(),
            ..Default::default()
        };
        let request = proto::UpdateSenderRequest { sender: Some(sender), update_mask: None };
        let answer = gateway.admin.update_sender(request).await?.into_inner().sender.unwrap();
        assert_eq!(answer.incoming_callback_url, endpoint.url("/incoming"));
        for (n, from) in [(1, "351910000001"), (2, "351910000002"), (3, "351910000001"), (4, "351910000001")] {
            let body = json!({
                "incomingMessageId": n, "from": from, "to": "AcmeCare", "text": format!("olá {n}"),
                "contentUrl": if n == 4 { Some(fake.file_url("1")) } else { None },
                "contentType": if n == 4 { Some("image/png") } else { None },
            });
            assert_eq!(post(&gateway.devino_webhook("acme"), body.to_string()).await?, 200);
            let incoming = async || Ok((gateway.incoming_events().await?.len() == n as usize).then_some(()));
            until("it is in the log", incoming).await?;
        }
        let taken = endpoint.until_taken(4).await?;
        for post in &taken {
            assert!(post.is_signed_by(SECRET));
            fits_the_schema(&post.json());
            assert_eq!(post.json()["type"], "message.incoming");
            // Only the gateway fetches from where the provider keeps files.
            assert!(!String::from_utf8_lossy(&post.body).contains(&fake.file_url("1")));
        }
        let of = |number: &str| -> Vec<String> {
            let theirs = taken.iter().filter(|post| post.json()["data"]["from"]["phone_number"] == number);
            theirs.map(|post| post.json()["data"]["content"].as_object().unwrap().keys().next().unwrap().clone()).collect()
        };
        assert_eq!((of("351910000001"), of("351910000002")), (
            vec!["text".to_owned(), "text".into(), "media".into()], vec!["text".to_owned()]
        ));
        let ids: Vec<_> = taken.iter().filter(|p| p.json()["data"]["from"]["phone_number"] == "351910000001").collect();
        assert!(ids.is_sorted_by_key(|post| post.sequence()));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_long_line_waits_for_its_first_and_loses_nothing(engine) {
        // More than one look takes in.
        const LINE: usize = 300;
        let mut gateway = TestGateway::start_with(engine, impatient()).await?;
        let endpoint = Endpoint::start(|_| Answer::Say(500)).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let incoming_callback_url = endpoint.url("/incoming");
        let sender = proto::Sender { sender: "acme".into(), incoming_callback_url, ..Default::default() };
        gateway.admin.update_sender(proto::UpdateSenderRequest { sender: Some(sender), update_mask: None }).await?;
        let messages: Vec<_> = (0..LINE)
            .map(|n| json!({ "incomingMessageId": n + 1, "from": "351910000001", "to": "AcmeCare", "text": n.to_string() }))
            .collect();
        assert_eq!(post(&gateway.devino_webhook("acme"), json!(messages).to_string()).await?, 200);
        let posts = endpoint.until_posts(3).await?;
        assert!(posts.iter().all(|post| post.id() == posts[0].id()), "the others wait");
        endpoint.play(|_| Answer::Say(200));
        let taken = endpoint.until_taken_within(LINE, Duration::from_secs(120)).await?;
        let texts: Vec<_> = taken.iter().map(|post| post.json()["data"]["content"]["text"]["body"].clone()).collect();
        assert_eq!(texts, (0..LINE).map(|n| json!(n.to_string())).collect::<Vec<_>>());
        gateway.stop().await?;
        Ok(())
    }

    async fn a_callback_is_tried_again_with_the_same_id_and_body_signed_anew(engine) {
        let mut gateway = TestGateway::start_with(engine, impatient()).await?;
        set_secret(&mut gateway, "sandbox", SECRET).await?;
        let mut answers = vec![
            Answer::Say(500), Answer::With(429, "retry-after", "2".into()), Answer::Drop, Answer::Garbage, Answer::Hang,
            Answer::With(302, "location", "/elsewhere".into()), Answer::Say(404), Answer::Endless,
        ].into_iter();
        let endpoint = Endpoint::start(move |_| answers.next().unwrap_or(Answer::Say(200))).await?;
        let sent = gateway.send(held_back("sandbox", 1, &endpoint.url("/cb"))).await?;
        let posts = endpoint.until_posts(8).await?;
        let callback = settled(&gateway, &sent.message_id, 1, CallbackState::Delivered).await?.remove(0);
        assert_eq!(statuses(&callback), [500, 429, 0, 0, 0, 302, 404, 200]);
        assert_eq!(callback.attempts[1].answer, "nope");
        assert!(callback.attempts[7].answer.len() == 4_096, "the answer is cut");
        assert!(callback.attempts[2..5].iter().all(|attempt| !attempt.answer.is_empty()), "{callback:?}");
        for post in &posts {
            assert_eq!((post.id(), &post.body), (&*callback.callback_id, &posts[0].body));
            assert_eq!(post.path, "/cb", "a redirect is not followed");
            assert!(post.is_signed_by(SECRET));
        }
        let seconds = |n: usize| posts[n].headers["webhook-timestamp"].parse::<i64>().unwrap();
        assert!(seconds(2) >= seconds(1) + 2, "Retry-After is obeyed, and the time is of the attempt");
        let start = |n: usize| callback.attempts[n].start_time.as_ref().map(|t| t.seconds * 1_000 + i64::from(t.nanos) / 1_000_000);
        assert!(start(2).unwrap() - start(1).unwrap() >= 2_000);
        gateway.stop().await?;
        Ok(())
    }

    async fn after_a_rotation_both_secrets_sign_the_newest_first(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let endpoint = Endpoint::start(|_| Answer::Say(200)).await?;
        set_secret(&mut gateway, "sandbox", SECRET).await?;
        set_secret(&mut gateway, "sandbox", OTHER_SECRET).await?;
        gateway.send(held_back("sandbox", 1, &endpoint.url("/cb"))).await?;
        let post = endpoint.until_taken(1).await?.remove(0);
        assert!(post.is_signed_by(SECRET) && post.is_signed_by(OTHER_SECRET));
        assert_eq!(post.headers["webhook-signature"].split(' ').count(), 2);
        // The newest alone, as a receiver with one library and one secret sees it.
        let mut newest = post.clone();
        let first = post.headers["webhook-signature"].split(' ').next().unwrap().to_owned();
        newest.headers.insert("webhook-signature".into(), first);
        assert!(newest.is_signed_by(OTHER_SECRET) && !newest.is_signed_by(SECRET));
        // Cleared, nothing is signed any more.
        set_secret(&mut gateway, "sandbox", "").await?;
        gateway.send(held_back("sandbox", 2, &endpoint.url("/cb"))).await?;
        let posts = endpoint.until_taken(2).await?;
        assert!(!posts[1].headers.contains_key("webhook-signature"));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_message_without_an_address_costs_no_row(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let sent = gateway.send(text("sandbox", &crate::tools::number(1), "x")).await?;
        let mut stream = gateway.stream(crate::gateway::after(&sent.cursor)).await?;
        stream.until(&sent.message_id, proto::MessageStatus::Read).await?;
        let rows = gateway.rows().await?;
        for table in ["callbacks", "callback_attempts", "callback_endpoints"] {
            assert_eq!(crate::tools::count(&rows, table).await?, 0, "{table}");
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn an_idle_endpoint_leaves_no_row(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let endpoint = Endpoint::start(|_| Answer::Say(200)).await?;
        for n in 0..20 {
            gateway.send(held_back("sandbox", n, &endpoint.url(&format!("/cb/{n}")))).await?;
        }
        endpoint.until_taken(20).await?;
        let rows = gateway.rows().await?;
        until("the endpoints are forgotten", async || {
            Ok((crate::tools::count(&rows, "callback_endpoints").await? == 0).then_some(()))
        }).await?;
        assert_eq!(crate::tools::count(&rows, "callbacks WHERE state = 2").await?, 20);
        gateway.stop().await?;
        Ok(())
    }

    async fn what_ended_long_ago_is_forgotten(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup::default().with("callbacks.keep", "0s")).await?;
        let endpoint = Endpoint::start(|_| Answer::Say(200)).await?;
        gateway.send(held_back("sandbox", 1, &endpoint.url("/cb"))).await?;
        endpoint.until_taken(1).await?;
        let rows = gateway.rows().await?;
        until("it ended", async || Ok((crate::tools::count(&rows, "callbacks WHERE state = 2").await? == 1).then_some(()))).await?;
        // It is looked for at the start, and each minute.
        let database = gateway.stop().await?;
        let gateway = TestGateway::start_on(database, Setup::default().with("callbacks.keep", "0s")).await?;
        until("it is forgotten", async || {
            let left = crate::tools::count(&rows, "callbacks").await? + crate::tools::count(&rows, "callback_attempts").await?;
            Ok((left == 0).then_some(()))
        }).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn a_message_s_address_is_part_of_what_an_idempotency_key_stands_for(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let keyed = |url: &str| {
            let mut request = held_back("sandbox", 1, url);
            request.options.as_mut().unwrap().idempotency_key = "k".into();
            let options = request.options.clone().unwrap();
            with(text("sandbox", &crate::tools::number(1), "x"), proto::SendOptions { send_time: None, ..options })
        };
        gateway.send(keyed("http://127.0.0.1:1/a")).await?;
        assert!(gateway.send(keyed("http://127.0.0.1:1/a")).await?.deduplicated);
        let refusal = crate::refusal::refused(gateway.messaging.send_message(keyed("http://127.0.0.1:1/b")).await);
        assert_eq!((refusal.reason.as_str(), refusal.metadata["fields"].as_str()), ("IDEMPOTENCY_KEY_REUSED", "options.callback_url"));
        gateway.stop().await?;
        Ok(())
    }
}

impl TestGateway {
    /// The incoming messages that are there.
    async fn incoming_events(&self) -> Result<Vec<proto::Event>> {
        use proto::list_events_request::Start;
        let request = proto::ListEventsRequest {
            start: Some(Start::FromBeginning(true)),
            page_size: 1_000,
            ..Default::default()
        };
        let events = self.events.clone().list_events(request).await?.into_inner().events;
        let incoming = |event: &proto::Event| matches!(event.payload, Some(proto::event::Payload::IncomingMessage(_)));
        Ok(events.into_iter().filter(incoming).collect())
    }
}
