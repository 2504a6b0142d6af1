//! Rules about paths in root file systems: files, volumes, directories in memory.

use super::{called, no_content};
use crate::{document::Node, fault::Collector, resolve::USUAL_TMPFS, values::GuestPath};
use std::collections::BTreeSet;

/// What the builder itself writes to the machine's root, what is mounted over it, and links that lead elsewhere.
const MACHINE_RESERVED: [(&str, &str); 25] = [
    ("/proc", "the kernel's files are mounted there"),
    ("/sys", "the kernel's files are mounted there"),
    ("/dev", "devices are mounted there"),
    ("/run", "it is in memory and empty at boot"),
    ("/tmp", "it is in memory and empty at boot"),
    ("/var", "it is in memory and empty at boot"),
    ("/state", "the state partition is mounted there"),
    ("/bin", "it is a link: write /usr/bin"),
    ("/sbin", "it is a link: write /usr/sbin"),
    ("/lib", "it is a link: write /usr/lib"),
    ("/lib64", "it is a link: write /usr/lib64"),
    ("/etc/coracle", "the builder writes it"),
    ("/etc/resolv.conf", "the network service writes it"),
    ("/etc/hostname", "the builder writes it; see [system] hostname"),
    ("/etc/hosts", "the builder writes it"),
    ("/etc/machine-id", "first boot writes it"),
    ("/usr/lib/coracle", "the builder writes it"),
    ("/usr/lib/modules", "the builder writes it; see [kernel] modules"),
    ("/usr/bin/coracle-init", "the builder writes it"),
    ("/usr/bin/coracle-services", "the builder writes it"),
    ("/usr/bin/coracle-update", "the builder writes it"),
    ("/usr/share/coracle", "the builder writes it"),
    ("/system", "the verified root image is mounted there"),
    ("/usr/bin/crun", "the builder writes it"),
    ("/init", "the builder writes it"),
];
/// What the runtime mounts over a container's root.
const CONTAINER_RESERVED: [(&str, &str); 3] = [
    ("/proc", "the kernel's files are mounted there"),
    ("/sys", "the kernel's files are mounted there"),
    ("/dev", "devices are mounted there"),
];
/// A path that the manifest names, and where.
struct Placed<'d, 't> {
    key: String,
    path: GuestPath,
    node: Node<'d, 't>,
}

/// A directory that hides what the root file system has at its path.
struct Mount<'d, 't> {
    what: &'static str,
    at: Placed<'d, 't>,
}

pub(super) fn check_machine(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    for file in check_files("", document, faults) {
        check_reserved(&file, &MACHINE_RESERVED, faults);
    }
}

pub(super) fn check_container(key: &str, container: Node<'_, '_>, faults: &mut Collector<'_>) {
    let mounts = mounts(key, container);
    for (index, mount) in mounts.iter().enumerate() {
        let in_memory = mount.what == "tmpfs" && mount.at.path.as_str() == "/dev/shm";
        if !in_memory {
            check_reserved(&mount.at, &CONTAINER_RESERVED, faults);
        }
        if mounts[..index].iter().any(|other| other.at.path == mount.at.path) {
            let message = format!("two directories are mounted at {}", mount.at.path);
            let hint = "remove one of them".to_owned();
            faults.fault(&mount.at.key, &mount.at.node.span(), &message, Some(hint));
        }
    }
    check_volume_names(key, container, faults);
    let read_only = container.get("root").and_then(Node::text) != Some("ephemeral");
    let usual: &[&str] = if read_only { &USUAL_TMPFS } else { &[] };
    for file in check_files(&format!("{key}."), container, faults) {
        check_reserved(&file, &CONTAINER_RESERVED, faults);
        check_hidden(&file, &mounts, usual, faults);
    }
}

fn mounts<'d, 't>(key: &str, container: Node<'d, 't>) -> Vec<Mount<'d, 't>> {
    let volumes = container.list("volumes").enumerate().filter_map(|(index, volume)| {
        Some((format!("{key}.volumes[{index}].path"), "volume", volume.get("path")?))
    });
    let tmpfs = container.list("tmpfs").enumerate();
    let tmpfs = tmpfs.map(|(index, node)| (format!("{key}.tmpfs[{index}]"), "tmpfs", node));
    volumes
        .chain(tmpfs)
        .filter_map(|(key, what, node)| {
            let path = node.value()?;
            Some(Mount { what, at: Placed { key, path, node } })
        })
        .collect()
}

