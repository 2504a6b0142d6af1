//! The index: what an update consists of, down to each stored frame.

use super::{
    BUNDLE_VERSION, Encoding, FRAME_ALIGNMENT, FRAME_BYTES_MAX, Frame, INDEX_BYTES_MAX, NotABundle, Part,
    Reader, Whole,
};
use crate::{
    slot::{Arch, BLOCK_BYTES, TEXT_BYTES, Text},
    version::Version,
};
use alloc::vec::Vec;
use core::cmp::Ordering;

const MAGIC: [u8; 8] = *b"CORAINDX";
/// Bytes of the index before its frames.
pub const INDEX_HEAD_BYTES: usize = 296;
/// Bytes of one frame's entry.
pub const FRAME_ENTRY_BYTES: usize = 84;

/// What an update consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Architecture of the boot artefact.
    pub arch: Arch,
    /// `[image] name`.
    pub name: Text,
    /// `[image] version`; always one that [`Version::parse`] takes.
    pub version: Text,
    /// The root file system's image.
    pub root: Whole,
    /// The boot artefact.
    pub boot: Whole,
    /// dm-verity root hash of the root.
    pub root_hash: [u8; 32],
    /// dm-verity salt of the root.
    pub salt: [u8; 32],
    /// The frames: of the root, then of the boot artefact, each part's in the order of their offsets and without gaps.
    /// They are stored in this order, one behind the other.
    pub frames: Vec<Frame>,
}

impl Index {
    /// A part as a whole.
    pub const fn whole(&self, part: Part) -> Whole {
        match part {
            Part::Root => self.root,
            Part::Boot => self.boot,
        }
    }

    /// The version as a number.
    pub fn version_number(&self) -> Version {
        // `parse` and `encode` have made sure that it is one.
        Version::parse(self.version.as_str()).unwrap_or_default()
    }

    /// So many frames from one on; `None` if there are not so many.
    pub fn run(&self, first: u32, count: u32) -> Option<&[Frame]> {
        let first = usize::try_from(first).ok()?;
        let end = first.checked_add(usize::try_from(count).ok()?)?;
        self.frames.get(first..end)
    }

    /// How many bytes of a part stand in the frames before this one: the first ones, without a gap.
    pub fn bytes_before(&self, frame: &Frame, part: Part) -> u64 {
        match part.cmp(&frame.part) {
            Ordering::Less => self.whole(part).bytes,
            Ordering::Equal => frame.offset,
            Ordering::Greater => 0,
        }
    }

    /// Bytes of all stored frames.
    pub fn stored_bytes(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.stored)).sum()
    }

    /// Every frame with its place among the stored frames.
    pub fn placed(&self) -> impl Iterator<Item = (u64, &Frame)> {
        self.frames.iter().scan(0, |at, frame| {
            let begin = *at;
            *at += u64::from(frame.stored);
            Some((begin, frame))
        })
    }

    /// The index as bytes, if it is one that [`Index::parse`] takes.
    pub fn encode(&self) -> Result<Vec<u8>, NotABundle> {
        self.check()?;
        let count = u32::try_from(self.frames.len()).or(Err(NotABundle::Limit))?;
        let mut out = Vec::with_capacity(INDEX_HEAD_BYTES + self.frames.len() * FRAME_ENTRY_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&BUNDLE_VERSION.to_le_bytes());
        out.extend_from_slice(
            &match self.arch {
                Arch::X86_64 => 1_u32,
                Arch::Aarch64 => 2,
            }
            .to_le_bytes(),
        );
        for text in [self.name, self.version] {
            let mut field = [0; TEXT_BYTES];
            field[..text.as_str().len()].copy_from_slice(text.as_str().as_bytes());
            out.extend_from_slice(&field);
        }
        for whole in [self.root, self.boot] {
            out.extend_from_slice(&whole.bytes.to_le_bytes());
            out.extend_from_slice(&whole.sha256);
        }
        out.extend_from_slice(&self.root_hash);
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for frame in &self.frames {
            out.extend_from_slice(&encode_frame(frame));
        }
        (out.len() <= INDEX_BYTES_MAX).then_some(out).ok_or(NotABundle::Limit)
    }

    /// Parses a whole index. Everything stated about the type's fields holds for the result.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotABundle> {
        if bytes.len() > INDEX_BYTES_MAX {
            return Err(NotABundle::Limit);
        }
        let mut reader = Reader(bytes);
        if *reader.take()? != MAGIC {
            return Err(NotABundle::Magic);
        }
        let format = reader.u32()?;
        if format != BUNDLE_VERSION {
            return Err(NotABundle::Version(format));
        }
        let arch = match reader.u32()? {
            1 => Arch::X86_64,
            2 => Arch::Aarch64,
            other => return Err(NotABundle::Arch(other)),
        };
        let (name, version) = (text(reader.take()?)?, text(reader.take()?)?);
        let root = Whole { bytes: reader.u64()?, sha256: *reader.take()? };
        let boot = Whole { bytes: reader.u64()?, sha256: *reader.take()? };
        let (root_hash, salt) = (*reader.take()?, *reader.take()?);
        let count = reader.u32()?;
        if reader.u32()? != 0 {
            return Err(NotABundle::Reserved);
        }
        let length = usize::try_from(count).unwrap_or(usize::MAX).checked_mul(FRAME_ENTRY_BYTES);
        if length != Some(reader.0.len()) {
            return Err(NotABundle::Length);
        }
        let frames = (0..count).map(|number| parse_frame(&mut reader, number)).collect::<Result<_, _>>()?;
        let this = Self { arch, name, version, root, boot, root_hash, salt, frames };
        this.check().map(|()| this)
    }

    fn check(&self) -> Result<(), NotABundle> {
        if !is_clean(self.name) || !is_clean(self.version) || Version::parse(self.version.as_str()).is_none()
        {
            return Err(NotABundle::Text);
        }
        if self.root.bytes == 0 || self.boot.bytes == 0 || !self.root.bytes.is_multiple_of(BLOCK_BYTES) {
            return Err(NotABundle::Part);
        }
        let mut frames = (0_u32..).zip(&self.frames).peekable();
        for part in Part::ALL {
            let mut at = 0;
            while at < self.whole(part).bytes {
                let number = u32::try_from(self.frames.len()).unwrap_or(u32::MAX);
                let (number, frame) = frames.next().ok_or(NotABundle::Coverage(number))?;
                if !is_sound(frame) {
                    return Err(NotABundle::Frame(number));
                }
                if (frame.part, frame.offset) != (part, at) {
                    return Err(NotABundle::Coverage(number));
                }
                // Both are far below 2^63: `at` is below the part's length only by the check of the sum that follows.
                at = at.checked_add(u64::from(frame.plain)).ok_or(NotABundle::Coverage(number))?;
                if at > self.whole(part).bytes {
                    return Err(NotABundle::Coverage(number));
                }
            }
        }
        frames.next().map_or(Ok(()), |(number, _)| Err(NotABundle::Coverage(number)))
    }
}

