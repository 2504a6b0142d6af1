//! How much memory operations take, and how much the machine has to spare.

use super::old::{CHUNK, OldFile, PIECE_BYTES, WINDOW};
use super::pair;
use coracle_block::read_limited;
use coracle_delta::limits::{APPLY_BYTES, APPLY_SMALL_BYTES, SMALL_STREAM_BYTES_MAX};
use coracle_format::bundle::FRAME_BYTES_MAX;
use coracle_format::delta::{
    Extent, FILES_MAX, File, OPERATION_EXTENTS_MAX, OPERATIONS_MAX, Operation, STREAM_BYTES_MAX,
    TABLE_EXTENTS_MAX, TABLE_FILES_MAX,
};
use std::path::Path;

/// What is promised of an update by delta, whatever the delta is.
const UPDATE_BYTES_MAX: usize = 64 << 20;
/// What all the rest of this program takes, give or take little.
const PROGRAM_BYTES: usize = 3 << 20;
/// The operations of a delta, which are all in memory.
const TABLE_BYTES: usize = TABLE_EXTENTS_MAX * size_of::<Extent>()
    + TABLE_FILES_MAX * size_of::<File>()
    + OPERATIONS_MAX * size_of::<(Operation, u64)>();

#[expect(clippy::as_conversions, reason = "constants of 32 bits")]
const STREAM_BYTES: usize = STREAM_BYTES_MAX as usize;
#[expect(clippy::as_conversions, reason = "constants of 32 bits")]
const FRAME_BYTES: usize = FRAME_BYTES_MAX as usize;

/// One operation with these files and extents, and what reads and writes for it.
const fn operation(files: usize, extents: usize) -> usize {
    let read = files * (size_of::<File>() + 2 * size_of::<OldFile<'_>>());
    read + extents * (size_of::<Extent>() + PIECE_BYTES) + FRAME_BYTES + WINDOW + CHUNK
}

const ONE: usize = APPLY_BYTES + STREAM_BYTES + operation(FILES_MAX, OPERATION_EXTENTS_MAX);
const SMALL: usize =
    APPLY_SMALL_BYTES + SMALL_STREAM_BYTES_MAX + operation(pair::FILES_MAX, pair::EXTENTS_MAX);
const _: () = assert!(PROGRAM_BYTES + TABLE_BYTES + ONE <= UPDATE_BYTES_MAX);
const _: () = assert!(PROGRAM_BYTES + TABLE_BYTES + 2 * SMALL <= UPDATE_BYTES_MAX);

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
