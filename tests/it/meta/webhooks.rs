//! The door for Meta: its question, its signature, and its news of templates and numbers.

use anyhow::Result;
use recado::proto;
use recado::proto::event::Payload;
use serde_json::{Value, json};

use super::{NUMBER, OTHER_NUMBER, VERIFY, change, envelope, post, post_with, sender_at, start, webhook, written};
use crate::gateway::TestGateway;
use crate::on_both_databases;
use crate::tools::{count, silent};

async fn get(url: &str) -> Result<(u16, String)> {
    let response = reqwest::Client::builder().no_proxy().build()?.get(url).send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}

/// News of the account, signed.
fn news(field: &str, value: Value) -> String {
    let change = json!({ "field": field, "value": value });
    json!({ "entry": [{ "id": "102290129340398", "time": 1_767_225_600, "changes": [change] }] }).to_string()
}

on_both_databases! {
    async fn the_question_is_answered_to_whoever_knows_the_word(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let _fake = start(&mut gateway, silent()).await?;
        let asked = |mode: &str, token: &str| {
            format!("{}?hub.mode={mode}&hub.verify_token={token}&hub.challenge=1158201444", webhook(&gateway, "acme"))
        };
        assert_eq!(get(&asked("subscribe", VERIFY)).await?, (200, "1158201444".into()));
        for wrong in [asked("subscribe", "vt-sample"), asked("unsubscribe", VERIFY), webhook(&gateway, "acme")] {
            assert_eq!(get(&wrong).await?.0, 403, "{wrong}");
        }
        assert_eq!(get(&webhook(&gateway, "nobody")).await?.0, 404);
        gateway.stop().await?;
        Ok(())
    }

    async fn i9_a_forged_webhook_is_refused_and_kept_nowhere(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let _fake = start(&mut gateway, silent()).await?;
        let url = webhook(&gateway, "acme");
        let body = envelope(vec![change(NUMBER, json!({ "messages": [written("wamid.É", "É já? 🚚")] }))]);
        for signature in [None, Some(""), Some("sha256="), Some("sha256=405b6ccee3f976d37043d9501bbeb5a8bd497636a111907c17ce8da9932c4c05")] {
            assert_eq!(post_with(&url, body.clone(), signature).await?, 401, "{signature:?}");
        }
        let rows = gateway.rows().await?;
        assert_eq!(count(&rows, "journal").await?, 0);
        assert_eq!(post(&url, body).await?, 200);
        assert_eq!(count(&rows, "journal").await?, 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn news_of_templates_and_numbers_are_events(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        sender_at(&mut gateway, "other", &fake.base_url("meta"), OTHER_NUMBER).await?;
        let other = proto::Sender { sender: "other".into(), phone_number: "+551140001000".into(), ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["phone_number".into()] });
        gateway.admin.update_sender(proto::UpdateSenderRequest { sender: Some(other), update_mask }).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let url = webhook(&gateway, "acme");
        let paused = news("message_template_status_update", json!({
            "event": "PAUSED", "message_template_id": 594_425_479_261_596_u64, "message_template_name": "oferta",
            "message_template_language": "pt_BR", "reason": "NONE",
        }));
        assert_eq!(post(&url, paused).await?, 200);
        let event = stream.next_event().await?;
        assert_eq!((event.sender.as_str(), event.occur_time.unwrap().seconds), ("acme", 1_767_225_600));
        let Some(Payload::TemplateChanged(changed)) = event.payload else { panic!("no template") };
        assert_eq!((changed.template.as_str(), changed.template_id.as_str()), ("oferta", "594425479261596"));
        assert_eq!(changed.status(), proto::TemplateStatus::Paused);

        // The number tells whose quality it is, whatever address it came to; one that nobody has is taken where it came.
        for (number, sender) in [("551140001000", "other"), ("551140002000", "acme")] {
            let flagged = json!({ "display_phone_number": number, "event": "FLAGGED", "current_limit": "TIER_1K" });
            assert_eq!(post(&url, news("phone_number_quality_update", flagged)).await?, 200);
            let event = stream.next_event().await?;
            let Some(Payload::SenderChanged(changed)) = event.payload else { panic!("no sender") };
            assert_eq!((event.sender.as_str(), changed.kind()), (sender, proto::SenderChangeKind::Quality));
            assert_eq!((changed.quality(), changed.messaging_limit.as_str()), (proto::Quality::Red, "TIER_1K"));
        }
        gateway.stop().await?;
        Ok(())
    }
}
