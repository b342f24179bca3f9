//! Subscriptions as things that can be looked at: whose they are, who holds them, how far behind they are.

use anyhow::Result;
use futures::future::join_all;
use recado::proto;
use recado::proto::ApiKeyScope;
use recado::proto::seek_subscription_request::To;
use recado::proto::stream_events_request::Start;
use tonic::{Code, Status};

use super::{after_cursor, compact, positions, stream};
use crate::access::{ADMIN, guarded, make_key};
use crate::gateway::{EventStream, TestGateway, keyed, until};
use crate::on_both_databases;
use crate::refusal::{refusal, refused};
use crate::tools::count;

fn named(name: &str) -> proto::StreamEventsRequest {
    stream(Some(Start::Subscription(name.into())))
}

fn get(name: &str) -> proto::GetSubscriptionRequest {
    proto::GetSubscriptionRequest { subscription: name.into(), ..Default::default() }
}

fn seek(name: &str, to: To) -> proto::SeekSubscriptionRequest {
    proto::SeekSubscriptionRequest { subscription: name.into(), to: Some(to), ..Default::default() }
}

async fn found(gateway: &TestGateway, name: &str, key: &str) -> Result<proto::Subscription, Status> {
    let answer = gateway.events.clone().get_subscription(keyed(get(name), key)).await?;
    Ok(answer.into_inner().subscription.unwrap())
}

async fn listed(gateway: &TestGateway, key: &str, all_keys: bool, page_size: i32) -> Result<Vec<[String; 2]>, Status> {
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = proto::ListSubscriptionsRequest { page_size, page_token, all_keys };
        let answer = gateway.events.clone().list_subscriptions(keyed(request, key)).await?.into_inner();
        assert!(answer.subscriptions.len() <= page_size as usize);
        names.extend(answer.subscriptions.into_iter().map(|found| [found.api_key_id, found.subscription]));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(names);
        }
    }
}

/// How many streams of this process ended so.
async fn ended(gateway: &TestGateway, reason: &str) -> Result<u64> {
    let begin = format!("recado_streams_ended_total{{reason=\"{reason}\"}} ");
    let metrics = metrics(gateway).await?;
    let count = metrics.lines().find_map(|line| line.strip_prefix(&begin));
    Ok(count.map_or(Ok(0), str::parse)?)
}

pub async fn metrics(gateway: &TestGateway) -> Result<String> {
    Ok(reqwest::get(format!("{}/metrics", gateway.http)).await?.text().await?)
}

