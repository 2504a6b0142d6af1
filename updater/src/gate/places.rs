//! Where the gate finds and leaves things.

use super::condition::{STATUS_BYTES, Status};
use super::exec::Runtime;
use coracle_block::read_limited;
use std::path::{Path, PathBuf};

/// Where the gate finds and leaves things. Tests have their own.
#[derive(Clone, Debug)]
pub struct Places {
    containers: PathBuf,
    update: PathBuf,
    boot: PathBuf,
    baseline: PathBuf,
    run: PathBuf,
    crun: PathBuf,
    proc: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Places {
    /// The places of a machine whose root is there.
    pub fn below(root: &Path) -> Self {
        Self {
            containers: root.join("run/coracle/status/containers"),
            update: root.join("run/coracle/status/update"),
            boot: root.join("run/coracle/boot"),
            baseline: root.join(crate::baseline::PATH.trim_start_matches('/')),
            run: root.join("run/coracle/gate"),
            crun: root.join("usr/bin/crun"),
            proc: PathBuf::from("/proc"),
        }
    }

    /// The status file of the containers service.
    pub fn containers(&self) -> &Path {
        &self.containers
    }

    /// The gate's own status file.
    pub fn update(&self) -> &Path {
        &self.update
    }

    /// What was healthy before.
    pub fn baseline(&self) -> &Path {
        &self.baseline
    }

    /// What PID 1 says of this boot.
    pub fn boot(&self) -> &Path {
        &self.boot
    }

    /// The gate's own directory.
    pub fn run(&self) -> &Path {
        &self.run
    }

    pub(super) fn runtime(&self) -> Runtime {
        Runtime { program: self.crun.clone(), directory: self.run.clone() }
    }

    /// The status of the containers service, if it is up: a file alone may be what a dead one has left.
    pub(super) fn look(&self) -> Result<Status, String> {
        let bytes = read_limited(&self.containers, STATUS_BYTES).map_err(|error| {
            if error.source.kind() == std::io::ErrorKind::NotFound {
                "has not said anything yet".to_owned()
            } else {
                format!("its status cannot be read: {}", error.source)
            }
        })?;
        let status = Status::parse(&String::from_utf8_lossy(&bytes));
        let is_up = status.pid.is_some_and(|pid| self.proc.join(pid.to_string()).exists());
        if is_up { Ok(status) } else { Err("its process is gone".to_owned()) }
    }

    /// The release that runs, in hexadecimal digits, as PID 1 read it from the record.
    pub(super) fn release(&self) -> Option<String> {
        let bytes = read_limited(&self.boot, STATUS_BYTES).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        text.lines().find_map(|line| line.strip_prefix("release=")).map(str::to_owned)
    }
}
