//! A secret Ed25519 key and the file it lives in.

use crate::{
    error::{Doing as _, Error, Kind, Result},
    files,
};
use ed25519_dalek::{
    Signer as _, SigningKey,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes, spki::der::pem::LineEnding},
};
use std::{
    fmt,
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// Most bytes of a key file.
const FILE_BYTES_MAX: u64 = 4096;

/// A secret key. On disk it is PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it; it is never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        let mut seed = [0; 32];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut seed))
            .doing("read", Path::new("/dev/urandom"))?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The one in a file.
    pub fn load(path: &Path) -> Result<Self> {
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
            .doing("read the key", path)?;
        let key = SigningKey::from_pkcs8_pem(&text).map_err(|source| {
            Error::new(Kind::Usage, format!("{} holds no Ed25519 private key", path.display()))
                .because(source.to_string())
                .hint("a key file is PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it")
        })?;
        Ok(Self(key))
    }

    /// Writes it to a new file that only its owner can read. Files that exist are left alone.
    pub fn save(&self, path: &Path) -> Result<()> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(Error::new(Kind::Usage, format!("{} exists; keys are not replaced", path.display()))
                .hint("choose another name"));
        }
        let pair = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem = pair.to_pkcs8_pem(LineEnding::LF).map_err(|source| {
            Error::new(Kind::Internal, "cannot encode a key").because(source.to_string())
        })?;
        let mut file = files::beside(path)?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o600))
            .and_then(|()| file.write_all(pem.as_bytes()))
            .doing("write", path)?;
        files::commit(file, path)
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs bytes.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_key_is_the_same_when_loaded_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root-1.pem");
        let key = SecretKey::generate().unwrap();
        key.save(&path).unwrap();
        assert_eq!(SecretKey::load(&path).unwrap().public(), key.public());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(key.save(&path).unwrap_err().kind(), Kind::Usage);
        assert_eq!(format!("{key:?}"), "SecretKey");
    }

    #[test]
    fn a_key_that_openssl_made_is_read() {
        // `openssl genpkey` writes version 1 of the format, without the public key (RFC 8410, section 7).
        let secret_key = SecretKey::generate().unwrap().0.to_bytes();
        let written = KeypairBytes { secret_key, public_key: None };
        let pem = written.to_pkcs8_pem(LineEnding::LF).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        files::replace(&path, pem.as_bytes()).unwrap();
        let public = SecretKey::load(&path).unwrap().public();
        assert_eq!(public, ed25519_dalek::SigningKey::from_bytes(&secret_key).verifying_key().to_bytes());
    }

    #[test]
    fn what_is_no_key_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        files::replace(&path, b"hello").unwrap();
        assert_eq!(SecretKey::load(&path).unwrap_err().kind(), Kind::Usage);
    }
}
