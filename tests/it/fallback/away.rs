//! Senders that cannot send at all: paused, deleted, refused, out of reach.

use recado::fake::Script;
use recado::proto;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus, SenderHealth, SenderState};

use super::{NONE, Stage, lines, seconds, silent, then};
use crate::gateway::{text, words};
use crate::on_both_databases;
use crate::tools::{Seen, number, until, with};

on_both_databases! {
    async fn a_paused_sender_is_waited_for(engine) {
        let mut stage = Stage::set(engine, silent()).await?;
        stage.gateway.set_state("acme", SenderState::Paused).await?;
        let short = proto::SendOptions { validity: seconds(1), ..then(&["backup"]) };
        let (id, mut stream) = stage.send(1, short).await?;
        let statuses = stream.until(&id, MessageStatus::Expired).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "EXPIRED"]);
        assert_eq!((stage.devino.ledger().seen, stage.meta.ledger().seen), (0, 0));
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn what_waits_for_a_sender_that_is_deleted_goes_on(engine) {
        let mut stage = Stage::set(engine, silent()).await?;
        stage.gateway.set_state("acme", SenderState::Paused).await?;
        let (with_fallback, mut stream) = stage.send(1, then(&["backup"])).await?;
        let (without, _) = stage.send(2, then(&[])).await?;
        let request = proto::DeleteSenderRequest { sender: "acme".into() };
        stage.gateway.admin.delete_sender(request).await?;
        let statuses = stream.until(&with_fallback, MessageStatus::Sent).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENDING", "SENT"]);
        let (_, attempts) = stage.message(&with_fallback).await?;
        assert_eq!(lines(&attempts), [
            ("acme", AttemptOutcome::Skipped, "backup", DeliveryErrorReason::SenderDeleted),
            ("backup", AttemptOutcome::Taken, "", NONE),
        ]);
        until("the other one is given up", async || {
            Ok((stage.message(&without).await?.0.status() == MessageStatus::Failed).then_some(()))
        }).await?;
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn refused_credentials_pass_on_what_has_a_fallback_and_keep_the_rest(engine) {
        let mut stage = Stage::set(engine, Script { api_key: Some("the-right-key".into()), ..silent() }).await?;
        let mut stream = stage.gateway.stream(Default::default()).await?;
        let rest = stage.gateway.send_all((0..10).map(|n| text("acme", &number(n), "waits"))).await?;
        let request = |n: usize| with(text("acme", &number(100 + n), "goes"), then(&["backup"]));
        let passed = stage.gateway.send_all((0..40).map(request)).await?;
        let seen = Seen::until_all(&mut stream, 40, MessageStatus::Sent).await?;
        for one in &passed {
            assert_eq!(seen.words(&one.message_id), ["ACCEPTED", "SENDING", "SENT"]);
            let (_, attempts) = stage.message(&one.message_id).await?;
            let [(first, outcome, next, why), second] = lines(&attempts)[..] else { panic!("{attempts:?}") };
            assert_eq!((first, next, why), ("acme", "backup", DeliveryErrorReason::SenderUnauthorized));
            assert!([AttemptOutcome::Refused, AttemptOutcome::Skipped].contains(&outcome));
            assert_eq!(second, ("backup", AttemptOutcome::Taken, "", NONE));
        }
        assert!(rest.iter().all(|one| seen.words(&one.message_id) == ["ACCEPTED"]), "what has no fallback waits");
        assert!(stage.devino.ledger().requests < 50, "not each message finds out by itself");

        stage.devino_plays(Script { api_key: None, ..silent() });
        let sender = Some(proto::Sender { sender: "acme".into(), display_name: "mended".into(), ..Default::default() });
        stage.gateway.admin.update_sender(proto::UpdateSenderRequest { sender, update_mask: None }).await?;
        Seen::until_all(&mut stream, 10, MessageStatus::Sent).await?;
        assert_eq!((stage.devino.ledger().taken, stage.meta.ledger().taken), (10, 40));
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn a_provider_that_is_not_reached_in_five_tries_passes_the_message_on(engine) {
        let Stage { gateway, devino, meta } = Stage::set(engine, silent()).await?;
        let addr = devino.addr();
        devino.stop().await;
        let mut stage = Stage { gateway, devino: crate::tools::fake(silent()).await?, meta };
        assert_ne!(stage.devino.addr(), addr);
        let (id, mut stream) = stage.send(1, then(&["backup"])).await?;
        stream.until(&id, MessageStatus::Sent).await?;
        let (_, attempts) = stage.message(&id).await?;
        let not_taken = ("acme", AttemptOutcome::NotTaken, "", NONE);
        let mut expected = vec![not_taken; 4];
        expected.push(("acme", AttemptOutcome::NotTaken, "backup", DeliveryErrorReason::ProviderUnavailable));
        expected.push(("backup", AttemptOutcome::Taken, "", NONE));
        assert_eq!(lines(&attempts), expected);
        let request = proto::GetSenderRequest { sender: "acme".into() };
        let sender = stage.gateway.admin.get_sender(request).await?.into_inner().sender.unwrap();
        assert_ne!(sender.health(), SenderHealth::Unreachable, "one message is no reason to give the sender up");
        stage.gateway.stop().await?;
        Ok(())
    }
}
