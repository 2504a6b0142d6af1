//! The boot is a list of phases run by one runner.

use crate::fault::Fault;
use crate::kmsg::{self, Level};

/// What happens when a phase fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The boot cannot go on.
    Needed,
    /// The machine goes on without it; the failure is reported.
    Optional,
}

/// One step of a boot.
#[derive(Debug)]
pub struct Phase<C> {
    /// Its name in the log.
    pub name: &'static str,
    /// What happens when it fails.
    pub weight: Weight,
    /// The step.
    pub run: fn(&mut C) -> Result<(), Fault>,
}

/// A needed phase that failed.
#[derive(Debug)]
pub struct Failed {
    /// Its name.
    pub phase: &'static str,
    /// Why.
    pub fault: Fault,
}

/// Where phases are reported, and the clock they are measured with.
pub trait Journal {
    /// Milliseconds since the kernel started.
    fn now_ms(&mut self) -> u64;
    /// Takes one line.
    fn line(&mut self, level: Level, text: &str);
}

/// The kernel log.
#[derive(Clone, Copy, Debug)]
pub struct KernelLog;

impl Journal for KernelLog {
    fn now_ms(&mut self) -> u64 {
        kmsg::now_ms()
    }

    fn line(&mut self, level: Level, text: &str) {
        kmsg::log(level, text);
    }
}

/// Runs phases in order, one line each. Ends at the first needed phase that fails.
pub fn run<C>(phases: &[Phase<C>], context: &mut C, journal: &mut impl Journal) -> Result<(), Failed> {
    for phase in phases {
        let begun = journal.now_ms();
        let result = (phase.run)(context);
        let now = journal.now_ms();
        let took = now.saturating_sub(begun);
        match (result, phase.weight) {
            (Ok(()), _) => journal.line(Level::Notice, &kmsg::phase_ok(phase.name, took, now)),
            (Err(fault), weight) => {
                let line = kmsg::phase_failed(phase.name, took, now, &fault.line());
                journal.line(Level::Error, &line);
                if weight == Weight::Needed {
                    return Err(Failed { phase: phase.name, fault });
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorder {
        clock: u64,
        lines: Vec<String>,
    }

    impl Journal for Recorder {
        fn now_ms(&mut self) -> u64 {
            self.clock += 5;
            self.clock
        }

        fn line(&mut self, _: Level, text: &str) {
            self.lines.push(text.to_owned());
        }
    }

    const fn phase(name: &'static str, weight: Weight, run: fn(&mut u32) -> Result<(), Fault>) -> Phase<u32> {
        Phase { name, weight, run }
    }

    #[expect(clippy::unnecessary_wraps, reason = "phases may fail, this one does not")]
    fn count(runs: &mut u32) -> Result<(), Fault> {
        *runs += 1;
        Ok(())
    }

    fn fail(_: &mut u32) -> Result<(), Fault> {
        Err(Fault::new("find", "the disk", "it is gone"))
    }

    #[test]
    fn a_needed_phase_that_fails_ends_the_boot_and_is_named() {
        let phases = [
            phase("one", Weight::Needed, count),
            phase("two", Weight::Needed, fail),
            phase("three", Weight::Needed, count),
        ];
        let (mut runs, mut recorder) = (0, Recorder::default());
        let failed = run(&phases, &mut runs, &mut recorder).unwrap_err();
        assert_eq!((failed.phase, runs), ("two", 1));
        assert_eq!(
            recorder.lines,
            [
                "phase=one ok ms=5 at=10",
                "phase=two failed ms=5 at=20 why=\"cannot find the disk: it is gone\""
            ]
        );
    }

    #[test]
    fn an_optional_phase_that_fails_is_reported_and_passed_over() {
        let phases = [phase("one", Weight::Optional, fail), phase("two", Weight::Needed, count)];
        let (mut runs, mut recorder) = (0, Recorder::default());
        run(&phases, &mut runs, &mut recorder).unwrap();
        assert_eq!((runs, recorder.lines.len()), (1, 2));
    }
}
