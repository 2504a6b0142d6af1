//! The kernel image itself: what it is, and which release.

use crate::error::{Error, Kind, Result};
use std::ops::Range;

/// Largest kernel image. Debian's largest is 38 MB.
pub const IMAGE_LIMIT_BYTES: u64 = 256 << 20;
/// Longest release string: the kernel's own limit (`__NEW_UTS_LEN`).
const RELEASE_BYTES_MAX: usize = 64;
/// Where a bzImage's setup header has its magic number, and the offset of its version string (x86 boot protocol).
const BZIMAGE_MAGIC_AT: usize = 0x202;
const BZIMAGE_VERSION_AT: usize = 0x20e;
/// Where it says how many sectors its setup has, and where behind them its payload is and how long it is.
const BZIMAGE_SECTORS_AT: usize = 0x1f1;
const BZIMAGE_PAYLOAD_AT: usize = 0x248;
const BZIMAGE_PAYLOAD_LENGTH_AT: usize = 0x24c;
const SECTOR_BYTES: usize = 512;
/// The last bytes of a payload say how long it is unpacked.
const UNPACKED_LENGTH_BYTES: usize = 4;
/// Where an arm64 Image has its magic number.
const IMAGE_MAGIC_AT: usize = 56;
/// How the kernel's own banner begins.
const BANNER: &[u8] = b"Linux version ";

/// The kinds of kernel image that boot here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// x86_64.
    BzImage,
    /// aarch64, uncompressed.
    Image,
}

/// What kind of image it is.
pub fn format(image: &[u8]) -> Result<Format> {
    let has = |at: usize, magic: &[u8]| image.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if has(BZIMAGE_MAGIC_AT, b"HdrS") {
        return Ok(Format::BzImage);
    }
    if has(IMAGE_MAGIC_AT, b"ARM\x64") {
        return Ok(Format::Image);
    }
    let hint = if has(0, &[0x1f, 0x8b]) {
        "it is compressed with gzip: unpack it first"
    } else if has(4, b"zimg") {
        "it is a self-extracting EFI image: give the uncompressed Image (CONFIG_EFI_ZBOOT=n)"
    } else if has(0, b"\x7fELF") {
        "it is a vmlinux: give arch/x86/boot/bzImage or arch/arm64/boot/Image"
    } else {
        "give a bzImage for x86_64 or an uncompressed Image for aarch64"
    };
    Err(Error::new(Kind::Hostile, "not a kernel image that can be booted").hint(hint))
}

/// Where a bzImage has the compressed kernel, without the length behind it (Documentation/arch/x86/boot.rst: `setup_sects`,
/// `payload_offset`, `payload_length`); `None` for any other image.
pub fn payload(image: &[u8]) -> Option<Range<usize>> {
    let word = |at: usize| {
        let bytes = image.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    image.get(BZIMAGE_MAGIC_AT..)?.strip_prefix(b"HdrS")?;
    let sectors = match *image.get(BZIMAGE_SECTORS_AT)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = ((sectors + 1) * SECTOR_BYTES).checked_add(word(BZIMAGE_PAYLOAD_AT)?)?;
    let end = start.checked_add(word(BZIMAGE_PAYLOAD_LENGTH_AT)?)?.checked_sub(UNPACKED_LENGTH_BYTES)?;
    (start < end && end <= image.len()).then_some(start..end)
}

/// The release of a kernel image, as `uname -r` shows it.
pub fn version(image: &[u8]) -> Result<String> {
    let release = match format(image)? {
        Format::BzImage => bzimage_release(image),
        Format::Image => banner_release(image),
    };
    release.ok_or_else(|| Error::new(Kind::Hostile, "the kernel image does not tell its release"))
}

fn bzimage_release(image: &[u8]) -> Option<String> {
    let at = image.get(BZIMAGE_VERSION_AT..)?.first_chunk::<2>()?;
    let at = usize::from(u16::from_le_bytes(*at)).checked_add(0x200)?;
    first_word(image.get(at..)?)
}

fn banner_release(image: &[u8]) -> Option<String> {
    let mut rest = image;
    while let Some(at) = rest.iter().position(|byte| *byte == BANNER[0]) {
        rest = rest.get(at..)?;
        // The format string of the same text has a "%" where the release belongs.
        if let Some(text) = rest.strip_prefix(BANNER)
            && text.first().is_some_and(u8::is_ascii_digit)
        {
            return first_word(text);
        }
        rest = rest.get(1..)?;
    }
    None
}

fn first_word(text: &[u8]) -> Option<String> {
    let text = text.get(..text.len().min(RELEASE_BYTES_MAX + 1))?;
    let end = text.iter().position(|byte| matches!(byte, 0 | b' '))?;
    let word = str::from_utf8(text.get(..end)?).ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-+._~".contains(c);
    (!word.is_empty() && word.chars().all(plain)).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bzimage(version: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x400];
        image[BZIMAGE_MAGIC_AT..][..4].copy_from_slice(b"HdrS");
        image[BZIMAGE_VERSION_AT..][..2].copy_from_slice(&0x100_u16.to_le_bytes());
        image[0x300..][..version.len()].copy_from_slice(version);
        image
    }

    #[test]
    fn a_bzimage_tells_its_release() {
        let image = bzimage(b"6.12.107+deb13-cloud-amd64 (debian-kernel) #1\0");
        assert_eq!(version(&image).unwrap(), "6.12.107+deb13-cloud-amd64");
    }

    #[test]
    fn an_arm64_image_tells_its_release_and_not_the_format_string() {
        let mut image = vec![0; 64];
        image[IMAGE_MAGIC_AT..][..4].copy_from_slice(b"ARM\x64");
        image.extend(b"LLLinux version %s (%s)\0Linux version 6.12.117+deb13 (x)\0");
        assert_eq!(version(&image).unwrap(), "6.12.117+deb13");
    }

    #[test]
    fn other_files_are_refused_with_what_to_give_instead() {
        let error = version(&[0x1f, 0x8b, 8]).unwrap_err();
        assert!(error.hint_text().unwrap().contains("gzip"));
        for bad in [Vec::new(), bzimage(b"../../etc\0"), bzimage(&[b'1'; 100])] {
            assert_eq!(version(&bad).unwrap_err().kind(), Kind::Hostile);
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(at in any::<u16>(), tail in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut image = bzimage(&[]);
            image[BZIMAGE_VERSION_AT..][..2].copy_from_slice(&at.to_le_bytes());
            image.extend(tail);
            prop_assert!(version(&image).map_or(true, |release| !release.is_empty()));
        }
    }
}
