//! How far an update is: lines for a person, events with `--json`.

use super::text::megabytes;
use crate::executor::Observer;
use crate::report::{Object, Report};

/// Shows every so many hundredths.
const STEP: u64 = 5;

/// Shows on a report.
pub(super) struct Shown<'a, 'b> {
    report: &'a mut Report<'b>,
    stage: &'static str,
    next: u64,
}

impl<'a, 'b> Shown<'a, 'b> {
    pub(super) fn new(report: &'a mut Report<'b>) -> Self {
        Self { report, stage: "", next: 0 }
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
}
