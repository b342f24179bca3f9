use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::content::{Content, Text};
use crate::domain::message::{InDoubtPolicy, NewMessage, Priority};
use crate::domain::{PhoneNumber, SenderId};

const EXPIRE: Millis = 100_000;
const LEASE: Millis = 1_000;
const WAIT: Duration = Duration::from_millis(500);

fn terms(policy: InDoubtPolicy, fallbacks: usize) -> Terms {
    let id = |n: usize| SenderId::trusted(format!("s-{n}"));
    let request = NewMessage {
        sender: id(0),
        to: PhoneNumber { given: "+351910000001".into(), digits: "351910000001".into() },
        content: Content::Text(Text { body: "x".into(), preview_url: false }),
        reply_to_message_id: None,
        send_at_ms: None,
        validity_ms: Some(EXPIRE),
        callback_data: String::new(),
        labels: BTreeMap::new(),
        priority: Priority::Normal,
        in_doubt_policy: policy,
        ignore_opt_out: false,
        ignore_known_failures: false,
        template_category: None,
        on_window_closed: Default::default(),
        callback_url: String::new(),
        fallback_senders: (1..=fallbacks).map(id).collect(),
    };
    Terms { expire_at_ms: request.expire_at(0), request, accept_at_ms: 0 }
}

/// As the store's claim does it.
fn claim(progress: &mut Progress, now: Millis) -> i64 {
    assert!(progress.ready && progress.claim.is_none());
    progress.status = MessageStatus::Sending;
    progress.attempt += 1;
    progress.attempt_start_at_ms = Some(now);
    progress.claim = Some(i64::from(progress.attempt));
    progress.ready = false;
    progress.due_at_ms = Some(now + LEASE);
    i64::from(progress.attempt)
}

fn claimed(fallbacks: usize) -> (Terms, Progress) {
    let terms = terms(InDoubtPolicy::AtMostOnce, fallbacks);
    let mut progress = Progress::accepted(&terms);
    claim(&mut progress, 0);
    (terms, progress)
}

fn error(reason: ErrorReason) -> DeliveryError {
    DeliveryError::ours(reason, "e", false)
}

fn report(status: MessageStatus, reason: ErrorReason) -> Note {
    let error = status.is_failure().then(|| error(reason));
    Note { status: Some(status), error, ..Note::default() }
}

#[test]
fn what_was_erased_is_handed_to_nobody() {
    let (mut terms, mut progress) = claimed(1);
    assert!(progress.has_next(&terms));
    terms.request.to = PhoneNumber { given: String::new(), digits: String::new() };
    assert!(!progress.has_next(&terms));
    progress.ended(1, 1, Next::Failed(error(ErrorReason::Billing)), &terms, 10);
    assert_eq!((progress.status, progress.turn), (MessageStatus::Failed, 0));
}

#[test]
fn a_move_is_one_step_with_the_end_of_the_attempt() {
    let (terms, mut progress) = claimed(1);
    progress.retries = 3;
    let step = progress.ended(1, 1, Next::Failed(error(ErrorReason::Billing)), &terms, 5);
    let (note, ended) = (step.note.unwrap(), step.ended.unwrap());
    assert_eq!((ended.number, ended.turn, ended.outcome), (1, 0, AttemptOutcome::Refused));
    assert_eq!((note.passed, note.status, note.turn, note.attempt), (true, Some(MessageStatus::Sending), 0, 1));
    assert_eq!((progress.turn, progress.passed_attempt, progress.retries), (1, 1, 0));
    assert!(progress.ready && progress.claim.is_none() && progress.holds_conversation());
    assert_eq!((progress.due_at_ms, progress.error), (Some(EXPIRE), Some(error(ErrorReason::Billing))));
}

#[test]
fn the_last_sender_ends_it_as_a_message_without_fallbacks() {
    for fallbacks in [0, 1] {
        let (terms, mut progress) = claimed(fallbacks);
        for number in 1..=fallbacks as i32 {
            progress.ended(number.into(), number, Next::Failed(error(ErrorReason::Billing)), &terms, 5);
            claim(&mut progress, 6);
        }
        let number = progress.attempt;
        let step = progress.ended(number.into(), number, Next::Failed(error(ErrorReason::InvalidSender)), &terms, 7);
        assert!(!step.note.unwrap().passed);
        assert_eq!((progress.status, progress.ready, progress.due_at_ms), (MessageStatus::Failed, false, None));
        assert_eq!(progress.error, Some(error(ErrorReason::InvalidSender)));
    }
}

