//! For tests: keys made on the spot, packages of any content, and an archive signed with them.

use super::Pocket;
use crate::digest::Digest;
use pgp::{
    composed::{
        ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
        SignedSecretKey, SubkeyParamsBuilder,
    },
    crypto::hash::HashAlgorithm,
    packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData},
    ser::Serialize as _,
    types::{Duration, KeyDetails as _, Password, SigningKey, Tag, Timestamp},
};
use std::{collections::BTreeMap, io::Write};

/// When test keys are made, and test releases signed: 2026-01-01 and a day later.
pub(crate) const KEY_MADE: u32 = 1_767_225_600;
pub(crate) const DAY: u32 = 86_400;

pub(crate) struct Key(SignedSecretKey);

impl Key {
    /// A primary key that certifies only, with a subkey that signs, as Debian's are.
    pub(crate) fn new() -> Self {
        Self::of_type(&KeyType::Ed25519Legacy)
    }

    pub(crate) fn of_type(kind: &KeyType) -> Self {
        let subkey = SubkeyParamsBuilder::default()
            .key_type(kind.clone())
            .can_sign(true)
            .created_at(Timestamp::from_secs(KEY_MADE))
            .build()
            .unwrap();
        let params = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .created_at(Timestamp::from_secs(KEY_MADE))
            .primary_user_id("archive of a test".to_owned())
            .subkeys(vec![subkey])
            .build()
            .unwrap();
        Self(params.generate(rand::thread_rng()).unwrap())
    }

    pub(crate) fn public(&self) -> Vec<u8> {
        self.0.to_public_key().to_bytes().unwrap()
    }

    /// The public key with a newer self-signature that lets it end `seconds` after it was made.
    pub(crate) fn public_until(&self, seconds: u32) -> Vec<u8> {
        let mut public = self.0.to_public_key();
        let user = &mut public.details.users[0];
        let mut config = self.config(SignatureType::CertPositive);
        config.hashed_subpackets = user.signatures[0]
            .config()
            .unwrap()
            .hashed_subpackets
            .iter()
            .filter(|packet| !matches!(packet.data, SubpacketData::SignatureCreationTime(_)))
            .cloned()
            .collect();
        for data in [
            SubpacketData::SignatureCreationTime(Timestamp::from_secs(u32::MAX)),
            SubpacketData::KeyExpirationTime(Duration::from_secs(seconds)),
        ] {
            config.hashed_subpackets.push(Subpacket::regular(data).unwrap());
        }
        let signature = config
            .sign_certification(
                &self.0.primary_key,
                self.0.primary_key.public_key(),
                &Password::empty(),
                Tag::UserId,
                &user.id,
            )
            .unwrap();
        user.signatures.push(signature);
        public.to_bytes().unwrap()
    }

    pub(crate) fn public_revoked(&self) -> Vec<u8> {
        let mut public: SignedPublicKey = self.0.to_public_key();
        let signature = self
            .config(SignatureType::KeyRevocation)
            .sign_key(&self.0.primary_key, &Password::empty(), self.0.primary_key.public_key())
            .unwrap();
        public.details.revocation_signatures.push(signature);
        public.to_bytes().unwrap()
    }

    fn config(&self, kind: SignatureType) -> SignatureConfig {
        let key = &self.0.primary_key;
        let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha256);
        for data in [
            SubpacketData::IssuerFingerprint(key.fingerprint()),
            SubpacketData::SignatureCreationTime(Timestamp::from_secs(KEY_MADE)),
        ] {
            config.hashed_subpackets.push(Subpacket::regular(data).unwrap());
        }
        config
    }

    /// `text`, clear-signed by the subkey at time `made`.
    pub(crate) fn sign(&self, text: &str, made: u32) -> String {
        self.sign_with(text, made, HashAlgorithm::Sha256)
    }

    pub(crate) fn sign_with(&self, text: &str, made: u32, hash: HashAlgorithm) -> String {
        clear_sign(&self.0.secret_subkeys[0].key, text, made, hash)
    }

    /// `text`, clear-signed by the primary key, which may not.
    pub(crate) fn sign_with_primary(&self, text: &str, made: u32) -> String {
        clear_sign(&self.0.primary_key, text, made, HashAlgorithm::Sha256)
    }
}

