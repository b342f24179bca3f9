//! People who do not want to be written to: who says so, and what becomes of what is sent to them.

use anyhow::{Context as _, Result};
use recado::fake::FakeProvider;
use recado::proto;
use recado::proto::event::Payload;
use recado::proto::{
    ApiKeyScope, ContactChangeKind, DeliveryErrorReason, MessageStatus, OptOutCategory, OptOutSource, SenderState,
};
use serde_json::json;
use tonic::{Code, Status};

use crate::access::{ADMIN, guarded, make_key};
use crate::gateway::{EventStream, TestGateway, after, keyed, text, words};
use crate::meta;
use crate::on_both_databases;
use crate::refusal::{Refusal, refusal, refused};
use crate::tools::{count, fake, number, post, silent, until, with};

/// One number of Brazil's, in the two ways in which it is written.
const WITH_NINTH: &str = "+5531987654321";
const WITHOUT_NINTH: &str = "553187654321";

fn opt_out(peer: &str, category: OptOutCategory) -> proto::OptOut {
    proto::OptOut { sender: "acme".into(), peer: peer.into(), category: category as i32, ..Default::default() }
}

pub fn template(to: &str, options: proto::SendOptions) -> proto::SendTemplateRequest {
    proto::SendTemplateRequest {
        sender: "acme".into(),
        to: to.into(),
        template: "order_ready_v2".into(),
        language_code: "pt_BR".into(),
        parameters: [("1".to_owned(), "Marina".to_owned())].into(),
        options: Some(options),
        ..Default::default()
    }
}

fn anyway() -> proto::SendOptions {
    proto::SendOptions { ignore_opt_out: true, ..Default::default() }
}

/// What a person wrote, as Devino posts it.
fn written(id: u64, from: &str, text: &str) -> String {
    json!({ "from": from, "to": "AcmeCare", "text": text, "incomingMessageId": id }).to_string()
}

/// What a person chose in WhatsApp's settings, as Meta posts it.
fn preference(value: &str, timestamp: i64) -> String {
    let item = json!({
        "wa_id": WITHOUT_NINTH, "detail": "x", "category": "marketing_messages", "value": value, "timestamp": timestamp,
    });
    let value = json!({
        "metadata": { "phone_number_id": meta::NUMBER }, "user_preferences": [item],
    });
    meta::envelope(vec![json!({ "field": "user_preferences", "value": value })])
}

/// WhatsApp takes the template for another kind, as Meta posts it.
pub fn recategorised(category: &str) -> String {
    let value = json!({
        "message_template_id": 594_425_479_261_596_u64, "message_template_name": "order_ready_v2",
        "message_template_language": "pt_BR", "new_category": category,
    });
    let entry = json!({
        "id": "102290129340398",
        "changes": [{ "field": "template_category_update", "value": value }],
    });
    json!({ "object": "whatsapp_business_account", "entry": [entry] }).to_string()
}

impl TestGateway {
    async fn opt_out(&mut self, peer: &str, category: OptOutCategory) -> Result<proto::OptOut, Status> {
        let request = proto::CreateOptOutRequest { opt_out: Some(opt_out(peer, category)) };
        let answer = self.opt_outs.create_opt_out(request).await?.into_inner();
        Ok(answer.opt_out.expect("an answer has an opt-out"))
    }

    async fn opt_in(&mut self, peer: &str, category: OptOutCategory) -> Result<(), Status> {
        let request =
            proto::DeleteOptOutRequest { sender: "acme".into(), peer: peer.into(), category: category as i32 };
        self.opt_outs.delete_opt_out(request).await.map(drop)
    }

    async fn out(&self, request: proto::ListOptOutsRequest) -> Result<proto::ListOptOutsResponse, Status> {
        self.opt_outs.clone().list_opt_outs(request).await.map(tonic::Response::into_inner)
    }

    async fn opted_out(&mut self, request: proto::SendMessageRequest) -> Refusal {
        let refusal = refused(self.messaging.send_message(request).await);
        assert_eq!(refusal.is(), (Code::FailedPrecondition, "OPTED_OUT"), "{refusal:?}");
        refusal
    }

