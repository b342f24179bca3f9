//! Each field of each send: missing, empty, too long, of a wrong form.

use std::collections::HashMap;

use recado::proto;
use recado::proto::send_message_request::Content;
use tonic::Code;

use super::unharmed;
use crate::database::Engine;
use crate::gateway::{TestGateway, text};
use crate::on_both_databases;
use crate::refusal::{refusal, refused};

const TO: &str = "+351910000001";

fn with(content: Content) -> proto::SendMessageRequest {
    proto::SendMessageRequest { content: Some(content), ..text("sandbox", TO, "") }
}

fn options(options: proto::SendOptions) -> proto::SendMessageRequest {
    proto::SendMessageRequest { options: Some(options), ..text("sandbox", TO, "olá") }
}

fn media(kind: proto::MediaKind, url: &str) -> proto::Media {
    let source = Some(proto::media::Source::Url(url.into()));
    proto::Media { kind: kind as i32, source, ..Default::default() }
}

fn image() -> proto::Media {
    media(proto::MediaKind::Image, "https://example.com/a.jpg")
}

fn location(latitude: f64, longitude: f64) -> proto::Location {
    proto::Location { latitude, longitude, ..Default::default() }
}

fn card(name: &str) -> proto::ContactCard {
    let name = Some(proto::CardName { formatted_name: name.into(), ..Default::default() });
    proto::ContactCard { name, ..Default::default() }
}

fn cards(cards: Vec<proto::ContactCard>) -> proto::SendMessageRequest {
    with(Content::ContactCards(proto::ContactCards { cards }))
}

fn interactive(action: Option<proto::interactive::Action>) -> proto::Interactive {
    proto::Interactive { body: "choose".into(), action, ..Default::default() }
}

fn buttons(buttons: &[(&str, &str)]) -> proto::SendMessageRequest {
    let button = |(id, title): &(&str, &str)| proto::ReplyButton { id: id.to_string(), title: title.to_string() };
    let buttons = proto::ReplyButtons { buttons: buttons.iter().map(button).collect() };
    with(Content::Interactive(interactive(Some(proto::interactive::Action::ReplyButtons(buttons)))))
}

fn list(button: &str, sections: Vec<proto::ListSection>) -> proto::SendMessageRequest {
    let list = proto::List { button: button.into(), sections };
    with(Content::Interactive(interactive(Some(proto::interactive::Action::List(list)))))
}

fn section(title: &str, rows: &[(&str, &str, &str)]) -> proto::ListSection {
    let row = |(id, title, description): &(&str, &str, &str)| proto::ListRow {
        id: id.to_string(),
        title: title.to_string(),
        description: description.to_string(),
    };
    proto::ListSection { title: title.into(), rows: rows.iter().map(row).collect() }
}

fn good_buttons() -> Option<proto::interactive::Action> {
    let buttons = vec![proto::ReplyButton { id: "a".into(), title: "A".into() }];
    Some(proto::interactive::Action::ReplyButtons(proto::ReplyButtons { buttons }))
}

