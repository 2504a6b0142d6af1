//! What the containers service says of its containers, and what that means for a trial. Pure.

use coracle_format::device::{Container, Restart};
use std::collections::BTreeMap;
use std::fmt;

/// A container that ended badly, or could not be started, this often since the boot crash-loops. With pauses that double
/// from half a second this is more than a minute after its first start: not one slow start, nor a wait for a neighbour.
pub(super) const CRASHES: u64 = 8;
/// Longest status file that is read.
pub(super) const STATUS_BYTES: usize = 1 << 20;

/// How the last run of a container ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Last {
    /// It has not ended yet.
    #[default]
    None,
    /// It could not be started.
    NotStarted,
    /// With this status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody knows.
    Unknown,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Life {
    /// What it needs is not there yet.
    Held,
    /// It is being started.
    Starting,
    /// It runs.
    Running,
    /// It was asked to stop, or is being killed.
    Stopping,
    /// Its last run is over, and another one follows.
    Between,
    /// It is not started again.
    Ended,
    /// The service says nothing of it, or a word that is not known here.
    #[default]
    Unknown,
}

/// One container as its service sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Where it is.
    pub(super) life: Life,
    /// Since when it runs, milliseconds since the kernel's start; 0 when it does not.
    pub(super) since_ms: u64,
    /// Successful starts.
    pub(super) starts: u64,
    /// Starts that failed.
    pub(super) failed_starts: u64,
    /// How its last run ended.
    pub(super) last: Last,
}

/// The containers service's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// The service's process.
    pub(super) pid: Option<u32>,
    /// Its containers by name.
    pub(super) containers: BTreeMap<String, Seen>,
}

/// What a container or a check is worth to a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Healthy,
    /// Not yet, or not any more: it may come.
    Unhealthy(String),
    /// It will not come.
    Hopeless(String),
}

impl Status {
    /// The status in the text of a status file. What is not understood is passed over.
    pub(super) fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            if key == "pid" {
                status.pid = value.parse().ok();
            }
            let parts = key.strip_prefix("container.").and_then(|rest| rest.rsplit_once('.'));
            if let Some((name, key)) = parts {
                status.containers.entry(name.to_owned()).or_default().take(key, value);
            }
        }
        status
    }
}

impl Seen {
    fn take(&mut self, key: &str, value: &str) {
        let number = || value.parse().unwrap_or(0);
        match key {
            "state" => self.life = life(value),
            "since_ms" => self.since_ms = number(),
            "starts" => self.starts = number(),
            "failed_starts" => self.failed_starts = number(),
            "last" => self.last = last(value),
            _ => {}
        }
    }

    /// Runs and starts that are over.
    pub(super) fn ends(&self) -> u64 {
        let alive = u64::from(matches!(self.life, Life::Running | Life::Stopping));
        self.starts.saturating_add(self.failed_starts).saturating_sub(alive)
    }

    /// Whether its last run ended in another way than it should.
    pub(super) fn ended_badly(&self) -> bool {
        !matches!(self.last, Last::None | Last::Exit(0))
    }
}

/// What a declared container is worth. `None`: its service does not name it.
pub(super) fn judge(declared: &Container, seen: Option<&Seen>) -> Health {
    let Some(seen) = seen else {
        return Health::Unhealthy("its service does not know it yet".to_owned());
    };
    if seen.ended_badly() && seen.life != Life::Running {
        if seen.life == Life::Ended && declared.restart == Restart::Never {
            return Health::Hopeless(format!("{} and is not started again", seen.last));
        }
        if seen.ends() >= CRASHES {
            return Health::Hopeless(format!("{}, for the {}th time", seen.last, seen.ends()));
        }
    }
    let why = match seen.life {
        Life::Running => return Health::Healthy,
        Life::Ended if declared.restart != Restart::Always && seen.last == Last::Exit(0) => {
            return Health::Healthy;
        }
        Life::Ended | Life::Between => format!("{} ({} times so far)", seen.last, seen.ends()),
        Life::Held if seen.ends() > 0 => format!("{} ({} times so far)", seen.last, seen.ends()),
        Life::Held => "waits for what it needs".to_owned(),
        Life::Starting => "is being started".to_owned(),
        Life::Stopping => "is being stopped".to_owned(),
        Life::Unknown => "is in an unknown state".to_owned(),
    };
    Health::Unhealthy(why)
}

