//! What was healthy before a release was armed, so that a sick application cannot block its own fix.
//!
//! A file of `key=value` lines on `state`, written right before arming. It names the release it was taken for: one that
//! was taken for another release says nothing.

mod surveyor;

pub use surveyor::{COMMAND, Surveyor, run};

use crate::gate::{self, Health, Places};
use crate::report::hex;
use coracle_block::{Doing, PathError, read_limited, replace_file};
use coracle_format::device::DeviceConfig;
use coracle_slots::Release;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// Where it is.
pub const PATH: &str = "/state/update/baseline";
/// Longest baseline that is read.
const LIMIT_BYTES: usize = 1 << 20;

/// What was sick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    sick: BTreeSet<String>,
}

/// The key of a container.
pub fn of_container(name: &str) -> String {
    format!("container.{name}")
}

/// The key of a check.
pub fn of_check(name: &str) -> String {
    format!("check.{name}")
}

/// Looks at every container and check of the running system and writes down which are healthy, for the trial of
/// `release`. Right before arming is the time for it, with the machine's network: see [`Surveyor`]. It takes as long as
/// the slowest check, a few times over if that fails.
pub fn take(config: &DeviceConfig, release: &Release) -> Result<(), PathError> {
    // One that was taken before, perhaps for the same release, says nothing about now.
    match std::fs::remove_file(PATH) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).doing("remove", Path::new(PATH));
        }
        Ok(()) | Err(_) => {}
    }
    let health = gate::survey(config, &Places::default());
    store(Path::new(PATH), &health, release)
}

fn store(path: &Path, health: &[(String, Health)], release: &Release) -> Result<(), PathError> {
    let mut text = format!("release={}\n", hex(release));
    for (key, health) in health {
        let word = if *health == Health::Healthy { "healthy" } else { "sick" };
        // Writing to a String cannot fail.
        match writeln!(text, "{key}={word}") {
            Ok(()) | Err(_) => {}
        }
    }
    replace_file(path, text.as_bytes(), 0o600)
}

impl Baseline {
    /// The baseline that was taken for `release`; `None` if there is none, or one for another release.
    pub(crate) fn load(path: &Path, release: &str) -> Option<Self> {
        let bytes = read_limited(path, LIMIT_BYTES).ok()?;
        Self::parse(&String::from_utf8(bytes).ok()?, release)
    }

    fn parse(text: &str, release: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()?.strip_prefix("release=")? != release {
            return None;
        }
        let sick = lines.filter_map(|line| line.strip_suffix("=sick")).map(str::to_owned).collect();
        Some(Self { sick })
    }

    /// Whether the thing of this key was sick then. What was not there was not sick.
    pub(crate) fn was_sick(&self, key: &str) -> bool {
        self.sick.contains(key)
    }

    #[cfg(test)]
    pub(crate) fn of_sick(keys: &[&str]) -> Self {
        Self { sick: keys.iter().map(|key| (*key).to_owned()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_counts_only_for_the_release_it_was_taken_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("baseline");
        let health = [
            (of_container("web"), Health::Healthy),
            (of_check("api"), Health::Unhealthy("refused".to_owned())),
            (of_container("old"), Health::Hopeless("ended".to_owned())),
        ];
        store(&path, &health, &[7; 32]).unwrap();
        let baseline = Baseline::load(&path, &"07".repeat(32)).unwrap();
        assert_eq!(baseline, Baseline::of_sick(&["check.api", "container.old"]));
        assert!(!baseline.was_sick("container.new"));
        assert_eq!(Baseline::load(&path, &"08".repeat(32)), None);
        assert_eq!(Baseline::load(&directory.path().join("none"), &"07".repeat(32)), None);
    }

    #[test]
    fn a_text_that_is_no_baseline_is_none() {
        for text in ["", "\n", "container.web=sick\n", "release=07\n"] {
            assert_eq!(Baseline::parse(text, "08"), None, "{text:?}");
        }
    }
}