fn seconds(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

fn labels(labels: &[(&str, &str)]) -> HashMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// Requests, and all that is wrong with each.
fn sends() -> Vec<(proto::SendMessageRequest, Vec<&'static str>)> {
    let x = |n: usize| "x".repeat(n);
    let in_days = |days: i64| {
        let now = recado::domain::now_ms() / 1_000;
        Some(prost_types::Timestamp { seconds: now + days * 86_400 + 60, nanos: 0 })
    };
    let none = proto::SendOptions::default;
    let many = |n: usize| (0..n).map(|i| (format!("key{i}"), "v".to_owned())).collect::<HashMap<_, _>>();
    let url_button = |text: &str, url: &str| {
        let button = proto::UrlButton { text: text.into(), url: url.into() };
        with(Content::Interactive(interactive(Some(proto::interactive::Action::UrlButton(button)))))
    };
    let header = |content| {
        let header = Some(proto::InteractiveHeader { content });
        with(Content::Interactive(proto::Interactive { header, ..interactive(good_buttons()) }))
    };
    let reaction = |message_id: &str, emoji: &str| {
        let reaction = proto::Reaction { message_id: message_id.into(), emoji: emoji.into(), ..Default::default() };
        with(Content::Reaction(reaction))
    };
    let id = uuid::Uuid::now_v7().to_string();
    vec![
        // Who and to whom.
        (proto::SendMessageRequest::default(), vec!["content REQUIRED", "sender REQUIRED", "to REQUIRED"]),
        (text("", TO, "x"), vec!["sender REQUIRED"]),
        (text("Sandbox", TO, "x"), vec!["sender INVALID"]),
        (text("sand\u{0}box", TO, "x"), vec!["sender INVALID"]),
        (text(&x(64), TO, "x"), vec!["sender TOO_LONG"]),
        (text("sandbox", "", "x"), vec!["to REQUIRED"]),
        (text("sandbox", "+", "x"), vec!["to REQUIRED"]),
        (text("sandbox", "++351910000001", "x"), vec!["to INVALID"]),
        (text("sandbox", "+351 910 000 001", "x"), vec!["to INVALID"]),
        (text("sandbox", "٣٥١٩١٠٠٠٠٠٠١", "x"), vec!["to INVALID"]),
        (text("sandbox", "+351910000001\n", "x"), vec!["to INVALID"]),
        (text("sandbox", "+35191", "x"), vec!["to TOO_SHORT"]),
        (text("sandbox", "+3519100000012345", "x"), vec!["to TOO_LONG"]),
        (text("sandbox", "+000910000001", "x"), vec!["to INVALID"]),
        (text("sandbox", &x(1_000_000), "x"), vec!["to INVALID"]),
        // Texts.
        (text("sandbox", TO, ""), vec!["text.body REQUIRED"]),
        (text("sandbox", TO, &x(4_097)), vec!["text.body TOO_LONG"]),
        (text("sandbox", TO, &"é".repeat(4_097)), vec!["text.body TOO_LONG"]),
        (text("sandbox", TO, &x(70_000)), vec!["text.body TOO_LONG"]),
        (text("sandbox", TO, "a\u{0}b"), vec!["text.body INVALID"]),
        (text("sandbox", TO, "a\u{1b}[2J"), vec!["text.body INVALID"]),
        (text("sandbox", TO, "a\u{85}b"), vec!["text.body INVALID"]),
        // Media.
        (with(Content::Media(proto::Media::default())), vec!["media.kind REQUIRED", "media.url REQUIRED"]),
        (with(Content::Media(proto::Media { kind: 99, ..image() })), vec!["media.kind INVALID"]),
        (with(Content::Media(proto::Media { kind: -1, ..image() })), vec!["media.kind INVALID"]),
        (with(Content::Media(media(proto::MediaKind::Image, ""))), vec!["media.url REQUIRED"]),
        (with(Content::Media(media(proto::MediaKind::Image, "example.com/a.jpg"))), vec!["media.url INVALID"]),
        (with(Content::Media(media(proto::MediaKind::Image, "file:///etc/passwd"))), vec!["media.url INVALID"]),
        (with(Content::Media(media(proto::MediaKind::Image, "https://a:b@example.com/"))), vec!["media.url INVALID"]),
        (
            with(Content::Media(media(proto::MediaKind::Image, &format!("https://example.com/{}", x(2_048))))),
            vec!["media.url TOO_LONG"],
        ),
        (
            with(Content::Media(proto::Media {
                source: Some(proto::media::Source::MediaId(String::new())),
                ..image()
            })),
            vec!["media.media_id REQUIRED"],
        ),
        (
            with(Content::Media(proto::Media { source: Some(proto::media::Source::MediaId(x(513))), ..image() })),
            vec!["media.media_id TOO_LONG"],
        ),
        (with(Content::Media(proto::Media { mime_type: "jpeg".into(), ..image() })), vec!["media.mime_type INVALID"]),
        (
            with(Content::Media(proto::Media { mime_type: "video/mp4".into(), ..image() })),
            vec!["media.mime_type NOT_SUPPORTED"],
        ),
        (with(Content::Media(proto::Media { caption: x(1_025), ..image() })), vec!["media.caption TOO_LONG"]),
        (with(Content::Media(proto::Media { caption: "\u{7}".into(), ..image() })), vec!["media.caption INVALID"]),
        (
            with(Content::Media(proto::Media { file_name: "a.jpg".into(), ..image() })),
            vec!["media.file_name NOT_SUPPORTED"],
        ),
        (
            with(Content::Media(proto::Media {
                file_name: x(1_025),
                ..media(proto::MediaKind::Document, "https://example.com/a.pdf")
            })),
            vec!["media.file_name TOO_LONG"],
        ),
        (
            with(Content::Media(proto::Media {
                kind: 99,
                source: Some(proto::media::Source::Url("x".into())),
                mime_type: "/".into(),
                file_name: "\u{0}".into(),
                caption: x(70_000),
            })),
            vec![
                "media.caption TOO_LONG",
                "media.file_name INVALID",
                "media.kind INVALID",
                "media.mime_type INVALID",
                "media.url INVALID",
            ],
        ),
        // Places.
        (with(Content::Location(location(90.1, 0.0))), vec!["location.latitude INVALID"]),
        (with(Content::Location(location(0.0, -180.1))), vec!["location.longitude INVALID"]),
        (
            with(Content::Location(location(f64::NAN, f64::INFINITY))),
            vec!["location.latitude INVALID", "location.longitude INVALID"],
        ),
        (
            with(Content::Location(proto::Location {
                name: x(1_025),
                address: "\u{0}".into(),
                url: "mailto:a@b.c".into(),
                ..location(f64::NEG_INFINITY, 0.0)
            })),
            vec![
                "location.address INVALID",
                "location.latitude INVALID",
                "location.name TOO_LONG",
                "location.url INVALID",
            ],
        ),
        // Cards.
        (cards(vec![]), vec!["contact_cards.cards REQUIRED"]),
        (cards(vec![card("A"); 6]), vec!["contact_cards.cards TOO_LONG"]),
        (
            cards(vec![proto::ContactCard::default(), card(" ")]),
            vec![
                "contact_cards.cards[0].name.formatted_name REQUIRED",
                "contact_cards.cards[1].name.formatted_name REQUIRED",
            ],
        ),
        (
            cards(vec![
                card("A"),
                proto::ContactCard {
                    phones: vec![proto::CardPhone::default()],
                    birthday: "1990-13-01".into(),
                    ..card("B")
                },
            ]),
            vec!["contact_cards.cards[1].birthday INVALID", "contact_cards.cards[1].phones[0].phone REQUIRED"],
        ),
        (cards(vec![card("a\u{0}b")]), vec!["contact_cards.cards[0].name.formatted_name INVALID"]),
        (cards(vec![card(&x(2_000))]), vec!["contact_cards.cards[0].name.formatted_name TOO_LONG"]),
        // What people choose from.
        (
            with(Content::Interactive(proto::Interactive::default())),
            vec!["interactive.action REQUIRED", "interactive.body REQUIRED"],
        ),
        (
            with(Content::Interactive(proto::Interactive {
                body: x(1_025),
                footer: x(61),
                ..interactive(good_buttons())
            })),
            vec!["interactive.body TOO_LONG", "interactive.footer TOO_LONG"],
        ),
        (header(None), vec!["interactive.header REQUIRED"]),
        (
            header(Some(proto::interactive_header::Content::Text(String::new()))),
            vec!["interactive.header.text REQUIRED"],
        ),
        (header(Some(proto::interactive_header::Content::Text(x(61)))), vec!["interactive.header.text TOO_LONG"]),
        (
            header(Some(proto::interactive_header::Content::Media(proto::Media::default()))),
            vec!["interactive.header.media.kind REQUIRED", "interactive.header.media.url REQUIRED"],
        ),
        (buttons(&[]), vec!["interactive.reply_buttons.buttons REQUIRED"]),
        (
            buttons(&[("a", "A"), ("b", "B"), ("c", "C"), ("d", "D")]),
            vec!["interactive.reply_buttons.buttons TOO_LONG"],
        ),
        (
            buttons(&[("", ""), ("a", "A"), ("a", "A")]),
            vec![
                "interactive.reply_buttons.buttons[0].id REQUIRED",
                "interactive.reply_buttons.buttons[0].title REQUIRED",
                "interactive.reply_buttons.buttons[2].id INVALID",
                "interactive.reply_buttons.buttons[2].title INVALID",
            ],
        ),
        (
            buttons(&[("a", "a title that is a little longer")]),
            vec!["interactive.reply_buttons.buttons[0].title TOO_LONG"],
        ),
        (list("", vec![]), vec!["interactive.list.button REQUIRED", "interactive.list.sections REQUIRED"]),
        (list("go", vec![section("", &[])]), vec!["interactive.list.sections[0].rows REQUIRED"]),
        (
            list("go", vec![section("", &[("a", "A", "")]), section("", &[("", "\u{0}", "")])]),
            vec![
                "interactive.list.sections[0].title REQUIRED",
                "interactive.list.sections[1].rows[0].id REQUIRED",
                "interactive.list.sections[1].rows[0].title INVALID",
                "interactive.list.sections[1].title REQUIRED",
            ],
        ),
        (list("go", vec![section("", &[("a", "A", ""); 11])]), vec!["interactive.list.sections TOO_LONG"]),
        (url_button("", ""), vec!["interactive.url_button.text REQUIRED", "interactive.url_button.url REQUIRED"]),
        (url_button("go", "javascript:alert(1)"), vec!["interactive.url_button.url INVALID"]),
        // Reactions and quotes.
        (reaction("", "👍"), vec!["reaction.message_id REQUIRED"]),
        (reaction("42", &x(17)), vec!["reaction.emoji INVALID", "reaction.message_id INVALID"]),
        (
            proto::SendMessageRequest { reply_to_message_id: id.clone(), ..reaction(&id, "👍") },
            vec!["reply_to_message_id NOT_SUPPORTED"],
        ),
        (
            proto::SendMessageRequest { reply_to_message_id: "no id".into(), ..text("sandbox", TO, "x") },
            vec!["reply_to_message_id INVALID"],
        ),
        // Options.
        (options(proto::SendOptions { idempotency_key: x(257), ..none() }), vec!["options.idempotency_key TOO_LONG"]),
        (
            options(proto::SendOptions { idempotency_key: "a\u{0}".into(), ..none() }),
            vec!["options.idempotency_key INVALID"],
        ),
        (options(proto::SendOptions { send_time: in_days(30), ..none() }), vec!["options.send_time INVALID"]),
        (
            options(proto::SendOptions {
                send_time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: i32::MAX }),
                ..none()
            }),
            vec!["options.send_time INVALID"],
        ),
        (
            options(proto::SendOptions { send_time: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }), ..none() }),
            vec!["options.send_time INVALID"],
        ),
        (options(proto::SendOptions { validity: seconds(0, 0), ..none() }), vec!["options.validity INVALID"]),
        (options(proto::SendOptions { validity: seconds(-5, 0), ..none() }), vec!["options.validity INVALID"]),
        (options(proto::SendOptions { validity: seconds(i64::MAX, 0), ..none() }), vec!["options.validity INVALID"]),
        (
            options(proto::SendOptions { validity: seconds(i64::MIN, i32::MIN), ..none() }),
            vec!["options.validity INVALID"],
        ),
        (options(proto::SendOptions { validity: seconds(31 * 86_400, 0), ..none() }), vec!["options.validity INVALID"]),
        (options(proto::SendOptions { callback_data: x(4_097), ..none() }), vec!["options.callback_data TOO_LONG"]),
        (options(proto::SendOptions { labels: many(17), ..none() }), vec!["options.labels TOO_LONG"]),
        (options(proto::SendOptions { labels: many(50_000), ..none() }), vec!["options.labels TOO_LONG"]),
        (
            options(proto::SendOptions { labels: labels(&[("", "x"), ("Team", "a\nb"), ("ok", "fine")]), ..none() }),
            vec![
                "options.labels[\"\"] INVALID",
                "options.labels[\"Team\"] INVALID",
                "options.labels[\"Team\"] INVALID",
            ],
        ),
        (options(proto::SendOptions { priority: 9, ..none() }), vec!["options.priority INVALID"]),
        (options(proto::SendOptions { in_doubt_policy: -3, ..none() }), vec!["options.in_doubt_policy INVALID"]),
        // All at once.
        (
            proto::SendMessageRequest {
                sender: "NO".into(),
                to: "x".into(),
                reply_to_message_id: "x".into(),
                options: Some(proto::SendOptions {
                    idempotency_key: x(300),
                    validity: seconds(0, 0),
                    callback_data: x(5_000),
                    priority: 77,
                    ..none()
                }),
                ..text("", "", "")
            },
            vec![
                "options.callback_data TOO_LONG",
                "options.idempotency_key TOO_LONG",
                "options.priority INVALID",
                "options.validity INVALID",
                "reply_to_message_id INVALID",
                "sender INVALID",
                "text.body REQUIRED",
                "to INVALID",
            ],
        ),
    ]
}

