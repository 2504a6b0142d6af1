//! Compressing the frames of parts, several at a time. The same bytes give the same frames, whatever the
//! number of processors.

use super::cut::Place;
use crate::{
    context::Context,
    digest::{Digest, Hasher},
    error::{Doing as _, Error, Kind, Result},
    parallel,
    report::{Step, Unit},
};
use coracle_format::{
    bundle::{Encoding, FRAME_BYTES_MAX, Frame, Whole},
    slot::Range,
};
use std::{fs::File, io::Write, os::unix::fs::FileExt as _, path::Path};

/// Compression level: a bundle is packed once and carried often. The window is that of a frame.
pub(super) const LEVEL: i32 = 19;
/// A frame that compression makes smaller by less than one part in so many is stored as it is.
const WORTH: u32 = 256;
/// More threads than this would hold too much memory at this level.
const THREADS_MAX: usize = 8;

/// Frames and their stored bytes, in order.
struct Packed {
    frame: Frame,
    stored: Vec<u8>,
}

/// Writes the stored bytes of every frame of these parts to `out`, and returns the frames.
pub(super) fn pack(
    ctx: &Context,
    (file, path): (&File, &Path),
    places: &[Place],
    out: &mut dyn Write,
    step: &Step,
) -> Result<Vec<Frame>> {
    let jobs: Vec<(Place, Range)> =
        places.iter().flat_map(|place| place.frames().into_iter().map(|frame| (*place, frame))).collect();
    let total = places.iter().map(|place| place.range.bytes).sum();
    let (mut frames, mut done) = (Vec::with_capacity(jobs.len()), 0_u64);
    let work =
        |(place, range): &(Place, Range)| ctx.check().and_then(|()| frame((file, path), *place, *range));
    parallel::in_order(parallel::threads(THREADS_MAX), &jobs, work, |packed: Packed| {
        out.write_all(&packed.stored).doing("write frames of", path)?;
        done = done.saturating_add(u64::from(packed.frame.plain));
        step.progress(done, total, Unit::Bytes);
        frames.push(packed.frame);
        Ok(())
    })?;
    Ok(frames)
}

fn frame((file, path): (&File, &Path), place: Place, range: Range) -> Result<Packed> {
    let plain = u32::try_from(range.bytes).unwrap_or(FRAME_BYTES_MAX);
    let mut data = vec![0; usize::try_from(plain).unwrap_or(0)];
    file.read_exact_at(&mut data, place.range.offset.saturating_add(range.offset)).doing("read", path)?;
    let plain_sha256 = Digest::of(&data).0;
    let (encoding, stored) = encode(data)?;
    let sha256 = if encoding == Encoding::Zeros { [0; 32] } else { Digest::of(&stored).0 };
    let length = u32::try_from(stored.len()).unwrap_or(u32::MAX);
    let part = place.part;
    let frame = Frame { part, offset: range.offset, plain, stored: length, encoding, sha256, plain_sha256 };
    Ok(Packed { frame, stored })
}

pub(crate) fn encode(data: Vec<u8>) -> Result<(Encoding, Vec<u8>)> {
    if data.iter().all(|byte| *byte == 0) {
        return Ok((Encoding::Zeros, Vec::new()));
    }
    let packed = zstd::bulk::compress(&data, LEVEL)
        .map_err(|source| Error::new(Kind::Internal, "cannot compress a frame").because(source))?;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let worth = length(&data) - length(&data) / WORTH;
    // One byte less at least: that is what tells the encodings apart.
    if length(&packed) < worth.min(length(&data)) {
        Ok((Encoding::Zstd, packed))
    } else {
        Ok((Encoding::Raw, data))
    }
}

/// What a frame holds, by what is stored of it; `None` if that is not so many bytes.
pub(crate) fn decode(frame: &Frame, stored: Vec<u8>) -> Option<Vec<u8>> {
    let plain = usize::try_from(frame.plain).ok()?;
    let data = match frame.encoding {
        Encoding::Zeros => vec![0; plain],
        Encoding::Raw => stored,
        Encoding::Zstd => zstd::bulk::decompress(&stored, plain).ok()?,
    };
    (data.len() == plain).then_some(data)
}

/// Length and digest of a part.
pub(super) fn whole(file: &File, path: &Path, range: Range) -> Result<Whole> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 20];
    while hasher.bytes() < range.bytes {
        let left = usize::try_from(range.bytes - hasher.bytes()).unwrap_or(usize::MAX);
        let piece = &mut buffer[..left.min(1 << 20)];
        file.read_exact_at(piece, range.offset.saturating_add(hasher.bytes())).doing("read", path)?;
        hasher.update(piece);
    }
    Ok(Whole { bytes: range.bytes, sha256: hasher.digest().0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_stored_in_the_shortest_way() {
        assert_eq!(encode(vec![0; 4096]).unwrap(), (Encoding::Zeros, vec![]));
        let noise: Vec<u8> = (0_u32..256).flat_map(|number| Digest::of(&number.to_le_bytes()).0).collect();
        assert_eq!(encode(noise.clone()).unwrap(), (Encoding::Raw, noise));
        let (encoding, stored) = encode(vec![7; 4096]).unwrap();
        assert_eq!(encoding, Encoding::Zstd);
        assert_eq!(zstd::bulk::decompress(&stored, 4096).unwrap(), vec![7; 4096]);
        // Too short to gain anything.
        assert_eq!(encode(vec![1]).unwrap(), (Encoding::Raw, vec![1]));
    }
}
