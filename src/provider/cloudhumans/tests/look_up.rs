//! Asking what became of a message.

use serde_json::json;

use super::{adapter, answering, fake, template, text};
use crate::domain::{MessageStatus, now_ms};
use crate::fake::{Action, FakeProvider, Fault, Script, Step};
use crate::provider::{AskError, HandedOver, Outgoing, Provider as _, Report, StatusReport};

const PERSON: &str = "5511987654321";

fn handed_over(message: &Outgoing, provider_message_id: Option<&str>) -> HandedOver {
    HandedOver {
        message_id: message.message_id,
        provider_message_id: provider_message_id.map(str::to_owned),
        to: message.to.clone(),
        content: message.content.clone(),
        attempt_start_at_ms: now_ms(),
    }
}

async fn asked(fake: &FakeProvider, message: &HandedOver) -> Option<StatusReport> {
    match adapter(&fake.base_url("cloudhumans")).look_up(message).await.unwrap().pop() {
        None => None,
        Some(Report::Status(status)) => Some(status),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_message_with_an_id_is_found_by_it() {
    let fake = fake([]).await;
    let adapter = adapter(&fake.base_url("cloudhumans"));
    let message = text(PERSON);
    adapter.send(&[text(PERSON)]).await;
    let answer = adapter.send(std::slice::from_ref(&message)).await.remove(0);
    let id = answer.outcome.unwrap().provider_message_id.unwrap();
    let handed_over = handed_over(&message, Some(&id));
    assert_eq!(asked(&fake, &handed_over).await, None, "sent is no news");
    for (word, status) in [("DELIVERED", MessageStatus::Delivered), ("READ", MessageStatus::Read)] {
        let step = Step { status: word.into(), after_ms: 0, error_code: 0 };
        fake.set_script(Script { statuses: vec![step], ..Script::default() }).unwrap();
        let report = asked(&fake, &handed_over).await.unwrap();
        assert_eq!((report.status, report.provider_message_id.as_deref()), (Some(status), Some(&*id)));
        assert_eq!(report.message_id, None);
    }
    let faults = vec![Fault::always(Action::LateFailure { error_code: 131_026 }).to(PERSON)];
    fake.set_script(Script { faults, ..Script::default() }).unwrap();
    let report = asked(&fake, &handed_over).await.unwrap();
    assert_eq!((report.status, report.error.unwrap().provider_code.as_str()), (Some(MessageStatus::Failed), "131026"));
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_found_by_its_words() {
    let fake = fake([Fault::always(Action::DropAfterAccept)]).await;
    let adapter = adapter(&fake.base_url("cloudhumans"));
    let messages = [text(PERSON), template(PERSON, &[("nome", "Marina"), ("vencimento", "12/01/2026")])];
    adapter.send(&messages).await;
    adapter.send(&[template(PERSON, &[("nome", "Rui"), ("vencimento", "12/01/2026")])]).await;
    for (message, row) in messages.iter().zip(fake.rows()) {
        let report = asked(&fake, &handed_over(message, None)).await.unwrap();
        assert_eq!(report.message_id, Some(message.message_id));
        assert_eq!(report.provider_message_id.as_ref(), Some(&row.provider_message_ids[0]));
        assert_eq!(report.status, Some(MessageStatus::Sent), "it is there, so it was taken");
    }
}

#[tokio::test]
async fn where_there_is_a_doubt_which_one_it_is_none_is_taken() {
    let fake = fake([]).await;
    let adapter = adapter(&fake.base_url("cloudhumans"));
    let twice = text(PERSON);
    assert_eq!(asked(&fake, &handed_over(&twice, None)).await, None, "nothing is there");
    adapter.send(&[text(PERSON)]).await;
    let long_ago = HandedOver { attempt_start_at_ms: now_ms() - 600_000, ..handed_over(&twice, None) };
    assert_eq!(asked(&fake, &long_ago).await, None, "made long after");
    assert!(asked(&fake, &handed_over(&twice, None)).await.is_some());
    adapter.send(&[text(PERSON)]).await;
    assert_eq!(asked(&fake, &handed_over(&twice, None)).await, None, "two with the same words");
}

#[tokio::test]
async fn what_a_person_wrote_or_agents_noted_is_never_taken_for_ours() {
    let message = text(PERSON);
    for (kind, private, found) in
        [(1, false, true), (3, false, true), (0, false, false), (2, false, false), (1, true, false)]
    {
        // One answer to all questions: a contact, its conversation, the messages in it.
        let body = json!({ "payload": [{
            "id": 640_021, "phone_number": format!("+{PERSON}"), "inbox_id": 58, "message_type": kind, "private": private,
            "content": "Seu pedido saiu para entrega.", "created_at": now_ms() / 1_000, "status": "sent",
        }] });
        // The number is looked for in two forms, of which one is there.
        let base_url = answering(200, &body.to_string()).await;
        let reports = adapter(&base_url).look_up(&handed_over(&message, None)).await.unwrap();
        assert_eq!(reports.len(), usize::from(found), "{kind} {private}");
    }
}

#[tokio::test]
async fn a_question_in_vain_says_why() {
    let message = handed_over(&text(PERSON), Some("7"));
    let ask = async |status, body| adapter(&answering(status, body).await).look_up(&message).await;
    assert!(matches!(ask(500, "").await, Err(AskError::Unreachable(_))));
    assert!(matches!(ask(200, "<html>").await, Err(AskError::Unreachable(_))));
    assert!(matches!(ask(401, "").await, Err(AskError::Refused(_))));
    assert_eq!(ask(200, r#"{"payload":[]}"#).await, Ok(vec![]));
}
