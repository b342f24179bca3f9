//! What the provider itself says of a window.

use recado::fake::{Action as Fake, Fault, Script};
use recado::proto;
use recado::proto::window_policy::Action;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, HoldReason, MessageStatus};
use serde_json::json;

use super::{REOPEN, guarded, open, said, wrote};
use crate::gateway::{Setup, TestGateway, after, text, words};
use crate::meta::{play, post, start, status, webhook};
use crate::on_both_databases;
use crate::tools::{fake, impatient, number, silent};

/// Meta's answer to a text outside the window.
fn refuses_once() -> Script {
    let refusal = Fake::Refuse { key: "131047".into(), reference: String::new() };
    Script { faults: vec![Fault::always(refusal).first(1)], ..silent() }
}

fn outcomes(attempts: &[proto::Attempt]) -> Vec<AttemptOutcome> {
    attempts.iter().map(proto::Attempt::outcome).collect()
}

on_both_databases! {
    async fn the_policy_is_judged_by_the_providers_own_refusal_too(engine) {
        let mut gateway = TestGateway::start_with(engine, Setup { settings: impatient() }).await?;
        let fake = start(&mut gateway, silent()).await?;
        use AttemptOutcome::{NotTaken, Refused, Taken};
        for (n, (action, word, attempts, given)) in [
            (Action::Fail, "FAILED", vec![Refused], None),
            (Action::SendAnyway, "FAILED", vec![Refused], None),
            (Action::HoldUntilIncoming, "HELD", vec![Refused], None),
            (Action::SendTemplate, "SENT", vec![NotTaken, Taken], Some(REOPEN)),
        ].into_iter().enumerate() {
            let person = number(n);
            open(&gateway, &fake, &person).await?;
            fake.forget();
            play(&gateway, &fake, refuses_once());
            let sent = gateway.send(guarded(&person, "x", action)).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = [stream.next_status(&sent.message_id).await?, stream.next_status(&sent.message_id).await?];
            assert_eq!(words(&statuses), ["ACCEPTED", word], "{action:?}");
            let (message, tries) = gateway.message(&sent.message_id).await?;
            assert_eq!(outcomes(&tries), attempts, "{action:?}");
            assert_eq!(tries[0].error.as_ref().unwrap().reason(), DeliveryErrorReason::OutsideWindow);
            let templates: Vec<bool> = tries.iter().map(|attempt| attempt.window_template).collect();
            assert_eq!(templates, if word == "SENT" { vec![false, true] } else { vec![false] });
            assert_eq!(fake.rows().first().map(|row| row.text.trim().to_owned()).as_deref(), given, "{action:?}");
            if action == Action::HoldUntilIncoming {
                assert_eq!(message.hold_reason(), HoldReason::WindowClosed);
                wrote(&gateway, &fake, said(&person));
                stream.until(&sent.message_id, MessageStatus::Sent).await?;
                assert_eq!(outcomes(&gateway.message(&sent.message_id).await?.1), [Refused, Taken]);
            }
            // It is known from now on, until the person writes.
            let requests = fake.ledger().requests;
            if action != Action::HoldUntilIncoming {
                let next = gateway.send(guarded(&person, "y", Action::Fail)).await?;
                stream.until(&next.message_id, MessageStatus::Failed).await?;
                assert_eq!(fake.ledger().requests, requests, "{action:?}");
                wrote(&gateway, &fake, said(&person));
                let next = gateway.send(guarded(&person, "y", Action::HoldUntilIncoming)).await?;
                stream.until(&next.message_id, MessageStatus::Sent).await?;
            }
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_refusal_by_a_status_is_learned(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        let id = fake.rows()[0].provider_message_ids[0].clone();
        let failed = json!({
            "id": id, "status": "failed", "timestamp": "1767225600",
            "errors": [{ "code": 131047, "title": "Re-engagement message" }],
        });
        assert_eq!(post(&webhook(&gateway, "acme"), status(failed)).await?, 200);
        stream.until(&sent.message_id, MessageStatus::Failed).await?;
        let next = gateway.send(text("acme", &number(1), "y")).await?;
        let statuses = stream.until(&next.message_id, MessageStatus::Failed).await?;
        assert_eq!(statuses[1].error.as_ref().unwrap().reason(), DeliveryErrorReason::OutsideWindow);
        assert_eq!(fake.ledger().requests, 1, "nobody was asked again");
        gateway.stop().await?;
        Ok(())
    }

    async fn who_has_another_way_is_accepted_where_the_provider_is_asked_first(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.cloudhumans_sender("acme", &fake.base_url("cloudhumans")).await?;
        let closed = "+5511987650403";
        let refusal = gateway.messaging.send_message(guarded(closed, "x", Action::Fail)).await.unwrap_err();
        assert_eq!(crate::tools::reason(&refusal).0, "OUTSIDE_WINDOW");
        let held = gateway.send(guarded(closed, "x", Action::HoldUntilIncoming)).await?;
        gateway.stream(after(&held.cursor)).await?.until(&held.message_id, MessageStatus::Held).await?;
        gateway.stop().await?;
        Ok(())
    }
}
