//! Where the bytes of a file are when it runs.

use crate::limits::SEGMENTS_MAX;

/// What kind of program code a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isa {
    /// None that is known: no reference is looked for.
    #[default]
    None,
    /// x86-64.
    X86_64,
    /// AArch64.
    Aarch64,
}

impl Isa {
    /// As a number of the format.
    pub const fn code(self) -> u64 {
        match self {
            Self::None => 0,
            Self::X86_64 => 1,
            Self::Aarch64 => 2,
        }
    }

    /// From a number of the format.
    pub const fn from_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::X86_64),
            2 => Some(Self::Aarch64),
            _ => None,
        }
    }
}

/// Bytes of the file that stand together in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where they begin in the file.
    pub offset: u64,
    /// Where they begin in memory.
    pub address: u64,
    /// How many there are.
    pub bytes: u64,
}

/// Where the bytes of a file are in memory. A file without segments is taken to stand at address 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    segments: Vec<Segment>,
}

impl Space {
    /// With these segments; `None` if there are too many, or one reaches beyond all addresses.
    pub fn new(segments: Vec<Segment>) -> Option<Self> {
        let fits = |segment: &Segment| {
            segment.offset.checked_add(segment.bytes).is_some()
                && segment.address.checked_add(segment.bytes).is_some()
        };
        (segments.len() <= SEGMENTS_MAX && segments.iter().all(fits)).then_some(Self { segments })
    }

    /// The segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether addresses differ from offsets: only then are absolute addresses looked for.
    pub(crate) fn is_linked(&self) -> bool {
        !self.segments.is_empty()
    }

    /// Whether there is a template at address 0, such as per-processor data of a kernel: code refers to it, but small
    /// numbers are no addresses.
    pub(crate) fn has_template(&self) -> bool {
        self.segments.iter().any(|segment| segment.address == 0 && segment.offset > 0)
    }

    /// Where a byte of the file is in memory.
    pub(crate) fn address(&self, offset: u64) -> Option<u64> {
        if self.segments.is_empty() {
            return Some(offset);
        }
        let within = |segment: &&Segment| offset.wrapping_sub(segment.offset) < segment.bytes;
        self.segments.iter().find(within).map(|segment| offset - segment.offset + segment.address)
    }

    /// Where a byte in memory is in the file, which has `length` bytes.
    pub(crate) fn offset(&self, address: u64, length: u64) -> Option<u64> {
        if self.segments.is_empty() {
            return Some(address).filter(|offset| *offset < length);
        }
        let within = |segment: &&Segment| address.wrapping_sub(segment.address) < segment.bytes;
        self.segments.iter().find(within).map(|segment| address - segment.address + segment.offset)
    }
}

#[cfg(any(test, feature = "make"))]
mod elf {
    use super::{Isa, Segment, Space};

    const HEADER_BYTES: usize = 64;
    const EXECUTABLE: u16 = 2;
    const SHARED: u16 = 3;
    const LOAD: [u8; 4] = [1, 0, 0, 0];
    /// Where a raw AArch64 kernel is in memory (Linux 5.12 and later, 48-bit addresses).
    const ARM_KERNEL: u64 = 0xffff_8000_8000_0000;
    /// Behind its last byte there is what it clears.
    const ARM_KERNEL_BYTES: u64 = 1 << 27;

    impl Space {
        /// What the program headers of a 64-bit little-endian ELF file say (System V gABI, chapter 5), and its code; for a
        /// raw AArch64 kernel, where Linux puts it. Any other file, and a relocatable one, has no segments. A file that
        /// lies costs its maker bytes, no more.
        pub fn of_file(file: &[u8]) -> (Self, Isa) {
            let flat = (Self::default(), Isa::None);
            if file.get(56..60) == Some(b"ARM\x64".as_slice()) && long(file, 16) < ARM_KERNEL_BYTES {
                let all = Segment { offset: 0, address: ARM_KERNEL, bytes: ARM_KERNEL_BYTES };
                return (Self::new(vec![all]).unwrap_or_default(), Isa::Aarch64);
            }
            if file.len() < HEADER_BYTES || !file.starts_with(b"\x7fELF\x02\x01") {
                return flat;
            }
            let isa = match short(file, 18) {
                62 => Isa::X86_64,
                183 => Isa::Aarch64,
                _ => return flat,
            };
            if !matches!(short(file, 16), EXECUTABLE | SHARED) {
                return (Self::default(), isa);
            }
            let first = usize::try_from(long(file, 32)).unwrap_or(usize::MAX);
            let headers = (0..usize::from(short(file, 56))).filter_map(|number| {
                let header = file.get(first.checked_add(number * 56)?..)?.get(..56)?;
                let segment =
                    Segment { offset: long(header, 8), address: long(header, 16), bytes: long(header, 32) };
                header.starts_with(&LOAD).then_some(segment)
            });
            (Self::new(headers.collect()).unwrap_or_default(), isa)
        }
    }

    fn short(bytes: &[u8], at: usize) -> u16 {
        bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u16::from_le_bytes)
    }

    fn long(bytes: &[u8], at: usize) -> u64 {
        bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_offsets_are_each_others_inverse() {
        let segment = |offset, address| Segment { offset, address, bytes: 0x1000 };
        let space = Space::new(vec![segment(0x200, 0xffff_8000), segment(0x2000, 0x10_0000)]).unwrap();
        assert_eq!(space.address(0x210), Some(0xffff_8010));
        assert_eq!(space.offset(0x10_0fff, 0), Some(0x2fff));
        assert_eq!(space.address(0x1200), None);
        assert_eq!(space.offset(0x10_1000, u64::MAX), None);
        assert_eq!(Space::default().offset(5, 5), None);
    }

    #[test]
    fn segments_beyond_all_addresses_are_refused() {
        let beyond = Segment { offset: 0, address: u64::MAX, bytes: 2 };
        assert_eq!(Space::new(vec![beyond]), None);
        let one = Segment { offset: 0, address: 0, bytes: 1 };
        assert_eq!(Space::new(vec![one; SEGMENTS_MAX + 1]), None);
    }
}
