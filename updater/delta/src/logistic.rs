//! Probabilities and their logits, as tables that every machine computes alike.

/// Logits are within ± this; 256 make one natural unit.
pub(crate) const LOGIT_MAX: i32 = 3071;
/// e to the power of -1/256, in 62 bits after the point.
const DECAY: u128 = 4_593_706_758_521_714_574;
const ONE: u128 = 1 << 62;

/// Logits that there are.
const LOGITS: usize = 6144;
/// Probabilities that are told apart.
const STEPS: usize = 1 << 12;

/// Both directions.
#[derive(Debug)]
pub(crate) struct Logistic {
    squash: Box<[u16; LOGITS]>,
    stretch: Box<[i16; STEPS]>,
}

impl Logistic {
    pub(crate) fn new() -> Self {
        let half: Vec<u16> = upper_half();
        let below = half.iter().skip(1).rev().map(|above| 0_u16.wrapping_sub(*above).max(1));
        let mut squash = Box::new([0; LOGITS]);
        let all = std::iter::once(1).chain(below).chain(half.iter().copied());
        squash.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        let mut stretch = Box::new([0; STEPS]);
        let mut logit = -LOGIT_MAX - 1;
        for (probability, to) in (8_u32..).step_by(16).zip(stretch.iter_mut()) {
            while logit < LOGIT_MAX && u32::from(squash[index(logit)]) < probability {
                logit += 1;
            }
            *to = i16::try_from(logit).unwrap_or(0);
        }
        Self { squash, stretch }
    }

    /// The probability of a logit, of 65536, never 0.
    pub(crate) fn squash(&self, logit: i32) -> u16 {
        self.squash[index(logit.clamp(-LOGIT_MAX - 1, LOGIT_MAX))]
    }

    /// The logit of a probability.
    pub(crate) fn stretch(&self, probability: u16) -> i16 {
        self.stretch_high(u32::from(probability) << 6)
    }

    /// The same of a probability in 22 bits.
    #[inline]
    pub(crate) fn stretch_high(&self, probability: u32) -> i16 {
        self.stretch[usize::try_from(probability >> 10).unwrap_or(0) % STEPS]
    }
}

fn index(logit: i32) -> usize {
    usize::try_from(logit + LOGIT_MAX + 1).unwrap_or(0)
}

/// 1 / (1 + e^-x) for every logit from 0 on.
fn upper_half() -> Vec<u16> {
    let mut power = ONE;
    let mut out = Vec::new();
    for _ in 0..=LOGIT_MAX {
        let probability = (65536 * ONE) / (ONE + power);
        out.push(u16::try_from(probability).unwrap_or(u16::MAX));
        power = (power * DECAY) >> 62;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_the_logistic_function() {
        let tables = Logistic::new();
        for (logit, probability) in [(0, 32768), (256, 47910), (-256, 17626), (512, 57723), (2560, 65533)] {
            assert_eq!(tables.squash(logit), probability, "{logit}");
        }
        assert_eq!((tables.squash(i32::MIN), tables.squash(i32::MAX)), (1, 65535));
    }

    #[test]
    fn stretch_undoes_squash() {
        let tables = Logistic::new();
        for probability in (64..65472).step_by(16) {
            let back = tables.squash(tables.stretch(probability).into());
            assert!(back.abs_diff(probability) < 200, "{probability} {back}");
        }
    }
}
