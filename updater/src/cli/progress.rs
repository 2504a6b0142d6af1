//! How far an update is: lines for a person, events with `--json`.

use super::text::megabytes;
use crate::executor::{Observer, Tally};
use crate::report::{Object, Report};

/// Shows every so many hundredths.
const STEP: u64 = 5;

/// Shows on a report.
pub(super) struct Shown<'a, 'b> {
    report: &'a mut Report<'b>,
    stage: &'static str,
    next: u64,
    tally: Tally,
}

impl<'a, 'b> Shown<'a, 'b> {
    pub(super) fn new(report: &'a mut Report<'b>) -> Self {
        Self { report, stage: "", next: 0, tally: Tally::default() }
    }

    /// Where the frames have come from; nothing yet before all are there.
    pub(super) const fn tally(&self) -> Tally {
        self.tally
    }

    fn show(&mut self, text: &str, object: Object) {
        // Whoever does not listen any more does not stop an update.
        if self.report.event(text, object).is_err() {
            self.next = u64::MAX;
        }
    }
}

impl Observer for Shown<'_, '_> {
    fn stage(&mut self, name: &'static str) {
        self.stage = name;
        self.next = 0;
        self.show(name, Object::event("stage").text("name", name));
    }

    fn progress(&mut self, done: u64, total: u64) {
        let hundredths = done.saturating_mul(100) / total.max(1);
        if hundredths < self.next {
            return;
        }
        self.next = (hundredths / STEP).saturating_add(1).saturating_mul(STEP);
        let text = format!("{} {hundredths} % of {}", self.stage, megabytes(total));
        let object = Object::event("progress").text("stage", self.stage);
        self.show(&text, object.number("done", done).number("total", total));
    }

    fn note(&mut self, text: &str) {
        self.show(&format!("note: {text}"), Object::event("note").text("text", text));
    }

    fn supplied(&mut self, tally: &Tally) {
        self.tally = *tally;
        self.show(&origins(tally), numbers(Object::event("supplied"), tally));
    }
}

/// Where frames have come from, for a person.
pub(super) fn origins(tally: &Tally) -> String {
    let Tally { fetched, kept, delta, running, bundle } = *tally;
    let frames = [
        (delta, "by the delta"),
        (bundle, "from the bundle"),
        (running, "from the running slot"),
        (kept, "there already"),
    ];
    let frames: Vec<String> = frames
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, from)| format!("{count} {from}"))
        .collect();
    let frames = if frames.is_empty() { "none".to_owned() } else { frames.join(", ") };
    format!("{} fetched; frames: {frames}", megabytes(fetched))
}

/// The same as fields of an object.
pub(super) fn numbers(object: Object, tally: &Tally) -> Object {
    object
        .number("fetched", tally.fetched)
        .number("frames_delta", tally.delta.into())
        .number("frames_bundle", tally.bundle.into())
        .number("frames_running", tally.running.into())
        .number("frames_kept", tally.kept.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_told_in_words_without_those_that_gave_nothing() {
        let tally = Tally { fetched: 2_100_000, kept: 0, delta: 38, running: 0, bundle: 2 };
        assert_eq!(origins(&tally), "2.1 MB fetched; frames: 38 by the delta, 2 from the bundle");
        assert_eq!(origins(&Tally::default()), "0.0 MB fetched; frames: none");
    }
}
