//! What goes wrong on the way out.

use recado::fake::{Action, Fault, Script};
use recado::proto;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus};

use super::template;
use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::on_both_databases;
use crate::tools::{fake, impatient, number, silent, until};

fn faulty(fault: Fault) -> Script {
    Script { faults: vec![fault], ..silent() }
}

on_both_databases! {
    async fn o1_a_lost_answer_is_in_doubt_and_not_sent_again(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans(&fake, silent()).await?;
        let lost = [Action::DropAfterAccept, Action::ErrorAfterAccept { status: 500 }, Action::Slow { ms: 3_000 }];
        for (n, action) in lost.into_iter().enumerate() {
            fake.set_script(gateway.posting(faulty(Fault::always(action.clone())))).unwrap();
            let sent = gateway.accepted_template(template(&number(n), &[])).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::InDoubt).await?;
            assert_eq!(words(&statuses), ["ACCEPTED", "IN_DOUBT"], "{action:?}");
            assert_eq!(fake.rows().iter().filter(|row| row.to == number(n)).count(), 1);
        }
        assert_eq!(fake.ledger().requests, 3);
        gateway.stop().await?;
        Ok(())
    }

    async fn o3_throttling_is_a_retry(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans(&fake, silent()).await?;
        for (n, (retry_after_s, body_only)) in [(Some(1), false), (None, true)].into_iter().enumerate() {
            let throttle = Action::Throttle { retry_after_s, body_only };
            fake.set_script(gateway.posting(faulty(Fault::always(throttle).first(2)))).unwrap();
            let sent = gateway.send(text("acme", &number(n), "x")).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
            assert_eq!(words(&statuses), ["ACCEPTED", "SENT"]);
            let (_, attempts) = gateway.message(&sent.message_id).await?;
            use AttemptOutcome::{NotTaken, Taken};
            let outcomes: Vec<_> = attempts.iter().map(proto::Attempt::outcome).collect();
            assert_eq!(outcomes, [NotTaken, NotTaken, Taken], "{retry_after_s:?} {body_only}");
            assert_eq!(attempts[0].error.as_ref().unwrap().reason(), DeliveryErrorReason::RateLimited);
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn refusals_fail_the_message_with_their_reason(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans(&fake, silent()).await?;
        let refuse = |key: &str, status: &str| Action::Refuse { key: key.into(), reference: status.into() };
        use DeliveryErrorReason::{InvalidRecipient, NotSupported, TemplateNotFound};
        for (n, (action, reason)) in [
            (refuse("Template not found", "422"), TemplateNotFound),
            (refuse("Phone number is invalid", "422"), InvalidRecipient),
            (refuse("Access to this endpoint is not authorized for bots", "401"), NotSupported),
        ].into_iter().enumerate() {
            fake.set_script(gateway.posting(faulty(Fault::always(action)))).unwrap();
            let sent = gateway.accepted_template(template(&number(n), &[])).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Failed).await?;
            assert_eq!(statuses.last().unwrap().error.as_ref().unwrap().reason(), reason);
        }
        fake.set_script(gateway.posting(Script { api_key: Some("another".into()), ..silent() })).unwrap();
        // The question before finds out too, and leaves it to the hand-over.
        let sent = gateway.send(text("acme", &number(9), "x")).await?;
        let refused = async || {
            let (message, attempts) = gateway.message(&sent.message_id).await?;
            Ok(message.error.filter(|_| !attempts.is_empty()))
        };
        let error = until("it was refused, and waits for somebody to set the token right", refused).await?;
        assert_eq!(error.reason(), DeliveryErrorReason::SenderUnauthorized);
        let check = gateway.admin.check_sender(proto::CheckSenderRequest { sender: "acme".into() }).await?.into_inner();
        assert_eq!((check.ok, check.problem()), (false, proto::SenderProblem::CredentialsRefused));
        gateway.stop().await?;
        Ok(())
    }
}
