//! Landlock: which files a process may open at all (Documentation/userspace-api/landlock.rst).

use super::Kept;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};
use std::io;
use std::path::Path;

/// The newest rules that are asked for; an older kernel applies those that it knows.
const NEWEST: ABI = ABI::V6;

/// How much of what was asked for the kernel has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confined {
    /// All of it.
    Fully,
    /// What this kernel knows.
    Partly,
    /// Nothing: it has no Landlock.
    Not,
}

/// Lets the process read the files `paths` (those that exist) and nothing else: no other file is opened, nothing is
/// written, made, removed or run, no device is reached, no port is listened on. Descriptors that are open stay so.
pub fn only_read(paths: &[&Path]) -> Result<Confined, Kept> {
    restrict(paths)
        .map_err(|error| Kept { action: "give up access to files", source: io::Error::other(error) })
}

fn restrict(paths: &[&Path]) -> Result<Confined, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::BindTcp)?
        .create()?;
    for path in paths {
        // A file that is not there cannot be read either.
        if let Ok(file) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(file, AccessFs::ReadFile))?;
        }
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Confined::Fully,
        RulesetStatus::PartiallyEnforced => Confined::Partly,
        RulesetStatus::NotEnforced => Confined::Not,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;

    fn write(path: &Path) -> io::Result<()> {
        File::create(path)?.write_all(b"text")
    }

    #[test]
    fn only_the_named_file_can_be_read_and_nothing_written() {
        let directory = tempfile::tempdir().unwrap();
        let [allowed, other] = ["allowed", "other"].map(|name| directory.path().join(name));
        for path in [&allowed, &other] {
            write(path).unwrap();
        }
        // Landlock holds for the thread that asks, and those it starts.
        let confined = std::thread::spawn(move || {
            let missing = directory.path().join("missing");
            let confined = only_read(&[&allowed, &missing]).unwrap();
            if confined == Confined::Not {
                return confined;
            }
            assert_eq!(std::fs::read_to_string(&allowed).unwrap(), "text");
            let denied = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            denied(std::fs::read(&other).unwrap_err());
            denied(write(&allowed).unwrap_err());
            denied(write(&missing).unwrap_err());
            denied(std::fs::remove_file(&other).unwrap_err());
            confined
        });
        // Where the kernel has no Landlock there is nothing to see; a machine's has (Debian's kernels do).
        confined.join().unwrap();
    }
}
