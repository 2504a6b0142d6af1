//! What the container says about its records.

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// A line of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// What it found when it started: how many records, and their SHA-256.
    Kept { records: u64, sha256: String },
    /// A record is durable.
    Record(u64),
}

impl Line {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (_, text) = line.split_once("ledger: ")?;
        let mut words = text.split_whitespace();
        match words.next()? {
            "kept" => {
                let records = words.next()?.parse().ok()?;
                Some(Self::Kept { records, sha256: words.next()?.to_owned() })
            }
            "record" => Some(Self::Record(words.next()?.parse().ok()?)),
            _ => None,
        }
    }
}

/// Whether the records that were found are the right ones, and enough of them.
pub(super) fn judge(records: u64, sha256: &str, acknowledged: u64) -> Result<()> {
    ensure!(
        records >= acknowledged,
        "{records} records are left, {acknowledged} had been acknowledged before the cut"
    );
    ensure!(sha256 == digest_of(records)?, "the {records} records that are left are not those written");
    Ok(())
}

/// The digest of a ledger with so many records.
fn digest_of(records: u64) -> Result<String> {
    let mut text = String::new();
    for record in 1..=records {
        writeln!(text, "{record}").context("no memory for the ledger")?;
    }
    Ok(coracle::digest::Digest(Sha256::digest(text).into()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_containers_lines_are_understood_behind_any_prefix() {
        let kept = Line::parse("[    7.1] coracle-containers: ledger: kept 2 abc -").unwrap();
        assert_eq!(kept, Line::Kept { records: 2, sha256: "abc".to_owned() });
        assert_eq!(Line::parse("ledger: record 17"), Some(Line::Record(17)));
        assert_eq!(Line::parse("ledger: something else"), None);
    }

    #[test]
    fn records_must_be_enough_and_the_right_ones() {
        let two = "ded3b58dd53f6d36e7acbcddb8a1b6b5f6ee9b4b3b3f7f1f";
        assert!(judge(2, two, 0).unwrap_err().to_string().contains("not those written"));
        judge(0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 0).unwrap();
        let one = digest_of(1).unwrap();
        assert_eq!(one, "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865");
        assert!(judge(1, &one, 2).unwrap_err().to_string().contains("2 had been acknowledged"));
    }
}
