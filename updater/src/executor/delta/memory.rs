//! How much memory the machine has to spare.

use coracle_block::read_limited;
use std::path::Path;

/// Bytes of the kernel's account that are read at most.
const BYTES_MAX: usize = 64 << 10;

/// Mebibytes that can be used without pushing anything out, as the kernel estimates them; `None` if it does not say.
pub(super) fn available_mib(account: &Path) -> Option<u64> {
    let bytes = read_limited(account, BYTES_MAX).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_account_is_read_and_nonsense_is_nothing() {
        assert!(available_mib(Path::new("/proc/meminfo")).is_some_and(|mib| mib > 0));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("meminfo");
        for (text, expected) in [
            ("MemTotal: 9 kB\nMemAvailable:    2048000 kB\n", Some(2000)),
            ("MemTotal: 9 kB\n", None),
            ("MemAvailable: many kB\n", None),
            ("MemAvailable: 5\n", None),
        ] {
            coracle_block::replace_file(&path, text.as_bytes(), 0o600).unwrap();
            assert_eq!(available_mib(&path), expected, "{text}");
        }
        assert_eq!(available_mib(&directory.path().join("missing")), None);
    }
}
