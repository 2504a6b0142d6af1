//! What the kernel log of a run that ended badly tells: how far it came, and why it ended. Pure.

use crate::cmdline::SALT_BYTES_MAX;
use crate::hex;
use coracle_format::device::VERITY_ARG;
pub use coracle_format::kmsg::line_of_record;

/// Longer names of phases are not ours.
const STAGE_BYTES_MAX: usize = 64;

/// The story of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// The root hash on its command line: which release it was.
    pub root_hash: Option<[u8; 32]>,
    /// The last phase that was reported.
    pub stage: Option<String>,
    /// Why the kernel panicked.
    pub panic: Option<String>,
}

impl Story {
    /// Reads it from lines of the kernel log.
    pub fn read(log: &str) -> Self {
        let mut story = Self::default();
        for line in log.lines() {
            if story.root_hash.is_none() {
                story.root_hash = root_hash(line);
            }
            if let Some(stage) = stage(line) {
                story.stage = Some(stage.to_owned());
            }
            if story.panic.is_none()
                && let Some((_, why)) = line.split_once("Kernel panic - not syncing: ")
            {
                story.panic = Some(why.trim().to_owned());
            }
        }
        story
    }

    /// The stage as people read it.
    pub fn stage_or_kernel(&self) -> &str {
        self.stage.as_deref().unwrap_or("kernel")
    }
}

/// The phase of a line of PID 1 or one of its jobs. What containers print does not reach the kernel log.
fn stage(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("coracle: phase=")?;
    let name = rest.split(' ').next()?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (!name.is_empty() && name.len() <= STAGE_BYTES_MAX && name.bytes().all(plain)).then_some(name)
}

fn root_hash(line: &str) -> Option<[u8; 32]> {
    let (_, value) = line.split_once(VERITY_ARG)?;
    let mut parts = value.strip_prefix('=')?.split(':');
    let hash = hex::decode(parts.next()?)?.try_into().ok()?;
    (parts.next()?.len() <= 2 * SALT_BYTES_MAX).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_panic_tells_its_release_its_stage_and_its_reason() {
        let log = format!(
            "Panic#1 Part1\n<6>[    0.000000] Command line: coracle.verity={}:00ff:2048 quiet\n\
             <5>[    1.2] coracle: phase=mounts ok ms=1 at=2\n\
             <5>[    1.3] coracle: phase=root-verity failed ms=1 at=2 why=\"x\"\n\
             <0>[    1.4] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\n",
            "ab".repeat(32)
        );
        let story = Story::read(&log);
        assert_eq!(story.root_hash, Some([0xab; 32]));
        assert_eq!(story.stage_or_kernel(), "root-verity");
        assert_eq!(story.panic.as_deref(), Some("Attempted to kill init! exitcode=0x0000000b"));
    }

    #[test]
    fn a_log_without_our_lines_ended_in_the_kernel() {
        assert_eq!(Story::read("[    0.1] Linux version 6.12\n").stage_or_kernel(), "kernel");
    }

    #[test]
    fn a_kernel_record_becomes_one_line() {
        let record = "6,339,5140900,-;NET: Registered protocol\n SUBSYSTEM=net\n";
        assert_eq!(line_of_record(record).as_deref(), Some("[    5.140900] NET: Registered protocol\n"));
        assert_eq!(line_of_record("junk"), None);
    }

    proptest! {
        #[test]
        fn no_log_makes_it_panic(log in ".*") {
            Story::read(&log);
            line_of_record(&log);
        }
    }
}
