//! A secret Ed25519 key and the file it lives in, open or encrypted.

use super::passphrase::Passphrase;
use crate::{
    context::Context,
    error::{Doing as _, Error, Kind, Result},
    files,
};
use coracle_trust::document::PublicKey;
use ed25519_dalek::{
    Signer as _, SigningKey,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes, spki::der::pem::LineEnding},
};
use pkcs8::{
    EncryptedPrivateKeyInfoOwned, PrivateKeyInfoRef, SecretDocument,
    der::{Decode as _, pem::PemLabel as _},
    pkcs5::{self, EncryptionScheme, pbes2, scrypt},
};
use std::{
    fmt,
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Most bytes of a key file.
const FILE_BYTES_MAX: u64 = 4096;
/// How an encrypted key file tells its public key, on a line before the PEM.
const LABEL: &str = "Ed25519 public key: ";
/// scrypt: N is two to this power, 16 MiB of memory; more is beyond what OpenSSL opens.
const SCRYPT_LOG_N: u8 = 14;
const SCRYPT_R: u32 = 8;
/// Times over, for the strength that the memory does not give.
const SCRYPT_P: u32 = 5;
/// The dearest key derivation that is tried: 1 GiB of memory.
const SCRYPT_COST_MAX: u64 = 1 << 23;
const PBKDF2_ROUNDS_MAX: u32 = 20_000_000;

/// A secret key. On disk it is PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it; it is never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        random().map(|seed| Self(SigningKey::from_bytes(&seed)))
    }

    /// The one that follows from 32 bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The one in a file that is not encrypted.
    pub fn load(path: &Path) -> Result<Self> {
        match KeyFile::load(path)?.body {
            Body::Open(key) => Ok(key),
            Body::Sealed(_) => {
                Err(Error::new(Kind::Usage, format!("the key in {} is encrypted", path.display()))
                    .hint("coracle keys decrypt FILE opens it"))
            }
        }
    }

    /// Writes it to a new file that only its owner can read. Files that exist are left alone.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.store(path, None)
    }

    /// Writes it to a new file that only its owner can read, encrypted if there is a passphrase.
    pub fn store(&self, path: &Path, passphrase: Option<&str>) -> Result<()> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(Error::new(Kind::Usage, format!("{} exists; keys are not replaced", path.display()))
                .hint("choose another name"));
        }
        self.replace(path, passphrase)
    }

    /// Writes it to a file that only its owner can read, in place of what was there.
    pub(super) fn replace(&self, path: &Path, passphrase: Option<&str>) -> Result<()> {
        let pem = match passphrase {
            None => self.open_pem(),
            Some(passphrase) => self.sealed_pem(passphrase),
        };
        let cannot = |source: pkcs8::Error| {
            Error::new(Kind::Internal, "cannot encode a key").because(source.to_string())
        };
        let pem = pem.map_err(cannot)?;
        let mut file = files::beside(path)?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o600))
            .and_then(|()| file.write_all(pem.as_bytes()))
            .doing("write", path)?;
        files::commit(file, path)
    }

    fn open_pem(&self) -> pkcs8::Result<String> {
        Ok(self.pair().to_pkcs8_pem(LineEnding::LF)?.to_string())
    }

    fn sealed_pem(&self, passphrase: &str) -> pkcs8::Result<String> {
        let der = self.pair().to_pkcs8_der()?;
        let random = || random::<16>().or(Err(pkcs5::Error::Rng));
        let (salt, iv) = (random()?, random()?);
        let params = scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P);
        let params = params.or(Err(pkcs5::Error::Rng))?;
        let params = pbes2::Parameters::generate_scrypt_aes256cbc(params, &salt, iv)?;
        let sealed = PrivateKeyInfoRef::from_der(der.as_bytes())?.encrypt_with_params(params, passphrase)?;
        let pem = sealed.to_pem(EncryptedPrivateKeyInfoOwned::PEM_LABEL, LineEnding::LF)?;
        Ok(format!("{LABEL}{}\n{}", super::hex(&self.public()), pem.as_str()))
    }

    fn pair(&self) -> KeypairBytes {
        KeypairBytes { secret_key: self.0.to_bytes(), public_key: None }
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
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

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    let path = Path::new("/dev/urandom");
    File::open(path).and_then(|mut file| file.read_exact(&mut out)).doing("read", path)?;
    Ok(out)
}

/// A key file that was read, and not opened yet if it is encrypted.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Open(SecretKey),
    Sealed(String),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "Open",
            Self::Sealed(_) => "Sealed",
        })
    }
}

