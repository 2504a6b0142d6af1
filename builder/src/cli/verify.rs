//! `coracle verify`, and what `coracle inspect` shows of a bundle.

use super::args;
use crate::{
    bundle::Opened,
    context::Context,
    digest::Digest,
    error::{Doing as _, Error, Kind, Result},
    keys,
    show::{self, Format, bytes, table},
};
use coracle_format::{
    bundle::{Encoding, Index, Metadata, Part},
    delta::Header,
};
use coracle_trust::{Release, Role, Verified, document::Document, publish};
use serde_json::{Value, json};
use std::{fs, io::Read as _, path::Path};

/// Checks a bundle end to end, as a machine with this root would, and more.
pub(super) fn run(ctx: &Context, args: &args::Verify, format: Format) -> Result<()> {
    let (root, _) = keys::read_root(&args.root)?;
    if kind(&args.bundle)? == File::Delta {
        return super::delta::verify((&args.bundle, &root), format);
    }
    let opened = Opened::open(&args.bundle)?;
    let (verified, index) = opened.verify(&root, Some(keys::now()))?;
    let shown = shown(&opened, &index, Some(&verified))?;
    opened.check_parts(ctx, &index)?;
    print(&args.bundle, &shown, format)
}

/// What a file is, by its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Bundle,
    Delta,
    Other,
}

/// What a file is.
pub(super) fn kind(path: &Path) -> Result<File> {
    let mut magic = [0; 8];
    let mut file = fs::File::open(path).doing("open", path)?;
    Ok(match file.read_exact(&mut magic) {
        Ok(()) if magic == *b"CORABNDL" => File::Bundle,
        Ok(()) if Header::is_delta(&magic) => File::Delta,
        Ok(()) | Err(_) => File::Other,
    })
}

/// Shows a bundle; nothing vouches for what it says.
pub(super) fn inspect(path: &Path, format: Format) -> Result<()> {
    let opened = Opened::open(path)?;
    let index = Index::parse(&opened.index).map_err(|why| {
        Error::new(Kind::Hostile, format!("cannot read the index of {}", path.display())).because(why)
    })?;
    print(path, &shown(&opened, &index, None)?, format)
}

/// What is printed: a table of the parts, then names and values.
struct Shown {
    parts: Vec<Vec<String>>,
    facts: Vec<(&'static str, String)>,
    json: Value,
}

fn shown(opened: &Opened, index: &Index, verified: Option<&Verified>) -> Result<Shown> {
    let malformed = |why| Error::new(Kind::Hostile, "cannot read the bundle's metadata").because(why);
    let metadata = Metadata::parse(&opened.metadata)
        .map_err(|why| Error::new(Kind::Hostile, "cannot read the bundle's metadata").because(why))?;
    let targets = Document::parse(Role::Targets, metadata.targets).map_err(malformed)?;
    let signers: Vec<&str> = targets.signers().collect();
    let parts: Vec<Vec<String>> = Part::ALL.into_iter().map(|part| row(index, part)).collect();
    let expires = targets.expires().ok().and_then(publish::date).unwrap_or_default();
    let mut facts = vec![
        ("image", format!("{} {} ({})", index.name.as_str(), index.version.as_str(), index.arch.name())),
        ("bundle", format!("{}, index {}", bytes(opened.header.total()), Digest::of(&opened.index))),
        ("release", Digest(index.boot.sha256).to_string()),
        ("root hash", Digest(index.root_hash).to_string()),
        ("signed by", signers.join(", ")),
        ("expires", expires.clone()),
        ("roots", metadata.roots.len().to_string()),
    ];
    facts.extend(verified.iter().flat_map(|verified| stated(&verified.release)));
    let verdict = verified.map_or_else(
        || "not checked: `coracle verify` does".to_owned(),
        |verified| format!("accepted, root version {}", verified.root_version),
    );
    facts.push(("trust", verdict));
    let part = |part: Part| json!({"bytes": index.whole(part).bytes, "stored": stored(index, part)});
    let json = json!({
        "v": show::SCHEMA, "event": "bundle", "accepted": verified.map(|_| true),
        "name": index.name.as_str(), "version": index.version.as_str(), "arch": index.arch.name(),
        "bytes": opened.header.total(), "index": Digest::of(&opened.index).to_string(),
        "release": Digest(index.boot.sha256).to_string(), "root_hash": Digest(index.root_hash).to_string(),
        "root": part(Part::Root), "boot": part(Part::Boot), "frames": index.frames.len(),
        "signed_by": signers, "expires": expires, "roots": metadata.roots.len(),
        "root_version": verified.map(|verified| verified.root_version),
        "epoch": verified.map(|verified| verified.release.epoch),
    });
    Ok(Shown { parts, facts, json })
}

fn stated(release: &Release) -> Vec<(&'static str, String)> {
    let mut out = vec![
        ("released", publish::date(release.released).unwrap_or_default()),
        ("epoch", release.epoch.to_string()),
    ];
    out.extend(release.replaces.map(|version| ("replaces", format!("versions up to {version}"))));
    out
}

fn stored(index: &Index, part: Part) -> u64 {
    let frames = index.frames.iter().filter(|frame| frame.part == part);
    frames.map(|frame| u64::from(frame.stored)).sum()
}

fn row(index: &Index, part: Part) -> Vec<String> {
    let frames: Vec<_> = index.frames.iter().filter(|frame| frame.part == part).collect();
    let count =
        |encoding: Encoding| frames.iter().filter(|frame| frame.encoding == encoding).count().to_string();
    let (plain, stored) = (index.whole(part).bytes, stored(index, part));
    let percent = stored.saturating_mul(100).checked_div(plain).unwrap_or(0);
    vec![
        part.name().to_owned(),
        bytes(plain),
        bytes(stored),
        format!("{percent} %"),
        frames.len().to_string(),
        count(Encoding::Zstd),
        count(Encoding::Raw),
        count(Encoding::Zeros),
    ]
}

fn print(path: &Path, shown: &Shown, format: Format) -> Result<()> {
    let text = match format {
        Format::Json => format!("{}\n", shown.json),
        Format::Human => {
            let header = ["part", "size", "stored", "ratio", "frames", "zstd", "raw", "zeros"];
            let facts = shown.facts.iter().map(|(name, value)| format!("{name:<10} {value}\n"));
            let begin = format!("{}\n\n{}\n", path.display(), table(&header, &shown.parts));
            std::iter::once(begin).chain(facts).collect()
        }
    };
    super::print(&text)
}