/// Whether a text can be shown and used in a file name as it is.
fn is_clean(text: Text) -> bool {
    let text = text.as_str();
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

/// A text field: no byte but NUL follows the first NUL.
fn text(field: &[u8; TEXT_BYTES]) -> Result<Text, NotABundle> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(TEXT_BYTES);
    let (used, padding) = field.split_at(end);
    let text = core::str::from_utf8(used).ok().and_then(Text::new).ok_or(NotABundle::Text)?;
    if padding.iter().any(|byte| *byte != 0) { Err(NotABundle::Text) } else { Ok(text) }
}

fn is_sound(frame: &Frame) -> bool {
    let stored_right = match frame.encoding {
        Encoding::Zeros => frame.stored == 0 && frame.sha256 == [0; 32],
        Encoding::Raw => frame.stored == frame.plain && frame.sha256 == frame.plain_sha256,
        Encoding::Zstd => frame.stored > 0 && frame.stored < frame.plain,
    };
    stored_right
        && frame.plain > 0
        && frame.plain <= FRAME_BYTES_MAX
        && frame.offset.is_multiple_of(FRAME_ALIGNMENT)
}

fn encode_frame(frame: &Frame) -> [u8; FRAME_ENTRY_BYTES] {
    let mut out = [0; FRAME_ENTRY_BYTES];
    out[..8].copy_from_slice(&frame.offset.to_le_bytes());
    out[8..12].copy_from_slice(&frame.plain.to_le_bytes());
    out[12..16].copy_from_slice(&frame.stored.to_le_bytes());
    out[16] = match frame.part {
        Part::Root => 1,
        Part::Boot => 2,
    };
    out[17] = match frame.encoding {
        Encoding::Zeros => 0,
        Encoding::Raw => 1,
        Encoding::Zstd => 2,
    };
    out[20..52].copy_from_slice(&frame.sha256);
    out[52..].copy_from_slice(&frame.plain_sha256);
    out
}

fn parse_frame(reader: &mut Reader<'_>, number: u32) -> Result<Frame, NotABundle> {
    let (offset, plain, stored) = (reader.u64()?, reader.u32()?, reader.u32()?);
    let [part, encoding, reserved @ ..] = *reader.take::<4>()?;
    let part = match part {
        1 => Part::Root,
        2 => Part::Boot,
        _ => return Err(NotABundle::Frame(number)),
    };
    let encoding = match encoding {
        0 => Encoding::Zeros,
        1 => Encoding::Raw,
        2 => Encoding::Zstd,
        _ => return Err(NotABundle::Frame(number)),
    };
    if reserved != [0, 0] {
        return Err(NotABundle::Reserved);
    }
    let (sha256, plain_sha256) = (*reader.take()?, *reader.take()?);
    Ok(Frame { part, offset, plain, stored, encoding, sha256, plain_sha256 })
}

#[cfg(test)]
mod tests;
