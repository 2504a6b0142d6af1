//! One event type for everything the builder shows: bars on a terminal, lines in a pipe, objects with `--json`.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A step began.
    Started {
        /// Number of the step, unique in this run.
        id: u64,
        /// What is done: `fetch packages`.
        name: String,
    },
    /// A step came further.
    Progress {
        /// The step.
        id: u64,
        /// Units done.
        done: u64,
        /// Units in all; 0 if unknown.
        total: u64,
        /// What is counted.
        unit: Unit,
    },
    /// A step ended well.
    Finished {
        /// The step.
        id: u64,
        /// What came of it: `91 packages, 44 MB`; `cached` where nothing had to be done.
        note: String,
        /// How long it took, milliseconds.
        ms: u64,
    },
    /// A step was given up; the error follows by itself.
    Failed {
        /// The step.
        id: u64,
    },
    /// Something a person should know.
    Note {
        /// How much it matters.
        level: Level,
        /// One line.
        text: String,
    },
}

/// What a progress event counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things: packages, modules, files.
    Items,
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Shown with `-v`.
    Detail,
    /// Shown.
    Info,
    /// Shown, even with `-q`.
    Warning,
}

/// Where events go.
pub trait Sink: Send + Sync {
    /// Takes one event; must not block for long.
    fn event(&self, event: &Event);
}

/// The one way to show something. Cheap to clone.
#[derive(Clone)]
pub struct Report {
    sink: Arc<dyn Sink>,
    next: Arc<AtomicU64>,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Report")
    }
}

impl Report {
    /// Sends every event to `sink`.
    pub fn new(sink: Arc<dyn Sink>) -> Self {
        Self { sink, next: Arc::new(AtomicU64::new(1)) }
    }

    /// Shows nothing.
    pub fn silent() -> Self {
        struct Silent;
        impl Sink for Silent {
            fn event(&self, _: &Event) {}
        }
        Self::new(Arc::new(Silent))
    }

    /// Begins a step. Ends as failed unless [`Step::done`] is called.
    pub fn step(&self, name: impl Into<String>) -> Step {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.sink.event(&Event::Started { id, name: name.into() });
        Step { report: self.clone(), id, begun: Instant::now(), done: false }
    }

    /// Shows a line with `-v`.
    pub fn detail(&self, text: impl Into<String>) {
        self.note(Level::Detail, text);
    }

    /// Shows a line.
    pub fn info(&self, text: impl Into<String>) {
        self.note(Level::Info, text);
    }

    /// Shows a warning.
    pub fn warn(&self, text: impl Into<String>) {
        self.note(Level::Warning, text);
    }

    fn note(&self, level: Level, text: impl Into<String>) {
        self.sink.event(&Event::Note { level, text: text.into() });
    }
}

/// A step under way.
#[derive(Debug)]
pub struct Step {
    report: Report,
    id: u64,
    begun: Instant,
    done: bool,
}

impl Step {
    /// Tells how far it is.
    pub fn progress(&self, done: u64, total: u64, unit: Unit) {
        self.report.sink.event(&Event::Progress { id: self.id, done, total, unit });
    }

    /// Ends it well, with what came of it.
    pub fn done(mut self, note: impl Into<String>) {
        self.done = true;
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.report.sink.event(&Event::Finished { id: self.id, note: note.into(), ms });
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.done {
            self.report.sink.event(&Event::Failed { id: self.id });
        }
    }
}
