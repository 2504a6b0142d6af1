//! What a channel's repository says: the documents behind the signatures.

use super::{
    ignore,
    update::{EXPIRES, public, release, root, sign},
};
use coracle_trust::{
    Delta, Kinds, Vouched,
    client::{Fetch, FetchError, Floors, Start, Store, StoreError, Trusted, refresh},
    json::Value,
    publish::{self, Delegation, File},
};

const TARGET: &str = "stable/hello-x86_64.json";
/// Whose document each line is, and the seed of the key that signs it.
const ROLES: [(&str, u8); 4] = [("timestamp", 3), ("snapshot", 3), ("targets", 2), ("stable", 4)];

/// Lines: what timestamp, snapshot, targets and channel say. Signatures are made right, so that what lies behind them is
/// reached; nothing is changed about digests, which a snapshot need not state.
pub(super) fn channel(data: &[u8]) {
    if let Ok((mut trusted, mut repository)) = look(data) {
        ignore((trusted.releases(), trusted.floors(), trusted.release("hello-x86_64-1.2.3.bundle")));
        for path in [TARGET, "", "a/b/c"] {
            ignore(trusted.target(path, &mut repository, &mut Nothing));
        }
    }
}

/// Whether all four documents are trusted, and the channel's has its target.
pub fn is_trusted_channel(data: &[u8]) -> bool {
    look(data).is_ok_and(|(mut trusted, mut repository)| {
        trusted.target(TARGET, &mut repository, &mut Nothing).is_ok_and(|target| target.is_some())
    })
}

fn look(data: &[u8]) -> Result<(Trusted, Repository), coracle_trust::client::ClientError> {
    let lines = data.split(|byte| *byte == b'\n').chain(std::iter::repeat(&[][..]));
    let files = ROLES.into_iter().zip(lines).map(|((role, seed), line)| {
        let signed = Value::parse(line).map_or_else(|_| line.to_vec(), |value| value.canonical());
        (role, sign(&signed, seed))
    });
    let mut repository = Repository(files.collect());
    let root = root();
    let start = Start { trusted_root: &root, floors: Floors::default(), now: None, kinds: Kinds::default() };
    let trusted = refresh(&start, &mut repository, &mut Nothing)?;
    Ok((trusted, repository))
}

/// The same document of a role, whatever version is asked for.
struct Repository(Vec<(&'static str, Vec<u8>)>);

impl Fetch for Repository {
    fn metadata(&mut self, file: &str, _limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        let role = file.strip_suffix(".json").unwrap_or(file).rsplit('.').next();
        Ok(self.0.iter().find(|(name, _)| Some(*name) == role).map(|(_, bytes)| bytes.clone()))
    }
}

struct Nothing;

impl Store for Nothing {
    fn load(&mut self, _file: &str) -> Option<Vec<u8>> {
        None
    }

    fn save(&mut self, _file: &str, _bytes: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove(&mut self, _file: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

pub(super) fn channel_seeds() -> Vec<Vec<u8>> {
    let vouched = Vouched {
        length: 5000,
        sha256: [1; 32],
        index_length: 400,
        index_sha256: [2; 32],
        id: [3; 32],
        release: release(),
        deltas: vec![Delta { from: [4; 32], length: 300, sha256: [5; 32] }],
    };
    let delegation = Delegation {
        name: "stable".to_owned(),
        keys: vec![public(4)],
        threshold: 1,
        paths: vec!["stable/*".to_owned()],
    };
    let file = File { path: TARGET.to_owned(), length: 3, sha256: [6; 32] };
    let listed = |file: &str| format!(r#""meta":{{{file}}}"#);
    let empty = publish::Listed { version: 1, length: 0, sha256: [0; 32] };
    let plain = |signed: Option<Vec<u8>>, meta: &str| {
        let text = String::from_utf8(signed.unwrap_or_default()).unwrap_or_default();
        let (before, rest) = text.split_once("\"meta\":").unwrap_or_default();
        let after = rest.split_once(",\"spec_version\"").unwrap_or_default().1;
        format!("{before}{},\"spec_version\"{after}", listed(meta)).into_bytes()
    };
    let documents = [
        plain(publish::timestamp(1, 7, EXPIRES, &empty), r#""snapshot.json":{"version":1}"#),
        plain(
            publish::snapshot(1, EXPIRES, &[]),
            r#""stable.json":{"version":1},"targets.json":{"version":1}"#,
        ),
        publish::releases(1, EXPIRES, &[vouched], &[delegation]).unwrap_or_default(),
        publish::files(1, EXPIRES, &[file]).unwrap_or_default(),
    ];
    vec![documents.join(&b'\n')]
}
