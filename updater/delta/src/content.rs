//! The probabilities of bytes.

use crate::{
    coder::Coder,
    logistic::Logistic,
    model::{Mixer, Slot},
};

/// Opinions on a byte that was not predicted, or wrongly.
const CONTEXTS: usize = 7;
/// Base-2 logarithm of the slots for each of them.
const CONTEXT_BITS: u32 = 20;
const BYTE_SETS: usize = 1024;
/// Base-2 logarithm of the classes of places.
const CLASS_BITS: u32 = 10;
const HISTORY_BITS: u32 = CLASS_BITS + 8;
const PAIR_BITS: u32 = 17;
const PLACE_BITS: u32 = CLASS_BITS + 6;
const HIT_SETS: usize = 1 << (CLASS_BITS + 4);
const RUN_LENGTHS: usize = 256;

/// What is known about a byte before it is coded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its offset in the new file.
    pub(crate) at: usize,
    /// The eight bytes before it, the last one lowest.
    pub(crate) recent: u64,
    /// What it should be.
    pub(crate) predicted: u8,
    /// Where it stands in a reference: 0 if in none.
    pub(crate) class: usize,
    /// Which of the bytes before it were as predicted, the last one lowest.
    pub(crate) history: u32,
}

/// How a byte that has to be told came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing was predicted.
    New,
    /// The prediction was wrong.
    Changed,
    /// The prediction was wrong, inside of a reference.
    Moved,
}

#[derive(Debug)]
pub(crate) struct Content {
    logistic: Logistic,
    history: Vec<Slot>,
    pair: Vec<Slot>,
    place: Vec<Slot>,
    hit_mixer: Mixer<3>,
    runs: Vec<Slot>,
    contexts: [Vec<Slot>; CONTEXTS],
    byte_mixer: Mixer<CONTEXTS>,
}

/// Spreads a context over a table.
fn spread(context: u64, bits: u32) -> usize {
    usize::try_from(context.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)).unwrap_or(0)
}

fn wide(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(0)
}

impl Content {
    pub(crate) fn new() -> Self {
        Self {
            logistic: Logistic::new(),
            history: vec![Slot::NEW; 1 << HISTORY_BITS],
            pair: vec![Slot::NEW; 1 << PAIR_BITS],
            place: vec![Slot::NEW; 1 << PLACE_BITS],
            hit_mixer: Mixer::new(HIT_SETS, 4),
            runs: vec![Slot::NEW; RUN_LENGTHS],
            contexts: std::array::from_fn(|_| vec![Slot::NEW; 1 << CONTEXT_BITS]),
            byte_mixer: Mixer::new(BYTE_SETS, 6),
        }
    }

    /// Whether a whole run of bytes is as predicted; `clean` bytes before it were.
    pub(crate) fn run(&mut self, coder: &mut impl Coder, clean: usize, is: bool) -> bool {
        let length = (clean / 32).min(RUN_LENGTHS - 1);
        self.runs[length].code(coder, is, 250)
    }

    /// Whether a byte is as predicted.
    pub(crate) fn hit(&mut self, coder: &mut impl Coder, place: &Place, is: bool) -> bool {
        let (class, history) =
            (place.class & ((1 << CLASS_BITS) - 1), usize::try_from(place.history & 255).unwrap_or(0));
        let pair = (place.recent & 0xff) << 8 | u64::from(place.predicted);
        let indices = (
            class << 8 | history,
            spread(pair | wide(class) << 16 | u64::from(place.history & 1) << 32, PAIR_BITS),
            class << 6 | (history & 15) << 2 | place.at & 3,
        );
        let slots = [self.history[indices.0], self.pair[indices.1], self.place[indices.2]];
        let logits = slots.map(|slot| self.logistic.stretch(slot.one()));
        let set = class << 4 | history & 15;
        let one = self.hit_mixer.mix(&self.logistic, set, &logits);
        let bit = coder.code(one, is);
        self.hit_mixer.learn(set, &logits, one, bit);
        self.history[indices.0].learn(bit, 250);
        self.pair[indices.1].learn(bit, 120);
        self.place[indices.2].learn(bit, 250);
        bit
    }

    /// A byte that is told.
    pub(crate) fn byte(&mut self, coder: &mut impl Coder, place: &Place, told: Told, byte: u8) -> u8 {
        let class = match told {
            Told::New => 0,
            Told::Changed => 1,
            Told::Moved => 2,
        };
        let predicted = if told == Told::New { 256 } else { u64::from(place.predicted) | 512 };
        let last = |bytes: u32| place.recent & ((1 << (8 * bytes)) - 1);
        let contexts = [
            wide(class),
            last(1),
            last(2),
            last(3),
            last(4),
            predicted << 8 | last(1),
            predicted | (wide(place.at) & 7) << 12 | place.recent >> 56 << 20,
        ]
        .map(|context| context.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let mut node = 1_usize;
        for bit in (0..8).rev() {
            let indices = contexts.map(|context| spread(context ^ wide(node), CONTEXT_BITS));
            let mut logits = [0; CONTEXTS];
            for ((logit, table), index) in logits.iter_mut().zip(&self.contexts).zip(indices) {
                *logit = self.logistic.stretch(table[index].one());
            }
            let set = class << 8 | node;
            let one = self.byte_mixer.mix(&self.logistic, set, &logits);
            let bit = coder.code(one, byte >> bit & 1 == 1);
            self.byte_mixer.learn(set, &logits, one, bit);
            for (table, index) in self.contexts.iter_mut().zip(indices) {
                table[index].learn(bit, 60);
            }
            node = node << 1 | usize::from(bit);
        }
        u8::try_from(node & 255).unwrap_or(0)
    }
}
