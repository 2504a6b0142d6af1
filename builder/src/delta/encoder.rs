//! Compressed kernels: unpacking, and proving that a known program packs them again bit for bit.

use coracle_format::delta::{Encoder, ZSTD_JOB_BYTES};
use std::io::{self, Read as _, Write as _};
use zstd::zstd_safe::{self, CCtx, CParameter};

/// The largest window of what is unpacked: that of level 22.
const WINDOW_LOG_MAX: u32 = 27;
/// What kernels are compressed with (scripts/Makefile.lib: `zstd22` is `--ultra -22`).
const LEVEL: u8 = 22;
/// Mebibytes that the program takes beside its tables and the contents: itself, its buffers and stacks.
const PROGRAM_MIB: usize = 32;
const MIB: usize = 1 << 20;

/// How a compressed file is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// By what.
    pub(super) encoder: Encoder,
    /// Mebibytes of memory that it takes.
    pub(super) memory_mib: u32,
}

/// The contents of one zstd frame, at most so many bytes.
pub(super) fn unpack(packed: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut decoder = zstd::stream::Decoder::with_buffer(packed)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    let mut out = Vec::new();
    (&mut decoder).take(limit.saturating_add(1)).read_to_end(&mut out)?;
    if u64::try_from(out.len()).is_ok_and(|length| length <= limit) {
        return Ok(out);
    }
    Err(io::Error::other(format!("it has more than {limit} bytes")))
}

/// What packs contents to just these bytes, if that is known. Takes about 800 MB of memory, and half a minute for a kernel.
pub(super) fn prove(plain: &[u8], packed: &[u8]) -> Option<Proof> {
    let encoder = Encoder::Zstd157 { level: LEVEL };
    let mut expected = Expected { rest: packed, is_so: true };
    pack(encoder, plain, &mut expected).ok()?;
    let is_so = expected.is_so && expected.rest.is_empty();
    let memory_mib = memory_mib(plain.len()).ok()?;
    is_so.then_some(Proof { encoder, memory_mib })
}

/// Packs contents as the program does that [`Encoder`] names: the same library with one worker, which is not told how much
/// will come.
pub(super) fn pack(encoder: Encoder, plain: &[u8], out: &mut dyn io::Write) -> io::Result<()> {
    let Encoder::Zstd157 { level } = encoder;
    let mut context = context(&[
        CParameter::CompressionLevel(level.into()),
        CParameter::NbWorkers(1),
        CParameter::JobSize(ZSTD_JOB_BYTES),
        CParameter::ChecksumFlag(true),
    ])?;
    let mut packer = zstd::stream::write::Encoder::with_context(out, &mut context);
    packer.write_all(plain)?;
    packer.finish().map(drop)
}

/// Mebibytes of memory that packing takes, and some more. What a worker allocates says nothing about it: most of that are
/// buffers for more contents than come. So it is what the same level takes without one: the same tables, and a window
/// instead of the contents, unless these are larger.
fn memory_mib(contents: usize) -> io::Result<u32> {
    let mut context = context(&[CParameter::CompressionLevel(LEVEL.into())])?;
    let mut packer = zstd::stream::write::Encoder::with_context(io::sink(), &mut context);
    packer.write_all(&[0])?;
    drop(packer);
    let beyond = contents.saturating_sub(1 << WINDOW_LOG_MAX);
    let mib = context.sizeof().div_ceil(MIB) + beyond.div_ceil(MIB) + PROGRAM_MIB;
    u32::try_from(mib).map_err(io::Error::other)
}

fn context(parameters: &[CParameter]) -> io::Result<CCtx<'static>> {
    let mut context = CCtx::create();
    for parameter in parameters {
        context
            .set_parameter(*parameter)
            .map_err(|code| io::Error::other(zstd_safe::get_error_name(code)))?;
    }
    Ok(context)
}

/// Takes bytes that are known beforehand; ends with the first that is another.
struct Expected<'a> {
    rest: &'a [u8],
    is_so: bool,
}

impl io::Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(rest) = self.rest.strip_prefix(bytes) else {
            self.is_so = false;
            return Err(io::Error::other("other bytes"));
        };
        self.rest = rest;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Vec<u8> {
        (0..200_000_u32).flat_map(|number| (number / 3).wrapping_mul(0x9e37_79b9).to_le_bytes()).collect()
    }

    #[test]
    fn what_the_program_would_pack_is_proved_and_nothing_else() {
        let plain = contents();
        let mut packed = Vec::new();
        pack(Encoder::Zstd157 { level: LEVEL }, &plain, &mut packed).unwrap();
        let proof = prove(&plain, &packed).unwrap();
        assert_eq!(proof.encoder, Encoder::Zstd157 { level: 22 });
        // For a kernel of 55 MiB the program was seen to take 776.
        assert!((776..900).contains(&proof.memory_mib), "{proof:?}");
        assert_eq!(unpack(&packed, 800_000).unwrap(), plain);
        unpack(&packed, 799_999).unwrap_err();
        // Another level, a byte more, a cut.
        assert_eq!(prove(&plain, &zstd::bulk::compress(&plain, 19).unwrap()), None);
        assert_eq!(prove(&plain, &[&packed[..], &[0]].concat()), None);
        assert_eq!(prove(&plain, &packed[..packed.len() - 1]), None);
    }

    #[test]
    fn only_the_first_frame_is_unpacked() {
        let packed = zstd::bulk::compress(b"kernel", 3).unwrap();
        let two = [&packed[..], &packed].concat();
        assert_eq!(unpack(&two, 100).unwrap(), b"kernel");
        unpack(b"no frame at all", 100).unwrap_err();
    }
}
