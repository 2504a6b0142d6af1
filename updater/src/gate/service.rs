//! The loop of the gate: looks, asks the machine, does what it says.

use super::clock::now_ms;
use super::journal::{Journal, Level};
use super::line::Line;
use super::machine::{Effect, Event, Plan, State};
use super::places::Places;
use super::probe::{self, Done};
use super::view::{Phase, View};
use crate::baseline::Baseline;
use crate::error::{Error, Kind, Result};
use coracle_block::Doing as _;
use coracle_format::device::DeviceConfig;
use coracle_format::ipc::Message;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How often the gate looks at everything.
const LOOK: Duration = Duration::from_millis(250);
/// How often the record is read, in turns: a person may have committed, or rolled back.
const TURNS_PER_RECORD: u32 = 8;

/// What the gate does to the machine at the end of a trial.
pub(super) trait Trial {
    /// Whether the running release is committed already.
    fn is_committed(&mut self) -> bool;
    /// Commits it: on the disk when this returns.
    fn commit(&mut self) -> Result<()>;
    /// Writes down that it failed, and why.
    fn fail(&mut self, reason: &str, at_ms: u64) -> Result<()>;
    /// Asks PID 1 for an ordered reboot.
    fn reboot(&mut self) -> Result<()>;
}

/// How the gate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The release is committed.
    Committed,
    /// The release failed, and the machine reboots.
    Failed,
    /// The machine stops for another reason, the trial is open.
    Stopped,
}

/// The gate at work.
pub(super) struct Service<'a> {
    config: &'a DeviceConfig,
    plan: Plan,
    state: State,
    places: &'a Places,
    line: Line,
    journal: Journal,
    trial: &'a mut dyn Trial,
    done: (Sender<Done>, Receiver<Done>),
    clock: Box<dyn Fn() -> u64>,
    begun: u64,
}

impl<'a> Service<'a> {
    /// A gate for this configuration, which must take updates.
    pub(super) fn new(
        config: &'a DeviceConfig,
        places: &'a Places,
        (line, kmsg): (Line, &Path),
        trial: &'a mut dyn Trial,
    ) -> Result<Self> {
        let plan = Plan::new(config).ok_or_else(|| {
            Error::new(Kind::Usage, "this image takes no updates: there is no trial to decide about")
                .hint("declare [update] in the manifest")
        })?;
        for directory in [Some(places.run()), places.update().parent()].into_iter().flatten() {
            std::fs::create_dir_all(directory).doing("make the directory", directory)?;
        }
        Ok(Self {
            config,
            state: State::new(&plan),
            plan,
            places,
            line,
            journal: Journal::open(kmsg, places.update()),
            trial,
            done: channel(),
            clock: Box::new(now_ms),
            begun: now_ms(),
        })
    }

    /// Runs until the trial is decided or the machine stops.
    pub(super) fn run(mut self) -> Result<End> {
        let mut turns: u32 = 0;
        if let Some(end) = self.load_baseline() {
            return Ok(end);
        }
        loop {
            let orders = self
                .line
                .wait(LOOK)
                .map_err(|error| Error::new(Kind::Io, "cannot wait for orders of PID 1").because(error))?;
            if orders.contains(&Message::Stop) {
                return Ok(End::Stopped);
            }
            if orders.contains(&Message::StateMounted)
                && let Some(end) = self.load_baseline()
            {
                return Ok(end);
            }
            if turns.is_multiple_of(TURNS_PER_RECORD) && self.trial.is_committed() {
                return Ok(self.end_committed());
            }
            turns = turns.wrapping_add(1);
            if let Some(end) = self.turn() {
                return Ok(end);
            }
        }
    }

    fn turn(&mut self) -> Option<End> {
        let mut events = vec![Event::Looked(self.places.look())];
        while let Ok((check, number, result)) = self.done.1.try_recv() {
            events.push(Event::Checked { check, number, result });
        }
        for event in events {
            if let Some(end) = self.feed(event) {
                return Some(end);
            }
        }
        let view = self.state.view(&self.plan, (self.clock)());
        self.show(&view);
        None
    }

    /// Steps the machine and does what it says.
    fn feed(&mut self, event: Event) -> Option<End> {
        let state = self.state.clone();
        let (state, effects) = state.step(&self.plan, event, (self.clock)());
        self.state = state;
        effects.into_iter().find_map(|effect| self.perform(effect))
    }

    fn perform(&mut self, effect: Effect) -> Option<End> {
        match effect {
            Effect::Try { check, number } => {
                if let Some(declared) = self.config.checks.get(check) {
                    probe::begin(declared.clone(), self.places.runtime(), (check, number), &self.done.0);
                }
                None
            }
            Effect::Tell(text) => {
                self.journal.line(Level::Notice, &text);
                None
            }
            Effect::Commit => match self.trial.commit() {
                Ok(()) => Some(self.end_committed()),
                // What failed may be the telling only.
                Err(_) if self.trial.is_committed() => Some(self.end_committed()),
                Err(error) => {
                    let why = chain(&error);
                    self.journal.line(Level::Error, &why);
                    self.feed(Event::NotCommitted(why))
                }
            },
            Effect::Fail(reason) => Some(self.end_failed(reason)),
        }
    }

    fn end_committed(&mut self) -> End {
        let now = (self.clock)();
        self.journal.outcome(Ok(()), now.saturating_sub(self.begun), now);
        self.show(&View { missing: Vec::new(), ..self.last_view(Phase::Committed, None, now) });
        if let Err(error) = self.line.tell(&Message::Ready) {
            self.journal.line(Level::Error, &format!("cannot tell PID 1 of the commit: {error}"));
        }
        End::Committed
    }

    fn end_failed(&mut self, reason: String) -> End {
        // A person may have committed it meanwhile: then it stays.
        if self.trial.is_committed() {
            return self.end_committed();
        }
        let now = (self.clock)();
        self.journal.outcome(Err(&reason), now.saturating_sub(self.begun), now);
        if let Err(error) = self.trial.fail(&reason, now) {
            self.journal.line(Level::Error, &chain(&error));
        }
        self.show(&self.last_view(Phase::Failed, Some(reason), now));
        if let Err(error) = self.trial.reboot() {
            self.journal.line(Level::Error, &chain(&error));
        }
        End::Failed
    }

    fn last_view(&self, phase: Phase, reason: Option<String>, now: u64) -> View {
        View { phase, reason, ..self.state.view(&self.plan, now) }
    }

    fn show(&mut self, view: &View) {
        if let Err(error) = self.journal.show(view) {
            self.journal.line(Level::Warning, &format!("cannot write the status: {error}"));
        }
    }

    /// Before `state` is mounted there is none, and everything is required.
    fn load_baseline(&mut self) -> Option<End> {
        let release = self.places.release()?;
        let baseline = Baseline::load(self.places.baseline(), &release)?;
        self.feed(Event::Baseline(baseline))
    }
}

/// An error and its causes on one line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    for cause in error.causes() {
        text.push_str(": ");
        text.push_str(&cause);
    }
    text
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
