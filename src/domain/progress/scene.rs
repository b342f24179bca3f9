//! A message and its first claim, for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Progress, Terms};
use crate::domain::content::{Content, Text};
use crate::domain::message::{DeliveryError, ErrorReason, InDoubtPolicy, Priority};
use crate::domain::status::MessageStatus;
use crate::domain::{Millis, NewMessage, PhoneNumber, SenderId};

pub(super) const HOUR: Millis = 3_600_000;
pub(super) const WAIT: Duration = Duration::from_secs(60);

pub(super) fn terms(policy: InDoubtPolicy, send_at_ms: Option<Millis>) -> Terms {
    let request = NewMessage {
        sender: SenderId::trusted("acme".into()),
        to: PhoneNumber { given: "+351910000001".into(), digits: "351910000001".into() },
        content: Content::Text(Text { body: "x".into(), preview_url: false }),
        reply_to_message_id: None,
        send_at_ms,
        validity_ms: Some(10_000),
        callback_url: String::new(),
        callback_data: String::new(),
        labels: BTreeMap::new(),
        priority: Priority::Normal,
        in_doubt_policy: policy,
        ignore_opt_out: false,
        ignore_known_failures: false,
        template_category: None,
        fallback_senders: Vec::new(),
        on_window_closed: Default::default(),
    };
    Terms { expire_at_ms: request.expire_at(0), request, accept_at_ms: 0 }
}

/// As the store's claim does it.
pub(super) fn claim(progress: &mut Progress, claim: i64, now: Millis) {
    assert!(progress.ready);
    progress.status = MessageStatus::Sending;
    progress.attempt += 1;
    progress.attempt_start_at_ms = Some(now);
    progress.claim = Some(claim);
    progress.ready = false;
    progress.due_at_ms = Some(now + 1_000);
}

pub(super) fn claimed(policy: InDoubtPolicy) -> (Terms, Progress) {
    let terms = terms(policy, None);
    let mut progress = Progress::accepted(&terms);
    claim(&mut progress, 7, 0);
    (terms, progress)
}

pub(super) fn error() -> DeliveryError {
    DeliveryError::ours(ErrorReason::Unknown, "e", true)
}
