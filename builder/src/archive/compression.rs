//! What archives are compressed with, and taking that off within bounds.

use crate::{
    cache::Cache,
    digest::Digest,
    error::{Doing, Error, Kind, Result},
};
use flate2::bufread::MultiGzDecoder;
use liblzma::{
    bufread::XzDecoder,
    stream::{CONCATENATED, Stream},
};
use std::{
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

/// Memory that one xz stream may ask for: what `xz -9` needs is 65 MiB.
const XZ_MEMORY_MAX: u64 = 256 << 20;
/// Largest zstd window, as a power of two: the format's own recommendation for decoders, and what `--ultra` uses.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Most unpacked bytes per packed byte. Gzip cannot exceed 1032; what exceeds it is a bomb or nearly all zeros.
const RATIO_MAX: u64 = 1100;
/// Room that even the smallest input gets.
const RATIO_SLACK: u64 = 16 << 20;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// RFC 1952.
    Gzip,
    /// XZ.
    Xz,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// What the first bytes of a file say. Names and media types are only hints, and are often wrong.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// What `reader` yields without this compression. An xz stream may ask for `xz_memory` bytes.
    pub fn decoder<'a>(self, reader: impl BufRead + 'a, xz_memory: u64) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Plain => Box::new(reader),
            Self::Gzip => Box::new(MultiGzDecoder::new(reader)),
            Self::Xz => {
                // Each of several streams counts, as with the other two.
                let stream = Stream::new_stream_decoder(xz_memory, CONCATENATED).map_err(io::Error::from)?;
                Box::new(XzDecoder::new_stream(reader, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

/// What `reader` yields without its compression, whichever that is.
pub fn decoder<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let compression = Compression::detect(reader.fill_buf()?);
    compression.decoder(reader, XZ_MEMORY_MAX)
}

/// The most bytes that `packed` bytes may unpack to, and never more than `limit`.
pub fn unpacked_limit(packed: u64, limit: u64) -> u64 {
    packed.saturating_mul(RATIO_MAX).saturating_add(RATIO_SLACK).min(limit)
}

/// Takes the compression off `reader` and keeps the result in the cache: at most `limit` bytes. `name` is for messages.
pub fn unpack(cache: &Cache, reader: impl Read, name: &Path, limit: u64) -> Result<Digest> {
    let mut decoder = decoder(reader).doing("unpack", name)?;
    cache.insert(&mut decoder, limit).map_err(|source| {
        // A stream that does not decode is the sender's fault, not the disk's.
        let kind = if is_damage(&source) { Kind::Hostile } else { source.kind() };
        Error::new(kind, format!("cannot unpack {}", name.display())).because(source)
    })
}

fn is_damage(error: &Error) -> bool {
    std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>()).is_some_and(
        |source| {
            // Decoders report damage without an operating system error number.
            source.raw_os_error().is_none()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        (dir, cache)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_compression_yields_the_same_bytes() {
        let (_dir, cache) = cache();
        let plain = b"the same bytes".repeat(1000);
        let mut xz = Vec::new();
        liblzma::read::XzEncoder::new(&plain[..], 1).read_to_end(&mut xz).unwrap();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        for packed in [gzip(&plain), xz, zstd, plain.clone()] {
            let digest = unpack(&cache, &packed[..], Path::new("x"), 1 << 20).unwrap();
            assert_eq!(digest, Digest::of(&plain));
        }
    }

    #[test]
    fn streams_one_after_another_are_all_read_and_what_is_no_stream_is_refused() {
        let (_dir, cache) = cache();
        let xz = |bytes: &[u8]| {
            let mut packed = Vec::new();
            liblzma::read::XzEncoder::new(bytes, 1).read_to_end(&mut packed).unwrap();
            packed
        };
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        for (first, second) in
            [(gzip(b"one"), gzip(b"two")), (xz(b"one"), xz(b"two")), (zstd(b"one"), zstd(b"two"))]
        {
            let both = [first, second].concat();
            let digest = unpack(&cache, &both[..], Path::new("x"), 1 << 20).unwrap();
            assert_eq!(digest, Digest::of(b"onetwo"));
        }
        let more = [xz(b"one"), b"more".to_vec()].concat();
        let error = unpack(&cache, &more[..], Path::new("x"), 1 << 20).unwrap_err();
        assert_eq!(error.kind(), Kind::Hostile);
    }

    #[test]
    fn a_bomb_is_stopped_at_its_limit_and_leaves_nothing() {
        let (dir, cache) = cache();
        let bomb = zstd::encode_all(io::repeat(0).take(64 << 20), 1).unwrap();
        let packed = u64::try_from(bomb.len()).unwrap();
        let limit = unpacked_limit(packed, 1 << 40);
        assert!(limit < 64 << 20);
        let error = unpack(&cache, &bomb[..], Path::new("bomb"), limit).unwrap_err();
        assert_eq!(error.kind(), Kind::Hostile);
        for area in ["objects", "tmp"] {
            assert_eq!(std::fs::read_dir(dir.path().join(area)).unwrap().count(), 0);
        }
    }

    #[test]
    fn damaged_and_truncated_streams_are_refused() {
        let (_dir, cache) = cache();
        let mut packed = gzip(&b"bytes".repeat(100));
        let cut = packed.len() - 6;
        let error = unpack(&cache, &packed[..cut], Path::new("x"), 1 << 20).unwrap_err();
        assert_eq!(error.kind(), Kind::Hostile);
        packed[cut] ^= 0xff;
        let error = unpack(&cache, &packed[..], Path::new("x"), 1 << 20).unwrap_err();
        assert_eq!(error.kind(), Kind::Hostile);
    }
}
