//! The outer form of a package: an `ar` archive of three members, the last a compressed tar of its files.

use super::Package;
use crate::{
    archive::Compression,
    context::Context,
    digest::{Digest, Hasher},
    error::{Doing, Error, Kind, Result},
};
use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest file list of a package, unpacked.
pub const DATA_BYTES_MAX: u64 = 2 << 30;
/// Memory that unpacking xz may use.
const XZ_MEMORY_MAX: u64 = 128 << 20;
/// Members of the archive; two follow the format's mark.
const MEMBERS_MAX: usize = 16;

const AR_MAGIC: &[u8; 8] = b"!<arch>\n";
const AR_HEADER_BYTES: usize = 60;

/// A package's files as an uncompressed tar archive in the cache.
#[derive(Clone, Debug)]
pub struct DataTar {
    /// Where it is.
    pub path: Arc<Path>,
    /// Identifies its bytes; not their plain digest.
    pub identity: Digest,
}

/// The files of a package that has been fetched. Unpacked once, then kept.
pub fn data_tar(ctx: &Context, package: &Package) -> Result<DataTar> {
    let deb = ctx.cache.object(&package.sha256).ok_or_else(|| {
        let text = format!("package {package} has not been fetched");
        Error::new(Kind::NotFound, text)
    })?;
    data_tar_of(ctx, &deb, &package.sha256)
        .map_err(|error| Error::new(error.kind(), format!("cannot unpack package {package}")).because(error))
}

/// As [`data_tar`], for the package file `deb` with digest `sha256`.
pub(super) fn data_tar_of(ctx: &Context, deb: &Path, sha256: &Digest) -> Result<DataTar> {
    let mut key = Hasher::default();
    key.field(b"coracle data.tar 0");
    key.field(&sha256.0);
    let identity = key.digest();
    let (dir, _) = ctx.cache.step(&identity, |out| {
        refuse_damaged(deb, sha256)?;
        let (compression, data) = find_data(deb)?;
        let path = out.join("data.tar");
        decompress(ctx, compression, data, &path)
    })?;
    let path: PathBuf = dir.join("data.tar");
    Ok(DataTar { path: path.into(), identity })
}

/// It was right when it was fetched. What a disk has made of it since is found out here, and fetched anew by the next run.
fn refuse_damaged(deb: &Path, sha256: &Digest) -> Result<()> {
    let (found, _) = Digest::of_reader(&mut File::open(deb).doing("open", deb)?).doing("read", deb)?;
    if found == *sha256 {
        return Ok(());
    }
    fs::remove_file(deb).doing("remove the damaged", deb)?;
    let text = format!("its copy in the cache, {}, was damaged and is now removed", deb.display());
    Err(Error::new(Kind::Digest, text).hint("run it again: the package is then fetched anew"))
}

fn bad(why: &str) -> Error {
    Error::new(Kind::Hostile, format!("it is not a Debian package: {why}"))
}

/// The member with the files. Every length is checked against the size of the file before it is used.
fn find_data(deb: &Path) -> Result<(Compression, io::Take<File>)> {
    let mut file = File::open(deb).doing("open", deb)?;
    let size = file.metadata().doing("inspect", deb)?.len();
    let mut magic = [0; AR_MAGIC.len()];
    read_exactly(&mut file, &mut magic, deb)?;
    if &magic != AR_MAGIC {
        return Err(bad("it does not begin as an ar archive"));
    }
    let mut at: u64 = 8;
    for number in 0..MEMBERS_MAX {
        let mut header = [0; AR_HEADER_BYTES];
        read_exactly(&mut file, &mut header, deb)?;
        let (name, length) = parse_header(&header)?;
        at += 60;
        let end = at.checked_add(length).filter(|end| *end <= size);
        let end = end.ok_or_else(|| bad(&format!("its member {name:?} is cut short")))?;
        if number == 0 {
            check_mark(&mut file, &name, length, deb)?;
        } else if let Some(suffix) = name.strip_prefix("data.tar") {
            let compression = match suffix {
                "" => Compression::Plain,
                ".gz" => Compression::Gzip,
                ".xz" => Compression::Xz,
                ".zst" => Compression::Zstd,
                _ => return Err(bad(&format!("{name:?} has an unknown compression"))),
            };
            return Ok((compression, file.take(length)));
        }
        at = end + end % 2;
        file.seek(SeekFrom::Start(at)).doing("seek in", deb)?;
    }
    Err(bad("it has no data.tar among its first members"))
}

fn read_exactly(file: &mut File, out: &mut [u8], deb: &Path) -> Result<()> {
    match file.read_exact(out) {
        Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => Err(bad("it ends too early")),
        outcome => outcome.doing("read", deb),
    }
}

/// The first member says that this is format 2.
fn check_mark(file: &mut File, name: &str, length: u64, deb: &Path) -> Result<()> {
    let mut mark = [0; 2];
    if name != "debian-binary" || length < 4 {
        return Err(bad("its first member is not debian-binary"));
    }
    read_exactly(file, &mut mark, deb)?;
    if &mark == b"2." { Ok(()) } else { Err(bad("its format is not 2.x")) }
}

fn parse_header(header: &[u8; AR_HEADER_BYTES]) -> Result<(String, u64)> {
    if &header[58..] != b"`\n" {
        return Err(bad("a member's header is damaged"));
    }
    let text = |range: std::ops::Range<usize>| {
        let text = str::from_utf8(&header[range]).unwrap_or_default();
        text.trim_end_matches(' ')
    };
    let name = text(0..16).trim_end_matches('/').to_owned();
    let digits = text(48..58);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad("a member's length is not a number"));
    }
    let length = digits.parse().map_err(|source| bad("a member's length is not a number").because(source))?;
    Ok((name, length))
}

fn decompress(ctx: &Context, compression: Compression, data: io::Take<File>, to: &Path) -> Result<()> {
    let data = BufReader::with_capacity(1 << 16, data);
    let mut reader = compression
        .decoder(data, XZ_MEMORY_MAX)
        .map_err(|source| Error::new(Kind::Internal, "cannot set up a decoder").because(source))?;
    let mut out = File::create(to).doing("create", to)?;
    let mut buffer = vec![0; 1 << 17];
    let mut total: u64 = 0;
    loop {
        ctx.check()?;
        let count =
            reader.read(&mut buffer).map_err(|source| bad("its data.tar is damaged").because(source))?;
        if count == 0 {
            return Ok(());
        }
        total += u64::try_from(count).unwrap_or(u64::MAX);
        if total > DATA_BYTES_MAX {
            let text = format!("its files are larger than {DATA_BYTES_MAX} bytes");
            return Err(Error::new(Kind::Hostile, text));
        }
        out.write_all(&buffer[..count]).doing("write", to)?;
    }
}
