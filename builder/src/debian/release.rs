//! InRelease: which indexes belong to a suite, and when it was signed.

use super::{
    Freshness,
    deb822::{self, Stanza},
    openpgp::{CLOCK_TOLERANCE, Judge},
};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
};
use std::collections::BTreeMap;

/// Largest InRelease.
pub const RELEASE_BYTES_MAX: u64 = 4 << 20;
/// Largest index that is fetched, compressed.
pub const INDEX_BYTES_MAX: u64 = 64 << 20;
/// Most files an InRelease lists.
const FILES_MAX: usize = 65_536;

/// The verified statement of an archive about one suite.
#[derive(Clone, Debug)]
pub struct Release {
    codename: String,
    suite: String,
    date: u64,
    valid_until: Option<u64>,
    by_hash: bool,
    indexes: BTreeMap<String, (u64, Digest)>,
}

impl Release {
    /// Parses the text of an InRelease whose signature has been checked.
    pub fn parse(text: &str) -> Result<Self> {
        let mut stanzas = deb822::stanzas(text);
        let stanza = stanzas.next().ok_or_else(|| bad("it is empty"))?;
        if stanzas.next().is_some() {
            return Err(bad("it has more than one stanza"));
        }
        let date = stanza.get("Date").ok_or_else(|| bad("it has no Date"))?;
        Ok(Self {
            codename: word(&stanza, "Codename")?,
            suite: word(&stanza, "Suite")?,
            date: parse_date(date)?,
            valid_until: stanza.get("Valid-Until").map(parse_date).transpose()?,
            by_hash: stanza.get("Acquire-By-Hash") == Some("yes"),
            indexes: parse_files(stanza.get("SHA256").unwrap_or_default())?,
        })
    }

    /// When it was made, seconds since 1970.
    pub fn date(&self) -> u64 {
        self.date
    }

    /// An error unless it describes `dist` and its dates allow its use.
    pub fn check(&self, dist: &str, judge: Judge) -> Result<()> {
        if self.codename != dist && self.suite != dist {
            return Err(Error::new(
                Kind::Signature,
                format!(
                    "the archive answers with suite {} ({}), but {dist} was asked for",
                    self.codename, self.suite
                ),
            ));
        }
        match judge.freshness {
            Freshness::Ignored => return Ok(()),
            Freshness::Enforced => {}
        }
        if self.date > judge.now.saturating_add(CLOCK_TOLERANCE) {
            return Err(Error::new(
                Kind::Stale,
                format!("{dist} was signed in the future of this machine's clock"),
            )
            .hint("set this machine's clock"));
        }
        if let Some(end) = self.valid_until.filter(|end| *end < judge.now) {
            let days = (judge.now - end) / 86_400;
            return Err(Error::new(
                Kind::Stale,
                format!("the index of {dist} expired {days} days ago"),
            )
            .hint(
                "the mirror has stopped following its archive, or this run is offline and the cache is old, \
                 or this machine's clock is wrong",
            ));
        }
        Ok(())
    }

    /// The best index of a component for an architecture: its path below `dists/SUITE/`, size and digest.
    pub fn index(&self, component: &str, arch: &str) -> Option<IndexFile> {
        let dir = format!("{component}/binary-{arch}");
        let path = format!("{dir}/Packages.xz");
        let &(bytes, sha256) = self.indexes.get(&path)?;
        Some(IndexFile {
            fetch_path: if self.by_hash { format!("{dir}/by-hash/SHA256/{sha256}") } else { path.clone() },
            path,
            bytes,
            sha256,
        })
    }
}

/// An index that a release vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFile {
    /// Its name below `dists/SUITE/`.
    pub path: String,
    /// Where it is best fetched from; the same bytes as `path` on a quiet day.
    pub fetch_path: String,
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Digest,
}

fn bad(why: &str) -> Error {
    Error::new(Kind::Hostile, format!("an InRelease file is refused: {why}"))
}

fn word(stanza: &Stanza<'_>, name: &str) -> Result<String> {
    let value = stanza.get(name).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/+".contains(&byte);
    if value.is_empty() || value.len() > 100 || !value.bytes().all(plain) {
        return Err(bad(&format!("its {name} is {value:?}")));
    }
    Ok(value.to_owned())
}

