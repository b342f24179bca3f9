//! Statuses, and how reports of them fold into one: any order of the same reports gives the same current status.

use serde::{Deserialize, Serialize};

/// Where a message stands. The numbers are the contract's and the tables'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(i16)]
pub enum MessageStatus {
    /// On disk, to be handed over.
    Accepted = 1,
    /// On disk, to be handed over at its `send_time`.
    Scheduled = 2,
    /// Waits for the other side to write.
    Held = 3,
    /// Being handed over, or between two tries.
    Sending = 4,
    /// Handed over, perhaps: the provider's answer was lost.
    InDoubt = 5,
    /// The provider took it.
    Sent = 6,
    /// On the person's device.
    Delivered = 7,
    /// Seen.
    Read = 8,
    /// Heard.
    Played = 9,
    /// Will not be delivered.
    Failed = 10,
    /// Its time ran out.
    Expired = 11,
    /// Called back before it was handed over.
    Cancelled = 12,
}

impl MessageStatus {
    /// All of them, in the order of their numbers.
    pub const ALL: [MessageStatus; 12] = [
        MessageStatus::Accepted,
        MessageStatus::Scheduled,
        MessageStatus::Held,
        MessageStatus::Sending,
        MessageStatus::InDoubt,
        MessageStatus::Sent,
        MessageStatus::Delivered,
        MessageStatus::Read,
        MessageStatus::Played,
        MessageStatus::Failed,
        MessageStatus::Expired,
        MessageStatus::Cancelled,
    ];

    /// The status of that number.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }

    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageStatus::Accepted => "ACCEPTED",
            MessageStatus::Scheduled => "SCHEDULED",
            MessageStatus::Held => "HELD",
            MessageStatus::Sending => "SENDING",
            MessageStatus::InDoubt => "IN_DOUBT",
            MessageStatus::Sent => "SENT",
            MessageStatus::Delivered => "DELIVERED",
            MessageStatus::Read => "READ",
            MessageStatus::Played => "PLAYED",
            MessageStatus::Failed => "FAILED",
            MessageStatus::Expired => "EXPIRED",
            MessageStatus::Cancelled => "CANCELLED",
        }
    }

    /// How far a message has come. A proof of delivery outranks a failure: whoever reads a message has got it, whatever
    /// else was reported (S3); a failure outranks "sent", which a late webhook may still bring (S2).
    fn rank(self) -> u8 {
        match self {
            MessageStatus::Accepted => 0,
            MessageStatus::Scheduled => 1,
            MessageStatus::Held => 2,
            MessageStatus::Sending => 3,
            MessageStatus::InDoubt => 4,
            MessageStatus::Sent => 5,
            MessageStatus::Expired => 6,
            MessageStatus::Failed => 7,
            MessageStatus::Cancelled => 8,
            MessageStatus::Delivered => 9,
            MessageStatus::Read => 10,
            MessageStatus::Played => 11,
        }
    }

    /// Whether it ended without reaching the person.
    pub fn is_failure(self) -> bool {
        matches!(self, MessageStatus::Failed | MessageStatus::Expired | MessageStatus::Cancelled)
    }

    /// Whether the person has it.
    pub fn is_delivery(self) -> bool {
        matches!(self, MessageStatus::Delivered | MessageStatus::Read | MessageStatus::Played)
    }

    /// Whether the message may still be handed over.
    pub fn is_waiting(self) -> bool {
        matches!(
            self,
            MessageStatus::Accepted | MessageStatus::Scheduled | MessageStatus::Held | MessageStatus::Sending
        )
    }

    fn bit(self) -> i32 {
        1 << self as i16
    }
}

/// Which statuses were reported of a message, as bits by their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen(pub i32);

impl Seen {
    /// Whether the status was reported before.
    pub fn has(self, status: MessageStatus) -> bool {
        self.0 & status.bit() != 0
    }

    /// Whether something was reported that only happens to a message that the person has.
    pub fn has_delivery(self) -> bool {
        MessageStatus::ALL.into_iter().any(|status| status.is_delivery() && self.has(status))
    }

    /// With one more.
    pub fn with(self, status: MessageStatus) -> Self {
        Self(self.0 | status.bit())
    }
}

/// What a report did to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fold {
    /// The status after it.
    pub current: MessageStatus,
    /// Whether that is a new one.
    pub changed: bool,
    /// It came after a later one.
    pub late: bool,
    /// The same status was reported before.
    pub duplicate: bool,
    /// It says the opposite of what is final.
    pub contradicts_final: bool,
}

/// Which attempt a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The last one.
    Last,
    /// One that was followed by another of the same sender: what it failed at no longer matters (O8).
    Earlier,
    /// One of a sender that has passed the message on: nothing matters but that the person has it.
    EarlierSender,
}

