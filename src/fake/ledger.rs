//! What the fake provider was really handed: the judge of what was lost and what was sent twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use crate::domain::Millis;

/// The ledger in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Requests to send, whatever became of them.
    pub requests: u64,
    /// Messages in the largest of them.
    pub largest_batch: usize,
    /// Messages in requests, whatever became of them.
    pub seen: u64,
    /// Messages taken, each time counted.
    pub taken: u64,
    /// Messages taken, each counted once.
    pub distinct: u64,
    /// Ids of those taken more than once.
    pub twice: Vec<String>,
    /// Messages refused one by one.
    pub refused: u64,
}

/// One message that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The sender's id of it (`callbackData` at Devino); empty when it gave none.
    pub message_id: String,
    /// The provider's ids: one for each time.
    pub provider_message_ids: Vec<String>,
    /// Who is written to.
    pub to: String,
    /// How many times it was taken.
    pub times: u32,
    /// Its place in the order of taking, from 1.
    pub order: u64,
    /// When it was first taken.
    pub at_ms: Millis,
    /// Its text; of a template or a file without text, the template's id or the address.
    pub text: String,
}

/// A row, small: there may be hundreds of thousands.
#[derive(Debug)]
struct Entry {
    message_id: Arc<str>,
    provider_ids: Vec<Box<str>>,
    to: Box<str>,
    order: u64,
    at_ms: Millis,
    text: Box<str>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    counts: Summary,
    entries: Vec<Entry>,
    by_message_id: HashMap<Arc<str>, usize>,
    times_to: HashMap<Box<str>, u32>,
    unanswered: HashSet<Box<str>>,
}

impl Ledger {
    /// Notes a request; gives for each of its messages how many its number was sent before, this one included.
    pub fn request<'a>(&mut self, recipients: impl ExactSizeIterator<Item = &'a str>) -> Vec<u32> {
        self.counts.requests += 1;
        self.counts.seen += recipients.len() as u64;
        self.counts.largest_batch = self.counts.largest_batch.max(recipients.len());
        recipients
            .map(|to| match self.times_to.get_mut(to) {
                Some(times) => {
                    *times += 1;
                    *times
                }
                None => {
                    self.times_to.insert(to.into(), 1);
                    1
                }
            })
            .collect()
    }

    /// Notes a message that was refused by itself.
    pub fn refused(&mut self) {
        self.counts.refused += 1;
    }

    /// Notes a message that was taken.
    pub fn taken(&mut self, message_id: &str, provider_id: &str, to: &str, text: &str, at_ms: Millis) {
        self.counts.taken += 1;
        if !message_id.is_empty()
            && let Some(&known) = self.by_message_id.get(message_id)
        {
            let entry = &mut self.entries[known];
            entry.provider_ids.push(provider_id.into());
            if entry.provider_ids.len() == 2 {
                self.counts.twice.push(message_id.to_owned());
            }
            return;
        }
        self.counts.distinct += 1;
        let message_id: Arc<str> = message_id.into();
        self.by_message_id.insert(message_id.clone(), self.entries.len());
        self.entries.push(Entry {
            message_id,
            provider_ids: vec![provider_id.into()],
            to: to.into(),
            order: self.counts.taken,
            at_ms,
            text: text.into(),
        });
    }

    /// Notes a message of a request that was not taken and got no answer that says so: whoever sent it must be in doubt.
    pub fn unanswered(&mut self, message_id: &str) {
        self.unanswered.insert(message_id.into());
    }

    pub fn unanswered_ids(&self) -> HashSet<String> {
        self.unanswered.iter().map(|id| id.to_string()).collect()
    }

    pub fn summary(&self) -> Summary {
        self.counts.clone()
    }

    pub fn rows(&self) -> Vec<Row> {
        let row = |entry: &Entry| Row {
            message_id: entry.message_id.to_string(),
            provider_message_ids: entry.provider_ids.iter().map(|id| id.to_string()).collect(),
            to: entry.to.to_string(),
            times: entry.provider_ids.len() as u32,
            order: entry.order,
            at_ms: entry.at_ms,
            text: entry.text.to_string(),
        };
        self.entries.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_twice_is_named_once() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.request(["1", "2", "1"].into_iter()), [1, 1, 2]);
        for (id, provider_id) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4"), ("", "5"), ("", "6")] {
            ledger.taken(id, provider_id, "1", "hi", 0);
        }
        let summary = ledger.summary();
        assert_eq!((summary.seen, summary.taken, summary.distinct), (3, 6, 4));
        assert_eq!(summary.twice, ["a"]);
        let rows = ledger.rows();
        assert_eq!((rows[0].times, rows[0].order), (3, 1));
        assert_eq!(rows[0].provider_message_ids, ["1", "3", "4"]);
    }
}
