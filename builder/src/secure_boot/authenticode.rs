//! What firmware hashes of a PE file, and where its signature is (Microsoft, "Windows Authenticode Portable Executable
//! Signature Format"; UEFI Specification 2.10, §32.2.4).

use sha2::{Digest as _, Sha256};
use std::ops::Range;

const PE32_PLUS: u16 = 0x20b;
/// Offsets in the optional header.
const HEADERS_BYTES: usize = 60;
const CHECKSUM: usize = 64;
const DIRECTORIES: usize = 108;
const CERTIFICATES: usize = 112 + 4 * 8;
const SECTIONS_MAX: usize = 96;
/// `WIN_CERTIFICATE`: revision 2.0, PKCS#7.
const CERTIFICATE_KIND: [u8; 4] = [0, 2, 2, 0];
const CERTIFICATE_HEADER_BYTES: usize = 8;

const SHORT: &str = "it is truncated";

/// A PE file, taken apart as far as signing goes.
#[derive(Clone, Debug)]
pub(super) struct Executable<'a> {
    bytes: &'a [u8],
    optional: usize,
    headers: usize,
    /// The sections in the order of their place in the file.
    sections: Vec<Range<usize>>,
    /// Where the signatures begin; the end of the file if there are none.
    end: usize,
}

impl<'a> Executable<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        if bytes.get(..2) != Some(b"MZ") {
            return Err("it is no PE file");
        }
        let coff = word(bytes, 0x3c).ok_or(SHORT)?;
        if bytes.get(coff..).and_then(|rest| rest.get(..4)) != Some(b"PE\0\0") {
            return Err("it is no PE file");
        }
        let optional = coff + 24;
        if half(bytes, optional) != Some(PE32_PLUS) {
            return Err("it is no 64-bit PE file");
        }
        if word(bytes, optional + DIRECTORIES).ok_or(SHORT)? <= 4 {
            return Err("it has no place for a signature");
        }
        let [at, length] = [0, 4].map(|field| word(bytes, optional + CERTIFICATES + field));
        let (at, length) = (at.ok_or(SHORT)?, length.ok_or(SHORT)?);
        let end = if length == 0 { bytes.len() } else { at };
        if length != 0 && at.checked_add(length) != Some(bytes.len()) {
            return Err("its signature is not at its end");
        }
        let headers = word(bytes, optional + HEADERS_BYTES).ok_or(SHORT)?;
        let sections = sections(bytes, coff, end)?;
        if headers < optional + CERTIFICATES + 8 || headers > end {
            return Err("its headers have an impossible length");
        }
        Ok(Self { bytes, optional, headers, sections, end })
    }

    pub(super) const fn is_signed(&self) -> bool {
        self.end < self.bytes.len()
    }

    /// SHA-256 of all but the checksum and the signature, in the order in which firmware takes it.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let (sum, directory) = (self.optional + CHECKSUM, self.optional + CERTIFICATES);
        for range in [0..sum, sum + 4..directory, directory + 8..self.headers] {
            digest.update(&self.bytes[range]);
        }
        let mut hashed = self.headers;
        for section in &self.sections {
            digest.update(&self.bytes[section.clone()]);
            hashed += section.len();
        }
        // What follows the sections. Firmware goes by the sum of what it has hashed.
        digest.update(self.bytes.get(hashed..self.end).unwrap_or_default());
        let padding = self.end.next_multiple_of(8) - self.end;
        digest.update(&[0; 8][..padding]);
        digest.finalize().into()
    }

    pub(super) fn strip(&self) -> Vec<u8> {
        let mut out = self.bytes[..self.end].to_vec();
        self.point(&mut out, 0, 0);
        out
    }

    /// A copy with this signature and no other.
    pub(super) fn attach(&self, pkcs7: &[u8]) -> Result<Vec<u8>, &'static str> {
        const LARGE: &str = "it is too large";
        let mut out = self.strip();
        out.resize(out.len().next_multiple_of(8), 0);
        let at = u32::try_from(out.len()).ok().ok_or(LARGE)?;
        let length = CERTIFICATE_HEADER_BYTES + pkcs7.len();
        let padded = length.next_multiple_of(8);
        out.extend_from_slice(&u32::try_from(length).ok().ok_or(LARGE)?.to_le_bytes());
        out.extend_from_slice(&CERTIFICATE_KIND);
        out.extend_from_slice(pkcs7);
        out.resize(out.len() + padded - length, 0);
        self.point(&mut out, at, u32::try_from(padded).ok().ok_or(LARGE)?);
        Ok(out)
    }

    /// Says in the headers where the signature is. The checksum is not looked at by firmware and cleared.
    fn point(&self, out: &mut [u8], at: u32, length: u32) {
        let fields = [(CHECKSUM, 0), (CERTIFICATES, at), (CERTIFICATES + 4, length)];
        for (field, value) in fields {
            let field = self.optional + field;
            out[field..field + 4].copy_from_slice(&value.to_le_bytes());
        }
    }
}

fn sections(bytes: &[u8], coff: usize, end: usize) -> Result<Vec<Range<usize>>, &'static str> {
    let count = usize::from(half(bytes, coff + 6).ok_or(SHORT)?);
    let table = coff + 24 + usize::from(half(bytes, coff + 20).ok_or(SHORT)?);
    if count > SECTIONS_MAX {
        return Err("it has more than 96 sections");
    }
    let mut out = Vec::new();
    for index in 0..count {
        let header = table + index * 40;
        let [length, at] = [16, 20].map(|field| word(bytes, header + field));
        let (length, at) = (length.ok_or(SHORT)?, at.ok_or(SHORT)?);
        let range =
            at..at.checked_add(length).filter(|last| *last <= end).ok_or("a section lies outside of it")?;
        if length > 0 {
            out.push(range);
        }
    }
    out.sort_by_key(|range| range.start);
    Ok(out)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let chunk = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*chunk)).ok()
}
