//! Between two senders: a message there is on disk, can be called back, and keeps its time.

use recado::domain::now_ms;
use recado::proto;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus, SenderState};
use tonic::Code;

use super::{NONE, Stage, faulty, lines, refuse, seconds, then};
use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::tools::{impatient, number, silent, with};

on_both_databases! {
    async fn t13_a_restart_between_two_senders_goes_on_with_the_second(engine) {
        let mut stage = Stage::set(engine, faulty(refuse("billing.error"))).await?;
        stage.backup(SenderState::Paused).await?;
        let (id, mut stream) = stage.send(1, then(&["backup", "sandbox"])).await?;
        stage.passed(&mut stream, &id).await?;
        let Stage { gateway, devino, meta } = stage;
        let database = gateway.stop().await?;
        let gateway = TestGateway::start_on(database, Setup { settings: impatient() }).await?;
        let mut stage = Stage { gateway, devino, meta };
        let (message, attempts) = stage.message(&id).await?;
        assert_eq!((message.status(), &*message.current_sender), (MessageStatus::Sending, "backup"));
        assert_eq!(message.error.unwrap().reason(), DeliveryErrorReason::Billing);
        assert_eq!(lines(&attempts), [("acme", AttemptOutcome::Refused, "backup", DeliveryErrorReason::Billing)]);
        stage.backup(SenderState::Active).await?;
        let mut stream = stage.gateway.stream(after(&stream.attached.head_cursor)).await?;
        stream.until(&id, MessageStatus::Sent).await?;
        let (_, attempts) = stage.message(&id).await?;
        assert_eq!(lines(&attempts)[1..], [("backup", AttemptOutcome::Taken, "", NONE)]);
        assert_eq!((stage.devino.ledger().seen, stage.meta.ledger().taken), (1, 1));
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn cancelling_between_two_senders_wins(engine) {
        let mut stage = Stage::set(engine, faulty(refuse("billing.error"))).await?;
        stage.backup(SenderState::Paused).await?;
        let (id, mut stream) = stage.send(1, then(&["backup"])).await?;
        stage.passed(&mut stream, &id).await?;
        let cancel = proto::CancelMessageRequest { message_id: id.clone() };
        let cancelled = stage.gateway.messaging.cancel_message(cancel.clone()).await?.into_inner().message.unwrap();
        assert_eq!(cancelled.status(), MessageStatus::Cancelled);
        stage.backup(SenderState::Active).await?;
        let (next, mut next_stream) = stage.send(2, then(&["backup"])).await?;
        next_stream.until(&next, MessageStatus::Sent).await?;
        let rows = stage.meta.rows();
        assert_eq!(rows.iter().map(|row| &row.message_id).collect::<Vec<_>>(), [&next]);
        let too_late = proto::CancelMessageRequest { message_id: next };
        let refused = stage.gateway.messaging.cancel_message(too_late).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn o15_the_second_sender_has_what_is_left_of_the_validity(engine) {
        let mut stage = Stage::set(engine, faulty(refuse("billing.error"))).await?;
        stage.backup(SenderState::Paused).await?;
        let short = proto::SendOptions { validity: seconds(1), ..then(&["backup", "sandbox"]) };
        let (id, mut stream) = stage.send(1, short).await?;
        let statuses = stream.until(&id, MessageStatus::Expired).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENDING", "EXPIRED"], "its time is over for all senders");
        let (message, _) = stage.message(&id).await?;
        let expire_time = message.expire_time.unwrap();
        assert!(expire_time.seconds * 1_000 <= now_ms());
        let error = message.error.unwrap();
        assert_eq!(error.reason(), DeliveryErrorReason::Expired);
        assert!(error.provider_message.contains("BILLING"), "{error:?}");
        assert_eq!(stage.meta.ledger().seen, 0);
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn o10_the_order_of_a_conversation_is_that_of_the_sender_that_has_it(engine) {
        let mut stage = Stage::set(engine, faulty(refuse("billing.error").to(number(1)))).await?;
        stage.backup(SenderState::Paused).await?;
        let (first, mut stream) = stage.send(1, then(&["backup"])).await?;
        stage.passed(&mut stream, &first).await?;
        let second = stage.gateway.send(text("backup", &number(1), "second")).await?;
        // At the first sender it holds back nobody any more.
        stage.devino_plays(silent());
        let other = stage.gateway.send(with(text("acme", &number(1), "other"), then(&[]))).await?;
        stream.until(&other.message_id, MessageStatus::Sent).await?;
        stage.backup(SenderState::Active).await?;
        stream.until(&second.message_id, MessageStatus::Sent).await?;
        let rows = stage.meta.rows();
        assert_eq!(rows.iter().map(|row| &*row.text).collect::<Vec<_>>(), ["x", "second"]);
        stage.gateway.stop().await?;
        Ok(())
    }
}
