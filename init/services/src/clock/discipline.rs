//! What to do about an offset: step, slew, doubt, and when to ask again. No I/O.

use super::sample::{Nanos, Sample};

const MILLISECOND: Nanos = 1_000_000;
/// Offsets above this are stepped over, not slewed away: at the first answer at once, later when they were seen
/// [`CONFIRMATIONS`] times in a row.
const STEP: Nanos = 500 * MILLISECOND;
const CONFIRMATIONS: u8 = 3;
/// The fastest slew, in parts per billion; the kernel's limit is 500,000 with the drift included.
const FASTEST_PPB: i32 = 350_000;
/// What a crystal can be off by.
const LARGEST_DRIFT_PPB: i32 = 150_000;
/// An offset is slewed away in this many seconds where that is not too fast.
const SLEW_SECONDS: i64 = 64;
/// Pauses between questions, seconds.
const SHORTEST_PAUSE: u32 = 64;
const LONGEST_PAUSE: u32 = 1024;
/// Pauses while no answer is believed, seconds; they double.
const FIRST_RETRY: u32 = 4;
const LONGEST_RETRY: u32 = 512;
/// Below this the clock is good and is asked about less often; above the second one, more often.
const GOOD: Nanos = 10 * MILLISECOND;
const POOR: Nanos = 100 * MILLISECOND;
/// Drift is learnt only over this many seconds: over less, the network's jitter is mistaken for it.
const LEARNING_SECONDS: i64 = 256;

/// What to do with the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Correction {
    /// Set it forward or back by this much at once.
    Step(Nanos),
    /// Let it run faster or slower by `rate_ppb` for `milliseconds`, then by `drift_ppb` alone.
    Slew { rate_ppb: i32, milliseconds: u64, drift_ppb: i32 },
    /// Nothing yet: the offset is too large to be true unless it is seen again.
    Doubt,
}

/// What is known of the clock's behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Discipline {
    synced: bool,
    drift_ppb: i32,
    pause: u32,
    failures: u32,
    doubts: u8,
}

impl Discipline {
    pub(super) const fn new() -> Self {
        Self { synced: false, drift_ppb: 0, pause: SHORTEST_PAUSE, failures: 0, doubts: 0 }
    }

    /// Whether the clock has been set by an answer.
    pub(super) const fn is_synced(&self) -> bool {
        self.synced
    }

    /// Seconds until the next question.
    pub(super) fn pause(&self) -> u32 {
        if self.failures == 0 {
            return self.pause;
        }
        let doubled = FIRST_RETRY << self.failures.saturating_sub(1).min(16);
        if self.synced { doubled.clamp(SHORTEST_PAUSE, LONGEST_PAUSE) } else { doubled.min(LONGEST_RETRY) }
    }

    /// No answer was believed.
    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The kernel refused the correction: the clock is as good as never set.
    pub(super) fn not_applied(&mut self) {
        self.synced = false;
        self.failed();
    }

    /// Takes in the sample to go by; for `elapsed` seconds the clock has run at its own rate, drift corrected, alone.
    pub(super) fn correct(&mut self, sample: &Sample, elapsed: i64) -> Correction {
        self.failures = 0;
        let size = sample.offset.saturating_abs();
        if size > STEP {
            self.pause = SHORTEST_PAUSE;
            self.doubts = self.doubts.saturating_add(1);
            if self.synced && self.doubts < CONFIRMATIONS {
                return Correction::Doubt;
            }
            self.doubts = 0;
            self.synced = true;
            return Correction::Step(sample.offset);
        }
        self.doubts = 0;
        if self.synced {
            self.learn(sample, elapsed);
            self.pause = match size {
                0..GOOD => (self.pause * 2).min(LONGEST_PAUSE),
                POOR.. => (self.pause / 2).max(SHORTEST_PAUSE),
                _ => self.pause,
            };
        }
        self.synced = true;
        self.slew(sample.offset)
    }

    /// Moves the drift a quarter of the way to what the last interval shows, if that is more than noise.
    fn learn(&mut self, sample: &Sample, elapsed: i64) {
        if elapsed < LEARNING_SECONDS || sample.offset.saturating_abs() < sample.delay / 2 {
            return;
        }
        let seen = sample.offset / elapsed / 4;
        let limit = i64::from(LARGEST_DRIFT_PPB);
        let drift = (i64::from(self.drift_ppb) + seen).clamp(-limit, limit);
        self.drift_ppb = i32::try_from(drift).unwrap_or(0);
    }

    fn slew(&self, offset: Nanos) -> Correction {
        // Nanoseconds per second are parts per billion.
        let wanted = offset / SLEW_SECONDS;
        let limit = i64::from(FASTEST_PPB);
        let rate = wanted.clamp(-limit, limit);
        let seconds_thousandfold = offset.saturating_mul(1000).checked_div(rate);
        Correction::Slew {
            rate_ppb: i32::try_from(rate).unwrap_or(0),
            milliseconds: seconds_thousandfold.and_then(|time| u64::try_from(time).ok()).unwrap_or(0),
            drift_ppb: self.drift_ppb,
        }
    }
}

