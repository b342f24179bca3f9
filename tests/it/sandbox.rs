//! The sandbox from end to end: what a newcomer tries first.

use recado::proto;
use recado::proto::MessageStatus;

use crate::gateway::{TestGateway, after, text, words};
use crate::on_both_databases;

/// What each scripted number's statuses are, up to a last one.
const SCRIPTED: &[(&str, &[&str], MessageStatus)] = &[
    ("+351910000001", &["ACCEPTED", "SENT", "DELIVERED", "READ"], MessageStatus::Read),
    ("+15005550001", &["ACCEPTED", "SENT", "DELIVERED", "READ"], MessageStatus::Read),
    ("+15005550002", &["ACCEPTED", "FAILED"], MessageStatus::Failed),
    ("+15005550003", &["ACCEPTED", "SENT", "DELIVERED", "READ"], MessageStatus::Read),
    ("+15005550004", &["ACCEPTED", "IN_DOUBT", "DELIVERED", "READ"], MessageStatus::Read),
    ("+15005550006", &["ACCEPTED", "SENT", "FAILED"], MessageStatus::Failed),
    ("+15005550009", &["ACCEPTED", "SENT", "DELIVERED"], MessageStatus::Delivered),
    ("+15005550010", &["ACCEPTED", "SENT", "READ", "DELIVERED"], MessageStatus::Delivered),
];

on_both_databases! {
    async fn every_scripted_number_plays_its_part(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        for (to, expected, last) in SCRIPTED {
            let sent = gateway.messaging.send_message(text("sandbox", to, "olá")).await?.into_inner();
            assert_eq!(sent.status(), MessageStatus::Accepted);
            let statuses = gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, *last).await?;
            assert_eq!(words(&statuses), *expected, "{to}");
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_person_answers(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let sent = gateway.messaging.send_message(text("sandbox", "+15005550007", "olá")).await?.into_inner();
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        let incoming = loop {
            if let Some(proto::event::Payload::IncomingMessage(incoming)) = stream.next_event().await?.payload {
                break incoming;
            }
        };
        assert_eq!(incoming.contact.unwrap().phone_number, "15005550007");
        assert_eq!(incoming.reply_to.unwrap().message_id, sent.message_id);
        assert!(incoming.window_expire_time.is_some());
        gateway.stop().await?;
        Ok(())
    }
}
