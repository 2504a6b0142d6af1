//! Where references go in the new file: by the copies, and by what was wrong before.

use crate::{
    forms::{Field, Form},
    model::spread,
    moves::Moves,
    orders::{Orders, Reached},
    sections::{Sections, Stretch},
    shifts::Known,
    space::{Isa, Space},
    tables::Kind,
    words::{Finder, View, Word},
};
use std::cell::Cell;

/// Base-2 logarithm of the targets that are remembered: of a large file, and of the smallest.
const LEARNT_BITS_MAX: u32 = 17;
const LEARNT_BITS_MIN: u32 = 6;
/// Base-2 logarithm of the bytes of the old file for each of them.
const LEARNT_SHARE: u32 = 6;
/// Base-2 logarithm of the regions whose predictions are judged.
const REGION_BITS: u32 = 12;
/// Base-2 logarithm of a region's bytes.
const REGION_BYTES: u32 = 14;
/// Kinds of fields.
const FIELDS: usize = 10;
/// Base-2 logarithm of the columns that are known.
const COLUMN_BITS: u32 = 10;
/// Predictions of a region are used until they were wrong this much more often than right.
const TRUST_MIN: i8 = -2;
const TRUST_MAX: i8 = 8;
/// Short addresses are only used once they were right: most words that could be one are not.
const TRUST_MIN_SHORT: i8 = 1;
/// And are sure when they were right this much more often.
const TRUST_SURE: i8 = 4;

/// A file, as far as references need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    pub(crate) space: &'a Space,
    /// Of the old file: what it refers to.
    pub(crate) sections: &'a Sections,
    /// Where it ends; of a part of a file, where the part ends.
    pub(crate) length: u64,
}

/// What a word of the new file should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess {
    word: Word,
    region: usize,
    /// Where the number is told from.
    origin: u64,
    in_table: Option<InTable>,
    predicted: u64,
    /// The prediction, or the old bytes if predictions here were wrong.
    pub(crate) bytes: [u8; 8],
    /// Whether the prediction is not just the old bytes.
    moved: bool,
    /// Whether nothing speaks against the prediction.
    sure: bool,
}

/// Where a section began, and where it does in the new file.
type Origin = Option<(u64, Option<u64>)>;

/// Where in a table a number stands.
#[derive(Clone, Copy, Debug)]
struct InTable {
    part: usize,
    column: usize,
    opinions: Opinions,
}

impl Guess {
    pub(crate) const fn form(&self) -> Form {
        self.word.form
    }

    /// A small number for contexts, never 0, of a byte that has so many of it before.
    pub(crate) fn class(&self, done: usize) -> usize {
        self.form().class() << 5 | usize::from(!self.sure) << 4 | done << 1 | usize::from(self.moved)
    }

    /// What a table has reached when the word is this.
    pub(crate) fn follow(&self, reached: &mut Reached, bytes: u64) {
        if let (Some(InTable { part, .. }), Form::Field { field, .. }) = (self.in_table, self.form())
            && field.is_ordered()
        {
            *reached = Reached { part, target: self.form().target(bytes, self.origin, 0) };
        }
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
        let Side { space, sections, length } = old;
        Self { finder: Finder { isa, space, sections, length }, new, moves }
    }

    fn by_copies(&self, old: u64) -> Option<u64> {
        let offset = self.finder.space.offset(old, self.finder.length)?;
        let moved = self.moves.new_offset(usize::try_from(offset).ok()?);
        self.new.space.address(u64::try_from(moved).ok()?)
    }

    /// The same, if a copy holds it.
    pub(crate) fn by_copy(&self, old: u64) -> Option<u64> {
        let offset = self.finder.space.offset(old, self.finder.length)?;
        let moved = self.moves.copied(usize::try_from(offset).ok()?)?;
        self.new.space.address(u64::try_from(moved).ok()?)
    }

