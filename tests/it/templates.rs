//! Templates: copies of what a provider has approved, and sends that are compared with them.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use recado::fake::Script;
use recado::proto;
use recado::proto::batch_send_result::Result as Outcome;
use recado::proto::{TemplateHeaderFormat, TemplateParameterFormat, TemplateStatus};
use sea_orm::DatabaseConnection;
use tonic::{Code, Status};

use crate::gateway::{TestGateway, until};
use crate::on_both_databases;
use crate::refusal::{refusal, refused};
use crate::tools::{count, execute, fake, keyed, number};

/// What the sandbox has, as `template language`.
const ALL: &[&str] = &[
    "appointment_reminder en",
    "flash_sale en",
    "loyalty_points en",
    "opening_hours en",
    "order_ready en",
    "order_ready pt_BR",
    "order_shipped en",
    "route_plan pt_BR",
];

impl TestGateway {
    async fn refresh(&mut self, sender: &str) -> Result<proto::RefreshTemplatesResponse, Status> {
        let request = proto::RefreshTemplatesRequest { sender: sender.into() };
        self.templates.refresh_templates(request).await.map(tonic::Response::into_inner)
    }

    /// Waits for the reading that the gateway makes by itself: none follows for an hour.
    async fn catalogue_is_read(&self, sender: &str) -> Result<()> {
        until("the templates are there", || async { Ok(self.list(of(sender)).await? == ALL) }).await
    }

    async fn get(&self, sender: &str, template: &str, language_code: &str) -> Result<proto::Template, Status> {
        let [sender, template, language_code] = [sender, template, language_code].map(str::to_owned);
        let request = proto::GetTemplateRequest { sender, template, language_code };
        let answer = self.templates.clone().get_template(request).await?.into_inner();
        Ok(answer.template.expect("an answer has a template"))
    }

