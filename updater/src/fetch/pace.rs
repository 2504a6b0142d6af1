//! How fast a transfer may be, and how slow.

use std::time::{Duration, Instant};

/// How long a transfer is watched before it counts as too slow.
const WINDOW: Duration = Duration::from_secs(30);
/// Below this many bytes per second a transfer is too slow.
const SLOWEST: u64 = 1 << 10;

/// What the last window says of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    /// Too early to say.
    Unknown,
    /// It goes on.
    Enough,
    /// It is stretched out.
    TooSlow,
}

/// Judges and brakes one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Most bytes per second; 0: no limit.
    rate: u64,
    window: (Instant, u64),
    /// When the bytes so far are due at the rate.
    due: Instant,
}

impl Pace {
    pub(super) const fn new(rate: u64, now: Instant) -> Self {
        Self { rate, window: (now, 0), due: now }
    }

    /// Counts bytes that have come; what the speed is, and how long to wait before asking for more.
    pub(super) fn count(&mut self, bytes: usize, now: Instant) -> (Speed, Duration) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let (start, sum) = &mut self.window;
        *sum = sum.saturating_add(bytes);
        let elapsed = now.saturating_duration_since(*start);
        let speed = if elapsed < WINDOW {
            Speed::Unknown
        } else {
            let least = if self.rate == 0 { SLOWEST } else { SLOWEST.min(self.rate / 2) };
            let enough = *sum >= least.saturating_mul(elapsed.as_secs());
            self.window = (now, 0);
            if enough { Speed::Enough } else { Speed::TooSlow }
        };
        (speed, self.brake(bytes, now))
    }

    fn brake(&mut self, bytes: u64, now: Instant) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let takes = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.rate);
        // What was not used is not saved up.
        self.due = self.due.max(now) + takes;
        self.due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_spreads_bytes_over_time() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, start);
        assert_eq!(pace.count(500, start).1, Duration::from_millis(500));
        assert_eq!(pace.count(500, start).1, Duration::from_secs(1));
        let later = start + Duration::from_secs(10);
        assert_eq!(pace.count(100, later).1, Duration::from_millis(100));
        assert_eq!(Pace::new(0, start).count(1 << 30, start).1, Duration::ZERO);
    }

    #[test]
    fn drops_are_too_slow_and_a_modest_line_is_not() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(0, start);
        assert_eq!(pace.count(1, after(10)).0, Speed::Unknown);
        assert_eq!(pace.count(1, after(31)).0, Speed::TooSlow);
        assert_eq!(pace.count(64 << 10, after(62)).0, Speed::Enough);
        let mut pace = Pace::new(100, start);
        assert_eq!(pace.count(2_000, after(30)).0, Speed::Enough);
    }
}