    /// The whole old file with every reference going to where its target is in the new file, as if from address 0: what
    /// is alike then is the same, wherever it stands.
    #[cfg(any(test, feature = "make"))]
    pub(crate) fn absolute(&self, file: &[u8], start: usize) -> Vec<u8> {
        let (view, mut out, mut at) = (View { bytes: file, start }, file.to_vec(), 0);
        let mut stretch = Stretch::NONE;
        while at < file.len() {
            self.finder.turn(&mut stretch, start + at);
            let word = self.finder.word(&view, start + at, &stretch);
            let word = word.filter(|word| !matches!(word.form, Form::Shift(_)));
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
    orders: Orders,
    /// Old target and new target, where the copies were wrong.
    learnt: Vec<(u64, u64)>,
    learnt_bits: u32,
    trust: Vec<i8>,
    columns: Vec<Column>,
    /// The sections that were asked for last, and where they are now.
    origins: [Cell<Origin>; FIELDS],
}

/// Numbers of one kind in one table that go to the same section.
#[derive(Clone, Copy, Debug, Default)]
struct Column {
    /// By how much they go elsewhere than the copies tell: as they last did twice.
    drift: u64,
    last: u64,
    /// How much more often the order told them right than the old record.
    by_order: i8,
}

/// Where a target may be in the new file.
#[derive(Clone, Copy, Debug)]
struct Opinions {
    /// By the old record.
    by_pair: u64,
    /// By the order of the table.
    by_order: Option<u64>,
}

impl<'a> References<'a> {
    pub(crate) fn new(targets: Targets<'a>, orders: Orders) -> Self {
        let share = (targets.finder.length >> LEARNT_SHARE).max(1).ilog2();
        let learnt_bits = share.clamp(LEARNT_BITS_MIN, LEARNT_BITS_MAX);
        let (learnt, trust) = (vec![(0, 0); 1 << learnt_bits], vec![0; 1 << REGION_BITS]);
        let columns = vec![Column::default(); 1 << COLUMN_BITS];
        Self { targets, orders, learnt, learnt_bits, trust, columns, origins: Default::default() }
    }

    /// Has the stretch hold a byte of the old file; how many bytes from there on, of so many, can be no reference.
    pub(crate) fn quiet(
        &self,
        stretch: &mut Stretch,
        view: &View<'_>,
        (old, bytes): (usize, usize),
    ) -> usize {
        let finder = &self.targets.finder;
        finder.turn(stretch, old);
        let end = usize::try_from(stretch.end).unwrap_or(usize::MAX);
        let most = end.saturating_sub(old).min(bytes);
        finder.quiet(stretch, view, (old, most)).min(most)
    }

    /// What begins at `old` of the old file, in that stretch, should be at `new` of the new one, if it is a reference.
    /// Numbers of tables go on from what was reached.
    pub(crate) fn guess(
        &self,
        known: &Known,
        (view, stretch): (&View<'_>, &Stretch),
        (old, new): (usize, usize),
        reached: Reached,
    ) -> Option<Guess> {
        let word = self.targets.finder.word(view, old, stretch)?;
        let class = u64::try_from(word.form.class()).ok()?;
        let is_code = matches!(word.form, Form::Relative) || matches!(word.form, Form::Short) && old % 4 != 0;
        let region = if is_code {
            // What stands before tells more of code than where it is.
            1 << 40 | u64::from(view.before(old, 1)) << 8 | u64::from(view.before(old, 2))
        } else {
            u64::try_from(old >> REGION_BYTES).ok()?
        };
        let region = spread((region << 5 | class) + 1, REGION_BITS);
        let plain = Guess {
            word,
            region,
            origin: 0,
            in_table: None,
            predicted: word.bytes,
            bytes: [0; 8],
            moved: false,
            sure: true,
        };
        if let Form::Shift(shift) = word.form {
            let (predicted, sure) = known.predict(shift, word.bytes);
            return Some(self.guessed(Guess { predicted, sure, ..plain }));
        }
        let Form::Field { field, from, .. } = word.form else {
            let origin = self.targets.new.space.address(u64::try_from(new).ok()?)?;
            let predicted = word.form.place(word.bytes, origin, self.target(word.target, 0)?);
            return Some(self.guessed(Guess { origin, predicted, ..plain }));
        };
        let is_absolute = field == Field::Number(Kind::Addresses);
        let origin = if is_absolute { 0 } else { self.origin(field, from)? };
        let part = stretch.part?;
        let column = u64::try_from(part << 4 | field.number()).ok()? << 40 ^ from;
        let column = spread(column + 1, COLUMN_BITS);
        let state = self.columns[column];
        let by_pair = self.target(word.target, state.drift)?;
        let by_order =
            if field.is_ordered() { self.orders.next(part, reached, (field, origin)) } else { None };
        let opinions = Opinions { by_pair, by_order };
        let target = by_order.filter(|_| state.by_order > 0).unwrap_or(by_pair);
        let sure = by_order.is_none_or(|by_order| by_order == by_pair);
        let predicted = word.form.place(word.bytes, origin, target);
        let in_table = Some(InTable { part, column, opinions });
        Some(self.guessed(Guess { origin, in_table, predicted, sure, ..plain }))
    }

    fn guessed(&self, guess: Guess) -> Guess {
        let moved = guess.predicted != guess.word.bytes;
        let sure = guess.sure && (guess.in_table.is_some() || self.trust[guess.region] >= TRUST_SURE);
        let least = if guess.form() == Form::Short { TRUST_MIN_SHORT } else { TRUST_MIN };
        let used = if self.trust[guess.region] >= least { guess.predicted } else { guess.word.bytes };
        Guess { bytes: used.to_le_bytes(), moved, sure, ..guess }
    }

    /// Where the section that begins at `from` is in the new file.
    fn origin(&self, field: Field, from: u64) -> Option<u64> {
        let kept = &self.origins[field.number() % FIELDS];
        if let Some((known, origin)) = kept.get()
            && known == from
        {
            return origin;
        }
        let origin = self.targets.by_copies(from);
        kept.set(Some((from, origin)));
        origin
    }

    /// Where an old target is in the new file.
    fn target(&self, old: u64, drift: u64) -> Option<u64> {
        let (known, new) = self.learnt[spread(old, self.learnt_bits)];
        if known == old && old != 0 {
            Some(new)
        } else {
            Some(self.targets.by_copies(old)?.wrapping_add(drift))
        }
    }

    /// What the word turned out to be.
    pub(crate) fn learn(&mut self, known: &mut Known, guess: &Guess, bytes: u64) {
        let right = bytes == guess.predicted;
        if guess.moved {
            let trust = &mut self.trust[guess.region];
            if right {
                *trust = (*trust + 1).min(TRUST_MAX);
            } else if bytes == guess.word.bytes {
                *trust = (*trust - 1).max(-TRUST_MAX);
            }
        }
        if let Form::Shift(shift) = guess.form() {
            known.learn(shift, guess.word.bytes, bytes);
            return;
        }
        let after = self.targets.new;
        let old = guess.word.target;
        let by_copies = self.targets.by_copies(old);
        let target = guess.form().target(bytes, guess.origin, by_copies.unwrap_or(0));
        let drift = by_copies.map_or(0, |by_copies| target.wrapping_sub(by_copies));
        let mut drifted = 0;
        if let Some(table) = guess.in_table {
            let column = &mut self.columns[table.column];
            drifted = column.drift;
            column.learn(guess.form(), drift);
            column.judge(table.opinions, target);
        }
        let slot = &mut self.learnt[spread(old, self.learnt_bits)];
        if drift == drifted && by_copies.is_some() {
            if slot.0 == old {
                *slot = (0, 0);
            }
        } else if !right && after.space.offset(target, after.length).is_some() {
            *slot = (old, target);
        }
    }
}

impl Column {
    fn learn(&mut self, form: Form, drift: u64) {
        let is_regular = matches!(form, Form::Field { field: Field::Place, .. });
        if is_regular || drift == self.last {
            self.drift = drift;
        }
        self.last = drift;
    }

    fn judge(&mut self, Opinions { by_pair, by_order }: Opinions, target: u64) {
        let Some(by_order) = by_order.filter(|by_order| *by_order != by_pair) else { return };
        if by_order == target {
            self.by_order = (self.by_order + 1).min(TRUST_MAX);
        } else if by_pair == target {
            self.by_order = (self.by_order - 1).max(-TRUST_MAX);
        }
    }
}
