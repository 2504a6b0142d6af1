//! What a failed release left behind: stage, reason and its last kernel lines. See `docs/formats/meta.md`.

use crate::bytes::NotARecord;
use crate::fields::{array, encode_slot, encode_verdict, get64, open, parse_slot, parse_verdict, put, seal};
use crate::record::{Release, Slot, Verdict};
use crate::text::Text;
use core::fmt;

/// Bytes of one encoded copy.
pub const WORDS_BYTES: usize = 4096;
/// Where the two copies stand in the `meta` partition.
pub const WORDS_OFFSETS: [u64; 2] = [64 << 10, (512 + 64) << 10];
/// The most bytes of kernel lines that are kept.
pub const LOG_BYTES: usize = WORDS_BYTES - LOG_AT - 4;

const MAGIC: [u8; 8] = *b"CORAWORD";
const LOG_AT: usize = 512;

/// The last words of a release that failed.
#[derive(Clone, PartialEq, Eq)]
pub struct LastWords {
    /// Which release.
    pub release: Release,
    /// The slot it was in.
    pub slot: Slot,
    /// Why it failed.
    pub verdict: Verdict,
    /// How far it had come: a phase, a container, a check.
    pub stage: Text<32>,
    /// The reason in words.
    pub reason: Text<160>,
    /// The clock of that boot when it failed, milliseconds; 0 where it is unknown.
    pub boot_ms: u64,
    log: [u8; LOG_BYTES],
    log_length: u16,
    pub(crate) sequence: u64,
}

impl fmt::Debug for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastWords")
            .field("slot", &self.slot)
            .field("verdict", &self.verdict)
            .field("stage", &self.stage)
            .field("reason", &self.reason)
            .field("boot_ms", &self.boot_ms)
            .field("log_length", &self.log_length)
            .finish_non_exhaustive()
    }
}

impl LastWords {
    /// Words without kernel lines.
    pub fn new(slot: Slot, release: Release, verdict: Verdict, stage: &str, reason: &str) -> Self {
        Self {
            release,
            slot,
            verdict,
            stage: Text::cut(stage),
            reason: Text::cut(reason),
            boot_ms: 0,
            log: [0; LOG_BYTES],
            log_length: 0,
            sequence: 0,
        }
    }

    /// With the clock of that boot.
    pub const fn at_ms(mut self, boot_ms: u64) -> Self {
        self.boot_ms = boot_ms;
        self
    }

    /// With the end of these kernel lines, as much as fits; a line that does not fit whole is left out.
    pub fn with_log(mut self, lines: &[u8]) -> Self {
        let mut kept = &lines[lines.len().saturating_sub(LOG_BYTES)..];
        if kept.len() < lines.len() && lines[lines.len() - kept.len() - 1] != b'\n' {
            let next_line = kept.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            kept = &kept[next_line.filter(|at| *at < kept.len()).unwrap_or(0)..];
        }
        self.log = [0; LOG_BYTES];
        put(&mut self.log, 0, kept);
        self.log_length = u16::try_from(kept.len()).unwrap_or(0);
        self
    }

    /// The last kernel lines, as the kernel wrote them: bytes of a failed system, not trusted text.
    pub fn log(&self) -> &[u8] {
        &self.log[..usize::from(self.log_length).min(LOG_BYTES)]
    }

    /// One copy, with the sequence number that follows `found`.
    pub fn encode_after(&self, found: Option<&FoundWords>) -> [u8; WORDS_BYTES] {
        let sequence = found.map_or(1, |found| found.words.sequence.saturating_add(1));
        let mut out = [0; WORDS_BYTES];
        put(&mut out, 16, &sequence.to_le_bytes());
        put(&mut out, 24, &self.boot_ms.to_le_bytes());
        out[32] = encode_slot(self.slot);
        out[33] = encode_verdict(self.verdict);
        put(&mut out, 34, &self.log_length.to_le_bytes());
        put(&mut out, 64, &self.release);
        put(&mut out, 96, self.stage.bytes());
        put(&mut out, 128, self.reason.bytes());
        put(&mut out, LOG_AT, &self.log);
        seal(&mut out, MAGIC);
        out
    }
}

