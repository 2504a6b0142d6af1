//! Probabilities of histories, and what mixed probabilities turned out to be.

use crate::{
    histories::{Histories, History},
    logistic::Logistic,
};

/// The probability of a bit, in 32 bits, with how often it was learnt from.
#[derive(Clone, Copy, Debug)]
struct Chance {
    one: u32,
    seen: u32,
}

impl Chance {
    /// It stays this far from certainty.
    const MARGIN: i64 = 1 << 18;
    /// How much is believed at first, and at most.
    const FIRST: u32 = 3;
    const LAST: u32 = 1000;

    /// Of what was seen so often.
    fn of([zeros, ones]: [u8; 2]) -> Self {
        let [zeros, ones] = [zeros, ones].map(u64::from);
        let one = (2 * ones + 1) * u64::from(u32::MAX) / (2 * (zeros + ones) + 2);
        Self { one: u32::try_from(one).unwrap_or(u32::MAX), seen: Self::FIRST }
    }

    fn learn(&mut self, bit: bool) {
        let target = if bit { i64::from(u32::MAX) } else { 0 };
        let one = i64::from(self.one);
        let moved = one + (target - one) * 2 / i64::from(2 * self.seen + 3);
        let most = i64::from(u32::MAX) - Self::MARGIN;
        self.one = u32::try_from(moved.clamp(Self::MARGIN, most)).unwrap_or(u32::MAX / 2);
        self.seen = (self.seen + 1).min(Self::LAST);
    }
}

/// What histories mean, in several situations.
#[derive(Debug)]
pub(crate) struct Chances(Vec<Chance>);

impl Chances {
    /// In so many situations what was seen is what will be.
    pub(crate) fn new(histories: &Histories, situations: usize) -> Self {
        let each = (0..situations).flat_map(|_| 0..=History::MAX);
        Self(each.map(|history| Chance::of(histories.seen(history))).collect())
    }

    fn index(situation: usize, history: History) -> usize {
        situation << 8 | usize::from(history)
    }

    /// The probability, of 65536.
    pub(crate) fn one(&self, situation: usize, history: History) -> u16 {
        u16::try_from(self.0[Self::index(situation, history)].one >> 16).unwrap_or(u16::MAX)
    }

    /// Takes what followed.
    pub(crate) fn learn(&mut self, situation: usize, history: History, bit: bool) {
        self.0[Self::index(situation, history)].learn(bit);
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
        assert!(chances.one(1, twice) > 1 << 15);
        (0..1000).for_each(|_| chances.learn(1, twice, false));
        assert!(chances.one(1, twice) < 400);
        assert!(chances.one(0, twice) > 1 << 15, "another situation");
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
