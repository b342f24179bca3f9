//! Callbacks: what follows a POST, for the callback and for the endpoint that it went to. Pure: the store loads both, asks
//! here, and writes back what came of it.

use std::time::Duration;

use super::event::Event;
use super::{EventId, MessageId, MessageStatus, Millis, SenderId};

/// An endpoint's wish to wait is obeyed up to this long.
pub const RETRY_AFTER_CAP: Duration = Duration::from_secs(3_600);
/// Failures in a row after which one POST at a time finds out whether the endpoint works.
const RUN: i32 = 10;
/// The first wait of such an endpoint, and the longest, which it doubles to.
const HOLD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Part of a wait that chance may add.
const JITTER: f64 = 0.2;

/// Where an event is POSTed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackTo {
    /// http or https, as it was given.
    pub url: String,
    /// Where the message stood before the event.
    pub previous: Option<MessageStatus>,
}

impl CallbackTo {
    /// To an address, if there is one.
    pub fn given(url: &str, previous: Option<MessageStatus>) -> Option<Self> {
        (!url.is_empty()).then(|| Self { url: url.to_owned(), previous })
    }
}

/// How a callback stands. The numbers are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum CallbackState {
    /// To be tried, now or again.
    Pending = 1,
    /// The endpoint answered 2xx.
    Delivered = 2,
    /// Given up.
    Dead = 3,
}

impl CallbackState {
    /// The state of that number.
    pub fn from_number(number: i32) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Dead].into_iter().find(|state| *state as i32 == number)
    }
}

/// The POST of one event, as an operator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Callback {
    /// The event's place in the log.
    pub position: i64,
    /// The event's id.
    pub id: EventId,
    /// The message or incoming message that it is about.
    pub message_id: MessageId,
    /// Whose event it is.
    pub sender: SenderId,
    /// Where it goes. May hold a token: never logged.
    pub url: String,
    /// How it stands.
    pub state: CallbackState,
    /// When its event was recorded.
    pub create_at_ms: Millis,
    /// The next try; nothing when there is none.
    pub next_at_ms: Option<Millis>,
    /// First to last.
    pub attempts: Vec<CallbackAttempt>,
}

/// One POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackAttempt {
    /// 1 is the first.
    pub number: i32,
    /// When it was started.
    pub start_at_ms: Millis,
    /// How long it took.
    pub elapsed_ms: Millis,
    /// HTTP status; nothing when no answer came.
    pub http_status: Option<u16>,
    /// The beginning of the answer, or what happened instead.
    pub answer: String,
}

/// A callback whose turn has come.
#[derive(Debug, Clone)]
pub struct DueCallback {
    /// The event's place in the log.
    pub position: i64,
    /// Where it goes.
    pub to: CallbackTo,
    /// Attempts made before.
    pub attempts: i32,
    /// What it says; nothing when the event is no longer kept.
    pub event: Option<Event>,
}

/// What a POST showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx.
    Delivered,
    /// 410: the endpoint is gone.
    Gone,
    /// Anything else, or nothing.
    Failed {
        /// The endpoint's wish to wait.
        retry_after: Option<Duration>,
    },
    /// There is nothing to post, or nobody to sign it; the endpoint was not asked.
    Pointless,
}

/// Reads an answer's status. A redirect is a failure: nobody is led on with what was signed for another. Only 410 is final:
/// receivers deploy wrong versions, and answer 404 or 401 for an hour.
pub fn verdict(status: u16, retry_after: Option<Duration>) -> Verdict {
    // 429 without a wish wants at least a moment.
    let moment = (status == 429).then_some(HOLD.0);
    match status {
        200..=299 => Verdict::Delivered,
        410 => Verdict::Gone,
        429 | 502 | 503 | 504 => {
            Verdict::Failed { retry_after: retry_after.map(|wait| wait.min(RETRY_AFTER_CAP)).or(moment) }
        }
        _ => Verdict::Failed { retry_after: None },
    }
}

/// How long callbacks and endpoints are tried for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The wait before each retry.
    pub waits: Vec<Duration>,
    /// An endpoint without a success for so long is disabled.
    pub disable_after: Duration,
}

/// What follows a POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Delivered.
    Done,
    /// Once more, then.
    RetryAt(Millis),
    /// Given up.
    GiveUp,
}

