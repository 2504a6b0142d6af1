//! The two programs on their way to a signer elsewhere and back: an HSM, or another signing tool.

use super::{Parts, Signer, attach, is_signed, same_program, sign_detached, sign_file, strip};
use crate::{
    error::{Doing as _, Error, Kind, Result},
    files,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The selector in a directory of programs.
pub const SELECTOR: &str = "selector.efi";
/// The boot artefact there.
pub const BOOT: &str = "boot.efi";
/// Added to the name of a program: its detached signature.
const DETACHED: &str = "p7";
/// Longest program that is read.
const PROGRAM_BYTES_MAX: u64 = 512 << 20;
/// Longest detached signature.
const SIGNATURE_BYTES_MAX: u64 = 256 << 10;

impl Parts {
    /// Both programs, signed with this key.
    pub fn signed(&self, signer: &Signer) -> Result<Self> {
        self.map(|_, bytes| sign_file(bytes, signer))
    }

    /// Whether both programs carry a signature.
    pub fn are_signed(&self) -> Result<bool> {
        Ok(is_signed(&self.selector)? && is_signed(&self.boot)?)
    }

    /// Writes both programs, without signatures, to `dir`.
    pub fn export(&self, dir: &Path) -> Result<[PathBuf; 2]> {
        let bare = self.map(|_, bytes| strip(bytes))?;
        store(dir, [(SELECTOR.into(), &bare.selector), (BOOT.into(), &bare.boot)])
    }

    /// Writes a detached signature of each program to `dir`.
    pub fn detach(&self, signer: &Signer, dir: &Path) -> Result<[PathBuf; 2]> {
        let signatures = self.map(|_, bytes| sign_detached(bytes, signer))?;
        let name = |program: &str| PathBuf::from(format!("{program}.{DETACHED}"));
        store(dir, [(name(SELECTOR), &signatures.selector), (name(BOOT), &signatures.boot)])
    }

    /// The programs with the signatures that `dir` brings: detached ones, or signed programs. Refused unless the programs
    /// are these very ones.
    pub fn import(&self, dir: &Path) -> Result<Self> {
        self.map(|name, own| import(own, &dir.join(name)))
    }

    fn map(&self, mut change: impl FnMut(&str, &[u8]) -> Result<Vec<u8>>) -> Result<Self> {
        Ok(Self {
            selector: change(SELECTOR, &self.selector)?,
            boot: change(BOOT, &self.boot)?,
            arch: self.arch,
        })
    }
}

fn import(own: &[u8], path: &Path) -> Result<Vec<u8>> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{DETACHED}"));
    let beside = PathBuf::from(beside);
    if beside.exists() {
        return attach(own, &read(&beside, SIGNATURE_BYTES_MAX)?).map_err(|error| {
            Error::new(error.kind(), format!("cannot use {}", beside.display())).because(error)
        });
    }
    let signed = read(path, PROGRAM_BYTES_MAX)?;
    let refused = |why: &str, hint: &str| {
        Error::new(Kind::Signature, format!("cannot use {}: {why}", path.display())).hint(hint)
    };
    let same = same_program(own, &signed)
        .map_err(|error| Error::new(error.kind(), format!("cannot use {}", path.display())).because(error))?;
    if !same {
        return Err(refused(
            "it is another program than the one on the disk",
            "export the programs of this very build with `coracle sign DIR --export WORK` and sign those",
        ));
    }
    if !is_signed(&signed)? {
        return Err(refused(
            "it has no signature",
            "sign it, or put its detached signature beside it as FILE.p7",
        ));
    }
    Ok(signed)
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = format!("there is neither {} nor {0}.{DETACHED}", path.display());
            return Err(Error::new(Kind::NotFound, message).hint(format!(
                "the directory must hold {SELECTOR} and {BOOT}, signed, or their signatures {SELECTOR}.{DETACHED} \
                 and {BOOT}.{DETACHED}"
            )));
        }
        other => other.doing("read", path)?.len(),
    };
    if bytes > limit {
        let message = format!("{} has {bytes} bytes, more than {limit}", path.display());
        return Err(Error::new(Kind::Hostile, message));
    }
    fs::read(path).doing("read", path)
}

fn store(dir: &Path, programs: [(PathBuf, &Vec<u8>); 2]) -> Result<[PathBuf; 2]> {
    fs::create_dir_all(dir).doing("create directory", dir)?;
    for (name, bytes) in &programs {
        files::replace(&dir.join(name), bytes)?;
    }
    Ok(programs.map(|(name, _)| dir.join(name)))
}
