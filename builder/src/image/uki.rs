//! Unified kernel images: the systemd stub with kernel, initramfs and command line as further sections of one PE file
//! (UAPI specification "Unified Kernel Image"). The firmware judges all of it by one signature.

mod pe;

use crate::error::{Error, Kind, Result};
use coracle_format::slot::{Arch, BLOCK_BYTES};
use pe::{Headers, SECTION_HEADER_BYTES};
use std::ops::Range;

/// The longest kernel command line: what x86 (2048) and arm64 (2048) kernels take, with the terminator.
pub const COMMAND_LINE_BYTES_MAX: usize = 2047;
/// `IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ`.
const READ_ONLY_DATA: u32 = 0x4000_0040;

/// What goes into a unified kernel image.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The kernel: a bzImage (x86_64) or an uncompressed Image (aarch64), itself a PE file.
    pub linux: &'a [u8],
    /// The initramfs.
    pub initrd: &'a [u8],
    /// The kernel command line.
    pub command_line: &'a str,
    /// The text of an `os-release` file.
    pub os_release: &'a str,
    /// The kernel's version, as `uname -r` prints it.
    pub uname: &'a str,
}

/// Appends the parts to a stub. The sections of the stub, its SBAT among them, stay as they are. What differs most from
/// one release to the next is last: a kernel that is the same stays at its place, in blocks that hold nothing else.
pub fn build(stub: &[u8], parts: &Parts<'_>) -> Result<Vec<u8>> {
    let headers = Headers::parse(stub).map_err(|why| bad("the boot stub", why))?;
    check_parts(&headers, parts)?;
    let sections: [(&[u8; 8], &[u8]); 5] = [
        (b".osrel\0\0", parts.os_release.as_bytes()),
        (b".cmdline", parts.command_line.as_bytes()),
        (b".uname\0\0", parts.uname.as_bytes()),
        (b".linux\0\0", parts.linux),
        (b".initrd\0", parts.initrd),
    ];
    append(stub, headers, &sections).map_err(|why| bad("the boot stub", why))
}

fn check_parts(headers: &Headers, parts: &Parts<'_>) -> Result<()> {
    let (_, kernel) = pe::machine(parts.linux).map_err(|why| bad("the kernel", why))?;
    if kernel != headers.machine {
        return Err(bad("the kernel", "it is for another architecture than the boot stub"));
    }
    if parts.command_line.len() > COMMAND_LINE_BYTES_MAX {
        let message = format!(
            "the kernel command line has {} bytes, {COMMAND_LINE_BYTES_MAX} are possible",
            parts.command_line.len()
        );
        return Err(Error::new(Kind::TooLarge, message));
    }
    if parts.command_line.contains(['\0', '\n']) {
        return Err(Error::new(Kind::Usage, "the kernel command line has a line break or a NUL byte in it"));
    }
    Ok(())
}

fn bad(what: &str, why: &'static str) -> Error {
    Error::new(Kind::Hostile, format!("cannot use {what} for a unified kernel image: {why}"))
}

