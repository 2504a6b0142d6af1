//! What stands at the start of the state partition, and what may be done to it. Pure.

use coracle_format::layout::Role;

/// Bytes from the start of a partition that must be read to recognise its contents.
pub(super) const HEAD_BYTES: usize = 68 << 10;
/// Label of the state file system.
pub(super) const LABEL: &str = "coracle-state";
/// Attribute bit of the state partition's entry: nothing was ever kept in it, so it may be formatted. Cleared for good
/// before the first mount.
pub(super) const NEVER_USED: u64 = 1 << 48;

const SUPERBLOCK: usize = 1024;
/// The superblock's state when it was unmounted in order and no error was seen.
const CLEAN: [u8; 2] = [1, 0];
/// Feature bit: the journal holds what was not yet written elsewhere.
const NEEDS_RECOVERY: u32 = 4;

/// What is to be done before the state file system can be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is in use already: check and mount it.
    Keep,
    /// Nothing was ever kept here: make a file system.
    Format,
    /// The table says it is new, but an earlier installation's state is here: keep its data.
    Adopt,
    /// The table says it is new, but something else is here: leave it alone.
    Refuse(&'static str),
}

/// Decides about a partition whose entry has these attributes and which begins with these bytes. Data are never
/// formatted away: that needs both a partition that was never used and no file system on it but our own, never mounted.
pub(super) fn decide(attributes: u64, head: &[u8]) -> Decision {
    if attributes & NEVER_USED == 0 {
        return Decision::Keep;
    }
    match (Ext::parse(head), recognise(head)) {
        (Some(ext), _) if ext.label == LABEL.as_bytes() && !ext.was_mounted => Decision::Format,
        (Some(ext), _) if ext.label == LABEL.as_bytes() => Decision::Adopt,
        (Some(_), _) => Decision::Refuse("an ext file system"),
        (None, Some(kind)) => Decision::Refuse(kind),
        (None, None) => Decision::Format,
    }
}

/// The parts of an ext superblock that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ext {
    /// Label without padding.
    pub(super) label: Vec<u8>,
    /// Whether it was ever mounted.
    pub(super) was_mounted: bool,
    /// Whether it was unmounted in order, without an error on record: the checker would look no further.
    pub(super) is_clean: bool,
    /// Blocks of the file system.
    pub(super) blocks: u64,
    /// Bytes of a block.
    pub(super) block_bytes: u64,
}

impl Ext {
    /// Parses the superblock, if there is one.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let block: &[u8; 1024] = head.get(SUPERBLOCK..)?.first_chunk()?;
        let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        if block[56..58] != [0x53, 0xef] {
            return None;
        }
        let label = block[120..136].split(|byte| *byte == 0).next().unwrap_or_default();
        let mounts = u16::from_le_bytes([block[52], block[53]]);
        let wide = word(96) & 0x80 != 0;
        let high = if wide { word(0x150) } else { 0 };
        Some(Self {
            label: label.to_vec(),
            was_mounted: word(44) != 0 || mounts != 0,
            is_clean: block[58..60] == CLEAN && word(96) & NEEDS_RECOVERY == 0,
            blocks: u64::from(high) << 32 | u64::from(word(4)),
            block_bytes: 1024_u64.checked_shl(word(24)).filter(|bytes| (1024..=65536).contains(bytes))?,
        })
    }
}

/// Offset, bytes, kind.
const SIGNATURES: [(usize, &[u8], &str); 12] = [
    (0, b"XFSB", "an XFS file system"),
    (0, b"hsqs", "a squashfs file system"),
    (0, b"LUKS\xba\xbe", "an encrypted volume"),
    (3, b"NTFS    ", "an NTFS file system"),
    (82, b"FAT32   ", "a FAT file system"),
    (54, b"FAT1", "a FAT file system"),
    (3, b"EXFAT   ", "an exFAT file system"),
    (536, b"LVM2 001", "an LVM volume"),
    (1024, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    (4086, b"SWAPSPACE2", "a swap area"),
    (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (65600, b"_BHRfS_M", "a btrfs file system"),
];

fn recognise(head: &[u8]) -> Option<&'static str> {
    let has = |at: usize, bytes: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(bytes));
    SIGNATURES.iter().find(|(at, bytes, _)| has(*at, bytes)).map(|(_, _, kind)| *kind)
}

/// The word for the partition in messages.
pub(super) const PARTITION: &str = Role::State.label();

#[cfg(test)]
mod tests {
    use super::*;

    fn ext(label: &[u8], mounts: u8) -> Vec<u8> {
        let mut head = vec![0; HEAD_BYTES];
        head[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xef]);
        head[1024 + 4..1024 + 8].copy_from_slice(&16384_u32.to_le_bytes());
        head[1024 + 24] = 2;
        head[1024 + 58] = 1;
        head[1024 + 52] = mounts;
        head[1024 + 120..1024 + 120 + label.len()].copy_from_slice(label);
        head
    }

    #[test]
    fn a_partition_that_was_used_is_never_formatted() {
        for head in [vec![0; HEAD_BYTES], ext(LABEL.as_bytes(), 0), ext(b"other", 1), Vec::new()] {
            assert_eq!(decide(0, &head), Decision::Keep);
        }
    }

    #[test]
    fn an_unused_and_empty_partition_is_formatted_and_so_is_an_interrupted_attempt() {
        assert_eq!(decide(NEVER_USED, &vec![0; HEAD_BYTES]), Decision::Format);
        assert_eq!(decide(NEVER_USED, &ext(LABEL.as_bytes(), 0)), Decision::Format);
    }

    #[test]
    fn the_state_of_an_earlier_installation_is_kept() {
        assert_eq!(decide(NEVER_USED, &ext(LABEL.as_bytes(), 3)), Decision::Adopt);
    }

    #[test]
    fn foreign_data_are_left_alone() {
        assert_eq!(decide(NEVER_USED, &ext(b"home", 0)), Decision::Refuse("an ext file system"));
        for (at, bytes, kind) in SIGNATURES {
            let mut head = vec![0; HEAD_BYTES];
            head[at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(decide(NEVER_USED, &head), Decision::Refuse(kind));
        }
    }

    #[test]
    fn only_an_orderly_unmounted_file_system_is_clean() {
        let clean = |change: fn(&mut Vec<u8>)| {
            let mut head = ext(b"x", 1);
            change(&mut head);
            Ext::parse(&head).unwrap().is_clean
        };
        assert!(clean(|_| ()));
        assert!(!clean(|head| head[1024 + 58] = 0), "mounted when the power went");
        assert!(!clean(|head| head[1024 + 58] = 3), "an error is on record");
        assert!(!clean(|head| head[1024 + 96] |= 4), "the journal is not empty");
    }

    #[test]
    fn a_superblock_tells_its_size() {
        let ext = Ext::parse(&ext(b"x", 0)).unwrap();
        assert_eq!((ext.blocks, ext.block_bytes), (16384, 4096));
        assert_eq!(Ext::parse(&[0; 1500]), None);
    }
}
