//! Secure Boot with the user's own keys: signing what firmware starts, and a machine's firmware that trusts them.
//!
//! ```text
//! keys          an RSA key and its certificate, made or read
//! der           as much of X.690 as a signature needs
//! authenticode  the digest of a PE file, and the place of its signature
//! signature     PKCS#7 over that digest
//! image         the selector and the boot artefact of a disk
//! exchange      the two on their way to a signer elsewhere and back
//! directory     what `coracle build` has made, signed, and its record
//! variables     a UEFI variable store with the keys enrolled
//! ```

mod authenticode;
mod der;
mod directory;
mod exchange;
mod image;
mod keys;
mod signature;
mod variables;

pub use directory::{Origin, disk_in, sign_built};
pub use exchange::{BOOT, SELECTOR};
pub use image::{Parts, sign};
pub use keys::{CERTIFICATE, KEY, Signer, certificate, create};
pub use variables::enrol;

use crate::error::{Error, Kind, Result};
use authenticode::Executable;

/// A signed copy of a PE file.
pub fn sign_file(bytes: &[u8], signer: &Signer) -> Result<Vec<u8>> {
    let detached = sign_detached(bytes, signer)?;
    attach(bytes, &detached)
}

/// A signature of a PE file, apart from it: DER of PKCS#7 `SignedData`, as other signing tools make and take it.
pub fn sign_detached(bytes: &[u8], signer: &Signer) -> Result<Vec<u8>> {
    let digest = executable(bytes)?.digest();
    signature::make(&digest, signer)
}

/// A copy of a PE file with a signature that was made elsewhere. Refused when it is not one of this very file.
pub fn attach(bytes: &[u8], detached: &[u8]) -> Result<Vec<u8>> {
    let executable = executable(bytes)?;
    if !signature::covers(detached, &executable.digest()) {
        return Err(Error::new(Kind::Digest, "the signature is not one of this file")
            .hint("sign the file again: it may have been built anew since"));
    }
    executable.attach(detached).map_err(not_signable)
}

/// The file without its signature, if it has one: what it was before it was signed.
pub fn strip(bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(executable(bytes)?.strip())
}

/// Whether a PE file carries a signature, of whomever.
pub fn is_signed(bytes: &[u8]) -> Result<bool> {
    Ok(executable(bytes)?.is_signed())
}

/// Whether two PE files are the same but for their signatures.
pub fn same_program(one: &[u8], other: &[u8]) -> Result<bool> {
    Ok(executable(one)?.digest() == executable(other)?.digest())
}

fn executable(bytes: &[u8]) -> Result<Executable<'_>> {
    Executable::parse(bytes).map_err(not_signable)
}

fn not_signable(why: &'static str) -> Error {
    Error::new(Kind::Hostile, format!("cannot sign the file: {why}"))
        .hint("give an EFI program (PE32+) as `coracle sign --export` writes it")
}

#[cfg(test)]
mod tests;
