//! What a provider refuses: passed on, or ended, with a history that says why.

use recado::fake::{Action, Fault};
use recado::proto;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, MessageStatus};
use tonic::Code;

use super::{NONE, Stage, faulty, lines, refuse, seconds, then};
use crate::gateway::{text, words};
use crate::on_both_databases;
use crate::tools::{fields, number, play, reason, silent, with};

on_both_databases! {
    async fn o16_a_refusal_passes_the_message_on_and_the_history_says_why(engine) {
        let mut stage = Stage::set(engine, faulty(refuse("billing.error"))).await?;
        let (id, mut stream) = stage.send(1, then(&["backup", "sandbox"])).await?;
        let statuses = stream.until(&id, MessageStatus::Sent).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENDING", "SENT"]);
        let passed = &statuses[1];
        assert_eq!((passed.attempt, &*passed.via_sender, &*passed.next_sender), (1, "", "backup"));
        assert_eq!(passed.error.as_ref().unwrap().reason(), DeliveryErrorReason::Billing);
        let sent = &statuses[2];
        assert_eq!((sent.attempt, &*sent.via_sender, &*sent.next_sender), (2, "backup", ""));

        let (message, attempts) = stage.message(&id).await?;
        assert_eq!((&*message.sender, &*message.current_sender), ("acme", "backup"));
        assert_eq!((message.status(), message.attempt_count), (MessageStatus::Sent, 2));
        assert_eq!(message.options.unwrap().fallback_senders, ["backup", "sandbox"]);
        assert_eq!(message.error, None);
        assert_eq!(message.provider_message_id, stage.meta.rows()[0].provider_message_ids[0]);
        assert_eq!(lines(&attempts), [
            ("acme", AttemptOutcome::Refused, "backup", DeliveryErrorReason::Billing),
            ("backup", AttemptOutcome::Taken, "", NONE),
        ]);
        assert_eq!((stage.devino.ledger().taken, stage.meta.ledger().taken), (0, 1));
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn lists_and_streams_find_it_by_both_senders(engine) {
        let mut stage = Stage::set(engine, faulty(refuse("billing.error"))).await?;
        let (id, mut stream) = stage.send(1, then(&["backup"])).await?;
        stream.until(&id, MessageStatus::Sent).await?;
        for (sender, expected) in [
            ("acme", vec!["ACCEPTED", "SENDING", "SENT"]),
            ("backup", vec!["SENT"]),
            ("sandbox", vec![]),
        ] {
            let senders = vec![sender.to_owned()];
            let list = proto::ListMessagesRequest { senders: senders.clone(), ..Default::default() };
            let listed = stage.gateway.messaging.list_messages(list).await?.into_inner().messages;
            let ids: Vec<_> = listed.iter().map(|message| &*message.message_id).collect();
            assert_eq!(ids, vec![&*id; usize::from(!expected.is_empty())], "{sender}");
            let types = vec![proto::EventType::StatusChanged as i32];
            let filter = Some(proto::EventFilter { senders, types, ..Default::default() });
            let start = Some(proto::list_events_request::Start::FromBeginning(true));
            let list = proto::ListEventsRequest { start, filter, ..Default::default() };
            let events = stage.gateway.events.list_events(list).await?.into_inner().events;
            let seen: Vec<_> = events.into_iter().filter_map(|event| match event.payload {
                Some(proto::event::Payload::StatusChanged(status)) => Some(status),
                _ => None,
            }).collect();
            assert_eq!(words(&seen), expected, "{sender}");
        }
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn o16_what_is_said_about_the_person_is_said_for_all_senders(engine) {
        let invalid = Action::Refuse { key: "invalid".into(), reference: "messages[i].to".into() };
        let mut stage = Stage::set(engine, faulty(Fault::always(invalid))).await?;
        let (id, mut stream) = stage.send(1, then(&["backup"])).await?;
        let statuses = stream.until(&id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "FAILED"]);
        let (message, attempts) = stage.message(&id).await?;
        assert_eq!(message.error.unwrap().reason(), DeliveryErrorReason::InvalidRecipient);
        assert_eq!(lines(&attempts), [("acme", AttemptOutcome::Refused, "", NONE)]);
        assert_eq!(stage.meta.ledger().seen, 0);
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn when_all_refuse_it_fails_with_the_last_error_and_a_whole_history(engine) {
        let mut stage = Stage::set(engine, faulty(refuse("billing.error"))).await?;
        play(&stage.meta, faulty(refuse("132015")));
        let (id, mut stream) = stage.send(1, then(&["backup"])).await?;
        let statuses = stream.until(&id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENDING", "FAILED"]);
        assert_eq!((statuses[2].attempt, &*statuses[2].via_sender), (2, "backup"));
        let (message, attempts) = stage.message(&id).await?;
        assert_eq!((message.status(), &*message.current_sender), (MessageStatus::Failed, "backup"));
        assert_eq!(message.error.unwrap().reason(), DeliveryErrorReason::TemplatePaused);
        assert_eq!(lines(&attempts), [
            ("acme", AttemptOutcome::Refused, "backup", DeliveryErrorReason::Billing),
            ("backup", AttemptOutcome::Refused, "", NONE),
        ]);
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn a_sender_that_cannot_carry_the_content_is_skipped_and_the_history_says_so(engine) {
        let mut stage = Stage::set(engine, silent()).await?;
        play(&stage.meta, faulty(refuse("131042")));
        let place = proto::Location { latitude: 38.7, longitude: -9.1, ..Default::default() };
        let request = proto::SendMessageRequest {
            content: Some(proto::send_message_request::Content::Location(place)),
            ..with(text("backup", &number(1), ""), then(&["acme", "sandbox"]))
        };
        let (id, mut stream) = stage.send_content(request).await?;
        let statuses = stream.until(&id, MessageStatus::Sent).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "SENDING", "SENDING", "SENT"]);
        assert_eq!((&*statuses[2].via_sender, &*statuses[2].next_sender), ("acme", "sandbox"));
        let (_, attempts) = stage.message(&id).await?;
        assert_eq!(lines(&attempts), [
            ("backup", AttemptOutcome::Refused, "acme", DeliveryErrorReason::Billing),
            ("acme", AttemptOutcome::Skipped, "sandbox", DeliveryErrorReason::NotSupported),
            ("sandbox", AttemptOutcome::Taken, "", NONE),
        ]);
        assert_eq!(stage.devino.ledger().requests, 0, "nobody was called");
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn a_file_that_only_the_first_sender_s_provider_has_goes_to_no_other(engine) {
        let mut stage = Stage::set(engine, silent()).await?;
        play(&stage.meta, faulty(refuse("131042")));
        let media = proto::Media {
            kind: proto::MediaKind::Image as i32,
            source: Some(proto::media::Source::MediaId("1037543291543636".into())),
            ..Default::default()
        };
        let request = proto::SendMessageRequest {
            content: Some(proto::send_message_request::Content::Media(media)),
            ..with(text("backup", &number(1), ""), then(&["sandbox"]))
        };
        let (id, mut stream) = stage.send_content(request).await?;
        stream.until(&id, MessageStatus::Failed).await?;
        let (_, attempts) = stage.message(&id).await?;
        assert_eq!(lines(&attempts), [
            ("backup", AttemptOutcome::Refused, "sandbox", DeliveryErrorReason::Billing),
            ("sandbox", AttemptOutcome::Skipped, "", NONE),
        ]);
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn a_template_is_compared_with_what_each_sender_has_approved_at_its_turn(engine) {
        let mut stage = Stage::set(engine, faulty(refuse("billing.error"))).await?;
        let request = |template: &str, n| proto::SendTemplateRequest {
            sender: "acme".into(),
            to: number(n),
            template: template.into(),
            language_code: "en".into(),
            options: Some(then(&["sandbox"])),
            ..Default::default()
        };
        let refresh = proto::RefreshTemplatesRequest { sender: "sandbox".into() };
        stage.gateway.templates.refresh_templates(refresh).await?;
        let mut stream = stage.gateway.stream(Default::default()).await?;
        for (n, (template, last, reason)) in [
            ("opening_hours", MessageStatus::Sent, None),
            ("nobody_has_this", MessageStatus::Failed, Some(DeliveryErrorReason::TemplateNotFound)),
            ("order_ready", MessageStatus::Failed, Some(DeliveryErrorReason::TemplateParameters)),
            ("flash_sale", MessageStatus::Failed, Some(DeliveryErrorReason::TemplatePaused)),
        ].into_iter().enumerate() {
            let id = stage.gateway.messaging.send_template(request(template, n)).await?.into_inner().message_id;
            stream.until(&id, last).await?;
            let (message, attempts) = stage.message(&id).await?;
            assert_eq!(message.error.map(|error| error.reason()), reason, "{template}");
            let expected = if reason.is_some() { AttemptOutcome::Skipped } else { AttemptOutcome::Taken };
            assert_eq!(lines(&attempts)[1], ("sandbox", expected, "", NONE), "{template}");
        }
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn a_throttled_message_passes_on_when_its_next_try_would_come_too_late(engine) {
        let throttle = Fault::always(Action::Throttle { retry_after_s: Some(60), body_only: false });
        let mut stage = Stage::set(engine, faulty(throttle)).await?;
        let short = proto::SendOptions { validity: seconds(30), ..then(&["backup"]) };
        let (id, mut stream) = stage.send(1, short).await?;
        stream.until(&id, MessageStatus::Sent).await?;
        let (_, attempts) = stage.message(&id).await?;
        assert_eq!(lines(&attempts), [
            ("acme", AttemptOutcome::NotTaken, "backup", DeliveryErrorReason::RateLimited),
            ("backup", AttemptOutcome::Taken, "", NONE),
        ]);
        stage.gateway.stop().await?;
        Ok(())
    }

    async fn o7_a_list_of_fallbacks_is_checked_and_compared(engine) {
        let mut stage = Stage::set(engine, silent()).await?;
        let six: Vec<String> = (0..6).map(|n| format!("s-{n}")).collect();
        for (given, wrong) in [
            (vec!["acme"], vec!["options.fallback_senders[0]"]),
            (vec!["backup", "sandbox", "backup"], vec!["options.fallback_senders[2]"]),
            (vec!["backup", "", "Not An Id"], vec!["options.fallback_senders[1]", "options.fallback_senders[2]"]),
            (six.iter().map(String::as_str).collect(), vec!["options.fallback_senders"]),
        ] {
            let sent = stage.gateway.send(with(text("acme", &number(1), "x"), then(&given))).await;
            let status = sent.unwrap_err().downcast::<tonic::Status>()?;
            let wrong = wrong.iter().map(ToString::to_string).collect();
            assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, wrong));
        }
        let unknown = stage.gateway.messaging.send_message(with(text("acme", &number(1), "x"), then(&["nobody"]))).await;
        let (why, metadata) = reason(&unknown.unwrap_err());
        assert_eq!((&*why, &*metadata["name"]), ("SENDER_NOT_FOUND", "nobody"));

        let keyed = |fallbacks: &[&str]| {
            with(text("acme", &number(1), "x"), proto::SendOptions { idempotency_key: "k".into(), ..then(fallbacks) })
        };
        let first = stage.gateway.send(keyed(&["backup", "sandbox"])).await?;
        let again = stage.gateway.send(keyed(&["backup", "sandbox"])).await?;
        assert_eq!((again.message_id, again.deduplicated), (first.message_id, true));
        let other = stage.gateway.messaging.send_message(keyed(&["sandbox", "backup"])).await.unwrap_err();
        let (why, metadata) = reason(&other);
        assert_eq!((&*why, &*metadata["fields"]), ("IDEMPOTENCY_KEY_REUSED", "options.fallback_senders"));
        stage.gateway.stop().await?;
        Ok(())
    }
}