/// Folds one report into a message's status.
pub fn fold(current: MessageStatus, seen: Seen, reported: MessageStatus, about: About) -> Fold {
    let was_failed = seen.has(MessageStatus::Failed) || seen.has(MessageStatus::Expired);
    let contradicts_final = (current.is_failure() && !reported.is_failure())
        || (current.is_delivery() && reported.is_failure())
        // It failed there, so another sender took it over.
        || (about == About::EarlierSender && reported.is_delivery() && was_failed);
    let outdated = match about {
        About::Last => false,
        About::Earlier => reported.is_failure(),
        About::EarlierSender => !reported.is_delivery(),
    };
    let changed = !outdated && reported.rank() > current.rank();
    let duplicate = seen.has(reported);
    Fold {
        current: if changed { reported } else { current },
        changed,
        late: !changed && !duplicate && !contradicts_final,
        duplicate: !changed && duplicate,
        contradicts_final,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MessageStatus::*;

    /// Folds reports into a message that was accepted; gives the current status and the flags of each report.
    fn run(reports: &[MessageStatus]) -> (MessageStatus, Vec<Fold>) {
        let mut state = (Sending, Seen::default());
        let mut folds = Vec::new();
        for &report in reports {
            let folded = fold(state.0, state.1, report, About::Last);
            state = (folded.current, state.1.with(report));
            folds.push(folded);
        }
        (state.0, folds)
    }

    fn orders(items: &[MessageStatus]) -> Vec<Vec<MessageStatus>> {
        if items.is_empty() {
            return vec![vec![]];
        }
        (0..items.len())
            .flat_map(|first| {
                let mut rest = items.to_vec();
                let item = rest.remove(first);
                orders(&rest).into_iter().map(move |mut order| {
                    order.insert(0, item);
                    order
                })
            })
            .collect()
    }

    #[test]
    fn s1_all_24_orders_of_four_statuses_fold_to_the_same() {
        let all = orders(&[Sent, Delivered, Read, Played]);
        assert_eq!(all.len(), 24);
        for order in all {
            assert_eq!(run(&order).0, Played, "{order:?}");
        }
    }

    #[test]
    fn any_order_of_any_reports_folds_to_the_same() {
        let reports = [Sent, Delivered, Read, Failed, Expired];
        for subset in 1_u32..32 {
            let some: Vec<_> = (0..5).filter(|bit| subset & (1 << bit) != 0).map(|bit| reports[bit as usize]).collect();
            let ends: std::collections::HashSet<_> = orders(&some).iter().map(|order| run(order).0).collect();
            assert_eq!(ends.len(), 1, "{some:?} ended as {ends:?}");
        }
    }

    #[test]
    fn s2_sent_after_failed_stays_failed_and_is_flagged() {
        let (current, folds) = run(&[Failed, Sent]);
        assert_eq!(current, Failed);
        assert!(folds[1].contradicts_final && !folds[1].changed);
    }

    #[test]
    fn s3_delivered_and_failed_contradict_and_delivery_wins() {
        for order in [[Delivered, Failed], [Failed, Delivered]] {
            let (current, folds) = run(&order);
            assert_eq!(current, Delivered);
            assert!(folds[1].contradicts_final);
        }
    }

    #[test]
    fn s5_read_without_delivered_is_taken() {
        assert_eq!(run(&[Read]).0, Read);
    }

    #[test]
    fn a_second_report_is_a_duplicate_and_an_overtaken_one_is_late() {
        let (_, folds) = run(&[Delivered, Sent, Delivered]);
        assert!(folds[1].late && !folds[1].duplicate);
        assert!(folds[2].duplicate && !folds[2].late);
    }

    #[test]
    fn o8_a_failure_of_an_earlier_attempt_changes_nothing() {
        let folded = fold(Sent, Seen::default(), Failed, About::Earlier);
        assert!(!folded.changed && folded.late);
        assert!(fold(Sent, Seen::default(), Delivered, About::Earlier).changed);
    }

    #[test]
    fn o8_of_an_earlier_sender_only_a_delivery_counts_and_contradicts_its_failure() {
        let seen = Seen::default().with(Failed);
        for report in MessageStatus::ALL {
            let folded = fold(Sending, seen, report, About::EarlierSender);
            assert_eq!((folded.changed, folded.contradicts_final), (report.is_delivery(), report.is_delivery()));
        }
        let settled = fold(Sending, Seen::default(), Delivered, About::EarlierSender);
        assert!(settled.changed && !settled.contradicts_final, "it was in doubt, and did not fail");
    }

    #[test]
    fn numbers_read_back() {
        for status in MessageStatus::ALL {
            assert_eq!(MessageStatus::from_number(status as i16), Some(status));
        }
        for wrong in [-1, 0, 13] {
            assert_eq!(MessageStatus::from_number(wrong), None);
        }
    }
}