fn check_volume_names(key: &str, container: Node<'_, '_>, faults: &mut Collector<'_>) {
    let mut names = Vec::new();
    for (index, volume) in container.list("volumes").enumerate() {
        let Some(node) = volume.get("name") else {
            continue;
        };
        if node.text().is_some() && names.contains(&node.text()) {
            let message = format!("{} has two volumes of that name", called(container));
            let hint = "give one of them another name".to_owned();
            faults.fault(&format!("{key}.volumes[{index}].name"), &node.span(), &message, Some(hint));
        }
        names.push(node.text());
    }
}

/// Checks every `[[file]]` of `table` by itself and against the others; returns those with a good path.
fn check_files<'d, 't>(prefix: &str, table: Node<'d, 't>, faults: &mut Collector<'_>) -> Vec<Placed<'d, 't>> {
    let mut out: Vec<Placed<'d, 't>> = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, file) in table.list("file").enumerate() {
        let key = format!("{prefix}file[{index}]");
        check_content(&key, file, faults);
        let Some(node) = file.get("path") else {
            continue;
        };
        let Some(path) = node.value::<GuestPath>() else {
            continue;
        };
        let placed = Placed { key: format!("{key}.path"), path, node };
        check_against(&placed, &seen, faults);
        seen.insert(placed.path.clone());
        out.push(placed);
    }
    out
}

fn check_content(key: &str, file: Node<'_, '_>, faults: &mut Collector<'_>) {
    match (file.get("source"), file.get("content")) {
        (None, None) => {
            let bad = no_content();
            faults.fault(key, &file.span(), &bad.message, bad.hint);
        }
        (Some(_), Some(content)) => faults.fault(
            &format!("{key}.content"),
            &content.span(),
            "the file has both source and content",
            Some("keep one of them".to_owned()),
        ),
        (Some(_), None) | (None, Some(_)) => {}
    }
}

/// Two files cannot have one path, nor can one be in another as if that were a directory.
fn check_against(file: &Placed<'_, '_>, others: &BTreeSet<GuestPath>, faults: &mut Collector<'_>) {
    let path = &file.path;
    let related = |other: &&GuestPath| path.is_within(other.as_str()) || other.is_within(path.as_str());
    let Some(other) = others.iter().find(related) else {
        return;
    };
    let message = if path == other {
        format!("two files are put at {path}")
    } else {
        format!("{path} and {other} cannot both be files: one is inside the other")
    };
    let hint = "change one of the paths".to_owned();
    faults.fault(&file.key, &file.node.span(), &message, Some(hint));
}

fn check_reserved(placed: &Placed<'_, '_>, reserved: &[(&str, &str)], faults: &mut Collector<'_>) {
    let path = &placed.path;
    let below = format!("{path}/");
    let taken = reserved.iter().find(|(directory, _)| path.is_within(directory));
    let covers = reserved.iter().find(|(directory, _)| directory.starts_with(&below));
    let (message, hint) = match (taken, covers) {
        _ if path.is_root() => {
            ("/ is the root file system itself".to_owned(), "name something below it".to_owned())
        }
        (Some((directory, why)), _) => (format!("{path} is reserved"), format!("{directory}: {why}")),
        (None, Some((directory, _))) => {
            (format!("{path} is the directory that {directory} is in"), "name something below it".to_owned())
        }
        (None, None) => return,
    };
    faults.fault(&placed.key, &placed.node.span(), &message, Some(hint));
}

/// A file below a mount, declared or usual, is never seen.
fn check_hidden(file: &Placed<'_, '_>, mounts: &[Mount<'_, '_>], usual: &[&str], faults: &mut Collector<'_>) {
    let path = &file.path;
    let hides = |mount: &&Mount<'_, '_>| !mount.at.path.is_root() && path.is_within(mount.at.path.as_str());
    let declared = mounts.iter().find(hides);
    let usual = usual.iter().find(|directory| path.is_within(directory));
    let hidden_by = declared
        .map(|mount| format!("the {} at {}", mount.what, mount.at.path))
        .or_else(|| usual.map(|directory| format!("{directory}, which is in memory")));
    if let Some(hidden_by) = hidden_by {
        let message = format!("{path} would be hidden by {hidden_by}");
        let hint = "put the file somewhere else".to_owned();
        faults.fault(&file.key, &file.node.span(), &message, Some(hint));
    }
}
