//! A delta applied on the workstation: the new release from the old one, every frame compared with its digest.

use super::{container::Opened, encoder, release::Release};
use crate::{
    bundle::{FILE_NAME, pack},
    context::Context,
    digest::Digest,
    error::{Doing as _, Error, Kind, Result},
    files,
    report::Unit,
};
use coracle_format::{
    bundle::{Encoding, Frame, Header, Part},
    delta::{Extent, File, How, Method, Operation, Side, UNPACKED_BYTES_MAX},
};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

/// What the parts are called beside the bundle.
const NAMES: [(&str, Part); 2] = [("root.img", Part::Root), ("boot.efi", Part::Boot)];

/// Makes the release that a delta leads to in a directory: its parts, and its bundle if somebody has signed it. Gives the
/// files that are new.
pub fn apply(ctx: &Context, delta: &Path, old: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    let opened = Opened::open(delta)?;
    let old = Release::open(ctx, old)?;
    if old.index.boot.sha256 != opened.header.base {
        let message = format!(
            "{} starts from release {}, not from {}",
            delta.display(),
            Digest(opened.header.base),
            Digest(old.index.boot.sha256)
        );
        return Err(Error::new(Kind::Policy, message).hint("name the release that it was made from"));
    }
    let step = ctx.report.step("apply delta");
    let total = opened.index.root.bytes.saturating_add(opened.index.boot.bytes);
    let mut known = Known { old: &old, made: [Vec::new(), Vec::new()] };
    let (mut stored, mut done) = (Vec::new(), 0_u64);
    for (at, operation) in opened.table.placed() {
        ctx.check()?;
        // The table has been checked: there are so many.
        let frames = opened.index.run(operation.first, operation.frames).unwrap_or_default();
        let wrong = |why: String| {
            Error::new(Kind::Digest, format!("cannot apply {}: {why}", delta.display()))
                .hint("make it again, or take the bundle of the release")
        };
        let plain = known.make(operation, &opened.stream((at, operation))?, frames).map_err(wrong)?;
        check(&plain, frames).map_err(wrong)?;
        if !opened.metadata.is_empty() {
            pack_again(&plain, frames, &mut stored)?;
        }
        let [root, boot] = &mut known.made;
        let part = if frames.first().is_some_and(|frame| frame.part == Part::Root) { root } else { boot };
        part.extend_from_slice(&plain);
        done = done.saturating_add(u64::try_from(plain.len()).unwrap_or(u64::MAX));
        step.progress(done, total, Unit::Bytes);
    }
    step.done(format!("{} operations", opened.table.operations().len()));
    write(&opened, (&known.made, &stored), out)
}

fn write(opened: &Opened, (parts, stored): (&[Vec<u8>; 2], &[u8]), out: &Path) -> Result<Vec<PathBuf>> {
    for ((_, part), bytes) in NAMES.into_iter().zip(parts) {
        if Digest::of(bytes).0 != opened.index.whole(part).sha256 {
            let message = format!("the {} is not the one of the index", part.name());
            return Err(Error::new(Kind::Digest, message));
        }
    }
    fs::create_dir_all(out).doing("create directory", out)?;
    let mut written = Vec::new();
    for ((name, _), bytes) in NAMES.into_iter().zip(parts) {
        let path = out.join(name);
        files::replace(&path, bytes)?;
        written.push(path);
    }
    if !opened.metadata.is_empty() {
        let length = u64::try_from(stored.len()).unwrap_or(u64::MAX);
        let header = Header::of(&opened.metadata, &opened.index_bytes, length)
            .ok_or_else(|| Error::new(Kind::TooLarge, "the bundle is over its limits"))?;
        let path = out.join(FILE_NAME);
        let mut file = files::beside(&path)?;
        for piece in [&header.encode()[..], &opened.metadata, &opened.index_bytes, stored] {
            file.write_all(piece).doing("write", &path)?;
        }
        files::commit(file, &path)?;
        written.push(path);
    }
    Ok(written)
}

/// What operations start from.
struct Known<'a> {
    old: &'a Release,
    /// Root and boot artefact of the new release, as far as they are made.
    made: [Vec<u8>; 2],
}

