//! The system calls a container may make.
//!
//! The default profile is data: `syscalls.txt` names every system call and its rule. It is compiled here, and crun takes
//! the finished program from the annotation [`BPF_ANNOTATION`]: compiling it with libseccomp at every start would be
//! work on the way to the container's first instruction, two fifths of what starting it takes otherwise. Beside the
//! annotation, `linux.seccomp` holds [`closed`]: a runtime that does not know the annotation starts nothing, rather
//! than something without a filter.
//!
//! Programs of another architecture (32-bit ones) are killed: a second set of system calls is a second attack surface.

mod bpf;

use crate::error::{Error, Kind, Result};
use coracle_format::slot::Arch;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The annotation by which crun takes a finished program (base64), in place of the `linux.seccomp` section.
pub const BPF_ANNOTATION: &str = "run.oci.seccomp_bpf_data";

const TABLE: &str = include_str!("seccomp/syscalls.txt");
const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const EAFNOSUPPORT: u16 = 97;
/// `clone` flags that make namespaces: mount, cgroup, uts, ipc, user, pid, net.
const CLONE_NAMESPACES: u32 = 0x7e02_0000;
/// Linux, Linux as 32-bit, both with the old version number, and asking without changing.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Unix, IPv4, IPv6, netlink, packet (which needs a capability of its own).
const SOCKET_FAMILIES: [u32; 5] = [1, 2, 10, 16, 17];

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is made.
    Allow,
    /// It fails with this error number.
    Fail(u16),
    /// It is made if its first argument has none of these bits, else it fails with `EPERM`.
    WithoutBits(u32),
    /// It is made if its first argument is one of these, else it fails with the error number.
    OneOf(&'static [u32], u16),
}

/// One line of the table.
#[derive(Debug)]
struct Row {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the program knows numbers, people and tests know names")
    )]
    name: &'static str,
    x86_64: Option<u32>,
    aarch64: Option<u32>,
    rule: &'static str,
}

impl Row {
    fn number(&self, arch: Arch) -> Option<u32> {
        match arch {
            Arch::X86_64 => self.x86_64,
            Arch::Aarch64 => self.aarch64,
        }
    }

    fn verdict(&self, capabilities: &[String]) -> Option<Verdict> {
        let has = |name: &str| capabilities.iter().any(|cap| cap.strip_prefix("CAP_") == Some(name));
        Some(match self.rule {
            "allow" => Verdict::Allow,
            "deny" => Verdict::Fail(EPERM),
            "absent" => Verdict::Fail(ENOSYS),
            "clone" if has("SYS_ADMIN") => Verdict::Allow,
            "clone" => Verdict::WithoutBits(CLONE_NAMESPACES),
            "personality" => Verdict::OneOf(&PERSONALITIES, EPERM),
            "socket" => Verdict::OneOf(&SOCKET_FAMILIES, EAFNOSUPPORT),
            rule if rule.strip_prefix("cap:")?.split('|').any(has) => Verdict::Allow,
            _ => Verdict::Fail(EPERM),
        })
    }
}

fn rows() -> impl Iterator<Item = Option<Row>> {
    TABLE.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?;
        let mut number = || match words.next()? {
            "-" => Some(None),
            number => number.parse().ok().map(Some),
        };
        let (x86_64, aarch64) = (number()?, number()?);
        Some(Row { name, x86_64, aarch64, rule: words.next()? })
    })
}

/// The `linux.seccomp` section that denies everything, for whoever does not know the annotation.
pub fn closed() -> Value {
    json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": EPERM})
}

/// The default profile for one architecture and one set of capabilities.
#[derive(Debug)]
pub struct Profile {
    arch: Arch,
    /// By number.
    verdicts: BTreeMap<u32, Verdict>,
}

