//! PlanSend: what a send would do, and nothing done.

use anyhow::{Context as _, Result};
use recado::proto;
use recado::proto::plan_send_request::Entry;
use recado::proto::window_policy::Action;
use recado::proto::{MessageStatus, SenderHealth, SenderState, WindowState};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};
use tonic::Code;

use crate::gateway::{Setup, TestGateway, after, text};
use crate::meta::{self, start};
use crate::on_both_databases;
use crate::provider::Provider;
use crate::tools::{fake, keyed, number, reason, silent, with};
use crate::windows::{REOPEN, age, guarded, open, options, reopen};

fn message(request: proto::SendMessageRequest) -> proto::PlanSendRequest {
    proto::PlanSendRequest { entry: Some(Entry::Message(request)) }
}

fn template(name: &str, parameters: &[&str]) -> proto::PlanSendRequest {
    let parameters = parameters.iter().enumerate();
    let request = proto::SendTemplateRequest {
        sender: "acme".into(),
        to: number(1),
        template: name.into(),
        parameters: parameters.map(|(n, value)| ((n + 1).to_string(), (*value).to_owned())).collect(),
        ..Default::default()
    };
    proto::PlanSendRequest { entry: Some(Entry::Template(request)) }
}

/// The problems as `REASON field`.
fn against(plan: &proto::PlanSendResponse) -> Vec<String> {
    plan.problems.iter().map(|problem| format!("{} {}", problem.reason, problem.field).trim_end().to_owned()).collect()
}

fn millis(time: &Option<prost_types::Timestamp>) -> Option<i64> {
    time.as_ref().map(|time| time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000)
}

impl TestGateway {
    async fn plan(&mut self, request: proto::PlanSendRequest) -> Result<proto::PlanSendResponse> {
        Ok(self.messaging.plan_send(request).await?.into_inner())
    }
}

/// Every row of every table, as text.
async fn everything(database: &DatabaseConnection) -> Result<Vec<String>> {
    let backend = database.get_database_backend();
    let (tables, columns) = match backend {
        DbBackend::Postgres => (
            "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
            "SELECT column_name::text AS name FROM information_schema.columns WHERE table_name = $1 ORDER BY 1",
        ),
        _ => (
            "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1",
            "SELECT name FROM pragma_table_info(?1) ORDER BY 1",
        ),
    };
    let mut rows = Vec::new();
    for table in database.query_all_raw(Statement::from_string(backend, tables)).await? {
        let table: String = table.try_get("", "name")?;
        let names = Statement::from_sql_and_values(backend, columns, [table.clone().into()]);
        let mut parts = Vec::new();
        for column in database.query_all_raw(names).await? {
            let column: String = column.try_get("", "name")?;
            parts.push(match backend {
                DbBackend::Postgres => format!("COALESCE(CAST({column} AS text), '-')"),
                _ => format!("quote({column})"),
            });
        }
        let all = format!("SELECT {} AS line FROM {table} ORDER BY 1", parts.join(" || '|' || "));
        for row in database.query_all_raw(Statement::from_string(backend, all)).await? {
            rows.push(format!("{table}: {}", row.try_get::<String>("", "line")?));
        }
    }
    Ok(rows)
}