impl KeyFile {
    /// Reads a key file.
    pub fn load(path: &Path) -> Result<Self> {
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
            .doing("read the key", path)?;
        let body = if text.contains(&format!("-----BEGIN {}-----", EncryptedPrivateKeyInfoOwned::PEM_LABEL)) {
            Body::Sealed(text)
        } else {
            let key = SigningKey::from_pkcs8_pem(&text).map_err(|source| no_key(path, source))?;
            Body::Open(SecretKey(key))
        };
        Ok(Self { path: path.to_owned(), body })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it needs a passphrase.
    pub const fn is_sealed(&self) -> bool {
        matches!(self.body, Body::Sealed(_))
    }

    /// Its public key, if it can be told without a passphrase. That of an encrypted key is only what the file says.
    pub fn public(&self) -> Option<PublicKey> {
        match &self.body {
            Body::Open(key) => Some(key.public()),
            Body::Sealed(text) => {
                let label = text.lines().find_map(|line| line.strip_prefix(LABEL))?;
                super::parse_hex(label.trim())
            }
        }
    }

    /// The key itself.
    pub fn open(&self, ctx: &Context, passphrase: &Passphrase) -> Result<SecretKey> {
        let text = match &self.body {
            Body::Open(key) => return Ok(key.clone()),
            Body::Sealed(text) => text,
        };
        let (_, der) = SecretDocument::from_pem(text).map_err(|source| no_key(&self.path, source))?;
        let sealed = EncryptedPrivateKeyInfoOwned::from_der(der.as_bytes());
        let sealed = sealed.map_err(|source| no_key(&self.path, source))?;
        if is_too_dear(&sealed.encryption_algorithm) {
            let message = format!("the encryption of {} would take too much to open", self.path.display());
            return Err(Error::new(Kind::Hostile, message));
        }
        let passphrase = passphrase.get(ctx, &self.path.display().to_string())?;
        let key = sealed
            .decrypt(passphrase)
            .ok()
            .and_then(|der| SigningKey::from_pkcs8_der(der.as_bytes()).ok())
            .map(SecretKey)
            .ok_or_else(|| {
                let message = format!("the passphrase does not open {}", self.path.display());
                Error::new(Kind::Usage, message).hint("keys of one directory must have the same passphrase")
            })?;
        match self.public() {
            Some(stated) if stated != key.public() => {
                let message = format!("{} holds another key than it says", self.path.display());
                Err(Error::new(Kind::Hostile, message))
            }
            Some(_) | None => Ok(key),
        }
    }
}

fn is_too_dear(scheme: &EncryptionScheme) -> bool {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        return false;
    };
    if let pbes2::Kdf::Scrypt(scrypt) = &parameters.kdf {
        let memory = u64::saturating_mul(scrypt.cost_parameter, scrypt.block_size.into());
        return memory.saturating_mul(scrypt.parallelization.into()) > SCRYPT_COST_MAX;
    }
    if let pbes2::Kdf::Pbkdf2(pbkdf2) = &parameters.kdf {
        return pbkdf2.iteration_count > PBKDF2_ROUNDS_MAX;
    }
    false
}

fn no_key(path: &Path, source: impl fmt::Display) -> Error {
    Error::new(Kind::Usage, format!("{} holds no Ed25519 private key", path.display()))
        .because(source.to_string())
        .hint("a key file is PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cache::Cache, report::Report};

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
    fn an_encrypted_key_opens_with_its_passphrase_only_and_tells_its_public_key_without() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Context::new(Cache::open(dir.path().join("cache")).unwrap(), Report::silent());
        let path = dir.path().join("root-1.pem");
        let key = SecretKey::generate().unwrap();
        key.store(&path, Some("correct horse")).unwrap();
        let file = KeyFile::load(&path).unwrap();
        assert_eq!((file.is_sealed(), file.public()), (true, Some(key.public())));
        let open = |passphrase: &str| file.open(&ctx, &Passphrase::known(passphrase));
        assert_eq!(open("correct horse").unwrap().public(), key.public());
        assert_eq!(open("wrong horse").unwrap_err().kind(), Kind::Usage);
        assert_eq!(SecretKey::load(&path).unwrap_err().kind(), Kind::Usage);
        // The label is no more than that.
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&super::super::hex(&key.0.to_bytes())));
        let other = text.replace(
            &super::super::hex(&key.public()),
            &super::super::hex(&SecretKey::generate().unwrap().public()),
        );
        files::replace(&path, other.as_bytes()).unwrap();
        let error =
            KeyFile::load(&path).unwrap().open(&ctx, &Passphrase::known("correct horse")).unwrap_err();
        assert_eq!(error.kind(), Kind::Hostile);
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
