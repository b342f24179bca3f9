//! Handing over: to the fake, and to what answers anything.

use serde_json::json;

use super::{TOKEN, adapter, adapter_of, answering, fake, filled, message, said, settings, template, text};
use crate::domain::content::{
    Content, Interactive, InteractiveAction, List, Location, Media, MediaKind, MediaSource, ReplyButton,
    TemplateButton, TemplateHeader,
};
use crate::domain::{ErrorReason, PhoneNumber};
use crate::fake::{Action, FakeProvider, Fault, Script};
use crate::provider::cloudhumans::send::free;
use crate::provider::{CheckOutcome, Outgoing, Provider as _, SendError};

const PERSON: &str = "5511987654321";

async fn send(fake: &FakeProvider, message: &Outgoing) -> String {
    said(&adapter(&fake.base_url("cloudhumans")).send(std::slice::from_ref(message)).await[0])
}

/// What a template, and a text, come to when this goes wrong, and how many were taken.
async fn under(action: Action) -> (String, String, u64) {
    let fake = fake([Fault::always(action)]).await;
    let said = (send(&fake, &template(PERSON, &[])).await, send(&fake, &text(PERSON)).await);
    (said.0, said.1, fake.ledger().taken)
}

fn both(word: &str, taken: u64) -> (String, String, u64) {
    (word.into(), word.into(), taken)
}

fn header(media: Media) -> Option<TemplateHeader> {
    Some(TemplateHeader::Media(media))
}

fn picture(url: &str) -> Media {
    let source = MediaSource::Url(url.into());
    let (mime_type, file_name, caption) = Default::default();
    Media { kind: MediaKind::Document, source, mime_type, file_name, caption }
}

#[tokio::test]
async fn o1_an_answer_lost_after_the_message_was_taken_is_in_doubt() {
    assert_eq!(under(Action::DropAfterAccept).await, both("in doubt", 2));
    assert_eq!(under(Action::ErrorAfterAccept { status: 502 }).await, both("in doubt", 2));
    assert_eq!(under(Action::Slow { ms: 5_000 }).await, both("in doubt", 2));
    assert_eq!(under(Action::DropBeforeAccept).await, both("in doubt", 0));
    assert_eq!(under(Action::ErrorBeforeAccept { status: 500 }).await, both("in doubt", 0));
    // Of a template any 2xx is a success; a text is answered with itself, or by somebody else.
    let garbage = under(Action::Garbage).await;
    assert_eq!(garbage, ("taken without an id".into(), "in doubt".into(), 2));
}

#[tokio::test]
async fn o1_a_refused_connection_is_not_in_doubt() {
    let fake = fake([]).await;
    let base_url = fake.base_url("cloudhumans");
    fake.stop().await;
    for message in [template(PERSON, &[]), text(PERSON)] {
        let answer = adapter(&base_url).send(&[message]).await.remove(0);
        assert_eq!(said(&answer), "not taken PROVIDER_UNAVAILABLE None None");
    }
}

#[tokio::test]
async fn o3_throttling_is_not_taken() {
    let throttle = |retry_after_s, body_only| Action::Throttle { retry_after_s, body_only };
    assert_eq!(under(throttle(Some(1), false)).await, both("not taken RATE_LIMITED Some(1s) None", 0));
    assert_eq!(under(throttle(None, false)).await, both("not taken RATE_LIMITED None None", 0));
    assert_eq!(under(throttle(None, true)).await, both("not taken RATE_LIMITED None None", 0));
}

