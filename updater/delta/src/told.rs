//! The probabilities of bytes that are told: new ones, and those that are not as predicted.

use crate::{
    chances::{Chances, Outcomes},
    coder::Coder,
    content::{CLASS_BITS, Place, index, wide},
    histories::Histories,
    lines::{Line, Lines, Spot},
    logistic::Logistic,
    model::{Mixer, spread},
    repeats::{self, Expected, Repeats},
    scale::Scale,
};

/// Contexts of a byte in a stream of large scale.
pub(crate) const CONTEXTS: usize = 12;
/// The first of them, which are those of a small one: the others are worth their time only where much is new.
pub(crate) const FEW_CONTEXTS: usize = 8;
/// Opinions on a bit at most: what repeats, and what followed in each context.
const OPINIONS: usize = CONTEXTS + 1;
/// As many as processors do at once.
const LANES: usize = OPINIONS.next_power_of_two();
/// Kinds of bytes.
const KINDS: usize = 3;
/// How fast weights change.
const RATE: i32 = 14;
/// Weights of the opinions: by the kind and the bits before; by the byte before; by what repeats, the byte before that one
/// and the number of the bit.
const NODE_SETS: usize = KINDS << 8;
const BEHIND_SETS: usize = 2 << 8;
const REPEAT_SETS: usize = repeats::STEPS << 8;
/// Base-2 logarithm of the situations in which it is learnt what became of mixed probabilities: the byte before, the kind
/// and the bits before.
const OUTCOME_BITS: u32 = 11;

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
pub(crate) struct Bytes {
    histories: Histories,
    contexts: Vec<Lines>,
    chances: [Chances; KINDS],
    repeats: Repeats,
    mixers: [Mixer<LANES>; 3],
    by_node: Outcomes,
    by_last: Outcomes,
    /// By how much the last two bytes differed from their predictions, in each place.
    errors: Vec<[u8; 2]>,
}

/// Where a bit stands, and who has an opinion on it.
struct Bit {
    /// 1, then the bits of this half of the byte.
    within: usize,
    /// 1, then the bits of the byte.
    node: usize,
    /// What it should be, if the byte repeats what was before.
    expected: Option<(Expected, bool)>,
    kind: usize,
    /// The weights that count.
    sets: [usize; 3],
    /// The situation for [`OUTCOME_BITS`].
    situation: usize,
}

impl Bytes {
    pub(crate) fn new(logistic: &Logistic, scale: Scale) -> Self {
        let (histories, contexts) = (Histories::new(), scale.contexts());
        Self {
            contexts: (0..contexts).map(|_| Lines::new(scale.line_bits())).collect(),
            chances: std::array::from_fn(|_| Chances::new(&histories, contexts)),
            repeats: Repeats::new(scale.repeat_bits(), scale.place_bits()),
            mixers: [NODE_SETS, BEHIND_SETS, REPEAT_SETS].map(|sets| Mixer::new(sets, 1 + contexts, RATE)),
            by_node: Outcomes::new(logistic, NODE_SETS),
            by_last: Outcomes::new(logistic, 1 << OUTCOME_BITS),
            errors: vec![[0; 2]; 8 << CLASS_BITS],
            histories,
        }
    }

    /// A byte that is told.
    pub(crate) fn code(
        &mut self,
        (coder, logistic): (&mut impl Coder, &Logistic),
        place: &Place,
        told: Told,
        byte: u8,
    ) -> u8 {
        let column = (place.class & ((1 << CLASS_BITS) - 1)) << 3 | place.at & 7;
        let expected = self.repeats.expected().filter(|_| told == Told::New);
        let contexts = contexts(place, (told, expected), self.errors[column]);
        let mut node = 1;
        for half in [4, 0] {
            // All are looked at before any of them is used: the processor waits for them at once.
            let mut spots = [Spot::default(); CONTEXTS];
            for ((spot, context), lines) in spots.iter_mut().zip(contexts).zip(&self.contexts) {
                *spot = lines.look(context ^ wide(node));
            }
            let (mut lines, mut claimed) = ([Line::default(); CONTEXTS], [0; CONTEXTS]);
            for (((context, spot), number), line) in
                self.contexts.iter_mut().zip(&spots).zip(&mut claimed).zip(&mut lines)
            {
                *number = context.claim(&self.histories, spot);
                *line = *context.line(*number);
            }
            let mut within = 1;
            for number in (half..half + 4).rev() {
                let expected = expected.and_then(|expected| Some(expected).zip(expected.bit(node, number)));
                let bit = Bit {
                    within,
                    node,
                    expected,
                    kind: told.number(),
                    sets: sets(place, told, (node, number), expected),
                    situation: spread(
                        place.recent & 0xff | wide(told.number() << 8 | node) << 8,
                        OUTCOME_BITS,
                    ),
                };
                let is = self.bit((coder, logistic), (&bit, &mut lines), byte >> number & 1 == 1);
                within = within << 1 | usize::from(is);
                node = node << 1 | usize::from(is);
            }
            for ((context, number), line) in self.contexts.iter_mut().zip(claimed).zip(lines) {
                *context.line(number) = line;
            }
        }
        let byte = u8::try_from(node & 255).unwrap_or(0);
        if told == Told::New {
            self.repeats.push(byte, place.recent << 8 | u64::from(byte));
        } else {
            let [last, _] = self.errors[column];
            self.errors[column] = [byte.wrapping_sub(place.predicted), last];
        }
        byte
    }

