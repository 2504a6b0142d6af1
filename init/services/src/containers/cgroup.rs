//! Control groups: the one that all containers are in, and one in it for each container.

use super::prepare::failed;
use crate::ServiceError;
use rustix::fs::Mode;
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The group of all containers; `linux.cgroupsPath` of each is `/coracle/<name>`.
const ROOT: &str = "/sys/fs/cgroup/coracle";
/// Where the service itself goes if PID 1 has not put it anywhere.
const OWN: [&str; 2] = ["/sys/fs/cgroup/services", "/sys/fs/cgroup/services/containers"];
/// What `/proc/self/cgroup` says of a process that was never moved.
const UNMOVED: &str = "0::/\n";
/// Memory that all containers together must leave to the machine: an eighth within these bounds.
const RESERVE_BYTES: (u64, u64) = (32 << 20, 256 << 20);

/// Whether this boot has had containers before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// The group was not there: the first life of the service in this boot.
    First,
    /// It was: a previous life may have left containers.
    Later,
}

/// Makes the group of all containers and lets its children have every controller it has.
pub(super) fn prepare() -> Result<Life, ServiceError> {
    let root = Path::new(ROOT);
    let life = match rustix::fs::mkdir(root, Mode::from_raw_mode(0o755)) {
        Ok(()) => Life::First,
        Err(Errno::EXIST) => Life::Later,
        Err(error) => return Err(failed("make the control group", root, error.into())),
    };
    let available = root.join("cgroup.controllers");
    let controllers = fs::read_to_string(&available).map_err(|error| failed("read", &available, error))?;
    let request = controllers
        .split_whitespace()
        .map(|controller| format!("+{controller}"))
        .collect::<Vec<_>>()
        .join(" ");
    set(&root.join("cgroup.subtree_control"), &request)?;
    Ok(life)
}

/// What can wait until the first containers are on their way: bounds for all containers together, so that the machine
/// itself never runs out of memory or process ids because of them, and the service's own group.
pub(super) fn settle() -> Result<(), ServiceError> {
    let root = Path::new(ROOT);
    let info = rustix::system::sysinfo();
    let memory = memory_limit(unit_bytes(info.totalram, info.mem_unit));
    set_if_supported(&root.join("memory.max"), memory)?;
    let tasks = ["threads-max", "pid_max"]
        .into_iter()
        .filter_map(|name| {
            fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).ok()?.trim().parse::<u64>().ok()
        })
        .min();
    if let Some(tasks) = tasks {
        set_if_supported(&root.join("pids.max"), tasks / 4 * 3)?;
    }
    join_own()
}

/// Moves the service out of the root group, unless PID 1 has done so.
fn join_own() -> Result<(), ServiceError> {
    let current = Path::new("/proc/self/cgroup");
    if fs::read_to_string(current).map_err(|error| failed("read", current, error))? != UNMOVED {
        return Ok(());
    }
    for group in OWN.map(Path::new) {
        match rustix::fs::mkdir(group, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("make the control group", group, error.into())),
        }
    }
    set(&Path::new(OWN[1]).join("cgroup.procs"), "0")
}

/// Whether the container's group exists.
pub(super) fn exists(name: &str) -> bool {
    group(name).exists()
}

/// Kills every process in the container's group; a group that does not exist has none.
pub(super) fn kill(name: &str) -> Result<(), ServiceError> {
    set_if_supported(&group(name).join("cgroup.kill"), 1)
}

/// How many processes of the container the kernel killed for want of memory since its group was made.
pub(super) fn oom_kills(name: &str) -> u64 {
    fs::read_to_string(group(name).join("memory.events")).map_or(0, |events| parse_oom_kills(&events))
}

/// Removes the container's group if it is empty; crun usually has.
pub(super) fn remove(name: &str) {
    match fs::remove_dir(group(name)) {
        // A group that is still populated is killed and removed before the next start.
        Ok(()) | Err(_) => {}
    }
}

fn group(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

fn parse_oom_kills(events: &str) -> u64 {
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

fn memory_limit(total: u64) -> u64 {
    let reserve = (total / 8).clamp(RESERVE_BYTES.0, RESERVE_BYTES.1);
    total.saturating_sub(reserve).max(total / 2)
}

fn unit_bytes(amount: impl TryInto<u64>, unit: u32) -> u64 {
    amount.try_into().unwrap_or(u64::MAX).saturating_mul(u64::from(unit.max(1)))
}

/// As [`set`], but a kernel without that controller is no error.
fn set_if_supported(path: &Path, value: u64) -> Result<(), ServiceError> {
    match set(path, &value.to_string()) {
        Err(ServiceError::Path { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn set(path: &Path, value: &str) -> Result<(), ServiceError> {
    File::options()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|error| failed("set", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_for_want_of_memory_are_read_from_the_events() {
        let events = "low 0\nhigh 0\nmax 71\noom 2\noom_kill 3\noom_group_kill 0\n";
        assert_eq!(parse_oom_kills(events), 3);
        assert_eq!(parse_oom_kills("oom_kill many\n"), 0);
        assert_eq!(parse_oom_kills(""), 0);
    }

    #[test]
    fn containers_leave_memory_to_the_machine() {
        const MIB: u64 = 1 << 20;
        assert_eq!(memory_limit(40 * MIB), 20 * MIB);
        assert_eq!(memory_limit(256 * MIB), 224 * MIB);
        assert_eq!(memory_limit(1024 * MIB), 896 * MIB);
        assert_eq!(memory_limit(65_536 * MIB), 65_280 * MIB);
    }
}
