//! Where references go in the new file: by the copies, and by what was wrong before.

use crate::{
    moves::Moves,
    space::{Isa, Space},
    words::{Finder, Form, View, Word},
};

/// Base-2 logarithm of the targets that are remembered.
const LEARNT_BITS: u32 = 18;
/// Base-2 logarithm of the regions whose predictions are judged.
const REGION_BITS: u32 = 12;
/// Base-2 logarithm of a region's bytes.
const REGION_BYTES: u32 = 14;
/// Predictions of a region are used until they were wrong this much more often than right.
const TRUST_MIN: i8 = -2;
const TRUST_MAX: i8 = 8;

/// A file, as far as references need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    pub(crate) space: &'a Space,
    pub(crate) length: u64,
}

/// What a word of the new file should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess {
    word: Word,
    region: usize,
    predicted: u64,
    /// The prediction, or the old bytes if predictions here were wrong.
    pub(crate) bytes: [u8; 8],
    /// Whether the prediction is not just the old bytes.
    pub(crate) moved: bool,
}

impl Guess {
    pub(crate) const fn form(&self) -> Form {
        self.word.form
    }

    pub(crate) const fn len(&self) -> usize {
        self.word.form.bytes()
    }
}

#[derive(Debug)]
pub(crate) struct References<'a> {
    finder: Finder<'a>,
    new: Side<'a>,
    moves: &'a Moves,
    /// Old target and new target, where the copies were wrong.
    learnt: Vec<(u64, u64)>,
    trust: Vec<i8>,
}

fn spread(value: u64, bits: u32) -> usize {
    usize::try_from(value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)).unwrap_or(0)
}

impl<'a> References<'a> {
    pub(crate) fn new(isa: Isa, old: Side<'a>, new: Side<'a>, moves: &'a Moves) -> Self {
        let finder = Finder { isa, space: old.space, length: old.length };
        let (learnt, trust) = (vec![(0, 0); 1 << LEARNT_BITS], vec![0; 1 << REGION_BITS]);
        Self { finder, new, moves, learnt, trust }
    }

    /// What begins at `old` of the old file should be at `new` of the new one, if it is a reference.
    pub(crate) fn guess(&self, view: &View<'_>, old: usize, new: usize) -> Option<Guess> {
        let word = self.finder.word(view, old)?;
        let address = self.new.space.address(u64::try_from(new).ok()?)?;
        let predicted = word.form.place(word.bytes, address, self.target(word.target)?);
        let region = u64::try_from(old >> REGION_BYTES).ok()? << 3 | u64::try_from(word.form.class()).ok()?;
        let region = spread(region + 1, REGION_BITS);
        let moved = predicted != word.bytes;
        let used = if self.trust[region] >= TRUST_MIN { predicted } else { word.bytes };
        Some(Guess { word, region, predicted, bytes: used.to_le_bytes(), moved })
    }

    /// Where an old target is in the new file.
    fn target(&self, old: u64) -> Option<u64> {
        let (known, new) = self.learnt[spread(old, LEARNT_BITS)];
        if known == old && old != 0 { Some(new) } else { self.by_copies(old) }
    }

    fn by_copies(&self, old: u64) -> Option<u64> {
        let offset = self.finder.space.offset(old, self.finder.length)?;
        let moved = self.moves.new_offset(usize::try_from(offset).ok()?);
        self.new.space.address(u64::try_from(moved).ok()?)
    }

    /// What the word at `new` turned out to be.
    pub(crate) fn learn(&mut self, guess: &Guess, new: usize, bytes: u64) {
        let right = bytes == guess.predicted;
        if guess.moved {
            let trust = &mut self.trust[guess.region];
            if right {
                *trust = (*trust + 1).min(TRUST_MAX);
            } else if bytes == guess.word.bytes {
                *trust = (*trust - 1).max(-TRUST_MAX);
            }
        }
        let Some(address) = u64::try_from(new).ok().and_then(|new| self.new.space.address(new)) else {
            return;
        };
        let old = guess.word.target;
        let by_copies = self.by_copies(old);
        let target = guess.word.form.target(bytes, address, by_copies.unwrap_or(0));
        let slot = &mut self.learnt[spread(old, LEARNT_BITS)];
        if by_copies == Some(target) {
            if slot.0 == old {
                *slot = (0, 0);
            }
        } else if !right && self.new.space.offset(target, self.new.length).is_some() {
            *slot = (old, target);
        }
    }

    /// The whole old file with every reference going to where its target is in the new file, as if from address 0: what
    /// is alike then is the same, wherever it stands.
    #[cfg(any(test, feature = "make"))]
    pub(crate) fn absolute(&self, file: &[u8]) -> Vec<u8> {
        let (view, mut out, mut at) = (View { bytes: file, start: 0 }, file.to_vec(), 0);
        while at < file.len() {
            let word = self.finder.word(&view, at);
            let Some((word, target)) = word.and_then(|word| Some((word, self.by_copies(word.target)?)))
            else {
                at += 1;
                continue;
            };
            let (bytes, placed) = (word.form.bytes(), word.form.place(word.bytes, 0, target).to_le_bytes());
            for (to, from) in out[at..].iter_mut().zip(&placed[..bytes]) {
                *to = *from;
            }
            at += bytes;
        }
        out
    }
}
