//! What people wrote while the gateway was away.

use anyhow::Result;
use recado::fake::FakeProvider;
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::incoming_message::Content;
use serde_json::json;

use super::{fake, post, sender, sender_at, webhook};
use crate::gateway::{Setup, TestGateway};
use crate::media::downloaded;
use crate::on_both_databases;
use crate::provider::{Call, Provider, Reply};
use crate::tools::{silent, until};

/// Where nobody listens: what is posted there is posted in vain.
const NOWHERE: &str = "http://127.0.0.1:9/webhooks/twilio/acme";

fn write(fake: &FakeProvider, to: &str, sid: &str, body: &str) {
    let fields = json!({ "MessageSid": sid, "From": "whatsapp:+5511987654321", "WaId": "5511987654321", "Body": body });
    post(fake, to, fields);
}

async fn incoming(gateway: &mut TestGateway) -> Result<Vec<(proto::Event, proto::IncomingMessage)>> {
    let of_people = |event: proto::Event| match event.payload.clone() {
        Some(Payload::IncomingMessage(incoming)) => Some((event, incoming)),
        _ => None,
    };
    Ok(gateway.all_events().await?.into_iter().filter_map(of_people).collect())
}

/// The next question for a list of messages; others, as for the catalogue, are answered with nothing.
async fn next_list(provider: &Provider) -> Call {
    loop {
        let call = provider.next().await;
        match call.path.contains("/Messages.json") {
            true => return call,
            false => call.answer(Reply::new(404, "{}")),
        }
    }
}

/// Waits until so many messages of people are in the log.
async fn wait_for(gateway: &TestGateway, count: usize) -> Result<()> {
    let events = gateway.events.clone();
    until("the messages are there", || {
        let mut events = events.clone();
        async move {
            let start = Some(proto::list_events_request::Start::FromBeginning(true));
            let request = proto::ListEventsRequest { start, page_size: 1_000, ..Default::default() };
            let found = events.list_events(request).await?.into_inner().events;
            let of_people = found.iter().filter(|event| matches!(event.payload, Some(Payload::IncomingMessage(_))));
            Ok((of_people.count() >= count).then_some(()))
        }
    })
    .await
}

