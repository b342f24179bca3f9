//! What follows a try that brought no file: one pure function, so the table in docs/media.md is also the test table.

use std::time::Duration;

use crate::domain::media::Trouble;
use crate::engine::Backoff;

/// Tries after which a no is believed. A file is sometimes not there yet when the webhook comes (pitfall I13).
const GONE_TRIES: i32 = 10;
/// Somebody's wish to wait is obeyed up to this long.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(3_600);

/// Why a try brought no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// In a word.
    pub trouble: Trouble,
    /// For people; holds no address.
    pub detail: String,
    /// The other side's wish, when it has one.
    pub retry_after: Option<Duration>,
}

impl Setback {
    /// Without any wish.
    pub fn new(trouble: Trouble, detail: impl Into<String>) -> Self {
        Self { trouble, detail: detail.into(), retry_after: None }
    }
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another try.
    RetryIn(Duration),
    /// None.
    GiveUp,
}

/// How long a file is tried for, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How retries are spread.
    pub backoff: Backoff,
    /// From its event on.
    pub give_up_after: Duration,
}

/// Decides what follows try number `tries` of a file whose event is `age` old.
pub fn next(setback: &Setback, tries: i32, age: Duration, patience: &Patience, jitter: f64) -> Next {
    match setback.trouble {
        Trouble::TooLarge | Trouble::ForbiddenAddress | Trouble::NotSupported | Trouble::SenderDeleted => Next::GiveUp,
        // What was removed on purpose is not fetched again.
        Trouble::Removed | Trouble::Erased => Next::GiveUp,
        Trouble::Gone if tries >= GONE_TRIES => Next::GiveUp,
        Trouble::Gone | Trouble::Unreachable | Trouble::WrongDigest | Trouble::Storage => {
            if age >= patience.give_up_after {
                return Next::GiveUp;
            }
            let asked = setback.retry_after.unwrap_or_default().min(RETRY_AFTER_CAP);
            Next::RetryIn(patience.backoff.delay(tries - 1, jitter).max(asked))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_secs(86_400);
    const PATIENCE: Patience =
        Patience { backoff: Backoff { first: SECOND, cap: Duration::from_secs(900) }, give_up_after: DAY };

    #[test]
    fn what_follows_is_a_table() {
        let retry = |seconds| Next::RetryIn(Duration::from_secs(seconds));
        for (trouble, tries, age, follows) in [
            (Trouble::TooLarge, 1, Duration::ZERO, Next::GiveUp),
            (Trouble::ForbiddenAddress, 1, Duration::ZERO, Next::GiveUp),
            (Trouble::NotSupported, 1, Duration::ZERO, Next::GiveUp),
            (Trouble::SenderDeleted, 1, Duration::ZERO, Next::GiveUp),
            (Trouble::Gone, 1, Duration::ZERO, retry(1)),
            (Trouble::Gone, 9, Duration::ZERO, retry(256)),
            (Trouble::Gone, 10, Duration::ZERO, Next::GiveUp),
            (Trouble::Gone, 1, DAY, Next::GiveUp),
            (Trouble::Unreachable, 1, Duration::ZERO, retry(1)),
            (Trouble::Unreachable, 40, DAY - SECOND, retry(900)),
            (Trouble::Unreachable, 1, DAY, Next::GiveUp),
            (Trouble::WrongDigest, 3, Duration::ZERO, retry(4)),
            (Trouble::WrongDigest, 3, DAY, Next::GiveUp),
            (Trouble::Storage, 2, Duration::ZERO, retry(2)),
            (Trouble::Storage, 2, DAY, Next::GiveUp),
        ] {
            let found = next(&Setback::new(trouble, ""), tries, age, &PATIENCE, 1.0);
            assert_eq!(found, follows, "{trouble:?}, try {tries}, {age:?} old");
        }
    }

    #[test]
    fn a_wish_to_wait_is_obeyed_within_an_hour() {
        for (asked, waited) in [(0, 1), (30, 30), (100_000, 3_600)] {
            let retry_after = Some(Duration::from_secs(asked));
            let setback = Setback { retry_after, ..Setback::new(Trouble::Unreachable, "") };
            assert_eq!(
                next(&setback, 1, Duration::ZERO, &PATIENCE, 1.0),
                Next::RetryIn(Duration::from_secs(waited)),
                "{asked} s"
            );
        }
    }
}
