//! The judge: from what callers heard, what the provider was handed and what the log says, whether a promise was broken.

use std::collections::{HashMap, HashSet};

use recado::domain::{Cursor, Millis};
use recado::fake::Row;
use recado::proto;
use recado::proto::{AttemptOutcome, DeliveryErrorReason, Event, MessageStatus, MessageStatusChanged};

use crate::load::Sent;

/// All that is known when everything has come to rest.
#[derive(Debug, Default)]
pub struct Evidence {
    /// What callers heard OK for.
    pub sent: Vec<Sent>,
    /// Texts of the messages that people sent.
    pub incoming: Vec<String>,
    /// The log, read from the beginning by pages.
    pub listed: Vec<Event>,
    /// The log, as a subscriber got it over all its streams.
    pub streamed: Vec<Event>,
    /// What the provider took.
    pub ledger: Vec<Row>,
    /// Where the gateway says that messages stand.
    pub statuses: HashMap<String, MessageStatus>,
    /// Attempts of the messages that the provider never took.
    pub attempts: HashMap<String, Vec<proto::Attempt>>,
    /// When a gateway was killed.
    pub kills: Vec<Millis>,
    /// Messages that the provider got, did not take, and did not say so.
    pub unanswered: HashSet<String>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Verdict {
    pub accepted: usize,
    pub events: usize,
    /// Accepted, not taken by the provider, and not in doubt by right.
    pub lost: usize,
    /// Taken twice without having been in doubt under AT_LEAST_ONCE.
    pub twice: usize,
    /// In doubt, and settled by the provider's statuses.
    pub by_status: usize,
    /// In doubt under AT_LEAST_ONCE, and sent again; the provider had not got it the first time.
    pub sent_again: usize,
    /// The same, but it had.
    pub got_both: usize,
    /// In doubt under AT_MOST_ONCE, never taken: waited for word, then failed with OUTCOME_UNKNOWN.
    pub given_up: usize,
    /// Every broken promise, in words.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Messages that were in doubt.
    pub fn in_doubt(&self) -> usize {
        self.by_status + self.sent_again + self.got_both + self.given_up
    }
}

/// Judges.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict { accepted: evidence.sent.len(), events: evidence.listed.len(), ..Verdict::default() };
    the_stream_is_the_log(evidence, &mut verdict);
    let histories = histories(&evidence.listed);
    every_message_was_handed_over_once(evidence, &histories, &mut verdict);
    nothing_comes_from_nowhere(evidence, &histories, &mut verdict);
    conversations_keep_their_order(evidence, &histories, &mut verdict);
    every_incoming_message_is_there_once(evidence, &mut verdict);
    verdict
}

/// The statuses of each message in the order of the log.
type Histories<'a> = HashMap<&'a str, Vec<&'a MessageStatusChanged>>;

fn histories(events: &[Event]) -> Histories<'_> {
    let mut histories: Histories<'_> = HashMap::new();
    for event in events {
        if let Some(proto::event::Payload::StatusChanged(status)) = &event.payload {
            histories.entry(&status.message_id).or_default().push(status);
        }
    }
    histories
}

fn the_stream_is_the_log(evidence: &Evidence, verdict: &mut Verdict) {
    let (listed, streamed) = (&evidence.listed, &evidence.streamed);
    if let Some(place) = (0..listed.len().max(streamed.len())).find(|&i| listed.get(i) != streamed.get(i)) {
        verdict.faults.push(format!(
            "the stream differs from the log at {place}: {:?} instead of {:?}",
            streamed.get(place),
            listed.get(place)
        ));
    }
    let mut ids = HashSet::new();
    for (place, event) in listed.iter().enumerate() {
        if !ids.insert(&event.event_id) {
            verdict.faults.push(format!("event {} is there twice", event.event_id));
        }
        let position = event.cursor.parse::<Cursor>().map(|cursor| cursor.position);
        if position != Ok(place as i64 + 1) {
            verdict.faults.push(format!("event {place} stands at {position:?}: the log has a gap"));
        }
    }
}

fn every_message_was_handed_over_once(evidence: &Evidence, histories: &Histories<'_>, verdict: &mut Verdict) {
    let ledger: HashMap<&str, &Row> = evidence.ledger.iter().map(|row| (row.message_id.as_str(), row)).collect();
    for sent in &evidence.sent {
        let none = Vec::new();
        let history = histories.get(sent.message_id.as_str()).unwrap_or(&none);
        let doubts = history.iter().filter(|change| change.status() == MessageStatus::InDoubt).count();
        let mut fault = |what: String| verdict.faults.push(format!("{} ({}): {what}", sent.key, sent.message_id));
        check_history(history, &mut fault);
        let status = evidence.statuses.get(&sent.message_id).copied().unwrap_or_default();
        if history.last().is_none_or(|last| last.current_status() != status) {
            fault(format!("stands as {status:?}, but the log says {:?}", history.last()));
        }
        match ledger.get(sent.message_id.as_str()) {
            Some(row) => {
                if (row.text.as_str(), row.to.as_str()) != (&sent.key, &sent.to) {
                    fault(format!("the provider got something else: {row:?}"));
                }
                if status != MessageStatus::Read {
                    fault(format!("was taken and reported READ, but stands as {status:?}"));
                }
                let times = row.times as usize;
                if times > 1 && !(sent.at_least_once && doubts >= times - 1) {
                    fault(format!("was handed over {times} times; in doubt {doubts} times"));
                    verdict.twice += 1;
                }
                match (doubts, times) {
                    (0, _) => {}
                    (_, 1) if history.iter().all(|change| change.attempt < 2) => verdict.by_status += 1,
                    (_, 1) => verdict.sent_again += 1,
                    _ => verdict.got_both += 1,
                }
            }
            None if gave_up(history, status) && is_in_doubt_by_right(evidence, sent) => verdict.given_up += 1,
            None => {
                fault(format!("was accepted and never handed over; it stands as {status:?}"));
                verdict.lost += 1;
            }
        }
    }
}

