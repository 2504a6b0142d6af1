//! Rules about paths in root file systems: files, volumes, directories in memory.

use super::{called, no_content};
use crate::{document::Node, fault::Collector, values::GuestPath};

/// What the builder itself writes to the machine's root, what is mounted over it, and links that lead elsewhere.
const MACHINE_RESERVED: [(&str, &str); 22] = [
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
    ("/usr/bin/crun", "the builder writes it"),
    ("/init", "the builder writes it"),
];
/// What the runtime mounts over a container's root.
const CONTAINER_RESERVED: [(&str, &str); 3] = [
    ("/proc", "the kernel's files are mounted there"),
    ("/sys", "the kernel's files are mounted there"),
    ("/dev", "devices are mounted there"),
];
/// What is in memory in a container with a read-only root, unless a volume is there.
const USUAL_TMPFS: [&str; 3] = ["/tmp", "/run", "/var/tmp"];

/// A directory that hides what the root file system has at its path.
struct Mount<'d, 't> {
    key: String,
    what: &'static str,
    path: GuestPath,
    node: Node<'d, 't>,
}

pub(super) fn check_machine(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    for (key, path, node) in check_files("", document, faults) {
        check_reserved(&key, &path, node, &MACHINE_RESERVED, faults);
    }
}

pub(super) fn check_container(key: &str, container: Node<'_, '_>, faults: &mut Collector<'_>) {
    let mounts = mounts(key, container);
    for (index, mount) in mounts.iter().enumerate() {
        let in_memory = mount.what == "tmpfs" && mount.path.as_str() == "/dev/shm";
        if !in_memory {
            check_reserved(&mount.key, &mount.path, mount.node, &CONTAINER_RESERVED, faults);
        }
        if mounts[..index].iter().any(|other| other.path == mount.path) {
            let message = format!("two directories are mounted at {}", mount.path);
            let hint = "remove one of them".to_owned();
            faults.fault(&mount.key, &mount.node.span(), &message, Some(hint));
        }
    }
    check_volume_names(key, container, faults);
    for (key, path, node) in check_files(&format!("{key}."), container, faults) {
        check_reserved(&key, &path, node, &CONTAINER_RESERVED, faults);
        check_hidden(&key, &path, node, container, &mounts, faults);
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
            Some(Mount { key, what, path, node })
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
fn check_files<'d, 't>(
    prefix: &str,
    table: Node<'d, 't>,
    faults: &mut Collector<'_>,
) -> Vec<(String, GuestPath, Node<'d, 't>)> {
    let mut out: Vec<(String, GuestPath, Node<'d, 't>)> = Vec::new();
    for (index, file) in table.list("file").enumerate() {
        let key = format!("{prefix}file[{index}]");
        match (file.get("source"), file.get("content")) {
            (None, None) => {
                let bad = no_content();
                faults.fault(&key, &file.span(), &bad.message, bad.hint);
            }
            (Some(_), Some(content)) => faults.fault(
                &format!("{key}.content"),
                &content.span(),
                "the file has both source and content",
                Some("keep one of them".to_owned()),
            ),
            (Some(_), None) | (None, Some(_)) => {}
        }
        let Some(node) = file.get("path") else {
            continue;
        };
        let Some(path) = node.value::<GuestPath>() else {
            continue;
        };
        let key = format!("{key}.path");
        check_against(&key, &path, node, &out, faults);
        out.push((key, path, node));
    }
    out
}

fn check_against(
    key: &str,
    path: &GuestPath,
    node: Node<'_, '_>,
    others: &[(String, GuestPath, Node<'_, '_>)],
    faults: &mut Collector<'_>,
) {
    for (_, other, _) in others {
        let message = if path == other {
            format!("two files are put at {path}")
        } else if path.is_within(other.as_str()) || other.is_within(path.as_str()) {
            format!("{path} and {other} cannot both be files: one is inside the other")
        } else {
            continue;
        };
        let hint = "change one of the paths".to_owned();
        return faults.fault(key, &node.span(), &message, Some(hint));
    }
}

fn check_reserved(
    key: &str,
    path: &GuestPath,
    node: Node<'_, '_>,
    reserved: &[(&str, &str)],
    faults: &mut Collector<'_>,
) {
    if path.is_root() {
        let hint = "name something below it".to_owned();
        return faults.fault(key, &node.span(), "/ is the root file system itself", Some(hint));
    }
    let taken = reserved.iter().find(|(directory, _)| path.is_within(directory));
    let covers = reserved
        .iter()
        .find(|(directory, _)| GuestPath::is_within(path, "/") && directory.starts_with(&format!("{path}/")));
    if let Some((directory, why)) = taken {
        let message = format!("{path} is reserved");
        let hint = format!("{directory}: {why}");
        faults.fault(key, &node.span(), &message, Some(hint));
    } else if let Some((directory, _)) = covers {
        let message = format!("{path} is the directory that {directory} is in");
        let hint = "name something below it".to_owned();
        faults.fault(key, &node.span(), &message, Some(hint));
    }
}

/// A file below a mount is never seen.
fn check_hidden(
    key: &str,
    path: &GuestPath,
    node: Node<'_, '_>,
    container: Node<'_, '_>,
    mounts: &[Mount<'_, '_>],
    faults: &mut Collector<'_>,
) {
    let declared = mounts.iter().find(|mount| path.is_within(mount.path.as_str()));
    let read_only = container.get("root").and_then(Node::text) != Some("ephemeral");
    let usual = USUAL_TMPFS.into_iter().find(|directory| read_only && path.is_within(directory));
    let hidden_by = declared
        .map(|mount| format!("the {} at {}", mount.what, mount.path))
        .or_else(|| usual.map(|directory| format!("{directory}, which is in memory")));
    if let Some(hidden_by) = hidden_by {
        let message = format!("{path} would be hidden by {hidden_by}");
        let hint = "put the file somewhere else".to_owned();
        faults.fault(key, &node.span(), &message, Some(hint));
    }
}
