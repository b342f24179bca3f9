//! Named subscriptions: places that the gateway keeps.

use anyhow::Result;
use recado::proto;
use recado::proto::seek_subscription_request::To;
use recado::proto::stream_events_request::Start;
use tonic::Code;

use super::{cursors, positions, stream};
use crate::gateway::{Setup, TestGateway, until};
use crate::on_both_databases;
use crate::refusal::{refusal, refused};

fn named(name: &str) -> proto::StreamEventsRequest {
    stream(Some(Start::Subscription(name.into())))
}

async fn ack(gateway: &mut TestGateway, name: &str, cursor: &str) -> Result<String> {
    let request = proto::AckEventsRequest { subscription: name.into(), cursor: cursor.into() };
    Ok(gateway.events.ack_events(request).await?.into_inner().cursor)
}

async fn get(gateway: &mut TestGateway, name: &str) -> Result<proto::Subscription> {
    let request = proto::GetSubscriptionRequest { subscription: name.into(), ..Default::default() };
    Ok(gateway.events.get_subscription(request).await?.into_inner().subscription.unwrap())
}

async fn seek(gateway: &mut TestGateway, name: &str, to: To) -> Result<proto::Subscription> {
    let request = proto::SeekSubscriptionRequest { subscription: name.into(), to: Some(to), ..Default::default() };
    Ok(gateway.events.seek_subscription(request).await?.into_inner().subscription.unwrap())
}

/// Waits until nobody holds a subscription.
async fn let_go(gateway: &TestGateway, name: &str) -> Result<()> {
    until("the subscription is free", || {
        let mut events = gateway.events.clone();
        let request = proto::GetSubscriptionRequest { subscription: name.into(), ..Default::default() };
        async move { Ok(events.get_subscription(request).await?.into_inner().subscription.unwrap().holder.is_none()) }
    })
    .await
}