    async fn words_of(&mut self, stop: &[&str], start: &[&str]) -> Result<(), Status> {
        let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let words = proto::OptOutWords { stop: owned(stop), start: owned(start), category: 0 };
        let sender = proto::Sender { sender: "acme".into(), opt_out_words: Some(words), ..Default::default() };
        let request = proto::UpdateSenderRequest { sender: Some(sender), update_mask: None };
        self.admin.update_sender(request).await.map(drop)
    }

    /// Meta with a catalogue, which was read.
    pub async fn meta(&mut self) -> Result<FakeProvider> {
        let fake = FakeProvider::start("127.0.0.1:0".parse()?).await?;
        meta::sender_of(self, "acme", &fake.base_url("meta"), meta::NUMBER, "102290129340398").await?;
        meta::play(self, &fake, silent());
        self.category_is(proto::TemplateCategory::Utility).await?;
        Ok(fake)
    }

    /// Waits until the copy of a template says so.
    pub async fn category_is(&self, category: proto::TemplateCategory) -> Result<()> {
        until("the copy of the template says so", async || {
            let request = proto::GetTemplateRequest {
                sender: "acme".into(),
                template: "order_ready_v2".into(),
                language_code: "pt_BR".into(),
            };
            let found = self.templates.clone().get_template(request).await;
            let found = found.ok().and_then(|answer| answer.into_inner().template);
            Ok(found.filter(|found| found.category() == category).map(drop))
        })
        .await
    }
}

/// The next change of a contact, past all other events.
async fn next_change(stream: &mut EventStream) -> Result<proto::ContactChanged> {
    loop {
        if let Some(Payload::ContactChanged(changed)) = stream.next_event().await?.payload {
            return Ok(changed);
        }
    }
}

/// The next incoming message's id.
async fn next_incoming(stream: &mut EventStream) -> Result<String> {
    loop {
        if let Some(Payload::IncomingMessage(incoming)) = stream.next_event().await?.payload {
            return Ok(incoming.message_id);
        }
    }
}

