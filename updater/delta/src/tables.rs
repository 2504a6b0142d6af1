//! Tables of numbers in an old file that only its maker knows of, and how they are found.

use crate::limits::TABLES_MAX;

/// A table of the old file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// Where it begins.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) kind: Kind,
    /// Where in the old file begins what its numbers count from.
    pub(crate) from: u64,
}

/// What the numbers of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 32 bits: addresses, sign-extended, mostly ascending.
    Addresses,
    /// 32 bits: bytes from a place on, mostly ascending.
    Distances,
    /// The same with every bit inverted.
    Inverted,
    /// 24 bits, the highest first: numbers of entries of a table, of four bytes each.
    Entries,
}

impl Kind {
    /// As a number of the format.
    pub(crate) const fn code(self) -> u64 {
        match self {
            Self::Addresses => 0,
            Self::Distances => 1,
            Self::Inverted => 2,
            Self::Entries => 3,
        }
    }

    /// From a number of the format.
    pub(crate) const fn from_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Self::Addresses),
            1 => Some(Self::Distances),
            2 => Some(Self::Inverted),
            3 => Some(Self::Entries),
            _ => None,
        }
    }

    /// Bytes of a number.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Addresses | Self::Distances | Self::Inverted => 4,
            Self::Entries => 3,
        }
    }
}

/// The tables of a linked kernel: of its symbols (kallsyms, in the order of Linux 6.2 and later), and of the addresses in
/// it that change when it is moved, behind its sections (arch/x86/tools/relocs.c).
#[cfg(any(test, feature = "make"))]
pub(crate) fn find(file: &[u8], space: &crate::Space) -> Vec<Table> {
    let first = space.segments().first().copied().filter(|_| file.starts_with(b"\x7fELF\x02\x01"));
    let Some(base) = first else { return Vec::new() };
    let mut tables = symbols(file, (base.offset, base.address)).unwrap_or_default();
    tables.extend(behind_sections(file, space).unwrap_or_default());
    tables.truncate(TABLES_MAX);
    tables
}

#[cfg(any(test, feature = "make"))]
fn number(file: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let bytes = file.get(at..at.checked_add(bytes)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(any(test, feature = "make"))]
fn wide(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(u64::MAX)
}

/// Words that are addresses, behind the headers of the sections; zeros part them.
#[cfg(any(test, feature = "make"))]
fn behind_sections(file: &[u8], space: &crate::Space) -> Option<Vec<Table>> {
    let length = wide(file.len());
    let headers = number(file, 40, 8)?.checked_add(64 * number(file, 60, 2)?)?;
    let mut at = usize::try_from(headers).ok()?;
    let is_address = |at| {
        let word = number(file, at, 4).and_then(|word| u32::try_from(word).ok())?;
        space.offset(i64::from(word.cast_signed()).cast_unsigned(), length)
    };
    let mut tables = Vec::new();
    while at + 4 <= file.len() && tables.len() < TABLES_MAX {
        let begin = at;
        while is_address(at).is_some() {
            at += 4;
        }
        if at > begin {
            let (offset, bytes) = (wide(begin), wide(at - begin));
            tables.push(Table { offset, bytes, kind: Kind::Addresses, from: 0 });
        }
        at += 4;
    }
    Some(tables)
}

/// Where symbols are, and which of them each name belongs to: behind the index of the 256 pieces of names, which ascends
/// from 0.
#[cfg(any(test, feature = "make"))]
fn symbols(file: &[u8], (offset, address): (u64, u64)) -> Option<Vec<Table>> {
    const PIECES: usize = 256;
    const LONGEST: u64 = 64;
    /// Fewer symbols are not worth a search for them.
    const SYMBOLS_MIN: usize = 1024;
    let follows = |at: usize| -> Option<bool> {
        let step = number(file, at + 2, 2)?.checked_sub(number(file, at, 2)?)?;
        Some((2..LONGEST).contains(&step))
    };
    let is_index = |at: &usize| {
        number(file, *at, 2) == Some(0) && (0..PIECES - 1).all(|piece| follows(at + 2 * piece) == Some(true))
    };
    let index = (0..file.len()).step_by(8).find(is_index)?;
    let places = index + 2 * PIECES;
    // Places ascend until the address that they count from, which stands alone.
    let base = (places + 4 * SYMBOLS_MIN..file.len())
        .step_by(8)
        .find(|at| number(file, *at, 8).is_none_or(|long| long == address))
        .filter(|base| number(file, *base, 8) == Some(address))?;
    let count = (base - places) / 4;
    // Where numbers of processors' own data are absolute, all others are below 0: -1 - distance.
    let is_inverted = |at: &usize| number(file, *at, 4) > Some(u64::from(u32::MAX >> 1));
    let inverted = (places..base).step_by(4).filter(is_inverted).count();
    let kind = if inverted > count / 2 { Kind::Inverted } else { Kind::Distances };
    let distances = Table { offset: wide(places), bytes: wide(base - places), kind, from: offset };
    let entries =
        Table { offset: wide(base + 8), bytes: wide(3 * count), kind: Kind::Entries, from: distances.offset };
    Some(vec![distances, entries])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Segment, Space};

    /// An ELF file without sections that is at this address, and the index of pieces of names.
    fn kernel(address: u64, places: impl Fn(u32) -> u32) -> (Vec<u8>, Space) {
        let mut file = vec![0; 4096];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file.extend((0..256_u16).flat_map(|piece| (piece * 4).to_le_bytes()));
        file.extend((0..2000).flat_map(|symbol| places(symbol * 16).to_le_bytes()));
        file.extend(address.to_le_bytes());
        file.extend([0; 6000]);
        let headers = wide(file.len());
        file[40..48].copy_from_slice(&headers.to_le_bytes());
        file.extend(
            [0, 0x8100_0010_u32, 0x8100_0020, 0, 0x8100_0030].iter().flat_map(|word| word.to_le_bytes()),
        );
        let space = Space::new(vec![Segment { offset: 0, address, bytes: headers }]).unwrap();
        (file, space)
    }

    #[test]
    fn tables_of_a_kernel_are_found() {
        for (kind, flip) in [(Kind::Distances, 0), (Kind::Inverted, u32::MAX)] {
            let (file, space) = kernel(0xffff_ffff_8100_0000, |place| place ^ flip);
            let headers = 4608 + 8000 + 8 + 6000;
            let table = |offset, bytes, kind, from| Table { offset, bytes, kind, from };
            assert_eq!(
                find(&file, &space),
                [
                    table(4608, 8000, kind, 0),
                    table(12616, 6000, Kind::Entries, 4608),
                    table(headers + 4, 8, Kind::Addresses, 0),
                    table(headers + 16, 4, Kind::Addresses, 0),
                ]
            );
        }
    }

    #[test]
    fn other_files_have_none() {
        assert_eq!(find(b"\x7fELF\x02\x01", &Space::default()), []);
        let (file, _) = kernel(0xffff_ffff_8100_0000, |place| place);
        assert_eq!(find(&file[1..], &Space::default()), []);
    }
}