#[test]
fn what_comes_too_late_for_the_validity_passes_nothing_on() {
    let (terms, mut progress) = claimed(1);
    progress.ended(1, 1, Next::Failed(error(ErrorReason::Billing)), &terms, EXPIRE);
    assert_eq!((progress.status, progress.turn), (MessageStatus::Failed, 0));
}

#[test]
fn a_retry_passes_on_when_it_would_be_too_late_or_after_five_tries_in_vain() {
    let again = |ms, reason| Next::RetryIn(Duration::from_millis(ms), error(reason));
    for (retries, next, turn) in [
        (0, again(EXPIRE as u64 - 6, ErrorReason::RateLimited), 0),
        (0, again(EXPIRE as u64 - 5, ErrorReason::RateLimited), 1),
        (0, again(u64::MAX, ErrorReason::RateLimited), 1),
        (0, again(u64::MAX, ErrorReason::RecipientCapped), 0),
        (3, again(10, ErrorReason::ProviderUnavailable), 0),
        (4, again(10, ErrorReason::ProviderUnavailable), 1),
        (40, again(10, ErrorReason::RateLimited), 0),
    ] {
        let (terms, mut progress) = claimed(1);
        progress.retries = retries;
        let step = progress.ended(1, 1, next.clone(), &terms, 5);
        assert_eq!((progress.turn, step.ended.unwrap().outcome), (turn, AttemptOutcome::NotTaken), "{next:?}");
    }
}

#[test]
fn who_is_skipped_leaves_an_attempt_that_says_why() {
    let terms = terms(InDoubtPolicy::AtMostOnce, 2);
    let mut progress = Progress::accepted(&terms);
    let step = progress.pass_by(&error(ErrorReason::SenderDeleted), &terms, 3).unwrap();
    let ended = step.ended.unwrap();
    assert_eq!((ended.number, ended.turn, ended.outcome), (1, 0, AttemptOutcome::Skipped));
    assert!(progress.ready);
    let number = claim(&mut progress, 4);
    let step = progress.ended(number, 2, Next::Spared(error(ErrorReason::NotSupported)), &terms, 5);
    assert_eq!((step.ended.unwrap().outcome, progress.turn), (AttemptOutcome::Skipped, 2));
    let number = claim(&mut progress, 6);
    let step = progress.ended(number, 3, Next::Spared(error(ErrorReason::NotSupported)), &terms, 7);
    assert_eq!((step.ended.unwrap().outcome, progress.status), (AttemptOutcome::Skipped, MessageStatus::Failed));
    assert_eq!(progress.attempt, 3);
    assert!(progress.clone().pass_by(&error(ErrorReason::Billing), &terms, 8).is_none(), "it has ended");
}

#[test]
fn one_that_waits_for_its_send_time_waits_for_it_at_the_next_sender() {
    let mut terms = terms(InDoubtPolicy::AtMostOnce, 1);
    terms.request.send_at_ms = Some(50);
    let mut progress = Progress::accepted(&terms);
    progress.pass_by(&error(ErrorReason::SenderDeleted), &terms, 3).unwrap();
    assert_eq!((progress.status, progress.turn, progress.due_at_ms), (MessageStatus::Scheduled, 1, Some(50)));
    assert!(!progress.ready);
    progress.timer(&terms, 50, WAIT);
    assert!(progress.ready);
}

#[test]
fn o8_a_failure_that_is_repeated_after_the_move_changes_nothing() {
    let (terms, mut progress) = claimed(1);
    progress.ended(1, 1, Next::Sent(Some("p".into())), &terms, 5);
    let step = progress.reported(1, report(MessageStatus::Failed, ErrorReason::Billing), &terms, 6);
    assert!(step.note.unwrap().passed);
    let before = progress.clone();
    let step = progress.reported(1, report(MessageStatus::Failed, ErrorReason::InvalidSender), &terms, 7);
    assert!(step.note.unwrap().fold.unwrap().duplicate);
    assert_eq!(progress, before);
}

/// What may happen to a message, in any order.
#[derive(Debug, Clone)]
enum Happens {
    Claimed,
    Ended(Next),
    /// About one of the attempts, counted from the last.
    Reported(usize, MessageStatus, ErrorReason),
    Time(Millis),
    PassedBy,
    Cancelled,
}