/// Decides what follows attempt number `tries` (from 1) of a callback; `jitter` is drawn evenly from 0 to 1.
pub fn next(verdict: Verdict, tries: i32, now: Millis, policy: &Policy, jitter: f64) -> Next {
    match verdict {
        Verdict::Delivered => Next::Done,
        Verdict::Gone | Verdict::Pointless => Next::GiveUp,
        Verdict::Failed { retry_after } => {
            let step = usize::try_from(tries - 1).unwrap_or_default();
            let Some(wait) = policy.waits.get(step) else { return Next::GiveUp };
            let wait = wait.mul_f64(1.0 + JITTER * jitter.clamp(0.0, 1.0));
            Next::RetryAt(later(now, wait.max(retry_after.unwrap_or_default())))
        }
    }
}

/// Whether an endpoint is in use. The numbers are the tables'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum EndpointState {
    /// It is posted to.
    Active = 1,
    /// It failed for too long.
    Disabled = 2,
    /// It answered 410.
    Gone = 3,
}

impl EndpointState {
    /// The state of that number.
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Active, Self::Disabled, Self::Gone].into_iter().find(|state| *state as i16 == number)
    }
}

/// How an endpoint stands: one address without its query, of one sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is in use.
    pub state: EndpointState,
    /// Failures in a row.
    pub failures: i32,
    /// Since when there was no success.
    pub failing_since_ms: Option<Millis>,
    /// Nothing is posted before.
    pub hold_until_ms: Millis,
}

impl Standing {
    /// One of which nothing bad is known.
    pub const GOOD: Self = Self { state: EndpointState::Active, failures: 0, failing_since_ms: None, hold_until_ms: 0 };

    /// The standing after a POST. Disabling is for the caller to carry out: it comes with an event.
    #[must_use]
    pub fn after(self, verdict: Verdict, now: Millis, policy: &Policy, jitter: f64) -> Self {
        let retry_after = match verdict {
            Verdict::Delivered => return Self { hold_until_ms: self.hold_until_ms, ..Self::GOOD },
            Verdict::Pointless => return self,
            Verdict::Gone => return Self { state: EndpointState::Gone, ..self },
            Verdict::Failed { retry_after } => retry_after,
        };
        let failures = self.failures.saturating_add(1);
        let since = self.failing_since_ms.unwrap_or(now);
        let over = now.saturating_sub(since) >= millis(policy.disable_after);
        let doublings = u32::try_from(failures - RUN).ok().map(|over| over.min(16));
        // Half of the wait is chance: endpoints of one host should not come back together.
        let hold = doublings.map(|n| (HOLD.0 * (1 << n)).min(HOLD.1).mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0)));
        let wait = hold.unwrap_or_default().max(retry_after.unwrap_or_default());
        let hold_until_ms = if wait.is_zero() { self.hold_until_ms } else { self.hold_until_ms.max(later(now, wait)) };
        Self {
            state: if over { EndpointState::Disabled } else { self.state },
            failures,
            failing_since_ms: Some(since),
            hold_until_ms,
        }
    }

    /// How many POSTs may be under way, where there is room for `most`.
    pub fn room(self, most: usize, now: Millis) -> usize {
        match self.state {
            EndpointState::Active if self.hold_until_ms > now => 0,
            EndpointState::Active if self.failures >= RUN => most.min(1),
            EndpointState::Active => most,
            EndpointState::Disabled | EndpointState::Gone => 0,
        }
    }
}

