//! In doubt, a message has one sender, unless its caller chose at least once.

use recado::fake::{Action, Fault};
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus};

use super::{NONE, Stage, at_least_once, faulty, lines, then};
use crate::gateway::words;
use crate::on_both_databases;

on_both_databases! {
    async fn o16_in_doubt_only_at_least_once_passes_a_message_on(engine) {
        let mut stage = Stage::set(engine, faulty(Fault::always(Action::DropAfterAccept))).await?;
        let (once, mut at_once) = stage.send(1, then(&["backup"])).await?;
        at_once.until(&once, MessageStatus::InDoubt).await?;
        let (again, mut stream) = stage.send(2, at_least_once(&["backup"])).await?;
        let statuses = stream.until(&again, MessageStatus::Sent).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "IN_DOUBT", "SENDING", "SENT"]);
        let (_, attempts) = stage.message(&again).await?;
        assert_eq!(lines(&attempts), [
            ("acme", AttemptOutcome::InDoubt, "backup", DeliveryErrorReason::OutcomeUnknown),
            ("backup", AttemptOutcome::Taken, "", NONE),
        ]);
        // The other one has been in doubt for longer, and still is.
        let (message, attempts) = stage.message(&once).await?;
        assert_eq!((message.status(), &*message.current_sender), (MessageStatus::InDoubt, "acme"));
        assert_eq!(lines(&attempts), [("acme", AttemptOutcome::InDoubt, "", NONE)]);
        assert_eq!((stage.devino.ledger().taken, stage.meta.ledger().taken), (2, 1));

        // The first word about the attempt in doubt names it by our id; it contradicts nothing.
        let first = stage.devino.rows()[1].provider_message_ids[0].clone();
        stage.devino_says(&first, "DELIVERED", 0, Some(&again)).await?;
        let delivered = stream.until(&again, MessageStatus::Delivered).await?.remove(0);
        assert_eq!((delivered.attempt, &*delivered.via_sender), (1, ""));
        assert_eq!((&*delivered.provider_message_id, delivered.contradicts_final), (&*first, false));
        // The next one names it by the provider's alone.
        stage.devino_says(&first, "READ", 0, None).await?;
        let read = stream.until(&again, MessageStatus::Read).await?.remove(0);
        assert_eq!((read.attempt, read.current_status()), (1, MessageStatus::Read));
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn o16_a_failure_settles_a_doubt_and_passes_the_message_on(engine) {
        let mut stage = Stage::set(engine, faulty(Fault::always(Action::DropAfterAccept))).await?;
        let (id, mut stream) = stage.send(1, then(&["backup"])).await?;
        stream.until(&id, MessageStatus::InDoubt).await?;
        let first = stage.devino.rows()[0].provider_message_ids[0].clone();
        stage.devino_says(&first, "UNDELIVERED", 2005, Some(&id)).await?;
        let statuses = stream.until(&id, MessageStatus::Sent).await?;
        assert_eq!(words(&statuses), ["SENDING", "SENT"]);
        let (_, attempts) = stage.message(&id).await?;
        assert_eq!(lines(&attempts), [
            ("acme", AttemptOutcome::InDoubt, "backup", DeliveryErrorReason::Billing),
            ("backup", AttemptOutcome::Taken, "", NONE),
        ]);
        stage.gateway.stop().await?;
        Ok(())
    }
}
