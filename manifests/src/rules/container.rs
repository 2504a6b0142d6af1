//! Rules about containers.

use super::{called, machine::check_time, no_source, tree};
use crate::{
    document::Node,
    fault::Collector,
    values::{Bytes, Capability, Millis, Name, Port, quoted},
};
use std::collections::BTreeMap;

/// What the system's own console lines begin with: the output of a container of this name could not be told from them.
const RESERVED_NAME: &str = "coracle";
/// Less memory than this and nothing starts.
const MEMORY_MIN: Bytes = Bytes(4 << 20);
/// Bounds of one log file.
const LOG: (Bytes, Bytes) = (Bytes(4 << 10), Bytes(1 << 30));
/// Bounds of a restart pause.
const BACKOFF: (Millis, Millis) = (Millis(10), Millis(3_600_000));
/// Bounds of the time to stop.
const STOP: (Millis, Millis) = (Millis(0), Millis(3_600_000));

pub(super) fn check(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    let mut names = BTreeMap::new();
    for (index, container) in document.list("container").enumerate() {
        let key = format!("container[{index}]");
        check_name(&key, container, &mut names, faults);
        check_source(&key, container, faults);
        check_network(&key, container, faults);
        check_limits(&key, container, faults);
        check_capabilities(&key, container, faults);
        tree::check_container(&key, container, faults);
    }
    check_ports(document, faults);
}

fn check_name<'d>(
    key: &str,
    container: Node<'d, '_>,
    names: &mut BTreeMap<&'d str, usize>,
    faults: &mut Collector<'_>,
) {
    let Some(node) = container.get("name") else {
        return;
    };
    let Some(name) = node.text() else {
        return;
    };
    if name == RESERVED_NAME {
        let message = format!("a container cannot have the name {}", quoted(name));
        let hint = "console lines that begin with it are the system's own: choose another".to_owned();
        faults.fault(&format!("{key}.name"), &node.span(), &message, Some(hint));
    }
    if names.insert(name, names.len()).is_some() {
        let message = format!("there are two containers with the name {}", quoted(name));
        let hint = "give one of them another name".to_owned();
        faults.fault(&format!("{key}.name"), &node.span(), &message, Some(hint));
    }
}

fn check_source(key: &str, container: Node<'_, '_>, faults: &mut Collector<'_>) {
    let sources: Vec<_> = ["packages", "oci", "rootfs"]
        .into_iter()
        .filter_map(|source| Some((source, container.get(source)?)))
        .collect();
    let name = container.get("name").and_then(Node::value::<Name>);
    match sources.as_slice() {
        [] => {
            let bad = name.map_or_else(
                || crate::values::Bad::new("the container has no source"),
                |name| no_source(&name),
            );
            faults.fault(key, &container.span(), &bad.message, bad.hint);
        }
        [_] => {}
        [(first, _), rest @ ..] => {
            for (source, node) in rest {
                let message = format!("{} has two sources, {first} and {source}", called(container));
                let hint = "keep one: packages, oci or rootfs".to_owned();
                faults.fault(&format!("{key}.{source}"), &node.span(), &message, Some(hint));
            }
        }
    }
    let has = |wanted| sources.iter().any(|(source, _)| *source == wanted);
    if let Some(tag) = container.get("tag").filter(|_| !has("oci")) {
        let message = "tag chooses an image of oci, which is not there";
        let hint = "remove tag, or add oci = \"…\"".to_owned();
        faults.fault(&format!("{key}.tag"), &tag.span(), message, Some(hint));
    }
    if !sources.is_empty() && !has("oci") && container.get("command").is_none() {
        let message = format!("{} has no command", called(container));
        let hint = "only OCI images bring their own: add command = [\"program\", \"argument\"]".to_owned();
        faults.fault(&format!("{key}.command"), &container.span(), &message, Some(hint));
    }
    check_program(key, container, faults);
}

fn check_program(key: &str, container: Node<'_, '_>, faults: &mut Collector<'_>) {
    let program = container.list("command").next();
    if let Some(program) = program.filter(|program| program.text() == Some("")) {
        let key = format!("{key}.command[0]");
        faults.fault(&key, &program.span(), "the program's name is empty", None);
    }
}