fn template() -> proto::SendTemplateRequest {
    proto::SendTemplateRequest {
        sender: "sandbox".into(),
        to: TO.into(),
        // One that the sandbox has, without variables: nothing else is wrong with it, whether it is compared or not.
        template: "opening_hours".into(),
        language_code: "en".into(),
        ..Default::default()
    }
}

fn templates() -> Vec<(proto::SendTemplateRequest, Vec<&'static str>)> {
    use proto::template_header::Content as Header;
    let x = |n: usize| "x".repeat(n);
    let header = |content| proto::SendTemplateRequest { header: Some(proto::TemplateHeader { content }), ..template() };
    let parameters = |given: &[(&str, &str)]| proto::SendTemplateRequest { parameters: labels(given), ..template() };
    let buttons = |given: &[(i32, &str)]| {
        let button = |(index, parameter): &(i32, &str)| proto::TemplateButton {
            index: *index,
            parameter: parameter.to_string(),
            kind: 0,
        };
        proto::SendTemplateRequest { buttons: given.iter().map(button).collect(), ..template() }
    };
    let no_kind = proto::TemplateButton { index: 0, parameter: "x".into(), kind: 77 };
    vec![
        (proto::SendTemplateRequest::default(), vec!["sender REQUIRED", "template REQUIRED", "to REQUIRED"]),
        (proto::SendTemplateRequest { template: x(513), ..template() }, vec!["template TOO_LONG"]),
        (proto::SendTemplateRequest { template: "a\u{0}".into(), ..template() }, vec!["template INVALID"]),
        (proto::SendTemplateRequest { language_code: "p".into(), ..template() }, vec!["language_code INVALID"]),
        (proto::SendTemplateRequest { language_code: "pt BR".into(), ..template() }, vec!["language_code INVALID"]),
        (proto::SendTemplateRequest { language_code: x(21), ..template() }, vec!["language_code INVALID"]),
        (parameters(&[("1", "")]), vec!["parameters[\"1\"] REQUIRED"]),
        (parameters(&[("", "x")]), vec!["parameters[\"\"] INVALID"]),
        (parameters(&[("1", &x(4_097))]), vec!["parameters[\"1\"] TOO_LONG"]),
        (parameters(&[("1", "a"), ("3", "b")]), vec!["parameters INVALID"]),
        (parameters(&[("0", "a")]), vec!["parameters INVALID"]),
        (header(None), vec!["header REQUIRED"]),
        (header(Some(Header::Text(String::new()))), vec!["header.text REQUIRED"]),
        (
            header(Some(Header::Media(proto::Media::default()))),
            vec!["header.media.kind REQUIRED", "header.media.url REQUIRED"],
        ),
        (
            header(Some(Header::Location(location(91.0, f64::NAN)))),
            vec!["header.location.latitude INVALID", "header.location.longitude INVALID"],
        ),
        (proto::SendTemplateRequest { buttons: vec![no_kind], ..template() }, vec!["buttons[0].kind INVALID"]),
        (
            buttons(&[(-1, "x"), (10, "x"), (1, ""), (2, "a"), (2, "b")]),
            vec![
                "buttons[0].index INVALID",
                "buttons[1].index INVALID",
                "buttons[2].parameter REQUIRED",
                "buttons[4].index INVALID",
            ],
        ),
    ]
}

