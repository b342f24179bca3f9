//! One person, whichever way the number is written.

use recado::fake::Script;
use recado::proto;
use recado::proto::MessageStatus;
use recado::proto::event::Payload;
use serde_json::json;

use crate::gateway::{TestGateway, after, text};
use crate::on_both_databases;
use crate::tools::{Seen, fake, post, silent};

on_both_databases! {
    async fn i16_i17_an_answer_is_found_by_the_number_first_written_to(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let webhook = gateway.devino_webhook("acme");
        // What we write to, and what WhatsApp answers from: Brazil, Argentina, Mexico, Portugal; and a stranger of each.
        let people = [
            ("+5531987654321", "553187654321", "553287654321"),
            ("+541123456789", "5491123456789", "5491123456780"),
            ("+525512345678", "5215512345678", "5215512345670"),
            ("+351910000001", "351910000001", "351910000002"),
        ];
        for (to, from, stranger) in people {
            let sent = gateway.send(text("acme", to, "Shall we come at nine?")).await?;
            let mut all = gateway.stream(after(&sent.cursor)).await?;
            all.until(&sent.message_id, MessageStatus::Sent).await?;
            for from in [stranger, from] {
                let incoming = json!({ "incomingMessageId": from, "from": from, "to": "AcmeCare", "text": "Yes" });
                assert_eq!(post(&webhook, incoming.to_string()).await?, 200);
                let event = all.next_event().await?;
                assert!(matches!(event.payload, Some(Payload::IncomingMessage(_))), "{event:?}");
            }

            for asked in [to, from] {
                let filter = proto::EventFilter { peers: vec![asked.into()], ..Default::default() };
                let request = proto::StreamEventsRequest { filter: Some(filter), ..after(&sent.cursor) };
                let mut stream = gateway.stream(request).await?;
                let statuses = stream.until(&sent.message_id, MessageStatus::Sent).await?;
                assert!(statuses.iter().all(|status| status.to == to), "the number given is never rewritten");
                let Some(Payload::IncomingMessage(answer)) = stream.next_event().await?.payload else { panic!("{asked}") };
                let contact = answer.contact.unwrap();
                assert_eq!(contact.phone_number, from, "nor the one that answered");
                let digits = to.trim_start_matches('+');
                let variants = if digits == from { vec![] } else { vec![digits.to_owned()] };
                assert_eq!(contact.number_variants, variants);
                let request = proto::ListMessagesRequest { peers: vec![asked.into()], ..Default::default() };
                let listed = gateway.messaging.list_messages(request).await?.into_inner().messages;
                assert_eq!(listed.iter().map(|m| m.to.as_str()).collect::<Vec<_>>(), [to]);
            }
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_conversation_keeps_its_order_however_its_number_is_written(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(Script { latency_ms: 5, ..silent() }).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.set_state("acme", proto::SenderState::Paused).await?;
        let ways = ["+5531987654321", "553187654321", "5531987654321", "+553187654321"];
        let sent = gateway.send_all((0..40).map(|n| text("acme", ways[n % 4], &format!("{n:02}")))).await?;
        let mut stream = gateway.stream(after(&sent[0].cursor)).await?;
        gateway.set_state("acme", proto::SenderState::Active).await?;
        Seen::until_all(&mut stream, 40, MessageStatus::Sent).await?;
        let texts: Vec<String> = fake.rows().into_iter().map(|row| row.text).collect();
        assert_eq!(texts, (0..40).map(|n| format!("{n:02}")).collect::<Vec<_>>());
        let to: Vec<String> = fake.rows().into_iter().take(2).map(|row| row.to).collect();
        assert_eq!(to, ["5531987654321", "553187654321"], "each as it was given");
        gateway.stop().await?;
        Ok(())
    }
}