fn check_network(key: &str, container: Node<'_, '_>, faults: &mut Collector<'_>) {
    if container.get("network").and_then(Node::text) != Some("none") {
        return;
    }
    for list in ["ports", "needs"] {
        let Some(node) = container.get(list).filter(|node| node.items().next().is_some()) else {
            continue;
        };
        let message = format!("{list} without a network: {} has network = \"none\"", called(container));
        let hint = format!("remove {list}, or write network = \"host\"");
        faults.fault(&format!("{key}.{list}"), &node.span(), &message, Some(hint));
    }
}

/// Containers share the device's network, so a port belongs to one of them; so does a port of the workstation.
fn check_ports(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    let mut on_device: BTreeMap<_, String> = BTreeMap::new();
    let mut on_workstation: BTreeMap<_, String> = BTreeMap::new();
    for (index, container) in document.list("container").enumerate() {
        for (number, node) in container.list("ports").enumerate() {
            let Some(port) = node.value::<Port>() else {
                continue;
            };
            let key = format!("container[{index}].ports[{number}]");
            let protocol = port.protocol;
            let mut taken = |map: &mut BTreeMap<_, String>, number, whose: &str| {
                let Some(other) = map.insert((number, protocol), called(container)) else {
                    return false;
                };
                let message = format!("{whose} port {number}/{} is taken by {other}", protocol.name());
                let hint = "give one of them another port".to_owned();
                faults.fault(&key, &node.span(), &message, Some(hint));
                true
            };
            if !taken(&mut on_device, port.device, "the device's") {
                taken(&mut on_workstation, port.workstation, "the workstation's");
            }
        }
    }
}

fn check_limits(key: &str, container: Node<'_, '_>, faults: &mut Collector<'_>) {
    if let Some(node) = container.get("memory")
        && let Some(memory) = node.value::<Bytes>().filter(|memory| *memory < MEMORY_MIN)
    {
        let message = format!("{memory} of memory is too little to start anything");
        let hint = format!("give it at least {MEMORY_MIN}");
        faults.fault(&format!("{key}.memory"), &node.span(), &message, Some(hint));
    }
    if let Some(node) = container.get("log").and_then(|log| log.get("max_size"))
        && let Some(size) = node.value::<Bytes>()
        && (size < LOG.0 || size > LOG.1)
    {
        let message = format!("{size} is out of range for a log file");
        let hint = format!("choose {} to {}", LOG.0, LOG.1);
        faults.fault(&format!("{key}.log.max_size"), &node.span(), &message, Some(hint));
    }
    if let Some(node) = container.get("stop_timeout") {
        check_time(&format!("{key}.stop_timeout"), node, STOP, faults);
    }
    let Some(backoff) = container.get("backoff") else {
        return;
    };
    for name in ["first", "longest"] {
        if let Some(node) = backoff.get(name) {
            check_time(&format!("{key}.backoff.{name}"), node, BACKOFF, faults);
        }
    }
    let usual = crate::schema::Backoff::default();
    let time = |name, usual| backoff.get(name).map_or(Some(usual), Node::value::<Millis>);
    if let (Some(first), Some(longest)) = (time("first", usual.first), time("longest", usual.longest))
        && first > longest
    {
        let message = format!("the first pause, {first}, is longer than the longest, {longest}");
        let hint = "let first be the shorter one".to_owned();
        faults.fault(&format!("{key}.backoff"), &backoff.span(), &message, Some(hint));
    }
}

fn check_capabilities(key: &str, container: Node<'_, '_>, faults: &mut Collector<'_>) {
    let Some(table) = container.get("capabilities") else {
        return;
    };
    let all: Capability = match "ALL".parse() {
        Ok(all) => all,
        Err(_) => return,
    };
    let added: Vec<Capability> = table.list("add").filter_map(Node::value).collect();
    for (index, node) in table.list("drop").enumerate() {
        let Some(dropped) = node.value::<Capability>() else {
            continue;
        };
        if dropped != all && added.contains(&dropped) {
            let message = format!("{dropped} is both added and dropped");
            let hint = "keep it in one of the lists".to_owned();
            let key = format!("{key}.capabilities.drop[{index}]");
            faults.fault(&key, &node.span(), &message, Some(hint));
        }
    }
}
