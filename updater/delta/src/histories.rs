//! What followed in one context so far, in one byte: how often 0, how often 1, and which of them last.
//!
//! Counts are kept as far as they tell something: what has always been the same is counted longer than what has not, and a
//! bit that was not expected makes most of what speaks against it forgotten. That a history is mapped to a probability which
//! is itself learnt is M. Mahoney's idea ("Adaptive Weighing of Context Models for Lossless Data Compression", 2005); the
//! histories are our own.

/// The number of a history; 0 is that of a context nobody has seen.
pub(crate) type History = u8;

/// The most that is counted of the more frequent bit, by how often the other one was seen.
const MOST: [u8; 6] = [44, 30, 24, 16, 10, 6];
/// Numbers that there may be.
const COUNT: usize = 256;

/// What a history stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// How often 0 and 1 were seen.
    seen: [u8; 2],
    /// The last bit, if both were seen.
    last: bool,
}

impl Counts {
    fn is_kept(self) -> bool {
        let [zeros, ones] = self.seen;
        MOST.get(usize::from(zeros.min(ones))).is_some_and(|most| zeros.max(ones) <= *most)
    }

    /// What becomes of it after one more bit.
    fn after(self, bit: bool) -> Self {
        let [mut other, mut own] = if bit { self.seen } else { [self.seen[1], self.seen[0]] };
        own += 1;
        if other > 2 {
            other = 1 + u8::try_from(other.ilog2()).unwrap_or(0);
        }
        loop {
            let seen = if bit { [other, own] } else { [own, other] };
            let next = Self { seen, last: bit && other > 0 };
            if next.is_kept() {
                return next;
            }
            if own > other { own -= 1 } else { other -= 1 }
        }
    }
}

/// All histories, and what follows which.
#[derive(Debug)]
pub(crate) struct Histories {
    after: Box<[[History; 2]; COUNT]>,
    seen: Box<[[u8; 2]; COUNT]>,
}

impl Histories {
    /// Those that follow from the first one, in the order in which they are found.
    pub(crate) fn new() -> Self {
        let (mut all, mut after) = (vec![Counts::default()], Vec::new());
        while let Some(counts) = all.get(after.len()).copied() {
            let mut number = |next: Counts| {
                let number = all.iter().position(|counts| *counts == next).unwrap_or(all.len());
                if number == all.len() {
                    all.push(next);
                }
                History::try_from(number).unwrap_or(0)
            };
            after.push([false, true].map(|bit| number(counts.after(bit))));
        }
        let seen: Vec<[u8; 2]> = all.iter().map(|counts| counts.seen).collect();
        // Every byte is the number of one.
        let filled = |from: Vec<[u8; 2]>| {
            let mut all = Box::new([[0; 2]; COUNT]);
            all.iter_mut().zip(from).for_each(|(to, from)| *to = from);
            all
        };
        Self { after: filled(after), seen: filled(seen) }
    }

    /// The history after one more bit.
    pub(crate) fn after(&self, history: History, bit: bool) -> History {
        self.after[usize::from(history)][usize::from(bit)]
    }

    /// How often 0 and 1 were seen, as far as that is remembered.
    pub(crate) fn seen(&self, history: History) -> [u8; 2] {
        self.seen[usize::from(history)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(bits: &[bool]) -> [u8; 2] {
        let histories = Histories::new();
        histories.seen(bits.iter().fold(0, |history, bit| histories.after(history, *bit)))
    }

    #[test]
    fn a_history_counts_and_forgets_what_was_not_expected() {
        assert_eq!(seen(&[]), [0, 0]);
        assert_eq!(seen(&[true; 5]), [0, 5]);
        assert_eq!(seen(&[true; 100]), [0, MOST[0]]);
        assert_eq!(seen(&[&[true; 20][..], &[false]].concat()), [1, 5]);
        assert_eq!(seen(&[false, true, false]), [2, 1]);
    }

    #[test]
    fn all_histories_have_a_number() {
        let histories = Histories::new();
        let used = histories.seen.iter().filter(|seen| **seen != [0, 0]).count() + 1;
        assert_eq!(used, 219);
        let each = histories.after.iter().take(used).flatten();
        assert!(each.clone().all(|after| (1..used).contains(&usize::from(*after))));
        assert_eq!(
            (1..used).filter(|number| each.clone().any(|after| usize::from(*after) == *number)).count(),
            used - 1
        );
    }
}
