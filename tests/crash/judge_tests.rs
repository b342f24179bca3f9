//! Whether the judge would notice.

use std::collections::{HashMap, HashSet};

use recado::domain::Cursor;
use recado::fake::Row;
use recado::proto::event::Payload;
use recado::proto::{
    Attempt, AttemptOutcome, DeliveryError, DeliveryErrorReason, Event, MessageStatus, MessageStatusChanged,
};

use crate::judge::{Evidence, judge};
use crate::load::Sent;

/// A message's statuses, all of attempt 1 but the first.
fn events(log: &mut Vec<Event>, message_id: &str, statuses: &[MessageStatus]) {
    for status in statuses {
        let change = MessageStatusChanged {
            message_id: message_id.into(),
            status: *status as i32,
            current_status: *status as i32,
            attempt: i32::from(*status != MessageStatus::Accepted),
            ..Default::default()
        };
        let position = log.len() as i64 + 1;
        log.push(Event {
            cursor: Cursor { epoch: 1, position }.to_string(),
            event_id: position.to_string(),
            payload: Some(Payload::StatusChanged(change)),
            ..Default::default()
        });
    }
}

fn row(message_id: &str, order: u64, times: u32) -> Row {
    let provider_message_ids = vec![String::new(); times as usize];
    let (text, to) = (format!("key {message_id}"), "351910000001".into());
    Row { message_id: message_id.into(), provider_message_ids, to, times, order, at_ms: 0, text }
}

fn sent(message_id: &str, at_least_once: bool) -> Sent {
    Sent { message_id: message_id.into(), key: format!("key {message_id}"), to: "351910000001".into(), at_least_once }
}

/// `a` and `b` went well; `c` was in the middle of its call when the gateway was killed, and never taken.
fn evidence() -> Evidence {
    use MessageStatus::{Accepted, Failed, InDoubt, Read, Sent};
    let mut listed = Vec::new();
    events(&mut listed, "a", &[Accepted, Sent, Read]);
    events(&mut listed, "b", &[Accepted, InDoubt, Read]);
    events(&mut listed, "c", &[Accepted, InDoubt, Failed]);
    let Some(Payload::StatusChanged(last)) = &mut listed.last_mut().unwrap().payload else { unreachable!() };
    let reason = DeliveryErrorReason::OutcomeUnknown as i32;
    last.error = Some(DeliveryError { reason, ..Default::default() });
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let outcome = AttemptOutcome::InDoubt as i32;
    let attempt = Attempt { outcome, start_time: time(1), end_time: time(3), ..Default::default() };
    Evidence {
        sent: vec![sent("a", false), sent("b", true), sent("c", false)],
        incoming: Vec::new(),
        streamed: listed.clone(),
        listed,
        ledger: vec![row("a", 1, 1), row("b", 2, 1)],
        statuses: HashMap::from([("a".into(), Read), ("b".into(), Read), ("c".into(), Failed)]),
        attempts: HashMap::from([("c".into(), vec![attempt])]),
        kills: vec![2_000],
        unanswered: HashSet::new(),
    }
}

#[test]
fn the_judge_acquits_what_went_well() {
    let verdict = judge(&evidence());
    assert_eq!(verdict.faults, Vec::<String>::new());
    assert_eq!((verdict.accepted, verdict.by_status, verdict.given_up), (3, 1, 1));
}

#[test]
fn the_judge_believes_a_provider_that_did_not_say_that_it_took_nothing() {
    let mut evidence = evidence();
    evidence.kills.clear();
    evidence.unanswered.insert("c".into());
    assert_eq!(judge(&evidence).faults, Vec::<String>::new());
}

#[test]
fn the_judge_notices_every_broken_promise() {
    type Breach = fn(&mut Evidence);
    let breaches: &[(&str, &str, Breach)] = &[
        ("a message lost", "never handed over", |e| drop(e.ledger.remove(0))),
        ("a doubt without a kill", "never handed over", |e| e.kills = vec![5_000]),
        ("a doubt that nothing ended", "never handed over", |e| {
            e.statuses.extend([("c".into(), MessageStatus::InDoubt)]);
        }),
        ("given up for another reason", "never handed over", |e| {
            let Some(Payload::StatusChanged(last)) = &mut e.listed.last_mut().unwrap().payload else { unreachable!() };
            last.error = Some(DeliveryError { reason: DeliveryErrorReason::Expired as i32, ..Default::default() });
        }),
        ("a doubt under AT_LEAST_ONCE that is given up", "never handed over", |e| e.sent[2].at_least_once = true),
        ("twice", "handed over 2 times", |e| e.ledger[0].times = 2),
        ("twice under AT_MOST_ONCE, though in doubt", "handed over 2 times", |e| {
            e.sent[1].at_least_once = false;
            e.ledger[1].times = 2;
        }),
        ("more often than it was in doubt", "handed over 3 times", |e| e.ledger[1].times = 3),
        ("another text", "something else", |e| e.ledger[0].text.push('!')),
        ("a status lost", "stands as Sent", |e| e.statuses.extend([("a".into(), MessageStatus::Sent)])),
        ("a message of nobody's", "no caller sent it", |e| e.ledger.push(row("z", 3, 1))),
        ("two keys, one message", "two keys", |e| e.sent.push(sent("a", false))),
        ("an event missing from the stream", "differs from the log at 1", |e| drop(e.streamed.remove(1))),
        ("an event streamed twice", "differs from the log at 3", |e| e.streamed.insert(3, e.streamed[2].clone())),
        ("the end of the stream missing", "differs from the log at 8", |e| drop(e.streamed.pop())),
        ("a gap in the log", "has a gap", |e| drop(e.listed.remove(1))),
        ("an event id twice", "is there twice", |e| e.listed[1].event_id = "1".into()),
        ("no ACCEPTED", "its first event", |e| drop(e.listed.remove(0))),
        ("overtaken", "overtaken", |e| {
            let mut listed = Vec::new();
            events(&mut listed, "b", &[MessageStatus::Accepted, MessageStatus::Read]);
            events(&mut listed, "a", &[MessageStatus::Accepted, MessageStatus::Read]);
            e.listed = listed;
        }),
        ("an incoming message lost", "not in the log once", |e| e.incoming.push("hi".into())),
    ];
    for (name, words, breach) in breaches {
        let mut evidence = evidence();
        breach(&mut evidence);
        let faults = judge(&evidence).faults;
        assert!(faults.iter().any(|fault| fault.contains(words)), "{name}: {faults:?}");
    }
}