    #[inline]
    fn bit(
        &mut self,
        (coder, logistic): (&mut impl Coder, &Logistic),
        (bit, lines): (&Bit, &mut [Line; CONTEXTS]),
        wanted: bool,
    ) -> bool {
        let Bit { within, node, expected, kind, sets, situation } = bit;
        let chances = &mut self.chances[*kind];
        let mut opinions = [0; LANES];
        chances.opinions(logistic, (lines, *within), &mut opinions[1..]);
        if let Some((expected, is)) = expected {
            let logit = logistic.stretch(self.repeats.slot(*expected).one());
            opinions[0] = if *is { logit } else { -logit };
        }
        let mixed: [i32; 3] =
            std::array::from_fn(|number| self.mixers[number].logit(sets[number], &opinions));
        let logit = mixed.iter().sum::<i32>() / 3;
        let places = [Outcomes::find(kind << 8 | node, logit), Outcomes::find(*situation, logit)];
        let outcomes = self.by_node.one(places[0]) + self.by_last.one(places[1]);
        let one = (2 * u32::from(logistic.squash(logit)) + outcomes) / 4;
        let is = coder.code(u16::try_from(one.max(1)).unwrap_or(u16::MAX), wanted);
        self.by_node.learn(places[0], is);
        self.by_last.learn(places[1], is);
        for ((mixer, set), mixed) in self.mixers.iter_mut().zip(sets).zip(mixed) {
            mixer.learn(*set, &opinions, logistic.squash(mixed), is);
        }
        chances.learn(&self.histories, (lines, *within), is);
        if let Some((expected, expected_is)) = expected {
            self.repeats.learn(*expected, *expected_is == is);
        }
        is
    }
}

/// The weights that count for a bit.
fn sets(
    place: &Place,
    told: Told,
    (node, number): (usize, u32),
    expected: Option<(Expected, bool)>,
) -> [usize; 3] {
    let step = expected.map_or(0, |(expected, _)| expected.step);
    let before = index(place.recent >> 12 & 0xf) << 3 | index(number.into());
    [
        told.number() << 8 | node,
        usize::from(told == Told::New) << 8 | index(place.recent & 0xff),
        step << 8 | usize::from(told == Told::New) << 7 | before,
    ]
}

/// What a byte that is told is seen in: first what all have, then what depends on whether it was predicted.
fn contexts(place: &Place, (told, expected): (Told, Option<Expected>), errors: [u8; 2]) -> [u64; CONTEXTS] {
    let before = |bytes: u32| place.recent & ((1 << (8 * bytes)) - 1);
    let eighth = place.recent >> 56 << 20 | (wide(place.at) & 7) << 12;
    let kind = wide(told.number());
    let predicted = u64::from(place.predicted) | kind << 8;
    // What it is if it is as wrong as the last one was, and the one before.
    let [last, before_last] = errors.map(|error| u64::from(place.predicted.wrapping_add(error)) | kind << 8);
    let repeated = expected
        .map_or(0, |expected| 1 << 24 | u64::from(expected.byte) << 8 | wide(expected.step.min(7)) << 16);
    let [sixth, seventh, third, fourth, repeated, fifth] = if told == Told::New {
        [before(6), eighth, before(3) >> 8, before(4) >> 8, repeated | before(1), before(5)]
    } else {
        [
            predicted << 8 | before(1),
            predicted | eighth,
            last,
            last | before_last << 16,
            predicted << 16 | before(2),
            last | before(1) << 16,
        ]
    };
    let far = before(4) >> 16 | kind << 16;
    let all = [
        kind,
        before(1),
        before(2),
        sixth,
        seventh,
        third,
        fourth,
        repeated,
        before(3),
        before(4),
        far,
        fifth,
    ];
    let (mut number, is_new) = (0_u64, u64::from(told == Told::New));
    all.map(|context| {
        number += 1;
        let own = if matches!(number, 4..=8 | 12) { is_new } else { 0 };
        (context ^ number << 56 ^ own << 62).wrapping_mul(0xd6e8_feb8_6659_fd93)
    })
}
