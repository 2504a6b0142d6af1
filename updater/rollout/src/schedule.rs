//! When a machine looks at its channel: spread over time, and rarer after failures, so that a fleet that was switched on
//! at once, or a server that comes back, is not met by everybody in the same minute.

/// Seconds between two looks, unless the manifest says otherwise.
pub const POLL_SECONDS: u64 = 3600;
/// The least that a manifest may say.
pub const POLL_SECONDS_MIN: u64 = 60;
/// The most that a manifest may say.
pub const POLL_SECONDS_MAX: u64 = 7 * 24 * 3600;

/// The first look after a start comes between these, but no later than the interval asks for.
const FIRST_SECONDS: (u64, u64) = (60, 300);
/// No wait after a failure is longer, unless the manifest's own interval is.
const BACK_OFF_SECONDS_MAX: u64 = 24 * 3600;
/// A wait is its nominal length and up to so many percent more or less.
const JITTER_PERCENT: u64 = 20;

/// How the last look went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// There was none since the start.
    Started,
    /// It came to its end.
    Looked,
    /// So many in a row have failed.
    Failed(u32),
}

/// Seconds until the next look. `poll` is the manifest's interval, brought into its limits; `draw` is any number, all
/// equally likely.
pub fn next_poll(poll: u64, past: Past, draw: u64) -> u64 {
    let poll = poll.clamp(POLL_SECONDS_MIN, POLL_SECONDS_MAX);
    let nominal = match past {
        Past::Started => {
            let (first, last) = FIRST_SECONDS;
            return between(first, last.min(poll), draw);
        }
        Past::Looked => poll,
        Past::Failed(times) => {
            let longest = (BACK_OFF_SECONDS_MAX * 100 / (100 + JITTER_PERCENT)).max(poll);
            2_u64
                .checked_pow(times)
                .and_then(|factor| poll.checked_mul(factor))
                .unwrap_or(longest)
                .min(longest)
        }
    };
    let jitter = nominal * JITTER_PERCENT / 100;
    between(nominal - jitter, nominal + jitter, draw)
}

/// Seconds until a machine that waits for a window looks again: in the first quarter of the window, so that not all that
/// have the same one come in its first second. `opens` and `lasts` are seconds from now and of the window.
pub fn next_in_window(opens: u64, lasts: u64, draw: u64) -> u64 {
    opens.saturating_add(draw % (lasts / 4).max(1))
}

fn between(first: u64, last: u64, draw: u64) -> u64 {
    first + draw % (last - first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_look_comes_one_to_five_minutes_after_the_start() {
        assert_eq!(next_poll(POLL_SECONDS, Past::Started, 0), 60);
        assert_eq!(next_poll(POLL_SECONDS, Past::Started, 240), 300);
        // A machine that looks every other minute does not wait for five.
        assert_eq!(next_poll(120, Past::Started, 60), 120);
        assert_eq!(next_poll(POLL_SECONDS_MIN, Past::Started, 240), POLL_SECONDS_MIN);
    }

    #[test]
    fn the_wait_doubles_with_every_failure_up_to_a_day() {
        // The draw in the middle of the jitter.
        let nominal = |past| {
            let (least, most) =
                (next_poll(3600, past, 0), (0..80_000).map(|draw| next_poll(3600, past, draw)).max());
            least.midpoint(most.unwrap())
        };
        assert_eq!(nominal(Past::Looked), 3600);
        let waits = [1, 2, 3, 4, 5, 200].map(|times| nominal(Past::Failed(times)));
        assert_eq!(waits, [7200, 14_400, 28_800, 57_600, 72_000, 72_000]);
    }

    proptest! {
        #[test]
        fn a_look_for_a_window_comes_in_its_first_quarter(opens in 0..1_u64 << 30, lasts in 60..86_400_u64, draw: u64) {
            prop_assert!((opens..opens + lasts / 4).contains(&next_in_window(opens, lasts, draw)));
        }

        #[test]
        fn every_wait_is_within_a_fifth_of_its_interval(poll in POLL_SECONDS_MIN..POLL_SECONDS_MAX, draw: u64) {
            let wait = next_poll(poll, Past::Looked, draw);
            prop_assert!(wait * 100 >= poll * 79 && wait * 100 <= poll * 120, "{}", wait);
        }

        #[test]
        fn no_failure_makes_a_machine_look_more_often_or_stop_looking(poll: u64, times in 1_u32.., draw: u64) {
            let wait = next_poll(poll, Past::Failed(times), draw);
            prop_assert!(wait >= next_poll(poll, Past::Looked, 0));
            prop_assert!(wait <= BACK_OFF_SECONDS_MAX || wait <= POLL_SECONDS_MAX * 120 / 100);
        }
    }
}