fn life(word: &str) -> Life {
    match word {
        "held" => Life::Held,
        "starting" => Life::Starting,
        "running" => Life::Running,
        "stopping" | "killing" => Life::Stopping,
        "cleaning" | "pausing" => Life::Between,
        "ended" => Life::Ended,
        _ => Life::Unknown,
    }
}

fn last(word: &str) -> Last {
    match word.split_once(':') {
        Some(("exit", code)) => code.parse().map_or(Last::Unknown, Last::Exit),
        Some(("signal", number)) => number.parse().map_or(Last::Unknown, Last::Signal),
        None if word == "none" => Last::None,
        None if word == "not-started" => Last::NotStarted,
        Some(_) | None => Last::Unknown,
    }
}

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("has not run"),
            Self::NotStarted => f.write_str("cannot be started"),
            Self::Exit(code) => write!(f, "ended with status {code}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::Unknown => f.write_str("ended in an unknown way"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::samples::container;

    const TEXT: &str = "ready=yes\npid=77\ncontainer.web.state=running\ncontainer.web.since_ms=1250\n\
        container.web.starts=3\ncontainer.web.failed_starts=1\ncontainer.web.oom_kills=0\n\
        container.web.last=exit:1\ncontainer.a.b.state=ended\njunk\n=\ncontainer.\n";

    #[test]
    fn a_status_is_read_and_junk_passed_over() {
        let status = Status::parse(TEXT);
        assert_eq!(status.pid, Some(77));
        let web =
            Seen { life: Life::Running, since_ms: 1250, starts: 3, failed_starts: 1, last: Last::Exit(1) };
        assert_eq!(status.containers["web"], web);
        assert_eq!(status.containers["web"].ends(), 3);
        assert_eq!(status.containers["a.b"].life, Life::Ended);
    }

    #[test]
    fn a_run_that_ended_well_counts_only_where_an_end_is_meant() {
        let ended = Seen { life: Life::Ended, starts: 1, last: Last::Exit(0), ..Seen::default() };
        for (restart, healthy) in
            [(Restart::Never, true), (Restart::OnFailure, true), (Restart::Always, false)]
        {
            let judged = judge(&container("job", restart), Some(&ended));
            assert_eq!(judged == Health::Healthy, healthy, "{restart:?}");
        }
    }

    #[test]
    fn what_ended_badly_and_is_not_started_again_is_hopeless_at_once() {
        for last in [Last::Exit(1), Last::Signal(9), Last::NotStarted, Last::Unknown] {
            let seen = Seen { life: Life::Ended, starts: 1, last, ..Seen::default() };
            assert!(matches!(judge(&container("job", Restart::Never), Some(&seen)), Health::Hopeless(_)));
        }
    }

    #[test]
    fn only_many_bad_ends_are_a_crash_loop() {
        let web = container("web", Restart::Always);
        let mut seen = Seen { life: Life::Between, last: Last::Exit(1), ..Seen::default() };
        for starts in 1..CRASHES {
            seen.starts = starts;
            assert!(matches!(judge(&web, Some(&seen)), Health::Unhealthy(_)), "{starts}");
        }
        seen.starts = CRASHES;
        assert_eq!(
            judge(&web, Some(&seen)),
            Health::Hopeless("ended with status 1, for the 8th time".into())
        );
        seen.last = Last::Exit(0);
        assert!(matches!(judge(&web, Some(&seen)), Health::Unhealthy(_)), "it ended well each time");
        seen = Seen { life: Life::Running, last: Last::Exit(1), ..seen };
        assert_eq!(judge(&web, Some(&seen)), Health::Healthy, "it runs at last");
    }

    #[test]
    fn a_container_that_nobody_names_is_not_healthy() {
        assert!(matches!(judge(&container("web", Restart::Never), None), Health::Unhealthy(_)));
    }
}
