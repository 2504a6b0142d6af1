//! The life of one service: when it is started, when it is sick. Pure.

use coracle_services::ipc::SILENCE_SECONDS;

/// The first pause before a restart; it doubles with every failure in a row.
const BACKOFF_FIRST_MS: u64 = 250;
/// The longest pause before a restart.
const BACKOFF_LAST_MS: u64 = 30_000;
/// A service that ran this long has not failed in a row.
const STEADY_MS: u64 = 60_000;
/// A service that did not say a word for this long is sick.
pub(super) const SILENCE_MS: u64 = SILENCE_SECONDS * 1000;

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// To be started at this moment.
    Due {
        /// When.
        at: u64,
        /// Failures in a row so far.
        failures: u32,
    },
    /// Started.
    Running {
        /// Its process.
        pid: i32,
        /// Since when.
        since: u64,
        /// When it was heard last.
        heard: u64,
        /// Failures in a row before this start.
        failures: u32,
    },
    /// Ended, and not to be started again.
    Over,
}

impl Life {
    /// To be started at once.
    pub(super) const NEW: Self = Self::Due { at: 0, failures: 0 };

    /// Whether it is time to start it.
    pub(super) const fn is_due(self, now: u64) -> bool {
        matches!(self, Self::Due { at, .. } if at <= now)
    }

    /// It was started.
    pub(super) const fn started(self, pid: i32, now: u64) -> Self {
        let failures = match self {
            Self::Due { failures, .. } | Self::Running { failures, .. } => failures,
            Self::Over => 0,
        };
        Self::Running { pid, since: now, heard: now, failures }
    }

    /// It gave a sign of life.
    pub(super) const fn heard(self, now: u64) -> Self {
        match self {
            Self::Running { pid, since, failures, .. } => Self::Running { pid, since, heard: now, failures },
            Self::Due { .. } | Self::Over => self,
        }
    }

    /// It ended, or could not be started: it is due again after a pause.
    pub(super) fn failed(self, now: u64) -> Self {
        let failures = match self {
            Self::Running { since, .. } if now.saturating_sub(since) >= STEADY_MS => 0,
            Self::Running { failures, .. } | Self::Due { failures, .. } => failures,
            Self::Over => return self,
        };
        let pause = BACKOFF_FIRST_MS.saturating_mul(1 << failures.min(16)).min(BACKOFF_LAST_MS);
        Self::Due { at: now.saturating_add(pause), failures: failures.saturating_add(1) }
    }

    /// Whether it should have been heard.
    pub(super) const fn is_silent(self, now: u64) -> bool {
        matches!(self, Self::Running { heard, .. } if now.saturating_sub(heard) > SILENCE_MS)
    }

    /// Its process, while it runs.
    pub(super) const fn pid(self) -> Option<i32> {
        match self {
            Self::Running { pid, .. } => Some(pid),
            Self::Due { .. } | Self::Over => None,
        }
    }

    /// When something is to be done about it next.
    pub(super) const fn next_event(self) -> Option<u64> {
        match self {
            Self::Due { at, .. } => Some(at),
            Self::Running { heard, .. } => Some(heard.saturating_add(SILENCE_MS + 1)),
            Self::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_one() {
        let mut life = Life::NEW;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            life = life.started(7, 0).failed(1000);
            let Life::Due { at, .. } = life else { panic!("it is due again") };
            pauses.push(at - 1000);
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    }

    #[test]
    fn a_long_run_forgives_earlier_failures() {
        let life = Life::NEW.failed(0).failed(0).started(7, 0).failed(STEADY_MS);
        assert_eq!(life, Life::Due { at: STEADY_MS + 250, failures: 1 });
    }

    #[test]
    fn silence_counts_from_the_last_word() {
        let life = Life::NEW.started(7, 0);
        assert!(!life.is_silent(SILENCE_MS));
        assert!(life.is_silent(SILENCE_MS + 1));
        assert!(!life.heard(100).is_silent(SILENCE_MS + 1));
        assert_eq!(life.next_event(), Some(SILENCE_MS + 1));
    }

    #[test]
    fn what_is_over_stays_over() {
        assert_eq!(Life::Over.failed(5), Life::Over);
        assert!(!Life::Over.is_due(u64::MAX));
    }
}