on_both_databases! {
    async fn a_send_to_somebody_who_opted_out_is_refused_with_when_and_how_it_came(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.devino_sender("other", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        let made = gateway.opt_out(WITH_NINTH, OptOutCategory::Unspecified).await?;
        assert_eq!((made.category(), made.source(), made.peer.as_str()), (
            OptOutCategory::All, OptOutSource::Api, "5531987654321",
        ));
        assert_eq!(made.contact.as_ref().unwrap().phone_number, WITH_NINTH);
        let change = next_change(&mut stream).await?;
        assert_eq!((change.kind(), change.opt_out.as_ref()), (ContactChangeKind::OptedOut, Some(&made)));

        for to in [WITH_NINTH, WITHOUT_NINTH] {
            let refusal = gateway.opted_out(text("acme", to, "x")).await;
            let of = |key: &str| refusal.metadata.get(key).map(String::as_str);
            assert_eq!((of("sender"), of("peer"), of("category")), (Some("acme"), Some("5531987654321"), Some("ALL")));
            assert_eq!((of("source"), of("message_id")), (Some("API"), None));
            let since = made.create_time.unwrap();
            let since = std::time::SystemTime::try_from(since)?;
            assert_eq!(of("create_time"), Some(humantime::format_rfc3339_millis(since).to_string().as_str()));
            let only = proto::SendOptions { validate_only: true, ..Default::default() };
            gateway.opted_out(with(text("acme", to, "x"), only)).await;
        }
        let refusal = refused(gateway.messaging.send_template(template(WITH_NINTH, Default::default())).await);
        assert_eq!(refusal.reason, "OPTED_OUT");
        // Each entry of a batch by itself, repeats of its own key too; another sender's people are its own.
        let key = |request: proto::SendMessageRequest| with(request, crate::tools::keyed("k"));
        let entries = [
            text("acme", &number(1), "x"), key(text("acme", WITH_NINTH, "x")), key(text("acme", WITH_NINTH, "x")),
            text("other", WITH_NINTH, "x"),
        ];
        let answer = gateway.messaging.batch_send(crate::tools::batch(entries)).await?.into_inner();
        use proto::batch_send_result::Result as Outcome;
        let accepted: Vec<bool> =
            answer.results.iter().map(|one| matches!(one.result, Some(Outcome::Accepted(_)))).collect();
        assert_eq!(accepted, [true, false, false, true]);
        for one in answer.results {
            if let Some(Outcome::Accepted(sent)) = one.result {
                gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
            }
        }
        assert_eq!(fake.ledger().taken, 2);

        // Once more is no news, and the first time stays.
        assert_eq!(gateway.opt_out(WITHOUT_NINTH, OptOutCategory::All).await?, made);
        gateway.opt_in(WITHOUT_NINTH, OptOutCategory::All).await?;
        let change = next_change(&mut stream).await?;
        assert_eq!((change.kind(), change.opt_out), (ContactChangeKind::OptedIn, Some(made)));
        let again = refused(gateway.opt_in(WITH_NINTH, OptOutCategory::All).await);
        assert_eq!(again.is(), (Code::NotFound, "NOT_FOUND"));
        let sent = gateway.send(key(text("acme", WITH_NINTH, "x"))).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        // What was accepted once is answered again, whatever the person said since.
        gateway.opt_out(WITH_NINTH, OptOutCategory::All).await?;
        let repeated = gateway.send(key(text("acme", WITH_NINTH, "x"))).await?;
        assert_eq!((repeated.message_id, repeated.deduplicated), (sent.message_id, true));
        gateway.stop().await?;
        Ok(())
    }

    async fn what_was_accepted_before_ends_at_hand_over_and_no_provider_is_called(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.set_state("acme", SenderState::Paused).await?;
        let first = gateway.send(text("acme", WITHOUT_NINTH, "x")).await?;
        let second = gateway.send(text("acme", &number(1), "x")).await?;
        gateway.opt_out(WITH_NINTH, OptOutCategory::All).await?;
        let mut stream = gateway.stream(after(&first.cursor)).await?;
        gateway.set_state("acme", SenderState::Active).await?;
        let statuses = stream.until(&first.message_id, MessageStatus::Failed).await?;
        assert_eq!(words(&statuses), ["ACCEPTED", "FAILED"]);
        let error = statuses[1].error.as_ref().unwrap();
        assert_eq!((error.reason(), error.retryable), (DeliveryErrorReason::RecipientOptedOut, false));
        assert!(error.provider_message.contains("CreateOptOut"), "{error:?}");
        let mut stream = gateway.stream(after(&first.cursor)).await?;
        stream.until(&second.message_id, MessageStatus::Sent).await?;
        let (message, attempts) = gateway.message(&first.message_id).await?;
        assert_eq!((message.attempt_count, attempts.len()), (0, 0), "nothing was tried");
        let rows = fake.rows();
        assert!(rows.iter().all(|row| row.to == number(1)), "{rows:?}");
        assert_eq!((fake.ledger().requests, rows.len()), (1, 1));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_word_opts_out_and_another_ends_it_each_once(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.devino_sender("other", &fake).await?;
        gateway.words_of(&["STOP", "Sair", "não quero"], &["voltar"]).await?;
        let words = gateway.admin.get_sender(proto::GetSenderRequest { sender: "acme".into() }).await?.into_inner();
        assert_eq!(words.sender.unwrap().opt_out_words.unwrap().stop, ["STOP", "Sair", "não quero"]);
        let mut stream = gateway.stream(Default::default()).await?;
        let (acme, other) = (gateway.devino_webhook("acme"), gateway.devino_webhook("other"));
        // Not the whole message; and a sender without words.
        assert_eq!(post(&acme, written(1, WITHOUT_NINTH, "quero sair daqui")).await?, 200);
        assert_eq!(post(&other, written(2, WITHOUT_NINTH, "SAIR")).await?, 200);
        // The same webhook three times (I1).
        for _ in 0..3 {
            assert_eq!(post(&acme, written(3, WITHOUT_NINTH, " NAO  QUERO!")).await?, 200);
        }
        let ids = [next_incoming(&mut stream).await?, next_incoming(&mut stream).await?, next_incoming(&mut stream).await?];
        let change = next_change(&mut stream).await?;
        assert_eq!((change.kind(), change.source()), (ContactChangeKind::OptedOut, OptOutSource::Word));
        let made = change.opt_out.clone().context("no opt-out")?;
        assert_eq!((made.sender.as_str(), &made.message_id), ("acme", &change.message_id));
        assert!(ids.contains(&made.message_id), "{made:?} after {ids:?}");
        let refusal = gateway.opted_out(text("acme", WITH_NINTH, "x")).await;
        assert_eq!((&refusal.metadata["source"], &refusal.metadata["message_id"]), (&"WORD".to_owned(), &made.message_id));
        let sent = gateway.send(text("other", WITH_NINTH, "x")).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;

        // Said twice it is no news; the other word is, once.
        assert_eq!(post(&acme, written(4, WITHOUT_NINTH, "stop")).await?, 200);
        for id in [5, 6] {
            assert_eq!(post(&acme, written(id, WITHOUT_NINTH, "Voltár")).await?, 200);
        }
        assert_eq!(next_change(&mut stream).await?.kind(), ContactChangeKind::OptedIn);
        let sent = gateway.send(text("acme", WITH_NINTH, "x")).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        let rows = gateway.rows().await?;
        until("all is taken in", async || {
            let done = count(&rows, "journal WHERE pending IS NOT NULL").await? == 0;
            Ok((done && count(&rows, "incoming_messages").await? == 6).then_some(()))
        }).await?;
        let changes = gateway.all_events().await?.into_iter();
        assert_eq!(changes.filter(|event| matches!(event.payload, Some(Payload::ContactChanged(_)))).count(), 2);
        gateway.stop().await?;
        Ok(())
    }

    async fn words_are_checked_when_they_are_set(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.sandbox_sender("acme").await?;
        let refusal = refused(gateway.words_of(&["STOP", "stóp", "…"], &["Stop"]).await);
        assert_eq!(refusal.fields, [
            "sender.opt_out_words.start[0] INVALID", "sender.opt_out_words.stop[1] INVALID",
            "sender.opt_out_words.stop[2] REQUIRED",
        ]);
        gateway.stop().await?;
        Ok(())
    }

    async fn meta_tells_who_stops_marketing_and_who_resumes(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = gateway.meta().await?;
        let webhook = meta::webhook(&gateway, "acme");
        assert_eq!(meta::post(&webhook, recategorised("MARKETING")).await?, 200);
        gateway.category_is(proto::TemplateCategory::Marketing).await?;
        // Accepted before, and stopped later.
        gateway.set_state("acme", SenderState::Paused).await?;
        let before = gateway.messaging.send_template(template(WITH_NINTH, Default::default())).await?.into_inner();
        let mut stream = gateway.stream(after(&before.cursor)).await?;
        assert_eq!(meta::post(&webhook, preference("stop", 1_767_225_610)).await?, 200);
        let change = next_change(&mut stream).await?;
        let made = change.opt_out.clone().context("no opt-out")?;
        assert_eq!((made.category(), made.source()), (OptOutCategory::Marketing, OptOutSource::Provider));
        assert_eq!(made.create_time.unwrap().seconds, 1_767_225_610, "Meta's clock");
        gateway.set_state("acme", SenderState::Active).await?;
        let statuses = stream.until(&before.message_id, MessageStatus::Failed).await?;
        assert_eq!(statuses.last().unwrap().error.as_ref().unwrap().reason(), DeliveryErrorReason::RecipientOptedOut);
        for options in [Default::default(), anyway()] {
            let refusal = refused(gateway.messaging.send_template(template(WITH_NINTH, options)).await);
            assert_eq!((refusal.reason.as_str(), refusal.metadata["category"].as_str()), ("OPTED_OUT", "MARKETING"));
        }
        // Anything else they still get.
        let sent = gateway.send(text("acme", WITH_NINTH, "x")).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(meta::post(&webhook, recategorised("UTILITY")).await?, 200);
        gateway.category_is(proto::TemplateCategory::Utility).await?;
        let sent = gateway.messaging.send_template(template(WITH_NINTH, Default::default())).await?.into_inner();
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        assert_eq!(fake.ledger().taken, 2);

        // An older word that comes late ends nothing; a later one does.
        assert_eq!(meta::post(&webhook, preference("resume", 1_767_225_605)).await?, 200);
        assert_eq!(meta::post(&webhook, preference("resume", 1_767_225_620)).await?, 200);
        let change = next_change(&mut stream).await?;
        assert_eq!((change.kind(), change.source()), (ContactChangeKind::OptedIn, OptOutSource::Provider));
        let events = gateway.all_events().await?;
        let last = events.iter().rfind(|event| matches!(event.payload, Some(Payload::ContactChanged(_)))).unwrap();
        assert_eq!(last.occur_time.unwrap().seconds, 1_767_225_620);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_code_reaches_somebody_who_wants_nothing_when_the_caller_says_so(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = gateway.meta().await?;
        gateway.opt_out(WITH_NINTH, OptOutCategory::All).await?;
        let refusal = refused(gateway.messaging.send_template(template(WITH_NINTH, Default::default())).await);
        assert_eq!(refusal.reason, "OPTED_OUT");
        let sent = gateway.messaging.send_template(template(WITH_NINTH, anyway())).await?.into_inner();
        assert!(!sent.template_unchecked);
        let mut stream = gateway.stream(after(&sent.cursor)).await?;
        stream.until(&sent.message_id, MessageStatus::Sent).await?;
        assert!(gateway.message(&sent.message_id).await?.0.options.unwrap().ignore_opt_out);
        let refusal = refused(gateway.messaging.send_message(with(text("acme", WITH_NINTH, "x"), anyway())).await);
        assert_eq!(refusal.fields, ["options.ignore_opt_out NOT_SUPPORTED"]);
        assert_eq!(meta::post(&meta::webhook(&gateway, "acme"), recategorised("MARKETING")).await?, 200);
        gateway.category_is(proto::TemplateCategory::Marketing).await?;
        let refusal = refused(gateway.messaging.send_template(template(WITH_NINTH, anyway())).await);
        assert_eq!(refusal.reason, "OPTED_OUT");
        assert_eq!(fake.ledger().taken, 1);
        gateway.stop().await?;
        Ok(())
    }

    async fn without_a_copy_of_the_template_the_callers_word_counts_and_the_answer_says_so(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.opt_out(WITH_NINTH, OptOutCategory::All).await?;
        gateway.opt_out(&number(1), OptOutCategory::Marketing).await?;
        for to in [WITH_NINTH, &number(1)] {
            let refusal = refused(gateway.messaging.send_template(template(to, Default::default())).await);
            assert_eq!(refusal.reason, "OPTED_OUT");
            let sent = gateway.messaging.send_template(template(to, anyway())).await?.into_inner();
            assert!(sent.template_unchecked);
            gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        }
        assert_eq!(fake.ledger().taken, 2);
        gateway.stop().await?;
        Ok(())
    }

    async fn people_come_in_pages_and_by_filters(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.sandbox_sender("acme").await?;
        gateway.sandbox_sender("other").await?;
        for n in 0..5 {
            gateway.opt_out(&number(n), OptOutCategory::All).await?;
        }
        gateway.opt_out(&number(3), OptOutCategory::Marketing).await?;
        gateway.opt_out("BR.13491208655302741918", OptOutCategory::All).await?;
        let of = |page_size: i32| proto::ListOptOutsRequest { sender: "acme".into(), page_size, ..Default::default() };
        let all = gateway.out(of(0)).await?;
        assert_eq!((all.opt_outs.len(), all.next_page_token.as_str()), (7, ""));
        let (mut paged, mut request) = (Vec::new(), of(2));
        loop {
            let page = gateway.out(request.clone()).await?;
            paged.extend(page.opt_outs);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(paged, all.opt_outs);
        let peers = |request: proto::ListOptOutsResponse| -> Vec<String> {
            request.opt_outs.into_iter().map(|opt_out| opt_out.peer).collect()
        };
        let marketing = vec![OptOutCategory::Marketing as i32];
        assert_eq!(peers(gateway.out(proto::ListOptOutsRequest { categories: marketing, ..of(0) }).await?), [number(3)]);
        let filter = vec![format!("+{}", number(2)), "BR.13491208655302741918".into(), number(9)];
        let mut found = peers(gateway.out(proto::ListOptOutsRequest { peers: filter, ..of(0) }).await?);
        found.sort();
        assert_eq!(found, [number(2), "BR.13491208655302741918".into()]);
        let other = proto::ListOptOutsRequest { sender: "other".into(), ..of(0) };
        assert!(gateway.out(other).await?.opt_outs.is_empty());
        let wrong = proto::ListOptOutsRequest {
            sender: "A".into(), page_size: -1, page_token: "x".into(), peers: vec![String::new()], categories: vec![7],
        };
        assert_eq!(refused(gateway.out(wrong).await).fields, [
            "categories[0] INVALID", "page_size INVALID", "page_token INVALID", "peers[0] REQUIRED", "sender INVALID",
        ]);
        let wrong = proto::OptOut {
            peer: " ".into(), category: -1, note: "\n".into(), sender: String::new(), ..Default::default()
        };
        let request = proto::CreateOptOutRequest { opt_out: Some(wrong) };
        assert_eq!(refused(gateway.opt_outs.create_opt_out(request).await).fields, [
            "opt_out.category INVALID", "opt_out.note INVALID", "opt_out.peer REQUIRED", "opt_out.sender REQUIRED",
        ]);
        gateway.stop().await?;
        Ok(())
    }

    async fn who_may_write_to_people_may_note_that_they_want_no_more_and_not_lift_it(engine) {
        let mut gateway = TestGateway::start_with(engine, guarded()).await?;
        for sender in ["acme", "other"] {
            let config = Some(proto::sender::Config::Sandbox(proto::SandboxConfig {}));
            let sender = Some(proto::Sender { sender: sender.into(), config, ..Default::default() });
            gateway.admin.create_sender(keyed(proto::CreateSenderRequest { sender }, ADMIN)).await?;
        }
        let (_, send) = make_key(&mut gateway, &[ApiKeyScope::Send, ApiKeyScope::Read], &["acme"]).await?;
        let create = |sender: &str, key: &str| {
            let opt_out = proto::OptOut { sender: sender.into(), ..opt_out(&number(1), OptOutCategory::All) };
            keyed(proto::CreateOptOutRequest { opt_out: Some(opt_out) }, key)
        };
        gateway.opt_outs.create_opt_out(create("acme", &send)).await?;
        let another = gateway.opt_outs.create_opt_out(create("other", &send)).await.unwrap_err();
        assert_eq!(refusal(&another).is(), (Code::NotFound, "SENDER_NOT_FOUND"));
        let list = |sender: &str| keyed(proto::ListOptOutsRequest { sender: sender.into(), ..Default::default() }, &send);
        assert_eq!(gateway.opt_outs.list_opt_outs(list("acme")).await?.into_inner().opt_outs.len(), 1);
        let another = gateway.opt_outs.list_opt_outs(list("other")).await.unwrap_err();
        assert_eq!(refusal(&another).reason, "SENDER_NOT_FOUND");
        let lift = |key: &str| {
            let request = proto::DeleteOptOutRequest { sender: "acme".into(), peer: number(1), ..Default::default() };
            keyed(request, key)
        };
        let denied = gateway.opt_outs.delete_opt_out(lift(&send)).await.unwrap_err();
        assert_eq!(refusal(&denied).is(), (Code::PermissionDenied, "PERMISSION_DENIED"));
        gateway.opt_outs.delete_opt_out(lift(ADMIN)).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn what_people_asked_for_outlives_a_restart_and_their_sender(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        gateway.opt_out(&number(1), OptOutCategory::All).await?;
        gateway.admin.delete_sender(proto::DeleteSenderRequest { sender: "acme".into() }).await?;
        let mut gateway = TestGateway::start_on(gateway.stop().await?, Default::default()).await?;
        // The same id at another provider: the people are the same.
        gateway.sandbox_sender("acme").await?;
        gateway.opted_out(text("acme", &number(1), "x")).await;
        gateway.stop().await?;
        Ok(())
    }
}