fn happens() -> impl Strategy<Value = Happens> {
    let reason = prop_oneof![
        Just(ErrorReason::Billing),
        Just(ErrorReason::NotOnWhatsapp),
        Just(ErrorReason::Unknown),
        Just(ErrorReason::ProviderUnavailable),
    ];
    let next = (0..7_u8, reason.clone()).prop_map(|(kind, reason)| match kind {
        0 | 1 => Next::Sent(Some("p".into())),
        2 => Next::RetryIn(Duration::from_millis(200), error(reason)),
        3 => Next::InDoubt(error(ErrorReason::OutcomeUnknown)),
        4 => Next::Spared(error(reason)),
        _ => Next::Failed(error(reason)),
    });
    let status = prop_oneof![
        Just(MessageStatus::Sent),
        Just(MessageStatus::Delivered),
        Just(MessageStatus::Read),
        Just(MessageStatus::Failed),
        Just(MessageStatus::Failed),
        Just(MessageStatus::Expired),
    ];
    prop_oneof![
        4 => Just(Happens::Claimed),
        4 => next.prop_map(Happens::Ended),
        4 => (0..3_usize, status, reason).prop_map(|(back, status, reason)| Happens::Reported(back, status, reason)),
        2 => (0..40_000_i64).prop_map(Happens::Time),
        1 => Just(Happens::PassedBy),
        1 => Just(Happens::Cancelled),
    ]
}

/// A message and what is known of it beside: whose each attempt was, and whether the last is in doubt.
struct Model {
    terms: Terms,
    progress: Progress,
    now: Millis,
    turns: Vec<usize>,
}

impl Model {
    /// Lets it happen, when it can; answers the event.
    fn step(&mut self, happens: &Happens) -> Option<Note> {
        let Self { terms, progress, now, turns } = self;
        let step = match happens {
            Happens::Claimed if progress.ready => {
                claim(progress, *now);
                turns.truncate(progress.attempt as usize - 1);
                turns.push(progress.turn);
                Step::default()
            }
            Happens::Ended(next) => match progress.claim {
                Some(claim) => progress.ended(claim, progress.attempt, next.clone(), terms, *now),
                None => Step::default(),
            },
            Happens::Reported(back, status, reason) => match progress.attempt - *back as i32 {
                number if number >= 1 => progress.reported(number, report(*status, *reason), terms, *now),
                _ => Step::default(),
            },
            Happens::Time(ms) => {
                *now += ms;
                progress.timer(terms, *now, WAIT)
            }
            Happens::PassedBy => {
                let step = progress.pass_by(&error(ErrorReason::ProviderUnavailable), terms, *now);
                turns.truncate(progress.attempt as usize);
                turns.resize(progress.attempt as usize, progress.turn.saturating_sub(1));
                step.unwrap_or_default()
            }
            Happens::Cancelled => progress.cancel(*now).unwrap_or_default(),
            Happens::Claimed => Step::default(),
        };
        if let Some(ended) = &step.ended {
            assert_eq!(ended.turn, turns[ended.number as usize - 1], "an attempt is of the sender that made it");
        }
        step.note
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn o16_o8_no_order_of_events_sends_twice_in_silence(
        at_least_once in any::<bool>(),
        fallbacks in 0..3_usize,
        all in proptest::collection::vec(happens(), 1..60),
    ) {
        let policy = if at_least_once { InDoubtPolicy::AtLeastOnce } else { InDoubtPolicy::AtMostOnce };
        let terms = terms(policy, fallbacks);
        let progress = Progress::accepted(&terms);
        let mut model = Model { terms, progress, now: 0, turns: Vec::new() };
        for happens in &all {
            let before = model.progress.clone();
            let note = model.step(happens);
            let after = &model.progress;

            let moved = after.turn - before.turn;
            prop_assert_eq!(moved == 1, note.as_ref().is_some_and(|note| note.passed), "each move is an event, and one step");
            prop_assert!(moved <= 1 && after.turn <= fallbacks);
            if moved == 1 {
                prop_assert!(model.now < EXPIRE && !before.seen.has_delivery());
                let by_report = matches!(happens, Happens::Reported(..));
                prop_assert!(before.status != MessageStatus::InDoubt || by_report || at_least_once, "moved in doubt");
                prop_assert!(!before.status.is_failure() && !before.status.is_delivery());
            }
            prop_assert!(!after.ready || (after.claim.is_none() && !after.seen.has_delivery()), "{:?}", after);
            if before.status.is_delivery() {
                prop_assert!(after.status.is_delivery());
            }
            if before.status.is_failure() {
                prop_assert!(after.status.is_failure() || after.status.is_delivery(), "it left what is final");
            }
            if let Happens::Reported(back, status, _) = happens
                && before.attempt - *back as i32 >= 1
                && before.attempt - *back as i32 <= before.passed_attempt
                && !status.is_delivery()
            {
                let same = Progress { seen: after.seen, ..before.clone() };
                prop_assert_eq!(&same, after, "an earlier sender's word");
            }
            if after.status.is_waiting() || after.ready {
                prop_assert!(after.due_at_ms.is_some(), "nobody would come back to it: {:?}", after);
            }
        }
    }
}
