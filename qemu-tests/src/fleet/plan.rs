//! What happens to the fleet, and when. All times are seconds since 1970, UTC.

use coracle_format::version::Version;
use coracle_rollout::{Wave, windows::Windows};

pub(super) const HOUR: u64 = 3600;
pub(super) const DAY: u64 = 24 * HOUR;

/// Monday, 23 November 2026, 00:00: everybody runs the first release.
pub(super) const START: u64 = 1_795_392_000;
/// Noon of the Monday after it.
pub(super) const END: u64 = START + 7 * DAY + 12 * HOUR;
/// The publisher signs a new timestamp so often.
pub(super) const REFRESH: u64 = HOUR;

/// The second release: published, held up for twelve hours in the middle of its third wave, resumed.
pub(super) const SECOND_PUBLISHED: u64 = START + 2 * HOUR;
pub(super) const PAUSED: u64 = START + 2 * DAY + 3 * HOUR;
pub(super) const RESUMED: u64 = PAUSED + 12 * HOUR;
/// The third release, which is bad: withdrawn half a day after its first wave.
pub(super) const THIRD_PUBLISHED: u64 = START + 6 * DAY + 5 * HOUR;
pub(super) const WITHDRAWN: u64 = START + 6 * DAY + 19 * HOUR;
/// Clocks that are in the future are set right.
pub(super) const MENDED: u64 = START + 5 * DAY + 12 * HOUR;

/// The releases.
pub(super) const FIRST: Version = Version::from_u64(1 << 48);
pub(super) const SECOND: Version = Version::from_u64(2 << 48);
pub(super) const THIRD: Version = Version::from_u64(3 << 48);

/// Waves of the second release: a hundredth, a tenth, half, all.
pub(super) fn second_waves() -> Vec<Wave> {
    let wave = |share, after| Wave { share, start: START + after };
    vec![wave(100, 6 * HOUR), wave(1000, DAY), wave(5000, 2 * DAY), wave(10_000, 4 * DAY)]
}

/// Waves of the third release. The second of them never comes.
pub(super) fn third_waves() -> Vec<Wave> {
    let start = THIRD_PUBLISHED + 2 * HOUR;
    vec![Wave { share: 300, start }, Wave { share: 10_000, start: start + 2 * DAY }]
}

/// Numbers that are the same in every run: SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From `first` to before `end`.
    pub(super) const fn between(&mut self, first: u64, end: u64) -> u64 {
        first + self.next() % (end - first)
    }
}

/// What a machine's own clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// The time.
    Right,
    /// Nothing.
    Unset,
    /// 1 January 2001 and what has passed since the start.
    Past,
    /// 1 January 2099 and what has passed since the start, until somebody sets it right.
    Future,
}

impl Clock {
    pub(super) const fn at(self, now: u64) -> Option<u64> {
        match self {
            Self::Unset => None,
            Self::Past => Some(978_307_200 + (now - START)),
            Self::Future if now < MENDED => Some(4_070_908_800 + (now - START)),
            Self::Future | Self::Right => Some(now),
        }
    }
}

/// What makes one machine another than the next.
#[derive(Clone, Debug)]
pub(super) struct Character {
    pub(super) clock: Clock,
    pub(super) windows: Windows,
    /// Without network from, until.
    pub(super) away: Option<(u64, u64)>,
    /// Whether the third release fails its health checks here.
    pub(super) third_fails: bool,
}

/// The windows that machines have; most have none.
const WINDOWS: [&str; 3] = ["daily 03:00-04:00", "Sun-Fri 22:00-04:00", "Sat,Sun 02:00-05:00"];

impl Character {
    /// Of the machine with this number. A fifth has a window, a tenth no clock, one in twenty a clock in 2001 or in 2099
    /// each, one in twenty is away for two or three days.
    pub(super) fn of(draws: &mut Draws, number: u64) -> Self {
        let clock = match number % 20 {
            0 => Clock::Past,
            1 => Clock::Future,
            2 | 3 => Clock::Unset,
            _ => Clock::Right,
        };
        // A clock that is wrong by 72 years says nothing about the hour: such machines have no window.
        let windowed = draws.next().is_multiple_of(5) && clock != Clock::Future;
        let window = WINDOWS.iter().cycle().nth(usize::try_from(draws.between(0, 3)).unwrap_or(0));
        let windows = window.filter(|_| windowed).and_then(|window| Windows::parse(&[window]).ok());
        let away = draws.next().is_multiple_of(20).then(|| {
            let begin = draws.between(START, START + 2 * DAY);
            (begin, begin + draws.between(2 * DAY, 3 * DAY))
        });
        Self {
            clock,
            windows: windows.unwrap_or_default(),
            away,
            third_fails: draws.next().is_multiple_of(2),
        }
    }
}
