//! Events as plain lines, for pipes and logs.

use super::Verbosity;
use crate::report::{Event, Level, Sink};
use std::{
    collections::BTreeMap,
    fmt,
    io::Write,
    sync::{Mutex, PoisonError},
};

/// Writes one line per finished step and note; no progress, no colour.
pub struct Lines<W> {
    verbosity: Verbosity,
    state: Mutex<State<W>>,
}

struct State<W> {
    out: W,
    names: BTreeMap<u64, String>,
}

impl<W: Write> Lines<W> {
    /// To `out`.
    pub const fn new(out: W, verbosity: Verbosity) -> Self {
        Self { verbosity, state: Mutex::new(State { out, names: BTreeMap::new() }) }
    }
}

impl<W> fmt::Debug for Lines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl<W: Write + Send> Sink for Lines<W> {
    fn event(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let line = match event {
            Event::Started { id, name } => {
                state.names.insert(*id, name.clone());
                None
            }
            Event::Progress { .. } => None,
            Event::Finished { id, note, ms } => {
                let name = state.names.remove(id).unwrap_or_default();
                (self.verbosity > Verbosity::Quiet).then(|| step_line(&name, note, *ms))
            }
            Event::Failed { id } => state.names.remove(id).map(|name| format!("{name}: failed")),
            Event::Note { level, text } => self.verbosity.shows(*level).then(|| note_line(*level, text)),
        };
        if let Some(line) = line {
            // A reader that went away is not this run's business: the work goes on.
            drop(writeln!(state.out, "{line}"));
        }
    }
}

/// `fetch packages        91 packages, 44 MB  (3.1 s)`; a step that took no time to speak of shows none.
pub(super) fn step_line(name: &str, note: &str, ms: u64) -> String {
    let time = match ms {
        0..100 => String::new(),
        _ => format!("  ({}.{} s)", ms / 1000, ms % 1000 / 100),
    };
    format!("{name:<22} {note}{time}")
}

pub(super) fn note_line(level: Level, text: &str) -> String {
    match level {
        Level::Warning => format!("warning: {text}"),
        Level::Info | Level::Detail => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_line_when_it_ends() {
        let sink = Lines::new(Vec::new(), Verbosity::Normal);
        sink.event(&Event::Started { id: 1, name: "fetch packages".to_owned() });
        sink.event(&Event::Note { level: Level::Detail, text: "hidden".to_owned() });
        sink.event(&Event::Finished { id: 1, note: "91 packages, 44 MB".to_owned(), ms: 3140 });
        sink.event(&Event::Note { level: Level::Warning, text: "old".to_owned() });
        let out = String::from_utf8(sink.state.into_inner().unwrap().out).unwrap();
        assert_eq!(out, "fetch packages         91 packages, 44 MB  (3.1 s)\nwarning: old\n");
    }
}
