//! What the fake provider is told to do: JSON by `PUT /_control/script`, or this struct in process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A whole script. What is left out has its default; a misspelt member is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Same seed and same messages: the same faults.
    pub seed: u64,
    /// Time between taking a request and answering it, in milliseconds.
    pub latency_ms: u64,
    /// The only key that passes; nothing: any.
    pub api_key: Option<String>,
    /// The only sender names that pass; empty: any.
    pub senders: Vec<String>,
    /// What an operator has set up at each provider, by its name.
    pub accounts: BTreeMap<String, Account>,
    /// What happens to a message that was taken, and when.
    pub statuses: Vec<Step>,
    /// How statuses are posted.
    pub webhooks: Webhooks,
    /// What goes wrong. Of those that fit a request, and of those that fit a message, the first acts.
    pub faults: Vec<Fault>,
}

impl Default for Script {
    fn default() -> Self {
        let step = |status: &str, after_ms| Step { status: status.into(), after_ms, error_code: 0 };
        Self {
            seed: 0,
            latency_ms: 0,
            api_key: None,
            senders: Vec::new(),
            accounts: BTreeMap::new(),
            statuses: vec![step("DELIVERED", 20), step("READ", 40)],
            webhooks: Webhooks::default(),
            faults: Vec::new(),
        }
    }
}

/// What an operator has set up at a provider, where messages do not say it themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Account {
    /// Where statuses go, and incoming messages that name no address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// What webhooks are signed with; nothing: unsigned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// One status of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The provider's word.
    pub status: String,
    /// Milliseconds after the answer.
    #[serde(default)]
    pub after_ms: u64,
    /// The provider's code; 0: none.
    #[serde(default)]
    pub error_code: u32,
}

/// How statuses are posted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// How likely a status is posted twice, 0 to 1.
    pub duplicate: f64,
    /// Whether the statuses of a message come in any order.
    pub reorder: bool,
    /// Whether all statuses are posted before the send is answered.
    pub before_answer: bool,
    /// Statuses in one POST, 1 to 100.
    pub batch: usize,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self { duplicate: 0.0, reorder: false, before_answer: false, batch: 100 }
    }
}

/// Something that goes wrong. Conditions that are given must all hold; without any, it always goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// To this number only (digits): the message, or a request that holds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Of what passes `to`, the n-th, 2n-th, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// So likely, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// At most so many times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// What goes wrong.
    pub action: Action,
}

impl Fault {
    /// A fault that always acts.
    pub fn always(action: Action) -> Self {
        Self { to: None, every: None, probability: None, first: None, action }
    }

    /// Acts at most so many times.
    pub fn first(self, times: u64) -> Self {
        Self { first: Some(times), ..self }
    }

    /// Acts on every n-th.
    pub fn every(self, n: u64) -> Self {
        Self { every: Some(n), ..self }
    }

    /// Acts on one number.
    pub fn to(self, digits: impl Into<String>) -> Self {
        Self { to: Some(digits.into()), ..self }
    }

    /// Acts by chance.
    pub fn with_probability(self, probability: f64) -> Self {
        Self { probability: Some(probability), ..self }
    }
}

