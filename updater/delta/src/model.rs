//! What is learnt while a delta is coded: probabilities, their mixture, numbers.

use crate::{coder::Coder, logistic::LOGIT_MAX};

/// Mixes the bits of a number: the highest ones depend on all of it.
pub(crate) fn hash(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Spreads numbers over a table of which that is the base-2 logarithm.
pub(crate) fn spread(number: u64, bits: u32) -> usize {
    usize::try_from(hash(number) >> (64 - bits)).unwrap_or(0)
}

/// The probability of a bit in one context, with how often it was seen. Three bytes: there are millions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    one: [u8; 2],
    seen: u8,
}

/// How fast a probability moves that was seen so many times, of 32768: a division costs more than all the rest of it.
static RATES: [i32; 256] = {
    let mut rates = [0; 256];
    let (mut seen, mut parts) = (0, 3);
    while seen < rates.len() {
        rates[seen] = 65_536 / parts;
        seen += 1;
        parts += 2;
    }
    rates
};

impl Slot {
    /// Nothing is known.
    pub(crate) const NEW: Self = Self { one: [0, 0x80], seen: 0 };
    /// Probabilities stay this far from certainty.
    const MARGIN: i32 = 16;

    pub(crate) const fn one(self) -> u16 {
        u16::from_le_bytes(self.one)
    }

    /// Moves towards what was seen: at first fast, in the end by one part in about `limit`.
    pub(crate) fn learn(&mut self, bit: bool, limit: u8) {
        let target = if bit { 65535 } else { 0 };
        let one = i32::from(self.one());
        let moved = one + (((target - one) * RATES[usize::from(self.seen)]) >> 15);
        let one = u16::try_from(moved.clamp(Self::MARGIN, 65535 - Self::MARGIN)).unwrap_or(1 << 15);
        self.one = one.to_le_bytes();
        if self.seen < limit {
            self.seen += 1;
        }
    }

    /// Codes a bit with this slot alone.
    pub(crate) fn code(&mut self, coder: &mut impl Coder, bit: bool, limit: u8) -> bool {
        let bit = coder.code(self.one(), bit);
        self.learn(bit, limit);
        bit
    }
}

/// Several opinions on a bit, weighed by how good they were: logistic mixing. Opinions and weights have 16 bits, so that
/// processors do many of them at once.
#[derive(Debug)]
pub(crate) struct Mixer<const N: usize> {
    weights: Vec<[i16; N]>,
    rate: i32,
}

/// Base-2 logarithm of what stands for a weight of one.
const WEIGHT_BITS: u32 = 13;

impl<const N: usize> Mixer<N> {
    /// Weights for so many situations, for the first `opinions` of `N`; `rate` is how fast they change.
    pub(crate) fn new(sets: usize, opinions: usize, rate: i32) -> Self {
        let share = (1 << WEIGHT_BITS) / i16::try_from(opinions).unwrap_or(1) + 750;
        let first = std::array::from_fn(|number| if number < opinions { share } else { 0 });
        Self { weights: vec![first; sets], rate }
    }

    /// The mixed logit.
    #[inline]
    pub(crate) fn logit(&self, set: usize, logits: &[i16; N]) -> i32 {
        let each = self.weights[set].iter().zip(logits);
        let sum: i32 = each.map(|(weight, logit)| i32::from(*weight) * i32::from(*logit)).sum();
        (sum >> WEIGHT_BITS).clamp(-LOGIT_MAX - 1, LOGIT_MAX)
    }

    /// Gives more weight to who was right; `mixed` is the probability that they had together.
    #[inline]
    pub(crate) fn learn(&mut self, set: usize, logits: &[i16; N], mixed: u16, bit: bool) {
        let error = if bit { 65535 } else { 0 } - i32::from(mixed);
        let error = i16::try_from((error * self.rate) >> 5).unwrap_or(0);
        for (weight, logit) in self.weights[set].iter_mut().zip(logits) {
            let change = (upper(i32::from(*logit << 1) * i32::from(error)) + 1) >> 1;
            *weight = weight.saturating_add(change);
        }
    }
}

/// The upper half.
#[expect(clippy::as_conversions, reason = "there are 16 bits left")]
#[inline]
const fn upper(number: i32) -> i16 {
    (number >> 16) as i16
}

/// Numbers: how many bits they have, then the bits, each with a probability of its own.
#[derive(Debug)]
pub(crate) struct Numbers {
    lengths: Vec<Slot>,
    bits: Vec<Slot>,
}

/// Bits of the largest number that is coded.
const NUMBER_BITS: usize = 40;
/// The first bits of a number are coded knowing those before them.
const LEADING: usize = 6;
const LIMIT: u8 = 30;

impl Numbers {
    pub(crate) fn new() -> Self {
        Self {
            lengths: vec![Slot::NEW; NUMBER_BITS + 1],
            bits: vec![Slot::NEW; (NUMBER_BITS + 1) * ((1 << LEADING) + NUMBER_BITS)],
        }
    }

    /// A number below 2^40. A writer's larger number is a defect of its caller and is cut.
    pub(crate) fn code(&mut self, coder: &mut impl Coder, number: u64) -> u64 {
        let number = number.saturating_add(1).min((1 << (NUMBER_BITS + 1)) - 1);
        let wanted = usize::try_from(number.ilog2()).unwrap_or(0);
        let mut length = 0;
        while length < NUMBER_BITS && self.lengths[length].code(coder, length < wanted, LIMIT) {
            length += 1;
        }
        let mut prefix = 1_u64;
        for at in (0..length).rev() {
            let context = if length - at <= LEADING {
                usize::try_from(prefix).unwrap_or(0) % (1 << LEADING)
            } else {
                (1 << LEADING) + at
            };
            let slot = &mut self.bits[length * ((1 << LEADING) + NUMBER_BITS) + context];
            let bit = slot.code(coder, number >> at & 1 == 1, LIMIT);
            prefix = prefix << 1 | u64::from(bit);
        }
        prefix - 1
    }

    /// A number that may be negative.
    pub(crate) fn signed(&mut self, coder: &mut impl Coder, number: i64) -> i64 {
        let folded = (number << 1 ^ number >> 63).cast_unsigned();
        let folded = self.code(coder, folded);
        (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coder::{Reader, Writer};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive(numbers in prop::collection::vec((0..1_u64 << 39, -(1_i64 << 38)..1 << 38), 0..50)) {
            let (mut writer, mut model) = (Writer::new(), Numbers::new());
            for (plain, signed) in &numbers {
                model.code(&mut writer, *plain);
                model.signed(&mut writer, *signed);
            }
            let bytes = writer.finish();
            let (mut reader, mut model) = (Reader::new(&bytes), Numbers::new());
            for (plain, signed) in &numbers {
                prop_assert_eq!(model.code(&mut reader, 0), *plain);
                prop_assert_eq!(model.signed(&mut reader, 0), *signed);
            }
        }
    }

    #[test]
    fn what_repeats_becomes_cheap() {
        let (mut writer, mut model) = (Writer::new(), Numbers::new());
        for _ in 0..10_000 {
            model.code(&mut writer, 123_456);
        }
        assert!(writer.finish().len() < 600);
    }
}
