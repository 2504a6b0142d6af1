//! Deterministic damage: the same seed gives the same inputs on every machine.

/// Bytes and numbers that parsers stumble over.
const AWKWARD: [&[u8]; 12] = [
    &[0],
    &[0xff],
    &[0x7f],
    &[0x80],
    &[0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0; 8],
    &[0xff; 8],
    b"\n",
    b"..",
    b"99999999999999999999",
];

/// A source of damaged inputs.
#[derive(Clone, Debug)]
pub struct Mutator(u64);

impl Mutator {
    /// The source with this number; 0 is one like any other.
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// xorshift64*: no secret depends on it.
    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from((self.next() >> 11) % end).unwrap_or(0)
    }

    /// One to eight changes to one of the inputs: bits, bytes, numbers, cuts, copies, and pieces of the others.
    pub fn damaged(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut out = seeds.get(self.below(seeds.len())).cloned().unwrap_or_default();
        for _ in 0..=self.below(8) {
            self.change(&mut out, seeds);
        }
        out
    }

    fn change(&mut self, out: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(out.len());
        let random = self.next().to_le_bytes();
        match self.below(8) {
            0 | 1 => out.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (random[0] & 7)),
            2 => out.iter_mut().skip(at).take(1).for_each(|byte| *byte = random[0]),
            3 => {
                let bytes = AWKWARD[self.below(AWKWARD.len())];
                out.iter_mut().skip(at).zip(bytes).for_each(|(byte, new)| *byte = *new);
            }
            4 => drop(out.splice(at..at, AWKWARD[self.below(AWKWARD.len())].iter().copied())),
            5 => out.truncate(at),
            6 => {
                let end = at + self.below((out.len() - at).min(64));
                out.drain(at..end);
            }
            _ => {
                let other = seeds.get(self.below(seeds.len())).map_or(&[][..], Vec::as_slice);
                let from = self.below(other.len());
                let piece = &other[from..from + self.below((other.len() - from).min(64))];
                out.splice(at..at, piece.iter().copied());
            }
        }
    }
}