/// What goes wrong: `refuse` and `late_failure` with a message, all others with a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// The message is rejected, the others of its request are not. With `ref` `messages` the whole request is.
    Refuse {
        /// The provider's key: `invalid`, `billing.error`, …
        key: String,
        /// The place; `[i]` in it becomes the message's own: `messages[i].to`. Empty: none.
        #[serde(default, rename = "ref")]
        reference: String,
    },
    /// Nothing is taken: too many requests.
    Throttle {
        /// `Retry-After`; nothing: no such header.
        #[serde(default)]
        retry_after_s: Option<u64>,
        /// HTTP 200, and the word is in the body only.
        #[serde(default)]
        body_only: bool,
    },
    /// Taken; then the connection closes without an answer.
    DropAfterAccept,
    /// The connection closes without an answer; nothing is taken.
    DropBeforeAccept,
    /// Taken; then an error is answered.
    ErrorAfterAccept {
        /// HTTP status.
        status: u16,
    },
    /// An error is answered; nothing is taken.
    ErrorBeforeAccept {
        /// HTTP status.
        status: u16,
    },
    /// Taken; then the answer is 200 with a page that no program reads.
    Garbage,
    /// Taken; then the answer takes so long.
    Slow {
        /// Milliseconds, beside `latency_ms`.
        ms: u64,
    },
    /// Taken; then the only status is that it was not delivered, at the time of the first status.
    LateFailure {
        /// The provider's code.
        error_code: u32,
    },
    /// HTTP 413, nothing taken, for requests of more messages than this.
    TooLarge {
        /// Messages that still pass.
        #[serde(default = "one")]
        over: usize,
    },
}

fn one() -> usize {
    1
}

impl Action {
    fn is_about_a_message(&self) -> bool {
        matches!(self, Action::Refuse { .. } | Action::LateFailure { .. })
    }
}

impl Script {
    /// Says what cannot be played.
    ///
    /// # Errors
    /// In words, the first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        let likely = |p: f64| (0.0..=1.0).contains(&p);
        if !likely(self.webhooks.duplicate) {
            return Err("webhooks.duplicate is a probability, 0 to 1".into());
        }
        if !(1..=100).contains(&self.webhooks.batch) {
            return Err("webhooks.batch is 1 to 100".into());
        }
        for (i, fault) in self.faults.iter().enumerate() {
            if !fault.probability.is_none_or(likely) {
                return Err(format!("faults[{i}].probability is 0 to 1"));
            }
            if fault.every == Some(0) {
                return Err(format!("faults[{i}].every is 1 or more"));
            }
            if let Action::ErrorAfterAccept { status } | Action::ErrorBeforeAccept { status } = fault.action
                && !(400..600).contains(&status)
            {
                return Err(format!("faults[{i}]: status is 400 to 599"));
            }
        }
        Ok(())
    }
}

/// A message as chance sees it: to whom, and how many that number was sent before. Both are the same in another run,
/// whatever the order in which requests arrive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occasion<'a> {
    pub to: &'a str,
    pub nth: u32,
}

/// A script being played.
#[derive(Debug)]
pub(super) struct Play {
    pub script: Script,
    counts: Vec<Count>,
}

#[derive(Debug, Default)]
struct Count {
    matched: AtomicU64,
    acted: AtomicU64,
}

impl Play {
    pub fn new(script: Script) -> Self {
        let counts = script.faults.iter().map(|_| Count::default()).collect();
        Self { script, counts }
    }

    /// How often a fault acted.
    pub fn acted(&self) -> u64 {
        self.counts.iter().map(|count| count.acted.load(Ordering::Relaxed)).sum()
    }

