//! The other side: what the builder signs. Every document is made in its canonical form, so that the bytes that are
//! signed are the bytes that stand in the file.

use crate::{Delta, Release, Vouched, date, document::PublicKey, error::Role, hex::to_hex, json::Value};
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
    let role = |signers: &Signers| {
        let ids = signers.keys.iter().map(|key| Value::Text(key_id(key))).collect();
        let fields = map([("keyids", Value::List(ids)), ("threshold", Value::Int(signers.threshold.into()))]);
        (signers.role.name().to_owned(), fields)
    };
    let fields = vec![
        ("consistent_snapshot", Value::Bool(true)),
        ("keys", keys(roles.iter().flat_map(|signers| &signers.keys))),
        ("roles", sorted(roles.iter().map(role).collect())),
    ];
    signed(Role::Root, version, expires, fields)
}

/// What the targets document of a bundle says, to be signed; `None` if a date is beyond the year 9999.
pub fn targets(release: &Release, index: &[u8], expires: u64) -> Option<Vec<u8>> {
    let file = Listed::of(1, index);
    let target =
        map(listed(file.length, &file.sha256)?.into_iter().chain([("custom", map(custom(release)?))]));
    let name = format!("{}-{}-{}.index", release.name, release.arch.name(), release.version);
    signed(Role::Targets, 1, expires, vec![("targets", Value::Map(vec![(name, target)]))])
}

/// What a document says about another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Version of the other document.
    pub version: u32,
    /// Its bytes.
    pub length: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

impl Listed {
    /// What is said about a document of these bytes.
    pub fn of(version: u32, bytes: &[u8]) -> Self {
        // More bytes than that are in no memory.
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self { version, length, sha256: Sha256::digest(bytes).into() }
    }

    fn value(&self) -> Option<Value> {
        let version = ("version", Value::Int(self.version.into()));
        Some(map(listed(self.length, &self.sha256)?.into_iter().chain([version])))
    }
}

/// What a timestamp says, to be signed: the newest snapshot, and when that was said.
pub fn timestamp(version: u32, issued: u64, expires: u64, snapshot: &Listed) -> Option<Vec<u8>> {
    let meta = map([("snapshot.json", snapshot.value()?)]);
    let issued = Value::Text(date::format(issued)?);
    signed(Role::Timestamp, version, expires, vec![("issued", issued), ("meta", meta)])
}

/// What a snapshot says, to be signed: the newest document of `targets` and of every role that is delegated to.
pub fn snapshot(version: u32, expires: u64, roles: &[(&str, Listed)]) -> Option<Vec<u8>> {
    let meta = roles.iter().map(|(name, listed)| Some((format!("{name}.json"), listed.value()?)));
    signed(Role::Snapshot, version, expires, vec![("meta", sorted(meta.collect::<Option<_>>()?))])
}

/// A role that `targets` delegates to. Nobody else is asked about its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The role's name.
    pub name: String,
    /// Its keys.
    pub keys: Vec<PublicKey>,
    /// How many of them must sign.
    pub threshold: u32,
    /// Patterns of the paths that it may speak of.
    pub paths: Vec<String>,
}

/// What the targets document of a channel's repository says, to be signed: the releases that it vouches for, and who
/// decides when they are installed.
pub fn releases(
    version: u32,
    expires: u64,
    releases: &[Vouched],
    delegations: &[Delegation],
) -> Option<Vec<u8>> {
    let target = |vouched: &Vouched| {
        let index = map([
            ("length", Value::Int(i64::try_from(vouched.index_length).ok()?)),
            ("sha256", Value::Text(to_hex(&vouched.index_sha256))),
        ]);
        let mut custom = custom(&vouched.release)?;
        custom.extend([("index", index), ("release", Value::Text(to_hex(&vouched.id)))]);
        if !vouched.deltas.is_empty() {
            custom.push(("deltas", Value::List(vouched.deltas.iter().map(delta).collect::<Option<_>>()?)));
        }
        let fields = listed(vouched.length, &vouched.sha256)?;
        Some((vouched.path(), map(fields.into_iter().chain([("custom", map(custom))]))))
    };
    let roles = delegations.iter().map(|delegation| {
        map([
            ("keyids", Value::List(delegation.keys.iter().map(|key| Value::Text(key_id(key))).collect())),
            ("name", text(&delegation.name)),
            ("paths", Value::List(delegation.paths.iter().map(|path| text(path)).collect())),
            ("terminating", Value::Bool(true)),
            ("threshold", Value::Int(delegation.threshold.into())),
        ])
    });
    let delegated = map([
        ("keys", keys(delegations.iter().flat_map(|delegation| &delegation.keys))),
        ("roles", Value::List(roles.collect())),
    ]);
    let targets = sorted(releases.iter().map(target).collect::<Option<_>>()?);
    signed(Role::Targets, version, expires, vec![("delegations", delegated), ("targets", targets)])
}

/// What is said about a delta.
fn delta(delta: &Delta) -> Option<Value> {
    Some(map([
        ("from", Value::Text(to_hex(&delta.from))),
        ("length", Value::Int(i64::try_from(delta.length).ok()?)),
        ("sha256", Value::Text(to_hex(&delta.sha256))),
    ]))
}

/// A file that a delegated role vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path of the target.
    pub path: String,
    /// Its bytes.
    pub length: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// What the document of a channel's role says, to be signed.
pub fn files(version: u32, expires: u64, files: &[File]) -> Option<Vec<u8>> {
    let target = |file: &File| Some((file.path.clone(), map(listed(file.length, &file.sha256)?)));
    let targets = sorted(files.iter().map(target).collect::<Option<_>>()?);
    signed(Role::Targets, version, expires, vec![("targets", targets)])
}

fn signed(role: Role, version: u32, expires: u64, fields: Vec<(&'static str, Value)>) -> Option<Vec<u8>> {
    let common = [
        ("_type", text(role.name())),
        ("expires", Value::Text(date::format(expires)?)),
        ("spec_version", text(SPECIFICATION)),
        ("version", Value::Int(version.into())),
    ];
    Some(map(common.into_iter().chain(fields)).canonical())
}

fn custom(release: &Release) -> Option<Vec<(&'static str, Value)>> {
    let mut custom = vec![
        ("arch", text(release.arch.name())),
        ("epoch", Value::Int(release.epoch.into())),
        ("name", text(&release.name)),
        ("released", Value::Text(date::format(release.released)?)),
        ("version", Value::Text(release.version.to_string())),
    ];
    custom.extend(release.replaces.map(|version| ("replaces", Value::Text(version.to_string()))));
    Some(custom)
}

fn listed(length: u64, sha256: &[u8; 32]) -> Option<[(&'static str, Value); 2]> {
    let hashes = map([("sha256", Value::Text(to_hex(sha256)))]);
    Some([("hashes", hashes), ("length", Value::Int(i64::try_from(length).ok()?))])
}

fn keys<'a>(keys: impl Iterator<Item = &'a PublicKey>) -> Value {
    let mut keys: Vec<_> = keys.map(|key| (key_id(key), key_value(key))).collect();
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    keys.dedup_by(|a, b| a.0 == b.0);
    Value::Map(keys)
}

/// The whole document: what was signed, and the signatures on it. `signed` must come from a function of this module.
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
