//! How fast Meta lets a number go: what it allows, and what it says before it throttles.

use std::sync::Arc;

use recado::proto;
use serde_json::json;

use super::{NUMBER, sender_at};
use crate::gateway::{TestGateway, after, text};
use crate::on_both_databases;
use crate::provider::{Provider, Reply};
use crate::tools::number;

on_both_databases! {
    async fn o17_what_is_not_set_is_metas(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let sender = sender_at(&mut gateway, "acme", "http://127.0.0.1:9/meta", NUMBER).await?;
        let limits = sender.limits.unwrap();
        let six_seconds = Some(prost_types::Duration { seconds: 6, nanos: 0 });
        let in_force = (limits.messages_per_second, limits.contact_interval, limits.contact_burst);
        assert_eq!(in_force, (Some(80.0), six_seconds, Some(45)));
        gateway.stop().await?;
        Ok(())
    }

    async fn o3_a_limit_that_is_nearly_used_up_slows_the_sender_before_it_is_throttled(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let meta = Arc::new(Provider::start().await?);
        sender_at(&mut gateway, "acme", &meta.base_url(), NUMBER).await?;
        let mut effective = Vec::new();
        for (n, percent) in [(1, 60), (2, 90)] {
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            let usage = json!({ "call_count": 3, "total_time": percent, "total_cputime": 1 }).to_string();
            let answer = json!({ "messaging_product": "whatsapp", "messages": [{ "id": format!("wamid.{n}") }] });
            meta.next().await.answer(Reply::new(200, answer.to_string()).with_header("x-app-usage", usage));
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            stream.until(&sent.message_id, proto::MessageStatus::Sent).await?;
            if percent > 80 {
                crate::tools::until("it goes slower", async || {
                    let limiter = gateway.sender_stats("acme").await?.limiter.unwrap();
                    Ok(limiter.effective_messages_per_second.filter(|rate| *rate < 80.0).map(|_| ()))
                }).await?;
            }
            let limiter = gateway.sender_stats("acme").await?.limiter.unwrap();
            assert_eq!((limiter.messages_per_second, limiter.hold_until_time), (Some(80.0), None));
            effective.push(limiter.effective_messages_per_second.unwrap());
        }
        assert_eq!(effective[0], 80.0, "60 % is no reason");
        // Half of it, and what has grown back since.
        assert!((39.9..80.0).contains(&effective[1]), "{effective:?}");
        gateway.stop().await?;
        Ok(())
    }
}