    /// What goes wrong with a request.
    pub fn with_request(&self, messages: &[Occasion<'_>]) -> Option<&Action> {
        let faults = self.script.faults.iter().enumerate().filter(|(_, fault)| !fault.action.is_about_a_message());
        for (i, fault) in faults {
            let fits = !matches!(fault.action, Action::TooLarge { over } if messages.len() <= over);
            let occasion = match &fault.to {
                Some(to) => messages.iter().find(|message| message.to == to),
                None => messages.first(),
            };
            if fits && (fault.to.is_none() || occasion.is_some()) && self.acts(i, fault, occasion.copied()) {
                return Some(&fault.action);
            }
        }
        None
    }

    /// What goes wrong with a message.
    pub fn with_message(&self, message: Occasion<'_>) -> Option<&Action> {
        let faults = self.script.faults.iter().enumerate().filter(|(_, fault)| fault.action.is_about_a_message());
        let mut fitting = faults.filter(|(_, fault)| fault.to.as_deref().is_none_or(|to| to == message.to));
        fitting.find(|(i, fault)| self.acts(*i, fault, Some(message))).map(|(_, fault)| &fault.action)
    }

    fn acts(&self, i: usize, fault: &Fault, occasion: Option<Occasion<'_>>) -> bool {
        let matched = self.counts[i].matched.fetch_add(1, Ordering::Relaxed) + 1;
        let chance = |probability| occasion.is_some_and(|o| self.chance(i as u64, o) < probability);
        let now = fault.every.is_none_or(|n| matched.is_multiple_of(n)) && fault.probability.is_none_or(chance);
        let count = |acted| (fault.first.is_none_or(|most| acted < most)).then_some(acted + 1);
        now && self.counts[i].acted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }

    /// A number from 0 to 1 that depends on the seed, the question and the occasion, and on nothing else.
    pub fn chance(&self, question: u64, occasion: Occasion<'_>) -> f64 {
        // FNV-1a, then the finaliser of SplitMix64, since FNV's high bits are weak.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let numbers = [self.script.seed, question, u64::from(occasion.nth)];
        for byte in numbers.iter().flat_map(|n| n.to_le_bytes()).chain(occasion.to.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((hash ^ (hash >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(fault: Fault) -> Play {
        Play::new(Script { faults: vec![fault], ..Script::default() })
    }

    fn acted(play: &Play, times: u32) -> Vec<u32> {
        let request = |nth| play.with_request(&[Occasion { to: "351910000001", nth }]).is_some();
        (1..=times).filter(|nth| request(*nth)).collect()
    }

    #[test]
    fn conditions_choose() {
        let fault = || Fault::always(Action::Garbage);
        assert_eq!(acted(&play(fault()), 4), [1, 2, 3, 4]);
        assert_eq!(acted(&play(fault().every(3)), 10), [3, 6, 9]);
        assert_eq!(acted(&play(fault().every(3).first(2)), 10), [3, 6]);
        assert_eq!(acted(&play(fault().to("351910000001").first(1)), 10), [1]);
        assert!(acted(&play(fault().to("351910000002")), 10).is_empty());
        assert!(acted(&play(fault().with_probability(0.0)), 100).is_empty());
        assert_eq!(acted(&play(fault().with_probability(1.0)), 100).len(), 100);
    }

    #[test]
    fn chance_is_fair_and_the_same_in_every_run() {
        let fault = || Fault::always(Action::Garbage).with_probability(0.3);
        let times = acted(&play(fault()), 10_000);
        assert!((2_800..3_200).contains(&times.len()), "{}", times.len());
        assert_eq!(times, acted(&play(fault()), 10_000));
        let other = Play::new(Script { seed: 1, faults: vec![fault()], ..Script::default() });
        assert_ne!(times, acted(&other, 10_000));
    }

    #[test]
    fn the_example_of_the_readme_is_a_script() {
        let readme = include_str!("README.md");
        let example = readme.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let script: Script = serde_json::from_str(example).unwrap();
        script.check().unwrap();
        let again: Script = serde_json::from_str(&serde_json::to_string(&script).unwrap()).unwrap();
        assert_eq!(script, again);
    }

    #[test]
    fn a_misspelt_script_is_refused() {
        for wrong in [
            r#"{"latencyms":1}"#,
            r#"{"faults":[{"action":"explode"}]}"#,
            r#"{"faults":[{"evry":1,"action":"garbage"}]}"#,
        ] {
            assert!(serde_json::from_str::<Script>(wrong).is_err(), "{wrong}");
        }
        let check = |json: &str| serde_json::from_str::<Script>(json).unwrap().check();
        for wrong in [
            r#"{"webhooks":{"duplicate":2}}"#,
            r#"{"webhooks":{"batch":0}}"#,
            r#"{"faults":[{"every":0,"action":"garbage"}]}"#,
            r#"{"faults":[{"probability":-1,"action":"garbage"}]}"#,
            r#"{"faults":[{"action":{"error_after_accept":{"status":20}}}]}"#,
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