    /// All pages of a list, as `template language`.
    async fn list(&self, mut request: proto::ListTemplatesRequest) -> Result<Vec<String>, Status> {
        let mut found = Vec::new();
        loop {
            let page = self.templates.clone().list_templates(request.clone()).await?.into_inner();
            assert!(request.page_size <= 0 || page.templates.len() <= request.page_size as usize);
            found.extend(page.templates.iter().map(|one| format!("{} {}", one.template, one.language_code)));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    async fn send_template(&self, request: proto::SendTemplateRequest) -> Result<proto::SendTemplateResponse, Status> {
        self.messaging.clone().send_template(request).await.map(tonic::Response::into_inner)
    }

    async fn template_events(&mut self) -> Result<Vec<proto::TemplateChanged>> {
        let events = self.all_events().await?.into_iter();
        let changed = events.filter_map(|event| match event.payload {
            Some(proto::event::Payload::TemplateChanged(changed)) => Some(changed),
            _ => None,
        });
        Ok(changed.collect())
    }
}

fn of(sender: &str) -> proto::ListTemplatesRequest {
    proto::ListTemplatesRequest { sender: sender.into(), ..Default::default() }
}

fn template(name: &str, parameters: &[&str]) -> proto::SendTemplateRequest {
    proto::SendTemplateRequest {
        sender: "sandbox".into(),
        to: number(1),
        template: name.into(),
        parameters: parameters.iter().map(|name| ((*name).to_owned(), "value".to_owned())).collect(),
        ..Default::default()
    }
}

fn checked_only(request: proto::SendTemplateRequest) -> proto::SendTemplateRequest {
    proto::SendTemplateRequest {
        options: Some(proto::SendOptions { validate_only: true, ..Default::default() }),
        ..request
    }
}

/// Changes the copies behind the gateway's back, as another replica would.
async fn tamper(rows: &DatabaseConnection, statements: &[&str]) -> Result<()> {
    for statement in statements {
        execute(rows, statement).await?;
    }
    execute(rows, "UPDATE catalogues SET revision = revision + 1").await
}

on_both_databases! {
    async fn the_catalogue_is_read_soon_after_a_sender_is_made_or_changed(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.sandbox_sender("other").await?;
        for sender in ["sandbox", "other"] {
            gateway.catalogue_is_read(sender).await?;
        }
        let read = |template: &proto::Template| template.refresh_time.map(|time| (time.seconds, time.nanos));
        let first = gateway.get("other", "opening_hours", "").await?;
        assert_eq!((first.sender.as_str(), first.status()), ("other", TemplateStatus::Approved));
        let sender = proto::Sender { sender: "other".into(), display_name: "Other".into(), ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["display_name".into()] });
        gateway.admin.update_sender(proto::UpdateSenderRequest { sender: Some(sender), update_mask }).await?;
        until("it was read again", || async {
            Ok(read(&gateway.get("other", "opening_hours", "").await?) > read(&first))
        }).await?;
        assert_eq!(gateway.template_events().await?, [], "nothing changed");
        gateway.admin.delete_sender(proto::DeleteSenderRequest { sender: "other".into() }).await?;
        assert_eq!(refused(gateway.list(of("other")).await).is(), (Code::NotFound, "SENDER_NOT_FOUND"));
        assert_eq!(count(&gateway.rows().await?, "templates WHERE sender = 'other'").await?, 0);
        gateway.stop().await?;
        Ok(())
    }

    async fn templates_come_in_pages_and_by_filters(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.catalogue_is_read("sandbox").await?;
        for page_size in [0, 1, 3, 8, 1_000, 5_000] {
            assert_eq!(gateway.list(proto::ListTemplatesRequest { page_size, ..of("sandbox") }).await?, ALL);
        }
        let statuses = |of_these: &[TemplateStatus], page_size| proto::ListTemplatesRequest {
            statuses: of_these.iter().map(|status| *status as i32).collect(), page_size, ..of("sandbox")
        };
        let not_approved = [TemplateStatus::Rejected, TemplateStatus::Paused];
        assert_eq!(gateway.list(statuses(&not_approved, 1)).await?, ["flash_sale en", "loyalty_points en"]);
        assert_eq!(gateway.list(statuses(&[TemplateStatus::Deleted], 1)).await?, [""; 0]);
        for code in ["pt_BR", "pt-BR"] {
            let approved = statuses(&[TemplateStatus::Approved], 1);
            let request = proto::ListTemplatesRequest { language_code: code.into(), ..approved };
            assert_eq!(gateway.list(request).await?, ["order_ready pt_BR", "route_plan pt_BR"]);
        }
        // A template that goes between two pages ends no list early.
        let first = proto::ListTemplatesRequest { page_size: 3, ..of("sandbox") };
        let first = gateway.templates.list_templates(first).await?.into_inner();
        tamper(&gateway.rows().await?, &["DELETE FROM templates WHERE template = 'loyalty_points'"]).await?;
        until("it is gone", || async { Ok(gateway.list(of("sandbox")).await?.len() == ALL.len() - 1) }).await?;
        let rest = proto::ListTemplatesRequest { page_token: first.next_page_token, ..of("sandbox") };
        assert_eq!(gateway.list(rest).await?, ALL[3..]);

        let wrong = proto::ListTemplatesRequest {
            sender: "NO".into(), page_size: -1, page_token: "x".into(), statuses: vec![1, 0, 99], ..Default::default()
        };
        assert_eq!(refused(gateway.list(wrong).await).fields, [
            "page_size INVALID", "page_token INVALID", "sender INVALID", "statuses[1] INVALID", "statuses[2] INVALID",
        ]);
        assert_eq!(refused(gateway.list(of("nobody")).await).is(), (Code::NotFound, "SENDER_NOT_FOUND"));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_template_is_found_by_name_or_id_in_its_language(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.sandbox_sender("plain").await?; // it has no default language
        gateway.catalogue_is_read("sandbox").await?;
        gateway.catalogue_is_read("plain").await?;
        for (sender, template, language_code, found) in [
            ("sandbox", "order_ready", "pt_BR", "pt_BR"),
            ("sandbox", "order_ready", "pt-br", "pt_BR"),
            ("sandbox", "order_ready", "", "en"),
            ("sandbox", "sandbox.order_ready.pt_BR", "", "pt_BR"),
            ("sandbox", "route_plan", "", "pt_BR"),
            ("plain", "route_plan", "", "pt_BR"),
        ] {
            let got = gateway.get(sender, template, language_code).await?;
            assert_eq!(got.language_code, found, "{sender} {template} {language_code}");
        }
        let several = refused(gateway.get("plain", "order_ready", "").await);
        assert_eq!(several.fields, ["language_code REQUIRED"]);
        assert!(several.message.contains("en, pt_BR"), "{several:?}");
        for (template, language_code) in [("order_ready", "es"), ("nothing", ""), ("nothing", "en")] {
            let missing = refused(gateway.get("sandbox", template, language_code).await);
            assert_eq!(missing.is(), (Code::NotFound, "NOT_FOUND"));
            let named = ["resource", "name"].map(|key| missing.metadata[key].as_str());
            assert_eq!(named, ["template", template]);
        }
        assert_eq!(refused(gateway.get("", "", "").await).fields, ["sender REQUIRED", "template REQUIRED"]);

        let got = gateway.get("sandbox", "order_shipped", "en").await?;
        assert_eq!(got.header_format(), TemplateHeaderFormat::Image);
        assert_eq!(got.parameter_format(), TemplateParameterFormat::Positional);
        assert_eq!((got.parameters[0].name.as_str(), got.parameters[0].example.as_str()), ("1", "A-1001"));
        assert_eq!((got.buttons[0].r#type.as_str(), got.buttons[0].parameter_required), ("URL", true));
        let got = gateway.get("sandbox", "flash_sale", "en").await?;
        assert_eq!((got.status(), got.rejected_reason.as_str()), (TemplateStatus::Rejected, "PROMOTIONAL"));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_refresh_tells_each_change_once(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.catalogue_is_read("sandbox").await?;
        let same = gateway.refresh("sandbox").await?;
        assert_eq!((same.template_count, same.changed_count), (8, 0));
        assert!(same.refresh_time.is_some());
        tamper(&gateway.rows().await?, &[
            "DELETE FROM templates WHERE template = 'opening_hours'",
            "UPDATE templates SET template = 'old', document = REPLACE(document, '\"route_plan\"', '\"old\"') \
             WHERE template = 'route_plan'",
            "UPDATE templates SET document = REPLACE(document, 'APPROVED', 'PENDING') WHERE template = 'order_shipped'",
        ]).await?;
        let changed = gateway.refresh("sandbox").await?;
        assert_eq!((changed.template_count, changed.changed_count), (8, 4));
        let events = gateway.template_events().await?;
        let told: HashMap<_, _> = events.iter()
            .map(|event| (event.template.as_str(), (event.previous_status(), event.status())))
            .collect();
        assert_eq!((events.len(), told), (4, HashMap::from([
            ("opening_hours", (TemplateStatus::Unspecified, TemplateStatus::Approved)),
            ("old", (TemplateStatus::Approved, TemplateStatus::Deleted)),
            ("route_plan", (TemplateStatus::Unspecified, TemplateStatus::Approved)),
            ("order_shipped", (TemplateStatus::Pending, TemplateStatus::Approved)),
        ])));
        assert_eq!(gateway.list(of("sandbox")).await?, ALL);
        assert_eq!(gateway.refresh("sandbox").await?.changed_count, 0);
        assert_eq!(gateway.template_events().await?.len(), 4);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_template_that_does_not_fit_is_refused_with_every_reason(engine) {
        use proto::template_header::Content as Header;
        let mut gateway = TestGateway::start(engine).await?;
        gateway.catalogue_is_read("sandbox").await?;
        let before = gateway.all_events().await?;
        let language = |request, code: &str| proto::SendTemplateRequest { language_code: code.into(), ..request };
        let header = |request, content| proto::SendTemplateRequest {
            header: Some(proto::TemplateHeader { content: Some(content) }), ..request
        };
        let buttons = |request, given: &[i32]| proto::SendTemplateRequest {
            buttons: given.iter().map(|index| proto::TemplateButton { index: *index, parameter: "x".into(), kind: 0 }).collect(),
            ..request
        };
        let table: Vec<(proto::SendTemplateRequest, &[&str])> = vec![
            (template("nothing", &[]), &["template NOT_AVAILABLE"]),
            (language(template("order_ready", &["1", "2"]), "es"), &["language_code NOT_AVAILABLE"]),
            (template("route_plan", &[]), &["language_code NOT_AVAILABLE"]), // the sender's default is en
            (template("order_ready", &["1"]), &["parameters[\"2\"] REQUIRED"]),
            (template("order_ready", &["1", "2", "3"]), &["parameters[\"3\"] NOT_AVAILABLE"]),
            (
                template("appointment_reminder", &["name", "date"]),
                &["parameters[\"date\"] NOT_AVAILABLE", "parameters[\"day\"] REQUIRED", "parameters[\"time\"] REQUIRED"],
            ),
            (header(template("opening_hours", &[]), Header::Text("x".into())), &["header NOT_AVAILABLE"]),
            (
                header(buttons(template("order_shipped", &["1", "7"]), &[1]), Header::Text("x".into())),
                &["buttons REQUIRED", "buttons[0].index NOT_AVAILABLE", "header INVALID", "parameters INVALID"],
            ),
            (
                proto::SendTemplateRequest { to: "x".into(), ..template("order_shipped", &["2"]) },
                &["buttons REQUIRED", "header REQUIRED", "parameters INVALID", "to INVALID"],
            ),
        ];
        let entry = |request: &proto::SendTemplateRequest| proto::BatchSendEntry {
            entry: Some(proto::batch_send_entry::Entry::Template(request.clone())),
        };
        let request = proto::BatchSendRequest { entries: table.iter().map(|(request, _)| entry(request)).collect() };
        let results = gateway.messaging.batch_send(request).await?.into_inner().results;
        for (i, ((request, expected), result)) in table.into_iter().zip(results).enumerate() {
            let shown = format!("{request:?}");
            let alone = refused(gateway.send_template(request).await);
            assert_eq!(alone.code, Code::InvalidArgument, "{shown}");
            assert_eq!(alone.fields, expected, "{shown}");
            let Some(Outcome::Error(error)) = result.result else { panic!("{result:?}") };
            let details = prost::Message::encode_to_vec(&error).into();
            let in_batch = refusal(&Status::with_details(error.code.into(), error.message, details));
            let below: Vec<_> = expected.iter().map(|field| format!("entries[{i}].template.{field}")).collect();
            assert_eq!(in_batch.fields, below, "{shown}");
        }
        for name in ["flash_sale", "loyalty_points"] {
            let status = if name == "flash_sale" { "REJECTED" } else { "PAUSED" };
            let refusal = refused(gateway.send_template(checked_only(template(name, &[]))).await);
            assert_eq!(refusal.is(), (Code::FailedPrecondition, "TEMPLATE_NOT_APPROVED"));
            let told = ["template", "language_code", "status"].map(|key| refusal.metadata[key].as_str());
            assert_eq!(told, [name, "en", status]);
        }
        assert_eq!(gateway.all_events().await?, before, "nothing of it was stored");
        // By id, and in the other form of the language.
        for (name, code) in [("sandbox.order_ready.pt_BR", "pt_BR"), ("order_ready", "pt-BR"), ("order_ready", "")] {
            let sent = gateway.send_template(language(template(name, &["1", "2"]), code)).await?;
            assert!(!sent.template_unchecked && !sent.message_id.is_empty(), "{sent:?}");
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_repeated_key_is_answered_whatever_became_of_its_template(engine) {
        let gateway = TestGateway::start(engine).await?;
        gateway.catalogue_is_read("sandbox").await?;
        let request = |key| proto::SendTemplateRequest { options: Some(keyed(key)), ..template("opening_hours", &[]) };
        let first = gateway.send_template(request("first")).await?;
        let pause =
            "UPDATE templates SET document = REPLACE(document, 'APPROVED', 'PAUSED') WHERE template = 'opening_hours'";
        tamper(&gateway.rows().await?, &[pause]).await?;
        until("it is paused", || async {
            Ok(gateway.send_template(checked_only(template("opening_hours", &[]))).await.is_err())
        }).await?;
        let again = gateway.send_template(request("first")).await?;
        assert_eq!(again, proto::SendTemplateResponse { deduplicated: true, ..first });
        let other = proto::SendTemplateRequest { to: number(2), ..request("first") };
        for request in [other, request("second")] {
            let refusal = refused(gateway.send_template(request).await);
            assert_eq!(refusal.is(), (Code::FailedPrecondition, "TEMPLATE_NOT_APPROVED"));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn without_a_copy_a_template_is_sent_unchecked_and_the_answer_says_so(engine) {
        let fake = fake(Script::default()).await?;
        let mut gateway = TestGateway::start(engine).await?;
        gateway.devino_sender("acme", &fake).await?;
        let request = proto::SendTemplateRequest { sender: "acme".into(), ..template("anything", &["1"]) };
        let sent = gateway.send_template(request.clone()).await?;
        assert!(sent.template_unchecked && !sent.message_id.is_empty());
        let only = gateway.send_template(checked_only(request.clone())).await?;
        assert_eq!(only, proto::SendTemplateResponse { template_unchecked: true, ..Default::default() });
        let entry = Some(proto::batch_send_entry::Entry::Template(request));
        let batch = proto::BatchSendRequest { entries: vec![proto::BatchSendEntry { entry }] };
        let result = gateway.messaging.batch_send(batch).await?.into_inner().results.remove(0).result;
        let Some(Outcome::Accepted(accepted)) = result else { panic!("{result:?}") };
        assert!(accepted.template_unchecked);
        let refusals = [
            refused(gateway.list(of("acme")).await),
            refused(gateway.get("acme", "anything", "").await),
            refused(gateway.refresh("acme").await),
        ];
        for refusal in refusals {
            assert_eq!(refusal.is(), (Code::Unimplemented, "NOT_IMPLEMENTED"));
            assert_eq!(refusal.message, "provider devino publishes no templates");
        }

        // A provider that publishes them, of which nothing was read yet.
        gateway.catalogue_is_read("sandbox").await?;
        assert!(!gateway.send_template(template("opening_hours", &[])).await?.template_unchecked);
        tamper(&gateway.rows().await?, &["UPDATE catalogues SET read_at_ms = NULL"]).await?;
        until("it is unchecked", || async {
            Ok(gateway.send_template(checked_only(template("opening_hours", &[]))).await?.template_unchecked)
        }).await?;
        assert!(gateway.send_template(template("nothing", &[])).await?.template_unchecked);
        assert_eq!(gateway.list(of("sandbox")).await?, [""; 0]);
        assert_eq!(refused(gateway.get("sandbox", "opening_hours", "").await).is(), (Code::NotFound, "NOT_FOUND"));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_send_that_does_not_fit_old_copies_has_them_read_again(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.catalogue_is_read("sandbox").await?;
        // The copies are of long ago, and lack what was approved since; they are not due.
        tamper(&gateway.rows().await?, &[
            "DELETE FROM templates WHERE template = 'opening_hours'",
            "UPDATE catalogues SET read_at_ms = 1000",
        ]).await?;
        until("the old copies are seen", || async {
            let copy = gateway.get("sandbox", "order_ready", "en").await?;
            Ok(copy.refresh_time.context("no time")?.seconds == 1)
        }).await?;
        let sent = gateway.send_template(checked_only(template("opening_hours", &[]))).await;
        assert_eq!(refused(sent).fields, ["template NOT_AVAILABLE"]);
        until("it was read", || async {
            Ok(gateway.send_template(checked_only(template("opening_hours", &[]))).await.is_ok())
        }).await?;
        let changed = gateway.template_events().await?;
        assert_eq!(changed.iter().map(|event| event.template.as_str()).collect::<Vec<_>>(), ["opening_hours"]);
        gateway.stop().await?;
        Ok(())
    }
}
