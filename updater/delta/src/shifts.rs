//! Numbers that become other numbers, the same wherever they stand: checksums of symbols, and names and types of another
//! file. What was learnt of one file is good for the next.

use crate::limits::SHIFTS_MAX;
use std::collections::BTreeMap;

/// What kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    /// A checksum: says nothing of others.
    Sum,
    /// Where a name begins among all names.
    Name,
    /// The number of a type.
    Type,
}

impl Shift {
    /// A small number for contexts.
    pub(crate) const fn number(self) -> usize {
        match self {
            Self::Sum => 0,
            Self::Name => 1,
            Self::Type => 2,
        }
    }
}

/// What became of such numbers, over all files of a stream.
#[derive(Debug, Default)]
pub(crate) struct Known {
    kinds: [Shifts; 3],
}

impl Known {
    /// What a number should be now, and whether nothing speaks against it.
    pub(crate) fn predict(&self, shift: Shift, old: u64) -> (u64, bool) {
        let (known, number) = (&self.kinds[shift.number()], u32::try_from(old).unwrap_or(0));
        let (new, sure) = match shift {
            Shift::Sum => known.exact(number).map_or((number, false), |new| (new, true)),
            Shift::Name | Shift::Type => known.near(number),
        };
        (new.into(), sure)
    }

    /// What a number became.
    pub(crate) fn learn(&mut self, shift: Shift, old: u64, new: u64) {
        let [old, new] = [old, new].map(|number| u32::try_from(number).unwrap_or(0));
        if old != new || shift != Shift::Sum {
            self.kinds[shift.number()].learn(old, new);
        }
    }
}

/// Numbers of one kind: how far each moved when it was last seen.
#[derive(Debug, Default)]
struct Shifts {
    by: BTreeMap<u32, u32>,
}

impl Shifts {
    fn exact(&self, old: u32) -> Option<u32> {
        self.by.get(&old).map(|by| old.wrapping_add(*by))
    }

    /// One that was not seen moves with the one before it; that is sure if the one behind it moved alike.
    fn near(&self, old: u32) -> (u32, bool) {
        let (before, after) = (self.by.range(..=old).next_back(), self.by.range(old..).next());
        let by = before.or(after).map_or(0, |(_, by)| *by);
        let alike = before.zip(after).is_some_and(|((_, before), (_, after))| before == after);
        (old.wrapping_add(by), alike)
    }

    fn learn(&mut self, old: u32, new: u32) {
        // What is seen again is soon known again.
        if self.by.len() >= SHIFTS_MAX && !self.by.contains_key(&old) {
            self.by.clear();
        }
        self.by.insert(old, new.wrapping_sub(old));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_two_that_moved_alike_moves_with_them() {
        let mut known = Known::default();
        for (old, new) in [(10, 10), (100, 103), (200, 203), (300, 310)] {
            known.learn(Shift::Type, old, new);
        }
        let asked = [50, 100, 150, 250, 1000].map(|old| known.predict(Shift::Type, old));
        assert_eq!(asked, [(50, false), (103, true), (153, true), (253, false), (1010, false)]);
        assert_eq!(known.predict(Shift::Name, 150), (150, false));
    }

    #[test]
    fn a_checksum_says_nothing_of_others() {
        let mut known = Known::default();
        known.learn(Shift::Sum, 100, 7);
        known.learn(Shift::Sum, 50, 50);
        assert_eq!(
            [99, 100, 50].map(|old| known.predict(Shift::Sum, old)),
            [(99, false), (7, true), (50, false)]
        );
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let mut shifts = Shifts::default();
        for old in 0..u32::try_from(SHIFTS_MAX).unwrap() + 10 {
            shifts.learn(old, old + 1);
        }
        assert_eq!(shifts.by.len(), 10);
        assert_eq!(
            shifts.exact(u32::try_from(SHIFTS_MAX).unwrap() + 9),
            Some(u32::try_from(SHIFTS_MAX).unwrap() + 10)
        );
    }
}
