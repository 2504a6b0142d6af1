//! What the gate shows: its status file and its words. Pure.

use super::condition::Health;
use std::fmt::{self, Write as _};

/// Something that is required and not healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// `container.web`, `check.api` or `runtime`.
    pub(super) key: String,
    /// What is wrong with it.
    pub(super) why: String,
    /// Whether it will stay so.
    pub(super) is_hopeless: bool,
}

impl Missing {
    /// What an unhealthy thing is; `None` if it is healthy.
    pub(super) fn new(key: String, health: Health) -> Option<Self> {
        match health {
            Health::Healthy => None,
            Health::Unhealthy(why) => Some(Self { key, why, is_hopeless: false }),
            Health::Hopeless(why) => Some(Self { key, why, is_hopeless: true }),
        }
    }

    /// The containers service.
    pub(super) fn runtime(why: &str) -> Self {
        Self { key: "runtime".to_owned(), why: why.to_owned(), is_hopeless: false }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key.replacen('.', " ", 1), self.why)
    }
}

/// Where the gate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Something required is not healthy.
    Waiting,
    /// All is healthy, not yet for long enough.
    Settling,
    /// The release is committed.
    Committed,
    /// The release failed.
    Failed,
}

impl Phase {
    const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Settling => "settling",
            Self::Committed => "committed",
            Self::Failed => "failed",
        }
    }
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) phase: Phase,
    pub(super) missing: Vec<Missing>,
    pub(super) excused: Vec<String>,
    pub(super) settle_seconds: u64,
    pub(super) healthy_since_ms: Option<u64>,
    pub(super) left_seconds: u64,
    /// Why it failed.
    pub(super) reason: Option<String>,
}

impl View {
    /// The status file: `key=value` lines that no value can forge.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        add(&mut text, "phase", self.phase.word());
        if matches!(self.phase, Phase::Waiting | Phase::Settling) {
            add(&mut text, "left_seconds", &self.left_seconds.to_string());
            add(&mut text, "settle_seconds", &self.settle_seconds.to_string());
        }
        if let Some(since) = self.healthy_since_ms {
            add(&mut text, "healthy_since_ms", &since.to_string());
        }
        for missing in &self.missing {
            add(&mut text, &format!("unhealthy.{}", missing.key), &missing.why);
        }
        for key in &self.excused {
            add(&mut text, "excused", key);
        }
        if let Some(reason) = &self.reason {
            add(&mut text, "reason", reason);
        }
        text
    }
}

fn add(text: &mut String, key: &str, value: &str) {
    // Writing to a String cannot fail.
    match writeln!(text, "{key}={}", one_line(value)) {
        Ok(()) | Err(_) => {}
    }
}

/// The text with everything that could end or split a line replaced by a space.
pub(super) fn one_line(text: &str) -> String {
    text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_what_is_missing_and_no_reason_can_forge_a_line() {
        let view = View {
            phase: Phase::Waiting,
            missing: vec![Missing {
                key: "check.api".to_owned(),
                why: "said\nphase=committed".to_owned(),
                is_hopeless: false,
            }],
            excused: vec!["container.old".to_owned()],
            settle_seconds: 10,
            healthy_since_ms: None,
            left_seconds: 90,
            reason: None,
        };
        assert_eq!(
            view.text(),
            "phase=waiting\nleft_seconds=90\nsettle_seconds=10\nunhealthy.check.api=said phase=committed\n\
             excused=container.old\n"
        );
    }
}
