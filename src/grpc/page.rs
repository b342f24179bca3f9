//! Pages of lists: how long, and where they go on.

use crate::domain::Cursor;
use crate::error::{Reason, Violations};

/// A page's size: the default for 0, cut to the most that there is.
pub(super) fn page_size(given: i32, default: i32, most: i32, violations: &mut Violations) -> u64 {
    match given {
        0 => default as u64,
        1.. => given.min(most) as u64,
        _ => {
            violations.add("page_size", Reason::Invalid, format!("a page has 1 to {most}; 0 means {default}"));
            default as u64
        }
    }
}

/// Where a page goes on.
pub(super) fn page_token(token: &str, epoch: i64, violations: &mut Violations) -> Option<i64> {
    if token.is_empty() {
        return None;
    }
    let cursor = token.parse::<Cursor>().ok().filter(|cursor| cursor.epoch == epoch);
    let cursor = cursor.ok_or((Reason::Invalid, "not a page token of this list".to_owned()));
    violations.check("page_token", cursor).map(|cursor| cursor.position)
}