impl Profile {
    /// The profile of a container with `capabilities` (`CAP_…`).
    pub fn new(arch: Arch, capabilities: &[String]) -> Result<Self> {
        let broken = || Error::new(Kind::Internal, "the table of system calls is malformed");
        let mut verdicts = BTreeMap::new();
        for row in rows() {
            let row = row.ok_or_else(broken)?;
            let verdict = row.verdict(capabilities).ok_or_else(broken)?;
            if let Some(number) = row.number(arch) {
                verdicts.insert(number, verdict);
            }
        }
        Ok(Self { arch, verdicts })
    }

    /// The value of [`BPF_ANNOTATION`].
    pub fn annotation(&self) -> Result<String> {
        Ok(bpf::base64(&bpf::compile(self)?))
    }

    /// What happens to system call `number`. Numbers this profile does not know are for kernels newer than it.
    fn verdict(&self, number: u32) -> Verdict {
        self.verdicts.get(&number).copied().unwrap_or(Verdict::Fail(ENOSYS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

    fn verdict(arch: Arch, capabilities: &[&str], name: &str) -> Verdict {
        let capabilities: Vec<_> = capabilities.iter().map(|cap| format!("CAP_{cap}")).collect();
        let profile = Profile::new(arch, &capabilities).unwrap();
        let row = rows().map(Option::unwrap).find(|row| row.name == name).unwrap();
        profile.verdict(row.number(arch).unwrap())
    }

    #[test]
    fn every_row_is_whole_sorted_and_has_a_number_of_its_own() {
        let rows: Vec<_> = rows().map(Option::unwrap).collect();
        assert!(rows.is_sorted_by(|a, b| a.name < b.name));
        for arch in BOTH {
            let numbers: Vec<_> = rows.iter().filter_map(|row| row.number(arch)).collect();
            let unique: std::collections::BTreeSet<_> = numbers.iter().collect();
            assert_eq!(unique.len(), numbers.len());
            assert!(numbers.len() > 300 && unique.iter().all(|number| **number < 1024));
        }
    }

    #[test]
    fn what_reaches_beyond_the_container_is_denied() {
        for arch in BOTH {
            for name in [
                "mount",
                "umount2",
                "pivot_root",
                "kexec_load",
                "bpf",
                "keyctl",
                "add_key",
                "request_key",
                "ptrace",
                "process_vm_writev",
                "userfaultfd",
                "io_uring_setup",
                "perf_event_open",
                "setns",
                "unshare",
                "init_module",
                "finit_module",
                "reboot",
                "open_by_handle_at",
                "syslog",
                "swapon",
                "clock_settime",
                "fsopen",
                "move_mount",
                "open_tree",
            ] {
                assert_eq!(verdict(arch, &[], name), Verdict::Fail(EPERM), "{name}");
            }
            assert_eq!(verdict(arch, &["SYS_ADMIN"], "kexec_load"), Verdict::Fail(EPERM));
        }
    }

    #[test]
    fn what_ordinary_programs_need_is_allowed() {
        for arch in BOTH {
            for name in [
                "execve",
                "futex",
                "rseq",
                "membarrier",
                "epoll_pwait",
                "accept4",
                "memfd_create",
                "getrandom",
                "set_robust_list",
                "sched_getaffinity",
                "io_submit",
                "prlimit64",
                "statx",
                "pidfd_open",
                "faccessat2",
                "close_range",
                "landlock_create_ruleset",
                "seccomp",
                "capset",
                "setgroups",
            ] {
                assert_eq!(verdict(arch, &[], name), Verdict::Allow, "{name}");
            }
            assert_eq!(verdict(arch, &[], "clone3"), Verdict::Fail(ENOSYS));
        }
    }

    #[test]
    fn a_capability_brings_its_system_calls() {
        assert_eq!(verdict(Arch::X86_64, &["SYS_CHROOT"], "chroot"), Verdict::Allow);
        assert_eq!(verdict(Arch::X86_64, &["SYS_ADMIN"], "clone"), Verdict::Allow);
        assert_eq!(verdict(Arch::Aarch64, &["BPF"], "bpf"), Verdict::Allow);
        assert_eq!(verdict(Arch::Aarch64, &["SYS_TIME"], "bpf"), Verdict::Fail(EPERM));
    }
}