on_both_databases! {
    async fn a_plan_tells_how_a_number_is_understood(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        for (to, peer, variants) in [
            ("+5531987654321", "5531987654321", &["553187654321"][..]),
            ("553187654321", "5531987654321", &["5531987654321"]),
            ("+541123456789", "541123456789", &["5491123456789"]),
            ("+5215512345678", "525512345678", &["525512345678"]),
            ("+351910000001", "351910000001", &[]),
        ] {
            let plan = gateway.plan(message(text("sandbox", to, "x"))).await?;
            let number = plan.number.clone().context("no number")?;
            assert_eq!((number.given.as_str(), number.digits.as_str()), (to, to.trim_start_matches('+')));
            assert_eq!((number.peer.as_str(), number.variants.as_slice()), (peer, variants.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>().as_slice()));
            assert_eq!(number.reason.is_empty(), variants.is_empty());
            assert!(plan.explanation[0].contains(to), "{:?}", plan.explanation);
            assert_eq!((against(&plan).len(), plan.senders.len()), (0, 1));
            let sender = &plan.senders[0];
            assert_eq!((sender.sender.as_str(), sender.provider.as_str(), sender.usable, sender.chosen), ("sandbox", "sandbox", true, true));
            assert!(plan.hand_over_time.is_some() && plan.expire_time.is_some() && plan.existing_message_id.is_empty());
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_plan_tells_what_each_window_does(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        open(&gateway, &fake, &number(1)).await?;
        age(&gateway).await?;
        open(&gateway, &fake, &number(2)).await?;
        use Action::{Fail, HoldUntilIncoming, SendAnyway, SendTemplate, Unspecified};
        use WindowState::{Closed, Open, Unspecified as Unknown};
        for (n, state, action, done, goes) in [
            (1, Closed, Fail, Fail, false),
            (1, Closed, SendAnyway, SendAnyway, true),
            (1, Closed, HoldUntilIncoming, HoldUntilIncoming, false),
            (1, Closed, SendTemplate, SendTemplate, true),
            (2, Open, Fail, Unspecified, true),
            (2, Open, SendTemplate, Unspecified, true),
            (3, Unknown, Fail, SendAnyway, true),
            (3, Unknown, HoldUntilIncoming, HoldUntilIncoming, false),
            (3, Unknown, SendTemplate, SendTemplate, true),
        ] {
            let plan = gateway.plan(message(guarded(&number(n), "x", action))).await?;
            assert_eq!((plan.window(), plan.window_action(), plan.hand_over_time.is_some()), (state, done, goes), "{plan:?}");
            assert_eq!(plan.window_expire_time.is_some(), state == Open);
            let instead = plan.template.as_ref().map(|template| (template.instead, template.used, template.template.as_str()));
            assert_eq!(instead, (action == SendTemplate).then_some((true, state != Open, REOPEN)));
            let failing = state == Closed && action == Fail;
            assert_eq!(against(&plan), if failing { vec!["OUTSIDE_WINDOW"] } else { vec![] });
            assert!(plan.problems.iter().all(|problem| problem.at_hand_over));
        }
        let plan = gateway.plan(template(REOPEN, &["Marina"])).await?;
        assert_eq!((plan.window(), plan.hand_over_time.is_some()), (WindowState::NotNeeded, true));
        // What goes out in two days finds the window closed, if nobody writes before.
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(2 * 86_400);
        let scheduled = proto::SendOptions { send_time: Some(later.into()), ..Default::default() };
        let plan = gateway.plan(message(with(text("acme", &number(2), "x"), scheduled))).await?;
        assert_eq!((plan.window(), against(&plan)), (Closed, vec!["OUTSIDE_WINDOW".to_owned()]));
        gateway.stop().await?;
        Ok(())
    }

    async fn everything_that_stands_against_a_send_is_in_its_plan(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        meta::sender_of(&mut gateway, "acme", &fake.base_url("meta"), meta::NUMBER, "102290129340398").await?;
        gateway.templates.refresh_templates(proto::RefreshTemplatesRequest { sender: "acme".into() }).await?;
        let sent = gateway.send(with(text("sandbox", &number(1), "x"), keyed("one"))).await?;
        let unknown = uuid::Uuid::now_v7().to_string();
        let instead = |template| {
            let policy = proto::WindowPolicy { action: Action::SendTemplate as i32, template: Some(template) };
            let options = proto::SendOptions { on_window_closed: Some(policy), ..Default::default() };
            message(with(text("acme", &number(1), "x"), options))
        };
        for (request, expected) in [
            (message(text("acme", "12", "")), vec!["TOO_SHORT to", "REQUIRED text.body"]),
            (message(text("acme", &number(1), &"x".repeat(4_097))), vec!["TOO_LONG text.body"]),
            (message(text("", &number(1), "x")), vec!["REQUIRED sender"]),
            (message(with(text("sandbox", &number(1), "x"), keyed("one"))), vec![]),
            (message(with(text("sandbox", &number(1), "y"), keyed("one"))), vec!["IDEMPOTENCY_KEY_REUSED"]),
            (
                message(proto::SendMessageRequest { reply_to_message_id: unknown, ..text("acme", &number(1), "x") }),
                vec!["MESSAGE_NOT_FOUND"],
            ),
            (template(REOPEN, &[]), vec!["REQUIRED parameters[\"1\"]"]),
            (template("no_such_template", &[]), vec!["NOT_AVAILABLE template"]),
            (template("oferta", &["Marina"]), vec!["TEMPLATE_NOT_APPROVED"]),
            (instead(proto::TemplateContent { template: "oferta".into(), ..reopen() }), vec!["TEMPLATE_NOT_APPROVED"]),
            (
                instead(proto::TemplateContent { parameters: Default::default(), ..reopen() }),
                vec!["REQUIRED options.on_window_closed.template.parameters[\"1\"]"],
            ),
            (template(REOPEN, &["Marina"]), vec![]),
        ] {
            let what = format!("{request:?}");
            let plan = gateway.plan(request).await?;
            assert_eq!(against(&plan), expected, "{what}");
            if let Some(template) = &plan.template {
                assert_eq!((template.fits, template.unchecked), (expected.is_empty(), false), "{what}");
            }
            let again = what.contains("\"one\"");
            assert_eq!(plan.existing_message_id, if again { sent.message_id.as_str() } else { "" }, "{what}");
            assert_eq!(plan.hand_over_time.is_some(), expected.is_empty() && !again, "{what}");
        }
        // What is no plan at all.
        let nothing = gateway.messaging.plan_send(proto::PlanSendRequest::default()).await.unwrap_err();
        assert_eq!(nothing.code(), Code::InvalidArgument);
        let nobody = gateway.messaging.plan_send(message(text("nobody", &number(1), "x"))).await.unwrap_err();
        assert_eq!((nobody.code(), reason(&nobody).0.as_str()), (Code::NotFound, "SENDER_NOT_FOUND"));
        gateway.stop().await?;
        Ok(())
    }

    async fn a_plan_tells_how_its_sender_stands_and_what_waits_before(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let minute = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let limits = proto::SenderLimits {
            messages_per_second: Some(2.0),
            contact_interval: minute,
            contact_burst: Some(2),
            ..Default::default()
        };
        let sender = proto::Sender { sender: "acme".into(), limits: Some(limits), ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths: vec!["limits".into()] });
        gateway.admin.update_sender(proto::UpdateSenderRequest { sender: Some(sender), update_mask }).await?;

        let plan = gateway.plan(message(text("acme", &number(1), "x"))).await?;
        let limiter = plan.senders[0].limiter.context("no limiter")?;
        assert_eq!((limiter.messages_per_second, limiter.messages_per_second_now, limiter.contact_allowance), (Some(2.0), Some(2.0), Some(2)));
        assert_eq!((limiter.hold_time, limiter.contact_time), (None, None));

        let sent = gateway.send(text("acme", &number(1), "x")).await?;
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Sent).await?;
        gateway.set_state("acme", SenderState::Paused).await?;
        // Twenty wait, of which two are to the same person; one-time codes go before all of them.
        gateway.send_all((0..2).chain(10..28).map(|n| text("acme", &number(if n < 2 { 1 } else { n }), "x"))).await?;
        let paused = gateway.plan(message(text("acme", &number(2), "x"))).await?;
        let sender = &paused.senders[0];
        assert_eq!((sender.state(), sender.usable, sender.queue_depth, paused.hand_over_time), (SenderState::Paused, false, 20, None));
        assert!(sender.problem.contains("paused") && against(&paused).is_empty());
        let same = gateway.plan(message(text("acme", &number(1), "x"))).await?;
        let limiter = same.senders[0].limiter.context("no limiter")?;
        assert_eq!((limiter.contact_allowance, limiter.conversation_depth), (Some(1), 2));

        // As if it were not paused, before anything goes: the plan is the row's word, the rest is arithmetic.
        let rows = gateway.rows().await?;
        crate::tools::execute(&rows, "UPDATE messages SET lane = NULL, head = NULL WHERE attempt = 0 AND lane IS NOT NULL").await?;
        gateway.set_state("acme", SenderState::Active).await?;
        let now = recado::domain::now_ms();
        let same = gateway.plan(message(text("acme", &number(1), "x"))).await?;
        let wait = millis(&same.hand_over_time).context("no time")? - now;
        assert!((50_000..=121_000).contains(&wait), "two of the conversation go before it, a minute each: {wait} ms");
        let other = gateway.plan(message(text("acme", &number(2), "x"))).await?;
        assert!(millis(&other.hand_over_time).context("no time")? - now < 50_000);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_plan_tells_that_a_sender_is_refused(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = fake(silent()).await?;
        gateway.devino_sender("acme", &fake).await?;
        let mut stream = gateway.stream(Default::default()).await?;
        crate::tools::play(&fake, recado::fake::Script { api_key: Some("another".into()), ..silent() });
        gateway.send(text("acme", &number(1), "x")).await?;
        loop {
            if let Some(proto::event::Payload::SenderChanged(_)) = stream.next_event().await?.payload {
                break;
            }
        }
        let plan = gateway.plan(message(text("acme", &number(2), "x"))).await?;
        assert_eq!((plan.senders[0].health(), plan.senders[0].usable, plan.hand_over_time), (SenderHealth::CredentialsRefused, false, None));
        assert!(plan.senders[0].problem.contains("credentials"), "{plan:?}");
        gateway.stop().await?;
        Ok(())
    }

    async fn a_plan_changes_nothing_and_asks_nobody(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let fake = start(&mut gateway, silent()).await?;
        let asked = Provider::start().await?;
        gateway.cloudhumans_sender("chat", &asked.base_url()).await?;
        gateway.templates.refresh_templates(proto::RefreshTemplatesRequest { sender: "sandbox".into() }).await?;
        open(&gateway, &fake, &number(1)).await?;
        age(&gateway).await?;
        let sent = gateway.send(with(text("sandbox", &number(1), "x"), keyed("one"))).await?;
        gateway.stream(after(&sent.cursor)).await?.until(&sent.message_id, MessageStatus::Read).await?;
        // Copies so old that a send which does not fit would have them read again.
        let database = gateway.stop().await?;
        let rows = database.connect().await?;
        crate::tools::execute(&rows, "UPDATE catalogues SET read_at_ms = read_at_ms - 86400000").await?;
        let mut gateway = TestGateway::start_on(database, Setup::default()).await?;
        let sandbox = |name: &str| {
            let Some(Entry::Template(request)) = template(name, &[]).entry else { unreachable!("a line above") };
            let request = proto::SendTemplateRequest { sender: "sandbox".into(), ..request };
            proto::PlanSendRequest { entry: Some(Entry::Template(request)) }
        };
        let requests = fake.ledger().requests;
        let before = everything(&rows).await?;
        for request in [
            message(text("acme", &number(1), "x")),
            message(guarded(&number(1), "x", Action::HoldUntilIncoming)),
            message(guarded(&number(2), "x", Action::SendTemplate)),
            message(with(text("acme", &number(1), "x"), options(Action::Fail))),
            message(text("acme", "12", "")),
            message(text("chat", &number(1), "x")),
            message(with(text("sandbox", &number(1), "x"), keyed("two"))),
            message(with(text("sandbox", &number(1), "x"), keyed("one"))),
            template(REOPEN, &["Marina"]),
            sandbox("no_such_template"),
        ] {
            gateway.plan(request).await?;
        }
        let changed: Vec<String> = everything(&rows).await?.into_iter().filter(|row| !before.contains(row)).collect();
        assert_eq!((changed, everything(&rows).await?.len()), (vec![], before.len()));
        assert_eq!((fake.ledger().requests, asked.count()), (requests, 0));
        gateway.stop().await?;
        Ok(())
    }
}
