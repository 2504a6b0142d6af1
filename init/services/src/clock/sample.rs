//! Several servers' opinions of the local clock, and the one to go by. No I/O.

/// Nanoseconds.
pub(super) type Nanos = i64;

/// Servers that differ by no more than this agree, however exact they think they are.
const TOLERANCE: Nanos = 50_000_000;

/// One server's opinion of the local clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// What must be added to the local clock.
    pub(super) offset: Nanos,
    /// The round trip.
    pub(super) delay: Nanos,
    /// How wrong the offset can be.
    pub(super) distance: Nanos,
    pub(super) stratum: u8,
}

impl Sample {
    fn agrees_with(&self, other: &Self) -> bool {
        let apart = self.offset.saturating_sub(other.offset).saturating_abs();
        let allowed = self.distance.saturating_add(other.distance).max(TOLERANCE);
        apart <= allowed
    }
}

/// The position of the sample to go by: the most exact of those with which more than half of all agree. `None` if there
/// is no such majority. One alone is believed for want of another.
pub(super) fn choose(samples: &[Sample]) -> Option<usize> {
    let agreeing = |sample: &Sample| samples.iter().filter(|other| sample.agrees_with(other)).count();
    samples
        .iter()
        .enumerate()
        .filter(|(_, sample)| agreeing(sample) * 2 > samples.len())
        .min_by_key(|(_, sample)| (sample.distance, sample.offset))
        .map(|(position, _)| position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Nanos = 1_000_000;

    fn sample(offset_ms: Nanos, distance_ms: Nanos) -> Sample {
        Sample { offset: offset_ms * MS, delay: distance_ms * MS, distance: distance_ms * MS, stratum: 2 }
    }

    #[test]
    fn one_server_is_believed_and_none_is_not() {
        assert_eq!(choose(&[sample(500, 10)]), Some(0));
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn a_liar_is_outvoted() {
        let samples = [sample(3_600_000, 1), sample(12, 20), sample(9, 15)];
        assert_eq!(choose(&samples), Some(2));
    }

    #[test]
    fn two_that_disagree_are_both_doubted() {
        assert_eq!(choose(&[sample(3_600_000, 1), sample(0, 1)]), None);
    }

    #[test]
    fn a_server_that_calls_itself_inexact_does_not_win() {
        assert_eq!(choose(&[sample(100, 200), sample(20, 10), sample(30, 30)]), Some(1));
    }

    proptest! {
        #[test]
        fn the_chosen_one_has_a_majority(
            all in proptest::collection::vec((any::<i64>(), 0_i64..5_000_000_000), 0..8),
        ) {
            let samples: Vec<Sample> = all
                .iter()
                .map(|(offset, distance)| Sample { offset: *offset, delay: 0, distance: *distance, stratum: 1 })
                .collect();
            if let Some(position) = choose(&samples) {
                let agreeing = samples.iter().filter(|s| samples[position].agrees_with(s)).count();
                prop_assert!(agreeing * 2 > samples.len());
            }
        }
    }
}
