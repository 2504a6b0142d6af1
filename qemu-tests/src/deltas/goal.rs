//! What must be, and what is wanted.

use std::fmt;

/// What the others need for an update, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// The new release, compressed: no difference at all.
    pub(super) full: u64,
    /// The difference of both images that xdelta3 makes.
    pub(super) xdelta3: u64,
    /// That of zstd.
    pub(super) zstd: u64,
    /// The chunks of casync that the old image has not.
    pub(super) casync: u64,
    /// The sum over all files of the best difference of each.
    pub(super) by_hand: u64,
    /// What bsdiff makes of the one file that the pair is about.
    pub(super) file: Option<u64>,
}

impl Sizes {
    /// B1: the best that a general tool makes of both images.
    pub(super) fn general(&self) -> u64 {
        self.xdelta3.min(self.zstd).min(self.casync)
    }
}

/// The most bytes that a delta may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Percent of B1.
    OfGeneral(u64),
    /// Percent of B2.
    OfByHand(u64),
    /// Percent of what bsdiff makes of the file, and bytes beside that.
    OfFile(u64, u64),
    /// These.
    Bytes(u64),
}

impl Limit {
    /// In bytes. A limit that refers to what was not measured is 0: nothing meets it.
    pub(super) fn bytes(self, sizes: &Sizes) -> u64 {
        let part = |whole: u64, percent: u64| whole.saturating_mul(percent) / 100;
        match self {
            Self::OfGeneral(percent) => part(sizes.general(), percent),
            Self::OfByHand(percent) => part(sizes.by_hand, percent),
            Self::OfFile(percent, more) => {
                sizes.file.map_or(0, |bytes| part(bytes, percent).saturating_add(more))
            }
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfGeneral(percent) => write!(f, "{} B1", hundredths(*percent)),
            Self::OfByHand(percent) => write!(f, "{} B2", hundredths(*percent)),
            Self::OfFile(percent, more) => {
                write!(f, "{} bsdiff + {} KB", hundredths(*percent), more / 1000)
            }
            Self::Bytes(bytes) => write!(f, "{} KB", bytes / 1000),
        }
    }
}

/// `0.33`.
pub(super) fn hundredths(number: u64) -> String {
    format!("{}.{:02}", number / 100, number % 100)
}

/// What is expected of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Goal {
    /// What must be.
    pub(super) must: Limit,
    /// What is wanted: all of these.
    pub(super) aim: &'static [Limit],
}

/// How far a delta came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Not what must be.
    Missed,
    /// What must be.
    Must,
    /// What is wanted.
    Aim,
}

impl Reached {
    /// For tables.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Must => "yes",
            Self::Aim => "aim too",
        }
    }
}

impl Goal {
    /// How far a delta of so many bytes comes.
    pub(super) fn judge(&self, bytes: u64, sizes: &Sizes) -> Reached {
        if bytes > self.must.bytes(sizes) {
            Reached::Missed
        } else if !self.aim.is_empty() && self.aim.iter().all(|limit| bytes <= limit.bytes(sizes)) {
            Reached::Aim
        } else {
            Reached::Must
        }
    }
}
