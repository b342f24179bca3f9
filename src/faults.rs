//! Faults that a test plants in the process from outside: death at a chosen step of a message's way, and a wrong clock.
//! Compiled in only with the feature `faults`, which nothing but this crate's own tests and benchmarks turns on: what is
//! shipped does not contain it (docs/decisions/0021).

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::domain::Millis;

/// The steps at which a process can be told to die: `FAULT_CRASH_AT=claim.committed:3` is the third time that it gets there.
/// `written`: inside of the transaction, everything is written; `committed`: it is durable, and nobody has heard of it.
pub const STEPS: &[&str] = &[
    "accept.written",
    "accept.committed",
    "claim.written",
    "claim.committed",
    "call.begins",
    "call.ended",
    "outcome.written",
    "outcome.committed",
    "journal.written",
    "journal.committed",
    "intake.written",
    "intake.committed",
    "timers.written",
    "timers.committed",
];

/// The same on a callback's way. `post.begins` and `post.ended`: before the POST, and when its answer has come and nothing is
/// written of it.
pub const CALLBACK_STEPS: &[&str] = &["post.begins", "post.ended", "posts.written", "posts.committed"];

struct Plan {
    step: (String, String),
    times: AtomicU64,
}

/// Dies here, if this is the step, and now the time. As after SIGKILL, nothing is written, said or closed any more.
pub(crate) fn reach(piece: &str, how_far: &str) {
    static PLAN: LazyLock<Option<Plan>> = LazyLock::new(|| plan(&std::env::var("FAULT_CRASH_AT").ok()?));
    if let Some(plan) = &*PLAN
        && plan.step.0 == piece
        && plan.step.1 == how_far
        && plan.times.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

fn plan(text: &str) -> Option<Plan> {
    let (step, times) = text.split_once(':').unwrap_or((text, "1"));
    let times = times.parse::<u64>().ok().filter(|times| *times > 0);
    let known = STEPS.contains(&step) || CALLBACK_STEPS.contains(&step);
    assert!(known && times.is_some(), "FAULT_CRASH_AT is {text:?}; it is STEP:TIMES, of {STEPS:?} {CALLBACK_STEPS:?}");
    let (piece, how_far) = step.split_once('.')?;
    Some(Plan { step: (piece.to_owned(), how_far.to_owned()), times: AtomicU64::new(times?) })
}

thread_local! {
    /// The clock of a test that has one of its own; it runs on one thread.
    static CLOCK: Cell<Option<Millis>> = const { Cell::new(None) };
}

/// Stops this thread's clock at a time.
pub fn set_clock(now: Millis) {
    CLOCK.set(Some(now));
}

/// What our clock shows when the true time is `now`: with `FAULT_CLOCK=+60s` or `-30s` it is wrong, in a world whose
/// [`time`] may be another.
pub(crate) fn clock(now: Millis) -> Millis {
    static WRONG: LazyLock<Warp> = LazyLock::new(|| Warp::given("FAULT_CLOCK"));
    CLOCK.get().unwrap_or_else(|| WRONG.of(time(now)))
}

/// What time it is for everybody, the database included, when it is really `now`: with `FAULT_TIME=+26h` tomorrow, with `x1440`
/// a day takes a minute.
pub(crate) fn time(now: Millis) -> Millis {
    static TIME: LazyLock<Warp> = LazyLock::new(|| Warp::given("FAULT_TIME"));
    TIME.of(now)
}

/// A change of time.
struct Warp {
    offset_ms: Millis,
    speed: Millis,
    since: Instant,
}

impl Warp {
    fn given(variable: &str) -> Self {
        let text = std::env::var(variable).unwrap_or_else(|_| "+0s".into());
        Self::parse(&text).unwrap_or_else(|| panic!("{variable} is {text:?}; it is +60s, -30s or x1440"))
    }

    fn parse(text: &str) -> Option<Self> {
        let (sign, rest) = text.split_at_checked(1)?;
        let offset = || Some(humantime::parse_duration(rest).ok()?.as_millis() as Millis);
        let (offset_ms, speed) = match sign {
            "+" => (offset()?, 1),
            "-" => (-offset()?, 1),
            "x" => (0, rest.parse().ok().filter(|speed| *speed > 0)?),
            _ => return None,
        };
        Some(Self { offset_ms, speed, since: Instant::now() })
    }

    fn of(&self, now: Millis) -> Millis {
        now + self.offset_ms + self.since.elapsed().as_millis() as Millis * (self.speed - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_behind_or_fast() {
        let shows = |text| Warp::parse(text).map(|warp| (warp.offset_ms, warp.speed));
        assert_eq!(shows("+1m"), Some((60_000, 1)));
        assert_eq!(shows("-30s"), Some((-30_000, 1)));
        assert_eq!(shows("x1440"), Some((0, 1_440)));
        assert_eq!([shows("1440"), shows("x0"), shows("+soon"), shows("")], [None; 4]);
    }

    #[test]
    fn a_plan_names_a_step_and_a_time() {
        let plan = plan("claim.committed:3").unwrap();
        assert_eq!(plan.step, ("claim".to_owned(), "committed".to_owned()));
        assert_eq!(plan.times.into_inner(), 3);
        assert!(std::panic::catch_unwind(|| super::plan("claim.comitted:3")).is_err());
    }
}