/// The words in one copy.
pub fn parse(bytes: &[u8]) -> Result<LastWords, NotARecord> {
    let block: &[u8; WORDS_BYTES] = open(bytes, MAGIC)?;
    parse_fields(block).ok_or(NotARecord::Field)
}

fn parse_fields(block: &[u8; WORDS_BYTES]) -> Option<LastWords> {
    let log_length = u16::from_le_bytes(array(block, 34));
    if usize::from(log_length) > LOG_BYTES {
        return None;
    }
    Some(LastWords {
        release: array(block, 64),
        slot: parse_slot(block[32])?,
        verdict: parse_verdict(block[33])?,
        stage: Text::parse(array(block, 96))?,
        reason: Text::parse(array(block, 128))?,
        boot_ms: get64(block, 24),
        log: array(block, LOG_AT),
        log_length,
        sequence: get64(block, 16),
    })
}

/// The newest readable copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundWords {
    /// The words.
    pub words: LastWords,
    /// Which copy it was: an index into [`WORDS_OFFSETS`].
    pub copy: usize,
}

impl FoundWords {
    /// Where the next words must be written: over the older copy.
    pub const fn next_offset(&self) -> u64 {
        WORDS_OFFSETS[1 - self.copy % 2]
    }
}

/// The newer of the two copies that is whole. `None` where neither is: nothing has failed yet.
pub fn parse_copies(first: &[u8], second: &[u8]) -> Option<FoundWords> {
    match (parse(first), parse(second)) {
        (Ok(a), Ok(b)) if b.sequence > a.sequence => Some(FoundWords { words: b, copy: 1 }),
        (Ok(words), Ok(_) | Err(_)) => Some(FoundWords { words, copy: 0 }),
        (Err(_), Ok(words)) => Some(FoundWords { words, copy: 1 }),
        (Err(_), Err(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn sample() -> LastWords {
        LastWords::new(Slot::B, [5; 32], Verdict::Unhealthy, "container-web", "ended with code 1")
            .at_ms(61_000)
    }

    proptest! {
        #[test]
        fn words_survive_the_round_trip(log in proptest::collection::vec(any::<u8>(), 0..5000), text in ".{0,200}") {
            let words = LastWords::new(Slot::A, [6; 32], Verdict::Panic, &text, &text).with_log(&log);
            let parsed = parse(&words.encode_after(None)).unwrap();
            prop_assert!(log.ends_with(parsed.log()));
            prop_assert_eq!((parsed.stage, parsed.reason), (words.stage, words.reason));
            prop_assert_eq!(parsed.log(), words.log());
        }

        #[test]
        fn a_torn_copy_leaves_the_other(cut in 0..=WORDS_BYTES) {
            let old = sample().encode_after(None);
            let found = parse_copies(&old, &[]).unwrap();
            let new = sample().with_log(b"more\n").encode_after(Some(&found));
            let mut torn = old;
            torn[..cut].copy_from_slice(&new[..cut]);
            let after = parse_copies(&old, &torn).unwrap().words;
            prop_assert!(after.log().is_empty() || after.log() == b"more\n");
        }
    }

    #[test]
    fn the_last_whole_lines_are_kept() {
        let lines: Vec<u8> = (0..1000).flat_map(|_| *b"0123456789abcde\n").collect();
        let words = sample().with_log(&lines);
        assert_eq!(words.log().len(), LOG_BYTES / 16 * 16);
        assert!(words.log().starts_with(b"0123"));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = sample().with_log(b"kernel line\n").encode_after(None);
        for bit in (0..WORDS_BYTES * 8).step_by(7) {
            let mut damaged = good;
            damaged[bit / 8] ^= 1 << (bit % 8);
            parse(&damaged).unwrap_err();
        }
    }

    #[test]
    fn undefined_values_are_no_words() {
        for (at, value) in [(32, 3), (33, 0), (33, 9), (35, 0xff), (97, 0)] {
            let mut block = sample().encode_after(None);
            block[at] = value;
            seal(&mut block, MAGIC);
            assert_eq!(parse(&block), Err(NotARecord::Field), "byte {at}");
        }
    }
}
