//! Binary arithmetic coding: each bit costs what its probability says.
//!
//! The interval is 32 bits wide; whenever its ends agree in their first byte, that byte is written. After G. N. N. Martin,
//! "Range encoding" (1979), in its carry-free binary form.

/// Bits in, or bits out.
pub(crate) trait Coder {
    /// Codes one bit whose probability of being set is `one` of 65536. A writer writes `bit`; a reader does not look at
    /// it and gives the bit it reads.
    fn code(&mut self, one: u16, bit: bool) -> bool;

    /// Whether bits were read that nobody wrote: more than the few zeros that a writer leaves out.
    fn is_beyond_end(&self) -> bool {
        false
    }
}

/// Both ends of the interval, in 32 bits of each.
#[derive(Clone, Copy, Debug)]
struct Interval {
    low: u64,
    high: u64,
}

const TOP: u64 = 0xff00_0000;
const ALL: u64 = 0xffff_ffff;

impl Interval {
    const WHOLE: Self = Self { low: 0, high: ALL };

    /// The last point that stands for a set bit.
    fn split(self, one: u16) -> u64 {
        self.low + (((self.high - self.low) * u64::from(one.max(1))) >> 16)
    }

    fn narrow(&mut self, split: u64, bit: bool) {
        if bit { self.high = split } else { self.low = split + 1 }
    }

    fn is_settled(self) -> bool {
        (self.low ^ self.high) & TOP == 0
    }

    fn shift(&mut self) {
        self.low = self.low << 8 & ALL;
        self.high = (self.high << 8 | 0xff) & ALL;
    }
}

/// The first of four bytes.
#[cfg(any(test, feature = "make"))]
fn first_byte(word: u64) -> u8 {
    word.to_be_bytes()[4]
}

/// Writes bits.
#[cfg(any(test, feature = "make"))]
#[derive(Debug)]
pub(crate) struct Writer {
    interval: Interval,
    bytes: Vec<u8>,
}

#[cfg(any(test, feature = "make"))]
impl Writer {
    pub(crate) const fn new() -> Self {
        Self { interval: Interval::WHOLE, bytes: Vec::new() }
    }

    /// How many bytes are settled.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What was written. The reader sees zeros behind it, so two bytes settle the last bit.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        // The shortest point inside of the interval, with zeros behind it.
        for kept in 1..=4_u32 {
            let mask = ALL << (32 - 8 * kept) & ALL;
            let point = self.interval.high & mask;
            if point >= self.interval.low {
                let bytes = point.to_be_bytes();
                let kept = usize::try_from(kept).unwrap_or(4);
                self.bytes.extend_from_slice(&bytes[4..4 + kept]);
                break;
            }
        }
        while self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
        self.bytes
    }
}

#[cfg(any(test, feature = "make"))]
impl Coder for Writer {
    fn code(&mut self, one: u16, bit: bool) -> bool {
        let split = self.interval.split(one);
        self.interval.narrow(split, bit);
        while self.interval.is_settled() {
            self.bytes.push(first_byte(self.interval.high));
            self.interval.shift();
        }
        bit
    }
}

/// Reads bits. Behind the end there are zeros; how far it read tells whether they were needed.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    interval: Interval,
    point: u64,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut this = Self { interval: Interval::WHOLE, point: 0, bytes, at: 0 };
        for _ in 0..4 {
            this.pull();
        }
        this
    }

    fn pull(&mut self) {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.point = (self.point << 8 | u64::from(byte)) & ALL;
        self.at = self.at.saturating_add(1);
    }
}

impl Coder for Reader<'_> {
    fn code(&mut self, one: u16, _: bool) -> bool {
        let split = self.interval.split(one);
        let bit = self.point <= split;
        self.interval.narrow(split, bit);
        while self.interval.is_settled() {
            self.interval.shift();
            self.pull();
        }
        bit
    }

    fn is_beyond_end(&self) -> bool {
        self.at > self.bytes.len().saturating_add(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(bits in prop::collection::vec((any::<u16>(), any::<bool>()), 0..2000)) {
            let mut writer = Writer::new();
            for (one, bit) in &bits {
                writer.code(*one, *bit);
            }
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            for (one, bit) in &bits {
                prop_assert_eq!(reader.code(*one, false), *bit);
            }
            prop_assert!(!reader.is_beyond_end());
        }
    }

    #[test]
    fn a_sure_bit_costs_almost_nothing() {
        let mut writer = Writer::new();
        for _ in 0..100_000 {
            writer.code(65535, true);
        }
        assert!(writer.finish().len() < 5);
    }

    #[test]
    fn reading_on_behind_the_end_is_noticed() {
        let mut reader = Reader::new(&[1, 2, 3]);
        for _ in 0..200 {
            reader.code(1 << 15, false);
        }
        assert!(reader.is_beyond_end());
    }
}