/// Where a step leads: never below the floor. Both in nanoseconds since 1970.
pub(super) fn stepped(now: Nanos, offset: Nanos, floor: Nanos) -> Nanos {
    now.saturating_add(offset).max(floor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(offset: Nanos) -> Sample {
        Sample { offset, delay: 20 * MILLISECOND, distance: 20 * MILLISECOND, stratum: 2 }
    }

    #[test]
    fn the_first_large_offset_is_stepped_at_once_in_either_direction() {
        for offset in [3_600_000 * MILLISECOND, -3_600_000 * MILLISECOND] {
            let mut discipline = Discipline::new();
            assert_eq!(discipline.correct(&sample(offset), 0), Correction::Step(offset));
            assert!(discipline.is_synced());
        }
    }

    #[test]
    fn a_small_offset_is_slewed_within_a_minute() {
        let mut discipline = Discipline::new();
        let expected = Correction::Slew { rate_ppb: 156_250, milliseconds: 64_000, drift_ppb: 0 };
        assert_eq!(discipline.correct(&sample(10 * MILLISECOND), 0), expected);
    }

    #[test]
    fn a_slew_is_never_faster_than_the_kernel_can() {
        let mut discipline = Discipline::new();
        let Correction::Slew { rate_ppb, milliseconds, .. } = discipline.correct(&sample(-STEP), 0) else {
            panic!("half a second is slewed");
        };
        assert_eq!(rate_ppb, -FASTEST_PPB);
        // 500 ms at 350 ppm.
        assert_eq!(milliseconds, 1_428_571);
        const { assert!(FASTEST_PPB + LARGEST_DRIFT_PPB <= 500_000) };
    }

    #[test]
    fn a_set_clock_jumps_only_when_the_jump_is_confirmed() {
        let mut discipline = Discipline::new();
        discipline.correct(&sample(0), 0);
        let far = sample(7_200_000 * MILLISECOND);
        assert_eq!(discipline.correct(&far, 64), Correction::Doubt);
        assert_eq!(discipline.correct(&far, 64), Correction::Doubt);
        assert_eq!(discipline.correct(&far, 64), Correction::Step(far.offset));
    }

    #[test]
    fn a_single_outlier_is_forgotten() {
        let mut discipline = Discipline::new();
        discipline.correct(&sample(0), 0);
        let far = sample(7_200_000 * MILLISECOND);
        for _ in 0..5 {
            assert_eq!(discipline.correct(&far, 64), Correction::Doubt);
            assert_ne!(discipline.correct(&sample(0), 64), Correction::Doubt);
        }
    }

    #[test]
    fn a_good_clock_is_asked_about_less_often_and_a_poor_one_more() {
        let mut discipline = Discipline::new();
        for _ in 0..9 {
            discipline.correct(&sample(MILLISECOND), 64);
        }
        assert_eq!(discipline.pause(), LONGEST_PAUSE);
        discipline.correct(&sample(200 * MILLISECOND), 64);
        assert_eq!(discipline.pause(), LONGEST_PAUSE / 2);
    }

    #[test]
    fn failures_back_off_and_a_success_ends_that() {
        let mut discipline = Discipline::new();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            discipline.failed();
            pauses.push(discipline.pause());
        }
        assert_eq!(pauses, [4, 8, 16, 32, 64, 128, 256, 512, 512, 512]);
        discipline.correct(&sample(0), 0);
        assert_eq!(discipline.pause(), SHORTEST_PAUSE);
    }

    #[test]
    fn a_correction_that_was_not_applied_does_not_count() {
        let mut discipline = Discipline::new();
        discipline.correct(&sample(2 * STEP), 0);
        discipline.not_applied();
        assert!(!discipline.is_synced());
        assert_eq!(discipline.correct(&sample(2 * STEP), 0), Correction::Step(2 * STEP));
    }

    #[test]
    fn a_steady_drift_is_learnt_over_long_intervals_alone() {
        let mut discipline = Discipline::new();
        discipline.correct(&sample(0), 0);
        discipline.correct(&sample(30 * MILLISECOND), 64);
        assert_eq!(discipline.drift_ppb, 0);
        // 30 ms in 1,000 s are 30,000 ppb; a quarter of it is taken.
        discipline.correct(&sample(30 * MILLISECOND), 1000);
        assert_eq!(discipline.drift_ppb, 7_500);
    }

    #[test]
    fn no_step_leads_below_the_floor() {
        assert_eq!(stepped(1_000, -5_000, 700), 700);
        assert_eq!(stepped(1_000, -100, 700), 900);
        assert_eq!(stepped(i64::MAX, i64::MAX, 700), i64::MAX);
    }

    proptest! {
        #[test]
        fn no_offset_overflows_and_the_rate_stays_within_the_limits(
            offsets in proptest::collection::vec((any::<i64>(), -10_i64..1_000_000), 1..20),
        ) {
            let mut discipline = Discipline::new();
            for (offset, elapsed) in offsets {
                if let Correction::Slew { rate_ppb, milliseconds, drift_ppb } =
                    discipline.correct(&sample(offset), elapsed)
                {
                    prop_assert!(rate_ppb.abs() + drift_ppb.abs() <= 500_000);
                    prop_assert!(milliseconds <= 1_428_572);
                }
                prop_assert!((SHORTEST_PAUSE..=LONGEST_PAUSE).contains(&discipline.pause()));
            }
        }
    }
}
