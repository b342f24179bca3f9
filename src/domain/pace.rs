//! How fast a sender sends: pure arithmetic over one row that all replicas share.
//!
//! Messages get slots, evenly spread: a bucket that may be emptied at once would let twice the rate through within one second.
//! A slot lies at most [`HORIZON_US`] ahead, so little is in hand that waits.

use serde::{Deserialize, Serialize};

use super::Millis;

/// How far ahead slots are given, in microseconds.
pub const HORIZON_US: i64 = 200_000;
/// Of the rate that was set, so much is used: calls take their time, so slots that are evenly spread here arrive a little
/// less so, and no second may see more than the rate.
const USED: f64 = 0.97;
/// What is late goes a little closer together than its slots, or it would stay late for ever; but not so close that calls
/// which arrive unevenly would pass the rate.
pub const CATCH_UP: f64 = (1.0 + USED) / 2.0;
/// A throttling halves the rate, down to this part of it.
const FACTOR_MIN: f64 = 1.0 / 64.0;
/// From the lowest part back to the whole rate.
const RECOVERY_MS: f64 = 120_000.0;
/// What is throttled within so short a time was under way together, and is one throttling.
const ONE_THROTTLING_MS: Millis = 1_000;

/// A provider that says how much of its limit is used is not waited for to throttle: from this part on the sender goes slower,
/// down to the lowest part of its rate where all is used.
pub const STRAINED: f64 = 0.8;

/// What a sender may do, as it is set or as its provider allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rate {
    /// Messages per second, more than 0; nothing: as many as go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// Time in which one person's allowance grows by one message; nothing: no limit per person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_interval_ms: Option<Millis>,
    /// How many messages a person may get at once before that counts; nothing: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_burst: Option<u32>,
}

impl Rate {
    /// The same, with what is not set taken from the provider.
    pub fn or(self, provider: Rate) -> Rate {
        Rate {
            per_second: self.per_second.or(provider.per_second),
            contact_interval_ms: self.contact_interval_ms.or(provider.contact_interval_ms),
            contact_burst: self.contact_burst.or(provider.contact_burst),
        }
    }

    /// What one person may get: the interval, and by how much the burst is ahead of it.
    pub fn contact(&self) -> Option<(Millis, Millis)> {
        let interval = self.contact_interval_ms.filter(|interval| *interval > 0)?;
        Some((interval, interval.saturating_mul(Millis::from(self.contact_burst.unwrap_or(1).max(1)) - 1)))
    }
}

/// One person's allowance, as [`Rate::contact`] limits it: when it is whole again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContactPace {
    /// Empty or past: it is whole.
    pub whole_at_ms: Millis,
}

impl ContactPace {
    /// How many messages the person may get at once.
    pub fn allowance(&self, (interval, ahead): (Millis, Millis), now: Millis) -> i64 {
        let used = (self.whole_at_ms - now).max(0);
        ((ahead + interval - used).div_euclid(interval)).max(0)
    }

    /// When the person may get the message that comes after so many others.
    pub fn time_after(&self, others: u64, (interval, ahead): (Millis, Millis), now: Millis) -> Millis {
        let others = Millis::try_from(others).unwrap_or(Millis::MAX).saturating_mul(interval);
        (self.whole_at_ms.max(now).saturating_add(others) - ahead).max(now)
    }
}

/// Where a sender stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The next free slot, in microseconds of Unix time.
    pub slot_at_us: i64,
    /// Nothing goes before, in milliseconds.
    pub hold_until_ms: Millis,
    /// Part of the rate that is used since the last throttling, 0 to 1.
    pub factor: f64,
    /// When that was.
    pub factor_at_ms: Millis,
}

impl Default for Pace {
    fn default() -> Self {
        Self { slot_at_us: 0, hold_until_ms: 0, factor: 1.0, factor_at_ms: 0 }
    }
}

impl Pace {
    /// The part of the rate that may be used now: it grows back evenly.
    pub fn factor_at(&self, now_ms: Millis) -> f64 {
        let elapsed = now_ms.saturating_sub(self.factor_at_ms).max(0) as f64;
        (self.factor + elapsed / RECOVERY_MS).clamp(FACTOR_MIN, 1.0)
    }

    fn interval_us(&self, per_second: f64, now_ms: Millis) -> i64 {
        (1_000_000.0 / (per_second * USED * self.factor_at(now_ms))).ceil() as i64
    }

