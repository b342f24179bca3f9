//! What follows an attempt: one pure function, so the table in the docs is also the test table.

use std::time::Duration;

use crate::domain::message::{DeliveryError, ErrorReason, HoldReason, WindowPolicy};
use crate::domain::progress::Next;
use crate::domain::{Content, NewMessage};
use crate::provider::{Receipt, SendError};

/// A provider's wish to wait is obeyed up to this long; then it is asked again.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(3_600);

/// How retries are spread: full jitter below a ceiling that doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first ceiling.
    pub first: Duration,
    /// The last one.
    pub cap: Duration,
}

impl Backoff {
    /// The wait before retry number `retries + 1`; `jitter` is drawn evenly from 0 to 1.
    pub fn delay(&self, retries: i32, jitter: f64) -> Duration {
        let doublings = u32::try_from(retries).unwrap_or_default().min(20);
        let ceiling = self.first.saturating_mul(1 << doublings).min(self.cap);
        ceiling.mul_f64(jitter.clamp(0.0, 1.0))
    }
}

/// Decides what follows. `retries`: how often the message was not taken before.
pub fn next(outcome: Result<Receipt, SendError>, retries: i32, backoff: &Backoff, jitter: f64) -> Next {
    match outcome {
        Ok(receipt) => Next::Sent(receipt.provider_message_id),
        Err(SendError::Refused(error)) => Next::Failed(error),
        Err(SendError::NotTaken { error, retries: Some(most), .. }) if i64::from(retries) >= i64::from(most) => {
            Next::Failed(error)
        }
        Err(SendError::NotTaken { error, retry_after, .. }) => {
            let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_CAP);
            Next::RetryIn(backoff.delay(retries, jitter).max(asked), error)
        }
        // The policy decides later, never this line.
        Err(SendError::InDoubt { detail }) => {
            Next::InDoubt(DeliveryError::ours(ErrorReason::OutcomeUnknown, detail, false))
        }
    }
}

/// What follows when the provider refuses a message because its window is closed: as the message's policy wants it of one that
/// is known to be closed. All else stays as it is.
pub fn of_window(next: Next, retries: i32, request: &NewMessage, backoff: &Backoff) -> Next {
    match (next, &request.content, &request.on_window_closed) {
        (Next::Failed(error), Content::Template(_), _) => Next::Failed(error),
        (Next::Failed(error), ..) if error.reason != ErrorReason::OutsideWindow => Next::Failed(error),
        (Next::Failed(error), _, WindowPolicy::HoldUntilIncoming) => {
            Next::Held { reason: HoldReason::WindowClosed, refused: Some(error) }
        }
        // The window is known to be closed then, and the template goes. At once, but not again and again.
        (Next::Failed(error), _, WindowPolicy::SendTemplate(_)) => {
            Next::RetryIn(if retries == 0 { Duration::ZERO } else { backoff.delay(retries, 1.0) }, error)
        }
        (next, ..) => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), cap: Duration::from_secs(900) };

    fn error() -> DeliveryError {
        DeliveryError::ours(ErrorReason::RateLimited, "later", true)
    }

    fn not_taken(retry_after: Option<u64>, retries: Option<u32>) -> Result<Receipt, SendError> {
        Err(SendError::NotTaken { error: error(), retry_after: retry_after.map(Duration::from_secs), retries })
    }

    #[test]
    fn the_ceiling_doubles_from_one_second_to_fifteen_minutes() {
        let ceilings: Vec<u64> = (0..12).map(|retries| BACKOFF.delay(retries, 1.0).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(BACKOFF.delay(i32::MAX, 1.0), BACKOFF.cap);
        assert_eq!(BACKOFF.delay(5, 0.0), Duration::ZERO);
    }

    #[test]
    fn o3_retry_after_is_obeyed_within_bounds() {
        let delay = |outcome| match next(outcome, 0, &BACKOFF, 0.5) {
            Next::RetryIn(delay, _) => delay.as_millis(),
            other => panic!("{other:?}"),
        };
        assert_eq!(delay(not_taken(Some(30), None)), 30_000);
        assert_eq!(delay(not_taken(None, None)), 500);
        assert_eq!(delay(not_taken(Some(1_000_000), None)), 3_600_000);
    }

    #[test]
    fn a_limited_retry_ends_as_failed() {
        assert!(matches!(next(not_taken(None, Some(1)), 0, &BACKOFF, 0.0), Next::RetryIn(..)));
        assert_eq!(next(not_taken(None, Some(1)), 1, &BACKOFF, 0.0), Next::Failed(error()));
    }

    #[test]
    fn the_other_outcomes_are_what_they_are() {
        let receipt = Receipt { provider_message_id: Some("p".into()) };
        assert_eq!(next(Ok(receipt), 3, &BACKOFF, 0.0), Next::Sent(Some("p".into())));
        assert_eq!(next(Err(SendError::Refused(error())), 0, &BACKOFF, 0.0), Next::Failed(error()));
        let lost = Err(SendError::InDoubt { detail: "cut".into() });
        assert!(matches!(next(lost, 0, &BACKOFF, 0.0), Next::InDoubt(e) if e.reason == ErrorReason::OutcomeUnknown));
    }
}
