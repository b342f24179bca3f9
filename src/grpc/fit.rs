//! What an error may take of a client's headers. Many clients read 8 KiB of them together (grpc-core, grpc-java); beyond
//! that they tell their caller of the size, and not of what was wrong. Errors in the body of an answer are whole.

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

/// Where an error travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In headers, which have a limit.
    Headers,
    /// In the body of an answer, among others.
    Body,
}

impl Way {
    /// The message, cut where it would be too long.
    pub fn message(self, text: String) -> String {
        // As much as tonic's own encoding takes, or more.
        let encoded = |c: char| if c.is_ascii_alphanumeric() { 1 } else { 3 * c.len_utf8() };
        if self == Self::Body { text } else { cut(text, MESSAGE_MAX, encoded) }
    }

    /// A value, cut where it would be too long.
    pub fn value(self, text: String) -> String {
        if self == Self::Body { text } else { cut(text, VALUE_MAX, char::len_utf8) }
    }

    /// Names with commas between; of very many the last ones are left out, and none is cut.
    pub fn names(self, all: &[String]) -> String {
        let all = all.join(",");
        match all.floor_char_boundary(VALUE_MAX) {
            end if self == Self::Body || end == all.len() => all,
            end => all[..end].rsplit_once(',').map_or(String::new(), |(whole, _)| whole.to_owned()),
        }
    }

    /// As many violations as there is room for beside the message; the last says how many more there are.
    pub fn violations(self, all: &[Violation], message: &str) -> Vec<FieldViolation> {
        match self {
            Self::Body => all.iter().map(|violation| field_violation(self, violation)).collect(),
            Self::Headers => fitting(all, message),
        }
    }
}

/// One is never too large: its texts were cut.
const _: () = assert!(DETAILS_MAX - MESSAGE_MAX - BESIDE > 2 * VALUE_MAX + 64 + TAGS);

fn fitting(all: &[Violation], message: &str) -> Vec<FieldViolation> {
    let mut room = DETAILS_MAX.saturating_sub(message.len() + BESIDE);
    let mut shown: Vec<FieldViolation> = Vec::new();
    for violation in all {
        let one = field_violation(Way::Headers, violation);
        let Some(left) = room.checked_sub(one.field.len() + one.description.len() + one.reason.len() + TAGS) else {
            break;
        };
        room = left;
        shown.push(one);
    }
    let more = all.len() - shown.len();
    if let Some(last) = shown.last_mut().filter(|_| more > 0) {
        last.description.push_str(&format!(" (and {more} more violations, for which there is no room here)"));
    }
    shown
}

fn field_violation(way: Way, violation: &Violation) -> FieldViolation {
    FieldViolation {
        field: way.value(violation.field.clone()),
        description: way.value(violation.description.clone()),
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
        let (value, message) = (|text| Way::Headers.value(text), |text| Way::Headers.message(text));
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
        let violations = |all: &[Violation]| Way::Headers.violations(all, &message);
        let shown = violations(&all);
        let (last, first) = shown.split_last().unwrap();
        assert!(shown.len() > 50 && first.iter().all(|shown| shown.description == "not a number"));
        assert!(last.description.contains(&format!("and {} more", 1_000 - shown.len())), "{last:?}");
        assert_eq!(violations(&all[..3]).len(), 3);
        assert_eq!(violations(&all[..3])[2].description, "not a number");
        assert_eq!(Way::Body.violations(&all, &message).len(), 1_000);
    }

    #[test]
    fn no_name_is_cut() {
        let names: Vec<String> = (0..1_000).map(|n| format!("parameters[{n}]")).collect();
        let shown = Way::Headers.names(&names);
        assert!(shown.len() <= VALUE_MAX && shown.len() > VALUE_MAX - 20, "{shown}");
        assert!(shown.split(',').zip(&names).all(|(shown, name)| shown == name), "{shown}");
        assert_eq!(Way::Headers.names(&names[..3]), "parameters[0],parameters[1],parameters[2]");
        assert_eq!(Way::Headers.names(&["x".repeat(600)]), "");
        assert_eq!(Way::Body.names(&names).split(',').count(), 1_000);
    }
}
