//! Rules about updates, checks and control.

use super::{machine::check_time, no_probe};
use crate::{
    document::Node,
    fault::Collector,
    schema::default_deadline,
    values::{GuestPath, Millis, Name, OperatorKey, quoted},
};
use coracle_format::version::Version;
use std::collections::{BTreeMap, BTreeSet};

/// How long a release may take to become healthy.
const DEADLINE: (Millis, Millis) = (Millis(30_000), Millis(3_600_000));
/// How long it must stay so.
const SETTLE: (Millis, Millis) = (Millis(0), Millis(600_000));
/// How often a machine looks at its channel.
const POLL: (Millis, Millis) = (Millis(60_000), Millis(86_400_000));
/// One attempt of a check, and the pause before the next.
const ATTEMPT: (Millis, Millis) = (Millis(100), Millis(300_000));
/// What a check does.
const PROBES: [&str; 4] = ["command", "http", "tcp", "file"];
/// Where files come and go on a machine.
const WRITABLE: [&str; 2] = ["/state", "/run"];

pub(super) fn check(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    if let Some(update) = document.get("update") {
        check_version(document, faults);
        check_update_times(update, faults);
        check_channel(update, faults);
    }
    check_health(document, faults);
    check_control(document, faults);
}

fn check_version(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    let Some(node) = document.get("image").and_then(|image| image.get("version")) else {
        return;
    };
    let Some(text) = node.text().filter(|text| Version::parse(text).is_none()) else {
        return;
    };
    let message = format!("{} is not a version that updates can compare", quoted(text));
    let hint =
        "write one to four numbers up to 65535 with dots between them, for example \"1.4.0\"".to_owned();
    faults.fault("image.version", &node.span(), &message, Some(hint));
}

fn check_update_times(update: Node<'_, '_>, faults: &mut Collector<'_>) {
    if let Some(node) = update.get("deadline") {
        check_time("update.deadline", node, DEADLINE, faults);
    }
    let Some(node) = update.get("settle") else {
        return;
    };
    check_time("update.settle", node, SETTLE, faults);
    let deadline = update.get("deadline").map_or_else(|| Some(default_deadline()), Node::value::<Millis>);
    if let (Some(settle), Some(deadline)) = (node.value::<Millis>(), deadline)
        && settle >= deadline
    {
        let message = format!("nothing can be healthy for {settle} before the deadline of {deadline}");
        let hint = "let settle be shorter, or deadline longer".to_owned();
        faults.fault("update.settle", &node.span(), &message, Some(hint));
    }
}

fn check_channel(update: Node<'_, '_>, faults: &mut Collector<'_>) {
    if let Some(node) = update.get("poll") {
        check_time("update.poll", node, POLL, faults);
    }
    if update.get("url").is_some() {
        return;
    }
    for key in ["channel", "poll", "windows"] {
        if let Some(node) = update.get(key) {
            let message = format!("{key} is about a repository, and none is named");
            let hint = format!("add url, or remove {key}");
            faults.fault(&format!("update.{key}"), &node.span(), &message, Some(hint));
        }
    }
}

fn check_health<'d, 't>(document: Node<'d, 't>, faults: &mut Collector<'_>) {
    let by_name = |container: Node<'d, 't>| Some((container.get("name")?.text()?, container));
    let containers: BTreeMap<&str, Node<'_, '_>> = document.list("container").filter_map(by_name).collect();
    let mut names = BTreeSet::new();
    for (index, check) in document.list("health").enumerate() {
        let key = format!("health[{index}]");
        if let Some(node) = check.get("name")
            && let Some(name) = node.value::<Name>()
            && !names.insert(name.as_str().to_owned())
        {
            let message = format!("there are two checks with the name {}", quoted(name.as_str()));
            let hint = "give one of them another name".to_owned();
            faults.fault(&format!("{key}.name"), &node.span(), &message, Some(hint));
        }
        check_probe(&key, check, faults);
        check_container(&key, check, &containers, faults);
        for name in ["timeout", "interval"] {
            if let Some(node) = check.get(name) {
                check_time(&format!("{key}.{name}"), node, ATTEMPT, faults);
            }
        }
    }
    if let Some(first) = document.list("health").next().filter(|_| document.get("update").is_none()) {
        let message = "a check decides whether an update is kept, and this image takes none";
        let hint = "add [update], or remove [[health]]".to_owned();
        faults.fault("health", &first.span(), message, Some(hint));
    }
}

