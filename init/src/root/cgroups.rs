//! Control groups: every controller that containers may be limited by is passed on to them.

use crate::fault::{Attempt, Fault};
use std::fs::{self, OpenOptions};
use std::io::Write;

const WANTED: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];
const AVAILABLE: &str = "/sys/fs/cgroup/cgroup.controllers";
const ENABLED: &str = "/sys/fs/cgroup/cgroup.subtree_control";

pub(super) fn run() -> Result<(), Fault> {
    let available = fs::read_to_string(AVAILABLE).attempt("read", AVAILABLE)?;
    let request = request(&available);
    let mut file = OpenOptions::new().write(true).open(ENABLED).attempt("open", ENABLED)?;
    file.write_all(request.as_bytes()).attempt("enable controllers in", ENABLED)
}

/// Enables those of the wanted controllers that the kernel has.
fn request(available: &str) -> String {
    let has = |wanted: &&str| available.split_ascii_whitespace().any(|one| one == *wanted);
    let parts: Vec<String> =
        WANTED.iter().filter(|wanted| has(wanted)).map(|one| format!("+{one}")).collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_has_is_asked_for() {
        assert_eq!(request("cpuset cpu io memory pids rdma misc\n"), "+cpu +cpuset +io +memory +pids");
        assert_eq!(request("memory_recursive\n"), "");
    }
}
