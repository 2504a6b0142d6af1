//! The other side: what the builder signs. Every document is made in its canonical form, so that the bytes that are
//! signed are the bytes that stand in the file.

use crate::{Release, date, document::PublicKey, error::Role, json::Value};
use sha2::{Digest as _, Sha256};

/// The specification that the documents follow.
const SPECIFICATION: &str = "1.0.31";

/// Who is to sign for a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signers {
    /// The role.
    pub role: Role,
    /// Its keys.
    pub keys: Vec<PublicKey>,
    /// How many of them must sign.
    pub threshold: u32,
}

/// The id of a key: SHA-256 of its canonical form.
pub fn key_id(key: &PublicKey) -> String {
    to_hex(&Sha256::digest(key_value(key).canonical()))
}

/// What a root says, to be signed; `None` if the date is beyond the year 9999 or a role is missing.
pub fn root(version: u32, expires: u64, roles: &[Signers]) -> Option<Vec<u8>> {
    if Role::ALL.iter().any(|role| roles.iter().filter(|signers| signers.role == *role).count() != 1) {
        return None;
    }
    let mut keys: Vec<(String, Value)> =
        roles.iter().flat_map(|signers| &signers.keys).map(|key| (key_id(key), key_value(key))).collect();
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    keys.dedup_by(|a, b| a.0 == b.0);
    let role = |signers: &Signers| {
        let ids = signers.keys.iter().map(|key| Value::Text(key_id(key))).collect();
        let fields = map([("keyids", Value::List(ids)), ("threshold", Value::Int(signers.threshold.into()))]);
        (signers.role.name().to_owned(), fields)
    };
    let signed = map([
        ("_type", text(Role::Root.name())),
        ("consistent_snapshot", Value::Bool(true)),
        ("expires", Value::Text(date::format(expires)?)),
        ("keys", Value::Map(keys)),
        ("roles", sorted(roles.iter().map(role).collect())),
        ("spec_version", text(SPECIFICATION)),
        ("version", Value::Int(version.into())),
    ]);
    Some(signed.canonical())
}

/// What the targets document of a bundle says, to be signed; `None` if a date is beyond the year 9999.
pub fn targets(release: &Release, index: &[u8], expires: u64) -> Option<Vec<u8>> {
    let mut custom = vec![
        ("arch", text(release.arch.name())),
        ("epoch", Value::Int(release.epoch.into())),
        ("name", text(&release.name)),
        ("released", Value::Text(date::format(release.released)?)),
        ("version", Value::Text(release.version.to_string())),
    ];
    custom.extend(release.replaces.map(|version| ("replaces", Value::Text(version.to_string()))));
    let target = map([
        ("custom", map(custom)),
        ("hashes", map([("sha256", Value::Text(to_hex(&Sha256::digest(index))))])),
        ("length", Value::Int(i64::try_from(index.len()).ok()?)),
    ]);
    let name = format!("{}-{}-{}.index", release.name, release.arch.name(), release.version);
    let signed = map([
        ("_type", text(Role::Targets.name())),
        ("expires", Value::Text(date::format(expires)?)),
        ("spec_version", text(SPECIFICATION)),
        ("targets", Value::Map(vec![(name, target)])),
        ("version", Value::Int(1)),
    ]);
    Some(signed.canonical())
}

/// The whole document: what was signed, and the signatures on it. `signed` must come from [`root`] or [`targets`].
pub fn document(signed: &[u8], signatures: &[(PublicKey, [u8; 64])]) -> Vec<u8> {
    let signature = |(key, signature): &(PublicKey, [u8; 64])| {
        map([("keyid", Value::Text(key_id(key))), ("sig", Value::Text(to_hex(signature)))])
    };
    let signatures = Value::List(signatures.iter().map(signature).collect());
    let mut out = b"{\"signatures\":".to_vec();
    out.extend_from_slice(&signatures.canonical());
    out.extend_from_slice(b",\"signed\":");
    out.extend_from_slice(signed);
    out.push(b'}');
    out
}

/// A moment as metadata writes it; `None` from the year 10000 on.
pub fn date(seconds: u64) -> Option<String> {
    date::format(seconds)
}

fn key_value(key: &PublicKey) -> Value {
    map([
        ("keytype", text("ed25519")),
        ("keyval", map([("public", Value::Text(to_hex(key)))])),
        ("scheme", text("ed25519")),
    ])
}

fn map(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    sorted(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn sorted(mut members: Vec<(String, Value)>) -> Value {
    members.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Map(members)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |out, byte| out + &format!("{byte:02x}"))
}
