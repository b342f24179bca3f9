//! A circuit breaker per sender: while its provider cannot be reached, or refuses it, messages wait instead of failing or
//! falling in doubt one after the other. One message at a time finds out when that has passed.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::Millis;
use crate::domain::sender::SenderHealth;

/// Calls in a row that must fail before it opens. A refusal of the credentials is no accident, and opens it at once.
const RUN: u32 = 10;
/// The first wait and the longest, which it doubles to.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The same where somebody must do something first; a change of the sender ends the wait.
const WAIT_FOR_PEOPLE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));

/// How long a provider that cannot be reached is waited for before messages go to their fallback senders. A refusal is not
/// waited out: it ends when somebody acts.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a call showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// The provider answered.
    Fine,
    /// It could not be reached, did not answer, or failed.
    Failing,
    /// It refuses the sender as a whole.
    Refused(SenderHealth),
}

/// One sender's breaker, in this process.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    health: Option<SenderHealth>,
    /// Calls in a row that failed.
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    health: SenderHealth,
    wait: Duration,
    until: Instant,
    /// The message that finds out is under way.
    probing: bool,
    /// The sender's last change: another one may have mended it.
    version: Millis,
    since: Instant,
}

impl Breaker {
    /// Why messages that another sender may take are not to wait for this one, if they are not.
    pub fn passes_by(&self, now: Instant) -> Option<SenderHealth> {
        let open = self.open.as_ref()?;
        let patient = open.health == SenderHealth::Unreachable && now < open.since + PATIENCE;
        (!patient).then_some(open.health)
    }

    /// How many messages may be claimed, of those that there is room for; or until when none.
    pub fn room(&mut self, wanted: usize, version: Millis, now: Instant) -> Result<usize, Option<Instant>> {
        let Some(open) = &mut self.open else { return Ok(wanted) };
        if open.version != version {
            open.version = version;
            open.probing = false;
            open.until = now;
            open.wait = waits(open.health).0;
        }
        match (open.probing, open.until > now) {
            (true, _) => Err(None),
            (false, true) => Err(Some(open.until)),
            (false, false) => {
                open.probing = true;
                Ok(wanted.min(1))
            }
        }
    }

    /// A claim brought nothing, or nothing that went to the provider: nobody finds out.
    pub fn nothing_to_probe(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = false;
        }
    }

    /// A call ended. Answers how the sender stands, when that is another than it was, as far as this process knows.
    pub fn heard(&mut self, heard: Heard, version: Millis, now: Instant) -> Option<SenderHealth> {
        let health = match heard {
            Heard::Fine => {
                self.failures = 0;
                self.open = None;
                SenderHealth::Ok
            }
            Heard::Failing => {
                self.failures += 1;
                if self.open.is_none() && self.failures < RUN {
                    return None;
                }
                self.stay_open(SenderHealth::Unreachable, version, now);
                SenderHealth::Unreachable
            }
            Heard::Refused(health) => {
                self.stay_open(health, version, now);
                health
            }
        };
        let changed = self.health != Some(health);
        self.health = Some(health);
        changed.then_some(health)
    }

    fn stay_open(&mut self, health: SenderHealth, version: Millis, now: Instant) {
        let (first, longest) = waits(health);
        match &mut self.open {
            // What was under way when it opened changes nothing.
            Some(open) if !open.probing && open.health == health => {}
            Some(open) => {
                open.wait = if open.health == health { (open.wait * 2).min(longest) } else { first };
                open.health = health;
                open.until = now + open.wait;
                open.probing = false;
            }
            None => {
                let until = now + first;
                self.open = Some(Open { health, wait: first, until, probing: false, version, since: now });
            }
        }
    }
}

