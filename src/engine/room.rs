//! How much more a sender may have in hand, and how many calls it may have open. The dispatcher knows the numbers.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::domain::pace::HORIZON_US;

/// Messages of one sender in hand at the same time, at most, unless its limit of calls is higher: a slow provider that
/// takes many messages in a call must not fill the process.
const IN_HAND: usize = 256;

/// Places that are kept for senders that have nothing in hand, of a process that has many.
const KEPT: usize = 64;

/// What a sender has in hand, and what it may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hand {
    /// Calls that it may have open.
    pub calls_max: usize,
    /// Messages in a call.
    pub batch: usize,
    /// Messages per second, when that has a limit: so long before their time messages are taken in hand.
    pub per_second: Option<f64>,
    /// Calls that are open, or wait for their time.
    pub calls: usize,
    /// Messages in hand.
    pub messages: usize,
    /// What the process may have in hand, of all senders.
    pub most: usize,
    /// What is left of that.
    pub left: usize,
}

impl Hand {
    /// How many messages may be claimed.
    pub fn room(&self) -> usize {
        let batch = self.batch.max(1);
        let ahead = self.per_second.map_or(0, |rate| (rate * HORIZON_US as f64 / 1e6).ceil() as usize);
        let in_calls = (self.calls_max + ahead.div_ceil(batch)).saturating_sub(self.calls) * batch;
        let own = (self.calls_max.max(IN_HAND) + ahead).saturating_sub(self.messages);
        in_calls.min(own).min(self.share())
    }

    /// No sender has more in hand than it leaves to all others together. Some places are kept for those that have nothing in
    /// hand, one for each: so something is left for the next, although many hang.
    fn share(&self) -> usize {
        let kept = (self.most / 16).min(KEPT);
        let share = self.left.saturating_sub(kept).saturating_sub(self.messages).div_ceil(2);
        share.max(usize::from(self.messages == 0).min(self.left))
    }
}

/// Permits for calls: messages are in hand before their time, and are no calls until then.
#[derive(Debug)]
pub(super) struct Permits {
    most: usize,
    semaphore: Arc<Semaphore>,
}

impl Default for Permits {
    fn default() -> Self {
        Self { most: 0, semaphore: Arc::new(Semaphore::new(0)) }
    }
}

impl Permits {
    /// When the limit was changed, calls under way still count against the old one.
    pub fn of(&mut self, most: usize) -> Arc<Semaphore> {
        if self.most != most {
            *self = Self { most, semaphore: Arc::new(Semaphore::new(most)) };
        }
        self.semaphore.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Hand =
        Hand { calls_max: 64, batch: 1, per_second: None, calls: 0, messages: 0, most: 2_048, left: 2_048 };

    #[test]
    fn calls_and_messages_have_their_limits() {
        for (hand, room) in [
            (IDLE, 64),
            (Hand { calls: 60, messages: 60, ..IDLE }, 4),
            (Hand { batch: 100, ..IDLE }, 256),
            (Hand { batch: 100, calls: 63, messages: 200, ..IDLE }, 56),
            (Hand { calls_max: 500, ..IDLE }, 500),
            // Those that wait for their time are in hand beside the calls.
            (Hand { per_second: Some(1_000.0), ..IDLE }, 264),
            (Hand { calls_max: 256, per_second: Some(1_000.0), ..IDLE }, 456),
            (Hand { per_second: Some(1.0), ..IDLE }, 65),
        ] {
            assert_eq!(hand.room(), room, "{hand:?}");
        }
    }

    #[test]
    fn senders_that_hang_leave_something_for_the_next() {
        let mut left: usize = 1_024;
        for hanging in 0..50 {
            let mut messages = 0;
            // It takes whatever it is given, and gives nothing back.
            loop {
                let room = Hand { calls_max: 10_000, messages, most: 1_024, left, ..IDLE }.room();
                if room == 0 {
                    break;
                }
                messages += room;
                left -= room;
            }
            let next = Hand { most: 1_024, left, ..IDLE }.room();
            assert!(next > 0, "nothing is left after {hanging} that hang");
        }
        assert_eq!(Hand { left: 1, ..IDLE }.room(), 1, "the last place is a place");
        assert_eq!(Hand { left: 0, ..IDLE }.room(), 0);
    }
}
