//! What an error may take of a client's headers. Many clients read 8 KiB of them together (grpc-core, grpc-java); beyond
//! that they tell their caller of the size, and not of what was wrong.

use tonic_types::FieldViolation;

use crate::error::Violation;

/// The message, as it travels: percent-encoded. It stands in the details once more.
const MESSAGE_MAX: usize = 1_536;
/// A value among the details: a name, a list of fields.
const VALUE_MAX: usize = 512;
/// All details together, before base64 makes a third more of them.
const DETAILS_MAX: usize = 4_096;
/// What stands beside the violations and the message: ErrorInfo, the names of the types.
const BESIDE: usize = 256;
/// Tags and lengths of one violation.
const TAGS: usize = 12;

/// The message, cut where it would be too long.
pub(super) fn message(text: String) -> String {
    // As much as tonic's own encoding takes, or more.
    let encoded = |c: char| if c.is_ascii_alphanumeric() { 1 } else { 3 * c.len_utf8() };
    cut(text, MESSAGE_MAX, encoded)
}

/// A value, cut where it would be too long.
pub(super) fn value(text: String) -> String {
    cut(text, VALUE_MAX, char::len_utf8)
}

/// As many violations as there is room for beside the message, the first in any case; the last says how many more there
/// are.
pub(super) fn violations(all: &[Violation], message: &str) -> Vec<FieldViolation> {
    let mut room = DETAILS_MAX.saturating_sub(message.len() + BESIDE);
    let mut shown: Vec<FieldViolation> = Vec::new();
    for violation in all {
        let one = field_violation(violation);
        match room.checked_sub(one.field.len() + one.description.len() + one.reason.len() + TAGS) {
            Some(left) => room = left,
            None if shown.is_empty() => {}
            None => break,
        }
        shown.push(one);
    }
    let more = all.len() - shown.len();
    if let Some(last) = shown.last_mut().filter(|_| more > 0) {
        last.description.push_str(&format!(" (and {more} more violations, for which there is no room here)"));
    }
    shown
}

fn field_violation(violation: &Violation) -> FieldViolation {
    FieldViolation {
        field: value(violation.field.clone()),
        description: value(violation.description.clone()),
        reason: violation.reason.as_str().to_owned(),
        localized_message: None,
    }
}

/// Cut text ends with an ellipsis, which fits in, too.
fn cut(mut text: String, limit: usize, size: impl Fn(char) -> usize) -> String {
    const ELLIPSIS: char = '…';
    let (mut taken, mut keep) = (0, 0);
    for (at, c) in text.char_indices() {
        if taken + size(ELLIPSIS) <= limit {
            keep = at;
        }
        taken += size(c);
        if taken > limit {
            text.truncate(keep);
            text.push(ELLIPSIS);
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Reason, Violations};
    use tonic::Status;

    /// What clients count of a refusal: each header's name, value and 32 bytes; and what a server or a proxy adds.
    fn header_list(error: Error) -> usize {
        let response = Status::from(error).into_http::<()>();
        response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>() + 300
    }

    #[test]
    fn no_refusal_is_larger_than_what_clients_read() {
        let violations = |count: usize, field: &str, description: &str| {
            let mut violations = Violations::default();
            (0..count).for_each(|i| violations.add(format!("{field}[{i}]"), Reason::NotAvailable, description));
            violations.into_error()
        };
        for text in ["x".repeat(5_000), "é".repeat(5_000), " ".repeat(5_000), "\u{1f600}".repeat(5_000)] {
            let name = || text.clone();
            for error in [
                violations(1, &text, &text),
                violations(50, &text, &text),
                violations(10_000, "entries[7].message.to", "not a number"),
                Error::Malformed(name()),
                Error::NotFound { resource: "subscription", name: name() },
                Error::AlreadyExists { resource: "subscription", name: name() },
                Error::KeyReused { key: name(), message_id: "1".repeat(36), fields: vec![name(), name()] },
                Error::Precondition { reason: "X", message: name(), metadata: vec![("a", name()), ("b", name())] },
                Error::Denied(name()),
            ] {
                let (words, size) = (format!("{error:?}"), header_list(error));
                assert!(size <= 8_192, "{size}: {}", words.chars().take(100).collect::<String>());
            }
        }
    }

    #[test]
    fn what_fits_is_whole_and_what_does_not_ends_with_an_ellipsis() {
        assert_eq!(value("x".repeat(512)), "x".repeat(512));
        assert_eq!(value("x".repeat(513)), format!("{}…", "x".repeat(509)));
        assert_eq!(value("é".repeat(256)), "é".repeat(256));
        assert_eq!(value("é".repeat(257)), format!("{}…", "é".repeat(254)));
        assert_eq!(message("a b".repeat(1_000)).matches('b').count(), 305);
    }

    #[test]
    fn the_last_violation_says_how_many_more_there_are() {
        let mut all = Violations::default();
        (0..1_000).for_each(|i| all.add(format!("peers[{i}]"), Reason::Invalid, "not a number"));
        let (all, message) = (all.into_vec(), "x".repeat(300));
        let shown = violations(&all, &message);
        let (last, first) = shown.split_last().unwrap();
        assert!(shown.len() > 50 && first.iter().all(|shown| shown.description == "not a number"));
        assert!(last.description.contains(&format!("and {} more", 1_000 - shown.len())), "{last:?}");
        assert_eq!(violations(&all[..3], &message).len(), 3);
        assert_eq!(violations(&all[..3], &message)[2].description, "not a number");
    }
}