fn waits(health: SenderHealth) -> (Duration, Duration) {
    match health {
        SenderHealth::Ok | SenderHealth::Unreachable => WAIT,
        SenderHealth::CredentialsRefused | SenderHealth::Blocked => WAIT_FOR_PEOPLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: Millis = 1;

    fn after(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn a_run_of_failures_opens_it_and_one_probe_closes_it() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        assert_eq!(breaker.heard(Heard::Fine, V, now), Some(SenderHealth::Ok));
        for _ in 1..RUN {
            assert_eq!(breaker.heard(Heard::Failing, V, now), None);
        }
        assert_eq!(breaker.heard(Heard::Fine, V, now), None, "not a run");
        for _ in 1..RUN {
            assert_eq!(breaker.heard(Heard::Failing, V, now), None);
        }
        assert_eq!(breaker.room(256, V, now), Ok(256));
        assert_eq!(breaker.heard(Heard::Failing, V, now), Some(SenderHealth::Unreachable));
        assert_eq!(breaker.heard(Heard::Failing, V, now), None, "under way when it opened");
        assert_eq!(breaker.room(256, V, now), Err(Some(after(now, 1))));
        assert_eq!(breaker.room(256, V, after(now, 1)), Ok(1));
        assert_eq!(breaker.room(256, V, after(now, 1)), Err(None), "one finds out, and no more");
        assert_eq!(breaker.heard(Heard::Fine, V, after(now, 2)), Some(SenderHealth::Ok));
        assert_eq!(breaker.room(256, V, after(now, 2)), Ok(256));
    }

    #[test]
    fn probes_that_fail_come_rarer_up_to_a_minute() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..RUN {
            breaker.heard(Heard::Failing, V, now);
        }
        let mut waits = Vec::new();
        for _ in 0..8 {
            let Err(Some(until)) = breaker.room(1, V, now) else { panic!("{breaker:?}") };
            waits.push((until - now).as_secs());
            now = until;
            assert_eq!(breaker.room(1, V, now), Ok(1));
            assert_eq!(breaker.heard(Heard::Failing, V, now), None);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn refused_credentials_open_it_at_once_and_a_change_of_the_sender_probes() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        let refused = Heard::Refused(SenderHealth::CredentialsRefused);
        assert_eq!(breaker.heard(refused, V, now), Some(SenderHealth::CredentialsRefused));
        assert_eq!(breaker.room(9, V, now), Err(Some(after(now, 30))));
        assert_eq!(breaker.room(9, V + 1, now), Ok(1));
        assert_eq!(breaker.heard(refused, V + 1, now), None);
        assert!(matches!(breaker.room(9, V + 1, now), Err(Some(_))));
        assert_eq!(breaker.room(9, V + 2, now), Ok(1));
        assert_eq!(breaker.heard(Heard::Fine, V + 2, now), Some(SenderHealth::Ok));
    }

    #[test]
    fn who_has_a_fallback_waits_10_seconds_for_the_network_and_not_for_people() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        assert_eq!(breaker.passes_by(now), None);
        for _ in 0..RUN {
            breaker.heard(Heard::Failing, V, now);
        }
        assert_eq!(breaker.passes_by(after(now, 9)), None);
        breaker.heard(Heard::Failing, V, after(now, 9));
        assert_eq!(breaker.passes_by(after(now, 10)), Some(SenderHealth::Unreachable));
        breaker.heard(Heard::Fine, V, after(now, 10));
        assert_eq!(breaker.passes_by(after(now, 20)), None);
        breaker.heard(Heard::Refused(SenderHealth::Blocked), V, after(now, 20));
        assert_eq!(breaker.passes_by(after(now, 20)), Some(SenderHealth::Blocked));
    }

    #[test]
    fn a_probe_without_a_message_is_none() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.heard(Heard::Refused(SenderHealth::Blocked), V, now);
        let later = after(now, 31);
        assert_eq!(breaker.room(5, V, later), Ok(1));
        breaker.nothing_to_probe();
        assert_eq!(breaker.room(5, V, later), Ok(1));
    }
}
