//! Probabilities of histories, and what mixed probabilities turned out to be.

use crate::{
    histories::{Histories, History},
    lines::Line,
    logistic::Logistic,
};

/// The probability of a bit in 22 bits, with how often it was learnt from in 10.
#[derive(Clone, Copy, Debug)]
struct Chance(u32);

/// How fast a probability moves that was learnt from so many times, of 65536.
static RATES: [u32; Chance::TIMES] = {
    let mut rates = [0; Chance::TIMES];
    let (mut seen, mut parts) = (0, 3);
    while seen < rates.len() {
        rates[seen] = (2 << 16) / parts;
        seen += 1;
        parts += 2;
    }
    rates
};

impl Chance {
    const SEEN_BITS: u32 = 10;
    const TIMES: usize = 1 << Self::SEEN_BITS;
    const MOST: u32 = u32::MAX >> Self::SEEN_BITS;
    /// How much is believed at first, and at most.
    const FIRST: u32 = 3;
    const LAST: u32 = 1000;

    /// Of what was seen so often.
    fn of([zeros, ones]: [u8; 2]) -> Self {
        let [zeros, ones] = [zeros, ones].map(u32::from);
        let one = (2 * ones + 1) * (Self::MOST / (2 * (zeros + ones) + 2));
        Self(one << Self::SEEN_BITS | Self::FIRST)
    }

    const fn one(self) -> u32 {
        self.0 >> Self::SEEN_BITS
    }

    /// Moves what is left up to the bit.
    #[inline]
    fn learn(&mut self, bit: bool) {
        let seen = self.0 % (1 << Self::SEEN_BITS);
        let end = if bit { Self::MOST } else { 0 };
        let left = self.one() ^ end;
        let left = left - (((left >> 4) * RATES[usize::try_from(seen).unwrap_or(0)]) >> 12);
        self.0 = (left ^ end) << Self::SEEN_BITS | (seen + u32::from(seen < Self::LAST));
    }
}

/// What histories mean in each of several contexts.
#[derive(Debug)]
pub(crate) struct Chances(Vec<[Chance; 1 << 8]>);

impl Chances {
    /// In so many contexts what was seen is what will be.
    pub(crate) fn new(histories: &Histories, contexts: usize) -> Self {
        let mut each = [Chance(0); 1 << 8];
        each.iter_mut()
            .zip(0..=History::MAX)
            .for_each(|(to, history)| *to = Chance::of(histories.seen(history)));
        Self(vec![each; contexts])
    }

    /// The logits of the next bit, as far as there is room for them.
    #[inline]
    pub(crate) fn opinions(&self, logistic: &Logistic, (lines, node): (&[Line], usize), logits: &mut [i16]) {
        for ((chances, line), logit) in self.0.iter().zip(lines).zip(logits) {
            *logit = logistic.stretch_high(chances[usize::from(line.history(node))].one());
        }
    }

    /// Takes the bit.
    #[inline]
    pub(crate) fn learn(&mut self, histories: &Histories, (lines, node): (&mut [Line], usize), bit: bool) {
        for (chances, line) in self.0.iter_mut().zip(lines) {
            let history = line.history(node);
            chances[usize::from(history)].learn(bit);
            line.set_history(node, histories.after(history, bit));
        }
    }
}

/// Logits between two steps, and steps on either side of 0.
const STEP: i32 = 128;
const SIDE: i32 = 16;
const STEPS: usize = 33;
/// By which part a step moves.
const RATE: i32 = 64;

/// What became of probabilities in several situations: between two steps, in proportion.
#[derive(Debug)]
pub(crate) struct Outcomes(Vec<[u16; STEPS]>);

/// A place between two steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between {
    situation: usize,
    step: usize,
    /// How near to the upper one, of [`STEP`].
    part: u32,
}

impl Outcomes {
    /// In so many situations all was as expected.
    pub(crate) fn new(logistic: &Logistic, situations: usize) -> Self {
        let mut row = [0; STEPS];
        row.iter_mut().zip(-SIDE..).for_each(|(to, step)| *to = logistic.squash(step * STEP));
        Self(vec![row; situations])
    }

    /// Where a logit is.
    pub(crate) fn find(situation: usize, logit: i32) -> Between {
        let from = logit.clamp(1 - SIDE * STEP, SIDE * STEP - 1) + SIDE * STEP;
        let [step, part] = [from / STEP, from % STEP].map(|part| u32::try_from(part).unwrap_or(0));
        Between { situation, step: usize::try_from(step).unwrap_or(0), part }
    }

    /// What came of it so far, of 65536.
    pub(crate) fn one(&self, place: Between) -> u32 {
        let row = &self.0[place.situation];
        let whole = STEP.unsigned_abs();
        (u32::from(row[place.step]) * (whole - place.part) + u32::from(row[place.step + 1]) * place.part)
            / whole
    }

    /// Takes what it was.
    pub(crate) fn learn(&mut self, place: Between, bit: bool) {
        let target = if bit { 65535 } else { 0 };
        for one in &mut self.0[place.situation][place.step..place.step + 2] {
            let moved = i32::from(*one) + (target - i32::from(*one)) / RATE;
            *one = u16::try_from(moved).unwrap_or(1 << 15);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_histories_mean_is_learnt() {
        let histories = Histories::new();
        let mut chances = Chances::new(&histories, 2);
        let twice = histories.after(histories.after(0, true), true);
        let logistic = Logistic::new();
        let lines = |node, own| {
            let mut lines = [Line::default(); 2];
            lines.iter_mut().zip(own).for_each(|(line, history)| line.set_history(node, history));
            lines
        };
        let opinions = |chances: &Chances| {
            let mut logits = [0; 2];
            chances.opinions(&logistic, (&lines(3, [twice; 2]), 3), &mut logits);
            logits
        };
        assert!(opinions(&chances)[1] > 0);
        for _ in 0..1000 {
            let mut lines = lines(5, [0, twice]);
            chances.learn(&histories, (&mut lines, 5), false);
            assert_eq!(lines[1].history(5), histories.after(twice, false));
        }
        let [other, own] = opinions(&chances);
        assert!(own < -1200, "{own}");
        assert!(other > 0, "another context");
    }

    #[test]
    fn outcomes_begin_as_expected_and_become_what_they_were() {
        let logistic = Logistic::new();
        let mut outcomes = Outcomes::new(&logistic, 1);
        for logit in [-3000, -700, 0, 333, 2047, 3000] {
            let place = Outcomes::find(0, logit);
            let expected = u32::from(logistic.squash(logit.clamp(-2047, 2047)));
            assert!(outcomes.one(place).abs_diff(expected) < 300, "{logit}");
        }
        let place = Outcomes::find(0, 333);
        (0..1000).for_each(|_| outcomes.learn(place, false));
        assert!(outcomes.one(place) < 100);
        assert!(outcomes.one(Outcomes::find(0, 700)) > 1 << 15);
    }
}