fn append(
    stub: &[u8],
    mut headers: Headers,
    sections: &[(&[u8; 8], &[u8])],
) -> Result<Vec<u8>, &'static str> {
    let table_end = headers.table.end + sections.len() * SECTION_HEADER_BYTES;
    if table_end > headers.first_raw {
        return Err("there is no room for more section headers");
    }
    if headers.is_signed {
        return Err("it is signed already");
    }
    let mut out = stub.to_vec();
    pad_to(&mut out, headers.file_alignment);
    let blocks = u32::try_from(BLOCK_BYTES).unwrap_or(0).max(headers.file_alignment);
    let mut address = headers.image_end;
    for (index, (name, bytes)) in sections.iter().enumerate() {
        let length = u32::try_from(bytes.len()).ok().ok_or("a part has 4 GiB or more")?;
        let start = out.len();
        let at = u32::try_from(start).ok().ok_or("it grows to 4 GiB or more")?;
        out.extend_from_slice(bytes);
        // The padding belongs to the section: signatures cover sections, and would miss what lies between them.
        pad_to(&mut out, blocks);
        let raw = u32::try_from(out.len() - start).ok().ok_or("it grows to 4 GiB or more")?;
        address =
            address.checked_next_multiple_of(headers.section_alignment).ok_or("it grows to 4 GiB or more")?;
        let header = headers.table.end + index * SECTION_HEADER_BYTES;
        let fields = [length, address, raw, at, 0, 0, 0, READ_ONLY_DATA];
        out[header..header + 8].copy_from_slice(*name);
        for (field, value) in out[header + 8..header + 40].chunks_exact_mut(4).zip(fields) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        address = address.checked_add(raw.max(1)).ok_or("it grows to 4 GiB or more")?;
        headers.initialized_data = headers.initialized_data.wrapping_add(raw);
    }
    let added = u16::try_from(sections.len()).ok().ok_or("there are too many sections")?;
    headers.image_end = address;
    headers.finish(&mut out, added)?;
    Ok(out)
}

fn pad_to(out: &mut Vec<u8>, alignment: u32) {
    let alignment = usize::try_from(alignment).unwrap_or(1).max(1);
    out.resize(out.len().next_multiple_of(alignment), 0);
}

/// A unified kernel image taken apart. Nothing is believed: every range was checked against the bytes.
#[derive(Clone, Debug)]
pub struct Uki<'a> {
    bytes: &'a [u8],
    /// The architecture its PE header names.
    pub arch: Arch,
    sections: Vec<(String, Range<usize>)>,
}

impl<'a> Uki<'a> {
    /// Reads the headers of an image.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let refused = |why| {
            let message = format!("cannot read the boot artefact as a unified kernel image: {why}");
            Error::new(Kind::Hostile, message)
        };
        let headers = Headers::parse(bytes).map_err(refused)?;
        let sections = headers.sections(bytes).map_err(refused)?;
        Ok(Self { bytes, arch: headers.machine, sections })
    }

    /// Names and lengths of all sections, in the order of the file.
    pub fn sections(&self) -> impl Iterator<Item = (&str, usize)> {
        self.sections.iter().map(|(name, range)| (name.as_str(), range.len()))
    }

    /// The bytes of a section; the first of that name.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        self.bytes.get(self.range(name)?)
    }

    /// Where the bytes of a section are; the first of that name.
    pub fn range(&self, name: &str) -> Option<Range<usize>> {
        let (_, range) = self.sections.iter().find(|(own, _)| own == name)?;
        self.bytes.get(range.clone()).map(|_| range.clone())
    }

    /// Where the kernel is in the file.
    pub fn linux_range(&self) -> Result<Range<usize>> {
        self.range(".linux").ok_or_else(|| missing(".linux"))
    }

    /// The kernel.
    pub fn linux(&self) -> Result<&'a [u8]> {
        self.require(".linux")
    }

    /// The initramfs.
    pub fn initrd(&self) -> Result<&'a [u8]> {
        self.require(".initrd")
    }

    /// The kernel command line.
    pub fn command_line(&self) -> Result<&'a str> {
        self.text(".cmdline")
    }

    /// The kernel's version.
    pub fn uname(&self) -> Result<&'a str> {
        self.text(".uname")
    }

    fn text(&self, name: &str) -> Result<&'a str> {
        str::from_utf8(self.require(name)?).map(|text| text.trim_end_matches('\0')).map_err(|source| {
            let message = format!("section {name} of the boot artefact is no text");
            Error::new(Kind::Hostile, message).because(source)
        })
    }

    fn require(&self, name: &str) -> Result<&'a [u8]> {
        self.section(name).ok_or_else(|| missing(name))
    }
}

fn missing(section: &str) -> Error {
    Error::new(Kind::Hostile, format!("the boot artefact has no section {section}"))
}

#[cfg(test)]
pub(crate) mod tests;
