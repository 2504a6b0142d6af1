//! Where references go in the new file: by the copies, and by what was wrong before.

use crate::{
    moves::Moves,
    space::{Isa, Space},
    words::{Finder, Form, View, Word},
};

/// Base-2 logarithm of the targets that are remembered: of a large file, and of the smallest.
const LEARNT_BITS_MAX: u32 = 17;
const LEARNT_BITS_MIN: u32 = 6;
/// Base-2 logarithm of the bytes of the old file for each of them.
const LEARNT_SHARE: u32 = 6;
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
    /// Where it ends; of a part of a file, where the part ends.
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

/// Where references of the old file go in the new one, as the copies tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets<'a> {
    finder: Finder<'a>,
    new: Side<'a>,
    moves: &'a Moves,
}

impl<'a> Targets<'a> {
    pub(crate) const fn new(isa: Isa, old: Side<'a>, new: Side<'a>, moves: &'a Moves) -> Self {
        Self { finder: Finder { isa, space: old.space, length: old.length }, new, moves }
    }

    fn by_copies(&self, old: u64) -> Option<u64> {
        let offset = self.finder.space.offset(old, self.finder.length)?;
        let moved = self.moves.new_offset(usize::try_from(offset).ok()?);
        self.new.space.address(u64::try_from(moved).ok()?)
    }

    /// The whole old file with every reference going to where its target is in the new file, as if from address 0: what
    /// is alike then is the same, wherever it stands.
    #[cfg(any(test, feature = "make"))]
    pub(crate) fn absolute(&self, file: &[u8], start: usize) -> Vec<u8> {
        let (view, mut out, mut at) = (View { bytes: file, start }, file.to_vec(), 0);
        while at < file.len() {
            let word = self.finder.word(&view, start + at);
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

/// The same, and what was learnt while the file was coded.
#[derive(Debug)]
pub(crate) struct References<'a> {
    targets: Targets<'a>,
    /// Old target and new target, where the copies were wrong.
    learnt: Vec<(u64, u64)>,
    learnt_bits: u32,
    trust: Vec<i8>,
}

fn spread(value: u64, bits: u32) -> usize {
    usize::try_from(value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)).unwrap_or(0)
}

impl<'a> References<'a> {
    pub(crate) fn new(targets: Targets<'a>) -> Self {
        let share = (targets.finder.length >> LEARNT_SHARE).max(1).ilog2();
        let learnt_bits = share.clamp(LEARNT_BITS_MIN, LEARNT_BITS_MAX);
        let (learnt, trust) = (vec![(0, 0); 1 << learnt_bits], vec![0; 1 << REGION_BITS]);
        Self { targets, learnt, learnt_bits, trust }
    }

    /// What begins at `old` of the old file should be at `new` of the new one, if it is a reference.
    pub(crate) fn guess(&self, view: &View<'_>, old: usize, new: usize) -> Option<Guess> {
        let word = self.targets.finder.word(view, old)?;
        let address = self.targets.new.space.address(u64::try_from(new).ok()?)?;
        let predicted = word.form.place(word.bytes, address, self.target(word.target)?);
        let region = u64::try_from(old >> REGION_BYTES).ok()? << 3 | u64::try_from(word.form.class()).ok()?;
        let region = spread(region + 1, REGION_BITS);
        let moved = predicted != word.bytes;
        let used = if self.trust[region] >= TRUST_MIN { predicted } else { word.bytes };
        Some(Guess { word, region, predicted, bytes: used.to_le_bytes(), moved })
    }

    /// Where an old target is in the new file.
    fn target(&self, old: u64) -> Option<u64> {
        let (known, new) = self.learnt[spread(old, self.learnt_bits)];
        if known == old && old != 0 { Some(new) } else { self.targets.by_copies(old) }
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
        let after = self.targets.new;
        let Some(address) = u64::try_from(new).ok().and_then(|new| after.space.address(new)) else {
            return;
        };
        let old = guess.word.target;
        let by_copies = self.targets.by_copies(old);
        let target = guess.word.form.target(bytes, address, by_copies.unwrap_or(0));
        let slot = &mut self.learnt[spread(old, self.learnt_bits)];
        if by_copies == Some(target) {
            if slot.0 == old {
                *slot = (0, 0);
            }
        } else if !right && after.space.offset(target, after.length).is_some() {
            *slot = (old, target);
        }
    }
}
