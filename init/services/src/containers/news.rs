//! What happened, in words: for the kernel log and for the status file.

use super::machine::{Exit, News, Outcome, Phase, State};
use crate::status::{Level, Lines};
use core::time::Duration;

/// A line for the kernel log about the container `name`. `reason` says why its last start failed.
pub(super) fn describe(name: &str, news: News, reason: &str) -> (Level, String) {
    match news {
        News::FirstStart => (Level::Info, format!("{name} started")),
        News::Restarted => (Level::Notice, format!("{name} started again")),
        News::StartFailed(pause) => {
            (Level::Error, format!("{name} cannot be started: {reason}; {}", describe_pause(pause)))
        }
        News::StartTimedOut => (Level::Error, format!("starting {name} took too long, crun was killed")),
        News::Exited { exit, oom_kills, pause } => {
            let memory = match oom_kills {
                0 => String::new(),
                kills => format!(", out of memory ({kills} killed)"),
            };
            let text = format!("{name} ended {}{memory}; {}", describe_exit(exit), describe_pause(pause));
            match exit {
                Exit::Code(0) => (Level::Notice, text),
                Exit::Code(_) | Exit::Signal(_) | Exit::Unknown => (Level::Warning, text),
            }
        }
        News::Killed => (Level::Warning, format!("{name} did not stop in time and is killed")),
        News::CleanTimedOut => (Level::Error, format!("what {name} left could not be removed in time")),
    }
}

/// How something ended, to be read after `ended`.
pub(super) fn describe_exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("with status {code}"),
        Exit::Signal(signal) => format!("by signal {signal}"),
        Exit::Unknown => "in an unknown way".to_owned(),
    }
}

fn describe_pause(pause: Option<Duration>) -> String {
    match pause {
        Some(pause) => format!("next start in {} ms", pause.as_millis()),
        None => "it is not started again".to_owned(),
    }
}

/// What the status file says of the service itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// No container has its first start still before it.
    pub(super) is_ready: bool,
    /// Its process: who reads the file can tell whether it still stands for something.
    pub(super) pid: u32,
    /// When it began, on the clock that counts from the kernel's start.
    pub(super) begun: Duration,
}

/// The text of the status file.
pub(super) fn status<'a>(service: Service, containers: impl Iterator<Item = (&'a str, &'a State)>) -> Lines {
    let mut lines = Lines::new();
    lines.add("ready", if service.is_ready { "yes" } else { "no" });
    lines.add("pid", service.pid);
    for (name, state) in containers {
        add_status(&mut lines, name, state, service.begun);
    }
    lines
}

fn add_status(lines: &mut Lines, name: &str, state: &State, begun: Duration) {
    let mut add = |key: &str, value: &dyn core::fmt::Display| {
        lines.add(&format!("container.{name}.{key}"), value);
    };
    add("state", &phase_word(state.phase));
    if let Phase::Running { since } = state.phase {
        add("since_ms", &(begun + since).as_millis());
    }
    add("starts", &state.starts);
    add("failed_starts", &state.failed_starts);
    add("oom_kills", &state.oom_kills);
    match state.last {
        None => add("last", &"none"),
        Some(Outcome::NotStarted) => add("last", &"not-started"),
        Some(Outcome::Exited(Exit::Unknown)) => add("last", &"unknown"),
        Some(Outcome::Exited(Exit::Code(code))) => add("last", &format_args!("exit:{code}")),
        Some(Outcome::Exited(Exit::Signal(signal))) => add("last", &format_args!("signal:{signal}")),
    }
}

const fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Held => "held",
        Phase::Starting { .. } => "starting",
        Phase::Running { .. } => "running",
        Phase::Stopping { .. } => "stopping",
        Phase::Killing { .. } => "killing",
        Phase::Cleaning { .. } => "cleaning",
        Phase::Pausing { .. } => "pausing",
        Phase::Ended => "ended",
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::Policy;
    use super::*;
    use coracle_format::device::{Container, ContainerRoot, Log, Restart};

    fn declared() -> Container {
        Container {
            name: "web".to_owned(),
            bundle: String::new(),
            root: ContainerRoot::ReadOnly,
            restart: Restart::Always,
            backoff_ms: (500, 60_000),
            log: Log::Console,
            volumes: Vec::new(),
            needs_system: false,
            needs_state: false,
            needs_network: false,
            stop_signal: 15,
            stop_seconds: 10,
            after_commit: false,
        }
    }

    #[test]
    fn an_end_tells_status_memory_and_what_follows() {
        let news =
            News::Exited { exit: Exit::Signal(9), oom_kills: 2, pause: Some(Duration::from_millis(1500)) };
        let (level, text) = describe("db", news, "");
        assert_eq!(level, Level::Warning);
        assert_eq!(text, "db ended by signal 9, out of memory (2 killed); next start in 1500 ms");
    }

    #[test]
    fn a_failed_start_tells_why() {
        let (level, text) = describe("db", News::StartFailed(None), "crun ended with status 1");
        assert_eq!(level, Level::Error);
        assert_eq!(text, "db cannot be started: crun ended with status 1; it is not started again");
    }

    #[test]
    fn the_status_tells_since_when_a_container_runs() {
        let mut container = State::new(&Policy::new(&declared()));
        container.phase = Phase::Running { since: Duration::from_millis(250) };
        container.starts = 3;
        let service = Service { is_ready: true, pid: 77, begun: Duration::from_secs(1) };
        let lines = status(service, core::iter::once(("web", &container)));
        assert_eq!(
            lines.as_str(),
            "ready=yes\npid=77\ncontainer.web.state=running\ncontainer.web.since_ms=1250\ncontainer.web.starts=3\n\
             container.web.failed_starts=0\ncontainer.web.oom_kills=0\ncontainer.web.last=none\n"
        );
    }
}
