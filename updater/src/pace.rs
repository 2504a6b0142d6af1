//! How fast the spare slot is written.

use std::time::{Duration, Instant};

/// Spreads bytes over time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    rate: u64,
    due: Instant,
}

impl Pace {
    /// At most `rate` bytes per second; 0: no limit.
    pub fn new(rate: u64) -> Self {
        Self { rate, due: Instant::now() }
    }

    /// Returns when so many more bytes may be written.
    pub fn wait(&mut self, bytes: usize) {
        let pause = self.pause(bytes, Instant::now());
        let until = Instant::now() + pause;
        // A thread may be woken early.
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
    }

    /// How long to wait before writing `bytes`. What was not used is not saved up.
    fn pause(&mut self, bytes: usize, now: Instant) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let start = self.due.max(now);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.due = start + Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.rate);
        start.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_spreads_writes_over_time() {
        let now = Instant::now();
        let mut pace = Pace { rate: 1000, due: now };
        assert_eq!(pace.pause(500, now), Duration::ZERO);
        assert_eq!(pace.pause(500, now), Duration::from_millis(500));
        assert_eq!(pace.pause(500, now), Duration::from_secs(1));
        let later = now + Duration::from_secs(10);
        assert_eq!(pace.pause(1, later), Duration::ZERO);
        assert_eq!(Pace { rate: 0, due: now }.pause(usize::MAX, now), Duration::ZERO);
    }
}