fn check_probe(key: &str, check: Node<'_, '_>, faults: &mut Collector<'_>) {
    let probes: Vec<_> = PROBES.into_iter().filter_map(|probe| Some((probe, check.get(probe)?))).collect();
    match probes.as_slice() {
        [] => {
            let bad = no_probe();
            faults.fault(key, &check.span(), &bad.message, bad.hint);
        }
        [_] => {}
        [(first, _), rest @ ..] => {
            for (probe, node) in rest {
                let message = format!("the check has two things to do, {first} and {probe}");
                let hint = "make it two checks".to_owned();
                faults.fault(&format!("{key}.{probe}"), &node.span(), &message, Some(hint));
            }
        }
    }
    if let Some(program) = check.list("command").next().filter(|program| program.text() == Some("")) {
        let key = format!("{key}.command[0]");
        faults.fault(&key, &program.span(), "the program's name is empty", None);
    }
    if let Some(node) = check.get("file")
        && let Some(path) = node.value::<GuestPath>()
        && !WRITABLE.iter().any(|directory| path.is_within(directory))
    {
        let message = format!("{path} never changes on a machine");
        let hint = "name a file below /state or /run".to_owned();
        faults.fault(&format!("{key}.file"), &node.span(), &message, Some(hint));
    }
}

fn check_container(
    key: &str,
    check: Node<'_, '_>,
    containers: &BTreeMap<&str, Node<'_, '_>>,
    faults: &mut Collector<'_>,
) {
    match (check.get("command"), check.get("container")) {
        (Some(command), None) => {
            let hint = "add container = \"…\": the machine itself has no programs for it".to_owned();
            let message = "the command has no container to run in";
            faults.fault(&format!("{key}.command"), &command.span(), message, Some(hint));
        }
        (None, Some(container)) => {
            let message = "container says where command runs, which is not there";
            let hint = "remove container, or add command = [\"…\"]".to_owned();
            faults.fault(&format!("{key}.container"), &container.span(), message, Some(hint));
        }
        (Some(_), Some(node)) => {
            let Some(name) = node.text() else {
                return;
            };
            if let Some(container) = containers.get(name) {
                check_start(key, (name, node), *container, faults);
                return;
            }
            let message = format!("there is no container {}", quoted(name));
            let near = crate::suggest::nearest(name, containers.keys().copied());
            let hint = near.map_or_else(
                || "name one of the [[container]] tables".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            );
            faults.fault(&format!("{key}.container"), &node.span(), &message, Some(hint));
        }
        (None, None) => {}
    }
}

/// A container that waits for the decision cannot take part in it.
fn check_start(
    key: &str,
    (name, node): (&str, Node<'_, '_>),
    container: Node<'_, '_>,
    faults: &mut Collector<'_>,
) {
    if container.get("start").and_then(Node::text) == Some("after-commit") {
        let message = format!("container {} starts only after what this check decides", quoted(name));
        let hint = "check another container, or let this one start at once".to_owned();
        faults.fault(&format!("{key}.container"), &node.span(), &message, Some(hint));
    }
}

fn check_control(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    let Some(control) = document.get("control") else {
        return;
    };
    let mut seen: Vec<OperatorKey> = Vec::new();
    for (index, node) in control.list("keys").enumerate() {
        let Some(key) = node.value::<OperatorKey>() else {
            continue;
        };
        if seen.contains(&key) {
            let hint = "remove one of them".to_owned();
            let at = format!("control.keys[{index}]");
            faults.fault(&at, &node.span(), "the key is named twice", Some(hint));
        }
        seen.push(key);
    }
}