on_both_databases! {
    async fn a_subscription_is_made_at_now_and_resumes_after_what_was_acknowledged(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(3, "").await?;
        let mut first = gateway.stream(named("crm")).await?;
        assert_eq!(first.attached.subscription, "crm");
        gateway.fill(5, "").await?;
        let events = first.events(5).await?;
        assert_eq!(positions(&events), [5, 6, 7, 8, 9], "made at now: the first three are not its");
        assert_eq!(ack(&mut gateway, "crm", &events[1].cursor).await?, events[1].cursor);

        // What was sent and not acknowledged comes again, also after a restart.
        drop(first);
        let mut gateway = TestGateway::start_on(gateway.stop().await?, Setup::default()).await?;
        let mut second = gateway.stream(named("crm")).await?;
        assert_eq!(second.attached.start_cursor, events[1].cursor);
        assert_eq!(second.events(3).await?, events[2..]);

        // Cumulative, and never backwards.
        assert_eq!(ack(&mut gateway, "crm", &events[4].cursor).await?, events[4].cursor);
        assert_eq!(ack(&mut gateway, "crm", &events[0].cursor).await?, events[4].cursor);
        let found = get(&mut gateway, "crm").await?;
        assert_eq!((found.cursor.as_str(), found.lag_events), (events[4].cursor.as_str(), 0));
        assert!(found.ack_time.is_some() && found.holder.is_some());
        gateway.stop().await?;
        Ok(())
    }

    async fn a_held_subscription_is_refused_and_takeover_ends_the_other(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let mut first = gateway.stream(named("crm")).await?;
        gateway.fill(2, "").await?;
        let seen = first.events(2).await?;
        let held = refused(gateway.events.stream_events(named("crm")).await);
        assert_eq!(held.is(), (Code::AlreadyExists, "SUBSCRIPTION_HELD"));
        assert_eq!(held.metadata["subscription"], "crm");
        gateway.stream(named("other")).await?;

        let mut second = gateway.stream(proto::StreamEventsRequest { takeover: true, ..named("crm") }).await?;
        let ended = refusal(&first.end().await?);
        assert_eq!(ended.is(), (Code::Aborted, "SUBSCRIPTION_TAKEN_OVER"));
        assert_eq!(ended.metadata["cursor"], seen[1].cursor);
        assert_eq!(cursors(&second.events(2).await?), cursors(&seen), "nothing was acknowledged");
        // The first one's end must not let go of what the second holds.
        second.next_checkpoint().await?;
        assert_eq!(refused(gateway.events.stream_events(named("crm")).await).is().1, "SUBSCRIPTION_HELD");
        drop(second);
        let_go(&gateway, "crm").await?;
        gateway.stream(named("crm")).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn t8_a_hundred_takeovers_leave_one_holder_and_each_event_once_per_stream(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let mut open = Vec::new();
        let mut last = gateway.stream(named("crm")).await?;
        for _ in 0..100 {
            open.push(last);
            last = gateway.stream(proto::StreamEventsRequest { takeover: true, ..named("crm") }).await?;
        }
        gateway.fill(10, "").await?;
        let events = last.events(10).await?;
        assert_eq!(positions(&events), (2..=11).collect::<Vec<_>>());
        for mut stream in open {
            let end = refusal(&stream.end().await?);
            assert_eq!(end.reason, "SUBSCRIPTION_TAKEN_OVER");
        }
        assert!(get(&mut gateway, "crm").await?.holder.is_some());
        drop(last);
        let_go(&gateway, "crm").await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn subscriptions_are_listed_moved_and_deleted(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.fill(4, "").await?;
        let all = gateway.all_events().await?;
        for (name, to, expected) in [
            ("a", To::Beginning(true), 0),
            ("b", To::End(true), 5),
            ("c", To::Cursor(all[2].cursor.clone()), 3),
            ("d", To::Time(all[0].record_time.unwrap()), 0),
            ("e", To::Beginning(true), 0),
        ] {
            let made = seek(&mut gateway, name, to).await?;
            assert_eq!((made.subscription.as_str(), made.lag_events), (name, 5 - expected), "{made:?}");
            assert!(made.create_time.is_some() && made.holder.is_none());
        }
        let (mut names, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let request = proto::ListSubscriptionsRequest { page_size: 2, page_token, ..Default::default() };
            let answer = gateway.events.list_subscriptions(request).await?.into_inner();
            names.extend(answer.subscriptions.into_iter().map(|found| found.subscription));
            (page_token, pages) = (answer.next_page_token, pages + 1);
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!((names, pages), (["a", "b", "c", "d", "e"].map(String::from).to_vec(), 3));

        // Moving and deleting end the stream that holds it.
        let mut moved = gateway.stream(named("b")).await?;
        assert_eq!(seek(&mut gateway, "b", To::Cursor(all[1].cursor.clone())).await?.cursor, all[1].cursor);
        assert_eq!(refusal(&moved.end().await?).reason, "SUBSCRIPTION_TAKEN_OVER");
        let mut again = gateway.stream(named("b")).await?;
        assert_eq!(again.events(3).await?, all[2..]);
        let delete = proto::DeleteSubscriptionRequest { subscription: "b".into(), ..Default::default() };
        gateway.events.delete_subscription(delete.clone()).await?;
        assert_eq!(refusal(&again.end().await?).reason, "SUBSCRIPTION_TAKEN_OVER");

        let request = proto::GetSubscriptionRequest { subscription: "b".into(), ..Default::default() };
        let acknowledge = proto::AckEventsRequest { subscription: "b".into(), cursor: all[0].cursor.clone() };
        for refusal in [
            refused(gateway.events.delete_subscription(delete).await),
            refused(gateway.events.get_subscription(request).await),
            refused(gateway.events.ack_events(acknowledge).await),
        ] {
            assert_eq!(refusal.is(), (Code::NotFound, "NOT_FOUND"));
            assert_eq!(refusal.metadata["resource"], "subscription");
        }
        gateway.stop().await?;
        Ok(())
    }
}
