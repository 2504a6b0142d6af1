//! A key that signs what firmware starts, and its certificate. Firmware knows RSA with SHA-256 (UEFI 2.10, §32.5).

use super::der;
use crate::digest::Digest;
use crate::error::{Doing as _, Error, Kind, Result};
use ring::{rand::SystemRandom, rsa::KeyPair, signature::RSA_PKCS1_SHA256};
use rsa::pkcs8::EncodePrivateKey as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::{
    fmt, fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The key's file in a directory that [`create`] made.
pub const KEY: &str = "secure-boot.key";
/// The certificate's file there.
pub const CERTIFICATE: &str = "secure-boot.crt";
/// Bits of a new key: what every firmware knows.
const BITS: usize = 2048;
/// Firmware does not look at the dates of a certificate; these are for other tools.
const YEARS: (i32, i32) = (2020, 2120);
/// Longest key or certificate file.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Makes a key and a certificate that vouches for itself, in PEM. Existing files are left alone.
pub fn create(dir: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
    fs::create_dir_all(dir).doing("create directory", dir)?;
    let (key_path, certificate_path) = (dir.join(KEY), dir.join(CERTIFICATE));
    for path in [&key_path, &certificate_path] {
        if path.exists() {
            let message = format!("{} is there already; keys are not replaced", path.display());
            return Err(Error::new(Kind::Usage, message).hint("choose another directory"));
        }
    }
    let made = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, BITS)
        .map_err(|source| Error::new(Kind::Internal, "cannot make a key").because(source))?;
    let der = made
        .to_pkcs8_der()
        .map_err(|source| Error::new(Kind::Internal, "cannot encode the key").because(source))?;
    let pair = rcgen::KeyPair::try_from(der.as_bytes()).map_err(unusable)?;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(YEARS.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(YEARS.1, 1, 1);
    let certificate = params.self_signed(&pair).map_err(unusable)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&key_path)
        .doing("create", &key_path)?;
    file.write_all(pair.serialize_pem().as_bytes()).doing("write", &key_path)?;
    file.sync_all().doing("write", &key_path)?;
    crate::files::replace(&certificate_path, certificate.pem().as_bytes())?;
    Ok((key_path, certificate_path))
}

fn unusable(source: rcgen::Error) -> Error {
    Error::new(Kind::Internal, "cannot make a certificate").because(source)
}

/// A key with its certificate.
pub struct Signer {
    pair: KeyPair,
    certificate: Vec<u8>,
    issuer: Vec<u8>,
    serial: Vec<u8>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Reads a key (PEM, PKCS#8 or PKCS#1) and its certificate (PEM).
    pub fn read(key: &Path, certificate: &Path) -> Result<Self> {
        let bad = |path: &Path, why: String| {
            Error::new(Kind::Usage, format!("cannot use {}: {why}", path.display())).hint(
                "make a pair with `coracle keys secure-boot DIR`: an RSA key and a certificate, both PEM",
            )
        };
        let private = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|error| bad(key, format!("it holds no private key in PEM ({error})")))?;
        let pair = match &private {
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(_) | _ => return Err(bad(key, "it is no RSA key".to_owned())),
        }
        .map_err(|error| bad(key, format!("it is no RSA key of 2048 bits or more ({error})")))?;
        let der = self::certificate(certificate)?;
        let (issuer, serial, public) =
            take_apart(&der).ok_or_else(|| bad(certificate, "it is no X.509 certificate".to_owned()))?;
        // The key as it stands in the certificate: modulus and exponent.
        if !public.ends_with(pair.public().as_ref()) {
            return Err(bad(certificate, format!("it is not the certificate of {}", key.display())));
        }
        Ok(Self { pair, issuer, serial, certificate: der })
    }

    /// The certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// SHA-256 of the certificate: how other tools name it.
    pub fn fingerprint(&self) -> String {
        Digest::of(&self.certificate).to_string()
    }

    pub(super) fn issuer_and_serial(&self) -> (&[u8], &[u8]) {
        (&self.issuer, &self.serial)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        match self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature) {
            Ok(()) => Ok(signature),
            Err(source) => Err(Error::new(Kind::Internal, "cannot sign").because(source.to_string())),
        }
    }
}

/// The certificate in a PEM file, as DER.
pub fn certificate(path: &Path) -> Result<Vec<u8>> {
    let der = CertificateDer::from_pem_slice(&read(path)?).map_err(|error| {
        let message = format!("cannot use {}: it holds no certificate in PEM ({error})", path.display());
        Error::new(Kind::Usage, message)
    })?;
    Ok(der.to_vec())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::metadata(path).doing("read", path)?.len();
    if bytes > FILE_BYTES_MAX {
        let message = format!("{} has {bytes} bytes: it is no key and no certificate", path.display());
        return Err(Error::new(Kind::Usage, message));
    }
    fs::read(path).doing("read", path)
}

/// Issuer and serial number as they are encoded, and the bits of the public key.
fn take_apart(certificate: &[u8]) -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let (whole, []) = der::read(certificate)? else {
        return None;
    };
    let body = der::inside(der::inside(whole.contents)?.first()?.contents)?;
    // The version is there in every certificate but those of version 1.
    let fields = body.get(usize::from(body.first()?.tag == der::CONTEXT_0)..)?;
    let [serial, _, issuer, _, _, public, ..] = fields else {
        return None;
    };
    let bits = der::inside(public.contents)?.get(1)?.contents;
    (serial.tag == der::INTEGER).then(|| (issuer.whole.to_vec(), serial.whole.to_vec(), bits.to_vec()))
}
