//! The last step before a call of a sender with a rate: slots that are late together must not go together.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::SenderId;

/// When each sender's next call may go, in this process. Slots come from the store and are evenly spread; but a process that
/// stood still for a while finds several of them overdue.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<HashMap<SenderId, Instant>>);

impl Gate {
    /// Waits until so many messages may go, at this rate.
    pub async fn pass(&self, sender: &SenderId, messages: usize, per_second: f64) {
        tokio::time::sleep_until(self.place(sender, messages, per_second, Instant::now())).await;
    }

    /// Keeps nothing of a sender that is gone.
    pub fn forget(&self, sender: &SenderId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(sender);
    }

    fn place(&self, sender: &SenderId, messages: usize, per_second: f64, now: Instant) -> Instant {
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = next.get(sender).map_or(now, |next| now.max(*next));
        next.insert(sender.clone(), at + Duration::from_secs_f64(messages as f64 / per_second));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_together_goes_one_after_the_other() {
        let (gate, sender) = (Gate::default(), SenderId::trusted("acme".into()));
        let now = Instant::now();
        let at = |messages, later| {
            let now = now + Duration::from_millis(later);
            (gate.place(&sender, messages, 10.0, now) - now).as_millis()
        };
        assert_eq!([at(1, 0), at(1, 0), at(5, 0), at(1, 0)], [0, 100, 200, 700]);
        assert_eq!([at(1, 5_000), at(1, 5_050)], [0, 50], "what was not used is not saved up");
        let other = SenderId::trusted("other".into());
        assert_eq!(gate.place(&other, 1, 10.0, now), now, "a sender waits for itself only");
    }
}