    fn first_slot_us(&self, now_us: i64) -> i64 {
        self.slot_at_us.max(self.hold_until_ms.saturating_mul(1_000)).max(now_us)
    }

    /// How many messages may be taken in hand now.
    pub fn room(&self, per_second: f64, now_us: i64) -> u64 {
        let ahead = now_us + HORIZON_US - self.first_slot_us(now_us);
        if ahead <= 0 { 0 } else { (ahead / self.interval_us(per_second, now_us / 1_000)) as u64 + 1 }
    }

    /// Gives slots to so many messages; how long each waits from now, in microseconds.
    pub fn take(&mut self, count: usize, per_second: f64, now_us: i64) -> Vec<i64> {
        let interval = self.interval_us(per_second, now_us / 1_000);
        let first = self.first_slot_us(now_us);
        let slots: Vec<i64> = (0..count as i64).map(|n| first + n * interval).collect();
        if let Some(last) = slots.last() {
            self.slot_at_us = last + interval;
        }
        slots.into_iter().map(|slot| slot - now_us).collect()
    }

    /// How long until there is room again, in microseconds.
    pub fn room_in_us(&self, now_us: i64) -> i64 {
        // Half a horizon: asking for each slot by itself would be a transaction for each message.
        (self.first_slot_us(now_us) - now_us - HORIZON_US / 2).max(1_000)
    }

    /// Messages per second that may go now.
    pub fn in_force(&self, per_second: f64, now_ms: Millis) -> f64 {
        per_second * self.factor_at(now_ms)
    }

    /// When the slot lies that comes after so many others, in microseconds, if nothing changes.
    pub fn slot_after(&self, others: u64, per_second: f64, now_us: i64) -> i64 {
        let others = i64::try_from(others).unwrap_or(i64::MAX);
        let ahead = self.interval_us(per_second, now_us / 1_000).saturating_mul(others);
        self.first_slot_us(now_us).saturating_add(ahead)
    }

    /// The provider says that so much of its limit is used; 1 is all.
    pub fn strained(&mut self, used: f64, now_ms: Millis) {
        let factor = ((1.0 - used) / (1.0 - STRAINED)).clamp(FACTOR_MIN, 1.0);
        if factor < self.factor_at(now_ms) {
            self.factor = factor;
            self.factor_at_ms = now_ms;
        }
    }

