//! The probabilities of bytes.

use crate::{
    coder::Coder,
    logistic::Logistic,
    model::{Mixer, Slot, spread},
    scale::Scale,
    told::{Bytes, Told},
};

/// Base-2 logarithm of the classes of places.
pub(crate) const CLASS_BITS: u32 = 10;
const HISTORY_BITS: u32 = CLASS_BITS + 8;
const PAIR_BITS: u32 = 17;
const PLACE_BITS: u32 = CLASS_BITS + 6;
const HIT_SETS: usize = 1 << (CLASS_BITS + 4);
const RUN_LENGTHS: usize = 256;
const SAME_HISTORY: u32 = 4;
const HIT_LANES: usize = 4;
/// Bytes of memory for what tells whether a byte is as predicted.
pub(crate) const HITS_BYTES: usize = size_of::<Slot>()
    * (1 << HISTORY_BITS | 1 << PAIR_BITS | 1 << PLACE_BITS)
    + size_of::<[i16; HIT_LANES]>() * HIT_SETS;

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

#[derive(Debug)]
pub(crate) struct Content {
    logistic: Logistic,
    history: Vec<Slot>,
    pair: Vec<Slot>,
    place: Vec<Slot>,
    hit_mixer: Mixer<HIT_LANES>,
    runs: Vec<Slot>,
    /// Whether many bytes are what they were, by whether the last ones were, the last lowest.
    same: [Slot; 1 << SAME_HISTORY],
    was_same: usize,
    bytes: Bytes,
}

pub(crate) fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

pub(crate) fn wide(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(0)
}

impl Content {
    pub(crate) fn new(scale: Scale) -> Self {
        let logistic = Logistic::new();
        Self {
            history: vec![Slot::NEW; 1 << HISTORY_BITS],
            pair: vec![Slot::NEW; 1 << PAIR_BITS],
            place: vec![Slot::NEW; 1 << PLACE_BITS],
            hit_mixer: Mixer::new(HIT_SETS, 3, 16),
            runs: vec![Slot::NEW; RUN_LENGTHS],
            same: [Slot::NEW; 1 << SAME_HISTORY],
            was_same: 0,
            bytes: Bytes::new(&logistic, scale),
            logistic,
        }
    }

    /// Whether a whole run of bytes is as predicted; `clean` bytes before it were.
    pub(crate) fn run(&mut self, coder: &mut impl Coder, clean: usize, is: bool) -> bool {
        let length = (clean / 32).min(RUN_LENGTHS - 1);
        self.runs[length].code(coder, is, 250)
    }

    /// Whether many bytes are what they were.
    pub(crate) fn same(&mut self, coder: &mut impl Coder, is: bool) -> bool {
        let is = self.same[self.was_same].code(coder, is, 100);
        self.was_same = (self.was_same << 1 | usize::from(is)) % self.same.len();
        is
    }

    /// Whether a byte is as predicted.
    pub(crate) fn hit(&mut self, coder: &mut impl Coder, place: &Place, is: bool) -> bool {
        let (class, history) = (place.class & ((1 << CLASS_BITS) - 1), index(u64::from(place.history) & 255));
        let pair = (place.recent & 0xff) << 8 | u64::from(place.predicted);
        let indices = (
            class << 8 | history,
            spread(pair | wide(class) << 16 | u64::from(place.history & 1) << 32, PAIR_BITS),
            class << 6 | (history & 15) << 2 | place.at & 3,
        );
        let slots = [self.history[indices.0], self.pair[indices.1], self.place[indices.2]];
        let [first, second, third] = slots.map(|slot| self.logistic.stretch(slot.one()));
        let logits = [first, second, third, 0];
        let set = class << 4 | history & 15;
        let one = self.logistic.squash(self.hit_mixer.logit(set, &logits));
        let bit = coder.code(one, is);
        self.hit_mixer.learn(set, &logits, one, bit);
        self.history[indices.0].learn(bit, 250);
        self.pair[indices.1].learn(bit, 120);
        self.place[indices.2].learn(bit, 250);
        bit
    }

    /// A byte that is told.
    pub(crate) fn byte(&mut self, coder: &mut impl Coder, place: &Place, told: Told, byte: u8) -> u8 {
        self.bytes.code((coder, &self.logistic), place, told, byte)
    }
}
