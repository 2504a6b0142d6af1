//! The releases that failed last, by digest: known after their slot was overwritten.

use crate::record::{Release, Verdict};

/// How many failed releases are remembered; a further one displaces the one that failed longest ago.
pub const BLOCKED_MAX: usize = 4;

/// Newest first, without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocked([Option<(Release, Verdict)>; BLOCKED_MAX]);

impl Blocked {
    pub(crate) const NONE: Self = Self([None; BLOCKED_MAX]);

    pub(crate) fn verdict(&self, release: &Release) -> Option<Verdict> {
        self.entries().find(|(blocked, _)| blocked == release).map(|(_, verdict)| verdict)
    }

    /// With `release` as the newest.
    pub(crate) fn with(self, release: Release, verdict: Verdict) -> Self {
        let mut next = Self::NONE;
        next.push((release, verdict));
        next.push_others(&self, &release);
        next
    }

    pub(crate) fn without(self, release: &Release) -> Self {
        let mut next = Self::NONE;
        next.push_others(&self, release);
        next
    }

    fn push_others(&mut self, from: &Self, release: &Release) {
        for entry in from.0.iter().flatten() {
            if entry.0 != *release {
                self.push(*entry);
            }
        }
    }

    /// As the oldest; left out when the list is full.
    pub(crate) fn push(&mut self, entry: (Release, Verdict)) {
        if let Some(place) = self.0.iter_mut().find(|place| place.is_none()) {
            *place = Some(entry);
        }
    }

    /// With another verdict for a release that is in the list, in its place.
    pub(crate) fn explained(mut self, release: &Release, verdict: Verdict) -> Self {
        for (_, old) in self.0.iter_mut().flatten().filter(|(blocked, _)| blocked == release) {
            *old = verdict;
        }
        self
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (Release, Verdict)> {
        self.0.iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_release_displaces_the_oldest_one() {
        let list = (0..=4).fold(Blocked::NONE, |list, number| list.with([number; 32], Verdict::Panic));
        assert_eq!(list.verdict(&[0; 32]), None);
        assert_eq!(list.verdict(&[1; 32]), Some(Verdict::Panic));
        assert_eq!(list.verdict(&[4; 32]), Some(Verdict::Panic));
    }

    #[test]
    fn a_release_stands_once_with_its_last_verdict() {
        let list = Blocked::NONE.with([1; 32], Verdict::Panic).with([2; 32], Verdict::Gate);
        let list = list.with([1; 32], Verdict::Deadline);
        assert_eq!(list.entries().count(), 2);
        assert_eq!(list.verdict(&[1; 32]), Some(Verdict::Deadline));
        assert_eq!(list.without(&[1; 32]).verdict(&[1; 32]), None);
        assert_eq!(list.explained(&[2; 32], Verdict::Panic).verdict(&[2; 32]), Some(Verdict::Panic));
    }
}
