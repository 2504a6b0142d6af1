//! Waves as they are written on the command line.

use crate::error::{Error, Kind, Result};
use coracle_rollout::{Wave, document::WAVES_MAX, place::EVERYBODY};
use coracle_trust::date;

/// Who takes a release when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waves {
    /// Nothing is said: a new release is for everybody at once, one that is there keeps its waves.
    Unsaid,
    /// These, whatever was said before.
    Dates(Vec<Wave>),
    /// These, reckoned from now: a release that is there with the same shares has begun already, and keeps its dates.
    FromNow(Vec<Wave>),
}

impl Waves {
    /// For a release that is new in a channel.
    pub(crate) fn first(&self) -> Vec<Wave> {
        match self {
            Self::Unsaid => Vec::new(),
            Self::Dates(waves) | Self::FromNow(waves) => waves.clone(),
        }
    }

    /// For a release that is there with these.
    pub(crate) fn after(&self, known: &[Wave]) -> Vec<Wave> {
        let shares = |waves: &[Wave]| waves.iter().map(|wave| wave.share).collect::<Vec<_>>();
        match self {
            Self::Dates(waves) => waves.clone(),
            Self::FromNow(waves) if shares(waves) != shares(known) => waves.clone(),
            Self::Unsaid | Self::FromNow(_) => known.to_vec(),
        }
    }
}

/// Waves such as `10%@2026-12-01T06:00:00Z`, `50%@+3d` and `100%@now`, in a run that begins at `now`.
pub fn waves(texts: &[String], now: u64) -> Result<Waves> {
    if texts.is_empty() {
        return Ok(Waves::Unsaid);
    }
    let dated = texts.iter().all(|text| text.ends_with('Z'));
    let waves = read_all(texts, now)?;
    Ok(if dated { Waves::Dates(waves) } else { Waves::FromNow(waves) })
}

fn read_all(texts: &[String], now: u64) -> Result<Vec<Wave>> {
    let read = |text: &String| wave(text, now).ok_or_else(|| unreadable(text));
    let waves = texts.iter().map(read).collect::<Result<Vec<_>>>()?;
    if waves.len() > WAVES_MAX {
        return Err(Error::new(Kind::Usage, format!("a release has at most {WAVES_MAX} waves")));
    }
    if let Some(at) =
        waves.windows(2).position(|two| two[0].share >= two[1].share || two[0].start > two[1].start)
    {
        let message = format!("wave {:?} does not follow {:?}", texts[at + 1], texts[at]);
        return Err(Error::new(Kind::Usage, message)
            .hint("shares grow, and a wave never starts before the one before"));
    }
    Ok(waves)
}

fn unreadable(text: &str) -> Error {
    Error::new(Kind::Usage, format!("cannot read the wave {text:?}")).hint(
        "write SHARE@START: 0.01% to 100%, and a date such as 2026-12-01T06:00:00Z, `now`, `+6h` or `+3d`",
    )
}

fn wave(text: &str, now: u64) -> Option<Wave> {
    let (share, start) = text.split_once('@')?;
    Some(Wave { share: read_share(share)?, start: read_start(start, now)? })
}

/// Per cent with up to two digits behind the point.
fn read_share(text: &str) -> Option<u16> {
    let number = text.strip_suffix('%')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || whole.len() > 3 || part.len() > 2 {
        return None;
    }
    let hundredths: u16 = format!("{part:0<2}").parse().ok()?;
    let share = whole.parse::<u16>().ok()?.checked_mul(100)?.checked_add(hundredths)?;
    (1..=EVERYBODY).contains(&share).then_some(share)
}

fn read_start(text: &str, now: u64) -> Option<u64> {
    if text == "now" {
        return Some(now);
    }
    let Some(later) = text.strip_prefix('+') else {
        return date::parse(text);
    };
    let unit = later.find(|digit: char| !digit.is_ascii_digit())?;
    let (number, unit) = later.split_at_checked(unit)?;
    let seconds = match unit {
        "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let start = number.parse::<u64>().ok()?.checked_mul(seconds)?.checked_add(now)?;
    date::format(start).map(|_| start)
}

/// A share as people read it: `10 %`, `0.5 %`.
pub fn share(share: u16) -> String {
    let (whole, part) = (share / 100, share % 100);
    match (part, part % 10) {
        (0, _) => format!("{whole} %"),
        (_, 0) => format!("{whole}.{} %", part / 10),
        _ => format!("{whole}.{part:02} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Vec<(u16, u64)>> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Ok(read_all(&texts, 1_000_000)?.iter().map(|wave| (wave.share, wave.start)).collect())
    }

    #[test]
    fn shares_and_starts_are_read_as_people_write_them() {
        let found =
            read(&["0.01%@now", "0.5%@+30min", "1%@+2h", "12.25%@+3d", "100%@2026-11-22T02:09:51Z"]).unwrap();
        let expected =
            [(1, 1_000_000), (50, 1_001_800), (100, 1_007_200), (1225, 1_259_200), (10_000, 1_795_313_391)];
        assert_eq!(found, expected);
        assert_eq!([1, 50, 1225, 10_000].map(share), ["0.01 %", "0.5 %", "12.25 %", "100 %"]);
    }

    #[test]
    fn what_is_no_wave_is_named_and_what_does_not_grow_is_refused() {
        for bad in [
            "",
            "10%",
            "@now",
            "10@now",
            "0%@now",
            "100.01%@now",
            "101%@now",
            "1.234%@now",
            "-1%@now",
            "1%@",
            "1%@+",
            "1%@+3",
            "1%@+3w",
            "1%@+99999999999999999999d",
            "1%@+9999999d",
            "1%@tomorrow",
            "1%@2026-12-01",
            "+1%@now",
        ] {
            assert_eq!(read(&[bad]).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
        for bad in [["2%@now", "1%@now"], ["1%@now", "1%@+1d"], ["1%@+1d", "2%@now"]] {
            assert!(read(&bad).unwrap_err().to_string().contains("does not follow"), "{bad:?}");
        }
    }

    #[test]
    fn waves_that_are_reckoned_from_now_do_not_move_when_they_are_said_again() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let begun = waves(&texts(&["1%@now", "100%@+1d"]), 1000).unwrap().first();
        let again = waves(&texts(&["1%@now", "100%@+1d"]), 5000).unwrap();
        assert_eq!(again.after(&begun), begun);
        let faster = waves(&texts(&["100%@now"]), 5000).unwrap();
        assert_eq!(faster.after(&begun), [Wave { share: 10_000, start: 5000 }]);
        let dated = waves(&texts(&["1%@1970-01-01T00:00:09Z"]), 5000).unwrap();
        assert_eq!(dated.after(&begun), [Wave { share: 100, start: 9 }]);
        assert_eq!(waves(&[], 5000).unwrap().after(&begun), begun);
    }
}
