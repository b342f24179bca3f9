//! What a provider reports after it took the message.

use recado::fake::{Action, Fault, Script};
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus, SenderState};

use super::{NONE, Stage, faulty, lines, refuse, silent, then};
use crate::gateway::{TestGateway, words};
use crate::on_both_databases;
use crate::tools::number;

on_both_databases! {
    async fn o16_a_reported_failure_passes_the_message_on_or_ends_it_by_its_reason(engine) {
        let cases = [
            (2005, DeliveryErrorReason::Billing, true),
            (2305, DeliveryErrorReason::NotOnWhatsapp, false),
            (2009, DeliveryErrorReason::Duplicate, false),
            (2313, DeliveryErrorReason::Unknown, false),
            (2010, DeliveryErrorReason::Expired, true),
        ];
        let late = |error_code| Fault::always(Action::LateFailure { error_code });
        let faults = cases.iter().enumerate().map(|(n, (code, ..))| late(*code).to(number(n))).collect();
        let mut stage = Stage::set(engine, Script { faults, ..Script::default() }).await?;
        for (n, (code, reason, passes)) in cases.into_iter().enumerate() {
            let (id, mut stream) = stage.send(n, then(&["backup"])).await?;
            if !passes {
                let statuses = stream.until(&id, MessageStatus::Failed).await?;
                assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "FAILED"], "{code}");
                let (message, attempts) = stage.message(&id).await?;
                assert_eq!(message.error.unwrap().reason(), reason);
                assert_eq!(lines(&attempts), [("acme", AttemptOutcome::Taken, "", NONE)]);
                continue;
            }
            stream.until(&id, MessageStatus::Sent).await?;
            let statuses = stream.until(&id, MessageStatus::Sent).await?;
            assert_eq!(words(&statuses), ["SENDING", "SENT"], "{code}");
            let passed = &statuses[0];
            assert_eq!((&*passed.provider_status, &*passed.next_sender), ("UNDELIVERED", "backup"));
            assert_eq!((passed.attempt, passed.current_status()), (1, MessageStatus::Sending));
            assert!(!passed.late && !passed.duplicate && !passed.contradicts_final);
            let (_, attempts) = stage.message(&id).await?;
            assert_eq!(lines(&attempts), [
                ("acme", AttemptOutcome::Taken, "backup", reason),
                ("backup", AttemptOutcome::Taken, "", NONE),
            ]);
        }
        let passed = cases.iter().filter(|(.., passes)| *passes).count() as u64;
        assert_eq!((stage.devino.ledger().taken, stage.meta.ledger().taken), (cases.len() as u64, passed));
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn o16_a_failure_after_a_sign_of_delivery_passes_nothing_on(engine) {
        let mut stage = Stage::set(engine, silent()).await?;
        let (id, mut stream) = stage.send(1, then(&["backup"])).await?;
        stream.until(&id, MessageStatus::Sent).await?;
        let provider_id = stage.devino.rows()[0].provider_message_ids[0].clone();
        stage.devino_says(&provider_id, "DELIVERED", 0, None).await?;
        stage.devino_says(&provider_id, "UNDELIVERED", 2005, None).await?;
        let statuses = stream.until(&id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["DELIVERED", "FAILED"]);
        assert!(statuses[1].contradicts_final);
        let (message, attempts) = stage.message(&id).await?;
        assert_eq!((message.status(), &*message.current_sender), (MessageStatus::Delivered, "acme"));
        assert_eq!((attempts.len(), stage.meta.ledger().seen), (1, 0));
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn o8_a_delivery_by_the_first_is_told_and_stops_the_second_before_its_call(engine) {
        let mut stage = Stage::set(engine, silent()).await?;
        stage.backup(SenderState::Paused).await?;
        let (id, mut stream) = stage.send(1, then(&["backup"])).await?;
        stream.until(&id, MessageStatus::Sent).await?;
        let provider_id = stage.devino.rows()[0].provider_message_ids[0].clone();
        stage.devino_says(&provider_id, "UNDELIVERED", 2005, None).await?;
        stage.passed(&mut stream, &id).await?;
        stage.devino_says(&provider_id, "DELIVERED", 0, None).await?;
        let delivered = stream.until(&id, MessageStatus::Delivered).await?.remove(0);
        assert!(delivered.contradicts_final, "it had been reported as not delivered: {delivered:?}");
        assert_eq!((delivered.attempt, &*delivered.via_sender), (1, ""));
        assert_eq!(delivered.current_status(), MessageStatus::Delivered);

        stage.backup(SenderState::Active).await?;
        let request = crate::gateway::text("backup", &number(1), "the next");
        let (next, mut stream) = stage.send_content(request).await?;
        stream.until(&next, MessageStatus::Sent).await?;
        let rows = stage.meta.rows();
        assert_eq!(rows.iter().map(|row| &*row.text).collect::<Vec<_>>(), ["the next"]);
        let (_, attempts) = stage.message(&id).await?;
        assert_eq!(lines(&attempts), [("acme", AttemptOutcome::Taken, "backup", DeliveryErrorReason::Billing)]);
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn o8_what_the_first_reports_later_does_not_touch_what_the_second_does(engine) {
        let mut stage = Stage::set(engine, silent()).await?;
        let (id, mut stream) = stage.send(1, then(&["backup"])).await?;
        stream.until(&id, MessageStatus::Sent).await?;
        let first = stage.devino.rows()[0].provider_message_ids[0].clone();
        stage.devino_says(&first, "UNDELIVERED", 2005, None).await?;
        stream.until(&id, MessageStatus::Sent).await?;
        let second = stage.meta.rows()[0].provider_message_ids[0].clone();

        // A word that it has not said yet, and one of failure with another reason.
        stage.devino_says(&first, "SENT", 0, None).await?;
        stage.devino_says(&first, "EXPIRED", 2010, None).await?;
        let expired = stream.until(&id, MessageStatus::Expired).await?;
        for status in &expired {
            assert_eq!((status.current_status(), status.attempt), (MessageStatus::Sent, 1), "{status:?}");
            assert!(status.late || status.duplicate, "{status:?}");
        }
        stage.meta_says(&second, "delivered").await?;
        let delivered = stream.until(&id, MessageStatus::Delivered).await?.remove(0);
        assert_eq!((delivered.attempt, &*delivered.via_sender), (2, "backup"));
        assert!(!delivered.contradicts_final && !delivered.late);
        stage.devino_says(&first, "DELIVERED", 0, None).await?;
        let twice = stream.until(&id, MessageStatus::Delivered).await?.remove(0);
        assert_eq!((twice.attempt, twice.duplicate, twice.contradicts_final), (1, true, true), "the person has it twice");
        let (message, attempts) = stage.message(&id).await?;
        assert_eq!((message.status(), attempts.len()), (MessageStatus::Delivered, 2));
        assert_eq!(message.provider_message_id, second);
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn o8_a_delivery_by_the_first_counts_after_all_have_failed(engine) {
        let mut stage = Stage::set(engine, silent()).await?;
        crate::tools::play(&stage.meta, faulty(refuse("131042")));
        let (id, mut stream) = stage.send(1, then(&["backup"])).await?;
        stream.until(&id, MessageStatus::Sent).await?;
        let first = stage.devino.rows()[0].provider_message_ids[0].clone();
        stage.devino_says(&first, "UNDELIVERED", 2005, None).await?;
        stream.until(&id, MessageStatus::Failed).await?;
        stage.devino_says(&first, "DELIVERED", 0, None).await?;
        let delivered = stream.until(&id, MessageStatus::Delivered).await?.remove(0);
        assert!(delivered.contradicts_final);
        assert_eq!(stage.message(&id).await?.0.status(), MessageStatus::Delivered);
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn o16_a_failure_that_overtakes_a_lost_answer_passes_the_message_on(engine) {
        let gateway = TestGateway::start_with(engine, crate::gateway::Setup { settings: crate::tools::impatient() }).await?;
        let mut stage = Stage::set_on(gateway, faulty(Fault::always(Action::Slow { ms: 3_000 }))).await?;
        let (id, mut stream) = stage.send(1, then(&["backup"])).await?;
        let rows = stage.gateway.rows().await?;
        let taken = crate::tools::until("Devino has it", async || Ok(stage.devino.rows().pop())).await?;
        stage.devino_says(&taken.provider_message_ids[0], "UNDELIVERED", 2005, Some(&id)).await?;
        crate::tools::until("it is withheld", async || {
            Ok((crate::tools::count(&rows, "parked_reports").await? == 1).then_some(()))
        }).await?;
        let statuses = stream.until(&id, MessageStatus::Sent).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENDING", "SENT"], "and never in doubt");
        let (_, attempts) = stage.message(&id).await?;
        assert_eq!(lines(&attempts), [
            ("acme", AttemptOutcome::InDoubt, "backup", DeliveryErrorReason::Billing),
            ("backup", AttemptOutcome::Taken, "", NONE),
        ]);
        stage.gateway.stop().await?;
        Ok(())
    }
}
