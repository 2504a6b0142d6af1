//! A slot's contents in their partition: root file system, hash tree, boot artefact, descriptor.
//! See `docs/formats/slot.md`.

use super::{sparse::SparseFile, verity::Verity};
use crate::{
    digest::Digest,
    error::{Error, Kind, Result},
};
use coracle_format::{
    layout::{self, ALIGNMENT},
    slot::{Arch, BLOCK_BYTES, Descriptor, Range, TEXT_BYTES, Text},
};
use std::path::Path;

/// What a release brings: the same bytes in an image and in an update.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// Architecture of the boot artefact.
    pub arch: Arch,
    /// `[image] name`.
    pub name: &'a str,
    /// `[image] version`.
    pub version: &'a str,
    /// The root file system's file.
    pub root: &'a Path,
    /// Its hash tree.
    pub verity: &'a Verity,
    /// The boot artefact.
    pub boot: &'a [u8],
}

/// How large the slots are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As [`layout::slot_bytes`] chooses.
    Default,
    /// As the manifest says.
    Fixed(u64),
}

impl Payload<'_> {
    fn root_bytes(&self) -> u64 {
        self.verity.data_blocks.saturating_mul(BLOCK_BYTES)
    }

    fn tree_bytes(&self) -> u64 {
        length(&self.verity.tree)
    }

    /// Bytes that the payload needs in a slot, its descriptor included.
    pub fn bytes(&self) -> u64 {
        Descriptor::plan(self.root_bytes(), self.tree_bytes(), length(self.boot)).2
    }

    /// Bytes of the partition that holds it. A fixed size that is too small is an error that shows the sum.
    pub fn partition_bytes(&self, size: Size) -> Result<u64> {
        let needed = self.bytes();
        let fixed = match size {
            Size::Default => return Ok(layout::slot_bytes(needed)),
            Size::Fixed(bytes) => bytes,
        };
        if fixed % ALIGNMENT != 0 {
            let message = format!("the slot size of {fixed} bytes is no multiple of 1 MiB");
            return Err(Error::new(Kind::Usage, message));
        }
        if needed > fixed {
            let message = format!(
                "the image does not fit into its slot of {}: root file system {} + hash tree {} + boot artefact {}, aligned {}",
                mebibytes(fixed),
                mebibytes(self.root_bytes()),
                mebibytes(self.tree_bytes()),
                mebibytes(length(self.boot)),
                mebibytes(needed),
            );
            let hint = format!(
                "set slot_size to {} MiB or more (updates grow: four times the payload is the default), or ship less",
                needed.div_ceil(ALIGNMENT)
            );
            return Err(Error::new(Kind::TooLarge, message).hint(hint));
        }
        Ok(fixed)
    }

    /// The table of contents.
    pub fn descriptor(&self) -> Result<Descriptor> {
        let (tree_at, boot_at, _) = Descriptor::plan(self.root_bytes(), self.tree_bytes(), length(self.boot));
        Ok(Descriptor {
            arch: self.arch,
            name: text("name", self.name)?,
            version: text("version", self.version)?,
            root: range(0, self.root_bytes()),
            tree: range(tree_at, self.tree_bytes()),
            root_hash: self.verity.root_hash,
            salt: self.verity.salt,
            boot: range(boot_at, length(self.boot)),
            boot_digest: Digest::of(self.boot).0,
        })
    }
}

/// Writes a payload to a partition of `partition` (offset and length in bytes) that is zero so far.
pub(super) fn write(payload: &Payload<'_>, out: &SparseFile, partition: Range) -> Result<Descriptor> {
    let descriptor = payload.descriptor()?;
    let encoded = descriptor.encode();
    let at = Descriptor::offset_in(partition.bytes).unwrap_or(0);
    // The descriptor is read back by the rule of the device, before anything is written by it.
    Descriptor::parse(&encoded, partition.bytes)
        .map_err(|why| Error::new(Kind::Internal, "the slot does not hold its own payload").because(why))?;
    let copied = out.copy(partition.offset, payload.root)?;
    if copied != descriptor.root.bytes {
        let message = format!("{} changed while it was copied", payload.root.display());
        return Err(Error::new(Kind::Internal, message));
    }
    for (range, bytes) in [
        (descriptor.tree, &payload.verity.tree[..]),
        (descriptor.boot, payload.boot),
        (range(at, BLOCK_BYTES), &encoded[..]),
    ] {
        out.write(partition.offset + range.offset, bytes)?;
    }
    Ok(descriptor)
}

fn range(offset: u64, bytes: u64) -> Range {
    Range { offset, bytes }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn text(what: &str, value: &str) -> Result<Text> {
    Text::new(value).ok_or_else(|| {
        let message = format!("the image {what} {value:?} is longer than {TEXT_BYTES} bytes");
        Error::new(Kind::Usage, message)
    })
}

/// `12.3 MiB`.
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(ALIGNMENT);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verity(data_blocks: u64) -> Verity {
        Verity { root_hash: [1; 32], salt: [2; 32], data_blocks, tree: vec![3; 8192] }
    }

    fn payload<'a>(verity: &'a Verity, boot: &'a [u8]) -> Payload<'a> {
        Payload { arch: Arch::X86_64, name: "hello", version: "1", root: Path::new("root"), verity, boot }
    }

    #[test]
    fn a_slot_that_is_too_small_shows_the_sum() {
        let verity = verity(300 * 256);
        let boot = vec![0; 20 << 20];
        let error = payload(&verity, &boot).partition_bytes(Size::Fixed(256 << 20)).unwrap_err();
        assert_eq!(error.kind(), Kind::TooLarge);
        assert_eq!(
            error.to_string(),
            "the image does not fit into its slot of 256.0 MiB: root file system 300.0 MiB + hash tree 0.1 MiB \
             + boot artefact 20.0 MiB, aligned 321.1 MiB"
        );
        assert!(error.hint_text().unwrap().contains("322 MiB or more"));
    }

    #[test]
    fn slots_are_as_large_as_the_policy_or_the_manifest_says() {
        let verity = verity(100 * 256);
        let one = payload(&verity, b"boot");
        assert_eq!(one.bytes(), (101 << 20) + 8192);
        let default = one.partition_bytes(Size::Default).unwrap();
        assert_eq!(default, 405 << 20);
        let fixed = one.partition_bytes(Size::Fixed(102 << 20)).unwrap();
        assert_eq!(fixed, 102 << 20);
        let odd = one.partition_bytes(Size::Fixed((102 << 20) + 1));
        assert_eq!(odd.unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn names_that_do_not_fit_the_descriptor_are_refused() {
        let verity = verity(1);
        let long = "x".repeat(65);
        let one = Payload { name: &long, ..payload(&verity, b"") };
        assert_eq!(one.descriptor().unwrap_err().kind(), Kind::Usage);
    }
}