/// The lines `digest size path` that name compressed package indexes.
fn parse_files(field: &str) -> Result<BTreeMap<String, (u64, Digest)>> {
    let mut files = BTreeMap::new();
    for (number, line) in field.lines().enumerate() {
        if number >= FILES_MAX {
            return Err(bad("it lists too many files"));
        }
        let mut words = line.split_whitespace();
        let (Some(digest), Some(size), Some(path)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if !path.ends_with("/Packages.xz") {
            continue;
        }
        let digest =
            digest.parse().map_err(|source| bad(&format!("the digest of {path}")).because(source))?;
        let size: u64 = size.parse().map_err(|source| bad(&format!("the size of {path}")).because(source))?;
        if size > INDEX_BYTES_MAX {
            return Err(bad(&format!("{path} is larger than {INDEX_BYTES_MAX} bytes")));
        }
        files.insert(path.to_owned(), (size, digest));
    }
    Ok(files)
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sat, 12 Sep 2026 07:55:41 UTC` as seconds since 1970.
pub fn parse_date(text: &str) -> Result<u64> {
    date_seconds(text).ok_or_else(|| bad(&format!("{text:?} is not a date")))
}

fn date_seconds(text: &str) -> Option<u64> {
    let (_weekday, rest) = text.split_once(',')?;
    let mut words = rest.split_whitespace();
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().zip(1_u64..).find(|(known, _)| **known == name)?.1;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':');
    let (hour, minute, second): (u64, u64, u64) =
        (clock.next()?.parse().ok()?, clock.next()?.parse().ok()?, clock.next()?.parse().ok()?);
    let zone = words.next()?;
    let good = (1970..=9999).contains(&year)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && matches!(zone, "UTC" | "GMT" | "Z" | "+0000")
        && clock.next().is_none()
        && words.next().is_none();
    good.then(|| days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Counts years from March, so that the leap day is the last of its year.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    const MARCH_YEAR_0_TO_1970: u64 = 719_468;
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    days - MARCH_YEAR_0_TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n\
        Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC\nAcquire-By-Hash: yes\nSHA256:\n \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 10 main/binary-amd64/Packages.xz\n \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 99 main/binary-amd64/Packages\n";

    fn judge(now: u64, freshness: Freshness) -> Judge {
        Judge { now, freshness }
    }

    #[test]
    fn dates_are_what_the_calendar_says() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0),
            ("Thu, 29 Feb 2024 23:59:59 UTC", 1_709_251_199),
            ("Fri, 01 Mar 2024 00:00:00 +0000", 1_709_251_200),
            ("Sat, 12 Sep 2026 07:55:41 UTC", 1_789_199_741),
        ] {
            assert_eq!(parse_date(text).unwrap(), seconds, "{text}");
        }
        for text in [
            "",
            "12 Sep 2026 07:55:41 UTC",
            "Sat, 12 Sep 2026 07:55:41",
            "Sat, 12 Sep 2026 07:55:41 CEST",
            "Sat, 12 Foo 2026 07:55:41 UTC",
            "Sat, 12 Sep 99999999999999999999 07:55:41 UTC",
            "Sat, 12 Sep 0000 07:55:41 UTC",
        ] {
            assert!(parse_date(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_index_is_found_by_its_digest() {
        let index = Release::parse(GOOD).unwrap().index("main", "amd64").unwrap();
        assert_eq!(index.bytes, 10);
        assert_eq!(
            index.fetch_path,
            "main/binary-amd64/by-hash/SHA256/\
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(index.path, "main/binary-amd64/Packages.xz");
        assert!(Release::parse(GOOD).unwrap().index("main", "arm64").is_none());
    }

    #[test]
    fn another_suite_or_a_wrong_date_is_refused() {
        let release = Release::parse(GOOD).unwrap();
        let (signed, end) = (1_789_199_741, 1_789_199_741 + 7 * 86_400);
        let check = |dist, now, freshness| {
            let outcome = release.check(dist, judge(now, freshness));
            outcome.map_err(|error| error.kind())
        };
        assert_eq!(check("trixie", signed, Freshness::Enforced), Ok(()));
        assert_eq!(check("stable", end, Freshness::Enforced), Ok(()));
        assert_eq!(check("forky", signed, Freshness::Ignored), Err(Kind::Signature));
        assert_eq!(check("trixie", end + 1, Freshness::Enforced), Err(Kind::Stale));
        assert_eq!(check("trixie", end + 1, Freshness::Ignored), Ok(()));
        let early = signed - CLOCK_TOLERANCE;
        assert_eq!(check("trixie", early, Freshness::Enforced), Ok(()));
        assert_eq!(check("trixie", early - 1, Freshness::Enforced), Err(Kind::Stale));
    }

    #[test]
    fn fields_out_of_bounds_are_refused() {
        for (from, to) in [
            ("Codename: trixie\n", ""),
            ("Codename: trixie", "Codename: a b"),
            ("Date: Sat,", "Date: "),
            (" 10 main", " 99999999999 main"),
            ("ba78", "BA78"),
            ("Origin: Debian\n", "Origin: Debian\n\n"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD);
            assert!(Release::parse(&text).is_err(), "{from:?} -> {to:?}");
        }
    }
}
