//! Probabilities of bytes in one kind of context, of which there may be more than there is memory for.

use crate::model::{Slot, hash};

/// Base-2 logarithm of the lines of a table.
const LINE_BITS: u32 = 14;
/// The bits of half a byte: one, then two, four and eight that may follow. The first slot is none: it holds the mark.
const SLOTS: usize = 16;

/// What follows one context: the probabilities of half a byte stand together, so that memory is asked once for four bits.
#[derive(Clone, Copy, Debug)]
struct Line([Slot; SLOTS]);

impl Line {
    /// One of a context, which the mark tells from others; 0: of none.
    fn new(mark: u16) -> Self {
        let mut slots = [Slot::NEW; SLOTS];
        slots[0] = Slot::mark(mark);
        Self(slots)
    }

    fn mark(&self) -> u16 {
        self.0[0].one()
    }
}

/// Lines by their contexts.
#[derive(Debug)]
pub(crate) struct Lines(Vec<Line>);

/// Where a context's line may be: here, or in the other one of the pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    at: usize,
    mark: u16,
    is_here: bool,
    is_there: bool,
}

impl Lines {
    /// Nothing is known.
    pub(crate) fn new() -> Self {
        Self(vec![Line::new(0); 1 << LINE_BITS])
    }

    /// Looks for a context. Whoever looks for several does so before the first is claimed: the memory is then asked for all
    /// of them at once.
    pub(crate) fn look(&self, context: u64) -> Spot {
        let hash = hash(context);
        let at = usize::try_from(hash >> (64 - LINE_BITS)).unwrap_or(0);
        let mark = u16::try_from(hash >> 24 & 0xffff).unwrap_or(0) | 1;
        Spot { at, mark, is_here: self.0[at].mark() == mark, is_there: self.0[at ^ 1].mark() == mark }
    }

    /// The line of the context that was looked for. If it has none, the one of the pair that was used less becomes it.
    pub(crate) fn claim(&mut self, spot: &Spot) -> usize {
        let Spot { at, mark, is_here, is_there } = *spot;
        if is_here {
            return at;
        }
        if is_there {
            return at ^ 1;
        }
        let used = |at: usize| self.0[at].0[1].seen();
        let at = if used(at) <= used(at ^ 1) { at } else { at ^ 1 };
        self.0[at] = Line::new(mark);
        at
    }

    /// The slot of the next bit, behind those of `node`: 1, then every bit that was coded.
    pub(crate) fn slot(&mut self, line: usize, node: usize) -> &mut Slot {
        &mut self.0[line].0[node % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(lines: &mut Lines, context: u64) -> usize {
        let spot = lines.look(context);
        lines.claim(&spot)
    }

    #[test]
    fn a_context_finds_its_line_again_and_another_one_does_not() {
        let mut lines = Lines::new();
        let first = line(&mut lines, 7);
        lines.slot(first, 1).learn(true, 30);
        assert_eq!(line(&mut lines, 7), first);
        assert!(lines.slot(first, 1).one() > 40_000);
        for context in 8..1000 {
            let other = line(&mut lines, context);
            assert!(other != first || lines.slot(first, 1).one() == 1 << 15, "{context}");
        }
    }

    #[test]
    fn what_was_used_less_gives_way() {
        let mut lines = Lines::new();
        let pair = |lines: &Lines, context| lines.look(context).at & !1;
        let place = pair(&lines, 1);
        let mut same = (2..).filter(|context| pair(&lines, *context) == place);
        let (second, third) = (same.next().unwrap(), same.next().unwrap());
        drop(same);
        let often = line(&mut lines, 1);
        lines.slot(often, 1).learn(true, 30);
        let seldom = line(&mut lines, second);
        assert_eq!(line(&mut lines, third), seldom);
        assert_eq!(line(&mut lines, 1), often);
    }
}