/// ACCEPTED comes first and once; an attempt is SENT once; only reports of the provider may repeat a status.
fn check_history(history: &[&MessageStatusChanged], fault: &mut impl FnMut(String)) {
    let times = |status| history.iter().filter(|change| change.status() == status).count();
    if history.first().is_none_or(|first| first.status() != MessageStatus::Accepted) {
        fault(format!("its first event is {:?}", history.first()));
    }
    if times(MessageStatus::Accepted) != 1 {
        fault(format!("accepted {} times", times(MessageStatus::Accepted)));
    }
    let mut attempts = HashSet::new();
    for change in history.iter().filter(|change| change.status() == MessageStatus::Sent) {
        if !attempts.insert(change.attempt) {
            fault(format!("attempt {} is SENT twice", change.attempt));
        }
    }
    let mut reported = HashSet::new();
    for change in history.iter().filter(|change| !change.duplicate && !change.late) {
        if !reported.insert((change.status, change.attempt)) {
            fault(format!("{:?} of attempt {} is there twice and not marked", change.status(), change.attempt));
        }
    }
}

/// Whether the policy ended the doubt: a day passed without word.
fn gave_up(history: &[&MessageStatusChanged], status: MessageStatus) -> bool {
    let reason = history.last().and_then(|last| last.error.as_ref()).map(|error| error.reason());
    status == MessageStatus::Failed && reason == Some(DeliveryErrorReason::OutcomeUnknown)
}

/// A message that the provider never took may be in doubt only under AT_MOST_ONCE, and only because a gateway was killed
/// between the start of its last attempt and the moment when that was noticed, or because the provider did not say that it
/// had not taken it.
fn is_in_doubt_by_right(evidence: &Evidence, sent: &Sent) -> bool {
    let attempts = evidence.attempts.get(&sent.message_id).map(Vec::as_slice).unwrap_or_default();
    let Some(attempt) = attempts.last() else { return false };
    let (Some(start), end) = (attempt.start_time.map(millis), attempt.end_time.map_or(Millis::MAX, millis)) else {
        return false;
    };
    !sent.at_least_once
        && attempt.outcome() == AttemptOutcome::InDoubt
        && (evidence.kills.iter().any(|kill| (start..=end).contains(kill))
            || evidence.unanswered.contains(&sent.message_id))
}

/// A time as the kills have it.
pub fn millis(time: prost_types::Timestamp) -> Millis {
    time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
}

fn nothing_comes_from_nowhere(evidence: &Evidence, histories: &Histories<'_>, verdict: &mut Verdict) {
    let mut known = HashSet::new();
    for sent in &evidence.sent {
        if !known.insert(sent.message_id.as_str()) {
            verdict.faults.push(format!("{} is the answer to two keys", sent.message_id));
        }
    }
    for row in evidence.ledger.iter().filter(|row| !known.contains(row.message_id.as_str())) {
        verdict.faults.push(format!("handed over, but no caller sent it: {row:?}"));
    }
    for id in histories.keys().filter(|id| !known.contains(*id)) {
        verdict.faults.push(format!("in the log, but no caller sent it: {id}"));
    }
}

/// Messages to one person are handed over in the order of acceptance, those left out that were in doubt.
fn conversations_keep_their_order(evidence: &Evidence, histories: &Histories<'_>, verdict: &mut Verdict) {
    let accepted: HashMap<&str, usize> = evidence
        .listed
        .iter()
        .enumerate()
        .filter_map(|(place, event)| match &event.payload {
            Some(proto::event::Payload::StatusChanged(change)) if change.status() == MessageStatus::Accepted => {
                Some((change.message_id.as_str(), place))
            }
            _ => None,
        })
        .collect();
    let mut last: HashMap<&str, usize> = HashMap::new();
    for row in &evidence.ledger {
        let id = row.message_id.as_str();
        let in_doubt = |history: &Vec<&MessageStatusChanged>| {
            history.iter().any(|change| change.status() == MessageStatus::InDoubt)
        };
        let (Some(&place), false) = (accepted.get(id), histories.get(id).is_none_or(in_doubt)) else { continue };
        if last.insert(&row.to, place).is_some_and(|before| before > place) {
            verdict.faults.push(format!("{} was overtaken by a later message: {row:?}", row.text));
        }
    }
}

fn every_incoming_message_is_there_once(evidence: &Evidence, verdict: &mut Verdict) {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for event in &evidence.listed {
        if let Some(text) = incoming_text(event) {
            *times.entry(text).or_default() += 1;
        }
    }
    for text in &evidence.incoming {
        if times.remove(text.as_str()) != Some(1) {
            verdict.faults.push(format!("{text}: not in the log once"));
        }
    }
    verdict.faults.extend(times.keys().map(|text| format!("{text}: in the log, but nobody wrote it")));
}

/// What a person wrote.
pub fn incoming_text(event: &Event) -> Option<&str> {
    use proto::incoming_message::Content;
    match &event.payload {
        Some(proto::event::Payload::IncomingMessage(incoming)) => match &incoming.content {
            Some(Content::Text(text)) => Some(&text.body),
            _ => Some("not a text"),
        },
        _ => None,
    }
}
