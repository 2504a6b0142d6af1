//! A token bucket: so much at once, so much per second.

use core::time::Duration;

/// What may still be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    burst: u64,
    per_second: u64,
    left: u64,
    filled: Duration,
}

impl Budget {
    /// A full bucket.
    pub(super) const fn new(burst: u64, per_second: u64) -> Self {
        Self { burst, per_second, left: burst, filled: Duration::ZERO }
    }

    /// What may be spent now.
    pub(super) fn left(&mut self, now: Duration) -> u64 {
        let earned = now.saturating_sub(self.filled).as_millis() * u128::from(self.per_second);
        let earned = u64::try_from(earned / 1000).unwrap_or(u64::MAX);
        // Time that earned less than one is kept for the next call.
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(self.burst);
            self.filled = now;
        }
        self.left
    }

    /// Spends it; more than there is leaves nothing.
    pub(super) fn spend(&mut self, amount: u64) {
        self.left = self.left.saturating_sub(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_sequence_of_calls_spends_more_than_burst_and_rate_allow(
            steps in proptest::collection::vec((0_u64..2000, 0_u64..300), 1..100),
        ) {
            let mut budget = Budget::new(100, 50);
            let (mut now, mut spent) = (Duration::ZERO, 0);
            for (pause, wish) in steps {
                now += Duration::from_millis(pause);
                let amount = budget.left(now).min(wish);
                budget.spend(amount);
                spent += amount;
            }
            let allowed = 100 + u64::try_from(now.as_millis()).unwrap() * 50 / 1000;
            prop_assert!(spent <= allowed, "{} > {}", spent, allowed);
        }
    }

    #[test]
    fn small_steps_earn_as_much_as_a_large_one() {
        let mut budget = Budget::new(100, 50);
        budget.spend(100);
        let last = (1..=1000).map(|ms| budget.left(Duration::from_millis(ms))).last();
        assert_eq!(last, Some(50));
    }
}