fn clear_sign(key: &impl SigningKey, text: &str, made: u32, hash: HashAlgorithm) -> String {
    let message = CleartextSignedMessage::new_many(text, |text| {
        let mut config = SignatureConfig::v4(SignatureType::Text, key.algorithm(), hash);
        for data in [
            SubpacketData::SignatureCreationTime(Timestamp::from_secs(made)),
            SubpacketData::IssuerFingerprint(key.fingerprint()),
        ] {
            config.hashed_subpackets.push(Subpacket::regular(data)?);
        }
        Ok(vec![config.sign(key, &Password::empty(), text.as_bytes())?])
    });
    message.unwrap().to_armored_string(ArmorOptions::default()).unwrap()
}

/// A tar member: its header with a right checksum, its body, its padding.
pub(crate) fn member(name: &str, kind: u8, link: &str, body: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0004755");
    header[108..115].copy_from_slice(b"0000001");
    header[116..123].copy_from_slice(b"0000002");
    header[124..135].copy_from_slice(format!("{:011o}", body.len()).as_bytes());
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header[257..263].copy_from_slice(b"ustar\0");
    let mut out = with_checksum(header).to_vec();
    out.extend_from_slice(body);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

pub(crate) fn with_checksum(mut header: [u8; 512]) -> [u8; 512] {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

/// An extended header that says `name=value`.
pub(crate) fn pax(name: &str, value: &[u8]) -> Vec<u8> {
    let rest = name.len() + value.len() + 3;
    let digits = |length: usize| length.to_string().len();
    let length = rest + digits(rest + digits(rest));
    let mut body = format!("{length} {name}=").into_bytes();
    body.extend_from_slice(value);
    body.push(b'\n');
    member("pax", b'x', "", &body)
}

pub(crate) fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    let mut out = members.concat();
    out.resize(out.len() + 1024, 0);
    out
}

/// An `ar` archive.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, body) in members {
        let length = body.len();
        out.extend(format!("{name:<16}0           0     0     100644  {length:<10}`\n").bytes());
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

/// A package whose files are `data`, a member named for its compression.
pub(crate) fn deb(name: &str, data: &[u8]) -> Vec<u8> {
    let mark: &[u8] = b"2.0\n";
    ar(&[("debian-binary", mark), ("control.tar.xz", b"odd"), (name, data)])
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The files of an archive of suite `trixie`, by their paths below its base.
#[derive(Clone, Default)]
pub(crate) struct Files(pub(crate) BTreeMap<String, Vec<u8>>);

impl Files {
    /// Adds a package to `pocket`'s pool and list.
    pub(crate) fn package(&mut self, pocket: Pocket, name: &str, fields: &str, deb: &[u8]) {
        let filename = format!("pool/{}/{name}.deb", pocket.word());
        let (size, digest) = (deb.len(), Digest::of(deb));
        let list = self.0.entry(list_path(pocket)).or_default();
        let version = if fields.starts_with("Version:") { "" } else { "Version: 1\n" };
        let stanza = format!(
            "Package: {name}\n{version}Architecture: amd64\n{fields}Filename: {filename}\nSize: {size}\n\
             SHA256: {digest}\n\n"
        );
        list.extend_from_slice(stanza.as_bytes());
        self.0.insert(filename, deb.to_vec());
    }

    /// Compresses the lists and signs every pocket's release, dated and signed at `made`.
    pub(crate) fn sign(mut self, key: &Key, made: u32) -> Self {
        for pocket in Pocket::ALL {
            let dist = pocket.dist("trixie");
            let list = xz(&self.0.remove(&list_path(pocket)).unwrap_or_default());
            let (size, digest) = (list.len(), Digest::of(&list));
            let date = date(made);
            let text = format!(
                "Suite: stable\nCodename: {dist}\nDate: {date}\nAcquire-By-Hash: yes\nSHA256:\n \
                 {digest} {size} main/binary-amd64/Packages.xz\n"
            );
            let dir = format!("dists/{dist}");
            let by_hash = format!("{dir}/main/binary-amd64/by-hash/SHA256/{digest}");
            self.0.insert(by_hash, list);
            self.0.insert(format!("{dir}/InRelease"), key.sign(&text, made).into_bytes());
        }
        self
    }
}

fn list_path(pocket: Pocket) -> String {
    format!("{} list", pocket.word())
}

/// A date of January 2026 as Release files write it.
fn date(seconds: u32) -> String {
    let (day, second) = ((seconds - KEY_MADE) / DAY + 1, seconds % DAY);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("Xxx, {day:02} Jan 2026 {hour:02}:{minute:02}:{:02} UTC", second % 60)
}