on_both_databases! {
    async fn every_wrong_field_of_a_send_is_named(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let before = gateway.all_events().await?;
        for (request, expected) in sends() {
            let shown: String = format!("{request:?}").chars().take(300).collect();
            let refusal = refused(gateway.messaging.send_message(request).await);
            assert_eq!(refusal.is(), (Code::InvalidArgument, "INVALID_REQUEST"), "{shown}");
            assert_eq!(refusal.fields, expected, "{shown}");
        }
        for (request, expected) in templates() {
            let shown: String = format!("{request:?}").chars().take(300).collect();
            let refusal = refused(gateway.messaging.send_template(request).await);
            assert_eq!(refusal.is(), (Code::InvalidArgument, "INVALID_REQUEST"), "{shown}");
            assert_eq!(refusal.fields, expected, "{shown}");
        }
        unharmed(&mut gateway, &before).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn a_batch_answers_each_bad_entry_in_its_place_and_sends_the_good_ones(engine) {
        use proto::batch_send_entry::Entry;
        use proto::batch_send_result::Result as Outcome;
        let mut gateway = TestGateway::start(engine).await?;
        let before = gateway.all_events().await?;
        let mut entries = vec![(None, vec!["entries[0] REQUIRED".to_owned()])];
        let below = |kind: &str, i: usize, fields: Vec<&str>| {
            fields.iter().map(|field| format!("entries[{i}].{kind}.{field}")).collect::<Vec<_>>()
        };
        for (request, expected) in sends().into_iter().filter(|(request, _)| prost::Message::encoded_len(request) < 10_000) {
            let fields = below("message", entries.len(), expected);
            entries.push((Some(Entry::Message(request)), fields));
        }
        for (request, expected) in templates() {
            let fields = below("template", entries.len(), expected);
            entries.push((Some(Entry::Template(request)), fields));
        }
        let (given, expected): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let mut all_bad: Vec<_> = given.into_iter().map(|entry| proto::BatchSendEntry { entry }).collect();
        let request = proto::BatchSendRequest { entries: all_bad.clone() };
        let results = gateway.messaging.batch_send(request).await?.into_inner().results;
        assert_eq!(results.len(), expected.len());
        for (result, expected) in results.into_iter().zip(&expected) {
            let Some(Outcome::Error(error)) = result.result else { panic!("{result:?}") };
            // A status inside a message is what a status on the wire holds.
            let details = prost::Message::encode_to_vec(&error).into();
            let refusal = refusal(&tonic::Status::with_details(error.code.into(), error.message, details));
            assert_eq!((refusal.code, &refusal.fields), (Code::InvalidArgument, expected));
        }
        assert_eq!(gateway.all_events().await?, before);

        let good = Some(Entry::Message(crate::gateway::held("sandbox", TO, "good")));
        all_bad.insert(3, proto::BatchSendEntry { entry: good.clone() });
        let unknown = Some(Entry::Message(text("nobody", TO, "x")));
        all_bad.push(proto::BatchSendEntry { entry: unknown });
        all_bad.push(proto::BatchSendEntry { entry: good });
        let request = proto::BatchSendRequest { entries: all_bad };
        let results = gateway.messaging.batch_send(request).await?.into_inner().results;
        let taken: Vec<_> = results.iter().map(|result| matches!(result.result, Some(Outcome::Accepted(_)))).collect();
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 2);
        assert!(taken[3] && taken[taken.len() - 1], "{taken:?}");
        assert_eq!(gateway.all_events().await?.len(), before.len() + 2);
        gateway.stop().await?;
        Ok(())
    }

    async fn what_is_not_there_is_not_found_and_what_is_not_built_says_so(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let before = gateway.all_events().await?;
        let unknown = refused(gateway.messaging.send_message(text("nobody", TO, "x")).await);
        assert_eq!(unknown.is(), (Code::NotFound, "SENDER_NOT_FOUND"));
        assert_eq!(unknown.metadata["name"], "nobody");
        let id = uuid::Uuid::now_v7().to_string();
        let quoting = proto::SendMessageRequest { reply_to_message_id: id.clone(), ..text("sandbox", TO, "x") };
        let reaction = proto::Reaction { message_id: id.clone(), emoji: "👍".into(), ..Default::default() };
        for request in [quoting, with(Content::Reaction(reaction))] {
            let refusal = refused(gateway.messaging.send_message(request).await);
            assert_eq!(refusal.is(), (Code::NotFound, "MESSAGE_NOT_FOUND"));
        }
        unharmed(&mut gateway, &before).await?;
        gateway.stop().await?;
        Ok(())
    }

    async fn a_batch_has_one_to_a_thousand_entries(engine) {
        let mut gateway = TestGateway::start(engine).await?;
        let before = gateway.all_events().await?;
        let entry = proto::BatchSendEntry {
            entry: Some(proto::batch_send_entry::Entry::Message(crate::gateway::held("sandbox", TO, "x"))),
        };
        for (count, reason) in [(0, "REQUIRED"), (1_001, "TOO_LONG")] {
            let request = proto::BatchSendRequest { entries: vec![entry.clone(); count] };
            let refusal = refused(gateway.messaging.batch_send(request).await);
            assert_eq!((refusal.code, refusal.fields), (Code::InvalidArgument, vec![format!("entries {reason}")]));
        }
        assert_eq!(gateway.all_events().await?, before);
        let request = proto::BatchSendRequest { entries: vec![entry; 1_000] };
        assert_eq!(gateway.messaging.batch_send(request).await?.into_inner().results.len(), 1_000);
        assert_eq!(gateway.all_events().await?.len(), before.len() + 1_000);
        gateway.stop().await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_cannot_take_is_refused_with_its_limit() -> anyhow::Result<()> {
    let fake = recado::fake::FakeProvider::start("127.0.0.1:0".parse()?).await?;
    let mut gateway = TestGateway::start(Engine::Sqlite).await?;
    gateway.devino_sender("acme", &fake).await?;
    let mut request = with(Content::Interactive(interactive(good_buttons())));
    request.sender = "acme".into();
    let refusal = refused(gateway.messaging.send_message(request).await);
    assert_eq!(refusal.fields, ["interactive NOT_SUPPORTED"]);
    let refusal = refused(gateway.messaging.send_message(text("acme", TO, &"x".repeat(60_000))).await);
    assert_eq!(refusal.fields, ["text.body TOO_LONG"]);
    assert!(refusal.message.contains("at most"), "{}", refusal.message);
    assert_eq!(fake.ledger().requests, 0);
    gateway.stop().await?;
    fake.stop().await;
    Ok(())
}
