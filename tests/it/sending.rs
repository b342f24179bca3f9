//! What callers send is what is kept, handed over and read back.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use recado::proto;
use recado::proto::batch_send_entry::Entry;
use recado::proto::batch_send_result::Result as Outcome;
use recado::proto::send_message_request::Content as Sent;
use recado::proto::{MessageStatus, SenderState};

use crate::gateway::{TestGateway, after, text, words};
use crate::on_both_databases;
use crate::tools::{batch, keyed, number, with};

fn media(kind: proto::MediaKind, mime_type: &str, caption: &str, file_name: &str) -> proto::Media {
    proto::Media {
        kind: kind as i32,
        source: Some(proto::media::Source::Url("https://files.example.test/a?sig=1".into())),
        mime_type: mime_type.into(),
        file_name: file_name.into(),
        caption: caption.into(),
    }
}

fn location() -> proto::Location {
    proto::Location {
        latitude: 38.7223,
        longitude: -9.1393,
        name: "Acme shop".into(),
        address: "Rua Exemplo 10".into(),
        url: "https://maps.example.test/acme".into(),
    }
}

fn card() -> proto::ContactCard {
    proto::ContactCard {
        name: Some(proto::CardName {
            formatted_name: "Eng. Rui A. Melo Jr.".into(),
            first_name: "Rui".into(),
            last_name: "Melo".into(),
            middle_name: "A.".into(),
            prefix: "Eng.".into(),
            suffix: "Jr.".into(),
        }),
        phones: vec![proto::CardPhone {
            phone: "+351 910 000 009".into(),
            r#type: "CELL".into(),
            wa_id: "351910000009".into(),
        }],
        emails: vec![proto::CardEmail { email: "rui@example.test".into(), r#type: "WORK".into() }],
        addresses: vec![proto::CardAddress {
            street: "Rua B 2".into(),
            city: "Porto".into(),
            state: "Porto".into(),
            zip: "4000-000".into(),
            country: "Portugal".into(),
            country_code: "pt".into(),
            r#type: "HOME".into(),
        }],
        organization: Some(proto::CardOrganization {
            company: "Acme".into(),
            department: "Fleet".into(),
            title: "Driver".into(),
        }),
        urls: vec![proto::CardUrl { url: "https://example.test".into(), r#type: "WORK".into() }],
        birthday: "1990-02-01".into(),
    }
}

fn interactive(action: proto::interactive::Action, header: proto::interactive_header::Content) -> proto::Interactive {
    proto::Interactive {
        body: "When shall we come?".into(),
        header: Some(proto::InteractiveHeader { content: Some(header) }),
        footer: "Acme".into(),
        action: Some(action),
    }
}

/// Every kind of content, each field filled; a reaction goes to `quoted`.
fn every_content(quoted: &str) -> Vec<Sent> {
    use proto::interactive::Action;
    use proto::interactive_header::Content as Header;
    let button = |id: &str, title: &str| proto::ReplyButton { id: id.into(), title: title.into() };
    let row =
        |id: &str| proto::ListRow { id: id.into(), title: format!("Row {id}"), description: "From 9 to 12".into() };
    let section = |title: &str, rows| proto::ListSection { title: title.into(), rows };
    let picture = media(proto::MediaKind::Image, "image/png", "", "");
    let by_id = proto::Media {
        source: Some(proto::media::Source::MediaId("media-77".into())),
        ..media(proto::MediaKind::Sticker, "image/webp", "", "")
    };
    vec![
        Sent::Text(proto::Text { body: "É já? 🚚\nhttps://example.test".into(), preview_url: true }),
        Sent::Media(media(proto::MediaKind::Image, "image/jpeg", "The door", "")),
        Sent::Media(media(proto::MediaKind::Audio, "audio/mpeg", "", "")),
        Sent::Media(media(proto::MediaKind::Voice, "audio/ogg; codecs=opus", "", "")),
        Sent::Media(media(proto::MediaKind::Video, "video/mp4", "The way", "")),
        Sent::Media(media(proto::MediaKind::Document, "application/pdf", "Invoice 77", "invoice-77.pdf")),
        Sent::Media(by_id),
        Sent::Location(location()),
        Sent::ContactCards(proto::ContactCards { cards: vec![card(), card()] }),
        Sent::Interactive(interactive(
            Action::ReplyButtons(proto::ReplyButtons { buttons: vec![button("a", "Today"), button("b", "Later")] }),
            Header::Media(picture),
        )),
        Sent::Interactive(interactive(
            Action::List(proto::List {
                button: "Choose".into(),
                sections: vec![section("Morning", vec![row("1"), row("2")]), section("Evening", vec![row("3")])],
            }),
            Header::Text("Delivery".into()),
        )),
        Sent::Interactive(interactive(
            Action::UrlButton(proto::UrlButton { text: "Track".into(), url: "https://example.test/t".into() }),
            Header::Text("Delivery".into()),
        )),
        Sent::Reaction(proto::Reaction {
            message_id: quoted.into(),
            emoji: "👍".into(),
            provider_message_id: String::new(),
        }),
    ]
}

/// The same content as a message has it.
fn kept(sent: Sent) -> proto::message::Content {
    use proto::message::Content as Kept;
    match sent {
        Sent::Text(content) => Kept::Text(content),
        Sent::Media(content) => Kept::Media(content),
        Sent::Location(content) => Kept::Location(content),
        Sent::ContactCards(content) => Kept::ContactCards(content),
        Sent::Interactive(content) => Kept::Interactive(content),
        Sent::Reaction(content) => Kept::Reaction(content),
    }
}

fn all_options(key: &str) -> proto::SendOptions {
    proto::SendOptions {
        validity: Some(prost_types::Duration { seconds: 3_600, nanos: 500_000_000 }),
        callback_data: "{\"order\":\"É-77\"}".into(),
        labels: HashMap::from([("campaign".into(), "Black Friday".into()), ("a.b_c-1".into(), String::new())]),
        priority: proto::Priority::Urgent as i32,
        in_doubt_policy: proto::InDoubtPolicy::AtLeastOnce as i32,
        ..keyed(key)
    }
}

on_both_databases! {
    async fn every_content_is_kept_as_it_was_sent_and_reaches_the_person(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let first = gateway.send(text("sandbox", "+351910000001", "first")).await?;
        gateway.stream(after(&first.cursor)).await?.until(&first.message_id, MessageStatus::Read).await?;
        for (n, content) in every_content(&first.message_id).into_iter().enumerate() {
            let reply_to = if matches!(content, Sent::Reaction(_)) { "" } else { &first.message_id };
            let request = proto::SendMessageRequest {
                sender: "sandbox".into(),
                to: "+351910000001".into(),
                content: Some(content.clone()),
                reply_to_message_id: reply_to.to_owned(),
                options: Some(all_options(&format!("key-{n}"))),
            };
            let sent = gateway.send(request.clone()).await?;
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Read).await?;
            assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "DELIVERED", "READ"], "{content:?}");
            for status in &statuses {
                assert_eq!((&status.callback_data, &status.labels), (
                    &request.options.as_ref().unwrap().callback_data,
                    &request.options.as_ref().unwrap().labels,
                ));
                assert_eq!((status.to.as_str(), status.current_status), ("+351910000001", status.status));
            }
            let (message, attempts) = gateway.message(&sent.message_id).await?;
            assert_eq!(message.content, Some(kept(content)));
            // What was not said is answered as it is in force.
            let fail = proto::WindowPolicy { action: proto::window_policy::Action::Fail as i32, template: None };
            let in_force = request.options.clone().map(|options| {
                proto::SendOptions { on_window_closed: Some(fail), ..options }
            });
            assert_eq!(message.options, in_force);
            assert_eq!((message.sender, message.to, message.reply_to_message_id), (
                request.sender, request.to, request.reply_to_message_id,
            ));
            assert_eq!(message.accept_time, sent.accept_time);
            assert_eq!((message.attempt_count, attempts.len()), (1, 1));
            let attempt = &attempts[0];
            assert_eq!((attempt.number, attempt.outcome()), (1, proto::AttemptOutcome::Taken));
            assert_eq!(attempt.provider_message_id, message.provider_message_id);
            assert_eq!(attempt.exchanges.len(), 1);
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_template_is_kept_as_it_was_sent(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let parameters: HashMap<_, _> = (1..=12).map(|n| (n.to_string(), format!("value {n}"))).collect();
        let header = |content| Some(proto::TemplateHeader { content: Some(content) });
        let button = |index, parameter: &str, kind: proto::TemplateButtonKind| proto::TemplateButton {
            index,
            parameter: parameter.into(),
            kind: kind.into(),
        };
        let full = proto::SendTemplateRequest {
            sender: "sandbox".into(),
            to: "351910000001".into(),
            template: "route_plan".into(),
            language_code: "pt_BR".into(),
            parameters: parameters.clone(),
            header: header(proto::template_header::Content::Location(location())),
            buttons: vec![
                button(0, "A-1001", proto::TemplateButtonKind::Url),
                button(2, "x", proto::TemplateButtonKind::QuickReply),
            ],
            options: Some(all_options("template")),
        };
        let picture = media(proto::MediaKind::Image, "image/png", "", "");
        let pictured = proto::SendTemplateRequest {
            template: "order_shipped".into(),
            parameters: HashMap::from([("1".into(), "Ana".into())]),
            language_code: String::new(),
            header: header(proto::template_header::Content::Media(picture)),
            buttons: vec![button(0, "A-1001", proto::TemplateButtonKind::Url)],
            options: None,
            ..full.clone()
        };
        let named = proto::SendTemplateRequest {
            template: "appointment_reminder".into(),
            parameters: ["name", "day", "time"].map(|name| (name.into(), "Ana".into())).into(),
            header: None,
            buttons: vec![button(1, "cancel", proto::TemplateButtonKind::QuickReply)],
            ..pictured.clone()
        };
        for request in [full, pictured, named] {
            let sent = gateway.messaging.send_template(request.clone()).await?.into_inner();
            let mut stream = gateway.stream(after(&sent.cursor)).await?;
            let statuses = stream.until(&sent.message_id, MessageStatus::Read).await?;
            assert_eq!(words(&statuses), ["ACCEPTED", "SENT", "DELIVERED", "READ"]);
            let (message, _) = gateway.message(&sent.message_id).await?;
            let Some(proto::message::Content::Template(kept)) = message.content else { panic!("{message:?}") };
            assert_eq!(kept.template, request.template);
            let language = if request.language_code.is_empty() { "en" } else { &request.language_code };
            assert_eq!(kept.language_code, language, "the sender's default where none is given");
            assert_eq!((kept.parameters, kept.header, kept.buttons), (
                request.parameters, request.header, request.buttons,
            ));
        }
        gateway.stop().await?;
        Ok(())
    }

    async fn a_bad_entry_costs_no_other(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let message = |request| proto::BatchSendEntry { entry: Some(Entry::Message(request)) };
        let template = |to: &str, name: &str| proto::BatchSendEntry {
            entry: Some(Entry::Template(proto::SendTemplateRequest {
                sender: "sandbox".into(),
                to: to.into(),
                template: name.into(),
                ..Default::default()
            })),
        };
        let entries = vec![
            message(text("sandbox", &number(0), "good")),
            template(&number(1), "opening_hours"),
            proto::BatchSendEntry { entry: None },
            message(text("sandbox", "12", "")),
            message(text("nobody", &number(4), "good")),
            template("x", ""),
            message(with(text("sandbox", &number(6), "good"), keyed("twice"))),
            message(with(text("sandbox", &number(6), "other"), keyed("twice"))),
            message(text("sandbox", &number(8), &"x".repeat(4_097))),
            message(text("sandbox", &number(9), "good")),
        ];
        let answer = gateway.messaging.batch_send(proto::BatchSendRequest { entries }).await?.into_inner();
        let told: Vec<String> = answer.results.iter().map(|result| match result.result.as_ref().unwrap() {
            Outcome::Accepted(accepted) => word_of(accepted),
            Outcome::Error(error) => said(error),
        }).collect();
        assert_eq!(told, [
            "ACCEPTED",
            "ACCEPTED",
            "3 INVALID_REQUEST entries[2]",
            "3 INVALID_REQUEST entries[3].message.to entries[3].message.text.body",
            "5 SENDER_NOT_FOUND",
            "3 INVALID_REQUEST entries[5].template.to entries[5].template.template",
            "ACCEPTED",
            "6 IDEMPOTENCY_KEY_REUSED",
            "3 INVALID_REQUEST entries[8].message.text.body",
            "ACCEPTED",
        ]);
        let list = proto::ListMessagesRequest::default();
        let listed = gateway.messaging.list_messages(list).await?.into_inner().messages;
        let to: Vec<_> = listed.into_iter().map(|message| message.to).collect();
        assert_eq!(to, [9, 6, 1, 0].map(number), "only what was accepted is there");
        gateway.stop().await?;
        Ok(())
    }

    async fn a_thousand_entries_are_answered_in_order_and_listed_newest_first(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        gateway.set_state("sandbox", SenderState::Paused).await?;
        let labelled = |n: usize| with(text("sandbox", &number(n % 100), &n.to_string()), proto::SendOptions {
            labels: HashMap::from([("tenth".into(), (n % 10).to_string()), ("all".into(), "1".into())]),
            ..Default::default()
        });
        let sent = gateway.send_all((0..1_000).map(labelled)).await?;
        let mut expected: Vec<String> = sent.iter().map(|one| one.message_id.clone()).collect();
        for (n, id) in expected.iter().enumerate().step_by(83) {
            let (message, _) = gateway.message(id).await?;
            let body = proto::Text { body: n.to_string(), preview_url: false };
            assert_eq!(message.content, Some(proto::message::Content::Text(body)), "entry {n} is result {n}");
        }
        expected.reverse();

        let all = proto::ListMessagesRequest { page_size: 137, ..Default::default() };
        assert_eq!(pages(&mut gateway, all.clone()).await?, expected);
        let of = |keep: &dyn Fn(usize) -> bool| -> Vec<String> {
            (0..1_000).rev().filter(|n| keep(*n)).map(|n| sent[n].message_id.clone()).collect()
        };
        let label = |labels: &[&str]| labels.iter().map(ToString::to_string).collect::<Vec<_>>();
        let request = proto::ListMessagesRequest { labels: label(&["tenth=7"]), ..all.clone() };
        assert_eq!(pages(&mut gateway, request).await?, of(&|n| n % 10 == 7));
        let request = proto::ListMessagesRequest { labels: label(&["tenth=7", "tenth=8"]), ..all.clone() };
        assert_eq!(pages(&mut gateway, request).await?, of(&|n| matches!(n % 10, 7 | 8)), "OR within a filter");
        let peers = vec![format!("+{}", number(3)), number(7)];
        let request = proto::ListMessagesRequest { labels: label(&["tenth=7"]), peers, ..all.clone() };
        assert_eq!(pages(&mut gateway, request).await?, of(&|n| n % 100 == 7), "AND across filters");
        let request = proto::ListMessagesRequest { statuses: vec![MessageStatus::Read as i32], ..all.clone() };
        assert_eq!(pages(&mut gateway, request).await?, Vec::<String>::new());
        let statuses = vec![MessageStatus::Read as i32, MessageStatus::Accepted as i32];
        let request = proto::ListMessagesRequest { statuses, senders: vec!["sandbox".into()], ..all.clone() };
        assert_eq!(pages(&mut gateway, request).await?, expected);
        let accept_time = sent[0].accept_time;
        let request = proto::ListMessagesRequest { end_accept_time: accept_time, ..all.clone() };
        assert_eq!(pages(&mut gateway, request).await?, Vec::<String>::new(), "accepted before the first");
        let request = proto::ListMessagesRequest { start_accept_time: accept_time, ..all };
        assert_eq!(pages(&mut gateway, request).await?, expected, "accepted with the first or later");
        gateway.stop().await?;
        Ok(())
    }

    async fn validate_only_checks_everything_and_stores_nothing(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let options = proto::SendOptions { validate_only: true, ..keyed("key") };
        let good = with(text("sandbox", &number(1), "good"), options.clone());
        let answer = gateway.send(good).await?;
        assert_eq!(answer, proto::SendMessageResponse::default());
        let template = proto::SendTemplateRequest {
            sender: "sandbox".into(),
            to: number(1),
            template: "opening_hours".into(),
            options: Some(options.clone()),
            ..Default::default()
        };
        gateway.templates.refresh_templates(proto::RefreshTemplatesRequest { sender: "sandbox".into() }).await?;
        assert_eq!(gateway.messaging.send_template(template).await?.into_inner(), Default::default());
        let bad = with(text("sandbox", "1", &"x".repeat(4_097)), options);
        let error = gateway.messaging.send_message(bad).await.unwrap_err();
        assert_eq!(crate::tools::fields(&error), ["to", "text.body"]);

        let listed = gateway.messaging.list_messages(proto::ListMessagesRequest::default()).await?.into_inner();
        assert_eq!(listed.messages, []);
        let statuses = gateway.all_events().await?.into_iter().filter(|event| {
            matches!(event.payload, Some(proto::event::Payload::StatusChanged(_)))
        });
        assert_eq!(statuses.count(), 0);
        // Not even the key.
        let sent = gateway.send(with(text("sandbox", &number(2), "other"), keyed("key"))).await?;
        assert!(!sent.deduplicated);
        gateway.stop().await?;
        Ok(())
    }

    async fn a_batch_of_none_or_too_many_is_refused_whole(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        for count in [0, 1_001] {
            let request = batch((0..count).map(|n| text("sandbox", &number(n), "x")));
            let error = gateway.messaging.batch_send(request).await.unwrap_err();
            assert_eq!(crate::tools::fields(&error), ["entries"], "{count}");
        }
        let listed = gateway.messaging.list_messages(proto::ListMessagesRequest::default()).await?.into_inner();
        assert_eq!(listed.messages, []);
        gateway.stop().await?;
        Ok(())
    }
}

fn word_of(accepted: &proto::SendMessageResponse) -> String {
    assert!(!accepted.message_id.is_empty() && !accepted.cursor.is_empty() && accepted.accept_time.is_some());
    crate::tools::word(accepted.status()).to_owned()
}

/// Code, reason and fields of an entry's error.
fn said(error: &tonic_types::pb::Status) -> String {
    use prost::Message as _;
    let status = tonic::Status::with_details(error.code.into(), error.message.clone(), error.encode_to_vec().into());
    let (reason, _) = crate::tools::reason(&status);
    let mut words = vec![error.code.to_string(), reason];
    words.extend(crate::tools::fields(&status));
    words.join(" ")
}

/// The ids on all pages; every page but the last is full.
async fn pages(gateway: &mut TestGateway, mut request: proto::ListMessagesRequest) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    loop {
        let page = gateway.messaging.list_messages(request.clone()).await.context("a page")?.into_inner();
        let full = page.messages.len() == request.page_size as usize;
        ids.extend(page.messages.into_iter().map(|message| message.message_id));
        if page.next_page_token.is_empty() {
            return Ok(ids);
        }
        assert!(full, "a page before the last is not full");
        request.page_token = page.next_page_token;
    }
}
