//! What is kept and what goes: by age, and by size, the oldest first.

use std::time::Duration;

use super::{MessageStatus, Millis};

/// How large a table is, about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Its rows.
    pub rows: u64,
    /// Bytes of one, on the average.
    pub row_bytes: u64,
}

impl Size {
    /// How many rows are too many for so many bytes; 0 bytes: none is.
    pub fn surplus(self, bytes: u64) -> u64 {
        match bytes {
            0 => 0,
            bytes => self.rows.saturating_sub(bytes / self.row_bytes.max(1)),
        }
    }
}

/// Until when what is kept so long goes now.
pub fn cutoff(kept: Option<Duration>, now: Millis) -> Millis {
    let kept = kept.map(|kept| Millis::try_from(kept.as_millis()).unwrap_or(Millis::MAX));
    kept.map_or(Millis::MIN, |kept| now.saturating_sub(kept))
}

/// What goes: everything from before a time, and so many more of the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What is older goes.
    pub before: Millis,
    /// So many go whatever their age.
    pub surplus: u64,
}

impl Limit {
    /// Whether what is of that time goes. Asked from the oldest to the newest.
    pub fn takes(&mut self, at: Millis) -> bool {
        if self.surplus > 0 {
            self.surplus -= 1;
            return true;
        }
        at < self.before
    }

    /// Whether nothing goes that came at that time or later.
    pub fn is_reached(&self, at: Millis) -> bool {
        self.surplus == 0 && at >= self.before
    }

    /// Whether nothing goes at all.
    pub fn is_none(&self) -> bool {
        self.surplus == 0 && self.before == Millis::MIN
    }
}

/// Whether a message may go when it is old enough: nothing is to be done about it any more. SENT and DELIVERED count: what
/// providers have to say, they say within 30 days.
pub fn may_go(status: MessageStatus) -> bool {
    !status.is_waiting() && status != MessageStatus::InDoubt
}

/// How long to rest after a step, so that writers have the database for four fifths of the time.
pub fn rest(step: Duration) -> Duration {
    (step * 4).clamp(Duration::from_millis(2), Duration::from_secs(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surplus_is_what_does_not_fit() {
        for (rows, row_bytes, bytes, surplus) in [
            (10, 100, 0, 0),
            (10, 100, 1_000, 0),
            (10, 100, 999, 1),
            (10, 100, 250, 8),
            (10, 100, 1, 10),
            (0, 0, 1, 0),
            (10, 0, 4, 6),
        ] {
            assert_eq!(Size { rows, row_bytes }.surplus(bytes), surplus, "{rows} of {row_bytes} in {bytes}");
        }
    }

    #[test]
    fn the_surplus_goes_first_and_then_what_is_too_old() {
        let mut limit = Limit { before: 100, surplus: 2 };
        let taken: Vec<bool> = [50, 150, 50, 100, 99].into_iter().map(|at| limit.takes(at)).collect();
        assert_eq!(taken, [true, true, true, false, true]);
        assert!(limit.is_reached(100) && !limit.is_reached(99));
        assert!(!Limit { before: 100, surplus: 1 }.is_reached(500));
        assert!(Limit { before: cutoff(None, 5), surplus: 0 }.is_none());
    }

    #[test]
    fn what_is_kept_for_ever_never_goes() {
        assert_eq!(cutoff(None, 1_000), Millis::MIN);
        assert_eq!(cutoff(Some(Duration::from_millis(300)), 1_000), 700);
        assert!(cutoff(Some(Duration::MAX), 1_000) < 0);
        assert!(!Limit { before: cutoff(None, 1_000), surplus: 0 }.takes(Millis::MIN));
    }

    #[test]
    fn what_waits_or_is_in_doubt_never_goes() {
        use MessageStatus::*;
        for status in MessageStatus::ALL {
            let goes = matches!(status, Sent | Delivered | Read | Played | Failed | Expired | Cancelled);
            assert_eq!(may_go(status), goes, "{status:?}");
        }
    }

    #[test]
    fn a_rest_is_four_times_the_work() {
        assert_eq!(rest(Duration::from_millis(10)), Duration::from_millis(40));
        assert_eq!(rest(Duration::ZERO), Duration::from_millis(2));
        assert_eq!(rest(Duration::from_secs(60)), Duration::from_secs(5));
    }
}