on_both_databases! {
    async fn i18_what_people_wrote_while_the_gateway_was_away_is_read_at_its_start(engine) {
        let fake = fake(silent()).await?;
        let mut gateway = TestGateway::start(engine).await?;
        sender(&mut gateway, "acme", &fake).await?;
        write(&fake, &webhook(&gateway, "acme"), "SM01", "before");
        wait_for(&gateway, 1).await?;
        let database = gateway.stop().await?;

        write(&fake, NOWHERE, "SM02", "in between & more");
        let file = json!({
            "MessageSid": "SM03", "From": "whatsapp:+5511987654321", "Body": "the receipt", "NumMedia": "1",
            "MediaUrl0": format!("{}/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages/SM03/Media/ME07",
                fake.base_url("twilio")),
            "MediaContentType0": "image/gif",
        });
        post(&fake, NOWHERE, file);
        let settings = Setup::default().with("guard.allow", "127.0.0.1, ::1");
        let mut gateway = TestGateway::start_on(database, settings).await?;
        wait_for(&gateway, 3).await?;
        // A webhook that comes after all, and a message that is new.
        write(&fake, &webhook(&gateway, "acme"), "SM02", "in between & more");
        write(&fake, &webhook(&gateway, "acme"), "SM04", "after");
        wait_for(&gateway, 4).await?;

        let found = incoming(&mut gateway).await?;
        let told: Vec<_> = found.iter().map(|(_, one)| (one.provider_message_id.as_str(), one.backfilled)).collect();
        assert_eq!(told, [("SM01", false), ("SM02", true), ("SM03", true), ("SM04", false)]);
        let (event, second) = &found[1];
        assert_eq!(second.contact.clone().unwrap_or_default().phone_number, "+5511987654321");
        assert_eq!(second.content, Some(Content::Text(proto::Text { body: "in between & more".into(), preview_url: false })));
        // Webhooks of Twilio carry no time; its list does, and the window is counted from it.
        let (occurred, expires) = (event.occur_time.unwrap_or_default(), second.window_expire_time.unwrap_or_default());
        assert_eq!(expires.seconds - occurred.seconds, 86_400);
        let Some(Content::Media(media)) = &found[2].1.content else { panic!("{:?} is no file", found[2].1) };
        assert_eq!(media.caption, "the receipt");
        let (_, bytes) = downloaded(&gateway, &media.media_id).await?;
        assert!(bytes.starts_with(b"GIF89a"));
        gateway.stop().await?;
        Ok(())
    }

    async fn i18_a_provider_that_is_away_is_asked_until_it_has_told_all_pages(engine) {
        let provider = Provider::start().await?;
        let mut gateway = TestGateway::start(engine).await?;
        sender_at(&mut gateway, "acme", &provider.base_url()).await?;
        let database = gateway.stop().await?;
        let gateway = TestGateway::start_on(database, Setup::default()).await?;
        let first = next_list(&provider).await;
        assert!(first.path.contains("To=whatsapp%3A%2B14155550100&DateSent%3E=20"), "{}", first.path);
        first.answer(Reply::new(503, json!({ "code": 20503, "message": "Service unavailable" }).to_string()));

        let at = |at| httpdate::fmt_http_date(at).replace("GMT", "+0000");
        let (now, hour) = (std::time::SystemTime::now(), std::time::Duration::from_secs(3_600));
        let message = |sid: &str, direction: &str, sent: String| {
            json!({ "sid": sid, "direction": direction, "date_sent": sent, "from": "whatsapp:+5511987654321", "to": "x",
                "body": sid, "num_media": "0" })
        };
        let page = |messages: serde_json::Value, next: Option<&str>| {
            Reply::new(200, json!({ "messages": messages, "next_page_uri": next }).to_string())
        };
        let path = "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages.json";
        let again = next_list(&provider).await;
        // Newest first, as Twilio lists: of others' direction, and of a time before the sender was ours, nothing is told.
        let newest = json!([message("SM03", "inbound", at(now + hour)), message("SM02", "outbound-api", at(now + hour))]);
        again.answer(page(newest, Some(&format!("{path}?Page=1&PageToken=PA01"))));
        let second = next_list(&provider).await;
        assert!(second.path.ends_with("?Page=1&PageToken=PA01"), "{}", second.path);
        let oldest = json!([message("SM01", "inbound", at(now + hour)), message("SM00", "inbound", at(now - 24 * hour))]);
        second.answer(page(oldest, None));
        wait_for(&gateway, 2).await?;
        let mut gateway = gateway;
        let found = incoming(&mut gateway).await?;
        let told: Vec<_> = found.iter().map(|(_, one)| (one.provider_message_id.as_str(), one.backfilled)).collect();
        assert_eq!(told, [("SM01", true), ("SM03", true)]);
        gateway.stop().await?;
        Ok(())
    }

    async fn i18_nothing_is_asked_when_it_is_turned_off(engine) {
        let fake = fake(silent()).await?;
        let mut gateway = TestGateway::start(engine).await?;
        sender(&mut gateway, "acme", &fake).await?;
        let database = gateway.stop().await?;
        write(&fake, NOWHERE, "SM01", "hello?");
        let mut gateway = TestGateway::start_on(database, Setup::default().with("webhook.history", "0s")).await?;
        write(&fake, &webhook(&gateway, "acme"), "SM02", "hello!");
        wait_for(&gateway, 1).await?;
        let found = incoming(&mut gateway).await?;
        assert_eq!(found.iter().map(|(_, one)| one.provider_message_id.as_str()).collect::<Vec<_>>(), ["SM02"]);
        gateway.stop().await?;
        Ok(())
    }
}