on_both_databases! {
    async fn a_subscription_tells_who_holds_it_since_when_and_how_far_behind_it_is(engine) {
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        let (key, secret) = make_key(&mut gateway, &[ApiKeyScope::Read], &[]).await?;
        let mut held = EventStream::attach(gateway.events.stream_events(keyed(named("crm"), &secret)).await?).await?;
        assert!(held.attached.subscription_made);
        let sent = crate::gateway::held("sandbox", "+351910000001", "olá");
        let before = gateway.messaging.send_message(keyed(sent.clone(), ADMIN)).await?.into_inner().accept_time;
        gateway.messaging.send_message(keyed(sent, ADMIN)).await?;
        let events = held.events(2).await?;

        // The configured key sees all senders too, so it is its subscription as well.
        let subscription = found(&gateway, "crm", ADMIN).await?;
        assert_eq!((subscription.lag_events, &*subscription.api_key_id, subscription.compacted), (2, "", false));
        let lag = std::time::Duration::try_from(subscription.lag.unwrap())?;
        let age = std::time::SystemTime::now().duration_since(before.unwrap().try_into()?)?;
        assert!(lag <= age + std::time::Duration::from_secs(1), "{lag:?} behind, {age:?} after the first event");
        let holder = subscription.holder.unwrap();
        assert_eq!(holder.api_key_id, key.api_key_id);
        let address: std::net::SocketAddr = holder.address.parse()?;
        assert!(address.ip().is_loopback() && address.port() > 0);
        let attached: std::time::SystemTime = holder.attach_time.unwrap().try_into()?;
        assert!(attached.elapsed()? < std::time::Duration::from_secs(60));

        let ack = proto::AckEventsRequest { subscription: "crm".into(), cursor: events[1].cursor.clone() };
        gateway.events.ack_events(keyed(ack, &secret)).await?;
        let subscription = found(&gateway, "crm", &secret).await?;
        assert_eq!((subscription.lag_events, subscription.lag.unwrap()), (0, Default::default()));
        drop(held);
        until("nobody holds it", || async { Ok(found(&gateway, "crm", &secret).await?.holder.is_none()) }).await?;
        let again = EventStream::attach(gateway.events.stream_events(keyed(named("crm"), &secret)).await?).await?;
        assert!(!again.attached.subscription_made);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_limited_key_has_its_own_subscriptions_and_an_administrator_sees_all(engine) {
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        let (one, one_secret) = make_key(&mut gateway, &[ApiKeyScope::Read, ApiKeyScope::Admin], &["sandbox"]).await?;
        let (two, two_secret) = make_key(&mut gateway, &[ApiKeyScope::Read], &["sandbox"]).await?;
        let (_, reader) = make_key(&mut gateway, &[ApiKeyScope::Read], &[]).await?;
        for (secret, name) in [
            (&*one_secret, "b"), (&one_secret, "a"), (&two_secret, "a"), (&reader, "c"), (ADMIN, "d"), (ADMIN, "a-b"),
        ] {
            gateway.events.seek_subscription(keyed(seek(name, To::Beginning(true)), secret)).await?;
        }
        let pairs = |pairs: &[(&str, &str)]| -> Vec<[String; 2]> {
            pairs.iter().map(|(key, name)| [(*key).to_owned(), (*name).to_owned()]).collect()
        };
        let own = listed(&gateway, &one_secret, false, 1).await?;
        assert_eq!(own, pairs(&[(&one.api_key_id, "a"), (&one.api_key_id, "b")]));
        let mut shared = listed(&gateway, &reader, false, 2).await?;
        shared.sort();
        assert_eq!(shared, pairs(&[("", "a-b"), ("", "c"), ("", "d")]));
        let mut all = listed(&gateway, ADMIN, true, 2).await?;
        all.sort();
        let mut expected = pairs(&[("", "a-b"), ("", "c"), ("", "d"), (&one.api_key_id, "a"), (&one.api_key_id, "b"),
            (&two.api_key_id, "a")]);
        expected.sort();
        assert_eq!(all, expected);

        // Neither a key without the scope nor one that sees some senders reaches another's.
        for secret in [&one_secret, &two_secret, &reader] {
            let denied = refusal(&listed(&gateway, secret, true, 9).await.unwrap_err());
            assert_eq!(denied.is(), (Code::PermissionDenied, "PERMISSION_DENIED"));
        }
        let of_two = two.api_key_id.clone();
        let theirs = proto::GetSubscriptionRequest { subscription: "a".into(), api_key_id: of_two.clone() };
        let moved = proto::SeekSubscriptionRequest { api_key_id: of_two.clone(), ..seek("a", To::End(true)) };
        let delete = proto::DeleteSubscriptionRequest { subscription: "a".into(), api_key_id: of_two };
        for secret in [&one_secret, &reader] {
            for refusal in [
                refused(gateway.events.get_subscription(keyed(theirs.clone(), secret)).await),
                refused(gateway.events.seek_subscription(keyed(moved.clone(), secret)).await),
                refused(gateway.events.delete_subscription(keyed(delete.clone(), secret)).await),
            ] {
                assert_eq!(refusal.is(), (Code::PermissionDenied, "PERMISSION_DENIED"));
            }
        }
        gateway.events.get_subscription(keyed(theirs.clone(), &two_secret)).await?;
        gateway.events.seek_subscription(keyed(moved, ADMIN)).await?;
        assert_eq!(found(&gateway, "a", &two_secret).await?.lag_events, 0);
        gateway.events.delete_subscription(keyed(delete, ADMIN)).await?;
        let gone = refused(gateway.events.get_subscription(keyed(theirs, &two_secret)).await);
        assert_eq!(gone.is(), (Code::NotFound, "NOT_FOUND"));
        found(&gateway, "a", &one_secret).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn a_stream_is_told_how_it_lost_its_subscription(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let mut first = gateway.stream(named("crm")).await?;
        let mut second = gateway.stream(proto::StreamEventsRequest { takeover: true, ..named("crm") }).await?;
        gateway.fill(2, "").await?;
        assert_eq!(refusal(&first.end().await?).metadata["cause"], "TAKEN_OVER");
        second.events(2).await?;
        gateway.events.seek_subscription(seek("crm", To::Beginning(true))).await?;
        let lost = refusal(&second.end().await?);
        assert_eq!((lost.code, &*lost.reason, &*lost.metadata["cause"]), (Code::Aborted, "SUBSCRIPTION_TAKEN_OVER", "MOVED"));
        let mut third = gateway.stream(named("crm")).await?;
        assert_eq!(positions(&third.events(3).await?), [1, 2, 3], "opened again, it starts at the new place");
        let delete = proto::DeleteSubscriptionRequest { subscription: "crm".into(), ..Default::default() };
        gateway.events.delete_subscription(delete).await?;
        assert_eq!(refusal(&third.end().await?).metadata["cause"], "DELETED");
        assert!(gateway.stream(named("crm")).await?.attached.subscription_made);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_subscription_that_retention_overtook_says_so_until_it_is_moved(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(9, "").await?;
        gateway.events.seek_subscription(seek("crm", To::Beginning(true))).await?;
        compact(&gateway.database, 5).await?;
        let subscription = found(&gateway, "crm", "").await?;
        assert!(subscription.compacted);
        assert_eq!(subscription.lag_events, 10, "what was removed counts");
        assert!(metrics(&gateway).await?.contains("recado_subscription_compacted{subscription=\"crm\",key=\"\"} 1\n"));
        let lost = refused(gateway.events.stream_events(named("crm")).await);
        assert_eq!(lost.is(), (Code::OutOfRange, "CURSOR_COMPACTED"));
        assert!(found(&gateway, "crm", "").await?.holder.is_none(), "what could not be opened holds nothing");

        let moved = gateway.events.seek_subscription(seek("crm", To::Beginning(true))).await?.into_inner();
        let moved = moved.subscription.unwrap();
        assert_eq!((moved.compacted, moved.lag_events, moved.cursor), (false, 5, lost.metadata["oldest_cursor"].clone()));
        assert_eq!(positions(&gateway.stream(named("crm")).await?.events(5).await?), [6, 7, 8, 9, 10]);
        gateway.stop().await?;
        Ok(())
    }

    async fn the_metrics_show_each_subscription_and_forget_those_that_are_gone(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(3, "").await?;
        for name in ["crm", "billing"] {
            gateway.events.seek_subscription(seek(name, To::Beginning(true))).await?;
        }
        let _held = gateway.stream(named("crm")).await?;
        let text = metrics(&gateway).await?;
        for line in [
            "recado_subscriptions 2\n",
            "recado_subscription_lag_events{subscription=\"crm\",key=\"\"} 4\n",
            "recado_subscription_lag_events{subscription=\"billing\",key=\"\"} 4\n",
            "recado_subscription_held{subscription=\"crm\",key=\"\"} 1\n",
            "recado_subscription_held{subscription=\"billing\",key=\"\"} 0\n",
            "recado_subscription_lag_seconds{subscription=\"crm\",key=\"\"} ",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        let delete = proto::DeleteSubscriptionRequest { subscription: "billing".into(), ..Default::default() };
        gateway.events.delete_subscription(delete).await?;
        let text = metrics(&gateway).await?;
        assert!(text.contains("recado_subscriptions 1\n") && !text.contains("billing"), "{text}");
        // Names are the callers' choice: only so many get series of their own, those that are furthest behind.
        for n in 0..150 {
            gateway.events.seek_subscription(seek(&format!("n{n}"), To::End(true))).await?;
        }
        let text = metrics(&gateway).await?;
        assert_eq!(text.matches("recado_subscription_lag_events{").count(), 100);
        assert!(text.contains("recado_subscriptions 151\n"));
        assert!(text.contains("recado_subscription_lag_events{subscription=\"crm\",key=\"\"} 4\n"));
        gateway.stop().await?;
        Ok(())
    }

    async fn how_streams_ended_is_counted(engine) {
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        let (key, secret) = make_key(&mut gateway, &[ApiKeyScope::Read], &[]).await?;
        let reasons = ["SUBSCRIPTION_TAKEN_OVER", "KEY_REVOKED", "CLIENT_GONE", "GOING_AWAY"];
        let mut before = Vec::new();
        for reason in reasons {
            before.push(ended(&gateway, reason).await?);
        }
        let attach = async |events: &TestGateway, request, key: &str| {
            EventStream::attach(events.events.clone().stream_events(keyed(request, key)).await?).await
        };
        let mut first = attach(&gateway, named("crm"), ADMIN).await?;
        let takeover = proto::StreamEventsRequest { takeover: true, ..named("crm") };
        let second = attach(&gateway, takeover, ADMIN).await?;
        assert_eq!(refusal(&first.end().await?).reason, "SUBSCRIPTION_TAKEN_OVER");
        let mut revoked = attach(&gateway, stream(None), &secret).await?;
        let request = proto::RevokeApiKeyRequest { api_key_id: key.api_key_id };
        gateway.admin.revoke_api_key(keyed(request, ADMIN)).await?;
        assert_eq!(refusal(&revoked.end().await?).reason, "KEY_REVOKED");
        drop(second);
        for (reason, before) in reasons.iter().zip(&before).take(3) {
            until(reason, || async { Ok(ended(&gateway, reason).await? > *before) }).await?;
        }
        let mut last = attach(&gateway, stream(None), ADMIN).await?;
        gateway.stop().await?;
        while last.next_item().await.is_ok() {}
        // The metrics are of the process.
        let other = TestGateway::start(engine).await?;
        assert!(ended(&other, "GOING_AWAY").await? > before[3]);
        other.stop().await?;
        Ok(())
    }

    async fn t5_a_thousand_expired_cursors_are_one_error_each_and_leave_nothing_behind(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(200, "").await?;
        let all = gateway.all_events().await?;
        for name in 0..50 {
            gateway.events.seek_subscription(seek(&format!("s{name}"), To::Beginning(true))).await?;
        }
        compact(&gateway.database, 150).await?;
        let expired = (0..1_000).map(|n| match n % 20 {
            0 => named(&format!("s{}", n / 20)),
            _ => stream(after_cursor(&all[n % 149].cursor)),
        });
        let open = expired.map(|request| {
            let mut events = gateway.events.clone();
            async move { events.stream_events(request).await }
        });
        let refusals = join_all(open).await;
        assert_eq!(refusals.len(), 1_000);
        for refusal in refusals.into_iter().map(refused) {
            assert_eq!(refusal.is(), (Code::OutOfRange, "CURSOR_COMPACTED"));
            assert_eq!(refusal.metadata["oldest_cursor"], all[149].cursor);
        }
        let rows = gateway.rows().await?;
        assert_eq!(count(&rows, "subscriptions WHERE holder IS NOT NULL").await?, 0);
        assert_eq!(count(&rows, "subscriptions").await?, 50);
        // Nothing of them is in the way of whoever comes with a cursor that is kept.
        let mut open = gateway.stream(stream(after_cursor(&all[149].cursor))).await?;
        assert_eq!(open.events(51).await?, all[150..]);
        gateway.stop().await?;
        Ok(())
    }
}
