//! The files that a manifest names: where it names them, and whether they exist.

use crate::{
    document::Node,
    fault::Collector,
    values::{HostPath, OperatorKey, Seccomp, quoted},
};
use std::path::Path;

/// What a named input must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    File,
    FileOrDirectory,
}

/// Reports every named file that is not there.
pub(crate) fn check(document: Node<'_, '_>, directory: &Path, faults: &mut Collector<'_>) {
    let mut named = Vec::new();
    if let Some(kernel) = document.get("kernel") {
        named.push(("kernel.image".to_owned(), kernel.get("image"), Wanted::File));
        let modules = kernel.get("image_modules");
        named.push(("kernel.image_modules".to_owned(), modules, Wanted::FileOrDirectory));
    }
    for (index, container) in document.list("container").enumerate() {
        let key = |name: &str| format!("container[{index}].{name}");
        named.push((key("oci"), container.get("oci"), Wanted::FileOrDirectory));
        named.push((key("rootfs"), container.get("rootfs"), Wanted::FileOrDirectory));
        let seccomp = container.get("seccomp").filter(|node| matches!(node.value(), Some(Seccomp::File(_))));
        named.push((key("seccomp"), seccomp, Wanted::File));
        for (file, table) in container.list("file").enumerate() {
            named.push((key(&format!("file[{file}].source")), table.get("source"), Wanted::File));
        }
    }
    for (index, table) in document.list("file").enumerate() {
        named.push((format!("file[{index}].source"), table.get("source"), Wanted::File));
    }
    let update = document.get("update");
    named.push(("update.root".to_owned(), update.and_then(|update| update.get("root")), Wanted::File));
    for (index, node) in document.get("control").iter().flat_map(|control| control.list("keys")).enumerate() {
        let file = Some(node).filter(|node| matches!(node.value(), Some(OperatorKey::File(_))));
        named.push((format!("control.keys[{index}]"), file, Wanted::File));
    }
    for (key, node, wanted) in named {
        if let Some(node) = node {
            check_one(&key, node, wanted, directory, faults);
        }
    }
}

fn check_one(key: &str, node: Node<'_, '_>, wanted: Wanted, directory: &Path, faults: &mut Collector<'_>) {
    let Some(written) = node.value::<HostPath>() else {
        return;
    };
    let path = written.resolve(directory);
    let name = quoted(written.as_str());
    let (message, hint) = match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => return,
        Ok(found) if found.is_dir() && wanted == Wanted::FileOrDirectory => return,
        Ok(found) if found.is_dir() => {
            (format!("{name} is a directory, where a file is needed"), "name one file".to_owned())
        }
        Ok(_) => (format!("{name} is neither a file nor a directory"), "name a regular file".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (
            format!("the file {name} does not exist"),
            format!("it is looked for at {}", quoted(&path.display().to_string())),
        ),
        Err(error) => (
            format!("cannot read {name}: {error}"),
            format!("it is looked for at {}", quoted(&path.display().to_string())),
        ),
    };
    faults.fault(key, &node.span(), &message, Some(hint));
}
