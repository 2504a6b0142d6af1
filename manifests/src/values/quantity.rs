//! Sizes and times with their units.

use super::{Bad, form, quoted};
use std::{fmt, str::FromStr};

/// A number of bytes, written with its unit: `"64 MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

form!(
    Bytes,
    "size",
    ["64 MiB", "1 GB"],
    "A whole number and a unit: `B`, `kB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024)."
);

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let bad = |why: &str| {
            Bad::new(format!("{} is not a size: {why}", quoted(text)))
                .hint("write a whole number and a unit, for example \"64 MiB\" or \"1 GB\"")
        };
        let (number, unit) = split(text).ok_or_else(|| bad("it does not begin with a number"))?;
        if unit.is_empty() {
            return Err(bad("it has no unit"));
        }
        let Some((_, factor)) = SIZE_UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return Err(bad(&format!("there is no unit {}", quoted(unit))));
        };
        let number: u64 = number.parse().ok().ok_or_else(|| bad("it is too large"))?;
        let bytes = number.checked_mul(factor).ok_or_else(|| bad("it is too large"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit =
            SIZE_UNITS.into_iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        let (name, factor) = unit.unwrap_or(("B", 1));
        write!(f, "{} {name}", self.0 / factor)
    }
}

/// A number of bytes per second, written with its unit: `"10 MiB/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(pub u64);

form!(Rate, "rate", ["10 MiB/s", "2 MB/s"], "A size and `/s`: at least 1 kB/s.");

/// The slowest rate; with less, an update would take years.
const RATE_MIN: u64 = 1000;

impl FromStr for Rate {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let bad = |why: &str| {
            Bad::new(format!("{} is not a rate: {why}", quoted(text)))
                .hint("write a size and \"/s\", for example \"10 MiB/s\"")
        };
        let size = text.strip_suffix("/s").ok_or_else(|| bad("it does not end with /s"))?;
        let Ok(Bytes(bytes)) = size.trim_end().parse::<Bytes>() else {
            return Err(bad("it is not a whole number with a unit"));
        };
        if bytes < RATE_MIN {
            return Err(bad("it is less than 1 kB/s"));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Bytes(self.0))
    }
}

/// A span of time in milliseconds, written with its unit: `"10 s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u32);

form!(
    Millis,
    "time",
    ["10 s", "250 ms"],
    "A whole number and a unit: `ms`, `s`, `min` or `h`; at most 24 hours."
);

const TIME_UNITS: [(&str, u32); 4] = [("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];
/// The longest time a manifest may name.
const TIME_MAX: u32 = 24 * 3_600_000;

impl Millis {
    /// Whole seconds, rounded up; at most 65535.
    pub fn seconds(self) -> u16 {
        u16::try_from(self.0.div_ceil(1000)).unwrap_or(u16::MAX)
    }
}

impl FromStr for Millis {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let bad = |why: &str| {
            Bad::new(format!("{} is not a time: {why}", quoted(text)))
                .hint("write a whole number and a unit, for example \"10 s\" or \"250 ms\"")
        };
        let (number, unit) = split(text).ok_or_else(|| bad("it does not begin with a number"))?;
        if unit.is_empty() {
            return Err(bad("it has no unit"));
        }
        let Some((_, factor)) = TIME_UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return Err(bad(&format!("there is no unit {}", quoted(unit))));
        };
        let number: u32 = number.parse().ok().ok_or_else(|| bad("it is too large"))?;
        number
            .checked_mul(factor)
            .filter(|millis| *millis <= TIME_MAX)
            .map(Self)
            .ok_or_else(|| bad("it is more than 24 hours"))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0 s");
        }
        let unit = TIME_UNITS.into_iter().find(|(_, factor)| self.0.is_multiple_of(*factor));
        let (name, factor) = unit.unwrap_or(("ms", 1));
        write!(f, "{} {name}", self.0 / factor)
    }
}

/// Digits and what follows them after at most one space.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (!number.is_empty()).then(|| (number, unit.strip_prefix(' ').unwrap_or(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_know_both_kinds_of_units() {
        assert_eq!("64 MiB".parse(), Ok(Bytes(64 << 20)));
        assert_eq!("1GB".parse(), Ok(Bytes(1_000_000_000)));
        assert_eq!("0 B".parse(), Ok(Bytes(0)));
        for bad in ["", "64", "MiB", "64 mb", "-1 B", "1.5 GiB", "20000000 TiB"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_print_in_the_largest_unit_that_is_exact() {
        assert_eq!(Bytes(64 << 20).to_string(), "64 MiB");
        assert_eq!(Bytes(1_000_000_000).to_string(), "1 GB");
        assert_eq!(Bytes(1025).to_string(), "1025 B");
        assert_eq!(Bytes(0).to_string(), "0 B");
    }

    #[test]
    fn a_rate_is_a_size_per_second() {
        assert_eq!("10 MiB/s".parse(), Ok(Rate(10 << 20)));
        for bad in ["", "/s", "10 MiB", "10/s", "0 B/s", "999 B/s", "1 MiB/min"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_bounded_and_round_up_to_seconds() {
        assert_eq!("24 h".parse(), Ok(Millis(TIME_MAX)));
        "25 h".parse::<Millis>().unwrap_err();
        assert_eq!(Millis(1001).seconds(), 2);
    }
}
