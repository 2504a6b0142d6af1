//! Writes a tree as plain files of the user who builds: no owners, no set-id bits, no links that lead outside.

use crate::{
    context::Context,
    error::{Doing, Result},
    report::Unit,
    tree::{Content, NodeKind, Tree, TreePath},
};
use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Seek as _, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

/// What no tool needs at run time; most of the bytes of some packages.
const LEFT_OUT: [&str; 9] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/bash-completion",
    "usr/share/icons",
    "usr/share/applications",
    "usr/share/lintian",
    "usr/share/bug",
];

/// Unit of copying, and the smallest hole.
const CHUNK_BYTES: usize = 64 << 10;

pub(super) fn write(ctx: &Context, tree: &Tree, dir: &Path) -> Result<()> {
    let step = ctx.report.step("unpack tools");
    let total = u64::try_from(tree.len()).unwrap_or(0);
    let mut done = 0;
    for (path, node) in tree.iter() {
        ctx.check()?;
        done += 1;
        if left_out(path) {
            continue;
        }
        let at = dir.join(path.as_str());
        match &node.kind {
            NodeKind::Dir => fs::create_dir_all(&at).doing("create", &at)?,
            NodeKind::File(content) => write_file(&at, content, node.meta.mode)?,
            NodeKind::Symlink(target) => symlink(inside(path, target), &at).doing("link", &at)?,
            // Its target may come later in the order.
            NodeKind::HardLink(_) | NodeKind::CharDevice { .. } => {}
        }
        step.progress(done, total, Unit::Items);
    }
    for (path, node) in tree.iter().filter(|(path, _)| !left_out(path)) {
        if let NodeKind::HardLink(target) = &node.kind {
            let at = dir.join(path.as_str());
            fs::hard_link(dir.join(target.as_str()), &at).doing("link", &at)?;
        }
    }
    step.done(format!("{total} files"));
    Ok(())
}

fn left_out(path: &TreePath) -> bool {
    let path = path.as_str();
    LEFT_OUT
        .iter()
        .any(|dir| path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Copies with holes for zeros: firmware comes as images of 64 MiB that are mostly empty.
fn copy(from: &mut dyn Read, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut length = 0;
    loop {
        let mut filled = 0;
        while let n @ 1.. = from.read(&mut buffer[filled..])? {
            filled += n;
        }
        if filled == 0 {
            return to.set_len(length);
        }
        let chunk = &buffer[..filled];
        if chunk.iter().all(|byte| *byte == 0) {
            to.seek_relative(i64::try_from(filled).map_err(io::Error::other)?)?;
        } else {
            to.write_all(chunk)?;
        }
        length = to.stream_position()?;
    }
}

fn write_file(at: &Path, content: &Content, mode: u16) -> Result<()> {
    let mut file = File::create_new(at).doing("create", at)?;
    copy(&mut content.open()?, &mut file).doing("write", at)?;
    let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
    file.set_permissions(Permissions::from_mode(mode)).doing("set permissions of", at)
}

/// The relative target that means inside the root what `target` means with the root as `/`. `..` occurs in it only at
/// the front and never leads above the root.
fn inside(link: &TreePath, target: &str) -> String {
    let parent = link.parent().unwrap_or_default();
    let from: Vec<&str> = parent.as_str().split('/').filter(|c| !c.is_empty()).collect();
    let mut to: Vec<&str> = if target.starts_with('/') { Vec::new() } else { from.clone() };
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                to.pop();
            }
            name => to.push(name),
        }
    }
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut out = vec![".."; from.len() - shared];
    out.extend(&to[shared..]);
    if out.is_empty() {
        return ".".to_owned();
    }
    out.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn absolute_and_climbing_links_stay_inside() {
        let at = |path| TreePath::new(path).unwrap();
        assert_eq!(inside(&at("lib64"), "usr/lib64"), "usr/lib64");
        assert_eq!(inside(&at("usr/lib64/ld.so"), "/usr/lib/x/ld.so"), "../lib/x/ld.so");
        assert_eq!(inside(&at("usr/bin/x"), "../../../../etc/passwd"), "../../etc/passwd");
        assert_eq!(inside(&at("a/b"), "/"), "..");
        assert_eq!(inside(&at("b"), "/"), ".");
    }

    #[test]
    fn zeros_become_holes_and_every_byte_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let zeros = vec![0; CHUNK_BYTES * 3 + 5];
        let mixed = [&zeros[..], b"x", &zeros[..]].concat();
        for (name, bytes) in [("zeros", zeros), ("mixed", mixed), ("empty", Vec::new())] {
            let path = dir.path().join(name);
            write_file(&path, &Content::from(bytes.clone()), 0o644).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes, "{name}");
        }
        let blocks = std::os::unix::fs::MetadataExt::blocks(&dir.path().join("zeros").metadata().unwrap());
        assert_eq!(blocks, 0);
    }

    proptest! {
        #[test]
        fn no_link_climbs_above_the_root(
            link in "([a-c]/){0,4}[a-c]",
            target in "/?(([a-c]|\\.\\.|\\.)/){0,8}([a-c]|\\.\\.)",
        ) {
            let link = TreePath::new(&link).unwrap();
            let out = inside(&link, &target);
            let depth = link.as_str().matches('/').count();
            let climbs = out.split('/').take_while(|c| *c == "..").count();
            prop_assert!(climbs <= depth);
            prop_assert!(!out.split('/').skip(climbs).any(|c| c == ".."));
            prop_assert!(!out.starts_with('/'));
        }
    }
}
