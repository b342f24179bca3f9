//! What filters of lists and streams name.

use super::options::check_label;
use crate::domain::phone::peer_of;
use crate::domain::{PhoneNumber, SenderId};
use crate::error::{Reason, Violations};

/// Reads labels of a filter: `key=value`.
pub(in crate::grpc) fn label_filter(
    labels: Vec<String>,
    path: &str,
    violations: &mut Violations,
) -> Vec<(String, String)> {
    let mut read = Vec::with_capacity(labels.len());
    for (i, label) in labels.into_iter().enumerate() {
        let path = format!("{path}[{i}]");
        match label.split_once('=') {
            Some((key, value)) => {
                check_label(key, value, &path, violations);
                read.push((key.to_owned(), value.to_owned()));
            }
            None => violations.add(path, Reason::Invalid, "a label reads `key=value`"),
        }
    }
    read
}

/// Reads senders of a filter.
pub(in crate::grpc) fn sender_filter(senders: Vec<String>, path: &str, violations: &mut Violations) -> Vec<SenderId> {
    let read = senders.into_iter().enumerate();
    read.filter_map(|(i, id)| violations.check(format!("{path}[{i}]"), id.parse())).collect()
}

/// Reads people of a filter: numbers in any form that has their digits, or user ids.
pub(in crate::grpc) fn peer_filter(peers: Vec<String>, path: &str, violations: &mut Violations) -> Vec<String> {
    let mut read = Vec::with_capacity(peers.len());
    for (i, peer) in peers.into_iter().enumerate() {
        match peer.trim() {
            "" => violations.add(format!("{path}[{i}]"), Reason::Required, "a number or a user id is needed"),
            // Nobody is called so, and PostgreSQL takes no NUL.
            peer if peer.chars().any(char::is_control) => {
                violations.add(
                    format!("{path}[{i}]"),
                    Reason::Invalid,
                    "a number or a user id has no control characters",
                );
            }
            peer => read.push(PhoneNumber::digits_of(peer).map_or_else(|| peer.to_owned(), |digits| peer_of(&digits))),
        }
    }
    read
}