impl Known<'_> {
    /// The bytes of an operation's frames.
    fn make(&self, operation: &Operation, stream: &[u8], frames: &[Frame]) -> Result<Vec<u8>, String> {
        let sources = operation.sources().filter(|extent| extent.side == Side::Old);
        if operation.method != Method::Frames
            && Sha256::digest(self.read(sources)?)[..] != operation.source_sha256
        {
            return Err("the old release does not hold what it starts from".to_owned());
        }
        match &operation.method {
            Method::Frames => unpack(stream, frames),
            Method::Copy(extents) => self.read(extents),
            Method::Files(files) => {
                if Sha256::digest(stream)[..] != operation.stream_sha256 {
                    return Err("what it carries is damaged".to_owned());
                }
                self.by_difference(files, stream)
            }
        }
    }

    fn read<'a>(&self, extents: impl IntoIterator<Item = &'a Extent>) -> Result<Vec<u8>, String> {
        let [root, boot] = &self.made;
        let mut out = Vec::new();
        for Extent { side, part, offset, bytes } in extents {
            let [at, length] = [*offset, *bytes].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
            let whole = match (side, part) {
                (Side::Old, part) => self.old.part(*part),
                (Side::New, Part::Root) => root,
                (Side::New, Part::Boot) => boot,
            };
            let found = whole.get(at..at.saturating_add(length));
            out.extend_from_slice(found.ok_or("a release ends before what it starts from")?);
        }
        Ok(out)
    }

    fn by_difference(&self, files: &[File], stream: &[u8]) -> Result<Vec<u8>, String> {
        let (mut olds, mut news) = (Vec::new(), Vec::new());
        for file in files {
            let bytes = self.read(&file.old)?;
            let unpacks = file.packed().is_some_and(|packed| packed.old_plain > 0);
            let unpacked = |bytes: &[u8]| {
                encoder::unpack(bytes, UNPACKED_BYTES_MAX)
                    .map_err(|why| format!("the old kernel cannot be unpacked: {why}"))
            };
            news.push(if file.how == How::Same { bytes.clone() } else { Vec::new() });
            olds.push(if unpacks { unpacked(&bytes)? } else { bytes });
        }
        let mut slices: Vec<&[u8]> = olds.iter().map(Vec::as_slice).collect();
        let mut sinks: Vec<_> = news
            .iter_mut()
            .map(|new: &mut Vec<u8>| {
                move |bytes: &[u8]| {
                    new.extend_from_slice(bytes);
                    Ok(())
                }
            })
            .collect();
        let each = slices.iter_mut().zip(&mut sinks).zip(files);
        let mut applied: Vec<_> = each
            .filter_map(|((old, sink), file)| {
                file.streamed().map(|bytes| coracle_delta::File { old, bytes, sink })
            })
            .collect();
        coracle_delta::apply(stream, &mut applied).map_err(|why| why.to_string())?;
        drop(applied);
        drop(sinks);
        let mut out = Vec::new();
        for (file, new) in files.iter().zip(news) {
            match file.packed() {
                None => out.extend(new),
                Some(packed) => {
                    let packed = encoder::pack(packed.encoder, &new, &mut out);
                    packed.map_err(|why| format!("the kernel cannot be packed: {why}"))?;
                }
            }
        }
        Ok(out)
    }
}

fn unpack(mut stored: &[u8], frames: &[Frame]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for frame in frames {
        let length = usize::try_from(frame.stored).unwrap_or(usize::MAX);
        let (own, rest) = stored.split_at_checked(length).ok_or("it ends too early")?;
        stored = rest;
        out.extend(pack::decode(frame, own.to_vec()).ok_or("a frame cannot be unpacked")?);
    }
    Ok(out)
}

fn check(plain: &[u8], frames: &[Frame]) -> Result<(), String> {
    let mut rest = plain;
    for frame in frames {
        let length = usize::try_from(frame.plain).unwrap_or(usize::MAX);
        let (own, behind) = rest.split_at_checked(length).ok_or("it makes too little")?;
        if Sha256::digest(own)[..] != frame.plain_sha256 {
            return Err("it makes other bytes than those of the index".to_owned());
        }
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err("it makes too much".to_owned()) }
}

/// What the bundle stores of these frames: the same program packs them to the same bytes.
fn pack_again(plain: &[u8], frames: &[Frame], stored: &mut Vec<u8>) -> Result<()> {
    let mut rest = plain;
    for frame in frames {
        let (own, behind) = rest.split_at(usize::try_from(frame.plain).unwrap_or(0).min(rest.len()));
        rest = behind;
        let (_, bytes) = pack::encode(own.to_vec())?;
        if frame.encoding != Encoding::Zeros && Digest::of(&bytes).0 != frame.sha256 {
            return Err(Error::new(Kind::Digest, "a frame is packed in another way than in the bundle")
                .hint("the bundle was made by another version of coracle: take it from there"));
        }
        stored.extend(bytes);
    }
    Ok(())
}
