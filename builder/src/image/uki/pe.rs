//! As much of the PE format (PE32+) as adding and finding sections needs.

use coracle_format::slot::Arch;
use std::ops::Range;

/// Bytes of a section header.
pub(super) const SECTION_HEADER_BYTES: usize = 40;
/// The most sections that are read.
const SECTIONS_MAX: usize = 96;
/// Bytes of the COFF header with its signature.
const COFF_BYTES: usize = 24;
/// Bytes of the optional header up to the data directories.
const OPTIONAL_BYTES_MIN: usize = 112;
const PE32_PLUS: u16 = 0x20b;
const AMD64: u16 = 0x8664;
const ARM64: u16 = 0xaa64;
/// Index of the certificate table among the data directories.
const CERTIFICATES: usize = 4;
/// Alignments are powers of two up to this.
const ALIGNMENT_MAX: u32 = 1 << 21;

const SHORT: &str = "it is truncated";

/// Where the COFF header of a PE file is, and the architecture it names.
pub(super) fn machine(bytes: &[u8]) -> Result<(usize, Arch), &'static str> {
    if bytes.get(..2) != Some(b"MZ") {
        return Err("it is no PE file");
    }
    let coff = usize_of(u32_at(bytes, 0x3c).ok_or(SHORT)?);
    if bytes.get(coff..coff.saturating_add(COFF_BYTES)).ok_or(SHORT)?[..4] != *b"PE\0\0" {
        return Err("it is no PE file");
    }
    match u16_at(bytes, coff + 4) {
        Some(AMD64) => Ok((coff, Arch::X86_64)),
        Some(ARM64) => Ok((coff, Arch::Aarch64)),
        Some(_) | None => Err("it is for an unknown architecture"),
    }
}

/// What the headers say. Every offset in it lies inside the bytes that were parsed.
#[derive(Clone, Debug)]
pub(super) struct Headers {
    pub(super) machine: Arch,
    pub(super) section_alignment: u32,
    pub(super) file_alignment: u32,
    /// Where the section headers are in the file.
    pub(super) table: Range<usize>,
    /// The first byte of any section in the file.
    pub(super) first_raw: usize,
    /// The first address after all sections.
    pub(super) image_end: u32,
    /// `SizeOfInitializedData`.
    pub(super) initialized_data: u32,
    /// Whether there is a signature.
    pub(super) is_signed: bool,
    /// Where the COFF header is in the file.
    coff: usize,
}

impl Headers {
    /// Reads and checks the headers.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let (coff, machine) = machine(bytes)?;
        let optional = coff + COFF_BYTES;
        let count = usize::from(u16_at(bytes, coff + 6).ok_or(SHORT)?);
        let optional_bytes = usize::from(u16_at(bytes, coff + 20).ok_or(SHORT)?);
        if count == 0 || count > SECTIONS_MAX {
            return Err("it has no sections, or more than 96");
        }
        if u16_at(bytes, optional) != Some(PE32_PLUS) || optional_bytes < OPTIONAL_BYTES_MIN {
            return Err("it is no 64-bit PE file");
        }
        let table = optional + optional_bytes;
        let table = table..table + count * SECTION_HEADER_BYTES;
        let field = |at| u32_at(bytes, optional + at).ok_or(SHORT);
        let mut headers = Self {
            machine,
            section_alignment: field(32)?,
            file_alignment: field(36)?,
            first_raw: bytes.len(),
            image_end: 0,
            initialized_data: field(8)?,
            is_signed: is_signed(bytes, optional, optional_bytes),
            coff,
            table,
        };
        headers.measure(bytes)?;
        Ok(headers)
    }

    /// Takes the bounds from the section headers.
    fn measure(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let aligned = |value: u32| value.is_power_of_two() && value <= ALIGNMENT_MAX;
        if !aligned(self.section_alignment) || !aligned(self.file_alignment) {
            return Err("it has an unknown alignment");
        }
        let table = bytes.get(self.table.clone()).ok_or("its section headers are truncated")?;
        for header in table.chunks_exact(SECTION_HEADER_BYTES) {
            let [size, address, raw_size, raw_at] = [8, 12, 16, 20].map(|at| word(header, at));
            let end = address.checked_add(size.max(raw_size));
            self.image_end = self.image_end.max(end.ok_or("a section lies outside of it")?);
            if raw_size > 0 {
                self.first_raw = self.first_raw.min(usize_of(raw_at));
            }
        }
        if self.first_raw < self.table.end {
            return Err("a section lies over its headers");
        }
        Ok(())
    }

    /// Names of the sections and where their bytes are in the file: as many as are meant, without the padding.
    pub(super) fn sections(&self, bytes: &[u8]) -> Result<Vec<(String, Range<usize>)>, &'static str> {
        const OUTSIDE: &str = "a section lies outside of it";
        let table = bytes.get(self.table.clone()).ok_or(OUTSIDE)?;
        table
            .chunks_exact(SECTION_HEADER_BYTES)
            .map(|header| {
                let [size, raw_size, raw_at] = [8, 16, 20].map(|at| word(header, at));
                let end = header[..8].iter().position(|byte| *byte == 0).unwrap_or(8);
                let name = String::from_utf8_lossy(&header[..end]).into_owned();
                let start = usize_of(raw_at);
                let length = usize_of(size.min(raw_size));
                let range = start..start.checked_add(length).ok_or(OUTSIDE)?;
                if length > 0 && bytes.get(range.clone()).is_none() {
                    return Err(OUTSIDE);
                }
                Ok((name, range))
            })
            .collect()
    }

    /// Writes back what changed after `added` sections were appended to the table, checksum last.
    pub(super) fn finish(&self, out: &mut [u8], added: u16) -> Result<(), &'static str> {
        let optional = self.coff + COFF_BYTES;
        let image = self.image_end.checked_next_multiple_of(self.section_alignment);
        let image = image.ok_or("it grows to 4 GiB or more")?;
        let count = u16_at(out, self.coff + 6).unwrap_or(0) + added;
        out[self.coff + 6..self.coff + 8].copy_from_slice(&count.to_le_bytes());
        put(out, optional + 8, self.initialized_data);
        put(out, optional + 56, image);
        put(out, optional + 64, 0);
        let sum = checksum(out);
        put(out, optional + 64, sum);
        Ok(())
    }
}

/// The checksum of the PE format: the file as 16-bit words, summed with end-around carry, plus its length. The file's
/// length is even, its own field zero.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum: u64 = bytes
        .chunks(4)
        .map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from(u32::from_le_bytes(word))
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    u32::try_from(sum).unwrap_or(0).wrapping_add(length)
}

fn is_signed(bytes: &[u8], optional: usize, optional_bytes: usize) -> bool {
    let directories = u32_at(bytes, optional + 108).map(usize_of);
    let at = OPTIONAL_BYTES_MIN + CERTIFICATES * 8 + 4;
    directories.is_some_and(|count| count > CERTIFICATES)
        && at + 4 <= optional_bytes
        && u32_at(bytes, optional + at) != Some(0)
}

fn put(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// An offset in memory. What does not fit is beyond the end of every slice.
fn usize_of(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A field of a section header.
fn word(header: &[u8], at: usize) -> u32 {
    u32_at(header, at).unwrap_or(0)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}
