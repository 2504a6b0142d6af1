//! The probabilities of bytes.

use crate::{
    coder::Coder,
    lines::Lines,
    logistic::Logistic,
    model::{Mixer, Slot, spread},
};

/// Opinions on a byte that was not predicted, or wrongly.
const CONTEXTS: usize = 10;
/// Weights of these opinions: by how the byte came about and the bits of it before, and by the byte before it.
const BYTE_SETS: usize = 3 << 8;
const BEHIND_SETS: usize = 2 << 8;
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

impl Told {
    const fn number(self) -> usize {
        match self {
            Self::New => 0,
            Self::Changed => 1,
            Self::Moved => 2,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Content {
    logistic: Logistic,
    history: Vec<Slot>,
    pair: Vec<Slot>,
    place: Vec<Slot>,
    hit_mixer: Mixer<3>,
    runs: Vec<Slot>,
    contexts: [Lines; CONTEXTS],
    byte_mixer: Mixer<CONTEXTS>,
    behind_mixer: Mixer<CONTEXTS>,
    /// By how much the last two bytes differed from their predictions, in each place.
    errors: Vec<[u8; 2]>,
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
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
            hit_mixer: Mixer::new(HIT_SETS, 16),
            runs: vec![Slot::NEW; RUN_LENGTHS],
            contexts: std::array::from_fn(|_| Lines::new()),
            byte_mixer: Mixer::new(BYTE_SETS, 24),
            behind_mixer: Mixer::new(BEHIND_SETS, 24),
            errors: vec![[0; 2]; 8 << CLASS_BITS],
        }
    }

    /// Whether a whole run of bytes is as predicted; `clean` bytes before it were.
    pub(crate) fn run(&mut self, coder: &mut impl Coder, clean: usize, is: bool) -> bool {
        let length = (clean / 32).min(RUN_LENGTHS - 1);
        self.runs[length].code(coder, is, 250)
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
        let column = (place.class & ((1 << CLASS_BITS) - 1)) << 3 | place.at & 7;
        let contexts = contexts(place, told, self.errors[column]);
        let behind = usize::from(told == Told::New) << 8 | index(place.recent & 0xff);
        let mut node = 1;
        for half in [4, 0] {
            let looked: [_; CONTEXTS] =
                std::array::from_fn(|number| self.contexts[number].look(contexts[number] ^ wide(node)));
            let lines: [_; CONTEXTS] =
                std::array::from_fn(|number| self.contexts[number].claim(&looked[number]));
            let mut within = 1;
            for bit in (half..half + 4).rev() {
                let logits: [_; CONTEXTS] = std::array::from_fn(|number| {
                    self.logistic.stretch(self.contexts[number].slot(lines[number], within).one())
                });
                let set = told.number() << 8 | node;
                let one = self.byte_mixer.logit(set, &logits);
                let other = self.behind_mixer.logit(behind, &logits);
                let bit = coder.code(self.logistic.squash((one + other) >> 1), byte >> bit & 1 == 1);
                self.byte_mixer.learn(set, &logits, self.logistic.squash(one), bit);
                self.behind_mixer.learn(behind, &logits, self.logistic.squash(other), bit);
                for (table, line) in self.contexts.iter_mut().zip(lines) {
                    table.slot(line, within).learn(bit, 30);
                }
                within = within << 1 | usize::from(bit);
                node = node << 1 | usize::from(bit);
            }
        }
        let byte = u8::try_from(node & 255).unwrap_or(0);
        if told != Told::New {
            let [last, _] = self.errors[column];
            self.errors[column] = [byte.wrapping_sub(place.predicted), last];
        }
        byte
    }
}

/// What a byte that is told is seen in: first what all have, then what depends on whether it was predicted.
fn contexts(place: &Place, told: Told, errors: [u8; 2]) -> [u64; CONTEXTS] {
    let before = |bytes: u32| place.recent & ((1 << (8 * bytes)) - 1);
    let eighth = place.recent >> 56 << 20 | (wide(place.at) & 7) << 12;
    let kind = wide(told.number());
    let predicted = u64::from(place.predicted) | kind << 8;
    // What it is if it is as wrong as the last one was, and the one before.
    let [last, before_last] = errors.map(|error| u64::from(place.predicted.wrapping_add(error)) | kind << 8);
    let [sixth, seventh, third, fifth, fourth] = if told == Told::New {
        [before(6), eighth, before(3) >> 8, before(5), before(4) >> 8]
    } else {
        [
            predicted << 8 | before(1),
            predicted | eighth,
            last,
            last | before(1) << 16,
            last | before_last << 16,
        ]
    };
    let all = [kind, before(1), before(2), before(3), before(4), sixth, seventh, third, fifth, fourth];
    let (mut number, is_new) = (0_u64, u64::from(told == Told::New));
    all.map(|context| {
        number += 1;
        let own = if number > 5 { is_new } else { 0 };
        (context ^ number << 56 ^ own << 62).wrapping_mul(0xd6e8_feb8_6659_fd93)
    })
}
