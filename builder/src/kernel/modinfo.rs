//! What a kernel module says about itself: the `.modinfo` section of its ELF file.

use crate::error::{Error, Kind, Result};
use object::{Object as _, ObjectSection as _};
use std::io::{self, Read};

/// Largest module, uncompressed. The largest of Debian's is 16 MB.
pub const MODULE_LIMIT_BYTES: u64 = 64 << 20;
/// Memory that unpacking one module may take. Debian packs with a 1 MiB dictionary.
const XZ_MEMORY_LIMIT_BYTES: u64 = 96 << 20;
/// Largest `.modinfo` section.
const MODINFO_LIMIT_BYTES: usize = 1 << 20;

/// What a module says about itself. Names have underscores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modinfo {
    /// Name as `/proc/modules` shows it; empty in modules of kernels before 4.13.
    pub name: String,
    /// Modules it takes symbols from.
    pub depends: Vec<String>,
    /// What should be loaded before it.
    pub pre: Vec<String>,
    /// What should be loaded after it.
    pub post: Vec<String>,
    /// Aliases.
    pub aliases: Vec<String>,
}

/// The name as the kernel shows it.
pub fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name in a file name, and its compression: `drivers/md/dm-mod.ko.xz`.
pub(super) fn module_file(path: &str) -> Option<(String, Packing)> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let (stem, packing) = [
        (".ko.xz", Packing::Xz),
        (".ko.zst", Packing::Zstd),
        (".ko.gz", Packing::Gzip),
        (".ko", Packing::Plain),
    ]
    .into_iter()
    .find_map(|(ending, packing)| Some((file.strip_suffix(ending)?, packing)))?;
    (!stem.is_empty()).then(|| (canonical(stem), packing))
}

/// How a module file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Xz,
    Zstd,
    Gzip,
}

/// The module's own bytes.
pub(super) fn unpack(name: &str, packing: Packing, reader: impl Read) -> Result<Vec<u8>> {
    let take = |reader: &mut dyn Read| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut limited = reader.take(MODULE_LIMIT_BYTES + 1);
        limited.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = match packing {
        Packing::Plain => take(&mut { reader }),
        Packing::Xz => liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_LIMIT_BYTES, 0)
            .map_err(io::Error::other)
            .and_then(|stream| take(&mut liblzma::read::XzDecoder::new_stream(reader, stream))),
        Packing::Zstd => zstd::Decoder::new(reader).and_then(|mut decoder| take(&mut decoder)),
        Packing::Gzip => take(&mut flate2::read::MultiGzDecoder::new(reader)),
    };
    let bytes = bytes.map_err(|source| {
        Error::new(Kind::Hostile, format!("cannot unpack module {name}")).because(source)
    })?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= MODULE_LIMIT_BYTES) {
        return Ok(bytes);
    }
    let message = format!("module {name} is larger than the limit of {MODULE_LIMIT_BYTES} bytes");
    Err(Error::new(Kind::Hostile, message))
}

/// Reads the `.modinfo` section of a module.
pub fn parse(name: &str, elf: &[u8]) -> Result<Modinfo> {
    let bad = |why: &str| Error::new(Kind::Hostile, format!("module {name} {why}"));
    let file = object::File::parse(elf).map_err(|source| bad("is no ELF file").because(source))?;
    let section = file.section_by_name(".modinfo").ok_or_else(|| bad("has no .modinfo section"))?;
    let data = section.data().map_err(|source| bad("has a broken .modinfo section").because(source))?;
    if data.len() > MODINFO_LIMIT_BYTES {
        return Err(bad("has a .modinfo section over 1 MiB"));
    }
    let mut info = Modinfo::default();
    for (key, value) in fields(data) {
        info.take(key, value);
    }
    if info.name.is_empty() {
        name.clone_into(&mut info.name);
    }
    Ok(info)
}

/// The `key=value` strings of a modinfo section.
pub(super) fn fields(data: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    data.split(|byte| *byte == 0).filter_map(|field| str::from_utf8(field).ok()?.split_once('='))
}

impl Modinfo {
    pub(super) fn take(&mut self, key: &str, value: &str) {
        match key {
            "name" => self.name = canonical(value),
            "depends" => {
                let names = value.split(',').filter(|name| !name.is_empty());
                self.depends.extend(names.map(canonical));
            }
            "softdep" => self.take_softdep(value),
            "alias" => self.aliases.push(value.to_owned()),
            _ => {}
        }
    }

    /// `pre: a b post: c`; names before the first keyword mean nothing, as to modprobe.
    fn take_softdep(&mut self, value: &str) {
        let mut into = None;
        for word in value.split_whitespace() {
            match word {
                "pre:" => into = Some(&mut self.pre),
                "post:" => into = Some(&mut self.post),
                name => {
                    if let Some(list) = into.as_deref_mut() {
                        list.push(canonical(name));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info(fields: &[(&str, &str)]) -> Modinfo {
        let mut info = Modinfo::default();
        for (key, value) in fields {
            info.take(key, value);
        }
        info
    }

    #[test]
    fn names_get_underscores_and_soft_dependencies_their_side() {
        let info = info(&[
            ("name", "dm-verity"),
            ("depends", "dm-mod,reed_solomon,"),
            ("softdep", "pre: crypto-crc32c b post: c-d"),
            ("softdep", "stray pre: e"),
        ]);
        assert_eq!(info.name, "dm_verity");
        assert_eq!(info.depends, ["dm_mod", "reed_solomon"]);
        assert_eq!(info.pre, ["crypto_crc32c", "b", "e"]);
        assert_eq!(info.post, ["c_d"]);
    }

    #[test]
    fn file_names_tell_the_module_and_its_packing() {
        assert_eq!(module_file("a/dm-mod.ko.xz"), Some(("dm_mod".into(), Packing::Xz)));
        assert_eq!(module_file("x.ko"), Some(("x".into(), Packing::Plain)));
        assert_eq!(module_file("a/.ko"), None);
        assert_eq!(module_file("modules.builtin"), None);
    }

    #[test]
    fn what_is_no_module_is_refused_by_name() {
        let error = parse("evil", b"\x7fELF").unwrap_err();
        assert_eq!(error.kind(), Kind::Hostile);
        assert!(error.to_string().contains("evil"), "{error}");
        let error = unpack("evil", Packing::Xz, &b"\xfd7zXZ\0rest"[..]).unwrap_err();
        assert_eq!(error.kind(), Kind::Hostile);
    }

    #[test]
    fn a_module_that_unpacks_beyond_the_limit_is_refused() {
        let bomb = zstd::encode_all(io::repeat(0).take(MODULE_LIMIT_BYTES + 1), 1).unwrap();
        let error = unpack("bomb", Packing::Zstd, &bomb[..]).unwrap_err();
        assert!(error.to_string().contains("limit"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0".to_vec();
            elf.extend(&bytes);
            let (_, _) = (parse("x", &elf).is_ok(), parse("x", &bytes).is_ok());
        }
    }
}
