//! What followed in one kind of context, of which there may be more than there is memory for.

use crate::{
    histories::{Histories, History},
    model::hash,
};

/// The bits of half a byte: one, then two, four and eight that may follow. The first place holds the mark.
const PLACES: usize = 16;
/// Bytes of one line.
pub(crate) const LINE_BYTES: usize = size_of::<Line>();

/// The histories of half a byte in one context stand together, so that memory is asked once for four bits.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(16))]
pub(crate) struct Line([History; PLACES]);

impl Line {
    /// One of a context, which the mark tells from others; 0: of none.
    fn new(mark: u8) -> Self {
        let mut places = [0; PLACES];
        places[0] = mark;
        Self(places)
    }

    /// The history at a node: 1 to 15.
    #[inline]
    pub(crate) const fn history(&self, node: usize) -> History {
        self.0[node % PLACES]
    }

    /// It is that from now on.
    #[inline]
    pub(crate) const fn set_history(&mut self, node: usize, history: History) {
        self.0[node % PLACES] = history;
    }

    const fn mark(&self) -> u8 {
        self.0[0]
    }
}

/// Lines by their contexts.
#[derive(Debug)]
pub(crate) struct Lines {
    all: Vec<Line>,
    bits: u32,
}

/// Where a context's line may be: here, or in the other one of the pair.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spot {
    at: usize,
    mark: u8,
    is_here: bool,
    is_there: bool,
}

impl Lines {
    /// So many lines, as a base-2 logarithm, of which nothing is known.
    pub(crate) fn new(bits: u32) -> Self {
        Self { all: vec![Line::new(0); 1 << bits], bits }
    }

    /// Looks for a context. Whoever looks for several does so before the first is claimed: the memory is then asked for all
    /// of them at once.
    pub(crate) fn look(&self, context: u64) -> Spot {
        let hash = hash(context);
        let at = usize::try_from(hash >> (u64::BITS - self.bits)).unwrap_or(0);
        // The highest bits depend on all of the context: the index has the first of them, the mark the next.
        let mark = u8::try_from(hash >> (u64::BITS - 8 - self.bits) & 0xff).unwrap_or(0).max(1);
        let is_of_it = |at: usize| self.all[at].mark() == mark;
        Spot { at, mark, is_here: is_of_it(at), is_there: is_of_it(at ^ 1) }
    }

    /// The line of the context that was looked for. If it has none, the one of the pair that was used less becomes it.
    pub(crate) fn claim(&mut self, histories: &Histories, spot: &Spot) -> usize {
        let Spot { at, mark, is_here, is_there } = *spot;
        if is_here {
            return at;
        }
        if is_there {
            return at ^ 1;
        }
        let used = |at: usize| {
            let [zeros, ones] = histories.seen(self.all[at].0[1]);
            zeros + ones
        };
        let at = if used(at) <= used(at ^ 1) { at } else { at ^ 1 };
        self.all[at] = Line::new(mark);
        at
    }

    /// A line that was claimed.
    pub(crate) fn line(&mut self, number: usize) -> &mut Line {
        &mut self.all[number]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITS: u32 = 10;

    fn line(lines: &mut Lines, context: u64) -> usize {
        let spot = lines.look(context);
        lines.claim(&Histories::new(), &spot)
    }

    #[test]
    fn a_context_finds_its_line_again_and_another_one_does_not() {
        let mut lines = Lines::new(BITS);
        let first = line(&mut lines, 7);
        lines.line(first).set_history(1, 9);
        assert_eq!(line(&mut lines, 7), first);
        assert_eq!(lines.line(first).history(1), 9);
        for context in 8..100 {
            let other = line(&mut lines, context);
            assert!(other != first || lines.line(first).history(1) == 0, "{context}");
        }
    }

    #[test]
    fn what_was_used_less_gives_way() {
        let mut lines = Lines::new(BITS);
        let pair = |lines: &Lines, context| lines.look(context).at & !1;
        let place = pair(&lines, 1);
        let mut same = (2..).filter(|context| pair(&lines, *context) == place);
        let (second, third) = (same.next().unwrap(), same.next().unwrap());
        drop(same);
        let often = line(&mut lines, 1);
        lines.line(often).set_history(1, 9);
        let seldom = line(&mut lines, second);
        assert_eq!(line(&mut lines, third), seldom);
        assert_eq!(line(&mut lines, 1), often);
    }
}
