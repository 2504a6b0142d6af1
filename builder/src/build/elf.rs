//! Which files a program needs: its loader and shared libraries, and theirs.

use crate::{
    container::resolve,
    error::{Error, Kind, Result},
    tree::{NodeKind, Tree, TreePath},
};
use object::{
    Endianness,
    elf::{DT_NEEDED, FileHeader64, PT_INTERP},
    read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _},
};
use std::collections::BTreeSet;

/// The largest program or library that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What an ELF file asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    interpreter: Option<String>,
    libraries: Vec<String>,
}

/// Copies `programs` from `source` into `target` with everything they need to be started: the dynamic loader, the shared
/// libraries and the links that lead to them. Libraries that are loaded by name at run time must be named as programs.
pub(super) fn pick(
    source: &Tree,
    programs: impl IntoIterator<Item = &'static str>,
    target: &mut Tree,
) -> Result<()> {
    let mut wanted: Vec<TreePath> = programs.into_iter().map(TreePath::new).collect::<Result<_>>()?;
    let mut done = BTreeSet::new();
    while let Some(path) = wanted.pop() {
        if !done.insert(path.clone()) {
            continue;
        }
        let path = merged(&path)?;
        let real = resolve::follow(source, &path)?;
        if real != path {
            target.symlink(path.as_str(), &real.to_string())?;
        }
        copy(source, &real, target)?;
        let bytes = read(source, &real)?;
        let needs = parse(&bytes).map_err(|source| {
            Error::new(Kind::Hostile, format!("{real} is no program or library")).because(source)
        })?;
        if let Some(interpreter) = needs.interpreter {
            wanted.push(TreePath::new(&interpreter)?);
        }
        for library in needs.libraries {
            let found = find_library(source, &library).ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!("{real} needs {library}, which no package of its closure has"),
                )
            })?;
            wanted.push(found);
        }
    }
    Ok(())
}

fn copy(source: &Tree, path: &TreePath, target: &mut Tree) -> Result<()> {
    match source.get(path) {
        Some(node) => target.insert(path.clone(), node.clone()),
        None => Err(missing(path)),
    }
}

fn missing(path: &TreePath) -> Error {
    Error::new(Kind::NotFound, format!("no package of the image has {path}"))
}

/// `/lib` and its like count as `/usr/lib`: packages name both.
fn merged(path: &TreePath) -> Result<TreePath> {
    let first = path.as_str().split('/').next().unwrap_or_default();
    match first {
        "bin" | "sbin" | "lib" | "lib64" => TreePath::new(&format!("usr/{}", path.as_str())),
        _ => Ok(path.clone()),
    }
}

fn find_library(tree: &Tree, name: &str) -> Option<TreePath> {
    let in_dir = |dir: &str| {
        let path = TreePath::new(&format!("{dir}/{name}")).ok()?;
        tree.get(&path).is_some().then_some(path)
    };
    ["usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib", "usr/lib64"]
        .into_iter()
        .find_map(in_dir)
}

fn read(tree: &Tree, path: &TreePath) -> Result<Vec<u8>> {
    let node = tree.get(path).ok_or_else(|| missing(path))?;
    let NodeKind::File(content) = &node.kind else {
        return Err(Error::new(Kind::Hostile, format!("{path} is not a regular file")));
    };
    if content.len() > FILE_BYTES_MAX {
        return Err(Error::new(Kind::Hostile, format!("{path} is larger than {FILE_BYTES_MAX} bytes")));
    }
    content.read()
}

fn parse(bytes: &[u8]) -> object::Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let mut needs = Needs::default();
    for segment in header.program_headers(endian, bytes)? {
        if segment.p_type(endian) == PT_INTERP {
            let text = segment.interpreter(endian, bytes)?.unwrap_or_default();
            needs.interpreter = Some(String::from_utf8_lossy(text).into_owned());
        }
    }
    let sections = header.sections(endian, bytes)?;
    if let Some((entries, strings)) = sections.dynamic(endian, bytes)? {
        let strings = sections.strings(endian, bytes, strings)?;
        for entry in entries {
            if entry.tag(endian) == DT_NEEDED {
                let name = entry.string(endian, strings)?;
                needs.libraries.push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test's own program is as real as programs get.
    fn own_program() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_program_names_its_loader_and_the_c_library() {
        let needs = parse(&own_program()).unwrap();
        assert!(needs.interpreter.unwrap().contains("ld-linux"));
        assert!(needs.libraries.iter().any(|name| name.starts_with("libc.so")), "{:?}", needs.libraries);
    }

    #[test]
    fn a_missing_library_is_named_with_who_needs_it() {
        let mut source = Tree::new();
        source.file("usr/bin/app", 0o755, own_program()).unwrap();
        let error = pick(&source, ["usr/bin/app"], &mut Tree::new()).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        let text = error.to_string();
        assert!(text.starts_with("/usr/bin/app needs lib") || text.contains("ld-linux"), "{text}");
    }

    #[test]
    fn links_to_a_program_come_along() {
        let mut source = Tree::new();
        // An ELF header alone: a static program needs nothing.
        let mut elf = vec![0; 64];
        elf[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        elf[52] = 64;
        source.file("usr/bin/real", 0o755, elf).unwrap();
        source.symlink("usr/bin/alias", "real").unwrap();
        let mut target = Tree::new();
        pick(&source, ["bin/alias"], &mut target).unwrap();
        assert!(target.get(&TreePath::new("usr/bin/alias").unwrap()).is_some());
        assert!(target.get(&TreePath::new("usr/bin/real").unwrap()).is_some());
    }

    #[test]
    fn links_that_never_end_are_refused() {
        let mut source = Tree::new();
        source.symlink("usr/bin/app", "app").unwrap();
        assert_eq!(pick(&source, ["usr/bin/app"], &mut Tree::new()).unwrap_err().kind(), Kind::Hostile);
    }
}