    /// The provider throttled the sender.
    pub fn throttled(&mut self, retry_after_ms: Option<Millis>, now_ms: Millis) {
        if let Some(wait) = retry_after_ms {
            self.hold_until_ms = self.hold_until_ms.max(now_ms + wait);
        }
        if now_ms - self.factor_at_ms >= ONE_THROTTLING_MS {
            self.factor = (self.factor_at(now_ms) / 2.0).max(FACTOR_MIN);
            self.factor_at_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_600_000_000;

    /// Takes all that there is room for, every `step_us`, for `seconds`; gives the slots.
    fn run(pace: &mut Pace, per_second: f64, seconds: i64, step_us: i64) -> Vec<i64> {
        let mut slots = Vec::new();
        let mut now = NOW;
        while now < NOW + seconds * 1_000_000 {
            let room = pace.room(per_second, now) as usize;
            slots.extend(pace.take(room, per_second, now).into_iter().map(|wait| now + wait));
            now += step_us;
        }
        slots
    }

    #[test]
    fn no_second_sees_more_than_the_rate_and_little_is_wasted() {
        for per_second in [1.0, 3.5, 80.0, 1_000.0] {
            for step_us in [7_000, 50_000, 150_000] {
                let slots = run(&mut Pace::default(), per_second, 20, step_us);
                assert!(slots.is_sorted());
                for (i, first) in slots.iter().enumerate() {
                    let in_window = slots[i..].iter().take_while(|slot| **slot < first + 1_000_000).count();
                    assert!(in_window as f64 <= per_second.ceil(), "{in_window} of {per_second} within a second");
                }
                assert!(slots.len() as f64 >= 20.0 * per_second * 0.95 - 1.0, "{} of {per_second}", slots.len());
            }
        }
    }

    #[test]
    fn an_idle_sender_saves_nothing_up() {
        let mut pace = Pace::default();
        pace.take(1, 80.0, NOW - 3_600_000_000);
        assert_eq!(pace.room(80.0, NOW), Pace::default().room(80.0, NOW));
    }

    #[test]
    fn o17_throttling_halves_the_rate_once_and_it_grows_back() {
        let now_ms = NOW / 1_000;
        let mut pace = Pace::default();
        for n in 0..10 {
            pace.throttled(None, now_ms + n);
        }
        assert_eq!(pace.factor_at(now_ms), 0.5);
        pace.throttled(None, now_ms + 1_000);
        assert!((0.24..0.27).contains(&pace.factor_at(now_ms + 1_000)));
        assert_eq!(pace.factor_at(now_ms + 121_000), 1.0);
        for n in 2..100 {
            pace.throttled(None, now_ms + n * 1_000);
        }
        assert!(pace.factor_at(now_ms + 99_000) >= FACTOR_MIN);
    }

    #[test]
    fn o3_a_limit_that_is_nearly_used_up_slows_before_it_throttles() {
        let now_ms = NOW / 1_000;
        let factor = |used| {
            let mut pace = Pace::default();
            pace.strained(used, now_ms);
            pace.factor_at(now_ms)
        };
        assert_eq!([factor(0.0), factor(0.8), factor(1.0), factor(7.0)], [1.0, 1.0, FACTOR_MIN, FACTOR_MIN]);
        assert!((0.49..0.51).contains(&factor(0.9)));
        let mut pace = Pace::default();
        pace.throttled(None, now_ms);
        pace.strained(0.85, now_ms);
        assert_eq!(pace.factor_at(now_ms), 0.5, "what throttling took is not given back");
    }

    #[test]
    fn o3_nothing_goes_before_the_provider_wants_it() {
        let now_ms = NOW / 1_000;
        let mut pace = Pace::default();
        pace.throttled(Some(3_000), now_ms);
        assert_eq!((pace.room(80.0, NOW), pace.room(80.0, NOW + 2_799_000)), (0, 0));
        assert!(pace.room_in_us(NOW) <= 3_000_000);
        assert_eq!(pace.take(1, 80.0, NOW + 2_900_000), [100_000]);
    }

    #[test]
    fn what_comes_after_others_is_foreseen_as_it_will_be_taken() {
        let mut pace = Pace::default();
        pace.take(3, 10.0, NOW);
        let foreseen = pace.slot_after(4, 10.0, NOW);
        assert_eq!(pace.take(5, 10.0, NOW).last(), Some(&(foreseen - NOW)));
        assert_eq!(pace.in_force(10.0, NOW / 1_000), 10.0);
        pace.throttled(None, NOW / 1_000);
        assert_eq!(pace.in_force(10.0, NOW / 1_000), 5.0);
    }

    #[test]
    fn o18_a_persons_allowance_is_foreseen() {
        let now = 1_000_000;
        // One in 6 s, three at once.
        let limit = Rate { contact_interval_ms: Some(6_000), contact_burst: Some(3), ..Rate::default() };
        let limit = limit.contact().unwrap();
        for (whole_in, allowance, next_in, third_in) in [
            (-50_000, 3, 0, 0),
            (0, 3, 0, 0),
            (6_000, 2, 0, 6_000),
            (12_000, 1, 0, 12_000),
            (18_000, 0, 6_000, 18_000),
            (17_000, 0, 5_000, 17_000),
        ] {
            let contact = ContactPace { whole_at_ms: now + whole_in };
            assert_eq!(contact.allowance(limit, now), allowance, "{whole_in}");
            assert_eq!(contact.time_after(0, limit, now), now + next_in, "{whole_in}");
            assert_eq!(contact.time_after(2, limit, now), now + third_in, "{whole_in}");
        }
    }

    #[test]
    fn what_is_not_set_is_the_providers() {
        let provider = Rate { per_second: Some(80.0), contact_interval_ms: Some(6_000), contact_burst: Some(45) };
        assert_eq!(Rate::default().or(provider), provider);
        let own = Rate { per_second: Some(10.0), contact_interval_ms: Some(0), contact_burst: None };
        assert_eq!(own.or(provider).per_second, Some(10.0));
        assert_eq!(own.or(provider).contact(), None, "zero: no limit per person");
        assert_eq!(provider.contact(), Some((6_000, 44 * 6_000)));
    }
}
