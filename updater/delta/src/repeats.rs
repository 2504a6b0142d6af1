//! New bytes that go on as others did: where the last few were seen before, and what came then.

use crate::model::{Slot, spread};

/// Bytes that have to be the same before the next one is expected to be.
const SAME_MIN: usize = 6;
/// As many are compared when a place is found, and counted at most.
const FOUND_MAX: usize = 32;
const SAME_MAX: usize = 400;
/// After so many wrong bytes a place is given up; until then it may still go on as it did.
const WRONG_MAX: u32 = 8;
/// How far a place is believed, in steps; 0: there is none.
pub(crate) const STEPS: usize = 16;
/// How often the expected bit followed is learnt up to here.
const LIMIT: u8 = 250;

/// The new bytes of a stream, as far back as there is memory for.
#[derive(Debug)]
pub(crate) struct Repeats {
    /// A ring.
    bytes: Vec<u8>,
    /// How many there were.
    count: usize,
    /// Behind which of them the last bytes were seen, by their hash.
    places: Vec<u32>,
    bits: u32,
    /// Where it goes on as it did, if anywhere: the number of the byte that is expected next.
    next: Option<usize>,
    same: usize,
    wrong: u32,
    /// Whether a bit is as expected, by how far the place is believed and the byte.
    slots: Vec<Slot>,
}

/// What a byte should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) byte: u8,
    /// How far that is believed: from 1 to below [`STEPS`].
    pub(crate) step: usize,
}

impl Expected {
    /// What the next bit should be behind those of `node`; nothing if they were others.
    pub(crate) fn bit(self, node: usize, number: u32) -> Option<bool> {
        let is_so_far = (1 << 8 | usize::from(self.byte)) >> (number + 1) == node;
        is_so_far.then_some(self.byte >> number & 1 == 1)
    }
}

impl Repeats {
    /// Nothing is new yet; so many bytes will be remembered, and so many places, as base-2 logarithms.
    pub(crate) fn new(bytes: u32, places: u32) -> Self {
        Self {
            bytes: vec![0; 1 << bytes],
            count: 0,
            places: vec![0; 1 << places],
            bits: places,
            next: None,
            same: 0,
            wrong: 0,
            slots: vec![Slot::NEW; STEPS << 8],
        }
    }

    /// A byte that is still remembered.
    fn byte(&self, number: usize) -> Option<u8> {
        let is_there = number < self.count && self.count - number <= self.bytes.len();
        is_there.then(|| self.bytes[number & (self.bytes.len() - 1)])
    }

    /// What the next byte should be.
    pub(crate) fn expected(&self) -> Option<Expected> {
        let byte = self.byte(self.next?)?;
        let step = match self.same {
            0..16 => 1 + self.same / 2,
            16..24 => 9,
            24..32 => 10,
            32..64 => 11,
            64..128 => 12,
            128..256 => 13,
            256..SAME_MAX => 14,
            _ => 15,
        };
        Some(Expected { byte, step })
    }

    /// Where it is learnt whether bits are as expected.
    pub(crate) fn slot(&self, expected: Expected) -> Slot {
        self.slots[expected.step << 8 | usize::from(expected.byte)]
    }

    /// Whether a bit was.
    pub(crate) fn learn(&mut self, expected: Expected, is: bool) {
        self.slots[expected.step << 8 | usize::from(expected.byte)].learn(is, LIMIT);
    }

    /// Takes the next new byte; `recent` are the eight up to it, the last one lowest.
    pub(crate) fn push(&mut self, byte: u8, recent: u64) {
        self.follow(byte);
        let last = self.bytes.len() - 1;
        self.bytes[self.count & last] = byte;
        self.count += 1;
        let place = spread(recent & ((1 << (8 * SAME_MIN)) - 1), self.bits);
        if self.same < SAME_MIN {
            self.find(usize::try_from(self.places[place]).unwrap_or(0));
        }
        self.places[place] = u32::try_from(self.count).unwrap_or(0);
    }

    fn follow(&mut self, byte: u8) {
        let Some(next) = self.next else { return };
        if self.byte(next) == Some(byte) {
            self.same = (self.same + 1).min(SAME_MAX);
        } else {
            (self.same, self.wrong) = (0, self.wrong + 1);
        }
        self.next = Some(next + 1).filter(|_| self.wrong <= WRONG_MAX);
    }

    /// Goes on behind `place` from now on if more bytes before it are the same; 0 is none.
    fn find(&mut self, place: usize) {
        let is_same = |back: &usize| {
            let before = place.checked_sub(back + 1).and_then(|number| self.byte(number));
            before.is_some() && before == self.byte(self.count - 1 - back)
        };
        let same = (0..FOUND_MAX.min(self.count)).take_while(is_same).count();
        if same >= SAME_MIN {
            (self.next, self.same, self.wrong) = (Some(place), same, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is expected after these bytes.
    fn after(bytes: &[u8]) -> Option<(u8, usize)> {
        let mut repeats = Repeats::new(8, 8);
        let mut recent = 0_u64;
        for byte in bytes {
            recent = recent << 8 | u64::from(*byte);
            repeats.push(*byte, recent);
        }
        repeats.expected().map(|expected| (expected.byte, expected.step))
    }

    #[test]
    fn what_began_alike_is_expected_to_go_on_alike() {
        assert_eq!(after(b"abcdefgh"), None);
        assert_eq!(after(b"abcdefgh, abcde"), None);
        assert_eq!(after(b"abcdefgh, abcdef"), Some((b'g', 4)));
        assert_eq!(after(b"abcdefghijkl, abcdefghij"), Some((b'k', 6)));
    }

    #[test]
    fn one_wrong_byte_is_not_the_end_but_many_are() {
        assert_eq!(after(b"abcdefghijkl, abcdefghXj"), Some((b'k', 1)));
        assert_eq!(after(b"abcdefghijklmnopqrstuvw, abcdefghABCDEFGHI"), None);
    }

    #[test]
    fn what_is_forgotten_is_not_expected() {
        let far = |between: usize| {
            let noise = (0..between).map(|number| u8::try_from(number * number % 251).unwrap());
            after(&b"abcdefgh".iter().copied().chain(noise).chain(*b"abcdef").collect::<Vec<u8>>())
        };
        assert_eq!(far(100).map(|(byte, _)| byte), Some(b'g'));
        assert_ne!(far(300).map(|(byte, _)| byte), Some(b'g'));
    }

    #[test]
    fn a_bit_is_expected_only_behind_bits_that_were() {
        let expected = Expected { byte: 0b1010_0000, step: 1 };
        assert_eq!(expected.bit(1, 7), Some(true));
        assert_eq!(expected.bit(0b110, 5), Some(true));
        assert_eq!(expected.bit(0b111, 5), None);
        assert_eq!(expected.bit(0b1101_0000, 0), Some(false));
    }
}
