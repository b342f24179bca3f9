//! How to send: options into the domain.

use std::collections::BTreeMap;
use std::time::Duration;

use super::window::on_window_closed;
use super::{callback_url, text};
use crate::domain::fallback::FALLBACKS_MAX;
use crate::domain::message::{InDoubtPolicy, MAX_AHEAD_MS, Priority, WindowPolicy};
use crate::domain::{Millis, SenderId};
use crate::error::{Reason, Violations};
use crate::proto;

/// Bytes of `callback_data`, at most.
const CALLBACK_DATA_MAX: usize = 4_096;
/// Labels of a message, at most.
const LABELS_MAX: usize = 16;
/// Characters of an idempotency key, at most.
const KEY_MAX: usize = 256;

/// How to send, read.
#[derive(Default)]
pub(in crate::grpc) struct Options {
    pub key: Option<String>,
    pub send_at_ms: Option<Millis>,
    pub validity_ms: Option<Millis>,
    /// Empty: none.
    pub callback_url: String,
    pub callback_data: String,
    pub labels: BTreeMap<String, String>,
    pub priority: Priority,
    pub in_doubt_policy: InDoubtPolicy,
    pub on_window_closed: WindowPolicy,
    pub validate_only: bool,
    pub ignore_opt_out: bool,
    pub ignore_known_failures: bool,
    pub fallback_senders: Vec<SenderId>,
}

/// Reads the options of a send.
pub(super) fn read_options(
    options: Option<proto::SendOptions>,
    sender: Option<&SenderId>,
    now: Millis,
    violations: &mut Violations,
) -> Options {
    let Some(options) = options else { return Options::default() };
    let key = match options.idempotency_key.as_str() {
        "" => None,
        key => {
            let key = text(key.to_owned(), 1, KEY_MAX, "an idempotency key");
            violations.check("options.idempotency_key", key)
        }
    };
    let send_at_ms = options.send_time.and_then(|time| send_time(time, now, violations));
    let validity_ms = options.validity.and_then(|validity| self::validity(validity, violations));
    let callback_url = match options.callback_url.as_str() {
        "" => None,
        url => violations.check("options.callback_url", callback_url(url)),
    };
    if options.callback_data.len() > CALLBACK_DATA_MAX {
        let length = options.callback_data.len();
        let description = format!("{length} bytes; callback data has at most {CALLBACK_DATA_MAX}");
        violations.add("options.callback_data", Reason::TooLong, description);
    }
    let labels = labels(options.labels, violations);
    let priority = match proto::Priority::try_from(options.priority) {
        Ok(proto::Priority::Unspecified | proto::Priority::Normal) => Priority::Normal,
        Ok(proto::Priority::Urgent) => Priority::Urgent,
        Ok(proto::Priority::Bulk) => Priority::Bulk,
        Err(_) => {
            violations.add("options.priority", Reason::Invalid, "a priority is URGENT, NORMAL or BULK");
            Priority::Normal
        }
    };
    let in_doubt_policy = match proto::InDoubtPolicy::try_from(options.in_doubt_policy) {
        Ok(proto::InDoubtPolicy::Unspecified | proto::InDoubtPolicy::AtMostOnce) => InDoubtPolicy::AtMostOnce,
        Ok(proto::InDoubtPolicy::AtLeastOnce) => InDoubtPolicy::AtLeastOnce,
        Err(_) => {
            violations.add("options.in_doubt_policy", Reason::Invalid, "a policy is AT_MOST_ONCE or AT_LEAST_ONCE");
            InDoubtPolicy::AtMostOnce
        }
    };
    let on_window_closed = on_window_closed(options.on_window_closed.unwrap_or_default(), violations);
    Options {
        key,
        send_at_ms,
        validity_ms,
        callback_url: callback_url.unwrap_or_default(),
        callback_data: options.callback_data,
        labels,
        priority,
        in_doubt_policy,
        on_window_closed,
        validate_only: options.validate_only,
        ignore_opt_out: options.ignore_opt_out,
        ignore_known_failures: options.ignore_known_failures,
        fallback_senders: fallback_senders(options.fallback_senders, sender, violations),
    }
}

/// A timestamp as Unix milliseconds, if it is one.
pub(in crate::grpc) fn millis(time: prost_types::Timestamp) -> Option<Millis> {
    let in_range =
        (-62_135_596_800..=253_402_300_799).contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos);
    in_range.then(|| time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000)
}

fn send_time(time: prost_types::Timestamp, now: Millis, violations: &mut Violations) -> Option<Millis> {
    match millis(time) {
        None => violations.add("options.send_time", Reason::Invalid, "not a time"),
        Some(time) if time > now + MAX_AHEAD_MS => {
            violations.add("options.send_time", Reason::Invalid, "a send time lies at most 30 days ahead");
        }
        Some(time) => return Some(time),
    }
    None
}

/// A duration, if it is one and not negative.
pub(in crate::grpc) fn duration(duration: prost_types::Duration) -> Option<Duration> {
    // prost-types' own conversion overflows on the way from the smallest numbers there are.
    let (seconds, nanos) = (u64::try_from(duration.seconds).ok()?, u32::try_from(duration.nanos).ok()?);
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

fn fallback_senders(given: Vec<String>, sender: Option<&SenderId>, violations: &mut Violations) -> Vec<SenderId> {
    if given.len() > FALLBACKS_MAX {
        let description = format!("{} senders; a message has at most {FALLBACKS_MAX} to fall back on", given.len());
        violations.add("options.fallback_senders", Reason::TooLong, description);
        return Vec::new();
    }
    let mut senders: Vec<SenderId> = Vec::with_capacity(given.len());
    for (i, id) in given.into_iter().enumerate() {
        let path = format!("options.fallback_senders[{i}]");
        let Some(id) = violations.check(&path, id.parse::<SenderId>()) else { continue };
        if sender == Some(&id) || senders.contains(&id) {
            violations.add(path, Reason::Invalid, format!("{id} is there already: each sender has one turn"));
        } else {
            senders.push(id);
        }
    }
    senders
}

fn validity(given: prost_types::Duration, violations: &mut Violations) -> Option<Millis> {
    let millis = duration(given).and_then(|validity| Millis::try_from(validity.as_millis()).ok());
    match millis {
        Some(millis) if (1..=MAX_AHEAD_MS).contains(&millis) => Some(millis),
        _ => {
            violations.add("options.validity", Reason::Invalid, "a validity is 1 ms to 30 days");
            None
        }
    }
}

fn labels(labels: std::collections::HashMap<String, String>, violations: &mut Violations) -> BTreeMap<String, String> {
    if labels.len() > LABELS_MAX {
        let description = format!("{} labels; a message has at most {LABELS_MAX}", labels.len());
        violations.add("options.labels", Reason::TooLong, description);
    }
    for (key, value) in &labels {
        check_label(key, value, &format!("options.labels[{key:?}]"), violations);
    }
    labels.into_iter().collect()
}

pub(super) fn check_label(key: &str, value: &str, path: &str, violations: &mut Violations) {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-');
    if key.is_empty() || key.len() > 63 || !key.chars().all(fits) {
        violations.add(path, Reason::Invalid, "a label's key has 1 to 63 of a-z, 0-9, '_', '.', '-'");
    }
    if value.chars().count() > 256 {
        violations.add(path, Reason::TooLong, "a label's value has at most 256 characters");
    }
    if value.chars().any(char::is_control) {
        violations.add(path, Reason::Invalid, "a label's value holds no control characters");
    }
}