#[tokio::test]
async fn an_answer_that_fails_while_the_conversation_is_looked_for_leaves_no_doubt() {
    for (status, body, expected) in [
        (500, "", "not taken PROVIDER_UNAVAILABLE None None"),
        (504, "<html>", "not taken PROVIDER_UNAVAILABLE None None"),
        (200, "<html>", "not taken PROVIDER_UNAVAILABLE None None"),
        (429, "", "not taken RATE_LIMITED None None"),
        (401, r#"{"error":"Invalid Access Token"}"#, "refused SENDER_UNAUTHORIZED"),
        (404, "<html>", "refused INVALID_SENDER"),
        (200, r#"{"payload":[]}"#, "refused OUTSIDE_WINDOW"),
        (200, "{}", "refused OUTSIDE_WINDOW"),
    ] {
        let answer = adapter(&answering(status, body).await).send(&[text(PERSON)]).await.remove(0);
        assert_eq!(said(&answer), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn any_success_is_one_for_a_template_and_its_id_is_found_where_it_is() {
    for (status, body, id) in [
        (200, r#"{"id":1873,"messages":[{"id":640021}]}"#, Some("640021")),
        (200, r#"{"conversation":{"id":1873,"messages":[{"id":"640021"}]}}"#, Some("640021")),
        (201, r#"{"message_id":640021}"#, Some("640021")),
        (200, r#"{"message":{"id":640021},"id":1873}"#, Some("640021")),
        (200, r#"{"id":1873}"#, None),
        (200, r#"{"conversation_id":1873,"messages":[]}"#, None),
        (200, "{}", None),
        (200, "[]", None),
        (204, "", None),
        (200, "<html>", None),
    ] {
        let answer = adapter(&answering(status, body).await).send(&[template(PERSON, &[])]).await.remove(0);
        assert_eq!(answer.outcome.unwrap().provider_message_id.as_deref(), id, "{status} {body}");
    }
}

#[test]
fn a_template_has_its_parameters_beside_the_fixed_members() {
    let adapter = adapter("http://127.0.0.1:1");
    let mut content = filled(&[("nome", "Marina"), ("vencimento", "12/01/2026"), ("contact.name", "M.")]);
    content.header = header(picture("https://files.example.test/b/2291.pdf"));
    content.buttons = vec![TemplateButton { index: 0, parameter: "2291".into(), kind: Default::default() }];
    let message = message(PERSON, Content::Template(content.clone()));
    assert_eq!(
        adapter.template(&message, &content).unwrap(),
        json!({
            "inbox_id": "58", "phone_number": "+5511987654321", "template_name": "boleto_disponivel",
            "header_attachment": "https://files.example.test/b/2291.pdf", "button_param_0": "2291",
            "nome": "Marina", "vencimento": "12/01/2026", "contact.name": "M.",
        })
    );
    let content = filled(&[("1", "Marina"), ("2", "x")]);
    let body = adapter.template(&message, &content).unwrap();
    assert_eq!((&body["1"], &body["2"]), (&json!("Marina"), &json!("x")));
}

#[tokio::test]
async fn what_would_become_something_else_is_not_sent() {
    let fake = fake([]).await;
    let reserved = template(PERSON, &[("inbox_id", "59"), ("button_param_1", "x"), ("nome", "Marina")]);
    let answer = adapter(&fake.base_url("cloudhumans")).send(&[reserved]).await.remove(0);
    let Err(SendError::Refused(error)) = answer.outcome else { panic!("{answer:?}") };
    assert_eq!(error.reason, ErrorReason::InvalidRequest);
    assert_eq!(error.provider_message, "parameters with reserved names: button_param_1, inbox_id");

    let with = |header| message(PERSON, Content::Template(crate::domain::content::Template { header, ..filled(&[]) }));
    let in_portuguese = {
        let content = filled(&[]);
        message(
            PERSON,
            Content::Template(crate::domain::content::Template { language_code: "pt_BR".into(), ..content }),
        )
    };
    let mut with_caption = picture("https://files.example.test/a");
    with_caption.caption = "not to be cut off".into();
    let by_id = Media { source: MediaSource::MediaId("7".into()), ..picture("") };
    let list = InteractiveAction::List(List { button: "Escolher".into(), sections: vec![] });
    let interactive = |footer: &str, action| {
        let (body, footer) = ("Vamos?".into(), footer.into());
        message(PERSON, Content::Interactive(Interactive { body, header: None, footer, action }))
    };
    let buttons = || InteractiveAction::ReplyButtons(vec![ReplyButton { id: "s".into(), title: "Sim".into() }]);
    for message in [
        with(Some(TemplateHeader::Text("x".into()))),
        with(Some(TemplateHeader::Location(Location::default()))),
        with(header(with_caption)),
        with(header(by_id)),
        in_portuguese.clone(),
        Outgoing { reply_to: Some("7".into()), ..template(PERSON, &[]) },
        Outgoing { reply_to: Some("wamid.HBgN".into()), ..text(PERSON) },
        message(PERSON, Content::Media(picture("https://files.example.test/a"))),
        message(PERSON, Content::Location(Location::default())),
        interactive("rodapé", buttons()),
        interactive("", list),
    ] {
        assert_eq!(send(&fake, &message).await, "refused NOT_SUPPORTED", "{message:?}");
    }
    assert_eq!(fake.ledger().requests, 0);

    let mut ignores = settings(&fake.base_url("cloudhumans"));
    ignores.ignore_language_code = true;
    assert_eq!(said(&adapter_of(ignores).send(&[in_portuguese]).await[0]), "taken");
    assert_eq!(send(&fake, &interactive("", buttons())).await, "taken");
}

#[test]
fn texts_and_buttons_take_chatwoots_form() {
    let text = text(PERSON).content;
    assert_eq!(
        free(&text, None).unwrap(),
        json!({ "content": "Seu pedido saiu para entrega.", "message_type": "outgoing", "private": false })
    );
    assert_eq!(free(&text, Some("640077")).unwrap()["content_attributes"], json!({ "in_reply_to": 640077 }));
    let action = InteractiveAction::ReplyButtons(vec![
        ReplyButton { id: "s".into(), title: "Sim".into() },
        ReplyButton { id: "n".into(), title: "Não".into() },
    ]);
    let buttons =
        Content::Interactive(Interactive { body: "Vamos?".into(), header: None, footer: String::new(), action });
    assert_eq!(
        free(&buttons, None).unwrap(),
        json!({
            "content": "Vamos?", "message_type": "outgoing", "private": false, "content_type": "input_select",
            "content_attributes": { "items": [{ "title": "Sim", "value": "s" }, { "title": "Não", "value": "n" }] },
        })
    );
}

#[tokio::test]
async fn only_an_open_conversation_is_written_into() {
    let fake = fake([]).await;
    for (to, expected) in [
        ("5511987654321", "taken"),
        ("5511987650404", "refused OUTSIDE_WINDOW"),
        ("5511987650403", "refused OUTSIDE_WINDOW"),
        ("5511987650402", "refused OUTSIDE_WINDOW"),
    ] {
        assert_eq!(send(&fake, &text(to)).await, expected, "{to}");
        assert_eq!(send(&fake, &template(to, &[])).await, "taken", "a template needs none: {to}");
        let number = PhoneNumber { given: to.into(), digits: to.into() };
        let adapter = adapter(&fake.base_url("cloudhumans"));
        let admitted = adapter.admits(&number, &text(to).content).await;
        assert_eq!(admitted.map_err(|error| error.reason).is_ok(), expected == "taken");
        assert_eq!(adapter.admits(&number, &template(to, &[]).content).await, Ok(()));
    }
    let away = adapter("http://127.0.0.1:1");
    let number = PhoneNumber { given: PERSON.into(), digits: PERSON.into() };
    assert_eq!(away.admits(&number, &text(PERSON).content).await, Ok(()), "the hand-over judges");
}

#[tokio::test]
async fn i16_a_person_is_found_under_the_other_form_of_the_number() {
    // Nine digits given, eight known, and a name that holds the number.
    let body = r#"{"payload":[
        {"id":1,"name":"+5511987654321","phone_number":"+5511900000000","inbox_id":59},
        {"id":7,"phone_number":"+551187654321","inbox_id":58,"status":"open"}]}"#;
    let base_url = answering(200, body).await;
    let adapter = adapter(&base_url);
    let number = PhoneNumber { given: PERSON.into(), digits: PERSON.into() };
    assert_eq!(adapter.open_conversation(&number).await.unwrap().id, "7");
}

#[tokio::test]
async fn no_secret_number_or_text_shows_in_a_trace() {
    let messages = [
        (template(PERSON, &[("nome", "Marina de Souza")]), "Marina de Souza"),
        (text(PERSON), "Seu pedido saiu para entrega."),
    ];
    for (message, words) in &messages {
        let all = format!("{TOKEN} cw_sample_secret_7Q {PERSON} {words}");
        for status in [200, 401, 404, 422, 500] {
            let forms =
                [all.clone(), json!({ "error": all }).to_string(), json!({ "id": 7, "content": all }).to_string()];
            for body in forms {
                let base_url = answering(status, &body).await;
                let shown = format!("{:?}", adapter(&base_url).send(std::slice::from_ref(message)).await);
                // A question says nothing of the text, so what is answered to it can quote none.
                let asked = status != 200 && matches!(message.content, Content::Text(_));
                for private in [TOKEN, "cw_sample", PERSON, words].into_iter().take(if asked { 3 } else { 4 }) {
                    assert!(!shown.contains(private), "{status} {private}: {shown}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_check_asks_for_the_inbox() {
    let fake = fake([]).await;
    let base_url = fake.base_url("cloudhumans");
    assert_eq!(adapter(&base_url).check().await, CheckOutcome::Working { detail: "inbox WhatsApp".into() });
    let mut other = settings(&base_url);
    other.inbox_id = "59".into();
    let CheckOutcome::Refused(error) = adapter_of(other).check().await else { panic!("refused") };
    assert_eq!(error.reason, ErrorReason::InvalidSender);
    fake.set_script(Script { api_key: Some("another".into()), ..Script::default() }).unwrap();
    let CheckOutcome::Refused(error) = adapter(&base_url).check().await else { panic!("refused") };
    assert_eq!(error.reason, ErrorReason::SenderUnauthorized);
    assert!(error.provider_message.contains("underscores"), "{error:?}");
    fake.stop().await;
    assert!(matches!(adapter(&base_url).check().await, CheckOutcome::Unreachable { .. }));
    let e_mail = answering(200, r#"{"id":58,"channel_type":"Channel::Email"}"#).await;
    let CheckOutcome::Refused(error) = adapter(&e_mail).check().await else { panic!("refused") };
    assert_eq!(error.reason, ErrorReason::InvalidSender);
}

#[tokio::test]
async fn settings_that_slipped_through_send_nothing() {
    let answers = adapter("not an address").send(&[template(PERSON, &[]), text(PERSON)]).await;
    assert_eq!(answers.iter().map(said).collect::<Vec<_>>(), vec!["refused INVALID_SENDER"; 2]);
}