fn later(now: Millis, wait: Duration) -> Millis {
    now.saturating_add(millis(wait))
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR_MS: Millis = 3_600_000;

    fn policy() -> Policy {
        Policy { waits: vec![SECOND * 5, SECOND * 300], disable_after: SECOND * 3_600 }
    }

    fn failed(retry_after_s: Option<u64>) -> Verdict {
        Verdict::Failed { retry_after: retry_after_s.map(Duration::from_secs) }
    }

    #[test]
    fn what_an_answer_means_is_a_table() {
        for (status, retry_after_s, expected) in [
            (200, None, Verdict::Delivered),
            (204, Some(30), Verdict::Delivered),
            (299, None, Verdict::Delivered),
            (100, None, failed(None)),
            (301, None, failed(None)),
            (307, None, failed(None)),
            (400, None, failed(None)),
            (401, Some(30), failed(None)),
            (404, None, failed(None)),
            (410, None, Verdict::Gone),
            (429, None, failed(Some(1))),
            (429, Some(30), failed(Some(30))),
            (429, Some(86_400), failed(Some(3_600))),
            (500, Some(30), failed(None)),
            (502, Some(30), failed(Some(30))),
            (503, Some(30), failed(Some(30))),
            (503, None, failed(None)),
            (504, Some(30), failed(Some(30))),
            (599, None, failed(None)),
        ] {
            assert_eq!(verdict(status, retry_after_s.map(Duration::from_secs)), expected, "{status} {retry_after_s:?}");
        }
    }

    #[test]
    fn what_follows_is_a_table() {
        for (verdict, tries, jitter, expected) in [
            (Verdict::Delivered, 1, 0.0, Next::Done),
            (Verdict::Delivered, 99, 0.0, Next::Done),
            (Verdict::Gone, 1, 0.0, Next::GiveUp),
            (Verdict::Pointless, 1, 0.0, Next::GiveUp),
            (failed(None), 1, 0.0, Next::RetryAt(5_000)),
            (failed(None), 1, 1.0, Next::RetryAt(6_000)),
            (failed(None), 2, 0.0, Next::RetryAt(300_000)),
            (failed(None), 3, 0.0, Next::GiveUp),
            (failed(Some(2)), 1, 0.0, Next::RetryAt(5_000)),
            (failed(Some(60)), 1, 0.0, Next::RetryAt(60_000)),
            (failed(Some(60)), 3, 0.0, Next::GiveUp),
        ] {
            assert_eq!(next(verdict, tries, 0, &policy(), jitter), expected, "{verdict:?}, attempt {tries}");
        }
    }

    #[test]
    fn an_endpoint_that_fails_is_slowed_and_one_success_ends_that() {
        let mut standing = Standing::GOOD;
        for n in 1..RUN {
            standing = standing.after(failed(None), 0, &policy(), 1.0);
            assert_eq!((standing.failures, standing.room(32, 0)), (n, 32));
        }
        for hold_s in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            standing = standing.after(failed(None), 0, &policy(), 1.0);
            assert_eq!(standing.hold_until_ms, hold_s * 1_000);
            assert_eq!((standing.room(32, hold_s * 1_000 - 1), standing.room(32, hold_s * 1_000)), (0, 1));
        }
        let mended = standing.after(Verdict::Delivered, 300_000, &policy(), 1.0);
        assert_eq!((mended.failures, mended.failing_since_ms, mended.room(32, 300_000)), (0, None, 32));
    }

    #[test]
    fn a_wish_to_wait_holds_the_whole_endpoint() {
        let standing = Standing::GOOD.after(failed(Some(30)), 1_000, &policy(), 0.5);
        assert_eq!((standing.room(32, 30_999), standing.room(32, 31_000)), (0, 32));
        // What was under way when the wish came does not end it.
        let delivered = standing.after(Verdict::Delivered, 1_100, &policy(), 0.5);
        assert_eq!((delivered.room(32, 30_999), delivered.failing_since_ms), (0, None));
    }

    #[test]
    fn an_endpoint_is_disabled_after_its_time_without_a_success_and_gone_at_once() {
        let mut standing = Standing::GOOD;
        for (now, state) in
            [(0, EndpointState::Active), (HOUR_MS - 1, EndpointState::Active), (HOUR_MS, EndpointState::Disabled)]
        {
            standing = standing.after(failed(None), now, &policy(), 0.0);
            assert_eq!(standing.state, state, "{now}");
        }
        assert_eq!(standing.room(32, HOUR_MS * 9), 0);
        assert_eq!(Standing::GOOD.after(Verdict::Gone, 0, &policy(), 0.0).state, EndpointState::Gone);
        assert_eq!(Standing::GOOD.after(Verdict::Pointless, 0, &policy(), 0.0), Standing::GOOD);
        let mended = Standing::GOOD.after(failed(None), 0, &policy(), 0.0).after(Verdict::Delivered, 1, &policy(), 0.0);
        assert_eq!(mended.after(failed(None), HOUR_MS, &policy(), 0.0).state, EndpointState::Active);
    }
}
