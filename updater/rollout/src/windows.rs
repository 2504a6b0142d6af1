//! When a machine may restart for an update: `Sat,Sun 02:00-05:00`, in UTC, every week.

#[cfg(test)]
mod tests;

use std::fmt;

/// Windows of a machine at most.
pub const WINDOWS_MAX: usize = 16;
/// Characters of a window at most.
pub const WINDOW_CHARS_MAX: usize = 64;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
const WEEK: u64 = 7 * DAY;
/// The first day of 1970 was a Thursday; days are counted from Monday.
const FIRST_DAY: u64 = 3;
const MINUTES_PER_DAY: u16 = 24 * 60;
const NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const EVERY_DAY: &str = "daily";

/// Some hours on some days of the week. Hours that end before they begin end on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Whether it begins on each day, Monday first.
    days: [bool; 7],
    /// Minute of the day at which it begins, 0 to 1439.
    begin: u16,
    /// Minutes that it lasts, 1 to 1440.
    minutes: u16,
}

/// All windows of a machine; none are any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

/// What a moment is to some windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It is in one of them.
    Open,
    /// It is in none; the next one begins then.
    Closed {
        /// Seconds since 1970.
        opens: u64,
        /// Seconds that it lasts.
        lasts: u64,
    },
}

/// Why a text is not a window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowFault {
    /// More of them than allowed.
    #[error("more than {WINDOWS_MAX} windows")]
    TooMany,
    /// Not of the one form.
    #[error(
        "{0:?} is not a window such as \"Sat,Sun 02:00-05:00\", \"Mon-Fri 22:30-04:00\" or \"daily 03:00-04:00\""
    )]
    Form(String),
    /// It begins and ends at the same minute.
    #[error("window {0:?} lasts no time; a whole day is \"00:00-24:00\"")]
    Empty(String),
}

impl Window {
    /// The window that a text states.
    pub fn parse(text: &str) -> Result<Self, WindowFault> {
        let form = || WindowFault::Form(text.chars().take(WINDOW_CHARS_MAX).collect());
        if text.len() > WINDOW_CHARS_MAX {
            return Err(form());
        }
        let (days, hours) = text.split_once(' ').ok_or_else(form)?;
        let (begin, end) = hours.split_once('-').ok_or_else(form)?;
        let (days, begin) = (read_days(days).ok_or_else(form)?, read_minute(begin).ok_or_else(form)?);
        let end = read_minute(end).ok_or_else(form)?;
        if begin == MINUTES_PER_DAY {
            return Err(form());
        }
        if begin == end {
            return Err(WindowFault::Empty(text.to_owned()));
        }
        let end = if end < begin { end + MINUTES_PER_DAY } else { end };
        Ok(Self { days, begin, minutes: end - begin })
    }

    /// Where the moment lies: `None` inside, else the seconds until it begins next.
    fn until(&self, at: u64) -> Option<u64> {
        let of_week = (at / DAY + FIRST_DAY) % 7 * DAY + at % DAY;
        let (begin, lasts) = (u64::from(self.begin) * MINUTE, u64::from(self.minutes) * MINUTE);
        let begins =
            self.days.iter().zip(0_u64..).filter(|(is_on, _)| **is_on).map(|(_, day)| day * DAY + begin);
        // A window of Sunday night reaches into Monday: the distance is taken around the week.
        let inside = |from: u64| (of_week + WEEK - from) % WEEK < lasts;
        if begins.clone().any(inside) {
            return None;
        }
        Some(begins.map(|from| (from + WEEK - of_week) % WEEK).min().unwrap_or(WEEK))
    }
}

impl Windows {
    /// The windows that these texts state.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, WindowFault> {
        if texts.len() > WINDOWS_MAX {
            return Err(WindowFault::TooMany);
        }
        texts.iter().map(|text| Window::parse(text.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this moment, seconds since 1970, is in one of the windows.
    pub fn at(&self, at: u64) -> Opening {
        let mut nearest = None;
        for window in &self.0 {
            let Some(until) = window.until(at) else {
                return Opening::Open;
            };
            let next = (until, u64::from(window.minutes) * MINUTE);
            nearest = Some(nearest.map_or(next, |nearest: (u64, u64)| nearest.min(next)));
        }
        nearest.map_or(Opening::Open, |(until, lasts)| Opening::Closed {
            opens: at.saturating_add(until),
            lasts,
        })
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Window> {
        self.0.iter()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days == [true; 7] {
            f.write_str(EVERY_DAY)?;
        } else {
            let on = self.days.iter().zip(NAMES).filter(|(is_on, _)| **is_on).map(|(_, name)| name);
            f.write_str(&on.collect::<Vec<_>>().join(","))?;
        }
        let end = self.begin + self.minutes;
        let end = if end > MINUTES_PER_DAY { end - MINUTES_PER_DAY } else { end };
        write!(f, " {:02}:{:02}-{:02}:{:02}", self.begin / 60, self.begin % 60, end / 60, end % 60)
    }
}

/// `daily`, or days and ranges of days, apart by commas.
fn read_days(text: &str) -> Option<[bool; 7]> {
    if text == EVERY_DAY {
        return Some([true; 7]);
    }
    let number = |name: &str| NAMES.iter().position(|known| *known == name);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        // From Friday to Monday goes over the end of the week.
        let count = (last + 7 - first) % 7;
        (0..=count).for_each(|day| days[(first + day) % 7] = true);
    }
    Some(days)
}

/// `HH:MM`, up to `24:00`.
fn read_minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<u16>().ok() } else { None }
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let of_day = hour * 60 + minute;
    (minute < 60 && of_day <= MINUTES_PER_DAY).then_some(of_day)
}
