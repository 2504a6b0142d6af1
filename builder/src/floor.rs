//! The bare-kernel floor: the same kernel with an initramfs of one static program that prints the boot clock. It is what
//! `coracle bench` compares with, and the smallest thing that proves that an accelerator works.

use crate::{
    error::Result,
    image::cpio,
    tree::{Content, Meta, Node, NodeKind, Tree, TreePath},
};
use std::time::Duration;

/// What the probe prints before its clock: `coracle-probe: boottime_us=1234567 label=floor`.
const MARK: &str = "coracle-probe: boottime_us=";

/// The floor's initramfs.
pub fn initrd(probe: &Content) -> Result<Vec<u8>> {
    let mut tree = Tree::new();
    for dir in ["dev", "proc", "sys"] {
        tree.dir(dir, 0o755)?;
    }
    tree.file("init", 0o755, probe.clone())?;
    let console = NodeKind::CharDevice { major: 5, minor: 1 };
    tree.insert(TreePath::new("dev/console")?, Node { meta: Meta::root(0o600), kind: console })?;
    let mut archive = Vec::new();
    cpio::write(&tree, 0, &mut archive)?;
    Ok(archive)
}

/// The boot clock in a console line of the probe.
pub fn clock(line: &str) -> Option<Duration> {
    let (_, rest) = line.split_once(MARK)?;
    let digits = rest.split_whitespace().next()?;
    digits.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_read_behind_any_prefix() {
        let line = "[ 1.2] web: coracle-probe: boottime_us=1234567 label=floor";
        assert_eq!(clock(line), Some(Duration::from_micros(1_234_567)));
        assert_eq!(clock("coracle-probe: boottime_us=x"), None);
    }
}
